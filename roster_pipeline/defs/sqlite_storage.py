"""Dagster's history on SQLite, as dagster.yaml has it: Dagster's own storage, but with connections
that are kept open.

A run tells some 170 events. Dagster's own storage opens a connection for each thing it reads or
writes of them, by an engine that has to compile each statement anew: seven hundred a run, which was
40 % of the work of a small import. What is stored, and where, is the same, so that either storage
can follow the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from dagster._core.event_api import EventHandlerFn
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorageWatchdog,
)
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from watchdog.events import FileSystemEvent
from watchdog.observers import Observer

SHARDS = 20
"""Of how many runs a process keeps the event log open; Dagster has a file for each."""


def _is_made(file: Path) -> bool:
    """Whether Dagster has made its tables in a file. It writes their version last; to compare that
    with the newest one, as it does at each start and four times over, takes longer than a query."""
    if not file.exists():
        return False
    with closing(sqlite3.connect(file)) as conn, suppress(sqlite3.OperationalError):
        return conn.execute("SELECT 1 FROM alembic_version").fetchone() is not None
    return False


def _kept(url: str) -> Engine:
    return create_engine(
        url, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
    )


class _SqliteRuns(SqliteRunStorage):
    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = _kept(conn_string)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._engine.begin() as conn:
            yield conn

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


class _Watchdog(SqliteEventLogStorageWatchdog):
    """Tells of what is written to a run's file. Dagster's own waits until it is in the file itself,
    where SQLite puts it only when the last connection is closed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._patterns = [self._log_path, f"{self._log_path}-wal"]

    def on_modified(self, event: FileSystemEvent) -> None:
        self._process_log()


class SeenTables(SqlEventLogStorage):
    """Does not look again for a table that was there: none goes away."""

    @cached_property
    def _seen(self) -> set[str]:
        return set()

    def has_table(self, table_name: str) -> bool:
        if table_name not in self._seen and super().has_table(table_name):  # type: ignore[safe-super]
            self._seen.add(table_name)
        return table_name in self._seen


class _SqliteEvents(SeenTables, SqliteEventLogStorage):
    _obs: Any

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engines.pop(shard, None) or _kept(self.conn_string_for_shard(shard))
            self._engines[shard] = engine
            if len(self._engines) > SHARDS:
                longest_unused = next(name for name in self._engines if name != INDEX_SHARD_NAME)
                self._engines.pop(longest_unused).dispose()
            if shard not in self._initialized_dbs:
                if not _is_made(Path(self.path_for_shard(shard))):
                    self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as conn:
                yield conn

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        if self._obs is None:
            self._obs = Observer()
            self._obs.start()
        watchdog = _Watchdog(self, run_id, callback, cursor)
        watching = self._obs.schedule(watchdog, self._base_dir, recursive=True)
        self._watchers[run_id][callback] = (watchdog, watching)

    def dispose(self) -> None:
        super().dispose()
        with self._db_lock:
            for engine in self._engines.values():
                engine.dispose()


class SqliteStorage(DagsterSqliteStorage):
    """History in files of `base_dir`. Ticks of schedules and sensors, few and far between, are left
    to Dagster's own class."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        runs, schedules = Path(base_dir, "history"), Path(base_dir, "schedules")
        events = runs / "runs"
        files = runs / "runs.db", events / f"{INDEX_SHARD_NAME}.db", schedules / "schedules.db"
        if not all(map(_is_made, files)):
            DagsterSqliteStorage(base_dir)
        super(DagsterSqliteStorage, self).__init__()
        self.base_dir = base_dir
        self._inst_data = inst_data
        self._run_storage = _SqliteRuns(create_db_conn_string(str(runs), "runs"))
        self._event_log_storage = _SqliteEvents(str(events))
        self._schedule_storage = SqliteScheduleStorage(
            create_db_conn_string(str(schedules), "schedules")
        )

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> SqliteStorage:
        return cls.from_local(inst_data=inst_data, **config_value)
