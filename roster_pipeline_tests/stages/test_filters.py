"""Filter rules: every condition, how rules combine, and what a filtered record takes along.

Guards that four of the conditions ended the import with an error, that `equals: true` never held,
and that what hung on a filtered school came out as thousands of faults.
"""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from roster_pipeline.roster import Roster
from roster_pipeline.stages.filters import filter_records
from roster_pipeline_tests.stages.passage import (
    added,
    changed,
    ended,
    mapped,
    passage,
    settings,
    small_district,
)

TODAY = date(2026, 12, 20)


@pytest.fixture(scope="module")
def roster() -> Roster:
    """The small district; Cy has no first name, Ben no birth date, and all are in two grades."""
    frames = changed(small_district(), "users", "ann", grades="KG,03")
    frames = changed(frames, "users", "ben", grades="03,04")
    frames = changed(frames, "users", "cy", grades=None, givenName=None, enabledUser="false")
    frames = changed(frames, "demographics", "ben", birthDate=None)
    return mapped(frames)


def kept(roster: Roster, *rules: dict[str, object], **more: object) -> list[str]:
    """The students who stay."""
    district = settings(filters=list(rules), **more)
    left = filter_records(roster, district, TODAY).roster.frames["student"]
    return left["source_id"].tolist()


def student(**conditions: object) -> dict[str, object]:
    return {"student": conditions}


@pytest.mark.parametrize(
    ("attribute", "condition", "value", "left"),
    [
        ("last_name", "equals", "Birch", ["ben"]),
        ("last_name", "equals", "birch", []),
        ("enabled", "equals", True, ["ann", "ben"]),
        ("enabled", "equals", False, ["cy"]),
        ("birth_date", "equals", date(2017, 5, 4), ["ann"]),
        ("last_name", "in", ["Birch", "Cedar"], ["ben", "cy"]),
        ("last_name", "in", "Birch", ["ben"]),
        ("last_name", "not_in", ["Birch", "Cedar"], ["ann"]),
        ("first_name", "not_in", ["Ann"], ["ben", "cy"]),
        ("last_name", "contains_text", "D", ["ann", "cy"]),
        ("last_name", "contains_text", ["ir", "ED"], ["ben", "cy"]),
        ("last_name", "contains_text", ".", []),
        ("last_name", "does_not_contain_text", "d", ["ben"]),
        ("last_name", "does_not_contain_text", ["ir", "ed"], ["ann"]),
        ("first_name", "does_not_contain_text", "n", ["cy"]),
        ("last_name", "starts_with", "B", ["ben"]),
        ("last_name", "starts_with", ["A", "C"], ["ann", "cy"]),
        ("last_name", "matches", "[AB].*", ["ann", "ben"]),
        ("last_name", "matches", "Birch|Cedar", ["ben", "cy"]),
        ("last_name", "matches", "Bir", []),
        ("first_name", "is_empty", None, ["cy"]),
        ("first_name", "is_not_empty", None, ["ann", "ben"]),
        ("birth_date", "before", date(2017, 5, 4), ["cy"]),
        ("birth_date", "before", "2017-05-05", ["ann", "cy"]),
        ("birth_date", "after", date(2011, 1, 31), ["ann"]),
        ("grades", "equals", "03", ["ann", "ben"]),
        ("grades", "in", ["KG", "05"], ["ann"]),
        ("grades", "not_in", ["03"], ["ann", "ben"]),
        ("grades", "not_in", ["03", "04"], ["ann"]),
        ("grades", "contains_text", "K", ["ann"]),
        ("grades", "starts_with", "04", ["ben"]),
        ("grades", "matches", "0[45]", ["ben"]),
        ("grades", "is_empty", None, ["cy"]),
        ("grades", "is_not_empty", True, ["ann", "ben"]),
        ("school_ids", "equals", "south", ["ben", "cy"]),
    ],
)
def test_a_rule_keeps_the_records_its_condition_holds_for(
    roster: Roster, attribute: str, condition: str, value: object, left: list[str]
) -> None:
    assert kept(roster, student(**{attribute: {condition: value}})) == left


@pytest.mark.parametrize(
    ("condition", "left"), [("is_past", []), ("is_future", ["e1", "e2", "e4", "e5"])]
)
def test_past_and_future_are_told_by_the_day_given(
    roster: Roster, condition: str, left: list[str]
) -> None:
    # e3 and e6 end on that very day, which is neither past nor future.
    district = settings(filters=[{"enrollment": {"end_date": {condition: None}}}])
    frames = filter_records(roster, district, TODAY).roster.frames
    assert frames["enrollment"]["source_id"].tolist() == left
    later = filter_records(roster, district, date(2026, 12, 21)).roster.frames
    assert later["enrollment"]["source_id"].tolist() == (
        ["e3", "e6"] if condition == "is_past" else left
    )


