"""One record through every import: where it stood, what became of it, what was found, what changed.

Brings together what is kept of each: the outcomes of received records, the findings, and the
versions in the warehouse. Names attributes, never their values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection, select

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.reports.outcomes import records_of
from roster_pipeline.reports.summary import as_records
from roster_pipeline.roster import RECEIVED_OUTCOMES
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.tables import VERSION_VIEWS

ALL = 1_000_000


def trace(
    conn: Connection, reports: Path, district_id: str, source_id: str
) -> list[dict[str, Any]]:
    """What each import did to the records of one id, oldest first.

    Each has import_id, started_at, app, status; received: enrollment_type, school, file, row and
    outcome of each row received; findings: file, row, stage, code, severity, message; changes: what
    happened in the warehouse, with enrollment_type, change and the attributes that changed. Imports
    that had nothing to do with the record are left out.
    """
    changes = _changes(conn, district_id, source_id)
    told = []
    for imported in reversed(ledger.imports(conn, district_id, ALL)):
        received = _received(conn, reports, imported, source_id)
        found = results.findings(conn, imported.id, source_id=source_id)
        columns = ["file", "row", "stage", "code", "severity", "message"]
        mine = {
            "received": as_records(received.drop(columns="source_id")),
            "findings": as_records(found[columns]),
            "changes": changes.get(imported.id, []),
        }
        if any(mine.values()):
            books = {
                "import_id": imported.id,
                "started_at": imported.started_at.isoformat(),
                "app": imported.app,
                "status": imported.status,
            }
            told.append({**books, **mine})
    return told


def _received(
    conn: Connection, reports: Path, imported: ledger.Import, source_id: str
) -> pd.DataFrame:
    """What became of the record's rows in an import."""
    rows = records_of(conn, reports, imported, source_id=source_id)
    return rows.loc[rows["outcome"].isin(RECEIVED_OUTCOMES)]


def _changes(conn: Connection, district_id: str, source_id: str) -> dict[int, list[dict[str, Any]]]:
    """By import, what it did to the record in the warehouse."""
    changes: dict[int, list[dict[str, Any]]] = {}
    for name in ENROLLMENT_TYPES:
        before: dict[str, Any] | None = None
        for version in _versions(conn, district_id, source_id, name):
            since = version["valid_from_import_id"]
            if before is not None and before["valid_until_import_id"] != since:
                changes.setdefault(before["valid_until_import_id"], []).append(_gone(name))
                before = None
            changes.setdefault(since, []).append(_change(name, before, version))
            before = version
        if before is not None and before["valid_until_import_id"] is not None:
            changes.setdefault(before["valid_until_import_id"], []).append(_gone(name))
    return changes


def _versions(
    conn: Connection, district_id: str, source_id: str, name: str
) -> list[dict[str, Any]]:
    view = VERSION_VIEWS[name]
    statement = (
        select(view)
        .where(view.c.district_id == district_id, view.c.source_id == source_id)
        .order_by(view.c.valid_from_import_id)
    )
    return [dict(row) for row in conn.execute(statement).mappings()]


def _change(name: str, before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    attributes = [*(a.name for a in ENROLLMENT_TYPES[name].attributes), "extra"]
    differ = [a for a in attributes if before is not None and before[a] != after[a]]
    if before is None:
        change = "added"
    elif before["active"] != after["active"]:
        change = "restored" if after["active"] else "deleted"
    elif differ:
        change = "updated"
    else:
        change = "kept, as it came in rejected" if after["stale_since"] else "well again"
    return {"enrollment_type": name, "change": change, "attributes": differ}


def _gone(name: str) -> dict[str, Any]:
    return {"enrollment_type": name, "change": "taken back by an undo", "attributes": []}
