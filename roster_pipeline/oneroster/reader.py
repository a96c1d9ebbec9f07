"""Reads the files of a package into typed Arrow-backed frames, each record with its source row.

Told, never fatal, is what concerns one record: a row with too few or too many fields, a value
that cannot be read. Fatal is what makes a whole file doubtful: no usable header, bytes that are
no text, a quote that is never closed, a record cut in the middle.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.oneroster.package import Limits
from roster_pipeline.oneroster.standard import VERSIONS, FileSpec, Version
from roster_pipeline.oneroster.values import read_column
from roster_pipeline.roster import INTEGER, TEXT

ISSUE_COLUMNS = ("row", "field", "code")


@dataclass(frozen=True)
class FileReading:
    """One data file as read.

    frame: the file's columns by their newest name (missing ones all null), `metadata.*` and other
        columns as text, and `row` (the header is 1); a value that cannot be read is null.
    ragged: rows that do not fit the header; columns row, source_id (null when not readable) and
        `role` (users only, as written).
    issues: unreadable values; columns row, field, code (`value_dropped` or `value_unreadable`).
    overwide: numbers of the rows that had blank fields beyond the header.
    findings: what concerns the file as a whole.
    """

    name: str
    frame: pd.DataFrame
    ragged: pd.DataFrame
    issues: pd.DataFrame
    overwide: tuple[int, ...]
    findings: tuple[Finding, ...]

    @property
    def rows(self) -> int:
        """How many records arrived, readable or not."""
        return len(self.frame) + len(self.ragged)


def read_manifest(content: bytes) -> dict[str, str]:
    """manifest.csv as a mapping of property to value, blanks trimmed.

    Raises DeliveryRefused when it is no manifest.
    """
    rows = list(csv.reader(io.StringIO(_decode("manifest.csv", content)[0])))
    pairs = {row[0].strip(): row[1].strip() for row in rows[1:] if len(row) > 1}
    if "oneroster.version" not in pairs:
        raise DeliveryRefused([finding("manifest_unreadable", file="manifest.csv")])
    return pairs


def version_of(manifest: Mapping[str, str] | None) -> Version:
    """The version a manifest names; 1.1 where there is none.

    Raises DeliveryRefused for a version we do not know.
    """
    name = (manifest or {}).get("oneroster.version", "1.1")
    if name not in VERSIONS:
        raise DeliveryRefused(
            [
                finding(
                    "version_unknown",
                    file="manifest.csv",
                    field="oneroster.version",
                    found=name[:40],
                    allowed=", ".join(VERSIONS),
                )
            ]
        )
    return VERSIONS[name]


def _decode(file: str, content: bytes) -> tuple[str, list[Finding]]:
    """The text of a file, and what was odd about its encoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16"), [finding("encoding_utf16", file=file)]
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp1252"), [finding("encoding_cp1252", file=file)]
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DeliveryRefused([finding("encoding_unknown", file=file, row=row)]) from error


def read_file(name: str, content: bytes, version: Version, limits: Limits) -> FileReading:
    """Read one data file of a package.

    Raises DeliveryRefused when the file as a whole cannot be trusted.
    """
    file = f"{name}.csv"
    if not content.strip():
        raise DeliveryRefused([finding("file_empty", file=file)])
    text, told = _decode(file, content)
    at = text.find("\x00")
    if at >= 0:
        row = text.count("\n", 0, at) + 1
        raise DeliveryRefused([finding("nul_byte", file=file, row=row)])
    spec = version.files[name]
    records = _parse(file, text, limits)
    known = _known_headers(name)
    columns = [known.get(h.lower(), h) for h in records.header]
    told += _check_header(file, spec, records.header, columns)
    table = records.table.rename_columns([*columns, "row"])
    frame, issues, normalised = _typed(file, spec, table)
    return FileReading(
        name,
        frame,
        _ragged_rows(records.ragged, columns),
        issues,
        records.overwide,
        (*told, *normalised),
    )


