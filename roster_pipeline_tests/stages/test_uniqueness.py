"""Domains of uniqueness: who collides with whom, what becomes of them, and how they are told.

Guards that people of whom nothing is known but a shared value were taken for one person, and that
a student and a teacher with one sis_id always were.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pandas as pd
import pytest

from roster_pipeline.findings import Outcome
from roster_pipeline.stages.uniqueness import check_uniqueness
from roster_pipeline_tests.stages.passage import (
    Cell,
    Frames,
    added,
    changed,
    clean_roster,
    ended,
    mapped,
    settings,
    small_district,
    told,
)


@pytest.fixture
def district() -> Frames:
    return small_district()


def unique(frames: Frames, **sections: object) -> Outcome:
    district = settings(**sections)
    return check_uniqueness(mapped(frames, district), district)


def test_a_clean_district_has_no_collisions(district: Frames) -> None:
    outcome = unique(district)
    assert outcome.findings.empty
    assert outcome.roster.ended.empty


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("ann@s.example", "ann@s.example"),
        ("ann@s.example", "ANN@S.Example"),
        ("ann@s.example", "  ann@s.example "),
        (
            unicodedata.normalize("NFC", "josé@s.example"),
            unicodedata.normalize("NFD", "josé@s.example"),
        ),
    ],
    ids=["same", "case", "blanks", "unicode form"],
)
def test_e_mails_are_compared_without_case_blanks_and_unicode_form(
    district: Frames, mine: str, theirs: str
) -> None:
    frames = changed(district, "users", "ann", email=mine)
    outcome = unique(changed(frames, "users", "cy", email=theirs))
    assert ended(outcome.roster) == [
        ("student", "ann", "duplicate"),
        ("student", "cy", "duplicate"),
    ]
    assert told(outcome.findings) == [
        ("email_duplicate", "ann", 2, "skipped"),
        ("email_duplicate", "cy", 4, "skipped"),
    ]


def test_values_that_merely_resemble_each_other_do_not_collide(district: Frames) -> None:
    frames = changed(district, "users", "ann", email="jose@s.example")
    assert unique(changed(frames, "users", "cy", email="josé@s.example")).findings.empty


def test_ids_are_compared_exactly(district: Frames) -> None:
    ids = {"attributes": {"student": {"sis_id": "metadata.no"}}}
    frames = changed(district, "users", "ann", metadata__no="a1")
    frames = changed(frames, "users", "ben", metadata__no="A1")
    assert unique(frames, **ids).findings.empty
    frames = changed(frames, "users", "cy", metadata__no="A1")
    assert told(unique(frames, **ids).findings) == [
        ("sis_id_duplicate", "ben", 3, "skipped"),
        ("sis_id_duplicate", "cy", 4, "skipped"),
    ]


def test_blank_values_do_not_collide(district: Frames) -> None:
    frames = changed(district, "users", "ann", email=None)
    assert unique(changed(frames, "users", "ben", email=None)).findings.empty


def test_each_of_three_is_told_with_the_rows_of_all(district: Frames) -> None:
    frames = district
    for source_id in ("ann", "ben", "tess"):
        frames = changed(frames, "users", source_id, email="one@s.example")
    outcome = unique(frames)
    assert told(outcome.findings) == [
        ("email_duplicate", "ann", 2, "skipped"),
        ("email_duplicate", "ben", 3, "skipped"),
        ("email_duplicate", "tess", 5, "skipped"),
    ]
    assert set(outcome.findings["message"]) == {
        "The same email stands in users.csv rows 2, 3, 5.",
    }
    assert "one@" not in " ".join(outcome.findings["message"])


@pytest.mark.parametrize(("number", "more"), [(10, ""), (11, " and 1 more"), (12, " and 2 more")])
def test_of_many_rows_the_first_ten_are_named_and_the_others_counted(
    district: Frames, number: int, more: str
) -> None:
    frames = district
    for n in range(number):
        values: dict[str, Cell] = {"sourcedId": f"s{n}", "email": "one@s.example"}
        frames = added(frames, "users", "ann", **values)
    assert unique(frames).findings["message"].iloc[0] == (
        f"The same email stands in users.csv rows 11, 12, 13, 14, 15, 16, 17, 18, 19, 20{more}."
    )


def test_each_collision_is_told_with_its_own_rows(district: Frames) -> None:
    frames = added(district, "users", "ben", sourcedId="dee", email="cy@s.example")
    frames = added(frames, "users", "ben", sourcedId="eve")
    findings = unique(frames).findings.set_index("source_id")
    says = "The same email stands in users.csv rows {}."
    assert findings["message"].to_dict() == {
        "ben": says.format("3, 12"),
        "cy": says.format("4, 11"),
        "dee": says.format("4, 11"),
        "eve": says.format("3, 12"),
    }
    assert set(findings["attribute"]) == {"email"}


@pytest.mark.parametrize(
    ("policy", "left_out", "severities"),
    [
        ("report", [], ["reported", "reported", "reported"]),
        ("skip_all", ["ann", "ben", "cy"], ["skipped", "skipped", "skipped"]),
        ("keep_first", ["ben", "cy"], ["reported", "skipped", "skipped"]),
    ],
)
def test_the_policy_of_a_domain_decides_who_is_left_out(
    district: Frames, policy: str, left_out: list[str], severities: list[str]
) -> None:
    frames = district
    for source_id in ("ann", "ben", "cy"):
        frames = changed(frames, "users", source_id, metadata__stateId="S-1")
    outcome = unique(
        frames,
        attributes={"student": {"state_id": "metadata.stateId"}},
        uniqueness={"student": [{"attributes": ["state_id"], "on_duplicate": policy}]},
    )
    assert [source_id for _, source_id, _ in ended(outcome.roster)] == left_out
    findings = outcome.findings.sort_values("row")
    assert findings["code"].tolist() == ["state_id_duplicate"] * 3
    assert findings["severity"].tolist() == severities
    assert set(findings["field"]) == {"metadata.stateId"}


def test_a_domain_of_several_attributes_collides_only_where_all_agree(district: Frames) -> None:
    frames = changed(district, "users", "ben", familyName="Alder")
    rule = {"student": [{"attributes": ["last_name", "birth_date"], "on_duplicate": "report"}]}
    assert unique(frames, uniqueness=rule).findings.empty
    frames = changed(frames, "demographics", "ben", birthDate="2017-05-04")
    outcome = unique(frames, uniqueness=rule)
    assert told(outcome.findings) == [
        ("last_name_duplicate", "ann", 2, "reported"),
        ("last_name_duplicate", "ben", 3, "reported"),
    ]
    assert outcome.findings["message"].iloc[0] == (
        "The same last_name and birth_date stands in users.csv rows 2, 3."
    )


def test_a_domain_of_several_attributes_leaves_records_alone_that_lack_one(
    district: Frames,
) -> None:
    frames = changed(district, "users", "ben", familyName="Alder")
    frames = changed(frames, "demographics", "ann", birthDate=None)
    frames = changed(frames, "demographics", "ben", birthDate=None)
    rule = {"student": [{"attributes": ["last_name", "birth_date"]}]}
    assert unique(frames, uniqueness=rule).findings.empty


def test_a_domain_may_be_of_records_that_are_no_people(district: Frames) -> None:
    frames = changed(district, "classes", "m2", title="Math 3")
    outcome = unique(frames, uniqueness={"class": [{"attributes": ["class_name"]}]})
    assert ended(outcome.roster) == [("class", "m1", "duplicate"), ("class", "m2", "duplicate")]


def test_contacts_may_share_an_e_mail_among_each_other_and_with_a_teacher(
    district: Frames,
) -> None:
    frames = changed(district, "users", "gina", email="tess@t.example")
    assert unique(frames).findings.empty


SHARED = "both@s.example"


def shared_by(district: Frames, **teacher: Cell) -> Frames:
    """Cy, a student, and Tom, an aide, with one e-mail."""
    frames = changed(district, "users", "cy", email=SHARED)
    return changed(frames, "users", "tom", email=SHARED, **teacher)


def test_two_people_of_two_types_who_share_an_e_mail_are_left_out(district: Frames) -> None:
    outcome = unique(shared_by(district))
    assert sorted(ended(outcome.roster)) == [
        ("student", "cy", "duplicate"),
        ("teacher", "tom", "duplicate"),
    ]


def test_one_person_in_two_types_is_told_and_stays(district: Frames) -> None:
    outcome = unique(shared_by(district, givenName="CY", familyName=" Cedar "))
    assert outcome.roster.ended.empty
    assert told(outcome.findings) == [
        ("email_duplicate", "cy", 4, "reported"),
        ("email_duplicate", "tom", 6, "reported"),
    ]


def test_a_sis_id_in_common_says_that_an_e_mail_is_of_one_person(district: Frames) -> None:
    numbers = {"attributes": {t: {"sis_id": "identifier"} for t in ("student", "teacher")}}
    frames = shared_by(district, identifier="103", givenName="Thomas")
    outcome = unique(frames, **numbers)
    assert outcome.roster.ended.empty
    assert set(outcome.findings["code"]) == {"email_duplicate", "sis_id_duplicate"}
    assert set(outcome.findings["severity"]) == {"reported"}


def test_a_sis_id_alone_does_not_make_two_people_one(district: Frames) -> None:
    numbers = {"attributes": {t: {"sis_id": "identifier"} for t in ("student", "teacher")}}
    frames = changed(district, "users", "tom", identifier="103")
    outcome = unique(frames, **numbers)
    assert sorted(ended(outcome.roster)) == [
        ("student", "cy", "duplicate"),
        ("teacher", "tom", "duplicate"),
    ]


def test_two_people_without_names_are_not_taken_for_one(district: Frames) -> None:
    frames = shared_by(district, givenName=None, familyName=None)
    frames = changed(frames, "users", "cy", givenName=None, familyName=None)
    assert len(unique(frames).roster.ended) == 2


def test_one_person_twice_in_one_type_is_left_out(district: Frames) -> None:
    frames = added(district, "users", "ann", sourcedId="ann2")
    outcome = unique(frames)
    assert ended(outcome.roster) == [
        ("student", "ann", "duplicate"),
        ("student", "ann2", "duplicate"),
    ]


def test_one_row_in_two_types_does_not_collide_with_itself() -> None:
    # As version 1.2 has a person with two roles.
    roster = clean_roster()
    teachers = roster.frames["teacher"]
    ann = roster.frames["student"].loc[[0], teachers.columns]
    both = pd.concat([teachers, ann], ignore_index=True)
    outcome = check_uniqueness(
        replace(roster, frames={**roster.frames, "teacher": both}), settings()
    )
    assert outcome.findings.empty
    assert outcome.roster.ended.empty
    # Another person with the same address collides with both of what she is.
    shared = changed(small_district(), "users", "ada", email="ann@s.example")
    admins = mapped(shared).frames["admin"]
    outcome = check_uniqueness(
        replace(roster, frames={**roster.frames, "teacher": both, "admin": admins}), settings()
    )
    assert sorted(ended(outcome.roster)) == [
        ("admin", "ada", "duplicate"),
        ("student", "ann", "duplicate"),
        ("teacher", "ann", "duplicate"),
    ]


def test_collisions_are_told_in_the_order_of_the_types_and_of_the_files(district: Frames) -> None:
    frames = district
    for source_id in ("ada", "tess", "cy", "ann"):
        frames = changed(frames, "users", source_id, email="one@s.example")
    assert unique(frames).findings["source_id"].tolist() == ["ann", "cy", "tess", "ada"]


def test_a_record_that_collides_twice_ends_once(district: Frames) -> None:
    frames = added(district, "users", "ann", sourcedId="ann2")
    outcome = unique(frames, attributes={"student": {"sis_id": "identifier"}})
    assert len(outcome.roster.ended) == 2
    assert sorted(outcome.findings["code"]) == [
        *("email_duplicate", "email_duplicate", "sis_id_duplicate", "sis_id_duplicate"),
    ]
