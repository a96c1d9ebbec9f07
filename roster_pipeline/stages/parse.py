"""The first stage: the files' rows become records of enrollment types, each in the accounting.

Takes the effective set and returns a roster whose frames are still named and laid out as the
OneRoster files are; the next stage gives them the warehouse's attributes. A row that is no record
ends here (design rules 4.3 and 4.7), and a person of version 1.2 gets her roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from pydantic import Field

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import (
    Outcome,
    concat_findings,
    findings_frame,
    tell,
)
from roster_pipeline.oneroster.effective import EffectiveSet
from roster_pipeline.oneroster.reader import (
    KIND_COLUMN,
    ORG_COLUMN,
    FileReading,
)
from roster_pipeline.oneroster.rules import role_rules, teaching_rules
from roster_pipeline.oneroster.standard import DATA_FILES
from roster_pipeline.roster import (
    ENDED_COLUMNS,
    REJECTED_OUTCOMES,
    TEXT,
    UNTYPED,
    Roster,
    first_element,
    lookup,
)
from roster_pipeline.stages.section import Section

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


class ParseSettings(Section):
    """Which files a delivery must hold, and which role is which enrollment type."""

    required_files: tuple[str, ...] = DATA_FILES
    """The data files a delivery must hold; to the landing zone, the first one. A file that is left
    out here may be missing: references into it are then not checked."""
    user_types: Mapping[str, str] = Field(default_factory=dict)
    """Which role of users.csv or roles.csv is which enrollment type: student, teacher, admin or
    contact; or `ignore`, and its people are filtered. Roles that are not named keep their own."""

    def type_of_role(self) -> dict[str, str]:
        """Every known role with its enrollment type, or `ignore`."""
        return {**DEFAULT_USER_TYPES, **self.user_types}


@dataclass(frozen=True)
class ParsedFile:
    """How a file stands in the effective set: its mode and the number of its rows."""

    file: str
    mode: str
    rows: int


@dataclass(frozen=True)
class Parsed(Outcome):
    """The outcome of parsing: a roster whose frames are keyed by file name, and the files."""

    version: str = "1.1"
    files: tuple[ParsedFile, ...] = field(default=())


def parse(effective: EffectiveSet, settings: ParseSettings) -> Parsed:
    """Make records of the files' rows.

    Frames: the standard's columns by name, `row`, `file`, and `enrollment_type` (null for
    demographics, roles, and organisations that are no school). `users` has `role` and
    `orgSourcedIds` in every version, and a row for each enrollment type a person is.
    """
    readings = {name: file.reading for name, file in effective.files.items()}
    kinds = _Kinds.of(readings, settings)
    frames: dict[str, pd.DataFrame] = {}
    ended: list[pd.DataFrame] = []
    told = [findings_frame(effective.findings)]
    for name, reading in readings.items():
        frame, gone, found = _take(name, reading, kinds)
        frames[name] = frame
        ended.append(gone)
        told += [findings_frame(reading.findings), *found]
    for name, notes in (*teaching_rules(readings), *role_rules(readings)):
        told += _tell(name, notes, kinds)
    absent = tuple(name for name in DATA_FILES if name not in readings)
    roster = Roster(
        frames,
        organizations=_rejected_organizations(readings, kinds),
        ended=pd.concat(ended, ignore_index=True),
        absent_files=absent,
    )
    files = tuple(
        ParsedFile(f"{name}.csv", file.mode, file.reading.rows)
        for name, file in effective.files.items()
    )
    return Parsed(roster, concat_findings(told), version=effective.version, files=files)


@dataclass(frozen=True)
class _Kinds:
    """What the roles of people and the kinds of organisations are to us.

    roles: in version 1.2, a row for each person and enrollment type she is; columns sourcedId,
        role, orgSourcedIds, enrollment_type. None where users.csv has the roles itself.
    """

    type_of_role: Mapping[str, str]
    roles: pd.DataFrame | None

    @classmethod
    def of(cls, readings: Mapping[str, FileReading], settings: ParseSettings) -> _Kinds:
        type_of_role = settings.type_of_role()
        if "roles" not in readings or "users" not in readings:
            return cls(type_of_role, None)
        roles, users = readings["roles"].frame, readings["users"].frame
        if "primaryOrgSourcedId" not in users:
            return cls(type_of_role, None)
        home = lookup(roles["userSourcedId"], users["sourcedId"], users["primaryOrgSourcedId"])
        at_home = roles["orgSourcedId"] == home
        roles = roles.assign(
            enrollment_type=roles["role"].map(type_of_role).astype(TEXT).fillna(UNTYPED),
            away=~at_home.fillna(False).astype(bool),
            secondary=roles["roleType"] != "primary",
        ).sort_values(["away", "secondary", "row"])
        keys = ["userSourcedId", "enrollment_type"]
        first = roles.drop_duplicates(keys)[[*keys, "role"]]
        placed = roles.dropna(subset="orgSourcedId").drop_duplicates([*keys, "orgSourcedId"])
        orgs = placed.groupby(keys)["orgSourcedId"].agg(",".join).rename("orgSourcedIds")
        whole = first.merge(orgs.reset_index(), on=keys, how="left")
        whole["orgSourcedIds"] = whole["orgSourcedIds"].astype(TEXT)
        return cls(type_of_role, whole.rename(columns={"userSourcedId": "sourcedId"}))

    def types(self, name: str, ids: pd.Series[str], kinds: pd.Series[str]) -> pd.Series[str]:
        """The enrollment type of rows of a file, from their ids and kinds; null for rows that are
        no record of a type. A row of orgs.csv whose kind is not readable counts as a school."""
        if name == "users":
            known = kinds.map(self.type_of_role).astype(TEXT)
            if self.roles is not None:
                first = self.roles.drop_duplicates("sourcedId")
                known = lookup(ids, first["sourcedId"], first["enrollment_type"])
            return known.where(known != IGNORED, UNTYPED).fillna(UNTYPED)
        if name == "orgs":
            is_school = kinds.isna() | (kinds == "school")
            return pd.Series("school", ids.index, dtype=TEXT).where(is_school)
        return pd.Series(_TYPE_OF_FILE.get(name), ids.index, dtype=TEXT)


def _rejected_organizations(readings: Mapping[str, FileReading], kinds: _Kinds) -> pd.DataFrame:
    """Organisations that are no schools and whose row was rejected, in the shape of
    `Roster.organizations`. Nothing of them but the id is used, so what names them may go on; else
    one bad row in orgs.csv would take every course and class of the district with it."""
    if "orgs" not in readings:
        return Roster({}).organizations
    rows = readings["orgs"].rejected
    other = kinds.types("orgs", rows["sourcedId"], rows["kind"]).isna() & rows["sourcedId"].notna()
    rows = rows.loc[other & rows["outcome"].isin(REJECTED_OUTCOMES)]
    blank = pd.Series(pd.NA, rows.index, dtype=TEXT)
    return pd.DataFrame(
        {
            "source_id": rows["sourcedId"],
            "name": blank,
            "org_type": rows["kind"],
            "parent_id": blank,
            "file": pd.Series("orgs.csv", rows.index, dtype=TEXT),
            "row": rows["row"],
        }
    )


def _take(
    name: str, reading: FileReading, kinds: _Kinds
) -> tuple[pd.DataFrame, pd.DataFrame, list[pd.DataFrame]]:
    """One file's records, its rows that ended, and its findings."""
    frame = reading.frame
    if name == "users" and kinds.roles is not None:
        frame = frame.drop(columns=["role", "orgSourcedIds"], errors="ignore")
        frame = _with_roles(frame, kinds.roles)
    frame = frame.assign(file=pd.Series(f"{name}.csv", frame.index, dtype=TEXT))
    kind = frame[KIND_COLUMN[name]] if name in KIND_COLUMN else frame["sourcedId"]
    if name != "users" or kinds.roles is None:
        frame["enrollment_type"] = kinds.types(name, frame["sourcedId"], kind)
    found = _tell(name, reading.told, kinds)
    rejected = reading.rejected
    types = kinds.types(name, rejected["sourcedId"], rejected["kind"])
    ended = [_ended(name, rejected.assign(enrollment_type=types))]
    if name == "users":
        ignored = (kind.map(kinds.type_of_role) == IGNORED).fillna(False)
        untyped = (frame["enrollment_type"] == UNTYPED) & ~ignored
        found += _tell_untyped(frame.loc[untyped], kinds)
        ended.append(_ended(name, _brief(frame.loc[untyped]).assign(outcome="invalid")))
        ended.append(_ended(name, _brief(frame.loc[ignored]).assign(outcome="filtered")))
        frame = frame.loc[~(untyped | ignored)].reset_index(drop=True)
    return frame, pd.concat(ended, ignore_index=True), found


