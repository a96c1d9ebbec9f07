"""Parsing: every row that arrived is a record, has ended with a reason, or is not counted at all.

Guards above all the accounting: a row whose role is blank once travelled on in no enrollment type
and vanished without a word.
"""

from __future__ import annotations

import pandas as pd
import pytest

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.oneroster.standard import DATA_FILES
from roster_pipeline.stages.parse import ParsedFile
from roster_pipeline_tests.stages.passage import (
    Frames,
    added,
    as_file,
    changed,
    ended,
    lines_of,
    mapped,
    parsed,
    passage,
    row_of,
    settings,
    small_district,
    told,
    without,
)


@pytest.fixture
def district() -> Frames:
    return small_district()


def ids(frame: pd.DataFrame) -> list[str]:
    return frame["sourcedId"].tolist()


def test_a_clean_delivery_is_read_whole_and_nothing_is_told(district: Frames) -> None:
    outcome = parsed(district)
    assert outcome.findings.empty
    assert outcome.roster.ended.empty
    assert outcome.version == "1.1"
    assert {name: ids(frame) for name, frame in outcome.roster.frames.items()} == {
        name: ids(frame) for name, frame in district.items()
    }


def test_each_file_is_listed_with_its_mode_and_the_rows_that_arrived(district: Frames) -> None:
    lines = lines_of(district, "enrollments")
    lines[2] = "e2,short"
    files = parsed(district, replaced={"enrollments": as_file(lines)}).files
    assert sorted(files, key=lambda f: f.file) == [
        ParsedFile("academicSessions.csv", "bulk", 2),
        ParsedFile("classes.csv", "bulk", 3),
        ParsedFile("courses.csv", "bulk", 2),
        ParsedFile("demographics.csv", "bulk", 3),
        ParsedFile("enrollments.csv", "bulk", 6),
        ParsedFile("orgs.csv", "bulk", 3),
        ParsedFile("users.csv", "bulk", 9),
    ]


def test_a_ragged_row_is_invalid_and_told_with_its_row_and_id(district: Frames) -> None:
    lines = lines_of(district, "enrollments")
    lines[3] = lines[3].rpartition(",")[0]
    outcome = parsed(district, replaced={"enrollments": as_file(lines)})
    assert ended(outcome.roster) == [("enrollment", "e3", "invalid")]
    assert told(outcome.findings) == [("row_ragged", "e3", 4, "skipped")]
    assert ids(outcome.roster.frames["enrollments"]) == ["e1", "e2", "e4", "e5", "e6"]


@pytest.mark.parametrize(
    ("source_id", "enrollment_type"),
    [("ann", "student"), ("tom", "teacher"), ("ada", "admin"), ("gus", "contact")],
)
def test_a_ragged_user_is_counted_under_the_type_of_the_role_that_stands_in_it(
    district: Frames, source_id: str, enrollment_type: str
) -> None:
    lines = lines_of(district, "users")
    row = row_of(district, "users", source_id)
    lines[row - 1] += ",surplus"
    outcome = parsed(district, replaced={"users": as_file(lines)})
    assert ended(outcome.roster) == [(enrollment_type, source_id, "invalid")]
    assert told(outcome.findings) == [("row_ragged", source_id, row, "skipped")]


def test_a_ragged_user_without_a_readable_role_is_counted_as_a_user(district: Frames) -> None:
    lines = lines_of(district, "users")
    lines[1] = "ann"
    outcome = parsed(district, replaced={"users": as_file(lines)})
    assert ended(outcome.roster) == [("user", "ann", "invalid")]


def test_a_file_that_mostly_does_not_fit_its_header_is_refused(district: Frames) -> None:
    lines = lines_of(district, "classes")
    broken = [lines[0], lines[1], "m2,short", "a1,short"]
    with pytest.raises(DeliveryRefused) as refused:
        parsed(district, replaced={"classes": as_file(broken)})
    (finding,) = refused.value.findings
    assert (finding.code, finding.file, finding.severity) == (
        *("file_mostly_ragged", "classes.csv", "fatal"),
    )
    assert "2 of 3 rows" in finding.message


def test_blank_fields_beyond_the_header_are_cut_off_and_told(district: Frames) -> None:
    lines = lines_of(district, "courses")
    lines[2] += ",,"
    outcome = parsed(district, replaced={"courses": as_file(lines)})
    assert told(outcome.findings) == [("row_overwide", "art", 3, "reported")]
    assert outcome.roster.ended.empty
    assert outcome.roster.frames["courses"]["title"].tolist() == ["Math", "Art"]


def test_a_record_without_sourcedid_is_invalid_and_told(district: Frames) -> None:
    outcome = parsed(changed(district, "users", "ben", sourcedId=None))
    assert ended(outcome.roster) == [("student", None, "invalid")]
    assert told(outcome.findings) == [("source_id_missing", None, 3, "skipped")]


