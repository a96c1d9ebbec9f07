"""Reading the roster back: what the plan compares with, and whole records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select

from roster_pipeline.roster import ENROLLMENT_TYPES, Attribute
from roster_pipeline.warehouse import bulk
from roster_pipeline.warehouse.tables import ROSTER_TABLES, VERSION_VIEWS

FEW = 500
"""Up to how many ids are asked for by name; more are picked out of what is read."""


def read_state(
    conn: Connection, district_id: str, enrollment_types: Sequence[str] = tuple(ENROLLMENT_TYPES)
) -> dict[str, pd.DataFrame]:
    """What the warehouse holds of a district, by enrollment type, active or not.

    Columns: source_id, record_hash, active, stale (bool), school (null where a type has none),
    first_import_id, then every attribute that refers to other records (lists comma-joined).
    """
    return {name: _state(conn, district_id, name) for name in enrollment_types}


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
    if ids is not None and len(ids) <= FEW:
        statement = statement.where(table.c.source_id.in_(ids.tolist()))
    records = bulk.to_frame(bulk.fetch(conn, statement, types))
    if ids is not None and len(ids) > FEW:
        records = records.loc[records["source_id"].isin(ids)].reset_index(drop=True)
    return records


def holds_at(versions: Table, import_id: int) -> ColumnElement[bool]:
    """The SQL of which rows of a view of versions are the state after an import."""
    until = versions.c.valid_until_import_id
    return and_(
        versions.c.valid_from_import_id <= import_id, or_(until.is_(None), until > import_id)
    )


def _state(conn: Connection, district_id: str, name: str) -> pd.DataFrame:
    enrollment_type = ENROLLMENT_TYPES[name]
    table = ROSTER_TABLES[name]
    types: dict[str, pa.DataType] = {
        "source_id": pa.string(),
        "record_hash": pa.string(),
        "active": pa.bool_(),
        "stale": pa.bool_(),
        "first_import_id": pa.int64(),
    }
    columns: list[ColumnElement[Any]] = [
        table.c.source_id,
        table.c.record_hash,
        table.c.active,
        table.c.stale_since.is_not(None),
        table.c.first_import_id,
    ]
    for attribute in enrollment_type.references:
        types[attribute.name] = bulk.ARROW_TYPES[attribute.kind]
        columns.append(_read(conn, table, attribute))
    statement = select(*columns).where(table.c.district_id == district_id)
    state = bulk.fetch(conn, statement, types)
    # A type's school is its id or one of its references, which have been read already.
    if enrollment_type.school_attribute is None:
        school = pa.chunked_array([pa.nulls(state.num_rows, pa.string())])
    else:
        school = state.column(enrollment_type.school_attribute)
    return bulk.to_frame(state.add_column(4, "school", school))


def _read(conn: Connection, table: Table, attribute: Attribute) -> ColumnElement[Any]:
    column = table.c[attribute.name]
    return bulk.list_text(conn, column) if attribute.kind == "list" else column
