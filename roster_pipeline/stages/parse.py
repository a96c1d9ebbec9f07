"""The first stage: files become typed frames, and each row gets its place in the accounting.

Takes the files of a delivery and returns a roster whose frames are still named and laid out as
the OneRoster files are; the next stage makes enrollment types of them. Here a row ends that
cannot be a record: it does not fit its header, has no usable id, a required value that cannot be
read, or an id that stands twice (design rules 4.3 and 4.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from roster_pipeline.findings import (
    DeliveryRefused,
    Finding,
    Outcome,
    concat_findings,
    finding,
    findings_frame,
    tell,
)
from roster_pipeline.oneroster.package import Limits, Package
from roster_pipeline.oneroster.reader import FileReading, read_file, read_manifest, version_of
from roster_pipeline.oneroster.standard import DATA_FILES, GRADES, Column, FileSpec
from roster_pipeline.roster import (
    ENDED_COLUMNS,
    ENROLLMENT_TYPES,
    TEXT,
    UNTYPED,
    Roster,
    empty_ended,
)

DEFAULT_USER_TYPES: dict[str, str] = {
    "student": "student",
    "teacher": "teacher",
    "aide": "teacher",
    "proctor": "teacher",
    "counselor": "teacher",
    "administrator": "admin",
    "principal": "admin",
    "siteAdministrator": "admin",
    "districtAdministrator": "admin",
    "systemAdministrator": "admin",
    "parent": "contact",
    "guardian": "contact",
    "relative": "contact",
}
IGNORED = "ignore"
"""A role mapped to this word is received and filtered."""

_TYPE_OF_FILE = {
    t.file: t.name for t in ENROLLMENT_TYPES.values() if t.file not in ("users", "orgs")
}
_SCHOOL_HEADER = {
    "orgs": "sourcedId",
    "users": "orgSourcedIds",
    "courses": "orgSourcedId",
    "classes": "schoolSourcedId",
    "enrollments": "schoolSourcedId",
}
_TYPE_HEADER = {"users": "role", "orgs": "type"}
"""Where a file holds records of several types, the header that says which."""


class ParseSettings(BaseModel):
    """Which files a delivery must hold, and which role is which enrollment type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required_files: tuple[str, ...] = DATA_FILES
    user_types: Mapping[str, str] = Field(default_factory=dict)

    def type_of_role(self) -> dict[str, str]:
        """Every known role with its enrollment type, or `ignore`."""
        return {**DEFAULT_USER_TYPES, **self.user_types}


@dataclass(frozen=True)
class ParsedFile:
    """How a file stood in the delivery: its mode and the number of records that arrived in it."""

    file: str
    mode: str
    rows: int


@dataclass(frozen=True)
class Parsed(Outcome):
    """The outcome of parsing: a roster whose frames are keyed by file name, and the files."""

    version: str = "1.1"
    files: tuple[ParsedFile, ...] = field(default=())


def parse(package: Package, settings: ParseSettings, limits: Limits = Limits()) -> Parsed:  # noqa: B008
    """Read the files of a package into a roster keyed by file name.

    Frames: the standard's columns by name, `row`, `file`, and for users and orgs
    `enrollment_type` (null for an organisation that is no school). Raises DeliveryRefused when a
    required file is missing or a file cannot be trusted, with all that is wrong.
    """
    manifest = read_manifest(package.files["manifest"]) if "manifest" in package.files else None
    version = version_of(manifest)
    fatal = [
        finding("file_missing", file=f"{name}.csv", severity="fatal")
        for name in settings.required_files
        if name not in package.files
    ]
    readings: list[FileReading] = []
    told: list[Finding] = list(package.findings)
    for name, content in package.files.items():
        if name in version.left_alone:
            told.append(finding("file_left_alone", file=f"{name}.csv"))
        elif name in version.files:
            try:
                readings.append(read_file(name, content, version, limits))
            except DeliveryRefused as refusal:
                fatal += refusal.findings
    fatal += [
        finding("file_mostly_ragged", file=f"{r.name}.csv", count=len(r.ragged), rows=r.rows)
        for r in readings
        if len(r.ragged) * 2 > r.rows
    ]
    if fatal:
        raise DeliveryRefused(fatal)
    roster = Roster(
        frames={},
        absent_files=tuple(n for n in DATA_FILES if n not in package.files),
    )
    frames: list[pd.DataFrame] = []
    for reading in readings:
        told += reading.findings
        roster, found = _settle(roster, reading, version.files[reading.name], settings)
        frames += found
    modes = manifest or {}
    files = tuple(
        ParsedFile(f"{r.name}.csv", modes.get(f"file.{r.name}", "bulk"), r.rows) for r in readings
    )
    return Parsed(
        roster, concat_findings([findings_frame(told), *frames]), version=version.name, files=files
    )