def test_the_conditions_of_a_rule_are_joined_by_and(roster: Roster) -> None:
    grade, name = {"grades": {"in": ["03"]}}, {"last_name": {"starts_with": "B"}}
    assert kept(roster, student(**grade, **name)) == ["ben"]
    assert kept(roster, student(**name, **grade)) == ["ben"]
    assert kept(roster, student(last_name={"starts_with": "A", "contains_text": "z"})) == []
    assert kept(roster, student(last_name={"contains_text": "z", "starts_with": "A"})) == []


def test_the_rules_of_a_type_are_joined_by_or(roster: Roster) -> None:
    rules = [student(last_name={"equals": "Alder"}), student(last_name={"equals": "Cedar"})]
    assert kept(roster, *rules) == ["ann", "cy"]


def test_rules_of_one_type_leave_the_others_whole(roster: Roster) -> None:
    rules = [{"teacher": {"last_name": {"equals": "Thorn"}}}]
    outcome = filter_records(roster, settings(filters=rules, include_linked=False), TODAY)
    assert ended(outcome.roster) == [("teacher", "tom", "filtered")]


def test_one_rule_may_name_several_types(roster: Roster) -> None:
    rule = {
        "student": {"last_name": {"equals": "Alder"}},
        "teacher": {"last_name": {"equals": "Teak"}},
    }
    outcome = filter_records(roster, settings(filters=[rule], include_linked=False), TODAY)
    assert outcome.roster.frames["student"]["source_id"].tolist() == ["ann"]
    assert outcome.roster.frames["teacher"]["source_id"].tolist() == ["tom"]


def test_without_rules_the_roster_is_as_it_was(roster: Roster) -> None:
    outcome = filter_records(roster, settings(), TODAY)
    assert all(outcome.roster.frames[n].equals(f) for n, f in roster.frames.items())
    assert outcome.findings.empty


