"""Opening a warehouse: engines, transactions, and the version of its tables.

A SQLite warehouse is a private file; a PostgreSQL one is any database that the URL leads to (its
version table has a name of its own, so that Dagster's storage may live in the same database).
`engine.begin()` is a transaction that writes, `reading(engine)` one that reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)

from roster_pipeline.warehouse.tables import metadata

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

VERSION = "0005"
"""The version of the tables that this program works with: the newest in `migrations`."""
VERSION_TABLE = "warehouse_version"
BUSY_TIMEOUT_MS = 120_000
"""How long SQLite waits for another process' transaction: longer than a big merge takes."""

_UPGRADE_LOCK = 0x726F73746572  # any constant will do: "roster"


class WarehouseError(Exception):
    """The warehouse cannot be used as it is; the message says what to do."""


class WarehouseOutdated(WarehouseError):
    """The database has older tables than this program needs."""


class WarehouseTooNew(WarehouseError):
    """The database has newer tables than this program knows."""


def open_warehouse(url: str) -> Engine:
    """An engine on the warehouse at a SQLAlchemy URL (sqlite:///… or postgresql://…).

    A database without any of our tables gets them; a SQLite file is made, for its owner only,
    where there is none. Raises WarehouseOutdated or WarehouseTooNew when the tables are not of
    this program's version, WarehouseError for a URL that cannot hold a warehouse.
    """
    engine = connect(url)
    try:
        with reading(engine) as conn:
            if _revision(conn) == VERSION:
                return engine
            names = set(inspect(conn).get_table_names())
        if VERSION_TABLE in names:
            check_version(engine)
        elif foreign := sorted(names & metadata.tables.keys()):
            raise WarehouseError(
                f"The database at {engine.url.render_as_string()} holds tables of something else "
                f"({', '.join(foreign)}). Give the warehouse a database of its own."
            )
        else:
            upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """`open_warehouse` for as long as the block lasts."""
    engine = open_warehouse(url)
    try:
        yield engine
    finally:
        engine.dispose()


def connect(url: str) -> Engine:
    """An engine on the database at a SQLAlchemy URL, whatever tables it has; `open_warehouse` is
    the way to one that can be worked with. Raises WarehouseError for a URL that cannot hold one."""
    target = make_url(url)
    dialect = target.get_backend_name()
    if dialect == "sqlite":
        return _sqlite_engine(target)
    if dialect == "postgresql":
        return _postgresql_engine(target)
    raise WarehouseError(
        f"A warehouse is a SQLite or PostgreSQL database, not {dialect}. "
        "Give a URL that begins with sqlite:/// or postgresql://."
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one consistent state of the warehouse and blocks no writer."""
    options: dict[str, Any] = {"sqlite_begin": "DEFERRED"}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as conn:
        yield conn


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the tables to this program's version, in one transaction.

    Does nothing when they are; of two processes that upgrade at once the second waits for the
    first. Returns the version before (None: there were no tables) and now. Raises WarehouseTooNew.
    """
    from alembic import command

    config = _alembic_config()
    with engine.begin() as conn:
        if engine.dialect.name == "postgresql":
            conn.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        before = _revision(conn)
        _refuse_too_new(before)
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
        return before, str(_revision(conn))


def check_version(engine: Engine) -> None:
    """Raise WarehouseOutdated or WarehouseTooNew unless the tables are of our version."""
    with reading(engine) as conn:
        revision = _revision(conn)
    if revision != VERSION:
        _refuse_too_new(revision)
        raise WarehouseOutdated(
            f"The warehouse at {engine.url.render_as_string()} has the tables of an older version "
            "of this program. Make a backup, then run `roster db upgrade`."
        )


def sqlite_path(engine: Engine) -> Path:
    """The file of a SQLite warehouse."""
    return Path(engine.url.database or "").absolute()


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise WarehouseError(
            "A SQLite warehouse needs a file, such as sqlite:////var/lib/roster/warehouse.db."
        )
    _make_private(Path(url.database).absolute())
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # The driver must not begin transactions: it would not for DDL and SELECT. We do, below.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -131072")  # 128 MB

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        # A transaction that reads first and writes later fails at once, without waiting, when
        # another has written between; one that takes the write lock at its begin waits.
        mode = conn.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        conn.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _postgresql_engine(url: URL) -> Engine:
    engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # COPY gives dates and moments as text, in the session's style.
        connection.autocommit = True
        connection.execute("SET datestyle = 'ISO'")
        connection.execute("SET timezone = 'UTC'")
        connection.autocommit = False

    return engine


def _make_private(path: Path) -> None:
    missing = [parent for parent in path.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o700, exist_ok=True)
    # An empty file is an empty SQLite database; its -wal and -shm files take its permissions.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


# Alembic takes as long to load as a query to answer; where the version is right it is not needed.
def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "roster_pipeline.warehouse:migrations")
    config.set_main_option("path_separator", "os")
    return config


@cache
def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_alembic_config())


def _revision(conn: Connection) -> str | None:
    if not inspect(conn).has_table(VERSION_TABLE):
        return None
    return conn.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _refuse_too_new(revision: str | None) -> None:
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        raise WarehouseTooNew(
            f"The warehouse has the tables of a newer version of this program ({revision}; this "
            f"one knows those up to {VERSION}). Update this program, then try again."
        )