def _settle(
    roster: Roster, reading: FileReading, spec: FileSpec, settings: ParseSettings
) -> tuple[Roster, list[pd.DataFrame]]:
    """Add one file's records to the roster; those that cannot be records end as such."""
    name = reading.name
    frame = reading.frame.assign(file=pd.Series(f"{name}.csv", reading.frame.index, dtype=TEXT))
    frame["enrollment_type"] = _types(name, frame, settings)
    ragged = reading.ragged.assign(file=pd.Series(f"{name}.csv", reading.ragged.index, dtype=TEXT))
    ragged["enrollment_type"] = _types(name, ragged, settings, known_only=False)

    rows = frame["row"]
    bad_rows = reading.issues.loc[reading.issues["code"] == "value_unreadable", "row"]
    unreadable = rows.isin(bad_rows)
    nameless = frame["sourcedId"].isna() & ~unreadable
    untyped = _untyped(name, frame) & ~unreadable
    invalid = unreadable | nameless | untyped
    repeated, conflicting = _repeats(frame, invalid)

    told = [
        _about(name, "row_ragged", ragged),
        _about(name, "row_overwide", frame.loc[rows.isin(reading.overwide)]),
        _about(name, "source_id_missing", frame.loc[nameless], field="sourcedId"),
        *_about_untyped(name, spec, frame.loc[untyped]),
        *_about_values(name, spec, frame, reading.issues),
        _about(name, "record_repeated", frame.loc[repeated]),
        _about(name, "source_id_repeated", frame.loc[conflicting], field="sourcedId"),
    ]
    ended = [
        _ended(name, ragged, "invalid"),
        _ended(name, frame.loc[invalid], "invalid"),
        _ended(name, frame.loc[repeated | conflicting], "duplicate"),
    ]
    left = frame.loc[~(invalid | repeated | conflicting)].reset_index(drop=True)
    ignored = left["enrollment_type"].fillna("") == IGNORED
    if ignored.any():
        gone = left.loc[ignored].assign(enrollment_type=UNTYPED)
        ended.append(_ended(name, gone, "filtered"))
        left = left.loc[~ignored].reset_index(drop=True)
    full = [e for e in ended if len(e)]
    return (
        replace(
            roster,
            frames={**roster.frames, name: left},
            ended=pd.concat([roster.ended, *full], ignore_index=True) if full else roster.ended,
        ),
        told,
    )


def _types(
    name: str, frame: pd.DataFrame, settings: ParseSettings, *, known_only: bool = True
) -> pd.Series[str]:
    """The enrollment type of each row; null for demographics and organisations that are no
    school. A row of orgs.csv whose type is not readable counts as a school."""
    if name == "users":
        roles = frame["role"].map(settings.type_of_role())
        return roles.astype(TEXT).fillna(UNTYPED)
    if name == "orgs" and known_only:
        is_school = frame["type"].isna() | (frame["type"] == "school")
        return pd.Series("school", frame.index, dtype=TEXT).where(is_school)
    constant = "school" if name == "orgs" else _TYPE_OF_FILE.get(name)
    return pd.Series(constant, frame.index, dtype=TEXT)


