"""Who sits in which class, when, and taught by whom.

Sections are made for whole districts at once: the students of a school are split into groups who
have a lesson together, each group into sections of a good size, and every section gets a period
and a teacher such that nobody is in two places at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from roster_pipeline.sample.columns import Bools, Ints, ranks, unique_groups
from roster_pipeline.sample.curriculum import (
    COURSE_NUMBER,
    COURSES,
    DAYS,
    ELEMENTARY,
    ELEMENTARY_SUBJECTS,
    FIRST_SEMESTER,
    HIGH,
    HOMEROOM,
    HOMEROOM_YEAR,
    LEVELS,
    PERIODS,
    SECOND_SEMESTER,
    SUPPORT,
    WHOLE_YEAR,
    Level,
    Slot,
)

HOMEROOM_SIZE = 24
SECTION_SIZE = 27
STUDENTS_PER_ROTATION = 60
MOST_ROTATIONS = 5
"""A department's lesson lies in at most so many periods, so no teacher has more than five."""
HOMEROOMS_PER_SPECIALIST = 20
CO_TAUGHT = 0.1
LEAVES_EARLY = 0.2
"""The share of the last grade who have no seventh lesson."""
NOBODY = -1
"""Stands for no teacher, and for no course."""

DEPARTMENTS = (HOMEROOM, SUPPORT, *dict.fromkeys(course.subject for course in COURSES))
_DEPARTMENT = {name: number for number, name in enumerate(DEPARTMENTS)}


@dataclass(frozen=True)
class Placement:
    """Where the students are: the school (number) and grade (position) of each."""

    school: Ints
    grade: Ints


@dataclass(frozen=True)
class Timetable:
    """All classes of the district, and who is in them.

    classes: columns school, course, term, period (0: none), number, teacher, co_teacher (NOBODY
        or a teacher); integers all of them. Sorted by school and course.
    students: columns class, student. teachers: columns school, department, one row a teacher.
    """

    classes: pd.DataFrame
    students: pd.DataFrame
    teachers: pd.DataFrame


def make_timetable(rng: np.random.Generator, placement: Placement) -> Timetable:
    """Classes for everyone: homerooms with their specials, and secondary days of seven periods."""
    sections: list[pd.DataFrame] = []
    members: list[pd.DataFrame] = []
    for level in LEVELS:
        who = np.flatnonzero(np.isin(placement.grade, list(level.grades)))
        made = (
            _homerooms(rng, placement, who)
            if level is ELEMENTARY
            else _days(rng, placement, who, level)
        )
        for some_sections, some_members in made:
            start = sum(len(frame) for frame in sections)
            sections.append(some_sections)
            members.append(some_members.assign(section=some_members["section"] + start))
    all_sections = _with_co_teachers(rng, pd.concat(sections, ignore_index=True))
    all_sections, teachers = _with_teacher_numbers(all_sections)
    return _as_classes(all_sections, pd.concat(members, ignore_index=True), teachers)


