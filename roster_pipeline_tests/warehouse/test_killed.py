"""Killed at any moment of a merge of 20,000 records, the warehouse is as before or as after."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest
from sqlalchemy import Engine, func, select

from roster_pipeline.stages.plan import SyncPlan
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.lock import DistrictBusy, district_lock
from roster_pipeline.warehouse.merge import merge
from roster_pipeline.warehouse.tables import record_history
from roster_pipeline_tests.warehouse.content import content_hash
from roster_pipeline_tests.warehouse.plans import DISTRICT, PROCESSES, plan, run_import

RECORDS = 20_000
KILLS = 5


def version(sis_id: str, outcome: str = "updated") -> SyncPlan:
    values = {"sis_id": sis_id, "grades": "03"}
    return plan({"student": [(outcome, f"s{n}", values) for n in range(RECORDS)]})


def start(url: str, sis_id: str) -> tuple[BaseProcess, int, Connection]:
    """An import in a process of its own, its id, and where it tells at its end how many seconds it
    merged."""
    ours, its = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=one_import, args=(url, sis_id, its))
    process.start()
    its.close()
    return process, ours.recv(), ours


def one_import(url: str, sis_id: str, tell: Connection) -> None:
    engine, what, now = open_warehouse(url), version(sis_id), datetime.now(UTC)
    with district_lock(engine, DISTRICT):
        import_id = ledger.start_import(engine, DISTRICT, "sftp", None, False, "settings", now)
        tell.send(import_id)
        began = time.monotonic()
        with engine.begin() as conn:
            merge(conn, DISTRICT, import_id, what, now)
            ledger.finish_import(conn, import_id, "imported", now)
        tell.send(time.monotonic() - began)


def hash_and_history(engine: Engine) -> tuple[str, int]:
    with reading(engine) as conn:
        versions = conn.scalar(select(func.count()).select_from(record_history))
        return content_hash(conn), int(versions or 0)


def wait_for_the_lock(engine: Engine) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with district_lock(engine, DISTRICT):
                return
        except DistrictBusy:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.slow
def test_a_merge_killed_at_any_moment_has_happened_or_not_and_the_next_one_works(
    warehouse_url: str, warehouse: Engine
) -> None:
    run_import(warehouse, version("0", "added"))
    process, _, told = start(warehouse_url, "whole")
    seconds = told.recv()
    process.join()
    seen = set()
    # Spread over the merge, and a little beyond its end; the seed makes a failure repeatable.
    chance = random.Random(5)
    for number in range(KILLS):
        before, versions = hash_and_history(warehouse)
        process, import_id, _ = start(warehouse_url, f"v{number}")
        time.sleep((number + chance.random()) / KILLS * 1.2 * seconds)
        process.kill()
        process.join()
        wait_for_the_lock(warehouse)

        after, versions_after = hash_and_history(warehouse)
        with reading(warehouse) as conn:
            status = ledger.get_import(conn, import_id).status
        seen.add(status)
        if status == "imported":
            assert after != before
            assert versions_after == versions + RECORDS
        else:
            assert status == "running"
            assert (after, versions_after) == (before, versions)
    assert "running" in seen

    process, last, _ = start(warehouse_url, "last")
    process.join()
    with reading(warehouse) as conn:
        assert ledger.get_import(conn, last).status == "imported"
        statuses = {i.status for i in ledger.imports(conn, DISTRICT)}
    assert statuses == {"imported", "failed"}
