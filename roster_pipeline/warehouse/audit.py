"""The audit log: what people did, who and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from roster_pipeline.warehouse.tables import audit_log


def record(
    conn: Connection,
    now: datetime,
    who: str,
    action: str,
    district_id: str,
    import_id: int | None = None,
    detail: str | None = None,
) -> None:
    """Note that somebody did something."""
    conn.execute(
        insert(audit_log).values(
            at=now,
            who=who,
            action=action,
            district_id=district_id,
            import_id=import_id,
            detail=detail,
        )
    )


def entries(conn: Connection, district_id: str) -> list[dict[str, Any]]:
    """What was done to a district, oldest first, as records of the table."""
    statement = (
        select(audit_log).where(audit_log.c.district_id == district_id).order_by(audit_log.c.id)
    )
    return [dict(row) for row in conn.execute(statement).mappings()]
