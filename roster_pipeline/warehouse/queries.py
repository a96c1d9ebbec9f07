"""Questions people ask of the whole warehouse."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, and_, func, literal, null, select, union_all

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.warehouse import bulk
from roster_pipeline.warehouse.tables import ROSTER_TABLES


def overview(conn: Connection, district_id: str) -> pd.DataFrame:
    """How many active records a district has, by enrollment type and school.

    Columns: enrollment_type, school (source id; null where a type has none), school_name (null
    where the school is not in the warehouse), records. Types in their own order, schools by name.
    """
    schools = ROSTER_TABLES["school"].alias("named")
    selects = []
    for place, enrollment_type in enumerate(ENROLLMENT_TYPES.values()):
        table = ROSTER_TABLES[enrollment_type.name]
        attribute = enrollment_type.school_attribute
        school = null() if attribute is None else table.c[attribute]
        counted = select(
            literal(place).label("place"),
            literal(enrollment_type.name).label("enrollment_type"),
            school.label("school"),
            func.count().label("records"),
        ).where(table.c.district_id == district_id, table.c.active)
        selects.append(counted if attribute is None else counted.group_by(school))
    counts = union_all(*selects).subquery()
    statement = (
        select(counts.c.enrollment_type, counts.c.school, schools.c.name, counts.c.records)
        .outerjoin_from(
            counts,
            schools,
            and_(schools.c.district_id == district_id, schools.c.source_id == counts.c.school),
        )
        .where(counts.c.records > 0)
        .order_by(counts.c.place, schools.c.name, counts.c.school)
    )
    types: dict[str, pa.DataType] = {
        "enrollment_type": pa.string(),
        "school": pa.string(),
        "school_name": pa.string(),
        "records": pa.int64(),
    }
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def active_records(conn: Connection, district_id: str, enrollment_type: str) -> int:
    """How many active records of a type a district has."""
    table = ROSTER_TABLES[enrollment_type]
    active = select(func.count()).where(table.c.district_id == district_id, table.c.active)
    return int(conn.scalar(active) or 0)


def people_names(
    conn: Connection, district_id: str, enrollment_type: str, ids: Sequence[str]
) -> dict[str, tuple[str | None, str | None]]:
    """First and last names of people by source id, as far as the warehouse has or had them."""
    table = ROSTER_TABLES[enrollment_type]
    statement = select(table.c.source_id, table.c.first_name, table.c.last_name).where(
        table.c.district_id == district_id, bulk.among(conn, table.c.source_id, ids)
    )
    return {row.source_id: (row.first_name, row.last_name) for row in conn.execute(statement)}
