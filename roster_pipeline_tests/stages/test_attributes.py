"""Attribute mapping: what each attribute is read from, and that nothing else comes along.

The defaults are written out by hand in `DEFAULTS`, once for each type, as the values one record of
the small district has. Guards that a re-mapped date no reader had seen once ended the import.
"""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
from pydantic import ValidationError

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import DeliveryRefused, Outcome
from roster_pipeline.oneroster.standard import RACES
from roster_pipeline.roster import DTYPES
from roster_pipeline.stages.attributes import map_attributes
from roster_pipeline_tests.stages.passage import (
    Frames,
    added,
    changed,
    clean_roster,
    mapped,
    parsed,
    passage,
    settings,
    small_district,
    told,
    with_extra,
    without,
)


@pytest.fixture
def district() -> Frames:
    return small_district()


def outcome_of(frames: Frames, **sections: object) -> Outcome:
    district = settings(**sections)
    return map_attributes(parsed(frames, district).roster, district)


def record(frame: pd.DataFrame, source_id: str) -> dict[str, object]:
    """One record, with None for what is blank."""
    (row,) = frame.loc[frame["source_id"] == source_id].astype(object).to_dict("records")
    return {name: None if pd.isna(value) else value for name, value in row.items()}


def person(source_id: str, number: int, **values: object) -> dict[str, object]:
    return {
        "source_id": source_id,
        "sis_id": source_id,
        "username": source_id,
        "middle_name": None,
        "identifier": str(number),
        "enabled": True,
        "file": "users.csv",
        **values,
    }


DEFAULTS = [
    (
        "school",
        {
            "source_id": "north",
            "name": "North Elementary",
            "identifier": "1701",
            "parent_id": "d",
            "file": "orgs.csv",
            "row": 3,
        },
    ),
    (
        "academic_session",
        {
            "source_id": "fall",
            "title": "Fall",
            "session_type": "term",
            "start_date": date(2026, 8, 20),
            "end_date": date(2026, 12, 20),
            "parent_id": "y26",
            "school_year": "2027",
            "file": "academicSessions.csv",
            "row": 3,
        },
    ),
    (
        "course",
        {
            "source_id": "math",
            "title": "Math",
            "course_code": "MA",
            "grades": "03,04",
            "org_id": "d",
            "school_year_id": "y26",
            "subjects": "Math",
            "subject_codes": None,
            "file": "courses.csv",
            "row": 2,
        },
    ),
    (
        "student",
        person(
            *("ben", 102),
            user_type="student",
            primary_school="north",
            school_ids="north,south",
            first_name="Ben",
            last_name="Birch",
            email="ben@s.example",
            grades="04",
            birth_date=date(2016, 3, 2),
            gender="male",
            contact_ids="gina",
            row=3,
            demographics_row=3,
        ),
    ),
    (
        "teacher",
        person(
            *("tom", 105),
            user_type="aide",
            primary_school="south",
            school_ids="south",
            first_name="Tom",
            last_name="Teak",
            email="tom@t.example",
            row=6,
        ),
    ),
    (
        "admin",
        person(
            *("ada", 106),
            user_type="administrator",
            primary_school="d",
            school_ids="d",
            first_name="Ada",
            last_name="Ash",
            email="ada@t.example",
            row=7,
        ),
    ),
    (
        "contact",
        person(
            *("gina", 107),
            user_type="parent",
            primary_school="north",
            school_ids="north",
            first_name="Gina",
            last_name="Alder",
            email="home@mail.example",
            student_ids="ann,ben",
            row=8,
        ),
    ),
    (
        "class",
        {
            "source_id": "m2",
            "sis_id": "m2",
            "class_name": "Math 4",
            "class_code": None,
            "class_type": "scheduled",
            "school_id": "north",
            "course_id": "math",
            "session_ids": "fall,y26",
            "grades": "04",
            "subjects": None,
            "subject_codes": None,
            "periods": None,
            "location": None,
            "file": "classes.csv",
            "row": 3,
        },
    ),
    (
        "enrollment",
        {
            "source_id": "e3",
            "school_id": "south",
            "class_id": "a1",
            "person_id": "cy",
            "role": "student",
            "is_primary": None,
            "begin_date": date(2026, 8, 20),
            "end_date": date(2026, 12, 20),
            "file": "enrollments.csv",
            "row": 4,
        },
    ),
]