def test_an_unreadable_required_value_makes_the_record_invalid(district: Frames) -> None:
    outcome = parsed(changed(district, "academicSessions", "fall", startDate="20 August"))
    assert ended(outcome.roster) == [("academic_session", "fall", "invalid")]
    (finding,) = outcome.findings.to_dict("records")
    assert (finding["code"], finding["file"], finding["row"], finding["field"]) == (
        *("value_unreadable", "academicSessions.csv", 3, "startDate"),
    )
    assert finding["message"] == (
        "startDate cannot be read; it must be a day of the calendar as YYYY-MM-DD."
    )


def test_two_unreadable_required_values_are_two_findings_of_one_ended_record(
    district: Frames,
) -> None:
    outcome = parsed(changed(district, "academicSessions", "fall", startDate="x", endDate="y"))
    assert ended(outcome.roster) == [("academic_session", "fall", "invalid")]
    assert outcome.findings["field"].tolist() == ["startDate", "endDate"]


def test_an_unreadable_optional_value_is_dropped_and_told_and_the_record_stays(
    district: Frames,
) -> None:
    outcome = parsed(changed(district, "enrollments", "e2", endDate="2027-02-30"))
    assert outcome.roster.ended.empty
    assert told(outcome.findings) == [("value_dropped", "e2", 3, "reported")]
    assert outcome.roster.frames["enrollments"]["endDate"].isna().tolist() == [
        *(False, True, False, False, False, False),
    ]


def test_messages_do_not_repeat_the_unreadable_value(district: Frames) -> None:
    outcome = parsed(changed(district, "demographics", "ann", birthDate="4th of May 2017"))
    assert not outcome.findings["message"].str.contains("May").any()


@pytest.mark.parametrize("role", [None, "wizard"])
def test_a_user_of_unknown_role_is_invalid_instead_of_lost(
    district: Frames, role: str | None
) -> None:
    outcome = parsed(changed(district, "users", "ann", role=role))
    assert ended(outcome.roster) == [("user", "ann", "invalid")]
    code = "value_missing" if role is None else "value_unreadable"
    assert told(outcome.findings) == [(code, "ann", 2, "skipped")]
    assert "administrator" in outcome.findings["message"].iloc[0]


@pytest.mark.parametrize("word", [None, "shool"])
def test_an_organisation_of_unknown_type_is_invalid_instead_of_a_school(
    district: Frames, word: str | None
) -> None:
    outcome = parsed(changed(district, "orgs", "north", type=word))
    assert ended(outcome.roster) == [("school", "north", "invalid")]
    assert outcome.findings["field"].tolist() == ["type"]


def test_a_row_that_stands_twice_counts_once_and_the_second_is_a_duplicate(
    district: Frames,
) -> None:
    outcome = parsed(added(district, "users", "tess"))
    assert ended(outcome.roster) == [("teacher", "tess", "duplicate")]
    assert told(outcome.findings) == [("record_repeated", "tess", 11, "reported")]
    assert ids(outcome.roster.frames["users"]).count("tess") == 1


def test_rows_of_one_id_that_differ_are_all_left_out(district: Frames) -> None:
    frames = added(district, "users", "tess", familyName="Thistle")
    outcome = parsed(frames)
    assert ended(outcome.roster) == [("teacher", "tess", "duplicate")] * 2
    assert told(outcome.findings) == [
        ("source_id_repeated", "tess", 11, "skipped"),
        ("source_id_repeated", "tess", 5, "skipped"),
    ]
    assert "tess" not in ids(outcome.roster.frames["users"])


def test_a_repeated_row_falls_with_a_third_of_its_id_that_differs(district: Frames) -> None:
    frames = added(added(district, "users", "tess"), "users", "ada", sourcedId="tess")
    outcome = parsed(frames)
    assert sorted(ended(outcome.roster)) == [
        ("admin", "tess", "duplicate"),
        ("teacher", "tess", "duplicate"),
        ("teacher", "tess", "duplicate"),
    ]
    assert set(outcome.findings["code"]) == {"source_id_repeated"}
    assert sorted(outcome.findings["row"]) == [5, 11, 12]


def test_an_invalid_row_does_not_take_the_good_one_of_its_id_along(district: Frames) -> None:
    frames = added(district, "academicSessions", "fall", startDate="soon")
    outcome = parsed(frames)
    assert ended(outcome.roster) == [("academic_session", "fall", "invalid")]
    assert ids(outcome.roster.frames["academicSessions"]) == ["y26", "fall"]


def test_a_role_can_be_another_type(district: Frames) -> None:
    roster = mapped(district, settings(user_types={"aide": "admin"}))
    assert roster.frames["admin"]["source_id"].tolist() == ["tom", "ada"]
    assert roster.frames["teacher"]["source_id"].tolist() == ["tess"]


def test_an_ignored_role_is_received_and_filtered_and_nothing_is_told(district: Frames) -> None:
    outcome = parsed(district, settings(user_types={"guardian": "ignore", "relative": "ignore"}))
    assert ended(outcome.roster) == [("user", "gus", "filtered"), ("user", "gale", "filtered")]
    assert outcome.findings.empty


def test_organisations_that_are_no_schools_are_not_counted_but_can_be_referred_to(
    district: Frames,
) -> None:
    passed = passage(district)
    assert passed.received()["school"] == 2
    assert passed.mapped.roster.organizations["source_id"].tolist() == ["d"]
    assert passed.fate("admin", "ada") == "added"
    assert passed.findings.empty


