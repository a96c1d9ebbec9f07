"""School mapping: which school of the warehouse each organisation of the delivery is.

A student information system may give a school a new id; the warehouse's school stays the same.
Known organisations keep their school, unknown ones are matched by identifier, then by normalised
name, else they are new (design rule 4.10). From here on, references to schools name the
warehouse's schools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from roster_pipeline.findings import Outcome, findings_frame
from roster_pipeline.roster import ENROLLMENT_TYPES, TEXT, Roster
from roster_pipeline.stages.filters import list_elements

How = Literal["known", "identifier", "name", "new"]
DECISION_COLUMNS = ("org_id", "school_id", "how")


def decide_schools(
    received: pd.DataFrame, known: pd.DataFrame, mappings: Mapping[str, str]
) -> pd.DataFrame:
    """Which school each received organisation of type school is.

    received: columns source_id, name, identifier. known: the warehouse's schools, same columns.
    mappings: earlier decisions, organisation to school. Returns DECISION_COLUMNS, a row for each
    received school, and one for each earlier decision about an organisation that is not among
    them, since records may name it all the same.
    """
    org = received["source_id"]
    recorded = org.map(dict(mappings)).astype(TEXT)
    school = recorded.fillna(org.where(org.isin(known["source_id"])))
    how = pd.Series("known", index=org.index, dtype=TEXT)
    free = known.loc[~known["source_id"].isin(school)]
    for method, column in (("identifier", "identifier"), ("name", "name")):
        open_ = school.isna()
        key = _normalised_name(received[column]) if column == "name" else received[column]
        theirs = _normalised_name(free[column]) if column == "name" else free[column]
        matched = _matches(key.where(open_), theirs, free["source_id"])
        how = how.mask(matched.notna(), method)
        school = school.fillna(matched)
        free = free.loc[~free["source_id"].isin(school)]
    how = how.mask(school.isna(), "new")
    decided = pd.DataFrame({"org_id": org, "school_id": school.fillna(org), "how": how})
    others = {o: s for o, s in mappings.items() if o not in set(org)}
    earlier = pd.DataFrame(
        {
            "org_id": pd.Series(list(others), dtype=TEXT),
            "school_id": pd.Series(list(others.values()), dtype=TEXT),
            "how": pd.Series("known", index=range(len(others)), dtype=TEXT),
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
    """A name without case, punctuation and surrounding blanks."""
    text = pc.utf8_normalize(pc.utf8_lower(pa.array(names, pa.string())), form="NFKC")
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, r"[^\pL\pN]+", " "))
    return pd.Series(pd.arrays.ArrowExtensionArray(text), index=names.index)


def map_schools(roster: Roster, decisions: pd.DataFrame) -> Outcome:
    """Let every reference to a school name the warehouse's school.

    Where several organisations are one school, the first of the file stands for it and the others
    end as `filtered`.
    """
    roster = replace(roster, school_decisions=decisions)
    moved = decisions.loc[decisions["org_id"] != decisions["school_id"]]
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