def _split(rng: np.random.Generator, size: int, *keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Splits rows with equal keys into sections of at most `size`, evenly and at random.

    Returns each row's section, and by section the first row of its group and its number there.
    """
    first, group = unique_groups(*keys)
    shuffled = rng.permutation(len(group))
    place = np.empty(len(group), np.int64)
    place[shuffled] = ranks(group[shuffled])
    per_group = -(-np.bincount(group, minlength=len(first)) // size)
    start = np.cumsum(per_group) - per_group
    section = start[group] + place % per_group[group]
    number = np.arange(int(per_group.sum())) - np.repeat(start, per_group)
    return section, np.repeat(first, per_group), number


def _homerooms(
    rng: np.random.Generator, placement: Placement, who: Ints
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """A frame of sections and one of their members for each elementary subject."""
    school, grade = placement.school[who], placement.grade[who]
    section, first, _ = _split(rng, HOMEROOM_SIZE, school, grade)
    homeroom = np.arange(len(first))
    made = []
    for subject in ELEMENTARY_SUBJECTS:
        courses = np.array([COURSE_NUMBER[f"{subject}{g:02d}"] for g in ELEMENTARY.grades])
        if subject in ELEMENTARY_SUBJECTS[:2]:
            department, teacher = _DEPARTMENT[HOMEROOM], homeroom
        else:
            # A department of its own, or one person would teach both art and music.
            department = len(DEPARTMENTS) + ELEMENTARY_SUBJECTS.index(subject)
            teacher = ranks(school[first]) // HOMEROOMS_PER_SPECIALIST
        term = HOMEROOM_YEAR if subject == "HR" else WHOLE_YEAR
        sections = pd.DataFrame(
            {
                "school": school[first],
                "course": courses[grade[first]],
                "term": term,
                "second_course": NOBODY,
                "period": 0,
                "department": department,
                "teacher": teacher,
            }
        )
        made.append((sections, pd.DataFrame({"section": section, "student": who})))
    return made


def _days(
    rng: np.random.Generator, placement: Placement, who: Ints, level: Level
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """A frame of sections and one of their members for each lesson of a secondary day.

    The students of a grade are split into rotations, who have the same seven lessons in another
    order: lesson n of rotation r is in period (n + r) modulo 7, so nobody has two at once.
    """
    school, grade = placement.school[who], placement.grade[who]
    _, cohort = unique_groups(school, grade)
    rotations = np.clip(np.bincount(cohort) // STUDENTS_PER_ROTATION, 1, MOST_ROTATIONS)
    rotation = (rng.permutation(len(who)) % rotations[cohort] + grade) % MOST_ROTATIONS
    leaves_early = (grade == HIGH.last_grade) & (rng.random(len(who)) < LEAVES_EARLY)
    everyone = _Attending(who, school, grade, rotation)
    most = everyone.only(~leaves_early)
    return [
        _lesson(rng, slot, lesson, most if lesson == PERIODS - 1 else everyone)
        for lesson, slot in enumerate(DAYS[level.name])
    ]


@dataclass(frozen=True)
class _Attending:
    """The students who have a lesson: who they are, and where each is."""

    who: Ints
    school: Ints
    grade: Ints
    rotation: Ints

    def only(self, mask: Bools) -> _Attending:
        return _Attending(self.who[mask], self.school[mask], self.grade[mask], self.rotation[mask])


def _lesson(
    rng: np.random.Generator, slot: Slot, lesson: int, attending: _Attending
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sections of one lesson, their courses, periods and teachers, and their members."""
    school, grade, rotation = attending.school, attending.grade, attending.rotation
    together = np.zeros_like(grade) if slot.mixes_grades else grade
    section, first, number = _split(rng, SECTION_SIZE, school, rotation, together)
    period = (lesson + rotation[first]) % PERIODS + 1

    course = _courses(slot, grade[first], number)
    paired = course[:, 1] != NOBODY

    sections = pd.DataFrame(
        {
            "school": school[first],
            "course": course[:, 0],
            "term": np.where(paired, FIRST_SEMESTER, WHOLE_YEAR),
            "second_course": course[:, 1],
            "period": period,
            "department": _DEPARTMENT[slot.department],
            "teacher": ranks(school[first], period),
        }
    )
    return sections, pd.DataFrame({"section": section, "student": attending.who})


def _courses(slot: Slot, grade: Ints, number: Ints) -> Ints:
    """What sections teach, given their grade and their number in their group.

    Shape (sections, 2): the course of the year or of the first semester, and that of the second
    or NOBODY.
    """
    last = max(slot.options)
    most = max(len(options) for options in slot.options.values())
    courses = np.full((last + 1, most, 2), NOBODY)
    for g, options in slot.options.items():
        for place, codes in enumerate(options):
            courses[g, place, : len(codes)] = [COURSE_NUMBER[code] for code in codes]
    choices = np.array([len(slot.options.get(g, ())) for g in range(last + 1)])
    taught: Ints = courses[grade, number % choices[grade]]
    return taught


def _with_co_teachers(rng: np.random.Generator, sections: pd.DataFrame) -> pd.DataFrame:
    """A support teacher for some of the sections: column co_teacher, a number in the school.

    Those of one period are shared out among the support teachers; where there are no periods,
    one supports five sections.
    """
    chosen = rng.random(len(sections)) < CO_TAUGHT
    chosen &= sections["term"].to_numpy() != HOMEROOM_YEAR
    some = sections.loc[chosen]
    period = some["period"].to_numpy()
    place = ranks(some["school"].to_numpy(), period)
    co_teacher = np.full(len(sections), NOBODY)
    co_teacher[chosen] = np.where(period == 0, place // 5, place)
    return sections.assign(co_teacher=co_teacher)


def _with_teacher_numbers(sections: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Turns numbers within a department of a school into numbers in the district."""
    school = sections["school"].to_numpy()
    helped: Bools = sections["co_teacher"].to_numpy() != NOBODY
    support = np.full(int(helped.sum()), _DEPARTMENT[SUPPORT])
    keys = (
        np.r_[school, school[helped]],
        np.r_[sections["department"].to_numpy(), support],
        np.r_[sections["teacher"].to_numpy(), sections["co_teacher"].to_numpy()[helped]],
    )
    first, person = unique_groups(*keys)
    co_teacher = np.full(len(sections), NOBODY)
    co_teacher[helped] = person[len(sections) :]
    teachers = pd.DataFrame({"school": keys[0][first], "department": keys[1][first]})
    return sections.assign(teacher=person[: len(sections)], co_teacher=co_teacher), teachers


def _as_classes(sections: pd.DataFrame, members: pd.DataFrame, teachers: pd.DataFrame) -> Timetable:
    """A class for each section, and a second one where its second semester has another course."""
    paired = sections.loc[sections["second_course"] != NOBODY]
    second = paired.assign(course=paired["second_course"], term=SECOND_SEMESTER)
    classes = pd.concat([sections, second])
    classes["section"] = classes.index
    order = np.lexsort(
        [classes[name].to_numpy() for name in ("section", "period", "term", "course", "school")]
    )
    classes = classes.iloc[order].reset_index(drop=True)
    classes["number"] = 1 + ranks(classes["school"].to_numpy(), classes["course"].to_numpy())

    position = np.full((len(sections), 2), NOBODY)
    is_second = (classes["term"] == SECOND_SEMESTER).to_numpy().astype(np.int64)
    position[classes["section"].to_numpy(), is_second] = np.arange(len(classes))
    section, student = members["section"].to_numpy(), members["student"].to_numpy()
    of_first, of_second = position[section, 0], position[section, 1]
    both = of_second != NOBODY
    return Timetable(
        classes.drop(columns=["section", "second_course", "department"]),
        pd.DataFrame(
            {"class": np.r_[of_first, of_second[both]], "student": np.r_[student, student[both]]}
        ),
        teachers,
    )
