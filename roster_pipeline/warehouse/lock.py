"""One import of a district at a time, across processes and machines.

The lock belongs to the process that took it: it is gone when the process is, however it ended.
PostgreSQL keeps it in the session of a connection of its own, SQLite in a locked file beside the
database. It protects against a second import; what an import writes is protected by transactions.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import quote

from sqlalchemy import Engine, func, select, text

from roster_pipeline.warehouse.database import reading, sqlite_path
from roster_pipeline.warehouse.tables import imports


class DistrictBusy(Exception):
    """Another import of the district is running.

    import_id, host, process_id, started_at: from the ledger; None when it has not got there yet.
    """

    def __init__(
        self,
        district_id: str,
        import_id: int | None = None,
        host: str | None = None,
        process_id: int | None = None,
        started_at: datetime | None = None,
    ) -> None:
        self.district_id = district_id
        self.import_id = import_id
        self.host = host
        self.process_id = process_id
        self.started_at = started_at
        who = ""
        if started_at is not None:
            who = (
                f" (import {import_id}, process {process_id} on {host}, "
                f"since {started_at:%Y-%m-%d %H:%M:%S} UTC)"
            )
        super().__init__(
            f"Another import of {district_id} is running{who}. Wait until it has ended, then try "
            "again."
        )


@contextmanager
def district_lock(engine: Engine, district_id: str) -> Iterator[None]:
    """Hold the district's lock. Does not wait: raises DistrictBusy when another holds it."""
    hold = _hold_in_session if engine.dialect.name == "postgresql" else _hold_file
    with hold(engine, district_id):
        yield


@contextmanager
def _hold_in_session(engine: Engine, district_id: str) -> Iterator[None]:
    digest = hashlib.sha256(f"roster import of {district_id}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        # Off the pool: closing it then ends the session, and the lock with it, come what may.
        conn.detach()
        # It is idle for as long as the import takes; a server may be set to end such sessions.
        if conn.scalar(select(func.current_setting("idle_session_timeout", True))) is not None:
            conn.execute(text("SET idle_session_timeout = 0"))
        if not conn.scalar(select(func.pg_try_advisory_lock(key))):
            raise _busy(engine, district_id)
        yield


@contextmanager
def _hold_file(engine: Engine, district_id: str) -> Iterator[None]:
    path = sqlite_path(engine)
    directory = path.with_name(path.name + ".locks")
    directory.mkdir(mode=0o700, exist_ok=True)
    # The file is never removed: who holds a lock on a removed file holds nothing.
    name = quote(district_id, safe="") + ".lock"
    descriptor = os.open(directory / name, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(engine, district_id) from None
        yield
    finally:
        os.close(descriptor)


def _busy(engine: Engine, district_id: str) -> DistrictBusy:
    running = (
        select(imports.c.id, imports.c.host, imports.c.process_id, imports.c.started_at)
        .where(imports.c.district_id == district_id, imports.c.status == "running")
        .order_by(imports.c.id.desc())
        .limit(1)
    )
    with reading(engine) as conn:
        row = conn.execute(running).one_or_none()
    return DistrictBusy(district_id, *(row or ()))
