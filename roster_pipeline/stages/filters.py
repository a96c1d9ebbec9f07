"""Filter rules: which records a district wants to keep.

A rule names an enrollment type and, for its attributes, conditions; the conditions of a rule are
joined by AND, the rules of one type by OR. Rules only include: a type with rules keeps what one of
them matches, a type without keeps all. What is filtered was read and is counted; it is no fault,
so nothing is told of it (design rule 4.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import or_
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, PERSONS, Attribute
from roster_pipeline.findings import Outcome, findings_frame
from roster_pipeline.roster import UNTYPED, Roster, list_elements
from roster_pipeline.stages.section import Section

Condition = Literal[
    "contains_text",
    "does_not_contain_text",
    "equals",
    "in",
    "not_in",
    "starts_with",
    "matches",
    "is_empty",
    "is_not_empty",
    "before",
    "after",
    "is_past",
    "is_future",
]
Value = str | int | bool | date
Values = Value | tuple[Value, ...] | None
ALONE: tuple[Condition, ...] = ("is_empty", "is_not_empty", "is_past", "is_future")
"""Conditions that take no value."""


def _fitting(conditions: Mapping[Condition, Values]) -> Mapping[Condition, Values]:
    """The conditions, when their values are what they need."""
    for condition, value in conditions.items():
        if condition in ALONE and value not in (None, True):
            raise ValueError(f"{condition} takes no value")
        if condition not in ALONE and (value is None or value == ()):
            raise ValueError(f"{condition} needs a value")
        if condition in ("equals", "matches", "before", "after") and isinstance(value, tuple):
            raise ValueError(f"{condition} takes one value; `in` takes several")
        if condition in ("before", "after"):
            try:
                date.fromisoformat(str(value))
            except ValueError:
                raise ValueError(f"{condition} needs a day as YYYY-MM-DD") from None
        if condition == "matches":
            try:
                pc.match_substring_regex(pa.array([""]), str(value))
            except pa.ArrowInvalid as error:
                raise ValueError(f"{condition} needs a regular expression (RE2): {error}") from None
    return conditions


Conditions = Annotated[Mapping[Condition, Values], AfterValidator(_fitting)]
Rule = Mapping[str, Mapping[str, Conditions]]
"""enrollment type → attribute → condition → value, as a district's file writes it."""


class FilterSettings(Section):
    """The district's filter rules; `include_linked` carries the filtering of a record to what
    hangs on it (a student's enrollments, a school's classes) and to contacts nobody else has."""

    filters: tuple[Rule, ...] = ()
    """Rules of which a record must match one, if there is one of its enrollment type: enrollment
    type, attribute, condition, value. All conditions of a rule must hold."""
    include_linked: bool = True
    """Whether what hangs on a filtered record is filtered too: a student's enrollments, a school's
    classes, a contact all of whose students are filtered. Without it, they are invalid."""


def filter_records(roster: Roster, settings: FilterSettings, today: date) -> Outcome:
    """End as `filtered` the records that no rule of their type includes.

    today: the district's date, for `is_past` and `is_future`.
    """
    wanted: dict[str, pd.Series[bool]] = {}
    for rule in settings.filters:
        for name, by_attribute in rule.items():
            frame = roster.frames[name]
            match = pd.Series(True, index=frame.index)
            for attribute, conditions in by_attribute.items():
                for condition, value in conditions.items():
                    match &= _holds(frame, name, attribute, condition, value, today)
            wanted[name] = wanted.get(name, pd.Series(False, index=frame.index)) | match
    before = roster
    for name, match in wanted.items():
        roster = roster.end(name, ~match, "filtered")
    if settings.include_linked:
        roster = carry_over(before, roster)
    return Outcome(roster, findings_frame())


def carry_over(before: Roster, after: Roster) -> Roster:
    """End what hangs on a filtered record alone: what it is a required reference of, such as the
    enrollments of filtered people, and contacts all of whose students were filtered.

    What hangs on a school may itself be hung on, so types are settled in the order in which
    references lead.
    """
    if not (after.ended["outcome"] == "filtered").any():
        return after
    for enrollment_type in ENROLLMENT_TYPES.values():
        for attribute in enrollment_type.references:
            if not attribute.required_reference or (gone := _filtered_ids(after, attribute)).empty:
                continue
            frame = after.frames[enrollment_type.name]
            values = frame[attribute.name]
            hangs = _all_among(values, gone) if attribute.kind == "list" else values.isin(gone)
            after = after.end(enrollment_type.name, hangs, "filtered")

    links = _contact_links(before)
    # Who was skipped before is not filtered: she may stay in the warehouse, with her contacts.
    filtered = links["student"].isin(_filtered(after, ("student",)))
    filtered &= ~links["student"].isin(after.frames["student"]["source_id"])
    of_gone = links.loc[filtered, "contact"]
    of_left = links.loc[~filtered, "contact"]
    contacts = after.frames["contact"]["source_id"]
    return after.end("contact", contacts.isin(of_gone) & ~contacts.isin(of_left), "filtered")


