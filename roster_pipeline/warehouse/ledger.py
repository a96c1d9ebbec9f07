"""The books: which imports there were, how each stands, and which files it worked on. What they
came to is in `results`."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    delete,
    func,
    insert,
    select,
    update,
)

from roster_pipeline.warehouse import tables

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
UNEXAMINED: tuple[Status, ...] = ("running", "refused", "failed")
"""With these not every stage has seen the delivery."""
_SETTLED: tuple[Status, ...] = ("imported", "unchanged", *WAITING)
"""With these a newer delivery has its own place, and an older one that waits has none any more."""
_FILLED = (tables.import_files, tables.import_counts, tables.import_changes, tables.findings)
"""What an import fills in while it runs."""


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
        for book in _FILLED:
            conn.execute(delete(book).where(book.c.import_id == import_id))
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
    their findings can be compared; no preview, no undo, and none that was undone. None when there
    is none."""
    table = tables.imports
    return _newest(
        conn,
        table.c.district_id == imported.district_id,
        table.c.id < imported.id,
        table.c.app != UNDO,
        table.c.preview.is_(False),
        table.c.status.not_in([*UNEXAMINED, "undone"]),
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
    row = conn.execute(_merged_before(district_id, import_id).limit(1)).one_or_none()
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
    found, upto = set[int](), import_id
    for row in conn.execute(_merged_before(district_id, import_id)):
        if row.id > upto:
            continue
        if row.app == UNDO:
            upto = row.state_of or 0
        else:
            found.add(row.id)
    return found


def _merged_before(district_id: str, import_id: int) -> Select[tuple[int, str, int | None]]:
    """The imports that were merged before one, the newest first."""
    table = tables.imports
    return (
        select(table.c.id, table.c.app, table.c.state_of)
        .where(
            table.c.district_id == district_id,
            table.c.id < import_id,
            table.c.status.in_(MERGED),
        )
        .order_by(table.c.id.desc())
    )


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


def files(conn: Connection, import_id: int) -> list[FileEntry]:
    """The files of the import's effective set, by name."""
    table = tables.import_files
    statement = (
        select(table.c.file, table.c.mode, table.c.rows, table.c.sha256)
        .where(table.c.import_id == import_id)
        .order_by(table.c.file)
    )
    return [FileEntry(*row) for row in conn.execute(statement)]


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