def test_the_hand_written_defaults_cover_every_attribute_of_every_type() -> None:
    assert {name for name, _ in DEFAULTS} == set(ENROLLMENT_TYPES)
    for name, expected in DEFAULTS:
        assert {a.name for a in ENROLLMENT_TYPES[name].attributes} <= set(expected)


@pytest.mark.parametrize(("enrollment_type", "expected"), DEFAULTS, ids=[n for n, _ in DEFAULTS])
def test_without_settings_each_attribute_is_read_from_its_header(
    enrollment_type: str, expected: dict[str, object]
) -> None:
    frame = clean_roster().frames[enrollment_type]
    assert record(frame, str(expected["source_id"])) == expected


@pytest.mark.parametrize("enrollment_type", ENROLLMENT_TYPES)
def test_attributes_have_the_types_of_the_warehouse(enrollment_type: str) -> None:
    frame = clean_roster().frames[enrollment_type]
    for attribute in ENROLLMENT_TYPES[enrollment_type].attributes:
        assert frame[attribute.name].dtype == DTYPES[attribute.kind], attribute.name


def test_an_attribute_can_be_read_from_another_header(district: Frames) -> None:
    students = mapped(district, settings(attributes={"student": {"sis_id": "identifier"}}))
    assert students.frames["student"]["sis_id"].tolist() == ["101", "102", "103"]
    assert students.sources["student"]["sis_id"] == "users.identifier"
    assert students.frames["teacher"]["sis_id"].tolist() == ["tess", "tom"]


def test_the_file_before_a_header_may_be_left_out_or_told(district: Frames) -> None:
    short, long = (
        mapped(district, settings(attributes={"class": {"class_name": header}}))
        for header in ("classType", "classes.classType")
    )
    assert short.frames["class"].equals(long.frames["class"])
    assert short.frames["class"]["class_name"].tolist() == ["scheduled"] * 3


def test_a_metadata_column_can_be_read_with_and_without_its_file(district: Frames) -> None:
    frames = changed(district, "users", "cy", metadata__stateId="S-9")
    for header in ("metadata.stateId", "users.metadata.stateId"):
        roster = mapped(frames, settings(attributes={"student": {"state_id": header}}))
        assert roster.frames["student"]["state_id"].isna().tolist() == [True, True, False]
        assert roster.frames["student"]["state_id"].iloc[2] == "S-9"


def test_own_attributes_of_both_tabs_of_a_student_arrive_in_extra(district: Frames) -> None:
    frames = changed(district, "users", "ann", metadata__stateId="S-1")
    own = {"state_id": "metadata.stateId", "white": "demographics.white"}
    passed = passage(frames, settings(attributes={"student": own}))
    assert with_extra(passed.plan, "student") == {
        "ann": {"state_id": "S-1", "white": "true"},
        "ben": {"white": "false"},
        "cy": {"white": "true"},
    }


def test_an_own_attribute_that_is_blank_for_some_is_null_for_those(district: Frames) -> None:
    # Arrow's join drops null rows when there is only one column to join.
    frames = changed(district, "users", "ben", metadata__stateId="S-2")
    district_settings = settings(attributes={"student": {"state_id": "metadata.stateId"}})
    passed = passage(frames, district_settings)
    assert with_extra(passed.plan, "student") == {
        "ann": None,
        "ben": {"state_id": "S-2"},
        "cy": None,
    }


def test_control_characters_of_an_own_attribute_do_not_break_its_json(district: Frames) -> None:
    frames = changed(district, "users", "ben", metadata__note='a\tb\n"c"\\d\x01é')
    passed = passage(frames, settings(attributes={"student": {"note": "metadata.note"}}))
    assert with_extra(passed.plan, "student")["ben"] == {"note": 'a\tb\n"c"\\d\x01é'}


def test_an_own_attribute_of_a_file_that_is_not_sent_is_an_empty_column(district: Frames) -> None:
    needed = [name for name in district if name != "courses"]
    frames = {name: district[name] for name in needed}
    own = settings(required_files=needed, attributes={"course": {"level": "metadata.level"}})
    passed = passage(frames, own)
    assert passed.mapped.roster.frames["course"]["level"].empty
    assert passed.fate("class", "m1") == "added"


