"""Whether a plan may be merged: thresholds, what a person decided, and what can be seen of causes.

Brings the pure rules of `stages.hold` together with what the books know: the import the plan is of,
the one before, earlier decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from sqlalchemy import Connection

from roster_pipeline.enrollment_types import PERSONS
from roster_pipeline.roster import INTEGER, TEXT, empty_texts
from roster_pipeline.stages import hold
from roster_pipeline.stages.hold import HoldRules, Known, Reason
from roster_pipeline.stages.plan import (
    CHANGE_COLUMNS,
    SyncPlan,
    changed_attributes,
    plan_hash,
    without_deletions,
)
from roster_pipeline.warehouse import holds, ledger
from roster_pipeline.warehouse.ledger import Import
from roster_pipeline.warehouse.state import known_schools, read_records


@dataclass(frozen=True)
class Review:
    """What is to become of a plan.

    verdict: merge, hold, or preview (told only). plan: what is to be merged, the whole or the part
    that was approved. reasons, causes: why it is held, or would be.
    """

    verdict: Literal["merge", "hold", "preview"]
    plan: SyncPlan
    plan_hash: str
    reasons: Sequence[Reason]
    causes: Sequence[str]

    @property
    def message(self) -> str | None:
        """The outcome in a sentence, for the ledger."""
        more = f" ({len(self.reasons) - 1} more reasons)" if len(self.reasons) > 1 else ""
        why = f"{self.reasons[0].message}{more}" if self.reasons else ""
        if self.verdict == "preview":
            return f"Previewed; nothing was written. {f'It would be held: {why}' if why else ''}"
        return why or None


def review_plan(
    conn: Connection,
    imported: Import,
    plan: SyncPlan,
    decisions: pd.DataFrame,
    state: Mapping[str, pd.DataFrame],
    rules: HoldRules,
) -> Review:
    """Decide on a plan. decisions: the school mappings it was made with, as `decide_schools`
    returns them; state: the warehouse's, as `read_state` does."""
    known = Known.of(state, known_schools(conn, imported.district_id))
    digest = plan_hash(plan, decisions)
    reasons = hold.hold_reasons(plan, known, rules)
    before = holds.turned_down_before(conn, imported)
    reasons += [before] if before else []
    held = holds.last_hold(conn, imported.id)
    if held is not None and held.decision == "approved" and not imported.preview:
        if held.plan_hash == digest:
            part = without_deletions(plan) if held.part else plan
            return Review("merge", part, digest, [], [])
        reasons.insert(0, Reason("changed", "The plan is not the one that was approved any more."))
    verdict: Literal["merge", "hold", "preview"] = "hold" if reasons else "merge"
    if imported.preview:
        verdict = "preview"
    causes = _causes(conn, imported, plan, known) if reasons else []
    return Review(verdict, plan, digest, reasons, causes)


def attribute_changes(conn: Connection, district_id: str, plan: SyncPlan) -> pd.DataFrame:
    """In how many of the records that a plan updates each attribute changes; columns
    CHANGE_COLUMNS."""
    told = [
        pd.DataFrame(
            {c: pd.Series([], dtype=INTEGER if c == "records" else TEXT) for c in CHANGE_COLUMNS}
        )
    ]
    for name, frame in plan.changes.items():
        updated = frame.loc[frame["outcome"] == "updated"]
        if len(updated):
            before = read_records(conn, district_id, name, ids=updated["source_id"])
            told.append(changed_attributes(name, updated, before))
    return pd.concat(told, ignore_index=True)


def _causes(conn: Connection, imported: Import, plan: SyncPlan, known: Known) -> list[str]:
    """What can be seen of why a plan does so much."""
    base = ledger.last_accepted(conn, imported.district_id)
    people = plan.deleted.loc[plan.deleted["enrollment_type"].isin(PERSONS)]
    pairs = _rekeyed(conn, imported.district_id, plan, people)
    return [
        *hold.rekey_causes(pairs, len(people), known),
        *(hold.file_causes(_file_rows(conn, base, imported)) if base else []),
        *hold.school_causes(plan, known),
        *_settings_cause(base, imported),
        *hold.rejection_causes(plan),
    ]


def _file_rows(conn: Connection, base: Import, imported: Import) -> list[hold.FileRows]:
    now = {entry.file: entry.rows for entry in ledger.files(conn, imported.id)}
    return [
        hold.FileRows(entry.file, entry.rows, now.get(entry.file, 0))
        for entry in ledger.files(conn, base.id)
        if entry.file in now
    ]


def _settings_cause(base: Import | None, imported: Import) -> list[str]:
    if base is None or base.settings_hash in ("", imported.settings_hash):
        return []
    return [f"The settings (or this program) have changed since import {base.id}."]


def _rekeyed(
    conn: Connection, district_id: str, plan: SyncPlan, people: pd.DataFrame
) -> pd.DataFrame:
    """The people that would be deleted and come in again under another id."""
    pairs = [empty_texts("enrollment_type", "school")]
    for name in PERSONS:
        gone = people.loc[people["enrollment_type"] == name]
        came = plan.changes[name].loc[plan.changes[name]["outcome"] == "added"]
        if len(gone) and len(came):
            before = read_records(conn, district_id, name, ids=gone["source_id"])
            deleted = gone.merge(before.drop(columns="school", errors="ignore"), on="source_id")
            pairs.append(hold.rekeyed_people(_person(name, came), _person(name, deleted)))
    return pd.concat(pairs, ignore_index=True)


def _person(name: str, records: pd.DataFrame) -> pd.DataFrame:
    blank = pd.Series(pd.NA, records.index, dtype=TEXT)
    told = {c: records.get(c, blank) for c in (*hold.PERSON_COLUMNS, *hold.IDENTIFYING)}
    return pd.DataFrame({**told, "enrollment_type": pd.Series(name, records.index, dtype=TEXT)})
