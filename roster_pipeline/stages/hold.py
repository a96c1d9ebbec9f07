"""Hold: whether a plan would do so much that a person must see it first, and why, in words.

Takes the plan, what the warehouse holds and the district's thresholds; returns the reasons for
which the import is held (none: it goes on) and the causes that can be seen (design rule 4.11).
Sentences name types, schools and figures, never a person's data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, PERSONS
from roster_pipeline.roster import REJECTED_OUTCOMES, TEXT, UNTYPED
from roster_pipeline.stages.plan import UNIT_SEPARATOR, SyncPlan
from roster_pipeline.stages.section import Section

Percent = Annotated[float, Field(ge=0, le=100)]

PERSON_COLUMNS = ("enrollment_type", "source_id", "school", "first_name", "last_name")
IDENTIFYING = ("birth_date", "email")
"""One of them must agree, beside the name with a birth date, for two records to be one person."""
FEWEST_PAIRS = 5
"""Fewer people than this under new ids are no re-keying."""
_MUCH_SHORTER = 0.5
"""Below this share of its predecessor's rows a file is told as far shorter."""
_MOSTLY = 0.5
"""From this share of the deletions on, a school is named."""


class HoldRules(Section):
    """When an import waits for a person. Percentages are off unless they are set."""

    preview: bool = False
    """Every import waits for approval; the percentages then play no part."""
    update_percent: Percent | None = None
    """Wait when more than this share of a type's active records would be updated."""
    delete_percent: Percent | None = None
    """Wait when more than this share of a type's active records would be deleted."""
    school_delete_percent: Percent | None = None
    """Wait when one school would lose more than this share of its active records of a type."""
    reject_percent: Percent | None = None
    """Wait when more than this share of a type's received records were left out with faults."""
    minimum_records: Annotated[int, Field(ge=1)] = 5
    """Fewer records than this never make an import wait, whatever share they are."""


class HoldSettings(Section):
    """The section `hold` of a district's file."""

    hold: HoldRules = HoldRules()
    """When an import waits for a person. Whatever is set here, one that would delete every active
    record of a type waits, and a district's first import waits only for `preview`."""


@dataclass(frozen=True)
class Reason:
    """One reason to hold: which rule, in which sentence."""

    rule: str
    message: str


@dataclass(frozen=True)
class FileRows:
    """How many rows a file had, and has."""

    file: str
    before: int
    now: int


@dataclass(frozen=True)
class Known:
    """What the warehouse held before.

    active: by enrollment type, how many active records there are of each school (index: the school,
        null where a type has none). names: what schools are called, by source id.
    """

    active: Mapping[str, pd.Series[int]]
    names: Mapping[str, str]

    @classmethod
    def of(cls, state: Mapping[str, pd.DataFrame], schools: pd.DataFrame) -> Known:
        """From the warehouse's state (columns active, school) and its schools (source_id, name)."""
        counts = {
            name: frame.loc[frame["active"].fillna(False).astype(bool), "school"].value_counts(
                dropna=False
            )
            for name, frame in state.items()
        }
        return cls(counts, dict(zip(schools["source_id"], schools["name"], strict=True)))

    def total(self, enrollment_type: str) -> int:
        """How many active records of a type there are."""
        return int(self.active[enrollment_type].sum())

    def at(self, enrollment_type: str, school: str) -> int:
        """How many of them are of a school."""
        return int(self.active[enrollment_type].get(school, 0))

    def school(self, school: str) -> str:
        """What a school is called."""
        name = self.names.get(school)
        return str(name) if isinstance(name, str) else f"school {school}"

    @property
    def empty(self) -> bool:
        """Whether there is nothing yet, so that this is a first import."""
        return not any(self.total(name) for name in self.active)


def hold_reasons(plan: SyncPlan, known: Known, rules: HoldRules) -> list[Reason]:
    """Why a plan is to be held; empty when it is not. A first import is held by preview only."""
    if rules.preview:
        return [Reason("preview", "Every import of this district waits for approval (preview).")]
    if known.empty:
        return []
    of_type = plan.counts.groupby(["enrollment_type", "outcome"])["records"].sum().to_dict()
    reasons: list[Reason] = []
    for name in ENROLLMENT_TYPES:
        deleted, updated = (int(of_type.get((name, o), 0)) for o in ("deleted", "updated"))
        reasons += _deletion(name, deleted, plan, known, rules)
        reasons += _update(name, updated, known, rules)
    return [*reasons, *_schools(plan, known, rules), *_rejections(of_type, rules)]


