"""What becomes of organisations the warehouse does not know: rules, suggestions, ignoring."""

from __future__ import annotations

import pandas as pd
import pytest

from roster_pipeline.roster import TEXT
from roster_pipeline.stages.schools import (
    SchoolRules,
    decide_schools,
    ignore_schools,
    map_schools,
    suggest_schools,
    tell_schools,
    vanished_schools,
)
from roster_pipeline_tests.stages.passage import mapped, small_district


def schools(*rows: tuple[str, str | None, str | None]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["source_id", "name", "identifier"]).astype(TEXT)


KNOWN = schools(("1", "Oak Elementary", "17"), ("2", "Elm High School", "18"))
RECEIVED = schools(("1", "Oak Elementary", "17"), ("x", "Elm High School", "99"))


def decided(rules: SchoolRules, mappings: dict[str, str | None]) -> dict[str, tuple[object, str]]:
    frame = decide_schools(RECEIVED, KNOWN, mappings, rules).astype(object)
    return {o: (None if pd.isna(s) else s, how) for o, s, how in frame.itertuples(index=False)}


@pytest.mark.parametrize(
    ("rules", "unknown"),
    [
        (SchoolRules(), ("2", "name")),
        (SchoolRules(auto_map=False), (None, "pending")),
        (SchoolRules(auto_map=False, all_missing_as_new=True), ("x", "new")),
    ],
)
def test_an_unknown_organisation_is_matched_made_new_or_waits(
    rules: SchoolRules, unknown: tuple[object, str]
) -> None:
    assert decided(rules, {}) == {"1": ("1", "known"), "x": unknown}


def test_what_a_person_decided_stands_before_every_rule() -> None:
    rules = SchoolRules(auto_map=False)
    assert decided(rules, {"x": "1"})["x"] == ("1", "known")
    assert decided(rules, {"x": None, "1": None}) == {
        "1": (None, "ignored"),
        "x": (None, "ignored"),
    }
    assert decided(rules, {"x": "2", "gone": None})["gone"] == (None, "ignored")


def test_suggestions_go_by_identifier_then_by_likeness_of_the_name() -> None:
    pending = schools(("a", "Something Else", "18"), ("b", "OAK ELEMENTARY.", None))
    more = schools(("c", "Oak Elementary School", ""), ("d", "Zzyzx", None))
    found = suggest_schools(pd.concat([pending, more], ignore_index=True), KNOWN)
    first = found.drop_duplicates("org_id").set_index("org_id")
    assert first["school_id"].to_dict() == {"a": "2", "b": "1", "c": "1"}
    assert first["by"].to_dict() == {"a": "identifier", "b": "name", "c": "similar"}
    assert first["score"]["b"] == 100 and 60 <= first["score"]["c"] < 100


def test_without_schools_there_is_nothing_to_suggest() -> None:
    assert suggest_schools(RECEIVED, KNOWN.iloc[:0]).empty
    assert suggest_schools(RECEIVED.iloc[:0], KNOWN).empty


def test_schools_that_nobody_sends_any_more_have_vanished() -> None:
    known = KNOWN.assign(active=pd.Series([True, True]))
    decisions = decide_schools(RECEIVED.iloc[:1], KNOWN, {})
    assert list(vanished_schools(decisions, known)["source_id"]) == ["2"]
    inactive = known.assign(active=pd.Series([True, False]))
    assert vanished_schools(decisions, inactive).empty


def test_what_is_pending_or_has_vanished_is_told() -> None:
    received = RECEIVED.assign(file="orgs.csv", row=pd.Series([2, 3]))
    known = KNOWN.assign(active=True)
    decisions = decide_schools(received, KNOWN, {}, SchoolRules(auto_map=False))
    told = tell_schools(received, decisions, known)
    assert list(zip(told["code"], told["source_id"], told["row"].fillna(0), strict=True)) == [
        ("school_pending", "x", 3),
        ("school_vanished", "2", 0),
    ]
    assert "perhaps 2" in told["message"][0]


def test_an_ignored_school_takes_all_that_is_its_own_along_as_filtered() -> None:
    roster = mapped(small_district())
    decisions = decide_schools(roster.frames["school"], KNOWN.iloc[:0], {"south": None})
    left = ignore_schools(roster, decisions)
    assert set(left.ended["outcome"]) == {"filtered"}
    for name, attribute in (("student", "primary_school"), ("class", "school_id")):
        assert "south" not in set(left.frames[name][attribute])
    people = pd.concat([left.frames[p]["source_id"] for p in ("student", "teacher", "admin")])
    assert left.frames["enrollment"]["person_id"].isin(people).all()
    assert left.received() == roster.received()


def test_several_organisations_may_be_one_school() -> None:
    roster = mapped(small_district())
    decisions = decide_schools(roster.frames["school"], KNOWN.iloc[:0], {"south": "north"})
    one = map_schools(roster, decisions).roster
    assert list(one.frames["school"]["source_id"]) == ["north"]
    assert set(one.frames["class"]["school_id"]) == {"north"}
    assert list(one.ended["outcome"]) == ["filtered"]
