"""Reading the roster back: what the plan compares with, and whole records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import ColumnElement, Connection, Table, and_, null, or_, select

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, Attribute
from roster_pipeline.roster import one_array
from roster_pipeline.warehouse import bulk
from roster_pipeline.warehouse.tables import ROSTER_TABLES, VERSION_VIEWS


def read_state(
    conn: Connection, district_id: str, enrollment_types: Sequence[str] = tuple(ENROLLMENT_TYPES)
) -> dict[str, pd.DataFrame]:
    """What the warehouse holds of a district, by enrollment type, active or not: what a plan
    compares with. Columns: source_id, record_hash, active (bool), school (null where a type has
    none)."""
    return {name: _state(conn, district_id, name) for name in enrollment_types}


def read_references(
    conn: Connection, district_id: str, enrollment_type: str, ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """What a district's records of a type refer to, active or not. Columns: source_id, active
    (bool), then every attribute that refers to other records (lists comma-joined).

    ids: only these records.
    """
    table, references = ROSTER_TABLES[enrollment_type], ENROLLMENT_TYPES[enrollment_type].references
    types: dict[str, pa.DataType] = {"source_id": pa.string(), "active": pa.bool_()}
    types |= {a.name: bulk.ARROW_TYPES[a.kind] for a in references}
    columns = [table.c.source_id, table.c.active, *(_read(conn, table, a) for a in references)]
    statement = select(*columns).where(table.c.district_id == district_id)
    if ids is not None:
        statement = statement.where(bulk.among(conn, table.c.source_id, ids))
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def known_schools(conn: Connection, district_id: str) -> pd.DataFrame:
    """The district's schools in the warehouse. Columns: source_id, name, identifier, active."""
    schools = ROSTER_TABLES["school"]
    types: dict[str, pa.DataType] = {
        "source_id": pa.string(),
        "name": pa.string(),
        "identifier": pa.string(),
        "active": pa.bool_(),
    }
    statement = select(*(schools.c[name] for name in types)).where(
        schools.c.district_id == district_id
    )
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def read_records(
    conn: Connection,
    district_id: str,
    enrollment_type: str,
    *,
    active_only: bool = True,
    ids: pd.Series[str] | None = None,
    as_of: int | None = None,
) -> pd.DataFrame:
    """Whole records. Columns: source_id, the type's attributes as a roster's frames have them
    (lists comma-joined), extra (JSON text), record_hash.

    ids: only these records. as_of: the state after that import instead of the present one.
    """
    table = ROSTER_TABLES[enrollment_type] if as_of is None else VERSION_VIEWS[enrollment_type]
    attributes = ENROLLMENT_TYPES[enrollment_type].attributes
    types: dict[str, pa.DataType] = {"source_id": pa.string()} | {
        a.name: bulk.ARROW_TYPES[a.kind] for a in attributes
    }
    types |= {"extra": pa.string(), "record_hash": pa.string()}
    columns = [_read(conn, table, a) for a in attributes]
    statement = select(table.c.source_id, *columns, table.c.extra, table.c.record_hash).where(
        table.c.district_id == district_id
    )
    if as_of is not None:
        statement = statement.where(holds_at(table, as_of))
    if active_only:
        statement = statement.where(table.c.active)
    if ids is not None:
        statement = statement.where(bulk.among(conn, table.c.source_id, one_array(ids).to_pylist()))
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def holds_at(versions: Table, import_id: int) -> ColumnElement[bool]:
    """The SQL of which rows of a view of versions are the state after an import."""
    until = versions.c.valid_until_import_id
    return and_(
        versions.c.valid_from_import_id <= import_id, or_(until.is_(None), until > import_id)
    )


def _state(conn: Connection, district_id: str, name: str) -> pd.DataFrame:
    table, school = ROSTER_TABLES[name], ENROLLMENT_TYPES[name].school_attribute
    types: dict[str, pa.DataType] = {
        "source_id": pa.string(),
        "record_hash": pa.string(),
        "active": pa.bool_(),
        "school": pa.string(),
    }
    statement = select(
        table.c.source_id,
        table.c.record_hash,
        table.c.active,
        null() if school is None else table.c[school],
    ).where(table.c.district_id == district_id)
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def _read(conn: Connection, table: Table, attribute: Attribute) -> ColumnElement[Any]:
    column = table.c[attribute.name]
    return bulk.list_text(conn, column) if attribute.kind == "list" else column
