"""Enrollment types, their attributes, and the frames that travel from stage to stage.

Here lives what a record *is*: which enrollment types exist, which attributes each has, what an
attribute refers to, and `Roster`, the set of frames that every stage takes and returns. What a
stage does to them lives in `stages/`; what is told about them lives in `findings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["text", "list", "date", "boolean"]

TEXT = pd.ArrowDtype(pa.string())
INTEGER = pd.ArrowDtype(pa.int64())
DTYPES: dict[Kind, pd.ArrowDtype] = {
    "text": TEXT,
    "list": TEXT,
    "date": pd.ArrowDtype(pa.date32()),
    "boolean": pd.ArrowDtype(pa.bool_()),
}


@dataclass(frozen=True)
class Attribute:
    """One column of an enrollment type in the warehouse.

    kind: `list` travels as OneRoster writes it, one string with commas between the elements
    (no element may contain one, OneRoster 1.2 section on data types).
    refers_to: the enrollment types (or `organization`) one of which must hold the value.
    required_reference: a record without a living target is invalid; otherwise the value is dropped.
    """

    name: str
    kind: Kind = "text"
    refers_to: tuple[str, ...] = ()
    required_reference: bool = False


@dataclass(frozen=True)
class EnrollmentType:
    """One kind of record, its table in the warehouse and the OneRoster file it is read from."""

    name: str
    table: str
    file: str
    attributes: tuple[Attribute, ...]
    school_attribute: str | None

    def attribute(self, name: str) -> Attribute:
        """The attribute of that name; KeyError when the type has none."""
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise KeyError(name)

    @property
    def references(self) -> tuple[Attribute, ...]:
        """The attributes that lead to other records."""
        return tuple(a for a in self.attributes if a.refers_to)


PERSONS = ("student", "teacher", "admin", "contact")
_ORGS = ("school", "organization")


def _person(name: str, table: str, *more: Attribute) -> EnrollmentType:
    return EnrollmentType(
        name,
        table,
        "users",
        (
            Attribute("sis_id"),
            Attribute("user_type"),
            Attribute("primary_school", refers_to=_ORGS, required_reference=True),
            Attribute("school_ids", "list", refers_to=_ORGS),
            Attribute("username"),
            Attribute("first_name"),
            Attribute("middle_name"),
            Attribute("last_name"),
            Attribute("email"),
            Attribute("identifier"),
            Attribute("enabled", "boolean"),
            *more,
        ),
        school_attribute="primary_school",
    )


ENROLLMENT_TYPES: dict[str, EnrollmentType] = {
    t.name: t
    for t in (
        EnrollmentType(
            "school",
            "schools",
            "orgs",
            (
                Attribute("name"),
                Attribute("identifier"),
                Attribute("parent_id", refers_to=_ORGS),
            ),
            school_attribute="source_id",
        ),
        EnrollmentType(
            "academic_session",
            "academic_sessions",
            "academicSessions",
            (
                Attribute("title"),
                Attribute("session_type"),
                Attribute("start_date", "date"),
                Attribute("end_date", "date"),
                Attribute("parent_id", refers_to=("academic_session",)),
                Attribute("school_year"),
            ),
            school_attribute=None,
        ),
        EnrollmentType(
            "course",
            "courses",
            "courses",
            (
                Attribute("title"),
                Attribute("course_code"),
                Attribute("grades", "list"),
                Attribute("org_id", refers_to=_ORGS, required_reference=True),
                Attribute("school_year_id", refers_to=("academic_session",)),
                Attribute("subjects", "list"),
                Attribute("subject_codes", "list"),
            ),
            school_attribute="org_id",
        ),
        _person(
            "student",
            "students",
            Attribute("grades", "list"),
            Attribute("birth_date", "date"),
            Attribute("gender"),
            Attribute("contact_ids", "list", refers_to=PERSONS),
        ),
        _person("teacher", "teachers"),
        _person("admin", "admins"),
        _person(
            "contact",
            "contacts",
            Attribute("student_ids", "list", refers_to=PERSONS),
        ),
        EnrollmentType(
            "class",
            "classes",
            "classes",
            (
                Attribute("sis_id"),
                Attribute("class_name"),
                Attribute("class_code"),
                Attribute("class_type"),
                Attribute("school_id", refers_to=("school",), required_reference=True),
                Attribute("course_id", refers_to=("course",), required_reference=True),
                Attribute(
                    "session_ids", "list", refers_to=("academic_session",), required_reference=True
                ),
                Attribute("grades", "list"),
                Attribute("subjects", "list"),
                Attribute("subject_codes", "list"),
                Attribute("periods", "list"),
                Attribute("location"),
            ),
            school_attribute="school_id",
        ),
        EnrollmentType(
            "enrollment",
            "enrollments",
            "enrollments",
            (
                Attribute("school_id", refers_to=("school",), required_reference=True),
                Attribute("class_id", refers_to=("class",), required_reference=True),
                Attribute("person_id", refers_to=PERSONS, required_reference=True),
                Attribute("role"),
                Attribute("is_primary", "boolean"),
                Attribute("begin_date", "date"),
                Attribute("end_date", "date"),
            ),
            school_attribute="school_id",
        ),
    )
}
"""In the order in which references lead: a type refers only to itself and to types before it
(students and contacts, which name each other, are each other's only exception)."""

UNTYPED = "user"
"""Where a row of users.csv is counted whose role cannot be read, so that no row goes uncounted."""

ENDED_COLUMNS = ("enrollment_type", "source_id", "school", "file", "row", "outcome")
RECEIVED_OUTCOMES = (
    "added",
    "updated",
    "unchanged",
    "restored",
    "removed",
    "filtered",
    "skipped",
    "duplicate",
    "invalid",
)
"""What can become of a received record; exactly one of these (design rule 4.13)."""
REJECTED_OUTCOMES = ("skipped", "duplicate", "invalid")


def empty_ended() -> pd.DataFrame:
    """An `ended` frame without rows."""
    return pd.DataFrame(
        {
            column: pd.Series([], dtype=INTEGER if column == "row" else TEXT)
            for column in ENDED_COLUMNS
        }
    )


def empty_texts(*columns: str) -> pd.DataFrame:
    """A frame of these text columns without rows."""
    return pd.DataFrame({column: pd.Series([], dtype=TEXT) for column in columns})


@dataclass(frozen=True)
class Roster:
    """All records of one import on their way through the stages.

    frames: by enrollment type, columns `source_id`, the type's attributes, the district's own
        attributes as text, `file`, `row` (as a spreadsheet counts, the header is 1), and for
        students `demographics_row`. Index: RangeIndex. From parsing to attribute mapping they
        are keyed by OneRoster file instead and have the file's columns.
    organizations: districts and other organisations that are no schools; read for references
        only. Columns source_id, name, org_type, parent_id, file, row.
    ended: the received records that go no further, with ENDED_COLUMNS; `outcome` is one of
        filtered, skipped, duplicate, invalid.
    kept: records of the warehouse that were received but rejected and whose own references will
        stay active, so that they stay in their last good version (design rule 4.9); columns
        enrollment_type, source_id. Known after links.
    school_decisions: which school of the warehouse each received organisation is; columns org_id,
        school_id, how. Known after school mapping.
    sources: by enrollment type, which `file.header` an attribute was read from; its keys are all
        attributes the type has in this district.
    absent_files: data files that are neither required nor in the effective set; references into
        them cannot be checked.
    """

    frames: Mapping[str, pd.DataFrame]
    organizations: pd.DataFrame = field(
        default_factory=lambda: empty_texts("source_id", "name", "org_type", "parent_id", "file")
    )
    ended: pd.DataFrame = field(default_factory=empty_ended)
    kept: pd.DataFrame = field(default_factory=lambda: empty_texts("enrollment_type", "source_id"))
    school_decisions: pd.DataFrame = field(
        default_factory=lambda: empty_texts("org_id", "school_id", "how")
    )
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    absent_files: tuple[str, ...] = ()

    def end(self, enrollment_type: str, mask: pd.Series[bool], outcome: str) -> Roster:
        """The roster with the records under `mask` (aligned with the type's frame) ended."""
        if not mask.any():
            return self
        frame = self.frames[enrollment_type]
        gone = ended_records(enrollment_type, frame.loc[mask], outcome)
        left = frame.loc[~mask].reset_index(drop=True)
        return replace(
            self,
            frames={**self.frames, enrollment_type: left},
            ended=pd.concat([self.ended, gone], ignore_index=True),
        )

    def received(self) -> dict[str, int]:
        """Received records by enrollment type: those that travel on and those that ended."""
        ended = {str(k): int(v) for k, v in self.ended["enrollment_type"].value_counts().items()}
        names = [*self.frames, *(name for name in ended if name not in self.frames)]
        return {name: len(self.frames.get(name, ())) + ended.get(name, 0) for name in names}


def ended_records(enrollment_type: str, frame: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Rows of a type's frame in the shape of `Roster.ended`."""
    return pd.DataFrame(
        {
            "enrollment_type": pd.Series(enrollment_type, index=frame.index, dtype=TEXT),
            "source_id": frame["source_id"],
            "school": school_of(enrollment_type, frame),
            "file": frame["file"],
            "row": frame["row"],
            "outcome": pd.Series(outcome, index=frame.index, dtype=TEXT),
        }
    )


def school_of(enrollment_type: str, frame: pd.DataFrame) -> pd.Series[str]:
    """The school (a source id) each record is counted under; null where it has none."""
    attribute = ENROLLMENT_TYPES[enrollment_type].school_attribute
    if attribute is None:
        return pd.Series(pd.NA, index=frame.index, dtype=TEXT)
    return frame[attribute]


def first_element(lists: pd.Series[str]) -> pd.Series[str]:
    """The first element of each value of a list attribute; null where there is none."""
    texts = pa.array(lists, pa.string(), from_pandas=True)
    first = pc.replace_substring_regex(texts, ",.*", "")
    return pd.Series(pd.arrays.ArrowExtensionArray(first), index=lists.index)


def list_elements(values: pd.Series[str]) -> tuple[np.ndarray, pd.arrays.ArrowExtensionArray]:
    """The elements of a list attribute: for each, the position of its record, and its text."""
    lists = pc.split_pattern(pa.array(values, pa.string()), ",")
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    positions = pc.list_parent_indices(lists).to_numpy()
    return positions, pd.arrays.ArrowExtensionArray(pc.list_flatten(lists))


def joined_elements(
    positions: np.ndarray, elements: pd.arrays.ArrowExtensionArray, index: pd.Index
) -> pd.Series[str]:
    """The list attribute of some `list_elements`: by the positions of records, in ascending order,
    into the records of an index. Null where a record has none."""
    numbers = np.bincount(positions, minlength=len(index))
    offsets = np.concatenate(([0], np.cumsum(numbers))).astype(np.int32)
    lists = pa.ListArray.from_arrays(offsets, one_array(elements), mask=pa.array(numbers == 0))
    return pd.Series(pd.arrays.ArrowExtensionArray(pc.binary_join(lists, ",")), index=index)


def lookup(keys: pd.Series[str], ids: pd.Series[str], values: pd.Series) -> pd.Series:
    """For each key the value beside the equal id, null where no id is equal. `ids` and `values`
    are aligned, and the ids distinct."""
    places = pc.index_in(one_array(keys), one_array(ids))
    found = one_array(values).take(places)
    return pd.Series(pd.arrays.ArrowExtensionArray(found), index=keys.index)


def one_array(values: pd.Series | pd.arrays.ArrowExtensionArray) -> pa.Array:
    """A column as one Arrow array, whatever chunks it is in."""
    array = pa.array(values)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