def _with_roles(users: pd.DataFrame, roles: pd.DataFrame) -> pd.DataFrame:
    """Version 1.2: users with role and organisations, a row for each enrollment type they are;
    UNTYPED where a user has no role. The primary organisation comes first."""
    joined = users.merge(roles, on="sourcedId", how="left")
    joined["enrollment_type"] = joined["enrollment_type"].where(
        joined["enrollment_type"] != IGNORED, UNTYPED
    )
    joined["enrollment_type"] = joined["enrollment_type"].fillna(UNTYPED)
    home, orgs = joined["primaryOrgSourcedId"], joined["orgSourcedIds"]
    elsewhere = home.notna() & (first_element(orgs) != home).fillna(True)
    joined["orgSourcedIds"] = orgs.mask(elsewhere, home + ("," + orgs).fillna("")).astype(TEXT)
    return joined


def _brief(users: pd.DataFrame) -> pd.DataFrame:
    """Rows of users.csv in the shape of a reading's rejected rows."""
    org = first_element(users[ORG_COLUMN["users"]])
    return users[["row", "sourcedId", "enrollment_type"]].assign(org=org)


def _ended(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in the shape of `Roster.ended`; rows that are no record of an enrollment type
    (demographics, roles, organisations that are no school) are not counted there."""
    rows = rows.loc[rows["enrollment_type"].notna()]
    return pd.DataFrame(
        {
            "enrollment_type": rows["enrollment_type"],
            "source_id": rows["sourcedId"],
            "school": rows["org"],
            "file": pd.Series(f"{name}.csv", rows.index, dtype=TEXT),
            "row": rows["row"],
            "outcome": rows["outcome"].astype(TEXT),
        }
    )[list(ENDED_COLUMNS)]


def _tell(name: str, notes: pd.DataFrame, kinds: _Kinds) -> list[pd.DataFrame]:
    """The findings of a reading's notes (TOLD_COLUMNS), a frame for each kind of note."""
    rows = notes.rename(columns={"sourcedId": "source_id", "org": "school"}).assign(
        file=pd.Series(f"{name}.csv", notes.index, dtype=TEXT),
        enrollment_type=kinds.types(name, notes["sourcedId"], notes["kind"]),
    )
    told = []
    for (code, header, allowed), group in rows.groupby(
        ["code", "field", "allowed"], dropna=False, sort=False
    ):
        field = header if isinstance(header, str) else None
        told.append(tell(str(code), group, field=field, allowed=allowed))
    return told


def _tell_untyped(users: pd.DataFrame, kinds: _Kinds) -> list[pd.DataFrame]:
    """People whose role is nothing to us, or who have none in roles.csv."""
    if users.empty:
        return []
    code, field = ("record_untyped", "role") if kinds.roles is None else ("user_without_role", None)
    notes = _brief(users).assign(
        code=code, kind=None, field=field, allowed=", ".join(kinds.type_of_role)
    )
    return _tell("users", notes, kinds)
