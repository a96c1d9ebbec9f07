"""Whether what has arrived in a landing zone is to be imported: on arrival, or at a slot of the
schedule. Decides by what the zone holds, what an import last took from it, and the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, func, select

from roster_pipeline.landing.arrival import Arrival
from roster_pipeline.landing.zones import Zone
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.tables import imports, landing_zones

SLOT_PATIENCE = timedelta(hours=1)
"""How long after a slot a delivery is still waited for."""
_NOT_AGAIN: Mapping[str, str] = {
    "refused": "was refused",
    "held": "waits for a decision",
    "needs_school_mapping": "waits for schools to be mapped",
    "rejected": "was rejected",
    "undone": "was undone",
}
"""What became of a delivery that the schedule does not import a second time, in words."""


@dataclass(frozen=True)
class Books:
    """What the ledger says of a district.

    newest: its newest import, 0 before the first. status: of the import that took what the landing
    zone held. undone: something was undone since. other_since: when an import of another delivery
    began that was merged since.
    """

    newest: int = 0
    status: str | None = None
    undone: bool = False
    other_since: datetime | None = None


def read_books(conn: Connection, zones: Collection[Zone]) -> dict[str, Books]:
    """What the ledger says of the districts of landing zones that `read_zones` returned, by
    district: in one query, however many they are."""
    table = imports.c
    of_district = imports.alias().c
    newest = select(func.max(of_district.id)).where(of_district.district_id == table.district_id)
    taken = func.coalesce(landing_zones.c.taken_import_id, newest.scalar_subquery())
    statement = (
        select(
            table.district_id, table.id, table.app, table.status, table.started_at, table.delivery
        )
        .outerjoin(landing_zones, landing_zones.c.district_id == table.district_id)
        .where(table.district_id.in_([zone.district_id for zone in zones]), table.id >= taken)
        .order_by(table.id.desc())
    )
    rows: dict[str, list[Any]] = {}
    for row in conn.execute(statement):
        rows.setdefault(row.district_id, []).append(row)
    return {zone.district_id: _books(zone, rows.get(zone.district_id, [])) for zone in zones}


def _books(zone: Zone, rows: Sequence[Any]) -> Books:
    """By the imports since the one that took what the zone held, newest first."""
    since = [r for r in rows if r.id != zone.taken_import_id and r.status in ledger.MERGED]
    others = [
        r.started_at
        for r in since
        if r.app != ledger.UNDO and not str(r.delivery).endswith(f"/{zone.taken}")
    ]
    return Books(
        newest=rows[0].id if rows else 0,
        status=next((r.status for r in rows if r.id == zone.taken_import_id), None),
        undone=any(r.app == ledger.UNDO for r in since),
        other_since=max(others, default=None),
    )


def may_be_new(zone: Zone, arrival: Arrival) -> bool:
    """Whether a ready delivery is another than the one that was last taken, or was put there again
    since; the ledger then says whether that is news."""
    if arrival.state != "ready" or arrival.since is None:
        return False
    again = zone.taken_at is not None and arrival.since > zone.taken_at.timestamp()
    return arrival.key != zone.taken or again


def run_key(zone: Zone, arrival: Arrival, books: Books) -> str | None:
    """The key of the run that is to import what has arrived; None when that is nothing new.

    The same bytes a second time are nothing new, whatever their time, unless the roster has been
    made from another delivery in between. The key is bound to the content and to the import that
    was the newest then: one and the same while a run is asked for, another when the content comes
    again after something else.
    """
    if not may_be_new(zone, arrival) or arrival.since is None:
        return None
    if arrival.key == zone.taken:
        other = books.other_since
        if other is None or arrival.since <= other.timestamp():
            return None
    return f"{zone.district_id}:{arrival.key}:{books.newest}"


def at_slot(
    zone: Zone, arrival: Arrival | None, books: Books, slot: datetime, now: datetime
) -> tuple[Literal["run", "wait", "pass"], str]:
    """What to do at a slot of the schedule, and why.

    `run`: import what has arrived. `wait`: look again soon. `pass`: leave the slot be.
    """
    if arrival is None or arrival.state != "ready":
        why = "the landing zone is empty"
        if arrival is not None and arrival.state != "empty":
            why = arrival.why
        elif zone.trouble:
            why = zone.trouble.says
        return ("wait" if now - slot < SLOT_PATIENCE else "pass"), why
    if arrival.key == zone.taken:
        number = zone.taken_import_id
        if became := _NOT_AGAIN.get(books.status or ""):
            return "pass", f"the same delivery {became} (import {number})"
        if books.undone:
            return "pass", f"the same delivery was undone (import {number})"
    return "run", ""
