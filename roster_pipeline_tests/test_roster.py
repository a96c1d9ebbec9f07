"""What a record is: the types, their attributes and references, and how records end."""

from __future__ import annotations

import pandas as pd
import pytest

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, PERSONS
from roster_pipeline.roster import (
    ENDED_COLUMNS,
    INTEGER,
    RECEIVED_OUTCOMES,
    REJECTED_OUTCOMES,
    TEXT,
    Roster,
    empty_ended,
    ended_records,
    school_of,
)


def test_the_types_are_those_of_the_design() -> None:
    assert set(ENROLLMENT_TYPES) == {
        *("school", "academic_session", "course", "class", "student"),
        *("teacher", "admin", "contact", "enrollment"),
    }


def test_a_type_refers_only_to_types_before_it_and_to_its_own_kind() -> None:
    seen: set[str] = {"organization", *PERSONS}
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        for attribute in enrollment_type.references:
            assert set(attribute.refers_to) <= {*seen, name}, attribute.name
        seen.add(name)


def test_a_required_reference_never_leads_to_its_own_type() -> None:
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        for attribute in enrollment_type.references:
            assert not (attribute.required_reference and name in attribute.refers_to)


def test_attributes_and_tables_have_names_of_their_own() -> None:
    for enrollment_type in ENROLLMENT_TYPES.values():
        names = [a.name for a in enrollment_type.attributes]
        assert len(names) == len(set(names))
        assert not {"source_id", "file", "row", "extra", "outcome"} & set(names)
    assert len({t.table for t in ENROLLMENT_TYPES.values()}) == len(ENROLLMENT_TYPES)


def test_an_attribute_is_found_by_its_name() -> None:
    assert ENROLLMENT_TYPES["student"].attribute("birth_date").kind == "date"
    with pytest.raises(KeyError, match="birth_date"):
        ENROLLMENT_TYPES["teacher"].attribute("birth_date")


def test_what_is_rejected_is_among_what_can_become_of_a_record() -> None:
    assert set(REJECTED_OUTCOMES) < set(RECEIVED_OUTCOMES)
    assert len(set(RECEIVED_OUTCOMES)) == 9


def classes(*ids: str) -> pd.DataFrame:
    count = range(len(ids))
    return pd.DataFrame(
        {
            "source_id": pd.Series(ids, dtype=TEXT),
            "school_id": pd.Series("north", count, dtype=TEXT),
            "file": pd.Series("classes.csv", count, dtype=TEXT),
            "row": pd.Series(range(2, 2 + len(ids)), dtype=INTEGER),
        }
    )


def test_ended_records_leave_their_frame_and_keep_their_place() -> None:
    roster = Roster({"class": classes("a", "b", "c")})
    after = roster.end("class", pd.Series([True, False, True]), "skipped")
    assert after.frames["class"]["source_id"].tolist() == ["b"]
    assert after.frames["class"].index.tolist() == [0]
    assert after.ended.to_dict("records") == [
        {
            "enrollment_type": "class",
            "source_id": source_id,
            "school": "north",
            "file": "classes.csv",
            "row": row,
            "outcome": "skipped",
        }
        for source_id, row in (("a", 2), ("c", 4))
    ]
    assert roster.frames["class"]["source_id"].tolist() == ["a", "b", "c"]
    assert roster.ended.empty


def test_ending_nothing_changes_nothing() -> None:
    roster = Roster({"class": classes("a")})
    assert roster.end("class", pd.Series([False]), "skipped") is roster


def test_received_are_those_that_travel_on_and_those_that_ended() -> None:
    roster = Roster({"class": classes("a", "b"), "course": classes()})
    gone = ended_records("student", classes("s").assign(primary_school="north"), "invalid")
    roster = Roster(roster.frames, ended=pd.concat([roster.ended, gone], ignore_index=True))
    roster = roster.end("class", pd.Series([True, False]), "filtered")
    assert roster.received() == {"class": 2, "course": 0, "student": 1}


def test_an_ended_frame_without_rows_has_its_columns() -> None:
    assert tuple(empty_ended().columns) == ENDED_COLUMNS
    assert empty_ended()["row"].dtype == INTEGER


@pytest.mark.parametrize(
    ("name", "expected"), [("class", ["north"]), ("school", ["a"]), ("academic_session", [None])]
)
def test_a_record_is_counted_under_the_school_its_type_says(
    name: str, expected: list[str | None]
) -> None:
    schools = school_of(name, classes("a"))
    assert [None if pd.isna(s) else s for s in schools] == expected