def test_an_own_attribute_can_be_filtered_by() -> None:
    frames = changed(small_district(), "users", "ann", metadata__until="2026-11-30")
    frames = changed(frames, "users", "ben", metadata__until="2027-01-31")
    own = {"attributes": {"student": {"until": "metadata.until"}}}
    roster = mapped(frames, settings(**own))
    assert kept(roster, student(until={"is_future": None}), **own) == ["ben"]
    assert kept(roster, student(until={"before": "2026-12-01"}), **own) == ["ann"]


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"before": "soon"}, "a day as YYYY-MM-DD"),
        ({"after": 2026}, "a day as YYYY-MM-DD"),
        ({"matches": "("}, "regular expression"),
        ({"matches": "(?=a)b"}, "regular expression"),
        ({"equals": None}, "equals needs a value"),
        ({"in": []}, "in needs a value"),
        ({"is_empty": False}, "takes no value"),
        ({"is_past": "2026-01-01"}, "takes no value"),
        ({"like": "A"}, "contains_text"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused_in_the_settings(
    conditions: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(filters=[student(birth_date=conditions)])


ELEMENTARY = [{"student": {"grades": {"in": ["03", "04"]}}}]


def test_a_filtered_student_takes_her_enrollments_and_unshared_contacts_along() -> None:
    passed = passage(small_district(), settings(filters=ELEMENTARY))
    filtered = {key for key, outcome in passed.fates.items() if outcome == "filtered"}
    assert filtered == {("student", "cy"), ("enrollment", "e3"), ("contact", "gale")}
    assert passed.findings.empty
    assert {o for k, o in passed.fates.items() if k not in filtered} == {"added"}


def test_a_contact_whom_another_student_shares_stays() -> None:
    rules = [{"student": {"first_name": {"equals": "Ben"}}}]
    passed = passage(small_district(), settings(filters=rules))
    assert passed.fate("contact", "gina") == "added"
    assert passed.fate("contact", "gus") == "filtered"
    # What Gina loses by the filter is no fault of hers.
    gina = passed.plan.changes["contact"].set_index("source_id").loc["gina"]
    assert gina["student_ids"] == "ben"
    assert passed.findings.empty


def test_a_contact_only_the_student_names_counts_as_hers() -> None:
    frames = changed(small_district(), "users", "gale", agentSourcedIds=None)
    passed = passage(frames, settings(filters=ELEMENTARY))
    assert passed.fate("contact", "gale") == "filtered"


def test_a_contact_of_a_student_who_was_rejected_stays_with_her() -> None:
    # Gina has Ann, who is rejected and may be kept, and Ben, who is filtered.
    frames = changed(small_district(), "users", "ann", enabledUser="perhaps")
    rules = [{"student": {"first_name": {"not_in": ["Ben"]}}}]
    passed = passage(frames, settings(filters=rules))
    assert passed.fate("student", "ann") == "invalid"
    assert passed.fate("student", "ben") == "filtered"
    assert passed.fate("contact", "gina") == "added"


@pytest.mark.parametrize("condition", ["equals", "matches", "before", "after"])
def test_a_condition_of_one_value_takes_no_list(condition: str) -> None:
    with pytest.raises(ValidationError, match=f"{condition} takes one value; `in` takes several"):
        settings(filters=[{"student": {"first_name": {condition: ["Ann", "Ben"]}}}])


def test_a_contact_of_nobody_stays() -> None:
    frames = added(small_district(), "users", "gale", sourcedId="gil", agentSourcedIds=None)
    passed = passage(frames, settings(filters=ELEMENTARY))
    assert passed.fate("contact", "gil") == "added"


def test_a_filtered_teacher_takes_enrollments_along_but_not_the_class() -> None:
    rules = [{"teacher": {"user_type": {"equals": "teacher"}}}]
    passed = passage(small_district(), settings(filters=rules))
    filtered = {key for key, outcome in passed.fates.items() if outcome == "filtered"}
    assert filtered == {("teacher", "tom"), ("enrollment", "e6")}
    assert passed.findings.empty


def test_a_filtered_school_takes_along_all_that_cannot_be_without_it() -> None:
    rules = [{"school": {"name": {"starts_with": "North"}}}]
    passed = passage(small_district(), settings(filters=rules))
    filtered = {key for key, outcome in passed.fates.items() if outcome == "filtered"}
    assert filtered == {
        ("school", "south"),
        ("course", "art"),
        ("class", "a1"),
        ("student", "cy"),
        ("teacher", "tom"),
        ("contact", "gale"),
        ("enrollment", "e3"),
        ("enrollment", "e6"),
    }
    assert passed.findings.empty
    # Ben is at both schools; the one that was filtered is no school of his any more.
    ben = passed.plan.changes["student"].set_index("source_id").loc["ben"]
    assert ben["school_ids"] == "north"


def test_a_class_stays_as_long_as_one_of_its_sessions_does() -> None:
    rules = [{"academic_session": {"session_type": {"equals": "schoolYear"}}}]
    frames = added(small_district(), "academicSessions", "fall", sourcedId="spring")
    frames = changed(frames, "classes", "m1", termSourcedIds="fall,spring")
    passed = passage(frames, settings(filters=rules))
    assert passed.fate("class", "m2") == "added"
    assert passed.fate("class", "m1") == "filtered"
    assert passed.fate("class", "a1") == "filtered"
    assert passed.fate("enrollment", "e6") == "filtered"
    assert passed.findings.empty


def test_enrollments_of_an_ignored_role_are_filtered_with_the_person() -> None:
    passed = passage(small_district(), settings(user_types={"aide": "ignore"}))
    assert passed.fate("user", "tom") == "filtered"
    assert passed.fate("enrollment", "e6") == "filtered"
    assert passed.findings.empty


def test_ignored_contacts_are_dropped_from_their_students_without_a_word() -> None:
    roles = dict.fromkeys(["parent", "guardian", "relative"], "ignore")
    passed = passage(small_district(), settings(user_types=roles))
    assert passed.plan.changes["student"]["contact_ids"].isna().all()
    assert passed.findings.empty


def test_what_hangs_on_a_filtered_record_is_left_to_the_links_when_it_is_not_to_be_included() -> (
    None
):
    passed = passage(small_district(), settings(filters=ELEMENTARY, include_linked=False))
    assert passed.fate("contact", "gale") == "added"
    assert passed.fate("enrollment", "e3") == "invalid"
    assert passed.findings["code"].tolist() == ["person_id_unknown"]


def test_filtering_tells_nothing(roster: Roster) -> None:
    outcome = filter_records(roster, settings(filters=ELEMENTARY), TODAY)
    assert outcome.findings.empty
    assert set(outcome.roster.ended["outcome"]) == {"filtered"}


def test_a_filtered_record_keeps_its_place_in_the_accounting(roster: Roster) -> None:
    outcome = filter_records(roster, settings(filters=ELEMENTARY), TODAY)
    assert outcome.roster.received() == roster.received()
    cy = outcome.roster.ended.loc[outcome.roster.ended["source_id"] == "cy"].iloc[0]
    assert (cy["file"], cy["row"], cy["school"]) == ("users.csv", 4, "south")
