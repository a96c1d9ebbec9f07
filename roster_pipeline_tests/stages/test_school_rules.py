"""What becomes of organisations the warehouse does not know: rules, suggestions, ignoring."""

from __future__ import annotations

import pandas as pd
import pytest

from roster_pipeline.roster import INTEGER, TEXT
from roster_pipeline.stages.schools import (
    SUGGESTION_COLUMNS,
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


Suggestions = list[tuple[str, str, str, int]]


def suggested(pending: pd.DataFrame, known: pd.DataFrame) -> Suggestions:
    frame = suggest_schools(pending, known)
    assert tuple(frame.columns) == SUGGESTION_COLUMNS
    assert [str(d) for d in frame.dtypes] == [str(d) for d in (TEXT, TEXT, TEXT, INTEGER)]
    assert frame.index.tolist() == list(range(len(frame)))
    return list(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize("name", [None, "", " ", "--"])
def test_schools_without_a_name_are_not_taken_for_one_another(name: str | None) -> None:
    nameless = schools(("a", name, None))
    assert decide_schools(nameless, schools(("1", name, None)), {})["how"].to_list() == ["new"]
    assert suggested(nameless, schools(("1", name, None), ("2", "Oak", None))) == []
    assert suggested(nameless, schools(("1", name, None)).assign(identifier="17")) == []


def test_the_three_likeliest_schools_are_suggested_the_likeliest_first() -> None:
    known = schools(
        ("1", "Mill Creek Middle", None),
        ("2", "Mill Creek Middle School", "5"),
        ("3", "MILL CREEK - MIDDLE", "6"),
        ("4", "Creek Mill Middle Schools", "7"),
        ("5", "Unlike", "21"),
    )
    pending = schools(("x", "Mill Creek Middle", "21"), ("y", "Nowhere To Be Found", None))
    assert suggested(pending, known) == [
        ("x", "5", "identifier", 100),
        ("x", "1", "name", 100),
        ("x", "3", "name", 100),
    ]


def test_words_in_another_order_are_alike() -> None:
    assert suggested(schools(("x", "School, Elm High", None)), KNOWN)[0][:2] == ("x", "2")


def test_a_name_is_suggested_from_sixty_of_a_hundred_on() -> None:
    known = schools(("1", "abcde", None), ("2", "abxyz", None))
    assert suggested(schools(("x", "abcvw", None)), known) == [("x", "1", "similar", 60)]


def test_of_many_schools_that_are_equally_alike_the_first_are_suggested() -> None:
    known = schools(*((f"k{n}", "Oak Elementary", None) for n in range(40)))
    found = suggested(schools(("x", "Oak Elementary", None)), known)
    assert [school for _, school, _, _ in found] == ["k0", "k1", "k2"]


def test_blanks_are_not_alike() -> None:
    assert suggested(schools(("x", "Oak", None)), schools(("1", "Elm", None))) == []
    assert suggested(schools(("x", None, None)), schools(("1", "xxxx", "18"))) == []


def test_without_schools_there_is_nothing_to_suggest() -> None:
    assert suggested(RECEIVED, KNOWN.iloc[:0]) == []
    assert suggested(RECEIVED.iloc[:0], KNOWN) == []


def test_schools_that_nobody_sends_any_more_have_vanished() -> None:
    known = KNOWN.assign(active=pd.Series([True, True]))
    decisions = decide_schools(RECEIVED.iloc[:1], KNOWN, {})
    assert list(vanished_schools(decisions, known)["source_id"]) == ["2"]
    inactive = known.assign(active=pd.Series([True, False]))
    assert vanished_schools(decisions, inactive).empty


def test_what_is_pending_or_has_vanished_is_told() -> None:
    more = schools(("y", "Zzyzx", None))
    received = pd.concat([RECEIVED, more], ignore_index=True).assign(file="orgs.csv", row=[2, 3, 4])
    known = pd.concat([KNOWN, schools(("3", "Elm High Schools", None))], ignore_index=True)
    decisions = decide_schools(received, known, {}, SchoolRules(auto_map=False))
    told = tell_schools(received, decisions, known.assign(active=[True, True, False]))
    assert told["code"].tolist() == ["school_pending", "school_pending", "school_vanished"]
    assert told["source_id"].tolist() == ["x", "y", "2"]
    assert told["row"].fillna(0).tolist() == [3, 4, 0]
    assert set(told["file"]) == {"orgs.csv"}
    assert told["school"].iloc[2] == "2"
    assert told["message"].tolist()[:2] == [
        "No school has been named for the organisation x, perhaps 2.",
        "No school has been named for the organisation y.",
    ]


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
