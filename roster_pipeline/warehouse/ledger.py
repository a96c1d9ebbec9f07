"""The books: which imports there were, what each did to how many records, and what it found."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from roster_pipeline.findings import FINDING_COLUMNS
from roster_pipeline.stages.plan import CHANGE_COLUMNS
from roster_pipeline.warehouse import bulk, tables

Status = Literal[
    "running",
    "imported",
    "unchanged",
    "needs_school_mapping",
    "held",
    "refused",
    "rejected",
    "superseded",
    "failed",
    "undone",
    "previewed",
]


UNDO = "undo"
"""The app of an import that takes others back."""
MERGED: tuple[Status, ...] = ("imported", "undone")
"""Imports that have written to the roster."""
WAITING: tuple[Status, ...] = ("held", "needs_school_mapping")
"""An import that waits for a person."""
WRITTEN = ("added", "updated", "restored")
"""Outcomes that are `unchanged` when the same files come again."""
GONE = ("removed", "deleted")
"""Outcomes that do not happen a second time."""
UNEXAMINED: tuple[Status, ...] = ("running", "refused", "failed")
"""With these not every stage has seen the delivery."""
_SETTLED: tuple[Status, ...] = ("imported", "unchanged", *WAITING)
"""With these a newer delivery has its own place, and an older one that waits has none any more."""


class NotWaiting(Exception):
    """An import is to be decided on that does not wait for a decision; the message says what it
    is."""

    def __init__(self, imported: Import, what: str) -> None:
        super().__init__(
            f"Import {imported.id} is {imported.status.replace('_', ' ')}; only one that waits can "
            f"be {what}. `roster imports {imported.district_id}` lists them."
        )


class UnknownImport(LookupError):
    """There is no import of that number."""

    def __init__(self, import_id: int) -> None:
        self.import_id = import_id
        super().__init__(f"There is no import {import_id}. `roster imports` lists those there are.")


@dataclass(frozen=True)
class Import:
    """One import as the ledger has it."""

    id: int
    district_id: str
    app: str
    status: Status
    run_id: str | None
    preview: bool
    host: str
    process_id: int
    started_at: datetime
    finished_at: datetime | None
    effective_hash: str | None
    settings_hash: str
    message: str | None
    delivery: str | None = None
    state_of: int | None = None


@dataclass(frozen=True)
class FileEntry:
    """One file of an import's effective set. mode: bulk, delta, or whatever the intake calls it."""

    file: str
    mode: str
    rows: int
    sha256: str


def start_import(
    engine: Engine,
    district_id: str,
    app: str,
    run_id: str | None,
    preview: bool,
    settings_hash: str,
    now: datetime,
) -> int:
    """Open a new import in the ledger, in a transaction of its own, and return its id.

    To be called under the district's lock: an earlier import of the district that the ledger still
    has as running lost its process, and is marked as failed.
    """
    with engine.begin() as conn:
        fail_abandoned(conn, district_id, now)
        import_id = conn.execute(
            insert(tables.imports)
            .values(
                district_id=district_id,
                app=app,
                status="running",
                run_id=run_id,
                preview=preview,
                host=socket.gethostname(),
                process_id=os.getpid(),
                started_at=now,
                settings_hash=settings_hash,
            )
            .returning(tables.imports.c.id)
        ).scalar_one()
    return int(import_id)


def resume_import(
    engine: Engine, import_id: int, run_id: str | None, settings_hash: str, now: datetime
) -> Import:
    """Let an import that waits run once more, in a transaction of its own, under the district's
    lock. What it had found and counted is forgotten. Returns the import as it was. Raises
    UnknownImport or NotWaiting."""
    with engine.begin() as conn:
        imported = get_import(conn, import_id)
        if imported.status not in WAITING:
            raise NotWaiting(imported, "continued")
        fail_abandoned(conn, imported.district_id, now)
        for book in (tables.findings, tables.import_files):
            conn.execute(delete(book).where(book.c.import_id == import_id))
        forget_counts(conn, import_id)
        _update(
            conn,
            import_id,
            status="running",
            run_id=run_id,
            host=socket.gethostname(),
            process_id=os.getpid(),
            finished_at=None,
            message=None,
            settings_hash=settings_hash,
        )
    return imported


