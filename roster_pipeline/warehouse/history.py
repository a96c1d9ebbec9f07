"""Past states: what the roster was after an import, how two states differ, and undoing.

A state is named by an import: it is what the versions say that held then (see VERSION_VIEWS).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.roster import TEXT
from roster_pipeline.stages.plan import changed_attributes
from roster_pipeline.warehouse import audit, bulk, ledger, results
from roster_pipeline.warehouse.ledger import Import
from roster_pipeline.warehouse.mappings import take_back_decisions
from roster_pipeline.warehouse.merge import as_json
from roster_pipeline.warehouse.state import holds_at, read_records
from roster_pipeline.warehouse.tables import (
    ROSTER_TABLES,
    VERSION_VIEWS,
    import_files,
    imports,
    record_history,
)


class CannotUndo(Exception):
    """An import cannot be undone; the message says why."""


@dataclass(frozen=True)
class Difference:
    """How two states differ.

    counts: columns enrollment_type, school, outcome (added, updated, deleted: active in the second
        only, in both with another content, in the first only), records.
    changes: in how many updated records each attribute differs; columns CHANGE_COLUMNS.
    """

    counts: pd.DataFrame
    changes: pd.DataFrame


def import_at(conn: Connection, district_id: str, moment: datetime) -> int:
    """The last import that had written to a district's roster at a moment; 0 before the first."""
    statement = select(func.max(imports.c.id)).where(
        imports.c.district_id == district_id,
        imports.c.status.in_(ledger.MERGED),
        imports.c.finished_at <= moment,
    )
    return int(conn.scalar(statement) or 0)


def difference(conn: Connection, district_id: str, before: int, after: int) -> Difference:
    """How a district's roster after one import differs from that after another."""
    parts = [_difference(conn, district_id, name, before, after) for name in ENROLLMENT_TYPES]
    return Difference(
        pd.concat([p.counts for p in parts], ignore_index=True),
        pd.concat([p.changes for p in parts], ignore_index=True),
    )


def _difference(
    conn: Connection, district_id: str, name: str, before: int, after: int
) -> Difference:
    then, now = (_keys(conn, district_id, name, state) for state in (before, after))
    both = then.merge(now, on="source_id", how="outer", suffixes=("_then", "_now"))
    outcome = pd.Series(pd.NA, both.index, dtype=TEXT)
    outcome = outcome.mask(both["record_hash_then"] != both["record_hash_now"], "updated")
    outcome = outcome.mask(both["record_hash_then"].isna(), "added")
    outcome = outcome.mask(both["record_hash_now"].isna(), "deleted")
    rows = pd.DataFrame(
        {
            "enrollment_type": pd.Series(name, both.index, dtype=TEXT),
            "school": both["school_now"].fillna(both["school_then"]),
            "outcome": outcome,
        }
    ).loc[outcome.notna()]
    counts = rows.groupby(list(rows), dropna=False, sort=False).size().rename("records")
    ids = both.loc[(outcome == "updated").fillna(False), "source_id"]
    versions = [read_records(conn, district_id, name, ids=ids, as_of=s) for s in (after, before)]
    return Difference(counts.reset_index(), changed_attributes(name, *versions))


def _keys(conn: Connection, district_id: str, name: str, state: int) -> pd.DataFrame:
    """The active records of a state. Columns: source_id, record_hash, school."""
    view, attribute = VERSION_VIEWS[name], ENROLLMENT_TYPES[name].school_attribute
    columns = [view.c.source_id, view.c.record_hash, view.c[attribute] if attribute else null()]
    names = ["source_id", "record_hash", "school"]
    statement = select(*(c.label(n) for c, n in zip(columns, names, strict=True))).where(
        view.c.district_id == district_id, holds_at(view, state), view.c.active
    )
    return bulk.to_frame(bulk.fetch(conn, statement, dict.fromkeys(names, pa.string())))


