"""Oddities: allowed, rarely meant, counted and never rejected."""

from __future__ import annotations

import pandas as pd
import pytest

from roster_pipeline.roster import TEXT, Roster, empty_texts
from roster_pipeline.stages.sanity import LARGE_CLASS, look_for_oddities


def texts(**columns: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=TEXT) for name, values in columns.items()})


def roster(**frames: pd.DataFrame) -> Roster:
    """A roster of one class with a teacher and a student, with frames replaced as told."""
    sound = {
        "school": texts(source_id=["north"], parent_id=["district"]),
        "academic_session": texts(source_id=["year", "fall"], parent_id=[None, "year"]),
        "course": texts(source_id=["math"]),
        "class": texts(source_id=["math1"], course_id=["math"]),
        "student": texts(source_id=["ann"], grades=["05"]),
        "teacher": texts(source_id=["tom"]),
        "enrollment": texts(
            person_id=["ann", "tom"], class_id=["math1", "math1"], role=["student", "teacher"]
        ),
    }
    organizations = texts(source_id=["district"], parent_id=[None])
    return Roster({**sound, **frames}, organizations=organizations)


def oddities(r: Roster) -> dict[str, list[str]]:
    found = {o.name: list(o.source_ids) for o in look_for_oddities(r)}
    return {name: ids for name, ids in found.items() if ids}


def test_a_sound_roster_has_none() -> None:
    assert oddities(roster()) == {}


def test_an_oddity_says_what_it_is_and_of_which_type_its_records_are() -> None:
    told = {o.name: o for o in look_for_oddities(roster())}
    assert told["class_without_teacher"].says == "classes without a teacher"
    assert told["class_without_teacher"].enrollment_type == "class"
    assert told["organization_circle"].enrollment_type == "school"
    assert all(o.says and o.source_ids.dtype == TEXT for o in told.values())


def test_an_enrollment_without_a_role_is_of_no_student_and_no_teacher() -> None:
    unclear = texts(person_id=["ann", "tom"], class_id=["math1", "math1"], role=[None, None])
    assert oddities(roster(enrollment=unclear)) == {
        "class_without_students": ["math1"],
        "class_without_teacher": ["math1"],
    }


def test_a_class_without_students_and_teacher_and_its_people_without_classes_are_told() -> None:
    nobody = texts(person_id=[], class_id=[], role=[])
    assert oddities(roster(enrollment=nobody)) == {
        "student_without_enrollments": ["ann"],
        "teacher_without_classes": ["tom"],
        "class_without_students": ["math1"],
        "class_without_teacher": ["math1"],
    }


def test_a_student_whose_classes_have_no_teacher_is_told_once_and_not_as_without_classes() -> None:
    alone = texts(person_id=["ann"], class_id=["math1"], role=["student"])
    told = oddities(roster(enrollment=alone))
    assert told["student_without_teacher"] == ["ann"]
    assert "student_without_enrollments" not in told


def test_a_course_nobody_teaches_is_told_unless_courses_were_not_sent() -> None:
    idle = roster(course=texts(source_id=["math", "art"]))
    assert oddities(idle) == {"course_without_classes": ["art"]}
    unsent = Roster(idle.frames, organizations=idle.organizations, absent_files=("courses",))
    assert oddities(unsent) == {}


def test_a_student_without_a_grade_is_told() -> None:
    assert oddities(roster(student=texts(source_id=["ann"], grades=[None]))) == {
        "student_without_grade": ["ann"]
    }


@pytest.mark.parametrize(("students", "told"), [(LARGE_CLASS, False), (LARGE_CLASS + 1, True)])
def test_a_class_is_too_large_from_eighty_one_students_on(students: int, told: bool) -> None:
    ids = [f"s{n}" for n in range(students)]
    enrolled = texts(
        person_id=[*ids, "tom"],
        class_id=["math1"] * (students + 1),
        role=["student"] * students + ["teacher"],
    )
    r = roster(enrollment=enrolled, student=texts(source_id=list(ids), grades=["05"] * students))
    assert ("large_class" in oddities(r)) is told


def test_those_in_a_circle_are_told_and_not_those_who_hang_on_it() -> None:
    circle = texts(
        source_id=["a", "b", "c", "below", "top", "under"],
        parent_id=["b", "c", "a", "a", None, "top"],
    )
    assert oddities(roster(academic_session=circle)) == {"session_circle": ["a", "b", "c"]}


def test_a_circle_through_a_district_is_seen() -> None:
    r = roster(school=texts(source_id=["north"], parent_id=["district"]))
    looped = Roster(r.frames, organizations=texts(source_id=["district"], parent_id=["north"]))
    assert oddities(looped) == {"organization_circle": ["north", "district"]}


def test_an_organisation_of_which_a_row_was_rejected_is_told_once() -> None:
    r = roster(school=texts(source_id=["north"], parent_id=["district"]))
    rows = texts(source_id=["district", "north"], parent_id=["north", None])
    assert oddities(Roster(r.frames, organizations=rows)) == {
        "organization_circle": ["north", "district"]
    }


def test_an_empty_roster_has_none() -> None:
    columns = {
        "school": ("source_id", "parent_id"),
        "academic_session": ("source_id", "parent_id"),
        "course": ("source_id",),
        "class": ("source_id", "course_id"),
        "student": ("source_id", "grades"),
        "teacher": ("source_id",),
        "enrollment": ("person_id", "class_id", "role"),
    }
    assert oddities(roster(**{name: empty_texts(*c) for name, c in columns.items()})) == {}