def _over(number: int, of: int, limit: float | None, rules: HoldRules) -> bool:
    """Whether a share is strictly over its limit, in whole numbers so that the edge is sharp."""
    return limit is not None and number >= rules.minimum_records and number * 100 > limit * of


def _deletion(
    name: str, deleted: int, plan: SyncPlan, known: Known, rules: HoldRules
) -> list[Reason]:
    total = known.total(name)
    if 0 < total == deleted:
        return [Reason("empty", f"It deletes every one of the {total:,} {nouns(name)}.")]
    if _over(deleted, total, rules.delete_percent, rules):
        share = f"{deleted:,} of {total:,} {nouns(name)} ({_percent(deleted, total)})"
        limit = f"over the {_number(rules.delete_percent)} % limit"
        where = _where(name, deleted, plan, known)
        return [Reason("delete", f"It deletes {share}, {limit}{where}.")]
    return []


def _where(name: str, deleted: int, plan: SyncPlan, known: Known) -> str:
    """In which school most of the deletions are, and what share of the others would be deleted."""
    gone = plan.deleted.loc[plan.deleted["enrollment_type"] == name, "school"].value_counts()
    if name == "school" or gone.empty or known.active[name].size < 2:
        return ""
    school, number = str(gone.index[0]), int(gone.iloc[0])
    if number < _MOSTLY * deleted:
        return ""
    missing = ", which is missing from orgs.csv" if school in _missing_schools(plan) else ""
    rest, others = deleted - number, known.total(name) - known.at(name, school)
    without = f"; without that school: {_percent(rest, others)}"
    which = "all" if number == deleted else f"{number:,}"
    return f"; {which} of them in {known.school(school)}{missing}{without}"


def _missing_schools(plan: SyncPlan) -> set[str]:
    schools = plan.deleted["enrollment_type"] == "school"
    return set(plan.deleted.loc[schools, "source_id"])


def _update(name: str, updated: int, known: Known, rules: HoldRules) -> list[Reason]:
    total = known.total(name)
    if not _over(updated, total, rules.update_percent, rules):
        return []
    share = f"{updated:,} of {total:,} {nouns(name)} ({_percent(updated, total)})"
    limit = f"over the {_number(rules.update_percent)} % limit"
    return [Reason("update", f"It updates {share}, {limit}.")]


def _schools(plan: SyncPlan, known: Known, rules: HoldRules) -> list[Reason]:
    """A reason for each school that would lose too much of any type, with all that it loses so."""
    schools = plan.deleted["school"].isin(list(known.names))
    others = plan.deleted.loc[schools & (plan.deleted["enrollment_type"] != "school")]
    gone = others.groupby(["school", "enrollment_type"]).size().reset_index()
    lost: dict[str, list[str]] = {}
    for school, name, number in gone.itertuples(index=False, name=None):
        of = known.at(name, school)
        if _over(number, of, rules.school_delete_percent, rules):
            share = f"{number:,} of {of:,} {nouns(name)} ({_percent(number, of)})"
            lost.setdefault(school, []).append(share)
    limit = f"over the {_number(rules.school_delete_percent)} % limit for one school"
    return [
        Reason("school_delete", f"{known.school(s)} loses {_listed(shares)}, {limit}.")
        for s, shares in lost.items()
    ]


def _rejections(of_type: Mapping[Any, int], rules: HoldRules) -> list[Reason]:
    """Rows of users.csv whose role cannot be read are measured by all of its rows."""
    received: dict[str, int] = {}
    rejected: dict[str, int] = {}
    for (name, outcome), number in of_type.items():
        if outcome not in ("deleted", "kept"):
            received[name] = received.get(name, 0) + int(number)
        if outcome in REJECTED_OUTCOMES:
            rejected[name] = rejected.get(name, 0) + int(number)
    received[UNTYPED] = sum(received.get(name, 0) for name in (*PERSONS, UNTYPED))
    limit = f"over the {_number(rules.reject_percent)} % limit"
    return [
        Reason(
            "reject",
            f"{number:,} of {received[name]:,} received {nouns(name)} "
            f"({_percent(number, received[name])}) were left out with faults, {limit}.",
        )
        for name, number in rejected.items()
        if _over(number, received[name], rules.reject_percent, rules)
    ]


