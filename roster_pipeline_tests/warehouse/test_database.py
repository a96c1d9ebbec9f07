"""Opening a warehouse, the version of its tables, and its transactions."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.warehouse import database, tables
from roster_pipeline.warehouse.database import (
    VERSION_TABLE,
    WarehouseError,
    WarehouseOutdated,
    WarehouseTooNew,
    _alembic_config,
    check_version,
    connect,
    open_warehouse,
    reading,
    upgrade,
)
from roster_pipeline_tests.warehouse.plans import PROCESSES, plan, run_import

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the migrations run each time."""
    monkeypatch.setattr(database, "upgrade", upgrade)


@pytest.fixture(params=["sqlite", "postgresql"])
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables; for SQLite, of one that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/warehouse.db"
    server = request.getfixturevalue("postgresql_server")
    name = f"empty_{next(_numbers)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    return str(server.get_uri(database=name))


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as conn:
        conn.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = :to"), {"to": revision})


def test_the_migrations_make_what_the_metadata_says(warehouse: Engine) -> None:
    options: dict[str, Any] = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "compare_server_default": True,
    }
    with reading(warehouse) as conn:
        context = MigrationContext.configure(conn, opts=options)
        assert compare_metadata(context, tables.metadata) == []
        inspector = inspect(conn)
        for table in tables.metadata.sorted_tables:
            # What Alembic does not compare: primary keys, and SQLite's clustering.
            key = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert key == [column.name for column in table.primary_key.columns]


def test_the_version_of_this_program_is_that_of_the_newest_migration() -> None:
    assert database._scripts().get_current_head() == database.VERSION


