"""School mapping: which school of the warehouse each organisation of the delivery is.

A student information system may give a school a new id; the warehouse's school stays the same.
Known organisations keep their school; unknown ones are matched by identifier, then by normalised
name, else they are new, or wait for a person, as the district's settings say (design rule 4.10).
From here on, references to schools name the warehouse's schools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import Outcome, concat_findings, findings_frame, tell
from roster_pipeline.roster import INTEGER, TEXT, Roster, empty_texts, list_elements
from roster_pipeline.stages.filters import carry_over
from roster_pipeline.stages.section import Section

How = Literal["known", "identifier", "name", "new", "manual", "ignored", "pending"]
BY_ITSELF: tuple[How, ...] = ("known", "identifier", "name", "new")
"""What an import decides without a person."""
SUGGESTION_COLUMNS = ("org_id", "school_id", "by", "score")
SUGGESTED = 3
"""How many schools are suggested for an organisation at most."""
_ALIKE = 60
"""From which score, of 100, names are alike enough to be suggested."""


class SchoolRules(Section):
    """What becomes of an organisation that the warehouse does not know: auto_map matches it by
    identifier and name and makes a new school where none matches, all_missing_as_new makes a new
    one; without either the import waits for a person."""

    auto_map: bool = True
    """Match a school the warehouse does not know by identifier, then by name, and make a new one
    where none matches."""
    all_missing_as_new: bool = False
    """Make a new school of each one the warehouse does not know. Where neither is on, the import
    waits until somebody says which school it is."""


class SchoolSettings(Section):
    """The section `schools` of a district's file."""

    schools: SchoolRules = SchoolRules()
    """What becomes of a school of the delivery that the warehouse does not know."""


def decide_schools(
    received: pd.DataFrame,
    known: pd.DataFrame,
    mappings: Mapping[str, str | None],
    rules: SchoolRules = SchoolRules(),  # noqa: B008
) -> pd.DataFrame:
    """Which school each received organisation of type school is.

    received: columns source_id, name, identifier. known: the warehouse's schools, same columns.
    mappings: earlier decisions, organisation to school, None for one that is ignored. Returns
    columns org_id, school_id (null where it is ignored or pending) and how, a row for each received
    school, and one for each earlier decision about an organisation that is not among them, since
    records may name it all the same.
    """
    org = received["source_id"]
    ignored = org.isin([o for o, s in mappings.items() if s is None])
    recorded = org.map({o: s for o, s in mappings.items() if s is not None}).astype(TEXT)
    school = recorded.fillna(org.where(org.isin(known["source_id"]) & ~ignored))
    how = pd.Series("known", index=org.index, dtype=TEXT).mask(ignored, "ignored")
    free = known.loc[~known["source_id"].isin(school)]
    methods = ("identifier", "name") if rules.auto_map else ()
    for column in methods:
        open_ = school.isna() & ~ignored
        key = _normalised_name(received[column]) if column == "name" else received[column]
        theirs = _normalised_name(free[column]) if column == "name" else free[column]
        matched = _matches(key.where(open_), theirs, free["source_id"])
        how = how.mask(matched.notna(), column)
        school = school.fillna(matched)
        free = free.loc[~free["source_id"].isin(school)]
    open_ = school.isna() & ~ignored
    if rules.auto_map or rules.all_missing_as_new:
        how, school = how.mask(open_, "new"), school.mask(open_, org)
    else:
        how = how.mask(open_, "pending")
    decided = pd.DataFrame({"org_id": org, "school_id": school, "how": how})
    others = {o: s for o, s in mappings.items() if o not in set(org)}
    earlier = pd.DataFrame(
        {
            "org_id": pd.Series(list(others), dtype=TEXT),
            "school_id": pd.Series(list(others.values()), dtype=TEXT),
            "how": pd.Series(
                ["ignored" if s is None else "known" for s in others.values()], dtype=TEXT
            ),
        }
    )
    return pd.concat([decided, earlier], ignore_index=True)


def _matches(
    keys: pd.Series[str], known_keys: pd.Series[str], known_ids: pd.Series[str]
) -> pd.Series[str]:
    """The id of the one known school with the same key; null where there is none, where several
    have it, or where several of ours do."""
    theirs = pd.DataFrame({"key": known_keys, "id": known_ids}).dropna()
    theirs = theirs.loc[~theirs["key"].duplicated(keep=False)]
    school_of_key = dict(zip(theirs["key"], theirs["id"], strict=True))
    return keys.where(~keys.duplicated(keep=False)).map(school_of_key).astype(TEXT)


def _normalised_name(names: pd.Series[str]) -> pd.Series[str]:
    """A name without case, punctuation and surrounding blanks; null where nothing is left."""
    text = pc.utf8_normalize(pc.utf8_lower(pa.array(names, pa.string())), form="NFKC")
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, r"[^\pL\pN]+", " "))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    return pd.Series(pd.arrays.ArrowExtensionArray(text), index=names.index)