def file_causes(files: Sequence[FileRows]) -> list[str]:
    """Files that came with a header only, or far shorter than before."""
    told = []
    for f in files:
        if f.before and not f.now:
            told.append(f"{f.file} has only its header; before, it had {f.before:,} rows.")
        elif f.now < _MUCH_SHORTER * f.before:
            told.append(f"{f.file} has {f.now:,} rows; before, it had {f.before:,}.")
    return told


def school_causes(plan: SyncPlan, known: Known) -> list[str]:
    """Schools that are missing from the delivery."""
    missing = sorted(_missing_schools(plan))
    return [f"{known.school(s)} ({s}) is missing from orgs.csv." for s in missing]


def rejection_causes(plan: SyncPlan) -> list[str]:
    """How many received records were left out with faults."""
    rejected = plan.counts["outcome"].isin(REJECTED_OUTCOMES)
    number = int(plan.counts.loc[rejected, "records"].sum())
    return [f"{number:,} received records were left out with faults."] if number else []


def rekeyed_people(added: pd.DataFrame, deleted: pd.DataFrame) -> pd.DataFrame:
    """Which of the deleted people agree with an added one of their type, in name and birth date or
    in e-mail, so that it is their ids that changed.

    added, deleted: columns PERSON_COLUMNS and IDENTIFYING, no values missing but as nulls. Returns
    the rows of `deleted`, columns enrollment_type and school.
    """
    by_birth = ["first_name", "last_name", "birth_date"]
    same = _agree(deleted, added, by_birth) | _agree(deleted, added, ["email"])
    return deleted.loc[same, ["enrollment_type", "school"]]


def _agree(ours: pd.DataFrame, theirs: pd.DataFrame, columns: list[str]) -> pd.Series[bool]:
    keys = [_folded(frame, ["enrollment_type", *columns]) for frame in (ours, theirs)]
    found: pd.Series[bool] = keys[0].notna() & keys[0].isin(keys[1].dropna())
    return found.astype(bool)


def _folded(frame: pd.DataFrame, columns: list[str]) -> pd.Series[str]:
    """The columns as one text without case and surrounding blanks; null where one of them is."""
    texts = [
        pc.utf8_trim_whitespace(pc.utf8_lower(pc.cast(pa.array(frame[c]), pa.string())))
        for c in columns
    ]
    joined = pc.binary_join_element_wise(*texts, UNIT_SEPARATOR)
    return pd.Series(joined.to_pandas().to_numpy(), index=frame.index, dtype=TEXT)


def rekey_causes(pairs: pd.DataFrame, deleted: int, known: Known) -> list[str]:
    """The sentence on people under new ids. pairs: as `rekeyed_people` returns them; deleted: how
    many people would be deleted in all."""
    if len(pairs) < FEWEST_PAIRS:
        return []
    at = pairs["school"].value_counts()
    top = int(at.iloc[0]) if at.size else 0
    which = "all" if top == len(pairs) else f"{top:,}"
    school = f"; {which} of them in {known.school(str(at.index[0]))}" if top else ""
    return [
        f"Ids seem to have changed: {len(pairs):,} of the {deleted:,} people who would be deleted "
        f"agree with one who would be added, in name and birth date or in e-mail{school}."
    ]


def nouns(enrollment_type: str) -> str:
    """Several records of a type, in words."""
    if enrollment_type == UNTYPED:
        return "users"
    return ENROLLMENT_TYPES[enrollment_type].table.replace("_", " ")


def _percent(number: int, of: int) -> str:
    return f"{number / of * 100:.1f} %"


def _number(percent: float | None) -> str:
    return f"{percent:g}" if percent is not None else ""


def _listed(parts: Sequence[str]) -> str:
    """One, two or more parts, as a sentence lists them."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
