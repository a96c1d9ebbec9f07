"""Attribute mapping: OneRoster files become enrollment types with the warehouse's attributes.

For each attribute of each type the district may name another header than the default, and may add
attributes of its own, which the warehouse keeps in `extra` (design rule 4.4). Columns nobody asked
for stay behind here: we store no more about children than was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, EnrollmentType, Kind
from roster_pipeline.findings import (
    DeliveryRefused,
    Finding,
    Outcome,
    concat_findings,
    finding,
    findings_frame,
    tell,
    tell_records,
)
from roster_pipeline.oneroster.standard import VERSIONS, Column
from roster_pipeline.oneroster.values import read_column
from roster_pipeline.roster import DTYPES, INTEGER, TEXT, Roster, first_element
from roster_pipeline.stages.section import Section

_PERSON_SOURCES = {
    "sis_id": "users.sourcedId",
    "user_type": "users.role",
    "primary_school": "users.orgSourcedIds",
    "school_ids": "users.orgSourcedIds",
    "username": "users.username",
    "first_name": "users.givenName",
    "middle_name": "users.middleName",
    "last_name": "users.familyName",
    "email": "users.email",
    "identifier": "users.identifier",
    "enabled": "users.enabledUser",
}
DEFAULT_SOURCES: dict[str, dict[str, str]] = {
    "school": {
        "name": "orgs.name",
        "identifier": "orgs.identifier",
        "parent_id": "orgs.parentSourcedId",
    },
    "academic_session": {
        "title": "academicSessions.title",
        "session_type": "academicSessions.type",
        "start_date": "academicSessions.startDate",
        "end_date": "academicSessions.endDate",
        "parent_id": "academicSessions.parentSourcedId",
        "school_year": "academicSessions.schoolYear",
    },
    "course": {
        "title": "courses.title",
        "course_code": "courses.courseCode",
        "grades": "courses.grades",
        "org_id": "courses.orgSourcedId",
        "school_year_id": "courses.schoolYearSourcedId",
        "subjects": "courses.subjects",
        "subject_codes": "courses.subjectCodes",
    },
    "class": {
        "sis_id": "classes.sourcedId",
        "class_name": "classes.title",
        "class_code": "classes.classCode",
        "class_type": "classes.classType",
        "school_id": "classes.schoolSourcedId",
        "course_id": "classes.courseSourcedId",
        "session_ids": "classes.termSourcedIds",
        "grades": "classes.grades",
        "subjects": "classes.subjects",
        "subject_codes": "classes.subjectCodes",
        "periods": "classes.periods",
        "location": "classes.location",
    },
    "student": {
        **_PERSON_SOURCES,
        "grades": "users.grades",
        "birth_date": "demographics.birthDate",
        "gender": "demographics.sex",
        "contact_ids": "users.agentSourcedIds",
    },
    "teacher": dict(_PERSON_SOURCES),
    "admin": dict(_PERSON_SOURCES),
    "contact": {**_PERSON_SOURCES, "student_ids": "users.agentSourcedIds"},
    "enrollment": {
        "school_id": "enrollments.schoolSourcedId",
        "class_id": "enrollments.classSourcedId",
        "person_id": "enrollments.userSourcedId",
        "role": "enrollments.role",
        "is_primary": "enrollments.primary",
        "begin_date": "enrollments.beginDate",
        "end_date": "enrollments.endDate",
    },
}
"""By enrollment type, the `file.header` each attribute is read from unless a district says else."""


LIST_HEADERS = frozenset(
    column.name
    for version in VERSIONS.values()
    for spec in version.files.values()
    for column in spec.columns
    if column.kind == "list"
)
_OURS = frozenset({"file", "row", "enrollment_type", "demographics_row"})
"""Columns of the frames that no file has."""
_ALLOWED: dict[Kind, str] = {
    "date": "a day of the calendar as YYYY-MM-DD",
    "boolean": "true or false",
    "list": "grade levels of the standard, such as KG, 01 or 12",
}


def _attribute_name(name: str) -> str:
    if name in _OURS | {"source_id"} or re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        raise ValueError(
            "an attribute is called by small letters, digits and _, beginning with a letter, and "
            f"not {', '.join(sorted(_OURS | {'source_id'}))}"
        )
    return name


_USER_ID = "userIds."
"""`users.userIds.FED` reads the identifier of type FED."""


class AttributeSettings(Section):
    """By enrollment type: attribute ← `file.header` (the file may be left out). An attribute the
    type does not have is the district's own and is kept in `extra`."""

    attributes: Mapping[str, Mapping[Annotated[str, AfterValidator(_attribute_name)], str]] = Field(
        default_factory=dict
    )
    """By enrollment type, which `file.header` an attribute is read from, where it is another than
    usual. An attribute of a name of your own is kept in the warehouse's column `extra`."""

    def sources(self, enrollment_type: str) -> dict[str, str]:
        """Attribute to `file.header` for one type, the district's own last."""
        file = ENROLLMENT_TYPES[enrollment_type].file
        tabs = (file, "demographics") if enrollment_type == "student" else (file,)
        told = {
            attribute: source if source.split(".")[0] in tabs else f"{file}.{source}"
            for attribute, source in self.attributes.get(enrollment_type, {}).items()
        }
        return {**DEFAULT_SOURCES[enrollment_type], **told}


