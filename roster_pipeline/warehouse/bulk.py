"""Many rows at once: each database's own bulk path, and the form in which lists cross it.

SQLite is fed by inserts of many rows, or from a file beside it where they are very many, and read
a column at a time, as JSON. PostgreSQL is fed by `COPY` in its binary form, which costs it a third
less than text, and read by `COPY` as CSV.
Values travel as Arrow columns; nothing here loops over rows in Python.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from tempfile import TemporaryDirectory
from typing import Any

import adbc_driver_sqlite.dbapi
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Date,
    Engine,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    case,
    cast,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.sql.expression import literal_column
from sqlalchemy.types import TypeEngine

from roster_pipeline.enrollment_types import EnrollmentType, Kind
from roster_pipeline.warehouse.database import sqlite_path
from roster_pipeline.warehouse.tables import UtcDateTime

BATCH_ROWS = 50_000
"""How many rows are encoded at a time for PostgreSQL."""
MANY_ROWS = 50_000
"""From how many new rows on it pays to drop indexes, or to write a file first."""
READ_TOGETHER = 1_000_000
"""How many rows one statement reads from SQLite: a column of them must be below a gigabyte."""
ROWS_TOGETHER = 400
"""How many rows one statement inserts into SQLite, which takes 32,766 parameters."""
ROWS_AT_HAND = 2_000
"""How many rows are Python objects at a time, on their way into SQLite: as many as the processor's
cache holds, or it takes twice the time."""

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "list": pa.string(),
    "date": pa.date32(),
    "boolean": pa.bool_(),
}

_ARRIVING = ".arriving-"
_CONTROL_CHARACTERS = "".join(map(chr, range(1, 32)))


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """A frame's columns as an Arrow table without index."""
    return pa.Table.from_pandas(frame, preserve_index=False)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a frame of ArrowDtype columns and a RangeIndex."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def load(
    conn: Connection, table: Table, rows: pa.Table, constants: Mapping[str, object] | None = None
) -> None:
    """Append rows to a table.

    rows: columns named as the table's; JSON columns as JSON text, dates as date32.
    constants: further columns with one Python value for all rows.
    Raises the driver's IntegrityError when a key is there already.
    """
    if not rows.num_rows:
        return
    stored = _stored(conn, table, constants or {})
    preparer = conn.dialect.identifier_preparer
    target = preparer.format_table(table)
    cursor = _cursor(conn)
    if conn.dialect.name == "postgresql":
        rows = _typed(table, rows, stored)
        encoder = _encoder(conn, table, rows.schema)
        columns = ", ".join(preparer.quote(name) for name in rows.column_names)
        with cursor.copy(f"COPY {target} ({columns}) FROM STDIN (FORMAT binary)") as copy:
            copy.write(encoder.write_header())
            for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
        return
    # Each value that need not be bound anew for each row saves a tenth of the time, and many rows
    # in a statement a third.
    said = [name for name in rows.column_names if rows.column(name).null_count < rows.num_rows]
    columns = ", ".join(preparer.quote(name) for name in [*said, *stored])
    row = f"({', '.join([*'?' * len(said), *_literals(cursor, stored)])})"
    insert = f"INSERT INTO {target} ({columns}) VALUES "
    for batch in _as_sqlite(rows.select(said)).to_batches(max_chunksize=ROWS_AT_HAND):
        lists = [column.to_pylist() for column in batch.columns]
        values = list(chain.from_iterable(zip(*lists, strict=True)))
        for start in range(0, len(values), ROWS_TOGETHER * len(said)):
            some = values[start : start + ROWS_TOGETHER * len(said)]
            cursor.execute(insert + ", ".join([row] * (len(some) // len(said))), some)


def load_apart(
    engine: Engine, table: Table, rows: pa.Table, constants: Mapping[str, object]
) -> None:
    """As `load`, in a transaction of its own."""
    if engine.dialect.name == "sqlite" and rows.num_rows >= MANY_ROWS:
        with beside(engine, [(table, rows)]) as conn, conn.begin():
            take_in(conn, table, rows.column_names, constants)
    else:
        with engine.begin() as conn:
            load(conn, table, rows, constants)


@contextmanager
def beside(engine: Engine, arriving: Iterable[tuple[Table, pa.Table]]) -> Iterator[Connection]:
    """A connection to a SQLite database with these rows beside it, so that `take_in` can move them
    into their tables; between the two nobody's lock is held.

    ADBC writes Arrow into a file of its own, where Python's driver asks for a Python object a value
    and takes half as long again. (Into the database itself it must not write: it has an SQLite of
    its own, and two of them in one process undo each other's locks.)
    """
    clear_away(engine)
    with engine.connect() as conn:
        driver: Any = conn.connection.driver_connection
        try:
            # Attached it is needed under no name any more, and goes when the connection lets go.
            with TemporaryDirectory(prefix=_ARRIVING, dir=sqlite_path(engine).parent) as folder:
                names = _lay(f"{folder}/rows.db", arriving)
                driver.execute("ATTACH DATABASE ? AS arriving", (f"{folder}/rows.db",))
            yield conn.execution_options(beside=names)
            driver.execute("DETACH DATABASE arriving")
        except BaseException:
            # Whether anything is attached or not, nobody is to be given this connection again.
            conn.invalidate()
            raise


def clear_away(engine: Engine) -> None:
    """Take away what a process that was killed an hour ago or longer left `beside` a SQLite
    database: records of people."""
    if engine.dialect.name == "sqlite":
        for folder in sqlite_path(engine).parent.glob(f"{_ARRIVING}*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < time.time() - 3600:
                    shutil.rmtree(folder)


def _lay(path: str, arriving: Iterable[tuple[Table, pa.Table]]) -> frozenset[str]:
    names = []
    with (
        adbc_driver_sqlite.dbapi.connect(path, autocommit=True) as side,
        side.cursor() as cursor,
        ThreadPoolExecutor(1) as pool,
    ):
        cursor.execute("PRAGMA journal_mode = OFF")
        cursor.execute("PRAGMA synchronous = OFF")
        laying: Future[int] | None = None
        # While one is written the next is made ready.
        for table, rows in arriving:
            if laying:
                laying.result()
            laying = pool.submit(cursor.adbc_ingest, table.name, _as_sqlite(rows), mode="create")
            names.append(table.name)
        if laying:
            laying.result()
    return frozenset(names)


def lies_beside(conn: Connection, table: Table) -> bool:
    """Whether rows for this table lie `beside` the connection's database."""
    return table.name in conn.get_execution_options().get("beside", ())


def take_in(
    conn: Connection, table: Table, columns: Sequence[str], constants: Mapping[str, object]
) -> int:
    """Append the rows that lie `beside`, in these columns and with constants as `load` has them.
    Returns how many there were. Raises the driver's IntegrityError when a key is there already."""
    preparer = conn.dialect.identifier_preparer
    cursor = _cursor(conn)
    stored = _stored(conn, table, constants)
    named = ", ".join(preparer.quote(name) for name in columns)
    target = f"main.{preparer.format_table(table)}"
    names = ", ".join([named, *(preparer.quote(name) for name in stored)])
    values = ", ".join([named, *_literals(cursor, stored)])
    cursor.execute(
        f"INSERT INTO {target} ({names}) SELECT {values} "
        f"FROM arriving.{preparer.format_table(table)} ORDER BY rowid"
    )
    return int(cursor.rowcount)


@contextmanager
def indexes_after(conn: Connection, table: Table, coming: int) -> Iterator[None]:
    """Load `coming` rows into a table and its indexes after it, where that is cheaper.

    SQLite takes twice the time to keep the indexes row by row; making them anew pays when at least
    as many rows come as are there. (PostgreSQL would have to lock readers out for that.)
    """
    few = conn.dialect.name != "sqlite" or coming < MANY_ROWS
    if few or coming < conn.execute(select(func.count()).select_from(table)).scalar_one():
        yield
        return
    for index in table.indexes:
        index.drop(conn)
    yield
    for index in table.indexes:
        index.create(conn)


def fetch(
    conn: Connection, statement: Select[*tuple[Any, ...]], types: Mapping[str, pa.DataType]
) -> pa.Table:
    """The result of a SELECT as an Arrow table.

    statement: without a limit of its own. types: the result's columns in the statement's order:
    string, int64, bool or date32.
    """
    cursor = _cursor(conn)
    if conn.dialect.name == "postgresql":
        compiled = _compiled(conn, statement)
        sink = io.BytesIO()
        query = f"COPY ({compiled}) TO STDOUT (FORMAT csv)"
        with cursor.copy(query, compiled.params) as copy:
            for data in copy:
                sink.write(data)
        if not sink.tell():
            return pa.schema(types.items()).empty_table()
        sink.seek(0)
        return pyarrow.csv.read_csv(
            sink,
            read_options=pyarrow.csv.ReadOptions(column_names=list(types)),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict(types),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        ).combine_chunks()
    # A column as one JSON array: in half the time of a million rows.
    parts: list[pa.Table] = []
    while not parts or parts[-1].num_rows == READ_TOGETHER:
        columns = statement.limit(READ_TOGETHER).offset(len(parts) * READ_TOGETHER).subquery().c
        compiled = _compiled(conn, select(*(func.json_group_array(column) for column in columns)))
        cursor.execute(str(compiled), tuple(compiled.params[p] for p in compiled.positiontup or ()))
        arrays = [
            _from_sqlite(json.loads(values), kind)
            for values, kind in zip(cursor.fetchone(), types.values(), strict=True)
        ]
        parts.append(pa.table(arrays, names=list(types)))
    return pa.concat_tables(parts).combine_chunks()


def as_stored(enrollment_type: EnrollmentType, frame: pd.DataFrame, *more: str) -> pa.Table:
    """Records as `load` takes them: source_id, the attributes (lists as JSON), extra and `more`."""
    attributes = enrollment_type.attributes
    types = {a.name: ARROW_TYPES[a.kind] for a in attributes}
    names = ["source_id", *types, "extra", *more]
    schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
    table = to_arrow(frame[names]).cast(schema)
    for attribute in attributes:
        if attribute.kind == "list":
            place = table.column_names.index(attribute.name)
            table = table.set_column(
                place, attribute.name, lists_to_json(table.column(attribute.name))
            )
    return table


def lists_to_json(lists: Any) -> Any:
    """A column of comma-joined lists as JSON arrays; null stays null, an empty text is `[]`."""
    texts = pc.cast(lists, pa.string())
    texts = pc.replace_substring(texts, "\\", "\\\\")
    texts = pc.replace_substring(texts, '"', '\\"')
    if pc.any(pc.match_substring_regex(texts, f"[{re.escape(_CONTROL_CHARACTERS)}]")).as_py():
        for character in _CONTROL_CHARACTERS:
            texts = pc.replace_substring(texts, character, f"\\u{ord(character):04x}")
    arrays = pc.binary_join_element_wise('["', pc.replace_substring(texts, ",", '","'), '"]', "")
    return pc.if_else(pc.equal(texts, pa.scalar("")), "[]", arrays)


def among(
    conn: Connection, column: ColumnElement[Any], values: Sequence[str]
) -> ColumnElement[bool]:
    """The SQL of whether a column is one of these texts, however many they are: as one JSON
    parameter, since a database takes only so many."""
    texts = bindparam("among", json.dumps(list(values)), Text(), unique=True)
    if conn.dialect.name == "postgresql":
        elements = func.jsonb_array_elements_text(cast(texts, JSONB))
    else:
        elements = func.json_each(texts)
    return column.in_(select(elements.table_valued("value").c.value))


def list_text(conn: Connection, column: ColumnElement[Any]) -> ColumnElement[str]:
    """The SQL of a list column as the comma-joined string that `lists_to_json` was given."""
    joined: ColumnElement[str]
    if conn.dialect.name == "postgresql":
        element = (
            func.jsonb_array_elements_text(column)
            .table_valued("value", with_ordinality="place")
            .render_derived()
        )
        comma: ColumnElement[str] = literal_column("','")
        joined = func.string_agg(element.c.value, aggregate_order_by(comma, element.c.place))
    else:
        element = func.json_each(column).table_valued("value")
        joined = func.group_concat(element.c.value, literal_column("','"))
    elements = select(joined).select_from(element).scalar_subquery()
    return case((column.is_not(None), func.coalesce(elements, "")))


def _compiled(conn: Connection, statement: Select[*tuple[Any, ...]]) -> Any:
    return statement.compile(dialect=conn.dialect, compile_kwargs={"render_postcompile": True})


def _cursor(conn: Connection) -> Any:
    if not conn.in_transaction():
        conn.begin()
    return conn.connection.cursor()


def _stored(conn: Connection, table: Table, constants: Mapping[str, object]) -> dict[str, Any]:
    """Values for columns of a table as the driver takes them."""
    stored = {}
    for name, value in constants.items():
        process = table.c[name].type.dialect_impl(conn.dialect).bind_processor(conn.dialect)
        stored[name] = value if process is None else process(value)
    return stored


def _literals(cursor: Any, stored: Mapping[str, object]) -> list[str]:
    """Values as SQLite writes them in a statement."""
    return [cursor.execute("SELECT quote(?)", (value,)).fetchone()[0] for value in stored.values()]


def _as_sqlite(rows: pa.Table) -> pa.Table:
    """Rows as SQLite keeps them: dates as text."""
    kinds = [pa.string() if pa.types.is_date(f.type) else f.type for f in rows.schema]
    return rows.cast(pa.schema(zip(rows.column_names, kinds, strict=True)))


def _typed(table: Table, rows: pa.Table, constants: Mapping[str, object]) -> pa.Table:
    """Rows and constants in the types that PostgreSQL has for the table's columns. (None of those
    that are loaded is a bigint.)"""
    for name, value in constants.items():
        said = pa.scalar(value, _postgresql_type(table.c[name].type))
        rows = rows.append_column(name, pa.repeat(said, rows.num_rows))
    types = [(name, _postgresql_type(table.c[name].type)) for name in rows.column_names]
    return rows.cast(pa.schema(types))


def _postgresql_type(kind: TypeEngine[Any]) -> pa.DataType:
    if isinstance(kind, UtcDateTime):
        return pa.timestamp("us", "UTC")
    if isinstance(kind, Date):
        return pa.date32()
    if isinstance(kind, Boolean):
        return pa.bool_()
    return pa.int32() if isinstance(kind, Integer) else pa.string()


def _encoder(conn: Connection, table: Table, schema: pa.Schema) -> ArrowToPostgresBinaryEncoder:
    """What writes batches of this schema in PostgreSQL's binary form."""
    encoders = {}
    for field in schema:
        encoders[field.name] = ArrowToPostgresBinaryEncoder.infer_encoder(field)
        if isinstance(table.c[field.name].type.dialect_impl(conn.dialect), JSONB):
            encoders[field.name] = StringEncoderBuilder.new_with_output(field, Jsonb())
    return ArrowToPostgresBinaryEncoder.new_with_encoders(schema, encoders)


def _from_sqlite(values: list[Any], kind: pa.DataType) -> Any:
    if pa.types.is_date(kind):
        return pa.array(values, pa.string()).cast(kind)
    if pa.types.is_boolean(kind):
        return pa.array(values, pa.int8()).cast(kind)
    return pa.array(values, kind)
