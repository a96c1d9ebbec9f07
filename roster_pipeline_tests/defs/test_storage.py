"""Dagster's history on SQLite and PostgreSQL with connections that are kept open."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster import DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.events import EngineEventData
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from roster_pipeline.defs.postgres_storage import PostgresStorage
from roster_pipeline.defs.sqlite_storage import SHARDS, SqliteStorage


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[type, type, str]:
    """Our storage, Dagster's, and where both keep a new history."""
    if request.param == "sqlite":
        return SqliteStorage, DagsterSqliteStorage, str(tmp_path)
    server, name = request.getfixturevalue("postgresql_server"), f"history_{uuid.uuid4().hex}"
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    url = str(server.get_uri(database=name)).replace("postgresql:", "postgresql+psycopg2:")
    return PostgresStorage, DagsterPostgresStorage, url


def said(run_id: str, number: int) -> EventLogEntry:
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message=f"event {number}",
        run_id=run_id,
        timestamp=time.time(),
        job_name="import_roster",
        dagster_event=DagsterEvent(
            event_type_value=DagsterEventType.ENGINE_EVENT.value,
            job_name="import_roster",
            message=f"event {number}",
            event_specific_data=EngineEventData(),
        ),
    )


def told(storage: DagsterStorage, run_id: str) -> list[str]:
    return [entry.user_message for entry in storage.event_log_storage.get_logs_for_run(run_id)]


@contextmanager
def opened_connections() -> Iterator[list[object]]:
    opened: list[object] = []

    def count(connection: object, _: object) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", count)
    try:
        yield opened
    finally:
        event.remove(Pool, "connect", count)


def closed(storage: DagsterStorage) -> None:
    storage.event_log_storage.dispose()
    storage.run_storage.dispose()


def test_what_is_stored_is_found_by_dagsters_own_storage_and_the_other_way_round(
    places: Any,
) -> None:
    ours, theirs, where = places
    run_id = str(uuid.uuid4())
    for number, kind in enumerate((theirs, ours, theirs, ours)):
        storage = kind(where)
        storage.event_log_storage.store_event(said(run_id, number))
        storage.run_storage.set_cursor_values({"number": str(number)})
        assert told(storage, run_id) == [f"event {n}" for n in range(number + 1)]
        assert storage.run_storage.get_cursor_values({"number"}) == {"number": str(number)}
        closed(storage)


def test_a_run_needs_no_new_connection_for_each_event(places: Any) -> None:
    ours, _, where = places
    storage, run_id = ours(where), str(uuid.uuid4())
    with opened_connections() as opened:
        for number in range(50):
            storage.event_log_storage.store_event(said(run_id, number))
            storage.run_storage.get_cursor_values({"number"})
    assert len(opened) <= 3
    assert len(told(storage, run_id)) == 50
    closed(storage)


def test_a_table_that_was_seen_is_not_looked_for_again(places: Any) -> None:
    ours, _, where = places
    storage, asked = ours(where), list[str]()
    assert storage.event_log_storage.has_table("event_logs")

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert storage.event_log_storage.has_table("event_logs")
        assert asked == []
        assert not storage.event_log_storage.has_table("no_such_table")
        assert asked != []
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    closed(storage)


def test_a_history_that_is_closed_holds_no_connection(places: Any, tmp_path: Path) -> None:
    ours, _, where = places
    storage, run_id = ours(where), str(uuid.uuid4())
    storage.event_log_storage.store_event(said(run_id, 0))
    storage.run_storage.set_cursor_values({"number": "0"})
    closed(storage)
    if ours is SqliteStorage:
        # SQLite takes its log away when the last connection is closed.
        assert not list(tmp_path.rglob("*.db-wal"))
    else:
        with psycopg.connect(where.replace("+psycopg2", "")) as conn:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            asked = conn.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")
            assert asked.fetchone() == (0,)


def test_who_watches_a_run_is_told_each_event_while_the_run_goes_on(tmp_path: Path) -> None:
    run_id = str(uuid.uuid4())
    run, page = SqliteStorage(str(tmp_path)), SqliteStorage(str(tmp_path))
    run.event_log_storage.store_event(said(run_id, 0))
    seen: queue.Queue[str] = queue.Queue()
    page.event_log_storage.watch(run_id, None, lambda entry, _: seen.put(entry.user_message))
    for number in (1, 2, 3):
        run.event_log_storage.store_event(said(run_id, number))
    assert [seen.get(timeout=30) for _ in range(4)] == [f"event {n}" for n in range(4)]
    closed(page)
    closed(run)


def test_a_process_that_reads_many_runs_keeps_few_files_open(tmp_path: Path) -> None:
    runs = [str(uuid.uuid4()) for _ in range(SHARDS + 5)]
    storage = SqliteStorage(str(tmp_path))
    for number, run_id in enumerate(runs):
        storage.event_log_storage.store_event(said(run_id, number))
    assert len(list(tmp_path.rglob("*-wal"))) <= SHARDS + 1  # and that of the runs themselves
    assert [told(storage, run_id) for run_id in runs] == [[f"event {n}"] for n in range(len(runs))]
    closed(storage)
