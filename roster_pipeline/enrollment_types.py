"""What a record *is*: which enrollment types there are, which attributes each has, and what an
attribute refers to. No library is needed to ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "list", "date", "boolean"]


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
