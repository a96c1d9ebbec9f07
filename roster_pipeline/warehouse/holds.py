"""The books of holds: why an import waits, and who decided what about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from roster_pipeline.stages.hold import Reason
from roster_pipeline.warehouse import audit, ledger
from roster_pipeline.warehouse.tables import holds, imports

Decision = Literal["approved", "rejected", "superseded"]
ADDS_AND_UPDATES = "adds,updates"
"""The part of a plan that can be approved by itself; what it deletes then waits."""


@dataclass(frozen=True)
class HoldEntry:
    """One hold of an import: what was shown, and what was decided about it.

    reasons: each with `rule` and `message`. causes: sentences. decision: None while it waits.
    part: what an approval was limited to, None for the whole plan.
    """

    id: int
    import_id: int
    plan_hash: str
    reasons: list[dict[str, str]]
    causes: list[str]
    held_at: datetime
    decision: Decision | None
    part: str | None
    decided_by: str | None
    decided_at: datetime | None
    decided_because: str | None

    def as_json(self) -> dict[str, Any]:
        """The hold as `roster show --format json` prints it."""
        told = {name: value for name, value in vars(self).items() if name not in ("id",)}
        return {**told, "reasons": [reason["message"] for reason in self.reasons]}


def record_hold(
    conn: Connection,
    import_id: int,
    plan_hash: str,
    reasons: Sequence[Reason],
    causes: Sequence[str],
    now: datetime,
) -> None:
    """Note why an import is held, or, of a preview, would be."""
    told = {"reasons": [vars(reason) for reason in reasons], "causes": list(causes)}
    conn.execute(
        insert(holds).values(import_id=import_id, plan_hash=plan_hash, reasons=told, held_at=now)
    )


def last_hold(conn: Connection, import_id: int) -> HoldEntry | None:
    """The last hold of an import, None when it was never held."""
    statement = select(holds).where(holds.c.import_id == import_id).order_by(holds.c.id.desc())
    row = conn.execute(statement.limit(1)).mappings().one_or_none()
    if row is None:
        return None
    told = row["reasons"]
    return HoldEntry(**{**row, "reasons": told["reasons"], "causes": told["causes"]})


def approve(
    conn: Connection, import_id: int, who: str, why: str, part: str | None, now: datetime
) -> None:
    """Note that the plan an import is held for may be merged, whole or in part.

    Raises UnknownImport, or NotWaiting when the import is not held.
    """
    _decide(conn, import_id, "approved", who, why, part, now)


def reject(conn: Connection, import_id: int, who: str, why: str, now: datetime) -> None:
    """Close a held import as rejected. Raises UnknownImport, or NotWaiting when it is not held."""
    _decide(conn, import_id, "rejected", who, why, None, now)
    ledger.finish_import(conn, import_id, "rejected", now, f"Rejected by {who}: {why}")


def _decide(
    conn: Connection,
    import_id: int,
    decision: Decision,
    who: str,
    why: str,
    part: str | None,
    now: datetime,
) -> None:
    imported = ledger.get_import(conn, import_id)
    hold = last_hold(conn, import_id)
    if imported.status != "held" or hold is None:
        raise ledger.NotWaiting(imported, decision)
    conn.execute(
        update(holds)
        .where(holds.c.id == hold.id)
        .values(decision=decision, part=part, decided_by=who, decided_at=now, decided_because=why)
    )
    audit.record(conn, now, who, decision, imported.district_id, import_id, why)


def deletions_wait(conn: Connection, import_id: int) -> bool:
    """Whether an import was merged without what it would delete, so that the same delivery still
    has something to do."""
    hold = last_hold(conn, import_id)
    return hold is not None and hold.decision == "approved" and hold.part is not None


def turned_down_before(conn: Connection, imported: ledger.Import) -> Reason | None:
    """A reason to hold an import whose files are those of one that was rejected or undone, unless
    its undo was undone in turn."""
    statement = (
        select(imports.c.id, imports.c.status, imports.c.message)
        .where(
            imports.c.district_id == imported.district_id,
            imports.c.effective_hash == imported.effective_hash,
            imports.c.id < imported.id,
            imports.c.status.in_(["rejected", "undone"]),
        )
        .order_by(imports.c.id.desc())
    )
    rows = conn.execute(statement).all()
    back = ledger.in_effect(conn, imported.district_id, imported.id) if rows else set()
    row = next((row for row in rows if row.id not in back), None)
    if row is None:
        return None
    how = f"The files are those of import {row.id}, which was {row.status}"
    return Reason(f"{row.status}_before", f"{how}. {row.message or ''}".strip())
