"""When a plan is held, at the edges of the thresholds, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from roster_pipeline.roster import ENROLLMENT_TYPES, INTEGER, TEXT
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


def test_preview_holds_with_the_thresholds_off() -> None:
    rules = WIZARD.model_copy(update={"preview": True})
    numbers = {("student", "a", "deleted"): 100}
    assert rules_of(numbers, TWO_HUNDRED, rules) == ["preview"]
    assert rules_of({("student", "a", "added"): 1}, known({}), rules) == ["preview"]


@pytest.mark.parametrize(("invalid", "held"), [(20, False), (21, True)])
def test_rejected_rows_hold_over_their_threshold(invalid: int, held: bool) -> None:
    numbers = {("student", "a", "unchanged"): 100 - invalid, ("student", None, "skipped"): 10}
    numbers["student", "a", "duplicate"] = invalid - 10
    told = reasons(numbers, TWO_HUNDRED, HoldRules(reject_percent=20))
    sentence = (
        "21 of 100 received students (21.0 %) were left out with faults, over the 20 % limit."
    )
    assert told == ([("reject", sentence)] if held else [])


def test_rows_of_unreadable_role_are_measured_by_all_of_the_file() -> None:
    numbers = {("student", "a", "unchanged"): 100, ("user", None, "invalid"): 10}
    assert rules_of(numbers, TWO_HUNDRED, HoldRules(reject_percent=20)) == []
    numbers["user", None, "invalid"] = 30
    assert rules_of(numbers, TWO_HUNDRED, HoldRules(reject_percent=20)) == ["reject"]


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


@pytest.mark.parametrize("wrong", [{"delete_percent": 101}, {"minimum_records": 0}, {"delete": 1}])
def test_a_threshold_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        HoldRules.model_validate(wrong)
