"""Puts a district together: schools, people and classes as the seven frames of OneRoster 1.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc

from roster_pipeline.sample import people as folk
from roster_pipeline.sample.columns import (
    Ints,
    Text,
    booleans,
    dates,
    frame,
    join,
    listed,
    numbers,
    pick,
    ranks,
    stacked,
    where,
    words,
)
from roster_pipeline.sample.curriculum import (
    COURSES,
    GRADES,
    HOMEROOM_YEAR,
    LEVELS,
    SCHOOL_YEAR,
    SESSIONS,
    TERM_ENDS,
    TERM_STARTS,
    TERMS,
)
from roster_pipeline.sample.names import DISTRICTS, school_stems, slug
from roster_pipeline.sample.timetable import NOBODY, Placement, Timetable, make_timetable

DISTRICT_ID = "1"
FIRST_SCHOOL_ID = 1001
_COURSE_GRADES = tuple(",".join(GRADES[g] for g in course.grades) for course in COURSES)
_GUARDIAN_DOMAINS = ("@mail.example", "@inbox.example", "@post.example")


@dataclass(frozen=True)
class _Schools:
    """The schools of the district: their level (position in LEVELS), names and ids, and the
    running total of their shares of the students of their level."""

    level: Ints
    ids: Text
    names: Text
    upto: npt.NDArray[np.float64]

    def of_level(self, level: int) -> Ints:
        """The numbers of the schools of a level."""
        return np.flatnonzero(self.level == level)


def make_district(students: int, seed: int = 1) -> dict[str, pd.DataFrame]:
    """A clean district with exactly that many students.

    Returns the frames of OneRoster 1.1 by file name (orgs, academicSessions, courses, classes,
    users, enrollments, demographics), with the standard's columns in its order, all text, null
    where blank; ready for `oneroster.writer.write_package`. The same arguments always give the
    same frames. About 1.4 guardians and 7 enrollments come with each student.
    """
    if students < 1:
        raise ValueError(f"A district needs at least one student, not {students}.")
    rng = np.random.default_rng(seed)
    town = DISTRICTS[int(rng.integers(len(DISTRICTS)))]
    domain = f"{slug(town)}.example"

    families = folk.make_families(rng, students)
    schools = _make_schools(rng, students)
    placement = _place(rng, schools, families)
    timetable = make_timetable(rng, placement)

    pupils = folk.make_students(rng, families)
    teachers = folk.make_people(rng, "T", len(timetable.teachers), female_share=0.72)
    users = pd.concat(
        [
            _staff(rng, schools, placement, timetable, teachers, domain),
            *_students_and_guardians(rng, schools, placement, families, pupils, domain),
        ],
        ignore_index=True,
    )
    return {
        "orgs": _orgs(schools, town),
        "academicSessions": _sessions(),
        "courses": _courses(),
        "classes": _classes(schools, timetable, teachers),
        "users": users,
        "enrollments": _enrollments(rng, schools, timetable, pupils, teachers),
        "demographics": frame("demographics", folk.demographics(rng, pupils, families.grade)),
    }


def _make_schools(rng: np.random.Generator, students: int) -> _Schools:
    """As many schools of each level as its share of the students needs, of different sizes."""
    counts = [
        max(1, round(students * len(level.grades) / len(GRADES) / level.students_per_school))
        for level in LEVELS
    ]
    level = np.repeat(np.arange(len(LEVELS)), counts)
    stems = words(school_stems(rng, len(level)))
    upto = []
    for count in counts:
        size = rng.lognormal(0.0, 0.25, count)
        upto.append(np.cumsum(size) / size.sum())
    return _Schools(
        level,
        ids=numbers(FIRST_SCHOOL_ID + np.arange(len(level))),
        names=join(stems, " ", pick([level.title for level in LEVELS], level)),
        upto=np.concatenate(upto),
    )


def _place(rng: np.random.Generator, schools: _Schools, families: folk.Families) -> Placement:
    """Sends every student to a school of her level; siblings at one level to the same one."""
    zone = rng.random(len(families.origin))[families.family_of]
    school = np.empty(len(zone), np.int64)
    for number, level in enumerate(LEVELS):
        of_level = schools.of_level(number)
        here = np.isin(families.grade, list(level.grades))
        place = np.searchsorted(schools.upto[of_level], zone[here], side="right")
        school[here] = of_level[np.minimum(place, len(of_level) - 1)]
    return Placement(school, families.grade)


def _orgs(schools: _Schools, town: str) -> pd.DataFrame:
    nces = "1709930"
    count = len(schools.level)
    return frame(
        "orgs",
        {
            "sourcedId": stacked(words([DISTRICT_ID]), schools.ids),
            "name": stacked(words([f"{town} Public Schools"]), schools.names),
            "type": words(["district", *["school"] * count]),
            "identifier": stacked(words([nces]), join(nces, numbers(np.arange(1, count + 1), 5))),
            "parentSourcedId": words([None, *[DISTRICT_ID] * count]),
        },
    )


def _sessions() -> pd.DataFrame:
    return frame(
        "academicSessions",
        {
            "sourcedId": words(s.id for s in SESSIONS),
            "title": words(s.title for s in SESSIONS),
            "type": words(s.type for s in SESSIONS),
            "startDate": words(s.start for s in SESSIONS),
            "endDate": words(s.end for s in SESSIONS),
            "parentSourcedId": words(s.parent for s in SESSIONS),
            "schoolYear": words([SCHOOL_YEAR] * len(SESSIONS)),
        },
    )


def _courses() -> pd.DataFrame:
    """The catalogue of the district, which all its schools draw on."""
    return frame(
        "courses",
        {
            "sourcedId": words(f"CRS-{c.code}" for c in COURSES),
            "schoolYearSourcedId": words([SESSIONS[0].id] * len(COURSES)),
            "title": words(c.title for c in COURSES),
            "courseCode": words(c.code for c in COURSES),
            "grades": words(_COURSE_GRADES),
            "orgSourcedId": words([DISTRICT_ID] * len(COURSES)),
            "subjects": words(c.subject for c in COURSES),
            "subjectCodes": words(c.subject_code for c in COURSES),
        },
    )


def _class_ids(schools: _Schools, timetable: Timetable) -> Text:
    """`1002_1017`: the school, and a number within it."""
    school = timetable.classes["school"].to_numpy()
    return join(pick(schools.ids, school), "_", numbers(1001 + ranks(school)))


def _classes(schools: _Schools, timetable: Timetable, teachers: folk.People) -> pd.DataFrame:
    classes = timetable.classes
    school, course = classes["school"].to_numpy(), classes["course"].to_numpy()
    period, term = classes["period"].to_numpy(), classes["term"].to_numpy()
    teacher = classes["teacher"].to_numpy()
    homeroom = term == HOMEROOM_YEAR
    section = numbers(classes["number"].to_numpy(), 2)
    room = 101 + ranks(timetable.teachers["school"].to_numpy())
    label = where(
        period > 0,
        join(", Period ", numbers(period)),
        join(" - ", pick(teachers.family, teacher)),
    )
    return frame(
        "classes",
        {
            "sourcedId": _class_ids(schools, timetable),
            "title": join(pick([c.title for c in COURSES], course), label),
            "grades": pick(_COURSE_GRADES, course),
            "courseSourcedId": join("CRS-", pick([c.code for c in COURSES], course)),
            "classCode": join(pick([c.code for c in COURSES], course), "-", section),
            "classType": pick(("scheduled", "homeroom"), homeroom.astype(np.int64)),
            "location": join("Room ", numbers(room[teacher])),
            "schoolSourcedId": pick(schools.ids, school),
            "termSourcedIds": pick(TERMS, term),
            "subjects": pick([c.subject for c in COURSES], course),
            "subjectCodes": pick([c.subject_code for c in COURSES], course),
            "periods": where(period > 0, numbers(period)),
        },
    )


def _enrollments(
    rng: np.random.Generator,
    schools: _Schools,
    timetable: Timetable,
    pupils: folk.People,
    teachers: folk.People,
) -> pd.DataFrame:
    """Every class with its teacher, its co-teacher if it has one, and its students.

    A few students came after the year began; their first semester begins with them.
    """
    classes, members = timetable.classes, timetable.students
    number = np.arange(len(classes))
    helped = classes["co_teacher"].to_numpy() != NOBODY
    of_class = np.r_[number, number[helped], members["class"].to_numpy()]
    kind = np.repeat([0, 1, 2], [len(classes), int(helped.sum()), len(members)])
    person = np.r_[
        classes["teacher"].to_numpy(),
        classes["co_teacher"].to_numpy()[helped],
        len(teachers) + members["student"].to_numpy(),
    ]
    order = np.lexsort([kind, of_class])
    of_class, kind, person = of_class[order], kind[order], person[order]

    term = classes["term"].to_numpy()[of_class]
    arrival = np.zeros(len(teachers) + len(pupils), np.int64)
    late = len(teachers) + np.flatnonzero(rng.random(len(pupils)) < 0.03)
    arrival[late] = rng.integers(3, 90, len(late))
    begin = np.maximum(TERM_STARTS[term], TERM_STARTS[0] + arrival[person])
    return frame(
        "enrollments",
        {
            "sourcedId": join("E", numbers(1_000_001 + np.arange(len(order)))),
            "classSourcedId": pick(_class_ids(schools, timetable), of_class),
            "schoolSourcedId": pick(schools.ids, classes["school"].to_numpy()[of_class]),
            "userSourcedId": pick(stacked(teachers.ids, pupils.ids), person),
            "role": pick(("teacher", "teacher", "student"), kind),
            "primary": pick(("true", "false"), np.where(kind == 2, -1, kind)),
            "beginDate": dates(begin),
            "endDate": dates(TERM_ENDS[term]),
        },
    )


def _users(
    who: folk.People,
    role: Text,
    orgs: Text,
    local: Text,
    email: Text,
    **more: Text,
) -> pd.DataFrame:
    """Rows of users.csv; `local` is the username."""
    return frame(
        "users",
        {
            "sourcedId": who.ids,
            "enabledUser": words(["true"] * len(who)),
            "orgSourcedIds": orgs,
            "role": role,
            "username": local,
            "givenName": who.given,
            "familyName": who.family,
            "middleName": who.middle,
            "email": email,
            **more,
        },
    )


def _staff(
    rng: np.random.Generator,
    schools: _Schools,
    placement: Placement,
    timetable: Timetable,
    teachers: folk.People,
    domain: str,
) -> pd.DataFrame:
    """Administrators of the district and of each school, then teachers, then aides."""
    enrolled = np.bincount(placement.school, minlength=len(schools.level))
    central = 2 + len(placement.school) // 5000
    at = np.r_[np.full(central, NOBODY), np.repeat(np.arange(len(enrolled)), 1 + enrolled // 600)]
    aides_at = np.repeat(np.arange(len(enrolled)), -(-enrolled // 150))

    admins = folk.make_people(rng, "A", len(at))
    aides = folk.make_people(rng, "D", len(aides_at), female_share=0.8)
    everyone = (admins, teachers, aides)
    orgs = (
        where(at == NOBODY, words([DISTRICT_ID] * len(at)), pick(schools.ids, at)),
        _one_or_two(rng, schools, timetable.teachers["school"].to_numpy(), share=0.02),
        pick(schools.ids, aides_at),
    )
    first = 20_001
    frames = []
    for who, role, where_to, local in zip(
        everyone,
        ("administrator", "teacher", "aide"),
        orgs,
        folk.initialled(*everyone),
        strict=True,
    ):
        count = len(who)
        frames.append(
            _users(
                who,
                words([role] * count),
                where_to,
                local,
                join(local, f"@{domain}"),
                identifier=numbers(first + rng.permutation(count)),
            )
        )
        first += count
    return pd.concat(frames, ignore_index=True)


def _one_or_two(
    rng: np.random.Generator,
    schools: _Schools,
    school: Ints,
    share: float | npt.NDArray[np.float64],
) -> Text:
    """The school of each person, and for the given share of them the next school as well."""
    both = (rng.random(len(school)) < share) & (len(schools.level) > 1)
    level = schools.level
    next_one = (np.arange(len(level)) + 1) % len(level)
    last_of_level = level != level[next_one]
    next_one[last_of_level] = np.flatnonzero(last_of_level) - 1
    return listed(
        pick(schools.ids, school),
        pick(schools.ids, np.where(both, next_one[school], NOBODY)),
    )


def _students_and_guardians(
    rng: np.random.Generator,
    schools: _Schools,
    placement: Placement,
    families: folk.Families,
    pupils: folk.People,
    domain: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The students and their guardians, who name each other as agents."""
    guardians, family_of_guardian, guardian_role = folk.make_guardians(rng, families)
    local = folk.dotted(pupils)
    secondary = schools.level[placement.school] > 0
    students = _users(
        pupils,
        words(["student"] * len(pupils)),
        _one_or_two(rng, schools, placement.school, share=np.where(secondary, 0.02, 0.0)),
        local,
        join(local, f"@students.{domain}"),
        identifier=folk.state_ids(rng, len(pupils)),
        grades=pick(GRADES, families.grade),
        agentSourcedIds=listed(
            *(pick(guardians.ids, n) for n in families.guardians[families.family_of].T)
        ),
    )

    children = families.children[family_of_guardian].T
    at = np.where(children >= 0, placement.school[children], NOBODY)
    for later in range(1, len(at)):
        at[later][(at[:later] == at[later]).any(axis=0)] = NOBODY
    count = len(guardians)
    reachable = rng.random(count) > 0.12
    mail = pick(_GUARDIAN_DOMAINS, rng.integers(0, len(_GUARDIAN_DOMAINS), count))
    phone = join("+1-312-555-01", numbers(rng.integers(0, 100, count), 2))
    contacts = _users(
        guardians,
        guardian_role,
        listed(*(pick(schools.ids, n) for n in at)),
        pc.utf8_lower(guardians.ids),
        where(reachable, join(folk.dotted(guardians), mail)),
        enabledUser=booleans(reachable),
        phone=where(rng.random(count) < 0.8, phone),
        agentSourcedIds=listed(*(pick(pupils.ids, n) for n in children)),
    )
    return students, contacts
