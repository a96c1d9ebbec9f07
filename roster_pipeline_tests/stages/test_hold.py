"""When a plan is held, at the edges of the thresholds, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.roster import INTEGER, TEXT
from roster_pipeline.stages.hold import (
    FileRows,
    HoldRules,
    Known,
    file_causes,
    hold_reasons,
    rejection_causes,
    rekey_causes,
    rekeyed_people,
    school_causes,
)
from roster_pipeline.stages.plan import SyncPlan

Numbers = Mapping[tuple[str, str | None, str], int]
"""Enrollment type, school, outcome to records."""

WIZARD = HoldRules(
    update_percent=35, delete_percent=10, school_delete_percent=25, reject_percent=20
)


def plan(numbers: Numbers) -> SyncPlan:
    """A plan of these counts; what is deleted is listed too."""
    counts = pd.DataFrame(
        {
            "enrollment_type": pd.Series([t for t, _, _ in numbers], dtype=TEXT),
            "school": pd.Series([s for _, s, _ in numbers], dtype=TEXT),
            "outcome": pd.Series([o for _, _, o in numbers], dtype=TEXT),
            "records": pd.Series(list(numbers.values()), dtype=INTEGER),
        }
    )
    gone = counts.loc[counts["outcome"] == "deleted"]
    deleted = gone.loc[gone.index.repeat(gone["records"].astype(int))].reset_index(drop=True)
    deleted["source_id"] = deleted["school"].where(
        deleted["enrollment_type"] == "school", "p" + deleted.index.astype(str)
    )
    deleted = deleted[["enrollment_type", "source_id", "school"]].astype(TEXT)
    return SyncPlan({}, deleted, deleted.iloc[:0], counts)


def known(active: Mapping[tuple[str, str | None], int], **names: str) -> Known:
    counts = {name: pd.Series(dtype=int) for name in ENROLLMENT_TYPES}
    for (name, school), number in active.items():
        counts[name] = pd.concat([counts[name], pd.Series({school: number})])
    return Known(counts, names)


def reasons(numbers: Numbers, before: Known, rules: HoldRules) -> list[tuple[str, str]]:
    return [(r.rule, r.message) for r in hold_reasons(plan(numbers), before, rules)]


def rules_of(numbers: Numbers, before: Known, rules: HoldRules) -> list[str]:
    return [rule for rule, _ in reasons(numbers, before, rules)]


TWO_HUNDRED = known({("student", "a"): 100, ("student", "b"): 100}, a="Adams", b="Baker")


@pytest.mark.parametrize(("deleted", "held"), [(20, False), (21, True)])
def test_ten_percent_of_200_is_held_at_21_not_at_20(deleted: int, held: bool) -> None:
    spread = {("student", "a", "deleted"): deleted // 2}
    spread["student", "b", "deleted"] = deleted - deleted // 2
    rules = HoldRules(delete_percent=10)
    assert (rules_of(spread, TWO_HUNDRED, rules) == ["delete"]) == held


@pytest.mark.parametrize(("updated", "held"), [(70, False), (71, True)])
def test_updates_have_a_threshold_of_their_own(updated: int, held: bool) -> None:
    numbers = {("student", "a", "updated"): updated, ("student", "a", "deleted"): 20}
    rules = HoldRules(update_percent=35, delete_percent=10)
    assert rules_of(numbers, TWO_HUNDRED, rules) == (["update"] if held else [])


@pytest.mark.parametrize(("limit", "held"), [(12.5, False), (12.4, True), (0, True), (100, False)])
def test_a_threshold_may_be_any_share(limit: float, held: bool) -> None:
    numbers = {("student", "a", "updated"): 25}
    assert bool(rules_of(numbers, TWO_HUNDRED, HoldRules(update_percent=limit))) == held


@pytest.mark.parametrize(("deleted", "held"), [(4, False), (5, True)])
def test_fewer_changes_than_the_minimum_never_hold(deleted: int, held: bool) -> None:
    before = known({("teacher", "a"): 4, ("teacher", "b"): 4}, a="Adams", b="Baker")
    numbers = {("teacher", "a", "deleted"): 4, ("teacher", "b", "deleted"): deleted - 4}
    rules = HoldRules(delete_percent=10)
    assert (rules_of(numbers, before, rules) == ["delete"]) == held


def test_thresholds_are_off_unless_they_are_configured() -> None:
    numbers = {("student", "a", "deleted"): 99, ("student", "b", "updated"): 100}
    numbers["student", "a", "invalid"] = 500
    assert rules_of(numbers, TWO_HUNDRED, HoldRules()) == []


def test_a_school_wiped_in_a_large_district_is_held_by_its_own_threshold() -> None:
    before = known(
        {("student", "a"): 40, ("student", "b"): 9960, ("teacher", "a"): 5, ("teacher", "b"): 900},
        a="Adams",
        b="Baker",
    )
    numbers = {("student", "a", "deleted"): 40, ("teacher", "a", "deleted"): 5}
    assert reasons(numbers, before, WIZARD) == [
        (
            "school_delete",
            "Adams loses 40 of 40 students (100.0 %) and 5 of 5 teachers (100.0 %), over the 25 % "
            "limit for one school.",
        )
    ]


@pytest.mark.parametrize(("deleted", "held"), [(25, False), (26, True)])
def test_the_threshold_of_one_school_is_strict_too(deleted: int, held: bool) -> None:
    numbers = {("student", "a", "deleted"): deleted}
    rules = HoldRules(school_delete_percent=25)
    assert bool(rules_of(numbers, TWO_HUNDRED, rules)) == held


def test_a_first_import_is_never_held() -> None:
    numbers = {("student", "a", "added"): 10, ("student", "a", "invalid"): 990}
    assert rules_of(numbers, known({}), WIZARD) == []


@pytest.mark.parametrize("rules", [HoldRules(), HoldRules(delete_percent=100)])
def test_every_student_gone_is_held_though_no_threshold_says_so(rules: HoldRules) -> None:
    numbers = {("student", "a", "deleted"): 100, ("student", "b", "deleted"): 100}
    assert reasons(numbers, TWO_HUNDRED, rules) == [
        (
            "empty",
            "It deletes every one of the 200 students.",
        )
    ]


def test_the_last_record_of_a_type_is_not_deleted_unseen() -> None:
    before = known({("admin", "a"): 1, ("student", "a"): 9}, a="Adams")
    told = reasons({("admin", "a", "deleted"): 1}, before, HoldRules())
    assert told == [("empty", "It deletes every one of the 1 admins.")]


def test_a_plan_that_changes_nothing_is_not_held_by_the_strictest_rules() -> None:
    strict = HoldRules(
        update_percent=0,
        delete_percent=0,
        school_delete_percent=0,
        reject_percent=0,
        minimum_records=1,
    )
    assert rules_of({("student", "a", "unchanged"): 200}, TWO_HUNDRED, strict) == []


def test_preview_holds_with_the_thresholds_off() -> None:
    rules = WIZARD.model_copy(update={"preview": True})
    numbers = {("student", "a", "deleted"): 100}
    assert reasons(numbers, TWO_HUNDRED, rules) == [
        ("preview", "Every import of this district waits for approval (preview).")
    ]
    assert rules_of({("student", "a", "added"): 1}, known({}), rules) == ["preview"]


@pytest.mark.parametrize(("invalid", "held"), [(20, False), (21, True)])
def test_rejected_rows_hold_over_their_threshold(invalid: int, held: bool) -> None:
    numbers = {("student", "a", "unchanged"): 100 - invalid, ("student", None, "skipped"): 10}
    numbers["student", "a", "duplicate"] = invalid - 10
    # What was not received, or stays as it was, is no part of what was received.
    numbers |= {("student", "a", "deleted"): 20, ("student", "b", "kept"): 10}
    told = reasons(numbers, TWO_HUNDRED, HoldRules(reject_percent=20))
    sentence = (
        "21 of 100 received students (21.0 %) were left out with faults, over the 20 % limit."
    )
    assert told == ([("reject", sentence)] if held else [])


def test_rows_of_unreadable_role_are_measured_by_all_of_the_file() -> None:
    numbers = {("student", "a", "unchanged"): 100, ("user", None, "invalid"): 10}
    assert rules_of(numbers, TWO_HUNDRED, HoldRules(reject_percent=20)) == []
    numbers["user", None, "invalid"] = 30
    assert reasons(numbers, TWO_HUNDRED, HoldRules(reject_percent=20)) == [
        (
            "reject",
            "30 of 130 received users (23.1 %) were left out with faults, over the 20 % limit.",
        )
    ]


def test_the_reason_names_the_school_most_concerned_and_what_is_left_without_it() -> None:
    before = known({("student", "oak"): 117, ("student", "elm"): 733}, oak="Oak Elementary")
    numbers = {("student", "oak", "deleted"): 117, ("student", "elm", "deleted"): 1}
    numbers["school", "oak", "deleted"] = 1
    assert reasons(numbers, before, HoldRules(delete_percent=10)) == [
        (
            "delete",
            "It deletes 118 of 850 students (13.9 %), over the 10 % limit; 117 of them in Oak "
            "Elementary, which is missing from orgs.csv; without that school: 0.1 %.",
        )
    ]
    assert school_causes(plan(numbers), before) == [
        "Oak Elementary (oak) is missing from orgs.csv."
    ]


OVER_TEN = "over the 10 % limit"


@pytest.mark.parametrize(
    ("deleted", "share", "which", "without"),
    [
        ((30, 11, 0), "41 of 400 students (10.2 %)", "30 of them in Adams", "3.7 %"),
        ((41, 0, 0), "41 of 400 students (10.2 %)", "all of them in Adams", "0.0 %"),
        # From half of the deletions on, a school is named.
        ((21, 20, 1), "42 of 400 students (10.5 %)", "21 of them in Adams", "7.0 %"),
        ((20, 20, 1), "41 of 400 students (10.2 %)", "", ""),
    ],
)
def test_a_school_is_named_that_has_half_of_the_deletions(
    deleted: tuple[int, int, int], share: str, which: str, without: str
) -> None:
    before = known({("student", "a"): 100, ("student", "b"): 200, ("student", "c"): 100}, a="Adams")
    numbers = {("student", s, "deleted"): n for s, n in zip("abc", deleted, strict=True) if n}
    where = f"; {which}; without that school: {without}" if which else ""
    assert reasons(numbers, before, HoldRules(delete_percent=10)) == [
        ("delete", f"It deletes {share}, {OVER_TEN}{where}.")
    ]


def test_no_school_is_named_where_there_is_one_only_or_none_or_it_is_schools_that_go() -> None:
    before = known(
        {
            ("student", "a"): 100,
            ("academic_session", None): 10,
            ("school", "a"): 1,
            ("school", "b"): 1,
        },
        a="Adams",
        b="Baker",
    )
    numbers = {
        ("student", "a", "deleted"): 60,
        ("academic_session", None, "deleted"): 6,
        ("school", "b", "deleted"): 1,
    }
    assert reasons(numbers, before, HoldRules(delete_percent=10, minimum_records=1)) == [
        ("delete", f"It deletes 1 of 2 schools (50.0 %), {OVER_TEN}."),
        ("delete", f"It deletes 6 of 10 academic sessions (60.0 %), {OVER_TEN}."),
        ("delete", f"It deletes 60 of 100 students (60.0 %), {OVER_TEN}."),
    ]


def test_updates_are_told_with_their_share() -> None:
    numbers = {("student", "a", "updated"): 71}
    assert reasons(numbers, TWO_HUNDRED, HoldRules(update_percent=35.5)) == []
    assert reasons(numbers, TWO_HUNDRED, HoldRules(update_percent=35)) == [
        ("update", "It updates 71 of 200 students (35.5 %), over the 35 % limit.")
    ]


def test_a_school_is_told_with_all_that_it_loses_over_the_limit() -> None:
    lost = {("student", "a"): 40, ("teacher", "a"): 5, ("class", "a"): 8}
    others = {("student", "b"): 960, ("teacher", "b"): 95, ("class", "b"): 92}
    before = known({**lost, **others}, a="Adams", b="Baker")
    rules = HoldRules(school_delete_percent=25)
    numbers = {(t, s, "deleted"): n for (t, s), n in lost.items()}
    ((_, told),) = reasons(numbers, before, rules)
    assert told == (
        "Adams loses 8 of 8 classes (100.0 %), 40 of 40 students (100.0 %) and 5 of 5 teachers "
        "(100.0 %), over the 25 % limit for one school."
    )
    ((_, told),) = reasons({("student", "a", "deleted"): 11}, before, rules)
    assert told == "Adams loses 11 of 40 students (27.5 %), over the 25 % limit for one school."


def test_the_limit_of_a_school_is_for_what_is_of_a_school() -> None:
    # Admins of the district are of no school; and a school that goes is no loss of its own.
    before = known(
        {("admin", "d"): 6, ("admin", "a"): 94, ("school", "a"): 1, ("school", "b"): 1},
        a="Adams",
        b="Baker",
    )
    numbers = {("admin", "d", "deleted"): 6, ("school", "b", "deleted"): 1}
    rules = HoldRules(school_delete_percent=25, minimum_records=1)
    assert reasons(numbers, before, rules) == []


def state(*rows: tuple[str | None, bool | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school": pd.Series([school for school, _ in rows], dtype=TEXT),
            "active": pd.Series([active for _, active in rows], dtype="boolean"),
        }
    )


def test_what_was_there_before_are_the_active_records_by_school() -> None:
    schools = pd.DataFrame({"source_id": ["a", "b"], "name": ["Adams", None]}).astype(TEXT)
    before = Known.of(
        {
            "student": state(("a", True), ("a", True), ("b", True), ("a", False), ("b", None)),
            "academic_session": state((None, True), (None, True), (None, False)),
            "contact": state(("a", False)),
        },
        schools,
    )
    assert [before.total(t) for t in ("student", "academic_session", "contact")] == [3, 2, 0]
    assert [before.at("student", school) for school in ("a", "b", "nowhere")] == [2, 1, 0]
    assert [before.school(s) for s in ("a", "b", "c")] == ["Adams", "school b", "school c"]
    assert not before.empty
    assert Known.of({"contact": state(("a", False))}, schools).empty


def test_a_file_with_a_header_only_or_far_shorter_is_told() -> None:
    files = [
        FileRows("users.csv", 1602, 0),
        FileRows("orgs.csv", 4, 4),
        FileRows("classes.csv", 200, 99),
        FileRows("courses.csv", 200, 100),
    ]
    assert file_causes(files) == [
        "users.csv has only its header; before, it had 1,602 rows.",
        "classes.csv has 99 rows; before, it had 200.",
    ]


def test_rejected_rows_are_told_as_a_cause() -> None:
    numbers = {("student", "a", "skipped"): 7, ("class", "a", "invalid"): 2}
    assert rejection_causes(plan(numbers)) == ["9 received records were left out with faults."]
    assert rejection_causes(plan({("student", "a", "updated"): 7})) == []


def people(*rows: tuple[Any, ...]) -> pd.DataFrame:
    columns = ("source_id", "school", "first_name", "last_name", "birth_date", "email")
    frame = pd.DataFrame(list(rows), columns=list(columns)).astype(TEXT)
    frame["enrollment_type"] = pd.Series("student", frame.index, dtype=TEXT)
    return frame


def test_people_under_new_ids_are_found_by_name_and_birth_date_or_by_email() -> None:
    deleted = people(
        ("1", "a", "Ann", "Alder", "2015-01-01", None),
        ("2", "a", "Ben", "Birch", None, "Ben@s.example "),
        ("3", "b", "Cy", "Cedar", None, None),
        ("4", "b", "Dee", "Dogwood", "2014-02-02", "dee@s.example"),
    )
    added = people(
        ("n1", "a", "ANN", "Alder ", "2015-01-01", None),
        ("n2", "a", "Benjamin", "Birch", None, "ben@s.example"),
        ("n3", "b", "Cy", "Cedar", None, None),
        ("n4", "b", "Dee", "Dogwood", "2014-02-03", "other@s.example"),
    )
    pairs = rekeyed_people(added, deleted)
    assert pairs.to_dict("records") == [{"enrollment_type": "student", "school": "a"}] * 2
    assert rekey_causes(pairs, 4, TWO_HUNDRED) == []
    assert rekey_causes(pd.concat([pairs] * 3), 7, TWO_HUNDRED) == [
        "Ids seem to have changed: 6 of the 7 people who would be deleted agree with one who would "
        "be added, in name and birth date or in e-mail; all of them in Adams."
    ]


def test_people_are_compared_with_all_that_are_added_whatever_their_place() -> None:
    deleted = people(
        ("1", "a", "Ann", "Alder", None, None),
        ("2", "b", "Ben", "Birch", None, "ben@s.example"),
        ("3", "c", "Cy", "Cedar", None, "cy@s.example"),
    ).iloc[1:]
    added = people(("n3", "c", "Cy", "Cedar", None, "cy@s.example"))
    assert rekeyed_people(added, deleted)["school"].tolist() == ["c"]


def pairs(*schools: str | None) -> pd.DataFrame:
    return pd.DataFrame({"enrollment_type": "student", "school": list(schools)}).astype(TEXT)


@pytest.mark.parametrize(
    ("schools", "where"),
    [
        (["a"] * 5, "; all of them in Adams"),
        (["b", "a", "a", "b", "a", None], "; 3 of them in Adams"),
        ([None] * 5, ""),
    ],
)
def test_five_people_under_new_ids_are_told_with_the_school_most_are_of(
    schools: list[str | None], where: str
) -> None:
    assert rekey_causes(pairs(*schools[:4]), 9, TWO_HUNDRED) == []
    (told,) = rekey_causes(pairs(*schools), 9, TWO_HUNDRED)
    assert told.startswith(f"Ids seem to have changed: {len(schools)} of the 9 people")
    assert told.endswith(f"in name and birth date or in e-mail{where}.")


@pytest.mark.parametrize("wrong", [{"delete_percent": 101}, {"minimum_records": 0}, {"delete": 1}])
def test_a_threshold_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        HoldRules.model_validate(wrong)