def fail_abandoned(conn: Connection, district_id: str, now: datetime) -> list[int]:
    """Mark a district's running imports as failed, and return which. To be called under the
    district's lock, which proves that their process is gone."""
    failed = conn.scalars(
        update(tables.imports)
        .where(tables.imports.c.district_id == district_id, tables.imports.c.status == "running")
        .values(
            status="failed",
            finished_at=now,
            message="The process that ran this import ended before the import did. "
            "Nothing of it was merged; import the delivery again.",
        )
        .returning(tables.imports.c.id)
    )
    return list(failed)


def finish_import(
    conn: Connection, import_id: int, status: Status, now: datetime, message: str | None = None
) -> None:
    """Close an import with its status and, where it needs one, a sentence.

    Earlier imports of the district that wait are superseded when this one settles what the roster
    is, or waits itself; a preview settles nothing. Raises UnknownImport.
    """
    _update(conn, import_id, status=status, finished_at=now, message=message)
    imported, earlier = get_import(conn, import_id), tables.imports.alias()
    if status not in _SETTLED or imported.preview:
        return
    waiting = select(earlier.c.id).where(
        earlier.c.district_id == imported.district_id,
        earlier.c.id < import_id,
        earlier.c.status.in_(WAITING),
    )
    open_holds = tables.holds.c.import_id.in_(waiting) & tables.holds.c.decision.is_(None)
    conn.execute(
        update(tables.holds).where(open_holds).values(decision="superseded", decided_at=now)
    )
    conn.execute(
        update(tables.imports)
        .where(tables.imports.c.id.in_(select(waiting.subquery().c.id)))
        .values(status="superseded", message=f"Superseded by import {import_id}.")
    )


def record_delivery(conn: Connection, import_id: int, folder: str) -> None:
    """Note which folder of the archive holds the delivery. Raises UnknownImport."""
    _update(conn, import_id, delivery=folder)


def waiting_import(conn: Connection, district_id: str) -> Import | None:
    """The district's import that waits for a person, None when there is none."""
    table = tables.imports
    return _newest(conn, table.c.district_id == district_id, table.c.status.in_(WAITING))


def record_effective(
    conn: Connection, import_id: int, effective_hash: str, files: Sequence[FileEntry]
) -> None:
    """Note which files the import works on. Raises UnknownImport."""
    _update(conn, import_id, effective_hash=effective_hash)
    if files:
        conn.execute(
            insert(tables.import_files),
            [{"import_id": import_id, **vars(entry)} for entry in files],
        )


def record_counts(conn: Connection, import_id: int, counts: pd.DataFrame) -> None:
    """Note what became of how many records; columns as SyncPlan.counts."""
    columns = ["enrollment_type", "school", "outcome", "records"]
    bulk.load(conn, tables.import_counts, bulk.to_arrow(counts[columns]), {"import_id": import_id})


def record_changes(conn: Connection, import_id: int, changes: pd.DataFrame) -> None:
    """Note in how many updated records each attribute changed; columns CHANGE_COLUMNS."""
    rows = bulk.to_arrow(changes[list(CHANGE_COLUMNS)])
    bulk.load(conn, tables.import_changes, rows, {"import_id": import_id})


def forget_counts(conn: Connection, import_id: int) -> None:
    """Take back what was noted of an import's counts and changes."""
    for book in (tables.import_counts, tables.import_changes):
        conn.execute(delete(book).where(book.c.import_id == import_id))


def record_findings(conn: Connection, import_id: int, findings: pd.DataFrame) -> None:
    """Note what the import found, in the frame's order; columns FINDING_COLUMNS."""
    rows = bulk.to_arrow(findings[list(FINDING_COLUMNS)])
    bulk.load(conn, tables.findings, rows, {"import_id": import_id})


def import_of_run(conn: Connection, run_id: str) -> Import | None:
    """The import that a run opened or continued, None when it came to none."""
    return _newest(conn, tables.imports.c.run_id == run_id)


def standing(conn: Connection, district_id: str) -> set[tuple[int, str, str | None]]:
    """How a district's imports stand: of each its number, its status, and the run that gave it.
    What differs between two looks, under the district's lock, is what was done meanwhile."""
    table = tables.imports
    statement = select(table.c.id, table.c.status, table.c.run_id)
    return {tuple(row) for row in conn.execute(statement.where(table.c.district_id == district_id))}


