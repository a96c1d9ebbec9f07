"""Deliveries for the tests of decisions: a district, and what a bad export makes of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.roster import TEXT
from roster_pipeline.sample import make_district

Frames = dict[str, pd.DataFrame]


def district(students: int = 300) -> Frames:
    return make_district(students)


def schools(frames: Frames) -> list[str]:
    orgs = frames["orgs"]
    return list(orgs.loc[orgs["type"] == "school", "sourcedId"])


def _keep(frame: pd.DataFrame, mask: pd.Series) -> pd.DataFrame:
    return frame.loc[mask.fillna(False).astype(bool)].reset_index(drop=True)


def without_people(frames: Frames, ids: pd.Series) -> Frames:
    """Without these users and what is theirs."""
    left = dict(frames)
    for file, column in (
        ("users", "sourcedId"),
        ("demographics", "sourcedId"),
        ("enrollments", "userSourcedId"),
    ):
        left[file] = _keep(frames[file], ~frames[file][column].isin(ids))
    return left


def students(frames: Frames, school: str | None = None) -> pd.Series:
    """The ids of the students, of one (primary) school or of all."""
    users = frames["users"]
    mine = users["role"] == "student"
    if school is not None:
        mine &= _primary_school(users) == school
    return users.loc[mine, "sourcedId"]


def _primary_school(users: pd.DataFrame) -> pd.Series:
    return users["orgSourcedIds"].map(lambda orgs: orgs.split(",")[0])


def without_school(frames: Frames, school: str) -> Frames:
    """As if a school had not been ticked in the export."""
    users = frames["users"]
    left = without_people(frames, users.loc[_primary_school(users) == school, "sourcedId"])
    left["orgs"] = _keep(left["orgs"], left["orgs"]["sourcedId"] != school)
    for file in ("classes", "enrollments"):
        left[file] = _keep(left[file], left[file]["schoolSourcedId"] != school)
    return left


def renamed(frames: Frames, ids: dict[str, str], columns: dict[str, list[str]]) -> Frames:
    """With other ids in these columns (by file), also where they hold lists."""
    left = {file: frame.copy() for file, frame in frames.items()}
    for file, names in columns.items():
        for name in names:
            left[file][name] = (
                left[file][name]
                .map(lambda v: ",".join(ids.get(i, i) for i in v.split(",")), na_action="ignore")
                .astype(TEXT)
            )
    return left


def rekeyed(frames: Frames, school: str) -> Frames:
    """As if the students of a school had got new ids."""
    ids = {i: f"new-{i}" for i in students(frames, school)}
    columns = {
        "users": ["sourcedId", "agentSourcedIds"],
        "enrollments": ["userSourcedId"],
        "demographics": ["sourcedId"],
    }
    return renamed(frames, ids, columns)


def with_other_school_ids(frames: Frames) -> Frames:
    """As if the student information system had numbered its schools anew."""
    ids = {school: f"org-{school}" for school in schools(frames)}
    columns = {
        "orgs": ["sourcedId"],
        "users": ["orgSourcedIds"],
        "classes": ["schoolSourcedId"],
        "enrollments": ["schoolSourcedId"],
    }
    return renamed(frames, ids, columns)


def written(folder: Path, name: str, frames: Frames) -> Path:
    path = folder / f"{name}.zip"
    write_package(path, frames)
    return path
