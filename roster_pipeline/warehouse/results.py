"""What each import came to, as the books have it: of how many records what became, what changed in
them, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, Engine, Select, case, func, select

from roster_pipeline.findings import FINDING_COLUMNS
from roster_pipeline.stages.plan import CHANGE_COLUMNS
from roster_pipeline.warehouse import bulk, tables
from roster_pipeline.warehouse.ledger import Import, files, record_effective, stands_on

WRITTEN = ("added", "updated", "restored")
"""Outcomes that are `unchanged` when the same files come again."""
GONE = ("removed", "deleted")
"""Outcomes that do not happen a second time."""
_COUNTED: dict[str, pa.DataType] = {
    "code": pa.string(),
    "severity": pa.string(),
    "enrollment_type": pa.string(),
    "findings": pa.int64(),
}


def record_counts(conn: Connection, import_id: int, counts: pd.DataFrame) -> None:
    """Note what became of how many records; columns as SyncPlan.counts."""
    columns = ["enrollment_type", "school", "outcome", "records"]
    bulk.load(conn, tables.import_counts, bulk.to_arrow(counts[columns]), {"import_id": import_id})


def record_changes(conn: Connection, import_id: int, changes: pd.DataFrame) -> None:
    """Note in how many updated records each attribute changed; columns CHANGE_COLUMNS."""
    rows = bulk.to_arrow(changes[list(CHANGE_COLUMNS)])
    bulk.load(conn, tables.import_changes, rows, {"import_id": import_id})


def record_findings(conn: Connection, import_id: int, findings: pd.DataFrame) -> None:
    """Note what the import found, in the frame's order; columns FINDING_COLUMNS."""
    rows = bulk.to_arrow(findings[list(FINDING_COLUMNS)])
    bulk.load(conn, tables.findings, rows, {"import_id": import_id})


def record_findings_apart(engine: Engine, import_id: int, findings: pd.DataFrame) -> None:
    """Note what a stage found in a transaction of its own; there may be a great many."""
    rows = bulk.to_arrow(findings[list(FINDING_COLUMNS)])
    bulk.load_apart(engine, tables.findings, rows, {"import_id": import_id})


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
    """How many rows of files were left out, and how many went in with something to tell. Of a row
    that stands twice the record goes in, but not the second row."""
    table = tables.findings
    out = (table.c.severity == "skipped") | (table.c.code == "record_repeated")
    left_out = func.max(case((out, 1), else_=0)).label("left_out")
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


def _fetch_findings(
    conn: Connection, statement: Select[*tuple[Any, ...]], columns: Sequence[str]
) -> pd.DataFrame:
    types: dict[str, pa.DataType] = {
        name: pa.int64() if name == "row" else pa.string() for name in columns
    }
    return bulk.to_frame(bulk.fetch(conn, statement, types))


def _only_in(conn: Connection, import_id: int, other: int) -> pd.DataFrame:
    table = tables.findings
    names = ("code", "severity", "enrollment_type", "source_id", "attribute", "file")
    columns = [table.c[name] for name in names]
    found, before = (select(*columns).where(table.c.import_id == i) for i in (import_id, other))
    only = found.except_(before).subquery()
    keys = [only.c[name] for name in names[:3]]
    statement = select(*keys, func.count()).group_by(*keys)
    return bulk.to_frame(bulk.fetch(conn, statement, _COUNTED))