def test_a_file_that_is_not_sent_is_an_enrollment_type_without_records(district: Frames) -> None:
    needed = [name for name in district if name not in ("courses", "orgs")]
    roster = mapped({n: district[n] for n in needed}, settings(required_files=needed))
    assert roster.frames["course"].empty and roster.frames["school"].empty
    assert roster.organizations.empty
    whole = clean_roster()
    for name in ("course", "school"):
        assert dict(roster.frames[name].dtypes) == dict(whole.frames[name].dtypes)
    assert set(roster.organizations.columns) == set(whole.organizations.columns)


def test_one_of_a_users_other_ids_is_read_by_its_type(district: Frames) -> None:
    frames = changed(district, "users", "ann", userIds="{LDAP:a1},{FED:12-3}")
    frames = changed(frames, "users", "ben", userIds="{LDAP:b1},{FEDERAL:9}")
    frames = changed(frames, "users", "cy", userIds="{FED:}")
    own = {"state_id": "userIds.FED", "login": "userIds.LDAP"}
    students = mapped(frames, settings(attributes={"student": own})).frames["student"]
    read = [
        (r["state_id"], r["login"]) for r in (record(students, i) for i in ("ann", "ben", "cy"))
    ]
    assert read == [("12-3", "a1"), (None, "b1"), (None, None)]


def test_of_a_list_read_as_one_value_the_first_element_is_taken(district: Frames) -> None:
    roster = mapped(district, settings(attributes={"student": {"home": "orgSourcedIds"}}))
    assert roster.frames["student"]["home"].tolist() == ["north", "north", "south"]


@pytest.mark.parametrize(
    ("attribute", "value", "read"),
    [
        ("birth_date", "2017-05-04", date(2017, 5, 4)),
        ("enabled", "YES", True),
        ("grades", "k, 9", "KG,09"),
        ("school_ids", "north , south", "north,south"),
    ],
)
def test_a_remapped_text_is_read_in_the_form_of_its_attribute(
    district: Frames, attribute: str, value: str, read: object
) -> None:
    frames = changed(district, "users", "ann", metadata__own=value)
    outcome = outcome_of(frames, attributes={"student": {attribute: "metadata.own"}})
    assert record(outcome.roster.frames["student"], "ann")[attribute] == read
    assert outcome.findings.empty


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("birth_date", "a day of the calendar as YYYY-MM-DD"),
        ("enabled", "true or false"),
        ("grades", "grade levels of the standard"),
    ],
)
def test_a_remapped_value_that_cannot_be_read_is_dropped_and_told(
    district: Frames, attribute: str, words: str
) -> None:
    frames = changed(district, "users", "ben", metadata__own="13/4/2010")
    outcome = outcome_of(frames, attributes={"student": {attribute: "metadata.own"}})
    assert record(outcome.roster.frames["student"], "ben")[attribute] is None
    assert told(outcome.findings) == [("mapped_value_dropped", "ben", 3, "reported")]
    (finding,) = outcome.findings.to_dict("records")
    assert finding["field"] == "metadata.own"
    assert finding["attribute"] == attribute
    assert words in finding["message"]
    assert "13/4" not in finding["message"]


@pytest.mark.parametrize(
    ("enrollment_type", "header", "file", "shown"),
    [
        ("student", "state_no", "users.csv", "familyName"),
        ("student", "demographics.state_no", "demographics.csv", "birthDate"),
        ("class", "classes.state_no", "classes.csv", "termSourcedIds"),
        ("teacher", "demographics.birthDate", "users.csv", "familyName"),
        ("student", "row", "users.csv", "familyName"),
    ],
)
def test_a_header_the_files_lack_is_refused_with_those_they_have(
    district: Frames, enrollment_type: str, header: str, file: str, shown: str
) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        outcome_of(district, attributes={enrollment_type: {"sis_id": header}})
    (finding,) = refused.value.findings
    assert (finding.code, finding.severity, finding.file) == (
        "mapped_header_missing",
        "fatal",
        file,
    )
    assert (finding.enrollment_type, finding.attribute) == (enrollment_type, "sis_id")
    assert shown in finding.message
    assert "enrollment_type" not in finding.message.partition("it has")[2]


@pytest.mark.parametrize("name", ["source_id", "row", "file", "State ID", 'a"b', "Übung", ""])
def test_an_own_attribute_cannot_take_a_name_of_ours_or_one_that_is_no_column(name: str) -> None:
    with pytest.raises(ValidationError, match="small letters"):
        settings(attributes={"student": {name: "users.identifier"}})


