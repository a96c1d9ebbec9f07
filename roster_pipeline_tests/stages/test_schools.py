"""School mapping: which school of the warehouse each received organisation is."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pytest

from roster_pipeline.roster import TEXT, empty_texts
from roster_pipeline.stages.schools import SchoolRules, decide_schools
from roster_pipeline_tests.stages.passage import (
    Cell,
    Frames,
    added,
    changed,
    known_warehouse,
    passage,
    settings,
    small_district,
    table,
)

Decisions = dict[str, tuple[str | None, str]]


def schools(*rows: tuple[str, Cell, Cell]) -> pd.DataFrame:
    """Schools by id, name, identifier."""
    if not rows:
        return empty_texts("source_id", "name", "identifier")
    lines = ["source_id|name|identifier", *("|".join(cell or "" for cell in row) for row in rows)]
    return table("\n".join(lines))


def decisions(
    received: pd.DataFrame,
    known: pd.DataFrame,
    mappings: Mapping[str, str | None] | None = None,
    **rules: bool,
) -> Decisions:
    decided = decide_schools(received, known, mappings or {}, SchoolRules(**rules))
    assert decided.dtypes.to_dict() == dict.fromkeys(["org_id", "school_id", "how"], TEXT)
    assert decided.index.tolist() == list(range(len(decided)))
    return {
        org: (None if pd.isna(school) else school, how)
        for org, school, how in decided.itertuples(index=False)
    }


NORTH = ("n", "North Elementary", "1701")


def test_in_an_empty_warehouse_every_school_is_new_under_its_own_id() -> None:
    received = schools(NORTH, ("s", "South High", None))
    assert decisions(received, schools()) == {"n": ("n", "new"), "s": ("s", "new")}


def test_a_school_is_known_by_its_id_whatever_else_has_changed() -> None:
    received = schools(("n", "Renamed", "9999"))
    assert decisions(received, schools(NORTH)) == {"n": ("n", "known")}


def test_a_recorded_mapping_goes_before_everything_else() -> None:
    known = schools(NORTH, ("x", "Another", "1702"))
    assert decisions(schools(NORTH), known, {"n": "x"}) == {"n": ("x", "known")}


def test_a_school_with_a_new_id_is_found_by_its_identifier() -> None:
    received = schools(("new-id", "Renamed", "1701"))
    assert decisions(received, schools(NORTH)) == {"new-id": ("n", "identifier")}


@pytest.mark.parametrize(
    "name", ["North Elementary", "NORTH ELEMENTARY", "North-Elementary.", "  north   elementary "]
)
def test_a_school_with_a_new_id_is_found_by_its_name(name: str) -> None:
    received = schools(("new-id", name, None))
    assert decisions(received, schools(NORTH)) == {"new-id": ("n", "name")}


def test_identifiers_are_compared_exactly() -> None:
    known = schools(("n", "North", "AB-1"))
    assert decisions(schools(("x", "Mill", "AB-1")), known) == {"x": ("n", "identifier")}
    assert decisions(schools(("x", "Mill", "ab 1")), known) == {"x": ("x", "new")}


def test_the_identifier_goes_before_the_name() -> None:
    known = schools(NORTH, ("m", "Mill School", "1709"))
    received = schools(("new-id", "Mill School", "1701"))
    assert decisions(received, known) == {"new-id": ("n", "identifier")}


def test_a_name_that_two_known_schools_have_decides_nothing() -> None:
    known = schools(("a", "Central", None), ("b", "central", None))
    assert decisions(schools(("c", "Central", None)), known) == {"c": ("c", "new")}


def test_a_name_that_two_received_schools_have_decides_nothing() -> None:
    received = schools(("a", "North Elementary", None), ("b", "North Elementary", None))
    assert decisions(received, schools(NORTH)) == {"a": ("a", "new"), "b": ("b", "new")}


def test_a_known_school_that_is_spoken_for_is_not_given_away_by_name() -> None:
    received = schools(NORTH, ("copy", "North Elementary", "1701"))
    assert decisions(received, schools(NORTH)) == {"n": ("n", "known"), "copy": ("copy", "new")}


def test_blank_names_and_identifiers_match_nothing() -> None:
    known = schools(("n", None, None))
    assert decisions(schools(("m", None, None)), known) == {"m": ("m", "new")}


def test_earlier_decisions_about_organisations_that_are_not_received_are_still_told() -> None:
    decided = decisions(schools(NORTH), schools(NORTH), {"gone": "old", "n": "n"})
    assert decided == {"n": ("n", "known"), "gone": ("old", "known")}


OTHERS = (("n", "Renamed", "9"), ("m", "North Elementary", "1701"), ("x", "Mill", None))


def test_without_auto_map_only_what_is_known_is_decided_and_the_rest_waits() -> None:
    assert decisions(schools(*OTHERS), schools(NORTH), auto_map=False) == {
        "n": ("n", "known"),
        "m": (None, "pending"),
        "x": (None, "pending"),
    }


def test_all_missing_as_new_makes_a_school_of_each_that_is_not_known() -> None:
    decided = decisions(schools(*OTHERS), schools(NORTH), auto_map=False, all_missing_as_new=True)
    assert decided == {"n": ("n", "known"), "m": ("m", "new"), "x": ("x", "new")}


def test_an_ignored_organisation_stays_ignored_whatever_it_is_called() -> None:
    decided = decisions(schools(NORTH), schools(NORTH), {"n": None, "gone": None})
    assert decided == {"n": (None, "ignored"), "gone": (None, "ignored")}


def renamed(frames: Frames, old: str, new: str) -> Frames:
    """The district after its student information system gave a school another id."""
    return {
        file: frame.apply(lambda column: column.str.replace(rf"\b{old}\b", new, regex=True))
        for file, frame in frames.items()
    }


def test_a_school_with_a_new_id_stays_the_same_school_and_nothing_changes() -> None:
    district = small_district()
    passed = passage(renamed(district, "south", "s-2"), warehouse=known_warehouse())
    assert set(passed.plan.counts["outcome"]) == {"unchanged"}
    assert passed.plan.deleted.empty
    decided = passed.plan.changes["school"]
    assert decided["source_id"].tolist() == ["north", "south"]
    how = passed.mapped_schools.roster.school_decisions.set_index("org_id")["how"]
    assert how.to_dict() == {"north": "known", "s-2": "identifier", "south": "known"}


def test_every_reference_to_a_mapped_school_names_the_one_of_the_warehouse() -> None:
    district = small_district()
    passed = passage(renamed(district, "south", "s-2"), warehouse=known_warehouse())
    for name, frame in passed.mapped_schools.roster.frames.items():
        assert not frame.astype(str).isin(["s-2", "north,s-2"]).any().any(), name
    ben = passed.plan.changes["student"].set_index("source_id").loc["ben"]
    assert ben["school_ids"] == "north,south"


def test_records_that_ended_are_counted_under_the_school_of_the_warehouse() -> None:
    district = small_district()
    frames = changed(district, "enrollments", "e3", userSourcedId="nobody")
    passed = passage(renamed(frames, "south", "s-2"), warehouse=known_warehouse())
    counts = passed.plan.counts
    invalid = counts.loc[counts["outcome"] == "invalid"]
    assert invalid["school"].tolist() == ["south"]


def test_of_several_organisations_that_are_one_school_the_first_stands_for_it() -> None:
    district = small_district()
    frames = added(district, "orgs", "south", sourcedId="s-annex", identifier=None, name="Annex")
    frames = changed(frames, "users", "cy", orgSourcedIds="s-annex,south")
    before = known_warehouse()
    mapped = type(before)(before.state, before.schools, {**before.mappings, "s-annex": "south"})
    passed = passage(frames, warehouse=mapped)
    assert passed.fate("school", "south") in ("unchanged", "filtered")
    assert passed.counts()["school"] == {"unchanged": 2, "filtered": 1}
    cy = passed.plan.changes["student"].set_index("source_id").loc["cy"]
    assert (cy["primary_school"], cy["school_ids"]) == ("south", "south")
    assert passed.findings.empty


def test_mapping_schools_changes_nothing_where_the_ids_are_the_same() -> None:
    passed = passage(small_district(), settings())
    assert passed.mapped_schools.findings.empty
    for name, before in passed.linked.roster.frames.items():
        assert passed.mapped_schools.roster.frames[name].equals(before)
