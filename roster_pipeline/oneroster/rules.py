"""Rules of the standard that span rows and files. They are told and reject nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from roster_pipeline.oneroster.reader import TOLD_COLUMNS, FileReading
from roster_pipeline.roster import TEXT, lookup

Notes = tuple[str, pd.DataFrame]
"""A file's name, and notes on its rows with TOLD_COLUMNS."""
_CROWD = 100
"""More primary teachers than this in a class are told without a look at their dates."""


def teaching_rules(readings: Mapping[str, FileReading]) -> list[Notes]:
    """Enrollments against what else is known: a class has one primary teacher at a time, and a
    person is enrolled as what she is (OneRoster 1.1 and 1.2, enrollments.csv)."""
    if "enrollments" not in readings:
        return []
    enrollments = readings["enrollments"].frame
    notes = [
        (
            "enrollments",
            _note(
                enrollments, _several_primaries(enrollments), "several_primary_teachers", "primary"
            ),
        )
    ]
    if "users" in readings and "role" in readings["users"].frame:
        users = readings["users"].frame
        role = lookup(enrollments["userSourcedId"], users["sourcedId"], users["role"])
        as_student = enrollments["role"] == "student"
        unlike = role.notna() & (as_student != (role == "student"))
        notes.append(
            ("enrollments", _note(enrollments, unlike.fillna(False), "role_unlike_user", "role"))
        )
    return notes


def _several_primaries(enrollments: pd.DataFrame) -> pd.Series[bool]:
    """Primary teachers of a class at the same time as another one.

    A blank date is open; the end date is the first day on which it no longer holds.
    """
    chosen = (enrollments["primary"].fillna(False) & (enrollments["role"] == "teacher")).fillna(
        False
    )
    if not chosen.any() or "beginDate" not in enrollments:
        return pd.Series(False, index=enrollments.index)
    teachers = enrollments.loc[chosen.astype(bool)]
    columns = {"classSourcedId": "class", "userSourcedId": "user", "beginDate": "begin"}
    spans = teachers[[*columns, "endDate"]].rename(columns={**columns, "endDate": "end"})
    by_class = spans.groupby("class")["user"]
    spans = spans.loc[by_class.transform("nunique") > 1].reset_index(names="place")
    # Every pair is compared, which is no way to treat a class that a fault made of a whole school.
    crowded = spans.groupby("class")["user"].transform("size") > _CROWD
    few = spans.loc[~crowded]
    pairs = few.merge(few, on="class", suffixes=("", "_other"))
    clash = (
        (pairs["user"] != pairs["user_other"])
        & (pairs["begin"] < pairs["end_other"]).fillna(True)
        & (pairs["begin_other"] < pairs["end"]).fillna(True)
    ).astype(bool)
    places = pd.concat([pairs.loc[clash, "place"], spans.loc[crowded, "place"]])
    return pd.Series(enrollments.index.isin(places), index=enrollments.index)


def role_rules(readings: Mapping[str, FileReading]) -> list[Notes]:
    """Roles of version 1.2: each belongs to a user, and a user has one primary role in an
    organisation (OneRoster 1.2, roles.csv)."""
    if "roles" not in readings or "users" not in readings:
        return []
    roles = readings["roles"].frame
    ids = readings["users"].frame["sourcedId"]
    rejected = readings["users"].rejected["sourcedId"]
    lonely = ~roles["userSourcedId"].isin(ids) & ~roles["userSourcedId"].isin(rejected)
    primary = (roles["roleType"] == "primary").fillna(False)
    several = primary & roles.loc[primary].duplicated(
        ["userSourcedId", "orgSourcedId"], keep=False
    ).reindex(roles.index, fill_value=False)
    return [
        ("roles", _note(roles, lonely, "role_without_user", "userSourcedId")),
        ("roles", _note(roles, several, "several_primary_roles", "roleType")),
    ]


def _note(frame: pd.DataFrame, mask: pd.Series[bool], code: str, field: str) -> pd.DataFrame:
    rows = frame.loc[mask.astype(bool)]
    org = next((c for c in ("schoolSourcedId", "orgSourcedId") if c in rows), None)
    blank = pd.Series(pd.NA, rows.index, dtype=TEXT)
    words = {"code": code, "field": field, "allowed": None}
    return rows[["row", "sourcedId"]].assign(
        kind=blank,
        org=rows[org] if org else blank,
        **{k: pd.Series(v, rows.index, dtype=TEXT) for k, v in words.items()},
    )[list(TOLD_COLUMNS)]
