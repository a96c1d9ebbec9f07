"""The OneRoster standard as data: versions, files, columns in order, types and vocabularies.

Sources: 1EdTech OneRoster CSV Binding 1.2 with the 1.2.1 corrections, its 1.1 predecessor, and
for 1.0 two published sample sets that agree. Nothing here reads or judges a file; see `reader`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["guid", "text", "list", "enum", "enum_list", "date", "datetime", "year", "boolean"]


@dataclass(frozen=True)
class Column:
    """One column of a file.

    name: the header in the newest version that has it; our name of the column everywhere.
    header: the header in this version, where it differs (1.0 `grade` is `grades` from 1.1 on).
    vocabulary: allowed tokens of an enum. extensible: terms starting with `ext:` are allowed too.
    list_of: `guid` lists hold ids, `text` lists free words.
    refers_to: files one of whose records the value must name.
    """

    name: str
    kind: Kind = "text"
    required: bool = False
    vocabulary: tuple[str, ...] = ()
    extensible: bool = False
    refers_to: str | None = None
    header: str = ""

    @property
    def written(self) -> str:
        """The header as this version writes it."""
        return self.header or self.name


@dataclass(frozen=True)
class FileSpec:
    """One file: its name without `.csv` and its columns in the order of the standard."""

    name: str
    columns: tuple[Column, ...]

    @property
    def headers(self) -> tuple[str, ...]:
        """The header row the standard prescribes."""
        return tuple(column.written for column in self.columns)

    def column(self, name: str) -> Column | None:
        """The column of that (newest) name, or None."""
        return next((c for c in self.columns if c.name == name), None)


@dataclass(frozen=True)
class Version:
    """One version of the standard: the files we read, and those we recognise and leave alone."""

    name: str
    files: dict[str, FileSpec]
    left_alone: tuple[str, ...]


GRADES = (
    *("IT", "PR", "PK", "TK", "KG"),
    *(f"{n:02d}" for n in range(1, 14)),
    *("PS", "UG", "UI", "Other"),
)
"""CEDS entry grade levels, with UI as Clever writes it."""

_STATUS = ("active", "tobedeleted")
_BOOLEAN = ("true", "false")
_SESSION_TYPES = ("gradingPeriod", "semester", "schoolYear", "term")
_ORG_TYPES = ("department", "school", "district", "local", "state", "national")
_USER_ROLES = (
    *("administrator", "aide", "guardian", "parent"),
    *("proctor", "relative", "student", "teacher"),
)
_ENROLLMENT_ROLES = ("administrator", "proctor", "student", "teacher")
_ROLES_12 = (
    *("aide", "counselor", "districtAdministrator", "guardian", "parent", "principal"),
    *("proctor", "relative", "siteAdministrator", "student", "systemAdministrator", "teacher"),
)
RACES = (
    "americanIndianOrAlaskaNative",
    "asian",
    "blackOrAfricanAmerican",
    "nativeHawaiianOrOtherPacificIslander",
    "white",
    "demographicRaceTwoOrMoreRaces",
    "hispanicOrLatinoEthnicity",
)

_ID = Column("sourcedId", "guid", required=True)
_HEAD = (_ID, Column("status", "enum", vocabulary=_STATUS), Column("dateLastModified", "datetime"))


def _ref(name: str, file: str, required: bool = False, kind: Kind = "guid", h: str = "") -> Column:
    return Column(name, kind, required, refers_to=file, header=h)


def _enum(name: str, words: tuple[str, ...], required: bool = False, ext: bool = False) -> Column:
    return Column(name, "enum", required, words, extensible=ext)


def _need(name: str, kind: Kind = "text") -> Column:
    return Column(name, kind, required=True)


def _boolean(name: str, required: bool = False) -> Column:
    return Column(name, "boolean", required, _BOOLEAN)


def _texts(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name) for name in names)


def _lists(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "list") for name in names)


def _files(*specs: FileSpec) -> dict[str, FileSpec]:
    return {spec.name: spec for spec in specs}


_RACE_COLUMNS = tuple(_boolean(name) for name in RACES)
_BIRTHPLACE = _texts(
    "countryOfBirthCode", "stateOfBirthAbbreviation", "cityOfBirth", "publicSchoolResidenceStatus"
)


def _since_1_1(*, extensible: bool) -> tuple[FileSpec, ...]:
    """The files whose columns 1.1 and 1.2 share; 1.2 made some vocabularies extensible."""
    return (
        FileSpec(
            "academicSessions",
            (
                *_HEAD,
                _need("title"),
                _enum("type", _SESSION_TYPES, True, extensible),
                _need("startDate", "date"),
                _need("endDate", "date"),
                _ref("parentSourcedId", "academicSessions"),
                _need("schoolYear", "year"),
            ),
        ),
        FileSpec(
            "orgs",
            (
                *_HEAD,
                _need("name"),
                _enum("type", _ORG_TYPES, True, extensible),
                Column("identifier"),
                _ref("parentSourcedId", "orgs"),
            ),
        ),
        FileSpec(
            "courses",
            (
                *_HEAD,
                _ref("schoolYearSourcedId", "academicSessions"),
                _need("title"),
                Column("courseCode"),
                *_lists("grades"),
                _ref("orgSourcedId", "orgs", True),
                *_lists("subjects", "subjectCodes"),
            ),
        ),
        FileSpec(
            "classes",
            (
                *_HEAD,
                _need("title"),
                *_lists("grades"),
                _ref("courseSourcedId", "courses", True),
                Column("classCode"),
                _enum("classType", ("homeroom", "scheduled"), True, extensible),
                Column("location"),
                _ref("schoolSourcedId", "orgs", True),
                _ref("termSourcedIds", "academicSessions", True, "list"),
                *_lists("subjects", "subjectCodes", "periods"),
            ),
        ),
        FileSpec(
            "enrollments",
            (
                *_HEAD,
                _ref("classSourcedId", "classes", True),
                _ref("schoolSourcedId", "orgs", True),
                _ref("userSourcedId", "users", True),
                _enum("role", _ENROLLMENT_ROLES, True, extensible),
                _boolean("primary"),
                Column("beginDate", "date"),
                Column("endDate", "date"),
            ),
        ),
    )


_V11 = Version(
    "1.1",
    _files(
        *_since_1_1(extensible=False),
        FileSpec(
            "users",
            (
                *_HEAD,
                _boolean("enabledUser", True),
                _ref("orgSourcedIds", "orgs", True, "list"),
                _enum("role", _USER_ROLES, True),
                _need("username"),
                *_lists("userIds"),
                _need("givenName"),
                _need("familyName"),
                *_texts("middleName", "identifier", "email", "sms", "phone"),
                _ref("agentSourcedIds", "users", kind="list"),
                *_lists("grades"),
                Column("password"),
            ),
        ),
        FileSpec(
            "demographics",
            (
                *_HEAD,
                Column("birthDate", "date"),
                _enum("sex", ("male", "female")),
                *_RACE_COLUMNS,
                *_BIRTHPLACE,
            ),
        ),
    ),
    (
        *("categories", "classResources", "courseResources"),
        *("lineItems", "resources", "results"),
    ),
)

_V12 = Version(
    "1.2",
    _files(
        *_since_1_1(extensible=True),
        FileSpec(
            "users",
            (
                *_HEAD,
                _boolean("enabledUser", True),
                _need("username"),
                *_lists("userIds"),
                _need("givenName"),
                _need("familyName"),
                *_texts("middleName", "identifier", "email", "sms", "phone"),
                _ref("agentSourcedIds", "users", kind="list"),
                *_lists("grades"),
                *_texts("password", "userMasterIdentifier", "preferredGivenName"),
                *_texts("preferredMiddleName", "preferredFamilyName"),
                _ref("primaryOrgSourcedId", "orgs"),
                *_texts("pronouns"),
            ),
        ),
        FileSpec(
            "roles",
            (
                *_HEAD,
                _ref("userSourcedId", "users", True),
                _enum("roleType", ("primary", "secondary"), True),
                _enum("role", _ROLES_12, True, True),
                Column("beginDate", "date"),
                Column("endDate", "date"),
                _ref("orgSourcedId", "orgs", True),
                Column("userProfileSourcedId"),
            ),
        ),
        FileSpec(
            "demographics",
            (
                *_HEAD,
                Column("birthDate", "date"),
                _enum("sex", ("male", "female", "unspecified", "other"), False, True),
                *_RACE_COLUMNS,
                *_BIRTHPLACE,
            ),
        ),
    ),
    (
        *_V11.left_alone,
        *("lineItemLearningObjectiveIds", "lineItemScoreScales", "resultLearningObjectiveIds"),
        *("resultScoreScales", "scoreScales", "userProfiles", "userResources"),
    ),
)


def _was(column: Column, header: str) -> Column:
    """A column under its 1.0 header."""
    return replace(column, header=header)


_HEAD_10 = (_ID, _enum("status", ("active", "inactive", "tobedeleted")), _HEAD[2])
_V10 = Version(
    "1.0",
    _files(
        FileSpec(
            "academicSessions",
            (
                *_HEAD_10,
                _need("title"),
                _enum("type", _SESSION_TYPES, True),
                _need("startDate", "date"),
                _need("endDate", "date"),
                _ref("parentSourcedId", "academicSessions"),
            ),
        ),
        FileSpec(
            "orgs",
            (
                *_HEAD_10,
                _need("name"),
                _enum("type", _ORG_TYPES, True),
                Column("identifier"),
                *_texts("metadata.classification", "metadata.gender", "metadata.boarding"),
                _ref("parentSourcedId", "orgs"),
            ),
        ),
        FileSpec(
            "courses",
            (
                *_HEAD_10,
                _ref("schoolYearSourcedId", "academicSessions", h="schoolYearId"),
                Column("metadata.duration"),
                _need("title"),
                Column("courseCode"),
                _was(Column("grades", "list"), "grade"),
                _ref("orgSourcedId", "orgs", True),
                *_lists("subjects"),
            ),
        ),
        FileSpec(
            "classes",
            (
                *_HEAD_10,
                _need("title"),
                _was(Column("grades", "list"), "grade"),
                _ref("courseSourcedId", "courses", True),
                Column("classCode"),
                _enum("classType", ("homeroom", "scheduled"), True),
                Column("location"),
                _ref("schoolSourcedId", "orgs", True),
                _ref("termSourcedIds", "academicSessions", True, "list", "termSourcedId"),
                *_lists("subjects"),
            ),
        ),
        FileSpec(
            "users",
            (
                *_HEAD_10,
                _ref("orgSourcedIds", "orgs", True, "list"),
                _enum("role", _USER_ROLES, True),
                _need("username"),
                _was(Column("userIds", "list"), "userId"),
                _need("givenName"),
                _need("familyName"),
                *_texts("identifier", "email", "sms", "phone"),
                _ref("agentSourcedIds", "users", kind="list", h="agents"),
            ),
        ),
        FileSpec(
            "enrollments",
            (
                _ID,
                _ref("classSourcedId", "classes", True),
                _ref("schoolSourcedId", "orgs", True),
                _ref("userSourcedId", "users", True),
                _enum("role", _USER_ROLES, True),
                *_HEAD_10[1:],
                _boolean("primary"),
            ),
        ),
        FileSpec(
            "demographics",
            (
                _was(_ID, "userSourcedId"),
                *_HEAD_10[1:],
                _was(Column("birthDate", "date"), "birthdate"),
                _enum("sex", ("male", "female")),
                *_RACE_COLUMNS,
                *_BIRTHPLACE,
            ),
        ),
    ),
    (),
)

VERSIONS: dict[str, Version] = {v.name: v for v in (_V10, _V11, _V12)}
DATA_FILES = (
    *("academicSessions", "classes", "courses", "demographics"),
    *("enrollments", "orgs", "users"),
)
"""The seven data files of every version, in the order in which they are named to people."""
FILE_NAMES: dict[str, str] = {
    name.lower(): name
    for name in (
        "manifest",
        *dict.fromkeys(
            name
            for version in reversed(VERSIONS.values())
            for name in (*version.files, *version.left_alone)
        ),
    )
}
"""Every file of any version by its name in lower case, and the manifest."""