def _untyped(name: str, frame: pd.DataFrame) -> pd.Series[bool]:
    """Rows that do not say what they are; no later stage would take them up."""
    if name == "users":
        return (frame["enrollment_type"] == UNTYPED).astype(bool)
    if name == "orgs":
        return frame["type"].isna()
    return pd.Series(False, index=frame.index)


def _repeats(
    frame: pd.DataFrame, invalid: pd.Series[bool]
) -> tuple[pd.Series[bool], pd.Series[bool]]:
    """Which rows say exactly what an earlier row says, and which share an id and differ."""
    ids = frame["sourcedId"].where(~invalid)
    shared = ids.notna() & ids.duplicated(keep=False)
    repeated = pd.Series(False, index=frame.index)
    if not shared.any():
        return repeated, repeated
    content = frame.loc[shared].drop(columns="row")
    repeated.loc[shared] = content.duplicated()
    conflicting = pd.Series(False, index=frame.index)
    distinct = ids.loc[shared & ~repeated]
    conflicting.loc[distinct.index] = distinct.duplicated(keep=False)
    return repeated & ~ids.isin(ids[conflicting]), conflicting | (
        repeated & ids.isin(ids[conflicting])
    )


def _school(name: str, frame: pd.DataFrame) -> pd.Series[str]:
    header = _SCHOOL_HEADER.get(name)
    if header is None or header not in frame:
        return pd.Series(pd.NA, frame.index, dtype=TEXT)
    first = pc.replace_substring_regex(pa.array(frame[header], pa.string()), ",.*", "")
    return pd.Series(first.to_pandas(types_mapper=pd.ArrowDtype).array, index=frame.index)


def _identity(frame: pd.DataFrame) -> pd.Series[str]:
    return frame["sourcedId"] if "sourcedId" in frame else frame["source_id"]


def _ended(name: str, frame: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Rows of a file in the shape of `Roster.ended`; demographics and organisations that are no
    school are not counted, since they are no records of an enrollment type."""
    frame = frame.loc[frame["enrollment_type"].notna()]
    if frame.empty:
        return empty_ended()
    return pd.DataFrame(
        {
            "enrollment_type": frame["enrollment_type"],
            "source_id": _identity(frame),
            "school": _school(name, frame),
            "file": frame["file"],
            "row": frame["row"],
            "outcome": pd.Series(outcome, index=frame.index, dtype=TEXT),
        }
    )[list(ENDED_COLUMNS)]


def _about(
    name: str, code: str, frame: pd.DataFrame, *, field: str | None = None, **words: Any
) -> pd.DataFrame:
    """One finding of `code` for each row of a file."""
    rows = frame[["file", "row", "enrollment_type"]].assign(
        source_id=_identity(frame), school=_school(name, frame)
    )
    return tell(code, rows, field=field, **words)


def _about_untyped(name: str, spec: FileSpec, frame: pd.DataFrame) -> list[pd.DataFrame]:
    column = spec.column(_TYPE_HEADER.get(name, ""))
    if column is None or frame.empty:
        return []
    return [_about(name, "record_untyped", frame, field=column.written, allowed=_allowed(column))]


def _about_values(
    name: str, spec: FileSpec, frame: pd.DataFrame, issues: pd.DataFrame
) -> list[pd.DataFrame]:
    """The findings of values that could not be read, a frame for each column and code."""
    told = []
    for (header, code), group in issues.groupby(["field", "code"], sort=False):
        column = next(c for c in spec.columns if c.written == header)
        rows = frame.loc[frame["row"].isin(group["row"])]
        told.append(_about(name, str(code), rows, field=str(header), allowed=_allowed(column)))
    return told


def _allowed(column: Column) -> str:
    """What a column may hold, in words."""
    if column.name == "grades":
        return "grade levels: " + ", ".join(GRADES)
    if column.vocabulary:
        return "one of " + ", ".join(column.vocabulary)
    return {
        "date": "a day of the calendar as YYYY-MM-DD",
        "year": "the year in which the school year ends, as YYYY",
        "guid": "1 to 255 of the characters 0-9 A-Z a-z . - _ / @",
    }[column.kind]