def _known_headers(name: str) -> dict[str, str]:
    """Every header any version gives a column of this file, in lower case, to our name of it."""
    return {
        header.lower(): column.name
        for version in VERSIONS.values()
        if name in version.files
        for column in version.files[name].columns
        for header in (column.name, column.written)
    }


def _check_header(
    file: str, spec: FileSpec, header: list[str], columns: list[str]
) -> list[Finding]:
    doubled = next((c for c in columns if columns.count(c) > 1), None)
    if doubled is not None:
        raise DeliveryRefused([finding("header_doubled", file=file, row=1, field=doubled)])
    missing = [c.written for c in spec.columns if c.required and c.name not in columns]
    if missing:
        fatal = finding(
            "header_missing", file=file, row=1, missing=", ".join(missing), found=_some(header)
        )
        raise DeliveryRefused([fatal])
    absent = [c.written for c in spec.columns if not c.required and c.name not in columns]
    return (
        [finding("column_missing", file=file, row=1, missing=", ".join(absent))] if absent else []
    )


def _some(words: list[str]) -> str:
    shown = ", ".join(word[:40] for word in words[:12])
    return shown + (" …" if len(words) > 12 else "")


@dataclass(frozen=True)
class _Records:
    """A CSV text taken apart: the records as trimmed text columns (named by position) and `row`,
    the header, the rows that do not fit it with their fields, and the numbers of the rows whose
    fields beyond the header are blank (they are among the records)."""

    table: pa.Table
    header: list[str]
    ragged: list[tuple[int, list[str]]]
    overwide: tuple[int, ...]