def _filtered_ids(roster: Roster, attribute: Attribute) -> pd.Series[str]:
    """The ids a reference may name that were filtered, and are of no record that travels on."""
    types = [t for t in attribute.refers_to if t in ENROLLMENT_TYPES]
    gone = _filtered(roster, (*types, UNTYPED) if attribute.refers_to == PERSONS else tuple(types))
    for name in types:
        gone = gone.loc[~gone.isin(roster.frames[name]["source_id"])]
    return gone


def _filtered(roster: Roster, types: tuple[str, ...]) -> pd.Series[str]:
    ended = roster.ended
    mine = ended["enrollment_type"].isin(types) & (ended["outcome"] == "filtered")
    return ended.loc[mine.astype(bool), "source_id"].dropna()


def _all_among(values: pd.Series[str], ids: pd.Series[str]) -> pd.Series[bool]:
    """Where a list attribute has elements and all of them are among the ids."""
    positions, elements = list_elements(values)
    left = np.zeros(len(values), dtype=bool)
    left[positions[~pd.Series(elements).isin(ids).to_numpy(bool)]] = True
    return values.notna() & ~left


def _contact_links(roster: Roster) -> pd.DataFrame:
    """Which contact belongs to which student, told from either side. Columns student, contact."""
    students, contacts = roster.frames["student"], roster.frames["contact"]
    ours = _exploded(students, "contact_ids").rename(
        columns={"source_id": "student", "contact_ids": "contact"}
    )
    theirs = _exploded(contacts, "student_ids").rename(
        columns={"source_id": "contact", "student_ids": "student"}
    )
    return pd.concat([ours, theirs], ignore_index=True)


def _exploded(frame: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """One row for each element of a list attribute; columns source_id and the attribute."""
    ids, elements = list_elements(frame[attribute])
    return pd.DataFrame({"source_id": frame["source_id"].iloc[ids].array, attribute: elements})


def _holds(
    frame: pd.DataFrame,
    name: str,
    attribute: str,
    condition: Condition,
    value: Value | tuple[Value, ...] | None,
    today: date,
) -> pd.Series[bool]:
    """Where a condition holds; on a list attribute, where it holds for any element."""
    values = frame[attribute]
    if condition == "is_empty":
        return values.isna()
    if condition == "is_not_empty":
        return values.notna()
    known = {a.name: a.kind for a in ENROLLMENT_TYPES[name].attributes}
    if known.get(attribute, "text") != "list":
        told = _test(values, condition, value, today).fillna(False)
        return pd.Series(told.to_numpy(bool), index=frame.index)
    positions, elements = list_elements(values)
    hits = _test(pd.Series(elements), condition, value, today).fillna(False).to_numpy(bool)
    holds = np.zeros(len(frame), dtype=bool)
    holds[positions[hits]] = True
    return pd.Series(holds, index=frame.index, dtype=bool)


def _test(
    values: pd.Series, condition: Condition, value: Value | tuple[Value, ...] | None, today: date
) -> pd.Series[bool]:
    several = [_word(v) for v in (value if isinstance(value, (tuple, list)) else (value,))]
    one = several[0]
    text = _text(values)
    tests: dict[str, Callable[[], pd.Series[bool]]] = {
        "equals": lambda: text == one,
        "in": lambda: text.isin(several),
        "not_in": lambda: ~text.isin(several),
        "contains_text": lambda: _contains(text, several),
        "does_not_contain_text": lambda: ~_contains(text, several),
        "starts_with": lambda: _any(text.str.startswith(v) for v in several),
        "matches": lambda: text.str.fullmatch(one),
        # Days as YYYY-MM-DD are in the order of their texts, also in attributes of the district's.
        "before": lambda: text < one,
        "after": lambda: text > one,
        "is_past": lambda: text < today.isoformat(),
        "is_future": lambda: text > today.isoformat(),
    }
    return tests[condition]()


def _word(value: Value | None) -> str:
    """A value of the settings as `_text` writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(values: pd.Series) -> pd.Series[str]:
    """Values as the text a settings file writes: dates ISO, booleans lower case."""
    return pd.Series(
        pd.arrays.ArrowExtensionArray(pc.cast(pa.array(values), pa.string())), index=values.index
    )


def _contains(text: pd.Series[str], words: Sequence[str]) -> pd.Series[bool]:
    return _any(text.str.contains(word, regex=False, case=False) for word in words)


def _any(masks: Iterable[pd.Series[bool]]) -> pd.Series[bool]:
    return reduce(or_, (mask.fillna(False) for mask in masks))