def newest_ended(conn: Connection, district_id: str) -> Import | None:
    """The district's newest import that has ended, None when none has. One that another took the
    place of is not it."""
    table = tables.imports
    return _newest(
        conn,
        table.c.district_id == district_id,
        table.c.status.not_in(("running", "superseded")),
    )


def examined_before(conn: Connection, imported: Import) -> Import | None:
    """The import of the district before this one whose delivery was looked at whole, so that
    their findings can be compared; no preview and no undo. None when there is none."""
    table = tables.imports
    return _newest(
        conn,
        table.c.district_id == imported.district_id,
        table.c.id < imported.id,
        table.c.app != UNDO,
        table.c.preview.is_(False),
        table.c.status.not_in(UNEXAMINED),
        table.c.effective_hash.is_not(None),
    )


def last_accepted(conn: Connection, district_id: str) -> Import | None:
    """The district's last import that was merged; None before the first."""
    table = tables.imports
    return _newest(conn, table.c.district_id == district_id, table.c.status == "imported")


def state_before(conn: Connection, district_id: str, import_id: int) -> int | None:
    """The import whose state a district's roster had when an import began: the last one merged
    before it or, when that is an undo, the one whose state that gave back. None before the
    first."""
    table = tables.imports
    statement = (
        select(table.c.id, table.c.app, table.c.state_of)
        .where(
            table.c.district_id == district_id,
            table.c.id < import_id,
            table.c.status.in_(MERGED),
        )
        .order_by(table.c.id.desc())
        .limit(1)
    )
    row = conn.execute(statement).one_or_none()
    if row is None:
        return None
    state: int | None = row.state_of if row.app == UNDO else row.id
    return state


def stands_on(conn: Connection, merged: Import) -> Import:
    """The import whose files the roster stands on after a merged one: that one itself or, of an
    undo, the one whose state it gave back, for an undo counts and holds nothing of its own."""
    return merged if merged.state_of is None else get_import(conn, merged.state_of)


def in_effect(conn: Connection, district_id: str, import_id: int) -> set[int]:
    """The imports that had made a district's roster what it was when an import began: neither
    undos nor what they took back, but what was undone and came back by undoing the undo."""
    table = tables.imports
    statement = (
        select(table.c.id, table.c.app, table.c.state_of)
        .where(
            table.c.district_id == district_id,
            table.c.id < import_id,
            table.c.status.in_(MERGED),
        )
        .order_by(table.c.id.desc())
    )
    found, upto = set[int](), import_id
    for row in conn.execute(statement):
        if row.id > upto:
            continue
        if row.app == UNDO:
            upto = row.state_of or 0
        else:
            found.add(row.id)
    return found


def returnable_states(conn: Connection, district_id: str) -> set[int]:
    """The imports whose state a district's roster has, or can be given back by an undo: of each
    import that can be undone, what `state_before` says."""
    table = tables.imports
    statement = (
        select(table.c.id, table.c.app, table.c.status, table.c.state_of)
        .where(table.c.district_id == district_id, table.c.status.in_(MERGED))
        .order_by(table.c.id)
    )
    states, state = set[int](), None
    for row in conn.execute(statement):
        if row.status == "imported" and state is not None:
            states.add(state)
        state = row.state_of if row.app == UNDO else row.id
    return states if state is None else {*states, state}


def imports(
    conn: Connection, district_id: str | None = None, limit: int | None = 50
) -> list[Import]:
    """The last imports, of one district or of all, newest first; without a limit all of them."""
    statement = select(tables.imports).order_by(tables.imports.c.id.desc()).limit(limit)
    if district_id is not None:
        statement = statement.where(tables.imports.c.district_id == district_id)
    return [Import(*row) for row in conn.execute(statement)]


def newest_imports(conn: Connection) -> dict[str, Import]:
    """The newest import of each district that has one."""
    newest = select(func.max(tables.imports.c.id)).group_by(tables.imports.c.district_id)
    rows = conn.execute(select(tables.imports).where(tables.imports.c.id.in_(newest)))
    return {row.district_id: Import(*row) for row in rows}


