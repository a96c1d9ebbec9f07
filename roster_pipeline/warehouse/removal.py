"""Deletes all that the warehouse holds of a district."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, func, select

from roster_pipeline.warehouse import audit, bulk
from roster_pipeline.warehouse.database import sqlite_path
from roster_pipeline.warehouse.tables import audit_log, imports, metadata


def rows_of(conn: Connection, district_id: str) -> dict[str, int]:
    """How many rows each table holds of a district; the audit log is not among them."""
    return {
        table.name: conn.scalar(select(func.count()).select_from(table).where(whose)) or 0
        for table, whose in _tables(district_id)
    }


def delete_district(engine: Engine, district_id: str, who: str, now: datetime) -> int:
    """Delete a district's records, their history and their books, in one transaction; how many
    rows that were.

    What people did (`audit_log`) stays, and says that this was done. SQLite writes over what is
    deleted; PostgreSQL does when it next needs the space.
    """
    sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as conn:
        if sqlite:
            conn.exec_driver_sql("PRAGMA secure_delete = ON")
        rows = sum(rows_of(conn, district_id).values())
        for table, whose in _tables(district_id):
            conn.execute(delete(table).where(whose))
        audit.record(conn, now, who, "data_deleted", district_id, detail=f"{rows} rows")
    bulk.clear_away(engine)
    if sqlite:
        # The log of the last writes holds copies.
        with closing(sqlite3.connect(sqlite_path(engine))) as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return rows


def _tables(district_id: str) -> list[tuple[Table, ColumnElement[bool]]]:
    """Each table that holds something of districts, and which of its rows are this one's; a table
    after those that refer to it."""
    mine = select(imports.c.id).where(imports.c.district_id == district_id)
    found: list[tuple[Table, ColumnElement[bool]]] = []
    for table in reversed(metadata.sorted_tables):
        if table is audit_log:
            continue
        if "district_id" in table.c:
            found.append((table, table.c.district_id == district_id))
        elif "import_id" in table.c:
            found.append((table, table.c.import_id.in_(mine)))
    return found