def undo(
    conn: Connection, import_id: int, undo_id: int, who: str, why: str, now: datetime
) -> list[int]:
    """Give a district's roster the state it had before an import, as import `undo_id`, which is
    open in the ledger and is closed here.

    What later imports did is taken back with it. Every version they made stays in history. Returns
    the imports that are undone. Raises UnknownImport or CannotUndo.
    """
    imported = ledger.get_import(conn, import_id)
    undone = _undone_with(conn, imported)
    if import_id not in undone:
        raise CannotUndo(
            f"Import {import_id} is {imported.status.replace('_', ' ')}; only one that is imported "
            f"can be undone. `roster imports {imported.district_id}` lists them."
        )
    for name in ENROLLMENT_TYPES:
        _take_back(conn, imported.district_id, name, import_id, undo_id, now)
    take_back_decisions(conn, imported.district_id, import_id)
    conn.execute(
        update(imports)
        .where(imports.c.id.in_(undone))
        .values(status="undone", message=f"Undone by {who} in import {undo_id}: {why}")
    )
    _book(conn, imported, undo_id)
    numbers = ", ".join(str(number) for number in undone)
    message = f"Took back import {numbers} ({who}: {why})."
    ledger.finish_import(conn, undo_id, "imported", now, message)
    audit.record(conn, now, who, "undone", imported.district_id, import_id, why)
    return undone


def _undone_with(conn: Connection, imported: Import) -> list[int]:
    statement = (
        select(imports.c.id)
        .where(
            imports.c.district_id == imported.district_id,
            imports.c.id >= imported.id,
            imports.c.status == "imported",
        )
        .order_by(imports.c.id)
    )
    return list(conn.scalars(statement))


def _take_back(
    conn: Connection, district_id: str, name: str, import_id: int, undo_id: int, now: datetime
) -> None:
    """Move what that import and later ones wrote to history, and put back what held before."""
    table, view = ROSTER_TABLES[name], VERSION_VIEWS[name]
    written = (table.c.district_id == district_id) & (table.c.last_import_id >= import_id)
    version: dict[str, ColumnElement[Any]] = {
        "district_id": table.c.district_id,
        "enrollment_type": literal(name),
        "source_id": table.c.source_id,
        "replaced_by_import_id": literal(undo_id),
        "valid_from_import_id": table.c.last_import_id,
        "change": literal("undone"),
        "record": as_json(conn, name),
        "record_hash": table.c.record_hash,
        "was_active": table.c.active,
        "was_stale_since": table.c.stale_since,
        "replaced_at": literal(now, record_history.c.replaced_at.type),
        "first_import_id": table.c.first_import_id,
        "created_at": table.c.created_at,
    }
    moved = select(*version.values()).where(written)
    conn.execute(insert(record_history).from_select(list(version), moved))
    conn.execute(delete(table).where(written))
    now_is: dict[str, ColumnElement[Any]] = {
        "last_import_id": literal(undo_id),
        "updated_at": literal(now, table.c.updated_at.type),
    }
    columns = [now_is[c.name] if c.name in now_is else view.c[c.name] for c in table.c]
    before = select(*columns).where(
        view.c.district_id == district_id,
        view.c.valid_from_import_id < import_id,
        view.c.valid_until_import_id >= import_id,
    )
    conn.execute(insert(table).from_select([c.name for c in table.c], before))


def _book(conn: Connection, imported: Import, undo_id: int) -> None:
    """Give the undo the files of the import whose state it is again, so that the next delivery is
    compared with and applied to them, and count what it changed."""
    state = ledger.state_before(conn, imported.district_id, imported.id)
    if state is not None:
        base = ledger.get_import(conn, state)
        conn.execute(
            update(imports)
            .where(imports.c.id == undo_id)
            .values(
                effective_hash=base.effective_hash,
                settings_hash=base.settings_hash,
                state_of=base.id,
            )
        )
        columns = [import_files.c[c] for c in ("file", "mode", "rows", "sha256")]
        files = select(literal(undo_id), *columns).where(import_files.c.import_id == base.id)
        names = ["import_id", *(c.name for c in columns)]
        conn.execute(insert(import_files).from_select(names, files))
    found = difference(conn, imported.district_id, undo_id - 1, undo_id)
    outcome = found.counts["outcome"].mask(found.counts["outcome"] == "added", "restored")
    results.record_counts(conn, undo_id, found.counts.assign(outcome=outcome))
    results.record_changes(conn, undo_id, found.changes)
