"""Domains of uniqueness: what no two people, or no two records of a type, may share.

Always e-mail and SIS id among students, teachers and admins; a district may add domains. Every
member of a collision is told, with the rows of the others. We do not guess whose value it is, so
the built-in domains leave all of them out (design rule 4.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from roster_pipeline.findings import Outcome, concat_findings, tell_records
from roster_pipeline.roster import Roster
from roster_pipeline.stages.section import Section

Policy = Literal["report", "skip_all", "keep_first"]
PEOPLE = ("student", "teacher", "admin")
PERSONAL = frozenset({"name", "sis_id", "email"})
"""Who shares one of these says by another of them that the two are one person."""
_SHOWN_ROWS = 10


class Domain(Section):
    """Attributes whose values together may stand once, and what becomes of those that collide."""

    attributes: tuple[str, ...] = Field(min_length=1)
    """The attributes whose values, taken together, no two records may share."""
    on_duplicate: Policy = "skip_all"
    """What becomes of those that do: `report` takes all of them in, `skip_all` none, `keep_first`
    the first in the file."""


class UniquenessSettings(Section):
    """The district's own domains by enrollment type, beside the built-in ones."""

    uniqueness: Mapping[str, tuple[Domain, ...]] = Field(default_factory=dict)
    """By enrollment type, what else no two records may share, beside `email` and `sis_id` among
    students, teachers and admins, which are always compared."""


def check_uniqueness(roster: Roster, settings: UniquenessSettings) -> Outcome:
    """Tell every collision; end as `duplicate` what its domain's policy leaves out."""
    domains = [
        (PEOPLE, Domain(attributes=("sis_id",))),
        (PEOPLE, Domain(attributes=("email",))),
        *(((name,), domain) for name, ds in settings.uniqueness.items() for domain in ds),
    ]
    told: list[pd.DataFrame] = []
    out: dict[str, pd.Series[bool]] = {}
    for types, domain in domains:
        members = _members(roster, types, domain.attributes)
        collisions = _collisions(members)
        for name, mine in collisions.groupby("enrollment_type", sort=False):
            records = roster.frames[str(name)].iloc[mine["position"]]
            leaves = mine["leaves"].to_numpy(bool) & (domain.on_duplicate != "report")
            if domain.on_duplicate == "keep_first":
                leaves &= ~mine["first"].to_numpy(bool)
            for severity, chosen in (("skipped", leaves), ("reported", ~leaves)):
                told.append(
                    _tell(roster, str(name), domain, records[chosen], mine[chosen], severity)
                )
            mask = out.setdefault(str(name), pd.Series(False, roster.frames[str(name)].index))
            mask.iloc[mine["position"].to_numpy()[leaves]] = True
    for name, mask in out.items():
        roster = roster.end(name, mask, "duplicate")
    return Outcome(roster, concat_findings(told))


def _members(roster: Roster, types: tuple[str, ...], attributes: tuple[str, ...]) -> pd.DataFrame:
    """The records a domain compares: columns key, enrollment_type, position, file, row; among
    people also what tells whether two are one person, PERSONAL without the domain's own."""
    parts = []
    for name in types:
        frame = roster.frames[name]
        keys = [_normalised(attribute, frame[attribute]) for attribute in attributes]
        part = pd.DataFrame(
            {
                "key": keys[0] if len(keys) == 1 else _join(keys),
                "enrollment_type": pd.Series(name, frame.index, dtype=pd.ArrowDtype(pa.string())),
                "position": range(len(frame)),
                "file": frame["file"],
                "row": frame["row"],
            }
        )
        part = part.loc[part["key"].notna()]
        parts.append(part)
    members = pd.concat(parts, ignore_index=True)
    members = members.loc[members["key"].duplicated(keep=False)]
    if types != PEOPLE or members.empty:
        return members
    people = [
        _people(roster.frames[str(name)], part) for name, part in members.groupby("enrollment_type")
    ]
    return members.join(pd.concat(people).drop(columns=list(attributes)))


def _people(frame: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    records = frame.iloc[part["position"]].set_axis(part.index)
    name = _join([_folded(records["first_name"]), _folded(records["last_name"])])
    email = _folded(records["email"])
    return pd.DataFrame({"name": name, "sis_id": records["sis_id"], "email": email})


def _collisions(members: pd.DataFrame) -> pd.DataFrame:
    """Members of real collisions with `leaves` (false where they are one person in several user
    types), `first` (of its collision, in the order of the files) and `rows` (in words).

    One row of a file in several user types is no collision with itself.
    """
    key = members["key"]
    origin = members["file"] + ":" + members["row"].astype("string[pyarrow]")
    several = origin.groupby(key).transform("nunique") > 1
    members, key = members.loc[several], key.loc[several]
    if members.empty:
        return members.assign(leaves=False, first=False, rows="")
    by_key = members.groupby(key)
    in_other_types = by_key["enrollment_type"].transform("nunique") == by_key["row"].transform(
        "size"
    )
    same_person = pd.Series(False, index=members.index)
    for column in PERSONAL.intersection(members.columns):
        known = by_key[column].transform("count") == by_key["row"].transform("size")
        same_person |= known & (by_key[column].transform("nunique") == 1)
    first = by_key["row"].transform("min") == members["row"]
    words = by_key["row"].agg(_rows_in_words)
    return members.assign(leaves=~(in_other_types & same_person), first=first, rows=key.map(words))


def _rows_in_words(rows: pd.Series[int]) -> str:
    shown = ", ".join(str(row) for row in sorted(rows)[:_SHOWN_ROWS])
    more = len(rows) - _SHOWN_ROWS
    return f"rows {shown}" + (f" and {more} more" if more > 0 else "")


def _tell(
    roster: Roster,
    name: str,
    domain: Domain,
    records: pd.DataFrame,
    members: pd.DataFrame,
    severity: str,
) -> pd.DataFrame:
    attribute = domain.attributes[0]
    what = " and ".join(domain.attributes)
    where = members["file"].astype(str) + " " + members["rows"].astype(str)
    message = pd.Series(
        (f"The same {what} stands in " + where + ".").to_numpy(),
        index=records.index,
        dtype=pd.ArrowDtype(pa.string()),
    )
    return tell_records(
        f"{attribute}_duplicate",
        name,
        records,
        attribute,
        roster.sources[name][attribute],
        severity=severity,  # type: ignore[arg-type]
        message=message,
    )


def _normalised(attribute: str, values: pd.Series) -> pd.Series[str]:
    """How a value is compared: e-mail without case and surrounding blanks, ids exactly."""
    text = pc.cast(pa.array(values), pa.string())
    if attribute == "email":
        text = pc.utf8_normalize(pc.utf8_lower(pc.utf8_trim_whitespace(text)), form="NFC")
    return pd.Series(pd.arrays.ArrowExtensionArray(text), index=values.index)


def _folded(values: pd.Series) -> pd.Series[str]:
    return _normalised("email", values)


def _join(columns: list[pd.Series[str]]) -> pd.Series[str]:
    """Several columns as one key, null where one of them is."""
    joined = pc.binary_join_element_wise(*(pa.array(c) for c in columns), "\x1f")
    return pd.Series(pd.arrays.ArrowExtensionArray(joined), index=columns[0].index)
