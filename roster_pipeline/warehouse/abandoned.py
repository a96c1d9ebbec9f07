"""Imports whose process is gone: told from those that run by the lock, which died with it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from sqlalchemy import Engine, select

from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.lock import DistrictBusy, district_lock
from roster_pipeline.warehouse.tables import imports


def settle_abandoned(engine: Engine, now: datetime) -> dict[str, list[int]]:
    """Mark imports as failed that the ledger has as running and whose process has ended; returns
    them by district, so that what is shown of them can be renewed. Nothing of them was merged: a
    merge and its closing of the import are one transaction."""
    running = select(imports.c.district_id).where(imports.c.status == "running").distinct()
    with reading(engine) as conn:
        districts = list(conn.scalars(running))
    failed = {}
    for district_id in districts:
        with (
            suppress(DistrictBusy),
            district_lock(engine, district_id),
            engine.begin() as conn,
        ):
            failed[district_id] = ledger.fail_abandoned(conn, district_id, now)
    return failed
