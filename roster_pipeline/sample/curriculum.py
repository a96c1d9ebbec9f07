"""What is taught: the levels of schools, the school year, the courses and who takes which when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRADES = ("KG", *(f"{n:02d}" for n in range(1, 13)))
"""Grades are counted by their position here: 0 is kindergarten, 12 the last year."""


@dataclass(frozen=True)
class Level:
    """A level of schools: its grades (positions in GRADES) and how many students a school has."""

    name: str
    title: str
    first_grade: int
    last_grade: int
    students_per_school: int

    @property
    def grades(self) -> range:
        """The positions of its grades."""
        return range(self.first_grade, self.last_grade + 1)


LEVELS = (
    Level("elementary", "Elementary School", 0, 5, 450),
    Level("middle", "Middle School", 6, 8, 700),
    Level("high", "High School", 9, 12, 1400),
)
ELEMENTARY, MIDDLE, HIGH = LEVELS


@dataclass(frozen=True)
class Session:
    """One academic session. `end` is the day after the last (the standard's end is exclusive)."""

    id: str
    title: str
    type: str
    start: str
    end: str
    parent: str | None


SCHOOL_YEAR = "2027"
"""The year in which the school year ends."""

SESSIONS = (
    Session("SY2027", "School Year 2026-2027", "schoolYear", "2026-08-17", "2027-06-05", None),
    Session("S1-2027", "Semester 1", "semester", "2026-08-17", "2027-01-16", "SY2027"),
    Session("S2-2027", "Semester 2", "semester", "2027-01-19", "2027-06-05", "SY2027"),
    Session("Q1-2027", "Quarter 1", "gradingPeriod", "2026-08-17", "2026-10-17", "S1-2027"),
    Session("Q2-2027", "Quarter 2", "gradingPeriod", "2026-10-19", "2027-01-16", "S1-2027"),
    Session("Q3-2027", "Quarter 3", "gradingPeriod", "2027-01-19", "2027-03-27", "S2-2027"),
    Session("Q4-2027", "Quarter 4", "gradingPeriod", "2027-04-05", "2027-06-05", "S2-2027"),
)

TERMS = ("S1-2027,S2-2027", "S1-2027", "S2-2027", "SY2027")
"""The sessions a class can have; classes name them by position."""
WHOLE_YEAR, FIRST_SEMESTER, SECOND_SEMESTER, HOMEROOM_YEAR = range(4)
_DATES = {session.id: session for session in SESSIONS}
TERM_STARTS = np.array([_DATES[term.split(",")[0]].start for term in TERMS], "datetime64[D]")
TERM_ENDS = np.array([_DATES[term.split(",")[-1]].end for term in TERMS], "datetime64[D]")


@dataclass(frozen=True)
class Course:
    """A course of the district's catalogue. subject_code: in the manner of SCED."""

    code: str
    title: str
    subject: str
    subject_code: str
    grades: tuple[int, ...]


ELA, MATH, SCIENCE, SOCIAL = "English Language Arts", "Mathematics", "Science", "Social Studies"
LANGUAGE, ARTS, SPORT = "World Languages", "Fine and Performing Arts", "Physical Education"
CAREER = "Career and Technical Education"
HOMEROOM = "Homeroom"
SUPPORT = "Student Support"

_HIGH = tuple(HIGH.grades)
_MIDDLE = tuple(MIDDLE.grades)

COURSES: tuple[Course, ...] = (
    *(
        Course(f"HR{g:02d}", f"Grade {g or 'K'} Homeroom", HOMEROOM, "22106", (g,))
        for g in range(6)
    ),
    *(
        Course(f"MAT{g:02d}", f"Mathematics {g or 'K'}", MATH, f"0203{g}", (g,))
        for g in ELEMENTARY.grades
    ),
    *(Course(f"ART{g:02d}", f"Art {g or 'K'}", ARTS, "05180", (g,)) for g in ELEMENTARY.grades),
    *(Course(f"MUS{g:02d}", f"Music {g or 'K'}", ARTS, "05130", (g,)) for g in ELEMENTARY.grades),
    *(
        Course(f"PED{g:02d}", f"Physical Education {g or 'K'}", SPORT, f"0803{g}", (g,))
        for g in ELEMENTARY.grades
    ),
    *(Course(f"ELA{g:02d}", f"Language Arts {g}", ELA, f"0103{g - 2}", (g,)) for g in _MIDDLE),
    *(Course(f"MAT{g:02d}", f"Mathematics {g}", MATH, f"0203{g}", (g,)) for g in _MIDDLE),
    Course("MAT08A", "Algebra I (Grade 8)", MATH, "02052", (8,)),
    *(Course(f"SCI{g:02d}", f"Science {g}", SCIENCE, f"0323{g}", (g,)) for g in _MIDDLE),
    *(Course(f"SOC{g:02d}", f"Social Studies {g}", SOCIAL, f"0443{g}", (g,)) for g in _MIDDLE),
    *(Course(f"PED{g:02d}", f"Physical Education {g}", SPORT, f"0803{g}", (g,)) for g in _MIDDLE),
    Course("SPAM", "Middle School Spanish", LANGUAGE, "24052", _MIDDLE),
    Course("FREM", "Middle School French", LANGUAGE, "24102", _MIDDLE),
    Course("BANM", "Concert Band", ARTS, "05101", _MIDDLE),
    Course("CHOM", "Chorus", ARTS, "05110", _MIDDLE),
    Course("ARTM", "Studio Art", ARTS, "05154", _MIDDLE),
    Course("DRAM", "Drama", ARTS, "05053", _MIDDLE),
    Course("CSCM", "Introduction to Computer Science", CAREER, "10012", _MIDDLE),
    Course("HEAM", "Health and Wellness", SPORT, "08051", _MIDDLE),
    *(Course(f"ENG{g:02d}", f"English {g}", ELA, f"0100{g - 8}", (g,)) for g in _HIGH),
    *(Course(f"ENG{g:02d}H", f"Honors English {g}", ELA, f"0100{g - 8}", (g,)) for g in (9, 10)),
    Course("ENG11AP", "AP English Language and Composition", ELA, "01005", (11,)),
    Course("ENG12AP", "AP English Literature and Composition", ELA, "01006", (12,)),
    Course("ALG1", "Algebra I", MATH, "02052", (9,)),
    Course("GEO09", "Geometry (Accelerated)", MATH, "02072", (9,)),
    Course("GEO", "Geometry", MATH, "02072", (10,)),
    Course("ALG2H", "Honors Algebra II", MATH, "02056", (10,)),
    Course("ALG2", "Algebra II", MATH, "02056", (11,)),
    Course("PREC", "Precalculus", MATH, "02110", (11,)),
    Course("STAT", "Probability and Statistics", MATH, "02201", (12,)),
    Course("CALCAB", "AP Calculus AB", MATH, "02124", (12,)),
    Course("BIO", "Biology", SCIENCE, "03051", (9,)),
    Course("CHEM", "Chemistry", SCIENCE, "03101", (10,)),
    Course("PHYS", "Physics", SCIENCE, "03151", (11,)),
    Course("ENVS", "Environmental Science", SCIENCE, "03003", (11,)),
    Course("ANAT", "Anatomy and Physiology", SCIENCE, "03053", (12,)),
    Course("BIOAP", "AP Biology", SCIENCE, "03056", (12,)),
    Course("GEOG", "World Geography", SOCIAL, "04001", (9,)),
    Course("WHIS", "World History", SOCIAL, "04051", (10,)),
    Course("USHI", "U.S. History", SOCIAL, "04101", (11,)),
    Course("USHIAP", "AP U.S. History", SOCIAL, "04104", (11,)),
    Course("GOVT", "U.S. Government", SOCIAL, "04151", (12,)),
    Course("ECON", "Economics", SOCIAL, "04201", (12,)),
    *(
        Course(f"SPA{n}", f"Spanish {r}", LANGUAGE, f"2405{n + 1}", (8 + n,))
        for n, r in enumerate(("I", "II", "III", "IV"), 1)
    ),
    *(
        Course(f"FRE{n}", f"French {r}", LANGUAGE, f"2410{n + 1}", (8 + n,))
        for n, r in enumerate(("I", "II", "III", "IV"), 1)
    ),
    Course("PEH", "Personal Fitness", SPORT, "08016", _HIGH),
    Course("TEAM", "Team Sports", SPORT, "08002", _HIGH),
    Course("HEAH", "Health Education", SPORT, "08051", _HIGH),
    Course("BANH", "Symphonic Band", ARTS, "05102", _HIGH),
    Course("DRAW", "Drawing and Painting", ARTS, "05156", _HIGH),
    Course("THEA", "Theatre Arts", ARTS, "05052", _HIGH),
    Course("CERA", "Ceramics", ARTS, "05159", _HIGH),
    Course("PHOT", "Digital Photography", ARTS, "05167", _HIGH),
    Course("CSPR", "AP Computer Science Principles", CAREER, "10019", _HIGH),
    Course("AUTO", "Automotive Technology", CAREER, "20104", _HIGH),
    Course("CULI", "Culinary Arts", CAREER, "16053", _HIGH),
    Course("PFIN", "Personal Finance", CAREER, "12103", _HIGH),
    Course("JOUR", "Journalism", ELA, "11101", _HIGH),
)

COURSE_NUMBER = {course.code: number for number, course in enumerate(COURSES)}
assert len(COURSE_NUMBER) == len(COURSES)

ELEMENTARY_SUBJECTS = ("HR", "MAT", "ART", "MUS", "PED")
"""What a homeroom has together. The first two are taught by its own teacher."""


@dataclass(frozen=True)
class Slot:
    """One of the seven lessons of a secondary student's day.

    options: by grade, what the sections of this slot teach, in turn: a course for the whole year
        (`("BIO",)`) or one for each semester (`("GOVT", "ECON")`).
    mixes_grades: the sections are open to all grades of the school.
    """

    department: str
    options: dict[int, tuple[tuple[str, ...], ...]]
    mixes_grades: bool = False


def _per_grade(grades: tuple[int, ...], *patterns: str) -> dict[int, tuple[tuple[str, ...], ...]]:
    return {g: tuple((pattern.format(g),) for pattern in patterns) for g in grades}


def _for_all(
    grades: tuple[int, ...], *options: tuple[str, ...]
) -> dict[int, tuple[tuple[str, ...], ...]]:
    return dict.fromkeys(grades, options)


MIDDLE_DAY = (
    Slot(ELA, _per_grade(_MIDDLE, "ELA{:02d}")),
    Slot(
        MATH,
        _per_grade((6, 7), "MAT{:02d}") | {8: (("MAT08",), ("MAT08",), ("MAT08A",))},
    ),
    Slot(SCIENCE, _per_grade(_MIDDLE, "SCI{:02d}")),
    Slot(SOCIAL, _per_grade(_MIDDLE, "SOC{:02d}")),
    Slot(SPORT, _per_grade(_MIDDLE, "PED{:02d}")),
    Slot(LANGUAGE, _for_all(_MIDDLE, ("SPAM",), ("BANM",), ("FREM",), ("CHOM",)), True),
    Slot(ARTS, _for_all(_MIDDLE, ("ARTM", "CSCM"), ("HEAM", "DRAM"), ("CSCM", "ARTM")), True),
)
HIGH_DAY = (
    Slot(
        ELA,
        {
            9: (("ENG09",), ("ENG09",), ("ENG09H",)),
            10: (("ENG10",), ("ENG10",), ("ENG10H",)),
            11: (("ENG11",), ("ENG11",), ("ENG11AP",)),
            12: (("ENG12",), ("ENG12",), ("ENG12AP",)),
        },
    ),
    Slot(
        MATH,
        {
            9: (("ALG1",), ("ALG1",), ("GEO09",)),
            10: (("GEO",), ("ALG2H",)),
            11: (("ALG2",), ("PREC",)),
            12: (("STAT",), ("CALCAB",)),
        },
    ),
    Slot(
        SCIENCE,
        {
            9: (("BIO",),),
            10: (("CHEM",),),
            11: (("PHYS",), ("ENVS",)),
            12: (("ANAT",), ("BIOAP",)),
        },
    ),
    Slot(
        SOCIAL,
        {
            9: (("GEOG",),),
            10: (("WHIS",),),
            11: (("USHI",), ("USHI",), ("USHIAP",)),
            12: (("GOVT", "ECON"), ("ECON", "GOVT")),
        },
    ),
    Slot(LANGUAGE, {8 + n: ((f"SPA{n}",), (f"SPA{n}",), (f"FRE{n}",)) for n in (1, 2, 3, 4)}),
    Slot(
        SPORT,
        _for_all(_HIGH, ("PEH", "HEAH"), ("HEAH", "TEAM"), ("TEAM", "PEH")),
        True,
    ),
    Slot(
        CAREER,
        _for_all(
            _HIGH,
            *(("BANH",), ("DRAW",), ("CSPR",), ("CULI", "PFIN"), ("THEA",), ("AUTO",)),
            *(("PHOT", "CERA"), ("JOUR",)),
        ),
        True,
    ),
)
DAYS = {"middle": MIDDLE_DAY, "high": HIGH_DAY}
PERIODS = 7