def map_attributes(parsed: Roster, settings: AttributeSettings) -> Outcome:
    """Make enrollment types of a roster keyed by file name.

    Returns a roster keyed by enrollment type, every type present (see `Roster` for the columns).
    A value of a re-mapped column that cannot be read as the attribute is dropped and told. Raises
    DeliveryRefused when the settings name a header the files do not have.
    """
    by_type: dict[str, pd.DataFrame] = {}
    sources: dict[str, dict[str, str]] = {}
    told = [_lonely_demographics(parsed)]
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        wanted = settings.sources(name)
        blank = _not_to_be_had(enrollment_type, parsed, wanted)
        sources[name] = {a: source for a, source in wanted.items() if a not in blank}
        frame, dropped = _map_type(enrollment_type, parsed, sources[name])
        by_type[name] = frame.assign(**_nulls(enrollment_type, blank, frame.index))
        told += [*dropped, findings_frame(_tell_blank(name, blank))]
    return Outcome(
        replace(
            parsed,
            frames=by_type,
            organizations=_organizations(parsed),
            sources=sources,
        ),
        concat_findings(told),
    )


def _rows_of(enrollment_type: EnrollmentType, parsed: Roster) -> pd.DataFrame | None:
    frame = parsed.frames.get(enrollment_type.file)
    if frame is None:
        return None
    if enrollment_type.file in ("users", "orgs"):
        mine = (frame["enrollment_type"] == enrollment_type.name).fillna(False)
        frame = frame.loc[mine].reset_index(drop=True)
    return frame


def _not_to_be_had(
    enrollment_type: EnrollmentType, parsed: Roster, wanted: Mapping[str, str]
) -> dict[str, str]:
    """The attributes, with their sources, that nobody asked for in particular and these files
    cannot have: their version has no such column (1.0 knows no grades of users), or the file is
    neither required nor there."""
    default = DEFAULT_SOURCES[enrollment_type.name]
    lacking = {}
    for attribute, source in wanted.items():
        file, _, header = source.partition(".")
        tab = parsed.frames.get(file)
        absent = file != enrollment_type.file if tab is None else header not in tab.columns
        if absent and default.get(attribute) == source:
            lacking[attribute] = source
    return lacking


def _nulls(
    enrollment_type: EnrollmentType, attributes: Iterable[str], index: pd.Index
) -> dict[str, pd.Series]:
    return {
        a: pd.Series(pd.NA, index, dtype=DTYPES[enrollment_type.attribute(a).kind])
        for a in attributes
    }


def _tell_blank(enrollment_type: str, blank: Mapping[str, str]) -> list[Finding]:
    return [
        finding(
            "attribute_not_to_be_had",
            file=f"{source.partition('.')[0]}.csv",
            field=source.partition(".")[2],
            enrollment_type=enrollment_type,
            attribute=attribute,
        )
        for attribute, source in blank.items()
    ]


