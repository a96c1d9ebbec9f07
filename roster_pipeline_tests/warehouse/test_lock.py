"""One import of a district at a time: the lock, held by real processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest
from sqlalchemy import Engine

from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading, sqlite_path
from roster_pipeline.warehouse.lock import DistrictBusy, district_lock
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY, PROCESSES


def hold_the_lock(url: str, tell: Connection) -> None:
    engine = open_warehouse(url)
    with district_lock(engine, DISTRICT):
        ledger.start_import(engine, DISTRICT, "sftp", None, False, "settings", MONDAY)
        tell.send("holding")
        tell.poll(None)  # for ever: until killed


@contextmanager
def another_process_that_holds_the_lock(url: str) -> Iterator[BaseProcess]:
    ours, its = PROCESSES.Pipe()
    process = PROCESSES.Process(target=hold_the_lock, args=(url, its))
    process.start()
    its.close()
    try:
        assert ours.recv() == "holding"
        yield process
    finally:
        process.kill()
        process.join()


def test_a_second_process_is_told_who_is_running(warehouse_url: str, warehouse: Engine) -> None:
    with another_process_that_holds_the_lock(warehouse_url) as process:
        with pytest.raises(DistrictBusy) as raised, district_lock(warehouse, DISTRICT):
            pass
        assert raised.value.import_id == 1
        assert raised.value.process_id == process.pid
        assert raised.value.started_at == MONDAY
        assert str(raised.value) == (
            f"Another import of springfield is running (import 1, process {process.pid} on "
            f"{os.uname().nodename}, since 2026-08-31 02:00:00 UTC). Wait until it has ended, then "
            "try again."
        )


def test_the_lock_is_free_when_its_process_was_killed(
    warehouse_url: str, warehouse: Engine
) -> None:
    with another_process_that_holds_the_lock(warehouse_url) as process:
        process.kill()
        process.join()
        # The PostgreSQL server takes a moment to see that the connection has gone.
        deadline = time.monotonic() + 10
        while True:
            try:
                with district_lock(warehouse, DISTRICT):
                    second = ledger.start_import(
                        warehouse, DISTRICT, "sftp", None, False, "settings", MONDAY
                    )
                break
            except DistrictBusy:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    with reading(warehouse) as conn:
        assert ledger.get_import(conn, second).status == "running"
        killed = ledger.get_import(conn, 1)
    assert killed.status == "failed"
    assert killed.finished_at == MONDAY
    assert killed.message is not None and "Nothing of it was merged" in killed.message


def test_the_lock_excludes_a_second_holder_in_the_same_process(warehouse: Engine) -> None:
    with district_lock(warehouse, DISTRICT):
        busy = pytest.raises(
            DistrictBusy, match=r"^Another import of springfield is running\. Wait"
        )
        with busy, district_lock(warehouse, DISTRICT):
            pass
    with district_lock(warehouse, DISTRICT):
        pass


def test_other_districts_are_not_locked(warehouse: Engine) -> None:
    with district_lock(warehouse, DISTRICT), district_lock(warehouse, "shelbyville"):
        pass


def test_the_lock_is_free_after_an_import_that_failed(warehouse: Engine) -> None:
    with pytest.raises(OSError, match="disk full"), district_lock(warehouse, DISTRICT):
        raise OSError("disk full")
    with district_lock(warehouse, DISTRICT):
        pass


@pytest.mark.parametrize("warehouse_url", ["sqlite"], indirect=True)
def test_the_lock_files_stay_private_and_in_their_directory(warehouse: Engine) -> None:
    with district_lock(warehouse, "../../escape"), district_lock(warehouse, DISTRICT):
        pass
    directory = sqlite_path(warehouse).with_name("warehouse.db.locks")
    assert sorted(path.name for path in directory.iterdir()) == [
        "..%2F..%2Fescape.lock",
        "springfield.lock",
    ]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())
