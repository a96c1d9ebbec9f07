"""Which school of the warehouse each organisation of the deliveries is, as decided so far.

A decision is an import's own (known, identifier, name, new: it is written with the merge) or a
person's (manual, new, ignored). An organisation nobody has decided on is `pending`.
"""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, delete, insert, select

from roster_pipeline.stages.schools import BY_ITSELF
from roster_pipeline.warehouse import bulk
from roster_pipeline.warehouse.tables import school_mappings

TABLE = school_mappings


def read_mappings(conn: Connection, district_id: str) -> dict[str, str | None]:
    """Organisation to school (both source ids), as decided; None for one that is ignored."""
    statement = select(TABLE.c.org_id, TABLE.c.school_id).where(
        TABLE.c.district_id == district_id, TABLE.c.how != "pending"
    )
    return {row.org_id: row.school_id for row in conn.execute(statement)}


def list_mappings(conn: Connection, district_id: str) -> pd.DataFrame:
    """All that is decided or pending. Columns: org_id, school_id, how, org_name, org_identifier."""
    names = ("org_id", "school_id", "how", "org_name", "org_identifier")
    statement = (
        select(*(TABLE.c[name] for name in names))
        .where(TABLE.c.district_id == district_id)
        .order_by(TABLE.c.org_id)
    )
    return bulk.to_frame(bulk.fetch(conn, statement, dict.fromkeys(names, pa.string())))


def record_decisions(
    conn: Connection, district_id: str, import_id: int, decisions: pd.DataFrame, now: datetime
) -> None:
    """Record the decisions that are new; columns org_id, school_id, how."""
    known = list(read_mappings(conn, district_id))
    new = decisions.loc[~decisions["org_id"].isin(known)]
    _forget(conn, district_id, list(new["org_id"]))
    _load(conn, district_id, import_id, new[["org_id", "school_id", "how"]], now)


def record_pending(
    conn: Connection, district_id: str, import_id: int, pending: pd.DataFrame, now: datetime
) -> None:
    """Note which organisations wait for a decision, in the place of those that did; columns org_id,
    org_name, org_identifier."""
    waited = list_mappings(conn, district_id).query("how == 'pending'")["org_id"]
    _forget(conn, district_id, list(waited))
    rows = pending[["org_id", "org_name", "org_identifier"]].assign(how="pending")
    _load(conn, district_id, import_id, rows, now)


def decide(
    conn: Connection,
    district_id: str,
    org_id: str,
    school_id: str | None,
    how: str,
    import_id: int,
    now: datetime,
) -> None:
    """Record what a person decided on an organisation, in the place of what was there."""
    name, identifier = conn.execute(
        select(TABLE.c.org_name, TABLE.c.org_identifier).where(
            TABLE.c.district_id == district_id, TABLE.c.org_id == org_id
        )
    ).one_or_none() or (None, None)
    _forget(conn, district_id, [org_id])
    conn.execute(
        insert(TABLE).values(
            district_id=district_id,
            org_id=org_id,
            school_id=school_id,
            how=how,
            first_import_id=import_id,
            created_at=now,
            updated_at=now,
            org_name=name,
            org_identifier=identifier,
        )
    )


def take_back_decisions(conn: Connection, district_id: str, import_id: int) -> None:
    """Forget what that import and later ones decided by themselves."""
    conn.execute(
        delete(TABLE).where(
            TABLE.c.district_id == district_id,
            TABLE.c.first_import_id >= import_id,
            TABLE.c.how.in_(BY_ITSELF),
        )
    )


def _forget(conn: Connection, district_id: str, org_ids: list[str]) -> None:
    conn.execute(
        delete(TABLE).where(TABLE.c.district_id == district_id, TABLE.c.org_id.in_(org_ids))
    )


def _load(
    conn: Connection, district_id: str, import_id: int, rows: pd.DataFrame, now: datetime
) -> None:
    constants = {
        "district_id": district_id,
        "first_import_id": import_id,
        "created_at": now,
        "updated_at": now,
    }
    bulk.load(conn, TABLE, bulk.to_arrow(rows), constants)