def get_import(conn: Connection, import_id: int) -> Import:
    """One import. Raises UnknownImport."""
    statement = select(tables.imports).where(tables.imports.c.id == import_id)
    row = conn.execute(statement).one_or_none()
    if row is None:
        raise UnknownImport(import_id)
    return Import(*row)


def counts(conn: Connection, import_id: int) -> pd.DataFrame:
    """What became of how many records. Columns: enrollment_type, school, outcome, records."""
    table = tables.import_counts
    types: dict[str, pa.DataType] = {
        "enrollment_type": pa.string(),
        "school": pa.string(),
        "outcome": pa.string(),
        "records": pa.int64(),
    }
    statement = (
        select(*(table.c[name] for name in types))
        .where(table.c.import_id == import_id)
        .order_by(table.c.id)
    )
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def changes(conn: Connection, import_id: int) -> pd.DataFrame:
    """In how many updated records each attribute changed, most first. Columns: CHANGE_COLUMNS."""
    table = tables.import_changes
    types: dict[str, pa.DataType] = {
        "enrollment_type": pa.string(),
        "attribute": pa.string(),
        "records": pa.int64(),
    }
    statement = (
        select(*(table.c[name] for name in types))
        .where(table.c.import_id == import_id)
        .order_by(table.c.records.desc(), table.c.enrollment_type, table.c.attribute)
    )
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def files(conn: Connection, import_id: int) -> list[FileEntry]:
    """The files of the import's effective set, by name."""
    table = tables.import_files
    statement = (
        select(table.c.file, table.c.mode, table.c.rows, table.c.sha256)
        .where(table.c.import_id == import_id)
        .order_by(table.c.file)
    )
    return [FileEntry(*row) for row in conn.execute(statement)]


def findings(
    conn: Connection,
    import_id: int,
    *,
    enrollment_type: str | None = None,
    severity: str | None = None,
    code: str | None = None,
    school: str | None = None,
    source_id: str | None = None,
    stage: str | None = None,
    columns: Sequence[str] = FINDING_COLUMNS,
) -> pd.DataFrame:
    """What the import found, in the order it was recorded, narrowed as asked. Columns: these of
    FINDING_COLUMNS."""
    table = tables.findings
    statement = select(*(table.c[name] for name in columns)).where(table.c.import_id == import_id)
    wanted = {
        "enrollment_type": enrollment_type,
        "severity": severity,
        "code": code,
        "school": school,
        "source_id": source_id,
        "stage": stage,
    }
    for name, value in wanted.items():
        if value is not None:
            statement = statement.where(table.c[name] == value)
    return _fetch_findings(conn, statement.order_by(table.c.id), columns)


def _fetch_findings(
    conn: Connection, statement: Select[*tuple[Any, ...]], columns: Sequence[str]
) -> pd.DataFrame:
    types: dict[str, pa.DataType] = {
        name: pa.int64() if name == "row" else pa.string() for name in columns
    }
    return bulk.to_frame(bulk.fetch(conn, statement, types))


_COUNTED: dict[str, pa.DataType] = {
    "code": pa.string(),
    "severity": pa.string(),
    "enrollment_type": pa.string(),
    "findings": pa.int64(),
}


def finding_counts(conn: Connection, import_id: int) -> pd.DataFrame:
    """How many findings of each kind. Columns: code, severity, enrollment_type, findings; most
    frequent first."""
    table = tables.findings
    keys = (table.c.code, table.c.severity, table.c.enrollment_type)
    number = func.count()
    statement = (
        select(*keys, number)
        .where(table.c.import_id == import_id)
        .group_by(*keys)
        .order_by(number.desc(), *keys)
    )
    return bulk.to_frame(bulk.fetch(conn, statement, _COUNTED))


def new_and_gone(conn: Connection, import_id: int, before: int) -> pd.DataFrame:
    """How many things an import found that an earlier one had not, and the other way round. Rows
    do not count, since they move: the same thing is one code, of one record and attribute.

    Columns: code, severity, enrollment_type, new, gone.
    """
    new = _only_in(conn, import_id, before).rename(columns={"findings": "new"})
    gone = _only_in(conn, before, import_id).rename(columns={"findings": "gone"})
    both = pd.concat([new.assign(gone=0), gone.assign(new=0)], ignore_index=True)
    keys = ["code", "severity", "enrollment_type"]
    return both.groupby(keys, dropna=False, sort=False)[["new", "gone"]].sum().reset_index()