def test_the_books_are_opened_without_the_libraries_for_frames_and_migrations(
    warehouse_url: str,
) -> None:
    database.open_warehouse(warehouse_url).dispose()
    code = (
        "import sys; from roster_pipeline.warehouse import database, ledger\n"
        f"with database.opened({warehouse_url!r}) as engine, database.reading(engine) as conn:\n"
        "    assert ledger.imports(conn) == []\n"
        "sys.exit(', '.join({'pandas', 'pyarrow', 'alembic'} & sys.modules.keys()) or 0)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (told.stderr, told.returncode) == (b"", 0)


@pytest.mark.parametrize("warehouse_url", ["sqlite"], indirect=True)
def test_the_migrations_cluster_the_roster_tables_by_key_in_sqlite(warehouse: Engine) -> None:
    with reading(warehouse) as conn:
        made = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
    clustered = {name for name, sql in made if "WITHOUT ROWID" in sql}
    assert clustered == {table.name for table in tables.ROSTER_TABLES.values()}


def test_every_roster_table_has_a_view_of_its_active_rows(warehouse: Engine) -> None:
    with reading(warehouse) as conn:
        inspector = inspect(conn)
        for enrollment_type in ENROLLMENT_TYPES.values():
            table = tables.ROSTER_TABLES[enrollment_type.name]
            columns = inspector.get_columns(f"active_{enrollment_type.table}")
            assert [c["name"] for c in columns] == [c.name for c in table.columns]


def test_an_analyst_can_query_grades_on_either_dialect(warehouse: Engine) -> None:
    records = [
        ("added", "ada", {"grades": "09,10"}),
        ("added", "ben", {"grades": "10"}),
        ("added", "cy", {}),
    ]
    run_import(warehouse, plan({"student": records}))
    elements = {
        "sqlite": "json_each(grades) AS grade",
        "postgresql": "jsonb_array_elements_text(grades) AS grade(value)",
    }[warehouse.dialect.name]
    with reading(warehouse) as conn:
        found = conn.execute(
            text(
                f"SELECT value, count(*) FROM active_students, {elements} "
                "GROUP BY value ORDER BY value"
            )
        ).all()
    assert found == [("09", 1), ("10", 2)]


def test_a_warehouse_can_be_opened_again_with_what_is_in_it(
    warehouse_url: str, warehouse: Engine
) -> None:
    run_import(warehouse, plan({"school": [("added", "north", {"name": "North High"})]}))
    again = open_warehouse(warehouse_url)
    upgrade(again)
    with reading(again) as conn:
        assert conn.scalar(text("SELECT name FROM active_schools")) == "North High"
    again.dispose()


def open_and_upgrade(url: str) -> None:
    upgrade(open_warehouse(url))


def test_processes_that_open_a_new_warehouse_at_once_all_succeed(warehouse_url: str) -> None:
    processes = [
        PROCESSES.Process(target=open_and_upgrade, args=(warehouse_url,)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    engine = open_warehouse(warehouse_url)
    check_version(engine)
    engine.dispose()


def test_an_older_warehouse_is_not_opened_and_says_what_to_do(
    warehouse_url: str, warehouse: Engine
) -> None:
    set_revision(warehouse, "0001")
    with pytest.raises(WarehouseOutdated, match="then run `roster db upgrade`"):
        open_warehouse(warehouse_url)


def test_a_newer_warehouse_is_neither_opened_nor_upgraded(
    warehouse_url: str, warehouse: Engine
) -> None:
    set_revision(warehouse, "9999")
    with pytest.raises(WarehouseTooNew, match="Update this program"):
        open_warehouse(warehouse_url)
    with pytest.raises(WarehouseTooNew, match="Update this program"):
        upgrade(warehouse)


def test_a_database_with_another_programs_tables_of_our_names_is_refused(
    warehouse_url: str, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    other = create_engine(warehouse_url.replace("postgresql://", "postgresql+psycopg://"))
    with other.begin() as conn:
        conn.execute(text("CREATE TABLE findings (id INTEGER)"))
    other.dispose()
    with pytest.raises(WarehouseError, match=r"something else \(findings\)"):
        open_warehouse(warehouse_url)


def test_a_warehouse_may_share_a_database_with_dagsters_storage(
    warehouse_url: str, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    other = create_engine(warehouse_url.replace("postgresql://", "postgresql+psycopg://"))
    with other.begin() as conn:
        conn.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        conn.execute(text("INSERT INTO alembic_version VALUES ('29b539ebc72a')"))
        conn.execute(text("CREATE TABLE runs (id INTEGER)"))
    open_warehouse(warehouse_url).dispose()
    with other.connect() as conn:
        assert conn.scalar(text("SELECT version_num FROM alembic_version")) == "29b539ebc72a"
    other.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/roster"])
def test_a_url_that_cannot_hold_a_warehouse_is_refused(url: str) -> None:
    with pytest.raises(WarehouseError, match=r"sqlite:///"):
        open_warehouse(url)


def test_a_new_sqlite_warehouse_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "home" / "warehouse.db"
    engine = open_warehouse(f"sqlite:///{path}")
    with engine.begin():
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.parent.parent.stat().st_mode & 0o777 == 0o700
        for beside in path.parent.iterdir():
            assert beside.stat().st_mode & 0o077 == 0, beside
    engine.dispose()


def test_tables_made_in_a_transaction_that_fails_are_gone(warehouse: Engine) -> None:
    def make_half() -> None:
        with warehouse.begin() as conn:
            conn.execute(text("CREATE TABLE half (id INTEGER)"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        make_half()
    with reading(warehouse) as conn:
        assert not inspect(conn).has_table("half")


def test_a_reader_neither_waits_for_a_writer_nor_sees_its_half(
    warehouse_url: str, warehouse: Engine
) -> None:
    run_import(warehouse, plan({"school": [("added", "north", {})]}))
    count = text("SELECT count(*) FROM schools")
    with warehouse.begin() as writer:
        writer.execute(text("DELETE FROM schools"))
        with reading(warehouse) as reader:
            assert reader.scalar(count) == 1
            writer.commit()
            assert reader.scalar(count) == 1
    with reading(warehouse) as reader:
        assert reader.scalar(count) == 0


@pytest.mark.parametrize("warehouse_url", ["postgresql"], indirect=True)
def test_a_reading_connection_cannot_write(warehouse: Engine) -> None:
    with pytest.raises(DBAPIError, match="read-only"), reading(warehouse) as conn:
        conn.execute(text("DELETE FROM schools"))


def test_the_books_refuse_what_belongs_to_no_import(warehouse: Engine) -> None:
    entry = tables.import_files.insert().values(
        import_id=7, file="users.csv", mode="bulk", rows=1, sha256="0"
    )
    with pytest.raises(IntegrityError), warehouse.begin() as conn:
        conn.execute(entry)


def at_first_version(url: str) -> Engine:
    """A database as the first version of the program has left it."""
    engine = connect(url)
    with engine.begin() as conn:
        config = _alembic_config()
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")
    return engine


def test_an_upgrade_keeps_what_is_there_and_completes_the_history(warehouse_url: str) -> None:
    engine = at_first_version(warehouse_url)
    columns = "district_id, source_id, record_hash, active, first_import_id, last_import_id"
    moments = "created_at, updated_at"
    record = '{"source_id":"ann","sis_id":"1","grades":["03"],"enabled":true,"extra":{"b":"1"}}'
    with engine.begin() as conn:
        conn.execute(
            text(
                f"INSERT INTO students ({columns}, {moments}) VALUES "
                "('oak', 'ann', 'h2', true, 1, 2, '2026-08-31 02:00:00', '2026-09-01 02:00:00')"
            )
        )
        conn.execute(
            text(
                "INSERT INTO record_history VALUES ('oak', 'student', 'ann', 2, 1, 'updated', "
                ":record, 'h1', true, NULL, '2026-09-01 02:00:00')"
            ),
            {"record": record},
        )
    with pytest.raises(WarehouseOutdated, match="Make a backup, then run `roster db upgrade`"):
        open_warehouse(warehouse_url)

    assert upgrade(engine)[0] == "0001"

    open_warehouse(warehouse_url).dispose()
    with reading(engine) as conn:
        versions = conn.execute(
            text(
                "SELECT sis_id, enabled, first_import_id, valid_from_import_id, "
                "valid_until_import_id, created_at IS NOT NULL FROM students_versions "
                "ORDER BY valid_from_import_id"
            )
        ).all()
    assert [tuple(v) for v in versions] == [("1", 1, 1, 1, 2, 1), (None, None, 1, 2, None, 1)]
    engine.dispose()