def test_demographics_are_not_counted_even_when_they_cannot_be_read(district: Frames) -> None:
    outcome = parsed(changed(district, "demographics", "ann", sourcedId="not an id"))
    assert outcome.roster.ended.empty
    assert told(outcome.findings) == [("value_unreadable", None, 2, "skipped")]


def test_all_missing_files_are_named_at_once(district: Frames) -> None:
    two = {name: district[name] for name in ("orgs", "users")}
    with pytest.raises(DeliveryRefused) as refused:
        parsed(two)
    assert [f.code for f in refused.value.findings] == ["file_missing"] * 5
    missing = {f"{name}.csv" for name in DATA_FILES} - {"orgs.csv", "users.csv"}
    assert {f.file for f in refused.value.findings} == missing


def test_a_file_that_is_not_required_may_be_missing_and_is_remembered(district: Frames) -> None:
    needed = [name for name in DATA_FILES if name != "demographics"]
    frames = {name: district[name] for name in needed}
    outcome = parsed(frames, settings(required_files=needed))
    assert outcome.roster.absent_files == ("demographics",)
    assert outcome.findings.empty


def test_faults_of_several_files_are_refused_together(district: Frames) -> None:
    lines = lines_of(district, "users")
    headless = [line.partition(",")[2] for line in lines]
    with pytest.raises(DeliveryRefused) as refused:
        parsed(district, replaced={"users": as_file(headless), "orgs": b""})
    told_of = {(f.code, f.file) for f in refused.value.findings}
    assert told_of == {
        ("header_missing", "users.csv"),
        ("file_empty", "orgs.csv"),
    }
    assert all(f.severity == "fatal" and f.how_to_fix for f in refused.value.findings)
    assert "orgs.csv is empty" in str(refused.value)


def test_an_unknown_version_is_refused_with_those_we_read(district: Frames) -> None:
    manifest = as_file(["propertyName,value", "oneroster.version,7.0"])
    with pytest.raises(DeliveryRefused) as refused:
        parsed(district, replaced={"manifest": manifest})
    (finding,) = refused.value.findings
    assert (finding.code, finding.file) == ("version_unknown", "manifest.csv")
    assert "7.0" in finding.message
    assert "1.1" in finding.message


def test_a_gradebook_file_is_left_alone_and_told(district: Frames) -> None:
    outcome = parsed(district, replaced={"results": b"sourcedId\nr1\n"})
    assert outcome.findings["code"].tolist() == ["file_left_alone"]
    assert "results" not in outcome.roster.frames


def test_every_row_of_every_file_is_accounted_for(district: Frames) -> None:
    frames = without(district, "demographics", "cy")
    frames = changed(frames, "users", "ann", role=None)
    frames = changed(frames, "classes", "m2", sourcedId=None)
    frames = added(frames, "enrollments", "e1")
    frames = added(frames, "courses", "math", title="Other")
    lines = lines_of(frames, "enrollments")
    lines[6] = lines[6].rpartition(",")[0]
    passed = passage(frames, replaced={"enrollments": as_file(lines)})
    assert passed.received() == {
        "school": 2,
        "academic_session": 2,
        "course": 3,
        "class": 3,
        "student": 2,
        "user": 1,
        "teacher": 2,
        "admin": 1,
        "contact": 3,
        "enrollment": 7,
    }


def test_what_ended_is_listed_with_its_first_school_its_file_and_its_row(district: Frames) -> None:
    frames = changed(district, "users", "ben", role="wizard")
    frames = changed(frames, "users", "cy", enabledUser="perhaps")
    frames = changed(frames, "classes", "a1", classType="odd")
    outcome = parsed(frames, settings(user_types={"administrator": "ignore"}))
    listed = outcome.roster.ended.sort_values(["file", "row"])
    assert listed.to_numpy().tolist() == [
        ["class", "a1", "south", "classes.csv", 4, "invalid"],
        ["user", "ben", "north", "users.csv", 3, "invalid"],
        ["student", "cy", "south", "users.csv", 4, "invalid"],
        ["user", "ada", "d", "users.csv", 7, "filtered"],
    ]
    found = outcome.findings[["source_id", "school", "file", "row", "enrollment_type"]]
    assert sorted(found.to_numpy().tolist()) == [
        ["a1", "south", "classes.csv", 4, "class"],
        ["ben", "north", "users.csv", 3, "user"],
        ["cy", "south", "users.csv", 4, "student"],
    ]


def test_an_organisation_whose_row_was_rejected_is_still_known_by_id_and_kind(
    district: Frames,
) -> None:
    frames = added(district, "orgs", "d", name="Other Schools")
    frames = added(frames, "orgs", "d", sourcedId=None)
    frames = added(frames, "orgs", "north", sourcedId="west", type=None)
    known = parsed(frames).roster.organizations.drop_duplicates("source_id")
    assert known[["source_id", "org_type", "file", "row"]].to_numpy().tolist() == [
        ["d", "district", "orgs.csv", 2],
    ]
