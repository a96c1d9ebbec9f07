"""Dagster's history on PostgreSQL, as deploy/postgres and deploy/celery have it: Dagster's own
storage, but with connections that are kept open.

Dagster's own storage opens a connection, which is a process of the server, for each thing it reads
or writes of a run's events: some seven hundred. Only its webserver keeps one; so do all here.
"""

from __future__ import annotations

from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.utils import pg_url_from_config

from roster_pipeline.defs.sqlite_storage import SeenTables

KEPT = {"statement_timeout": 0, "pool_recycle": 3600, "max_overflow": 20}
"""Dagster's words for a pool that keeps one connection, for an hour, and opens others at need;
statements take as long as they take."""


class _PostgresRuns(PostgresRunStorage):
    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self.optimize_for_webserver(**KEPT)

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


class _PostgresEvents(SeenTables, PostgresEventLogStorage):
    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self.optimize_for_webserver(**KEPT)

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


class PostgresStorage(DagsterPostgresStorage):
    """History in a database of PostgreSQL, configured as Dagster's own `storage: postgres`."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)  # makes the tables
        self._run_storage = _PostgresRuns(postgres_url)
        self._event_log_storage = _PostgresEvents(postgres_url)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> PostgresStorage:
        return cls(pg_url_from_config(config_value), inst_data)