def _only_in(conn: Connection, import_id: int, other: int) -> pd.DataFrame:
    table = tables.findings
    names = ("code", "severity", "enrollment_type", "source_id", "attribute", "file")
    columns = [table.c[name] for name in names]
    found, before = (select(*columns).where(table.c.import_id == i) for i in (import_id, other))
    only = found.except_(before).subquery()
    keys = [only.c[name] for name in names[:3]]
    statement = select(*keys, func.count()).group_by(*keys)
    return bulk.to_frame(bulk.fetch(conn, statement, _COUNTED))


def first_findings(conn: Connection, import_id: int, each: int) -> pd.DataFrame:
    """The first findings of each kind (code, severity, enrollment type), at most `each` of one,
    in the order in which they were recorded. Columns: FINDING_COLUMNS."""
    table = tables.findings
    kind = (table.c.code, table.c.severity, table.c.enrollment_type)
    place = func.row_number().over(partition_by=kind, order_by=table.c.id).label("place")
    # Numbered without their texts, which would be sorted along.
    numbered = select(table.c.id, place).where(table.c.import_id == import_id).subquery()
    statement = (
        select(*(table.c[name] for name in FINDING_COLUMNS))
        .join(numbered, numbered.c.id == table.c.id)
        .where(numbered.c.place <= each)
        .order_by(table.c.id)
    )
    return _fetch_findings(conn, statement, FINDING_COLUMNS)


def rows_with_findings(conn: Connection, import_id: int) -> tuple[int, int]:
    """How many rows of files were left out, and how many went in with something to tell."""
    table = tables.findings
    left_out = func.max(case((table.c.severity == "skipped", 1), else_=0)).label("left_out")
    rows = (
        select(left_out)
        .where(
            table.c.import_id == import_id,
            table.c.row.is_not(None),
            table.c.severity.in_(("skipped", "reported")),
        )
        .group_by(table.c.file, table.c.row)
        .subquery()
    )
    statement = select(func.count(), func.coalesce(func.sum(rows.c.left_out), 0)).select_from(rows)
    told, left_out_rows = conn.execute(statement).one()
    return int(left_out_rows), int(told) - int(left_out_rows)


def reported_records(conn: Connection, import_id: int) -> dict[str, int]:
    """How many records of each enrollment type went in with something to tell about them."""
    table = tables.findings
    told = select(table.c.enrollment_type, table.c.source_id).where(
        table.c.import_id == import_id,
        table.c.enrollment_type.is_not(None),
        table.c.source_id.is_not(None),
    )
    went_in = told.where(table.c.severity == "reported").except_(
        told.where(table.c.severity == "skipped")
    )
    records = went_in.subquery()
    statement = select(records.c.enrollment_type, func.count()).group_by(records.c.enrollment_type)
    return {name: int(number) for name, number in conn.execute(statement)}


def repeat_books(conn: Connection, import_id: int, last: Import) -> None:
    """Book an import whose files and settings are those of an earlier one: the same files and
    findings, and what was merged then is unchanged now."""
    last = stands_on(conn, last)
    booked = counts(conn, last.id)
    booked = booked.loc[~booked["outcome"].isin(GONE)]
    booked["outcome"] = booked["outcome"].mask(booked["outcome"].isin(WRITTEN), "unchanged")
    keys = ["enrollment_type", "school", "outcome"]
    record_counts(
        conn, import_id, booked.groupby(keys, dropna=False)["records"].sum().reset_index()
    )
    record_effective(conn, import_id, str(last.effective_hash), files(conn, last.id))
    record_findings(conn, import_id, findings(conn, last.id))


def _newest(conn: Connection, *conditions: ColumnElement[bool]) -> Import | None:
    """The import of the highest number for which all conditions hold, None when there is none."""
    table = tables.imports
    statement = select(table).where(*conditions).order_by(table.c.id.desc()).limit(1)
    row = conn.execute(statement).one_or_none()
    return None if row is None else Import(*row)


def _update(conn: Connection, import_id: int, **values: object) -> None:
    statement = update(tables.imports).where(tables.imports.c.id == import_id).values(**values)
    if not conn.execute(statement).rowcount:
        raise UnknownImport(import_id)
