"""Which school of the warehouse each organisation of the deliveries is, as decided so far."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
from sqlalchemy import Connection, select

from roster_pipeline.warehouse import bulk
from roster_pipeline.warehouse.tables import school_mappings


def read_mappings(conn: Connection, district_id: str) -> dict[str, str]:
    """Organisation to school (both source ids), as recorded by earlier imports."""
    statement = select(school_mappings.c.org_id, school_mappings.c.school_id).where(
        school_mappings.c.district_id == district_id, school_mappings.c.school_id.is_not(None)
    )
    return {row.org_id: row.school_id for row in conn.execute(statement)}


def record_decisions(
    conn: Connection, district_id: str, import_id: int, decisions: pd.DataFrame, now: datetime
) -> None:
    """Record the decisions that are new; columns org_id, school_id, how."""
    known = read_mappings(conn, district_id)
    new = decisions.loc[~decisions["org_id"].isin(list(known)), ["org_id", "school_id", "how"]]
    constants = {
        "district_id": district_id,
        "first_import_id": import_id,
        "created_at": now,
        "updated_at": now,
    }
    bulk.load(conn, school_mappings, bulk.to_arrow(new), constants)
