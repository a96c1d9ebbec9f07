"""Data requirements: what a record may lack, as the design lists it and as a district changes it.

`DESIGN` is written out by hand from the design's rule 4.5. Great Expectations says nothing of
much that goes wrong (a misspelt type, a missing column), so that it is told is tested here too.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import Outcome
from roster_pipeline.roster import Roster
from roster_pipeline.stages.attributes import empty_frame
from roster_pipeline.stages.data_requirements import (
    NOT_NULL,
    SuiteError,
    Suites,
    load_suites,
    require_data,
)
from roster_pipeline_tests.stages.passage import (
    SUITES,
    Frames,
    changed,
    clean_roster,
    ended,
    mapped,
    settings,
    small_district,
    told,
)

DESIGN: dict[str, dict[str, str]] = {
    "student": {
        "primary_school": "skip",
        "sis_id": "skip",
        "last_name": "skip",
        "first_name": "skip",
        "email": "skip",
        "user_type": "skip",
        "grades": "skip",
        "gender": "report",
        "birth_date": "report",
    },
    "teacher": {
        "primary_school": "skip",
        "sis_id": "skip",
        "last_name": "skip",
        "first_name": "skip",
        "email": "skip",
        "user_type": "skip",
    },
    "admin": {
        "primary_school": "skip",
        "sis_id": "skip",
        "last_name": "skip",
        "first_name": "skip",
        "email": "skip",
        "user_type": "skip",
    },
    "class": {"school_id": "skip", "sis_id": "skip", "class_name": "skip"},
    "enrollment": {"school_id": "skip", "class_id": "skip", "person_id": "skip"},
}
HEADERS = {
    "primary_school": ("users.csv", "orgSourcedIds"),
    "last_name": ("users.csv", "familyName"),
    "gender": ("demographics.csv", "sex"),
    "birth_date": ("demographics.csv", "birthDate"),
    "class_name": ("classes.csv", "title"),
    "person_id": ("enrollments.csv", "userSourcedId"),
}


@pytest.fixture(scope="module")
def suites() -> Suites:
    return load_suites(SUITES)


@pytest.fixture
def district() -> Frames:
    return small_district()


def record_without(attribute: str) -> str:
    return f"without-{attribute}"


def lacking_in_turn(roster: Roster) -> Roster:
    """A roster with, for each attribute of each type, one record that lacks just that one. All are
    made of a record that has everything, which stays."""
    frames = {}
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        frame = roster.frames[name].head(1)
        values = frame.to_dict("series")
        whole = [a.name for a in enrollment_type.attributes]
        copies = pd.concat([frame] * (len(whole) + 1), ignore_index=True)
        copies["source_id"] = pd.Series(["whole", *map(record_without, whole)]).astype(
            values["source_id"].dtype
        )
        copies["row"] = pd.Series(range(2, 3 + len(whole)), dtype=values["row"].dtype)
        for position, attribute in enumerate(whole, start=1):
            copies.loc[position, attribute] = pd.NA
        frames[name] = copies
    return replace(roster, frames=frames)


@pytest.fixture(scope="module")
def all_in_turn(suites: Suites) -> Outcome:
    return require_data(lacking_in_turn(clean_roster()), settings(), suites)


ALL = [(n, a.name) for n, t in ENROLLMENT_TYPES.items() for a in t.attributes]


@pytest.mark.parametrize(("enrollment_type", "attribute"), ALL)
def test_a_record_that_lacks_one_attribute_is_treated_as_the_design_says(
    all_in_turn: Outcome, enrollment_type: str, attribute: str
) -> None:
    on_missing = DESIGN.get(enrollment_type, {}).get(attribute)
    source_id = record_without(attribute)
    left = set(all_in_turn.roster.frames[enrollment_type]["source_id"])
    was_skipped = (enrollment_type, source_id, "skipped") in ended(all_in_turn.roster)
    findings = all_in_turn.findings
    mine = findings.loc[
        (findings["source_id"] == source_id) & (findings["enrollment_type"] == enrollment_type)
    ]
    expected = {"skip": "skipped", "report": "reported"}
    assert was_skipped == (on_missing == "skip")
    assert (source_id in left) == (on_missing != "skip")
    assert list(zip(mine["attribute"], mine["code"], mine["severity"], strict=True)) == (
        [(attribute, f"{attribute}_missing", expected[on_missing])] if on_missing else []
    )


def test_the_suites_require_exactly_what_the_design_lists(suites: Suites) -> None:
    required = {
        name: {
            e["kwargs"]["column"]: e["meta"]["on_missing"]
            for e in suite["expectations"]
            if e["type"] == NOT_NULL
        }
        for name, suite in suites.by_type.items()
    }
    assert required == DESIGN


def test_a_record_that_has_everything_stays_and_nothing_is_told_of_it(all_in_turn: Outcome) -> None:
    for frame in all_in_turn.roster.frames.values():
        assert "whole" in set(frame["source_id"])
    assert "whole" not in set(all_in_turn.findings["source_id"])


@pytest.mark.parametrize(("attribute", "place"), HEADERS.items())
def test_a_finding_names_the_file_and_the_header_the_district_knows(
    all_in_turn: Outcome, attribute: str, place: tuple[str, str]
) -> None:
    findings = all_in_turn.findings
    mine = findings.loc[findings["attribute"] == attribute]
    assert set(zip(mine["file"], mine["field"], strict=True)) == {place}
    assert mine["how_to_fix"].tolist() == [f"Fill in {place[1]} in this row."] * len(mine)


def test_a_finding_about_demographics_names_the_row_there(district: Frames, suites: Suites) -> None:
    frames = changed(district, "demographics", "cy", birthDate=None)
    backwards = frames["demographics"].iloc[::-1].reset_index(drop=True)
    outcome = require_data(mapped({**frames, "demographics": backwards}), settings(), suites)
    assert told(outcome.findings) == [("birth_date_missing", "cy", 2, "reported")]
    assert outcome.findings["file"].tolist() == ["demographics.csv"]


def test_a_record_that_lacks_several_attributes_ends_once_with_all_of_them_told(
    district: Frames, suites: Suites
) -> None:
    frames = changed(district, "users", "ben", email=None, familyName=None, givenName=None)
    outcome = require_data(mapped(frames), settings(), suites)
    assert ended(outcome.roster) == [("student", "ben", "skipped")]
    assert told(outcome.findings) == [
        ("email_missing", "ben", 3, "skipped"),
        ("first_name_missing", "ben", 3, "skipped"),
        ("last_name_missing", "ben", 3, "skipped"),
    ]


def test_results_are_matched_to_their_attribute_in_whatever_order_they_come(
    district: Frames, suites: Suites
) -> None:
    student = suites.by_type["student"]
    backwards = Suites({"student": {**student, "expectations": student["expectations"][::-1]}})
    frames = changed(district, "users", "ann", email=None)
    frames = changed(frames, "users", "ben", grades=None)
    frames = changed(frames, "demographics", "cy", sex=None)
    forth, back = (
        require_data(mapped(frames), settings(), s)
        for s in (Suites({"student": student}), backwards)
    )
    assert (
        told(forth.findings)
        == told(back.findings)
        == [
            ("email_missing", "ann", 2, "skipped"),
            ("gender_missing", "cy", 4, "reported"),
            ("grades_missing", "ben", 3, "skipped"),
        ]
    )


@pytest.mark.parametrize(
    ("choice", "findings", "outcomes"),
    [
        (None, [("email_missing", "ann", 2, "skipped")], [("student", "ann", "skipped")]),
        ("skip", [("email_missing", "ann", 2, "skipped")], [("student", "ann", "skipped")]),
        ("report", [("email_missing", "ann", 2, "reported")], []),
        ("ignore", [], []),
    ],
)
def test_a_district_chooses_what_becomes_of_a_record_without_an_attribute(
    district: Frames,
    suites: Suites,
    choice: str | None,
    findings: list[tuple[str, str, int, str]],
    outcomes: list[tuple[str, str, str]],
) -> None:
    chosen = {"student": {"email": choice}} if choice else {}
    roster = mapped(changed(district, "users", "ann", email=None))
    only = Suites({"student": suites.by_type["student"]})
    outcome = require_data(roster, settings(data_requirements=chosen), only)
    assert told(outcome.findings) == findings
    assert ended(outcome.roster) == outcomes


def test_the_choice_for_one_type_leaves_the_others_as_they_were(
    district: Frames, suites: Suites
) -> None:
    frames = changed(district, "users", "ann", email=None)
    frames = changed(frames, "users", "tess", email=None)
    chosen = settings(data_requirements={"student": {"email": "ignore"}})
    outcome = require_data(mapped(frames), chosen, suites)
    assert told(outcome.findings) == [("email_missing", "tess", 5, "skipped")]


def test_an_attribute_of_the_districts_own_may_be_required(
    district: Frames, suites: Suites
) -> None:
    frames = changed(district, "users", "ann", metadata__stateId="S-1")
    own = settings(
        attributes={"student": {"state_id": "metadata.stateId"}},
        data_requirements={"student": {"state_id": "skip"}},
    )
    outcome = require_data(mapped(frames, own), own, suites)
    assert told(outcome.findings) == [
        ("state_id_missing", "ben", 3, "skipped"),
        ("state_id_missing", "cy", 4, "skipped"),
    ]
    assert outcome.findings["message"].iloc[0] == (
        "The student has no state_id (metadata.stateId is blank)."
    )
    assert outcome.roster.frames["student"]["source_id"].tolist() == ["ann"]


def test_a_type_without_a_suite_may_have_requirements(district: Frames, suites: Suites) -> None:
    assert "contact" not in suites.by_type
    chosen = settings(data_requirements={"contact": {"email": "report"}})
    outcome = require_data(clean_roster(), chosen, suites)
    assert told(outcome.findings) == [("email_missing", "gale", 10, "reported")]


def test_nobody_is_asked_for_what_the_files_cannot_have(district: Frames, suites: Suites) -> None:
    needed = [name for name in district if name != "demographics"]
    frames = changed({n: district[n] for n in needed}, "users", "ann", email=None)
    without_demographics = settings(required_files=needed)
    outcome = require_data(mapped(frames, without_demographics), without_demographics, suites)
    assert told(outcome.findings) == [("email_missing", "ann", 2, "skipped")]


def expectation(
    column: str = "email",
    kind: str = "expect_column_values_to_not_be_null",
    severity: str = "critical",
    **more: object,
) -> dict[str, Any]:
    return {
        "type": kind,
        "kwargs": {"column": column, **more},
        "severity": severity,
        "meta": {"code": f"{column}_missing", "on_missing": "skip"},
    }


def student_suite(*expectations: Mapping[str, Any]) -> Suites:
    return Suites({"student": {"name": "student", "expectations": list(expectations)}})


@pytest.mark.parametrize(
    "misspelt",
    [
        expectation("grades", kind="expect_column_values_to_not_be_nul"),
        expectation("grades", severity="high"),
    ],
    ids=["type", "severity"],
)
def test_a_misspelt_expectation_is_an_error_that_names_it(
    district: Frames, misspelt: dict[str, Any]
) -> None:
    with pytest.raises(SuiteError) as error:
        require_data(clean_roster(), settings(), student_suite(expectation(), misspelt))
    message = str(error.value)
    assert "expectations/student.json" in message
    assert f"{misspelt['type']} of grades, severity {misspelt['severity']}" in message
    assert "of email" not in message


def test_an_expectation_on_a_column_that_is_not_there_is_an_error(district: Frames) -> None:
    with pytest.raises(SuiteError, match="'shoe_size' could not be evaluated"):
        require_data(clean_roster(), settings(), student_suite(expectation("shoe_size")))


def test_an_email_without_the_form_of_one_is_told_and_goes_in(
    district: Frames, suites: Suites
) -> None:
    roster = mapped(changed(district, "users", "ann", email="nowhere"))
    outcome = require_data(roster, settings(), suites)
    assert told(outcome.findings) == [("email_malformed", "ann", 2, "reported")]
    assert "ann" in set(outcome.roster.frames["student"]["source_id"])


def test_ignoring_an_attribute_leaves_out_all_that_is_expected_of_it(district: Frames) -> None:
    form = expectation(kind="expect_column_values_to_match_regex", regex="@")
    roster = mapped(changed(district, "users", "ann", email="nowhere"))
    both = student_suite(form, expectation())
    assert told(require_data(roster, settings(), both).findings) == [
        ("email_missing", "ann", 2, "skipped"),
    ]
    ignored = settings(data_requirements={"student": {"email": "ignore"}})
    assert require_data(roster, ignored, both).findings.empty


def test_a_choice_about_a_missing_value_leaves_the_form_of_one_as_it_was(
    district: Frames, suites: Suites
) -> None:
    roster = mapped(changed(district, "users", "ann", email="nowhere"))
    chosen = settings(data_requirements={"student": {"email": "skip"}})
    outcome = require_data(roster, chosen, suites)
    assert told(outcome.findings) == [("email_malformed", "ann", 2, "reported")]


def test_a_choice_for_an_attribute_of_the_suite_is_told_once(
    district: Frames, suites: Suites
) -> None:
    roster = mapped(changed(district, "users", "ann", grades=None))
    chosen = settings(data_requirements={"student": {"grades": "report"}})
    outcome = require_data(roster, chosen, suites)
    assert told(outcome.findings) == [("grades_missing", "ann", 2, "reported")]


def test_a_type_without_records_does_not_hide_what_others_lack(
    district: Frames, suites: Suites
) -> None:
    roster = mapped(changed(district, "users", "ann", email=None))
    no_courses = {**roster.frames, "course": empty_frame(ENROLLMENT_TYPES["course"])}
    outcome = require_data(replace(roster, frames=no_courses), settings(), suites)
    assert told(outcome.findings) == [("email_missing", "ann", 2, "skipped")]


def test_frames_without_records_pass(district: Frames, suites: Suites) -> None:
    roster = clean_roster()
    empty = replace(roster, frames={n: empty_frame(t) for n, t in ENROLLMENT_TYPES.items()})
    outcome = require_data(empty, settings(), suites)
    assert outcome.findings.empty
    assert outcome.roster.ended.empty


def test_a_clean_district_passes_whole(district: Frames, suites: Suites) -> None:
    roster = clean_roster()
    outcome = require_data(roster, settings(), suites)
    assert outcome.findings.empty
    assert all(outcome.roster.frames[n].equals(f) for n, f in roster.frames.items())


def test_validation_says_nothing_and_leaves_the_log_as_it_was(
    district: Frames, suites: Suites, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("great_expectations")
    level = logger.level
    frames = changed(district, "users", "ann", email=None)
    require_data(mapped(frames), settings(), suites)
    assert logger.level == level
    assert capfd.readouterr() == ("", "")


def test_great_expectations_is_imported_only_where_it_validates() -> None:
    code = (
        "import sys; import roster_pipeline.stages.data_requirements; "
        "sys.exit('great_expectations' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_great_expectations_comes_without_the_libraries_for_distributions(
    district: Frames, suites: Suites
) -> None:
    frames = changed(district, "users", "ann", email=None)
    assert not require_data(mapped(frames), settings(), suites).findings.empty
    assert not {"scipy.stats", "altair"} & sys.modules.keys()


def test_suites_of_no_enrollment_type_are_refused_with_the_types(tmp_path: Path) -> None:
    (tmp_path / "pupil.json").write_text(json.dumps({"name": "pupil", "expectations": []}))
    with pytest.raises(SuiteError, match=r"pupil.json: there is no enrollment type 'pupil'.*stud"):
        load_suites(tmp_path)


def test_a_suite_that_is_no_json_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "student.json").write_text("{")
    with pytest.raises(SuiteError, match=r"student.json: not valid JSON"):
        load_suites(tmp_path)


def test_a_folder_without_suites_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no expectation suites"):
        load_suites(tmp_path)