def _map_type(
    enrollment_type: EnrollmentType, parsed: Roster, sources: Mapping[str, str]
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """The frame of a type, and the findings of values that could not be read."""
    rows = _rows_of(enrollment_type, parsed)
    if rows is None:
        return empty_frame(enrollment_type, sources), []
    second = parsed.frames.get("demographics") if enrollment_type.name == "student" else None
    if second is not None:
        joined = pd.DataFrame({"sourcedId": rows["sourcedId"]}).merge(
            second.rename(columns={"row": "demographics_row"}), on="sourcedId", how="left"
        )
    columns: dict[str, pd.Series] = {"source_id": rows["sourcedId"]}
    known = {a.name: a.kind for a in enrollment_type.attributes}
    unreadable: dict[str, pd.Series[bool]] = {}
    for attribute, source in sources.items():
        file, _, header = source.partition(".")
        tab = joined if file == "demographics" and second is not None else rows
        if header in _headers(tab):
            values = tab[header]
        elif header.startswith(_USER_ID) and "userIds" in tab:
            values = _user_id(tab["userIds"], header.removeprefix(_USER_ID))
        else:
            _refuse_header(enrollment_type, attribute, source, tab)
        kind = known.get(attribute, "text")
        if source == DEFAULT_SOURCES[enrollment_type.name].get(attribute) or kind == "text":
            columns[attribute] = _as_kind(kind, values, is_list=header in LIST_HEADERS)
        else:
            columns[attribute], unreadable[attribute] = _read(attribute, kind, values)
    columns["file"] = rows["file"]
    columns["row"] = rows["row"]
    if enrollment_type.name == "student":
        columns["demographics_row"] = (
            joined["demographics_row"]
            if second is not None
            else pd.Series(pd.NA, rows.index, dtype=INTEGER)
        )
    frame = pd.DataFrame(columns)
    told = [
        tell_records(
            "mapped_value_dropped",
            enrollment_type.name,
            frame.loc[mask],
            attribute,
            sources[attribute],
            allowed=_ALLOWED[known[attribute]],
        )
        for attribute, mask in unreadable.items()
    ]
    return frame, told


def empty_frame(enrollment_type: EnrollmentType, attributes: Iterable[str] = ()) -> pd.DataFrame:
    """A frame of the type without records; `attributes` may name the district's own as well."""
    dtypes = {
        "source_id": TEXT,
        **dict.fromkeys(attributes, TEXT),
        **{a.name: DTYPES[a.kind] for a in enrollment_type.attributes},
        "file": TEXT,
        "row": INTEGER,
    }
    if enrollment_type.name == "student":
        dtypes["demographics_row"] = INTEGER
    return pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in dtypes.items()})


def _user_id(user_ids: pd.Series[str], kind: str) -> pd.Series[str]:
    """The identifier of one type in `{LDAP:12},{FED:34}` (OneRoster, users.userIds), null where
    there is none."""
    pattern = r"\{" + re.escape(kind) + r":(?P<id>[^}]*)\}"
    found = pc.struct_field(pc.extract_regex(pa.array(user_ids, pa.string()), pattern), "id")
    return _series(
        pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found), user_ids.index
    )


def _refuse_header(
    enrollment_type: EnrollmentType, attribute: str, source: str, tab: pd.DataFrame
) -> NoReturn:
    file, _, header = source.partition(".")
    raise DeliveryRefused(
        [
            finding(
                "mapped_header_missing",
                file=f"{file}.csv",
                field=header,
                enrollment_type=enrollment_type.name,
                attribute=attribute,
                found=", ".join(_headers(tab)),
            )
        ]
    )


def _headers(tab: pd.DataFrame) -> list[str]:
    return [column for column in tab.columns if column not in _OURS]


def _as_kind(kind: Kind, values: pd.Series, *, is_list: bool) -> pd.Series:
    """A column in the attribute's kind; of a list read as a single value, its first element."""
    if kind == "text" and is_list:
        return first_element(values)
    return _series(pc.cast(pa.array(values), DTYPES[kind].pyarrow_dtype), values.index)


def _read(attribute: str, kind: Kind, values: pd.Series) -> tuple[pd.Series, pd.Series[bool]]:
    """A column that the district chose, read as the attribute's kind, and where it could not be."""
    text = pc.cast(pa.array(values), pa.string())
    whole = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    read = read_column(Column(attribute, kind), whole)
    return _as_kind(kind, _series(read.values, values.index), is_list=False), pd.Series(
        read.unreadable.to_numpy(zero_copy_only=False), index=values.index
    )


def _series(array: pa.Array, index: pd.Index) -> pd.Series:
    return pd.Series(pd.arrays.ArrowExtensionArray(array), index=index)


def _organizations(parsed: Roster) -> pd.DataFrame:
    names = {
        "sourcedId": "source_id",
        "name": "name",
        "type": "org_type",
        "parentSourcedId": "parent_id",
        "file": "file",
        "row": "row",
    }
    orgs = parsed.frames.get("orgs")
    if orgs is None:
        return pd.DataFrame({name: pd.Series([], dtype=TEXT) for name in names.values()})
    others = orgs.loc[orgs["enrollment_type"].isna(), list(names)]
    return pd.concat([parsed.organizations, others.rename(columns=names)], ignore_index=True)


def _lonely_demographics(parsed: Roster) -> pd.DataFrame:
    """Rows of demographics.csv whose user is in no row of users.csv, told and left aside."""
    tab = parsed.frames.get("demographics")
    if tab is None or "users" not in parsed.frames:
        return findings_frame()
    ended = parsed.ended["source_id"]
    known = tab["sourcedId"].isin(parsed.frames["users"]["sourcedId"]) | tab["sourcedId"].isin(
        ended
    )
    lonely = tab.loc[~known]
    return tell("demographics_without_user", lonely.assign(source_id=lonely["sourcedId"]))