def test_a_student_without_demographics_has_none_and_is_not_told(district: Frames) -> None:
    outcome = outcome_of(without(district, "demographics", "ben"))
    ben = record(outcome.roster.frames["student"], "ben")
    assert (ben["birth_date"], ben["gender"], ben["demographics_row"]) == (None, None, None)
    assert outcome.findings.empty


def test_demographics_keep_the_row_they_stand_in(district: Frames) -> None:
    backwards = district["demographics"].iloc[::-1].reset_index(drop=True)
    students = mapped({**district, "demographics": backwards}).frames["student"]
    assert students["demographics_row"].tolist() == [4, 3, 2]
    assert students["gender"].tolist() == ["female", "male", "male"]


def test_demographics_of_nobody_are_told_and_make_no_record(district: Frames) -> None:
    outcome = outcome_of(added(district, "demographics", "ann", sourcedId="nobody"))
    assert told(outcome.findings) == [("demographics_without_user", "nobody", 5, "reported")]
    assert "nobody" not in set(outcome.roster.frames["student"]["source_id"])


def test_demographics_of_a_user_who_was_left_out_are_not_told(district: Frames) -> None:
    frames = added(district, "users", "ann", familyName="Other")
    assert outcome_of(frames).findings.empty


@pytest.mark.parametrize("enrollment_type", ["student", "teacher", "admin", "contact"])
def test_what_nobody_asked_for_is_in_no_frame(enrollment_type: str) -> None:
    frame = clean_roster().frames[enrollment_type]
    unasked = {"phone", "sms", "password", "userIds", "birthDate", "dateLastModified", *RACES}
    assert not unasked & set(frame.columns)
    asked = {a.name for a in ENROLLMENT_TYPES[enrollment_type].attributes}
    assert set(frame.columns) - asked <= {"source_id", "file", "row", "demographics_row"}
    assert not frame.astype(str).isin(["555-0100", "hush"]).any().any()


def test_a_password_cannot_be_asked_for(district: Frames) -> None:
    assert "password" in district["users"]
    with pytest.raises(DeliveryRefused):
        outcome_of(district, attributes={"student": {"secret": "users.password"}})


def test_an_attribute_that_is_asked_for_comes_along(district: Frames) -> None:
    roster = mapped(district, settings(attributes={"contact": {"phone": "users.phone"}}))
    assert roster.frames["contact"]["phone"].tolist() == ["555-0100"] * 3
    assert "phone" not in roster.frames["student"]


def test_attributes_of_a_file_that_is_not_sent_stay_blank_and_are_told(district: Frames) -> None:
    needed = [name for name in district if name != "demographics"]
    outcome = outcome_of({n: district[n] for n in needed}, required_files=needed)
    students = outcome.roster.frames["student"]
    assert students[["birth_date", "gender", "demographics_row"]].isna().all(axis=None)
    assert students["birth_date"].dtype == DTYPES["date"]
    assert not {"birth_date", "gender"} & set(outcome.roster.sources["student"])
    columns = ["code", "file", "field", "enrollment_type", "attribute"]
    assert outcome.findings[columns].to_numpy().tolist() == [
        ["attribute_not_to_be_had", "demographics.csv", "birthDate", "student", "birth_date"],
        ["attribute_not_to_be_had", "demographics.csv", "sex", "student", "gender"],
    ]


def test_an_attribute_its_version_does_not_have_stays_blank_and_is_told(district: Frames) -> None:
    frames = {**district, "users": district["users"].drop(columns="grades")}
    outcome = map_attributes(parsed(frames, version="1.0").roster, settings())
    assert outcome.roster.frames["student"]["grades"].isna().all()
    found = outcome.findings.loc[outcome.findings["enrollment_type"] == "student"]
    assert found[["file", "field", "attribute"]].to_numpy().tolist() == [
        ["users.csv", "middleName", "middle_name"],
        ["users.csv", "enabledUser", "enabled"],
        ["users.csv", "grades", "grades"],
    ]


def test_what_a_district_maps_from_a_file_that_is_not_sent_is_refused(district: Frames) -> None:
    needed = [name for name in district if name != "demographics"]
    frames = {n: district[n] for n in needed}
    own = {"student": {"gender": "demographics.gender"}}
    with pytest.raises(DeliveryRefused) as refused:
        outcome_of(frames, required_files=needed, attributes=own)
    (finding,) = refused.value.findings
    assert (finding.code, finding.file, finding.field) == (
        *("mapped_header_missing", "demographics.csv", "gender"),
    )