def suggest_schools(pending: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The warehouse's schools that an organisation may be, the likeliest first.

    pending: columns source_id, name, identifier. known: the same. Returns SUGGESTION_COLUMNS; by:
    identifier, name (the same but for case and punctuation) or similar; score: 0 to 100.
    """
    from rapidfuzz import fuzz, process

    if pending.empty or known.empty:
        return empty_texts(*SUGGESTION_COLUMNS[:3]).assign(score=pd.Series([], dtype=INTEGER))
    ours, theirs = (_normalised_name(f["name"]).fillna("").tolist() for f in (pending, known))
    scores = np.round(process.cdist(ours, theirs, scorer=fuzz.token_sort_ratio))
    scores[[not name for name in ours]] = 0  # which are as like one another as can be
    same = _same_identifier(pending["identifier"], known["identifier"])
    ranks = np.where(same, 101, scores)
    best = np.argsort(-ranks, axis=1, kind="stable")[:, :SUGGESTED]
    rank = np.take_along_axis(ranks, best, axis=1).ravel()
    suggested = pd.DataFrame(
        {
            "org_id": pending["source_id"].repeat(best.shape[1]).array,
            "school_id": known["source_id"].iloc[best.ravel()].array,
            "by": pd.Series(
                np.select([rank > 100, rank == 100], ["identifier", "name"], "similar")
            ),
            "score": pd.Series(np.minimum(rank, 100)).astype(INTEGER),
        }
    )
    return suggested.astype({"by": TEXT}).loc[rank >= _ALIKE].reset_index(drop=True)


def _same_identifier(ours: pd.Series[str], theirs: pd.Series[str]) -> np.ndarray:
    """Which of ours (rows) have the identifier of which of theirs (columns)."""
    left, right = (v.fillna("").to_numpy(dtype=object) for v in (ours, theirs))
    same: np.ndarray = (left[:, None] == right[None, :]) & (left != "")[:, None]
    return same


def ignore_schools(roster: Roster, decisions: pd.DataFrame) -> Roster:
    """End the schools that are ignored as `filtered`, and with them what hangs on them.

    Before references are resolved: a rejected record of an ignored school does not stay either.
    """
    ignored = decisions.loc[decisions["how"] == "ignored", "org_id"]
    schools = roster.frames["school"]["source_id"]
    return carry_over(roster, roster.end("school", schools.isin(ignored), "filtered"))


def vanished_schools(decisions: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The active schools of the warehouse that no received organisation is any more.

    decisions: of received organisations only. known: columns source_id, name, active. Returns rows
    of `known`.
    """
    active = known["active"].fillna(False).astype(bool)
    return known.loc[active & ~known["source_id"].isin(decisions["school_id"])]


def tell_schools(
    received: pd.DataFrame, decisions: pd.DataFrame, known: pd.DataFrame
) -> pd.DataFrame:
    """Findings on organisations that wait for a decision, with the likeliest school of each, and
    on schools that are not in the delivery any more. received: columns source_id, name,
    identifier, file, row."""
    pending = decisions.loc[decisions["how"] == "pending", "org_id"]
    rows = received.loc[received["source_id"].isin(pending)]
    first = suggest_schools(rows, known).drop_duplicates("org_id").set_index("org_id")["school_id"]
    nearest = rows["source_id"].map(first).astype(TEXT)
    like = (", perhaps " + nearest).fillna("")
    sentence = "No school has been named for the organisation " + rows["source_id"] + like + "."
    came = decisions.loc[decisions["org_id"].isin(received["source_id"])]
    gone = vanished_schools(came, known)
    lost = gone[["source_id"]].assign(file="orgs.csv", school=gone["source_id"])
    return concat_findings(
        [
            tell("school_pending", rows[["source_id", "file", "row"]], message=sentence),
            tell("school_vanished", lost),
        ]
    )


def map_schools(roster: Roster, decisions: pd.DataFrame) -> Outcome:
    """Let every reference to a school name the warehouse's school.

    Where several organisations are one school, the first of the file stands for it and the others
    end as `filtered`. What is pending or ignored has no school and stays as it is.
    """
    roster = replace(roster, school_decisions=decisions)
    moved = decisions.loc[(decisions["org_id"] != decisions["school_id"]).fillna(False)]
    if moved.empty:
        return Outcome(roster, findings_frame())
    school_of_org = dict(zip(moved["org_id"], moved["school_id"], strict=True))
    frames = dict(roster.frames)
    schools = frames["school"]
    frames["school"] = schools.assign(source_id=_replaced(schools["source_id"], school_of_org))
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        changed = {
            a.name: (_replaced_elements if a.kind == "list" else _replaced)(
                frames[name][a.name], school_of_org
            )
            for a in enrollment_type.references
            if "school" in a.refers_to
        }
        frames[name] = frames[name].assign(**changed)
    ended = roster.ended.assign(school=_replaced(roster.ended["school"], school_of_org))
    roster = replace(roster, frames=frames, ended=ended)
    same_school = frames["school"]["source_id"].duplicated()
    return Outcome(roster.end("school", same_school, "filtered"), findings_frame())


def _replaced(values: pd.Series[str], school_of_org: Mapping[str, str]) -> pd.Series[str]:
    return values.map(school_of_org).astype(TEXT).fillna(values)


def _replaced_elements(values: pd.Series[str], school_of_org: Mapping[str, str]) -> pd.Series[str]:
    positions, elements = list_elements(values)
    replaced = _replaced(pd.Series(elements), school_of_org)
    joined = replaced.groupby(positions).agg(lambda e: ",".join(dict.fromkeys(e)))
    result = pd.Series(np.full(len(values), None, dtype=object), dtype=TEXT)
    result.loc[joined.index] = joined.astype(TEXT)
    return result.set_axis(values.index)
