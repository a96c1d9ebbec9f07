"""A district's data are gone from every table, and nobody else's."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, insert

from roster_pipeline.findings import finding, findings_frame
from roster_pipeline.warehouse import audit, ledger, results, tables
from roster_pipeline.warehouse.database import reading, sqlite_path
from roster_pipeline.warehouse.holds import record_hold
from roster_pipeline.warehouse.removal import delete_district, rows_of
from roster_pipeline_tests.warehouse.plans import MONDAY, plan, run_import

SECRET = "Wintergreen"


def filled(engine: Engine, district: str) -> None:
    """Something of a district in every table that can hold something of one."""
    ann = ("added", "ann", {"last_name": SECRET})
    run_import(engine, plan({"student": [ann]}), district=district)
    changed = ("updated", "ann", {"last_name": f"{SECRET}-Smith"})
    run_import(engine, plan({"student": [changed]}), days=1, district=district)
    with engine.begin() as conn:
        (last, _) = ledger.imports(conn, district)
        entry = ledger.FileEntry("users.csv", "bulk", 1, "ab")
        ledger.record_effective(conn, last.id, "h", [entry])
        results.record_findings(conn, last.id, findings_frame([finding("delivery_empty")]))
        record_hold(conn, last.id, "plan", [], [], MONDAY)
        row = {"district_id": district, "username": district, "public_keys": []}
        row |= {"created_at": MONDAY, "changed_at": MONDAY}
        conn.execute(insert(tables.landing_accounts).values(**row))
        row = {"district_id": district, "action": "login", "at": MONDAY}
        conn.execute(insert(tables.landing_log).values(**row))
        audit.record(conn, MONDAY, "ada", "approved", district, last.id, "fine")


def test_everything_of_the_district_goes_and_nothing_of_another(warehouse: Engine) -> None:
    for district in ("oak", "elm"):
        filled(warehouse, district)
    with reading(warehouse) as conn:
        before = rows_of(conn, "elm")
        assert rows_of(conn, "oak") == before
        has = {name for name, number in before.items() if number}
    assert has >= {"students", "record_history", "imports", "import_files", "findings", "holds"}

    deleted = delete_district(warehouse, "oak", "ada", MONDAY)

    assert deleted == sum(before.values())
    with reading(warehouse) as conn:
        assert set(rows_of(conn, "oak").values()) == {0}
        assert rows_of(conn, "elm") == before
        told = audit.entries(conn, "oak")
    assert [(e["who"], e["action"]) for e in told] == [("ada", "approved"), ("ada", "data_deleted")]
    assert delete_district(warehouse, "oak", "ada", MONDAY) == 0


def test_no_value_is_left_in_the_file_of_a_sqlite_warehouse(warehouse: Engine) -> None:
    if warehouse.dialect.name != "sqlite":
        return
    filled(warehouse, "oak")
    path = sqlite_path(warehouse)
    files = [path, path.with_name(f"{path.name}-wal")]
    assert any(SECRET.encode() in bytes_of(file) for file in files)
    delete_district(warehouse, "oak", "ada", MONDAY)
    assert not any(SECRET.encode() in bytes_of(file) for file in files)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
