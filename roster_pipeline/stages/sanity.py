"""Sanity: what is allowed but rarely meant, looked at once all references resolve.

Nothing is rejected and no finding is written; each oddity is counted with its records, and shown
as a warning where the run is watched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from roster_pipeline.roster import TEXT, Roster, lookup

LARGE_CLASS = 80
"""A class with more students than this is hardly one."""


@dataclass(frozen=True)
class Oddity:
    """One kind of oddity: what it is, in words, of which enrollment type, and whose."""

    name: str
    says: str
    enrollment_type: str
    source_ids: pd.Series[str]


def look_for_oddities(roster: Roster) -> list[Oddity]:
    """All kinds of oddities of a roster whose references resolve, in the order in which to mend
    them, each with the ids it concerns, often none. What a file that was not sent would tell is
    left out."""
    missing = {name for name, file in _NEEDS.items() if file in roster.absent_files}
    found = []
    for name, (enrollment_type, says, look) in _LOOKS.items():
        if name not in missing:
            found.append(Oddity(name, says, enrollment_type, look(roster)))
    return found


def _enrolled(roster: Roster, role: str) -> pd.DataFrame:
    enrollments = roster.frames["enrollment"]
    mine = (enrollments["role"] == role).fillna(False)
    return enrollments.loc[mine, ["class_id", "person_id"]]


def _without(roster: Roster, enrollment_type: str, known: pd.Series[str]) -> pd.Series[str]:
    ids = roster.frames[enrollment_type]["source_id"]
    return ids.loc[~ids.isin(known)]


def _student_without_teacher(roster: Roster) -> pd.Series[str]:
    taught = _enrolled(roster, "teacher")["class_id"]
    students = _enrolled(roster, "student")
    with_teacher = students.loc[students["class_id"].isin(taught), "person_id"]
    enrolled = roster.frames["student"]["source_id"].isin(students["person_id"])
    mine = roster.frames["student"].loc[enrolled, "source_id"]
    return mine.loc[~mine.isin(with_teacher)]


def _student_without_grade(roster: Roster) -> pd.Series[str]:
    students = roster.frames["student"]
    return students.loc[students["grades"].isna(), "source_id"]


def _large_class(roster: Roster) -> pd.Series[str]:
    size = _enrolled(roster, "student").groupby("class_id")["person_id"].nunique()
    return pd.Series(size.index[size > LARGE_CLASS], dtype=TEXT)


def _in_a_circle(records: pd.DataFrame) -> pd.Series[str]:
    """Records that are, over their parents, above themselves; columns source_id, parent_id.

    The parent of the parent is looked up until each step leads at least as far as there are
    records, in steps that double; who still has someone above herself then leads into a circle.
    """
    ids, above = records["source_id"], records["parent_id"]
    for _ in range(max(len(records), 1).bit_length()):
        above = lookup(above, ids, above)
    # Those in the circle are the ones somebody's steps end at.
    return ids.loc[ids.isin(above.dropna())]


def _organizations(roster: Roster) -> pd.DataFrame:
    columns = ["source_id", "parent_id"]
    both = [roster.frames["school"][columns], roster.organizations[columns]]
    return pd.concat(both, ignore_index=True).drop_duplicates("source_id")


Look = Callable[[Roster], "pd.Series[str]"]
_LOOKS: dict[str, tuple[str, str, Look]] = {
    "organization_circle": (
        "school",
        "organisations that are above themselves",
        lambda r: _in_a_circle(_organizations(r)),
    ),
    "session_circle": (
        "academic_session",
        "academic sessions that are above themselves",
        lambda r: _in_a_circle(r.frames["academic_session"]),
    ),
    "course_without_classes": (
        "course",
        "courses without classes",
        lambda r: _without(r, "course", r.frames["class"]["course_id"]),
    ),
    "student_without_grade": ("student", "students without a grade", _student_without_grade),
    "student_without_enrollments": (
        "student",
        "students without enrollments",
        lambda r: _without(r, "student", r.frames["enrollment"]["person_id"]),
    ),
    "student_without_teacher": (
        "student",
        "students none of whose classes has a teacher",
        _student_without_teacher,
    ),
    "teacher_without_classes": (
        "teacher",
        "teachers without classes",
        lambda r: _without(r, "teacher", r.frames["enrollment"]["person_id"]),
    ),
    "class_without_students": (
        "class",
        "classes without students",
        lambda r: _without(r, "class", _enrolled(r, "student")["class_id"]),
    ),
    "class_without_teacher": (
        "class",
        "classes without a teacher",
        lambda r: _without(r, "class", _enrolled(r, "teacher")["class_id"]),
    ),
    "large_class": ("class", f"classes of more than {LARGE_CLASS} students", _large_class),
}
_NEEDS = {"course_without_classes": "courses"}
