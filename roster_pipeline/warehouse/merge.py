"""The merge: writes what a plan says, set by set, within the caller's transaction.

New records go straight into their table by the database's bulk path. Everything that changes a row
that is there goes through a temporary table, and first writes the row's present version to
`record_history`. Each statement must touch exactly the rows the plan names; if it does not, the
plan was made against another state, and the error it raises must roll the transaction back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    and_,
    case,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, EnrollmentType
from roster_pipeline.stages.plan import SyncPlan
from roster_pipeline.warehouse import bulk
from roster_pipeline.warehouse.tables import ROSTER_TABLES, record_history


class MergeMismatch(Exception):
    """The merge would not do what the plan says. Nothing may be committed."""


@dataclass(frozen=True)
class Touched:
    """How many rows of one enrollment type a merge has written.

    stale: kept records that have become stale; refreshed: stale records that came in well again,
    with the same content. Records that were stale already and are kept again are not touched.
    """

    added: int = 0
    updated: int = 0
    restored: int = 0
    deleted: int = 0
    stale: int = 0
    refreshed: int = 0


@contextmanager
def merging(engine: Engine, plan: SyncPlan) -> Iterator[Connection]:
    """The transaction in which a plan is merged. Very many new records are laid beside a SQLite
    database before it begins: writing them takes two thirds of the time, and holds others up for
    less than half of it."""
    many = [
        name
        for name, frame in plan.changes.items()
        if (frame["outcome"] == "added").sum() >= bulk.MANY_ROWS
    ]
    if engine.dialect.name != "sqlite" or not many:
        with engine.begin() as conn:
            yield conn
        return
    arriving = ((ROSTER_TABLES[name], _new_rows(name, plan.changes[name])) for name in many)
    with bulk.beside(engine, arriving) as conn, conn.begin():
        yield conn


def _new_rows(name: str, changes: pd.DataFrame) -> pa.Table:
    """What a plan adds of a type, in the order of the key that its table is kept by: in another,
    writing takes twice the time."""
    added = changes[changes["outcome"] == "added"]
    return bulk.as_stored(ENROLLMENT_TYPES[name], added, "record_hash").sort_by("source_id")


def merge(
    conn: Connection, district_id: str, import_id: int, plan: SyncPlan, now: datetime
) -> dict[str, Touched]:
    """Write the plan into the district's roster and history.

    Returns the touched rows by enrollment type. Raises MergeMismatch when a record is not in the
    state the plan took it to be in, or when the rows touched are not those the plan counts; the
    caller must then roll back.
    """
    touched = {}
    for name in ENROLLMENT_TYPES:
        touched[name] = _TypeMerge(conn, district_id, import_id, now, name).run(plan)
    _compare_with_counts(touched, plan.counts)
    return touched


@dataclass(frozen=True)
class _TypeMerge:
    """The merge of one enrollment type."""

    conn: Connection
    district_id: str
    import_id: int
    now: datetime
    name: str

    @property
    def kind(self) -> EnrollmentType:
        return ENROLLMENT_TYPES[self.name]

    @property
    def table(self) -> Table:
        return ROSTER_TABLES[self.name]

    @property
    def _content(self) -> list[str]:
        return ["source_id", *(a.name for a in self.kind.attributes), "extra"]

    def run(self, plan: SyncPlan) -> Touched:
        stale_ids = self._stale_ids()
        kept = _ids(plan.kept, "enrollment_type", self.name)
        marks = {
            "deleted": _ids(plan.deleted, "enrollment_type", self.name),
            "stale": kept.filter(pc.invert(pc.is_in(kept, stale_ids))),
        }
        counts = {"added": 0, "updated": 0, "restored": 0}
        changes = plan.changes.get(self.name)
        if changes is not None:
            unchanged = _ids(changes, "outcome", "unchanged")
            marks["refreshed"] = unchanged.filter(pc.is_in(unchanged, stale_ids))
            counts["added"] = self._add(changes)
            counts |= self._replace(changes[changes["outcome"].isin(["updated", "restored"])])
        self._mark(marks)
        return Touched(**counts, **{change: len(ids) for change, ids in marks.items()})

    def _stale_ids(self) -> Any:
        statement = select(self.table.c.source_id).where(
            self.table.c.district_id == self.district_id, self.table.c.stale_since.is_not(None)
        )
        return bulk.fetch(self.conn, statement, {"source_id": pa.string()}).column("source_id")

    def _add(self, changes: pd.DataFrame) -> int:
        expected = int((changes["outcome"] == "added").sum())
        constants = {
            "district_id": self.district_id,
            "active": True,
            "first_import_id": self.import_id,
            "last_import_id": self.import_id,
            "created_at": self.now,
            "updated_at": self.now,
        }
        try:
            with bulk.indexes_after(self.conn, self.table, expected):
                if bulk.lies_beside(self.conn, self.table):
                    columns = [*self._content, "record_hash"]
                    taken = bulk.take_in(self.conn, self.table, columns, constants)
                    if taken != expected:
                        raise MergeMismatch(
                            f"The plan adds {expected} rows to {self.table.name}, but {taken} lie "
                            "ready."
                        )
                else:
                    bulk.load(self.conn, self.table, _new_rows(self.name, changes), constants)
        except self.conn.dialect.loaded_dbapi.IntegrityError as error:
            raise MergeMismatch(
                f"The plan adds a {self.name} that is in {self.table.name} already, or adds one "
                "twice."
            ) from error
        return expected

    def _replace(self, records: pd.DataFrame) -> dict[str, int]:
        """Write the new version of records that are there, active (updated) or not (restored)."""
        if records.empty:
            return {}
        columns = [*self._content, "record_hash"]
        rows = bulk.as_stored(self.kind, records, "record_hash", "outcome")
        rows = rows.rename_columns([*columns, "change"])
        with self._staged(rows, [Column(c, self.table.c[c].type) for c in columns]) as staged:
            self._write_history(staged, len(records))
            new: dict[str, Any] = {c: staged.c[c] for c in columns if c != "source_id"}
            self._update(staged, literal(True), len(records), active=True, stale_since=None, **new)
        outcomes = records["outcome"].value_counts()
        return {change: int(outcomes.get(change, 0)) for change in ("updated", "restored")}

    def _mark(self, marks: dict[str, Any]) -> None:
        """Change the state, not the content, of records that are there and active."""
        rows = pa.concat_tables(
            pa.table({"source_id": ids, "change": pa.repeat(pa.scalar(change), len(ids))})
            for change, ids in marks.items()
        )
        if not rows.num_rows:
            return
        values: dict[str, dict[str, object]] = {
            "deleted": {"active": False, "stale_since": None},
            "stale": {"stale_since": self.now},
            "refreshed": {"stale_since": None},
        }
        with self._staged(rows, [Column("source_id", Text)]) as staged:
            self._write_history(staged, rows.num_rows)
            for change, ids in marks.items():
                self._update(staged, staged.c.change == change, len(ids), **values[change])

    @contextmanager
    def _staged(self, rows: pa.Table, columns: list[Column[Any]]) -> Iterator[Table]:
        """A temporary table with `columns` and `change`, holding the rows."""
        staged = Table(
            f"staged_{self.table.name}",
            MetaData(),
            *columns,
            Column("change", Text),
            prefixes=["TEMPORARY"],
        )
        staged.create(self.conn)
        # In the order of the keys they lead to, as above.
        bulk.load(self.conn, staged, rows.sort_by("source_id"))
        if self.conn.dialect.name == "postgresql":
            # Autovacuum never sees a temporary table; unanalysed, a big one is joined badly.
            self.conn.execute(text(f"ANALYZE {staged.name}"))
        yield staged
        staged.drop(self.conn)

    def _write_history(self, staged: Table, expected: int) -> None:
        table = self.table
        version: dict[str, ColumnElement[Any]] = {
            "district_id": table.c.district_id,
            "enrollment_type": literal(self.name),
            "source_id": table.c.source_id,
            "replaced_by_import_id": literal(self.import_id),
            "valid_from_import_id": table.c.last_import_id,
            "change": staged.c.change,
            "record": as_json(self.conn, self.name),
            "record_hash": table.c.record_hash,
            "was_active": table.c.active,
            "was_stale_since": table.c.stale_since,
            "replaced_at": literal(self.now, record_history.c.replaced_at.type),
            "first_import_id": table.c.first_import_id,
            "created_at": table.c.created_at,
        }
        versions = (
            select(*version.values())
            .join_from(staged, table, self._same_record(staged))
            .where(table.c.active == (staged.c.change != "restored"))
        )
        statement = insert(record_history).from_select(list(version), versions)
        written = self.conn.execute(statement, execution_options={"preserve_rowcount": True})
        self._expect(written.rowcount, expected)

    def _update(
        self, staged: Table, which: ColumnElement[bool], expected: int, **values: object
    ) -> None:
        if expected:
            statement = (
                update(self.table)
                .where(self._same_record(staged), which)
                .values(**values, last_import_id=self.import_id, updated_at=self.now)
            )
            self._expect(self.conn.execute(statement).rowcount, expected)

    def _same_record(self, staged: Table) -> ColumnElement[bool]:
        return and_(
            self.table.c.district_id == self.district_id,
            self.table.c.source_id == staged.c.source_id,
        )

    def _expect(self, written: int, expected: int) -> None:
        if written != expected:
            raise MergeMismatch(
                f"The plan changes {expected} rows of {self.table.name}, but {written} of them are "
                "in the state it was made for."
            )


def as_json(conn: Connection, enrollment_type: str) -> ColumnElement[Any]:
    """The SQL of a row's content as a JSON object, as history keeps it."""
    postgresql = conn.dialect.name == "postgresql"
    pairs: list[Any] = []
    kinds = {"source_id": "text"} | {
        a.name: a.kind for a in ENROLLMENT_TYPES[enrollment_type].attributes
    }
    for column_name, kind in {**kinds, "extra": "list"}.items():
        column: ColumnElement[Any] = ROSTER_TABLES[enrollment_type].c[column_name]
        if not postgresql and isinstance(column.type, Boolean):
            # SQLite keeps booleans as 0 and 1, and JSON as text that is not yet JSON to it.
            column = func.json(case((column.is_(True), "true"), (column.is_(False), "false")))
        elif not postgresql and kind == "list":
            column = func.json(column)
        pairs += [column_name, column]
    return (func.json_build_object if postgresql else func.json_object)(*pairs)


def _ids(frame: pd.DataFrame, column: str, value: str) -> Any:
    ids = frame.loc[frame[column] == value, ["source_id"]]
    return bulk.to_arrow(ids).column("source_id").cast(pa.string())


def _compare_with_counts(touched: dict[str, Touched], counts: pd.DataFrame) -> None:
    sums = counts.groupby(["enrollment_type", "outcome"])["records"].sum().to_dict()
    for name, rows in touched.items():
        for outcome, written in asdict(rows).items():
            planned = int(sums.get((name, outcome), 0))
            if outcome not in ("stale", "refreshed") and written != planned:
                raise MergeMismatch(
                    f"The plan counts {planned} records of type {name} as {outcome}, but the merge "
                    f"wrote {written}."
                )