def _parse(file: str, text: str, limits: Limits) -> _Records:
    multi_line = _check_quotes(file, text)
    header = [h.strip() for h in next(csv.reader(io.StringIO(text)))]
    if len(header) > limits.columns:
        fatal = finding("columns_too_many", file=file, row=1, limit=limits.columns)
        raise DeliveryRefused([fatal])
    names = [str(i) for i in range(len(header))]
    content = pa.py_buffer(text.encode())
    ragged: list[tuple[int, list[str]]] = []
    overwide: list[tuple[int, list[str]]] = []

    def read(use_threads: bool, handler: object) -> pa.Table:
        return pacsv.read_csv(
            content,
            pacsv.ReadOptions(
                use_threads=use_threads, column_names=names, skip_rows=1, block_size=8 << 20
            ),
            pacsv.ParseOptions(
                newlines_in_values=multi_line, ignore_empty_lines=False, invalid_row_handler=handler
            ),
            pacsv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    misfits = 0

    def count(row: pacsv.InvalidRow) -> str:
        nonlocal misfits
        misfits += 1
        return "skip"

    def note(row: pacsv.InvalidRow) -> str:
        fields = next(csv.reader([row.text]))
        if any(value.strip() for value in fields[len(header) :]) or len(fields) < len(header):
            ragged.append((row.number, fields))
        else:
            overwide.append((row.number, fields[: len(header)]))
        return "skip"

    table = read(True, count)
    if misfits:
        # Row numbers are known to one thread only, so the file is read again; it is the rare case.
        table = read(False, note)
    _check_end(file, text, table.num_rows + misfits + 1, header, ragged)
    misfit_rows = [row for row, _ in (*ragged, *overwide)]
    rows = np.delete(
        np.arange(2, table.num_rows + len(misfit_rows) + 2), [row - 2 for row in misfit_rows]
    )
    table = table.append_column("row", pa.array(rows, pa.int64()))
    if overwide:
        cut = [
            pa.array(values, pa.string()) for values in zip(*(f for _, f in overwide), strict=True)
        ]
        numbers = pa.array([row for row, _ in overwide], pa.int64())
        table = pa.concat_tables([table, pa.table([*cut, numbers], names=[*names, "row"])])
        table = table.sort_by("row")
    columns = [_trimmed(table[name]) for name in names]
    records = pa.table([*columns, table["row"]], names=[*names, "row"])
    return _Records(
        records.filter(_not_blank(columns)), header, ragged, tuple(row for row, _ in overwide)
    )


def _not_blank(columns: list[pa.Array]) -> pa.Array:
    """Which rows hold a value. Empty lines and rows of commas only are no records (Excel leaves
    them behind)."""
    holds = pc.is_valid(columns[0])
    for column in columns[1:]:
        if pc.all(holds).as_py():
            break
        holds = pc.or_(holds, pc.is_valid(column))
    return holds


def _trimmed(column: pa.ChunkedArray) -> pa.Array:
    array = pc.utf8_trim_whitespace(column)
    array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _check_quotes(file: str, text: str) -> bool:
    """Whether a quoted value spans lines; refuses a file whose last quote is never closed."""
    if '"' not in text:
        return False
    raw = np.frombuffer(text.encode(), dtype=np.uint8)
    quotes_before = np.cumsum(raw == ord('"'), dtype=np.int64)
    if not (quotes_before[np.flatnonzero(raw == ord("\n"))] % 2).any() and not (
        quotes_before[-1] % 2
    ):
        return False
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for start, _ in enumerate(reader, start=2):  # noqa: B007
            pass
    except csv.Error as error:
        raise DeliveryRefused([finding("quote_unclosed", file=file, row=start)]) from error
    return True


def _check_end(
    file: str, text: str, last_row: int, header: list[str], ragged: list[tuple[int, list[str]]]
) -> None:
    """A last line without line end that has too few fields is a file cut in the middle."""
    if ragged and not text.endswith(("\n", "\r")):
        row, fields = ragged[-1]
        if row == last_row and len(fields) < len(header):
            raise DeliveryRefused([finding("record_incomplete", file=file, row=row)])


def _ragged_rows(ragged: list[tuple[int, list[str]]], columns: list[str]) -> pd.DataFrame:
    """What can be known of rows that do not fit the header: their ids and roles by position."""

    def at(fields: list[str], name: str) -> str | None:
        place = columns.index(name) if name in columns else len(fields)
        return (fields[place].strip() or None) if place < len(fields) else None

    return pd.DataFrame(
        {
            "row": pd.Series([row for row, _ in ragged], dtype=INTEGER),
            "source_id": pd.Series([at(f, "sourcedId") for _, f in ragged], dtype=TEXT),
            "role": pd.Series([at(f, "role") for _, f in ragged], dtype=TEXT),
        }
    )


def _typed(
    file: str, spec: FileSpec, table: pa.Table
) -> tuple[pd.DataFrame, pd.DataFrame, list[Finding]]:
    """The frame with each column read as its kind, the issues of its values, and what was
    normalised."""
    rows = table["row"].combine_chunks()
    typed: dict[str, pa.Array] = {}
    issues: list[pa.Table] = []
    told: list[Finding] = []
    for column in spec.columns:
        if column.name not in table.column_names:
            typed[column.name] = pa.nulls(table.num_rows, pa.string())
            continue
        read = read_column(column, table[column.name].combine_chunks())
        typed[column.name] = read.values
        if read.normalised:
            count = read.normalised
            told.append(finding("values_normalised", file=file, field=column.written, count=count))
        bad = rows.filter(read.unreadable)
        code = "value_unreadable" if column.required else "value_dropped"
        words = [pa.repeat(word, len(bad)) for word in (column.written, code)]
        issues.append(pa.table([bad, *words], names=list(ISSUE_COLUMNS)))
    extra = {n: table[n] for n in table.column_names if n not in typed}
    frame = pa.table({**typed, **extra}).to_pandas(types_mapper=pd.ArrowDtype)
    all_issues = pa.concat_tables(issues).to_pandas(types_mapper=pd.ArrowDtype)
    # A password never leaves the archive.
    return frame.drop(columns="password", errors="ignore"), all_issues, told
