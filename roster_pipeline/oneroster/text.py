"""From bytes to rows: encodings, the CSV dialect, and where in the file each record stands.

Told, never fatal, is what concerns one row: too few or too many fields. Fatal is what makes the
whole file doubtful: bytes that are no text, a quote that is never closed, a cut in the middle of a
record.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.oneroster.package import Limits

_BLOCK_BYTES = 8 << 20
_HEADER_BYTES = 1 << 16
_LONGEST_FIELD = (1 << 31) - 1
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_LINE_END = re.compile(rb"\r\n?|\n")
Fields = list[str]


@dataclass(frozen=True)
class Rows:
    """A CSV file taken apart.

    table: the records as trimmed text columns, null where blank, named by position, and `row`
        (the header is 1). Empty rows are not in it.
    header: the header row, trimmed.
    ragged: rows that do not fit the header, each with its fields.
    overwide: numbers of the rows whose fields beyond the header are blank; they are in the table.
    findings: what was odd about the file.
    """

    table: pa.Table
    header: Fields
    ragged: list[tuple[int, Fields]]
    overwide: list[int]
    findings: list[Finding]


def read_rows(file: str, content: bytes, limits: Limits) -> Rows:
    """Take a CSV file apart. Raises DeliveryRefused when it cannot be trusted as a whole."""
    if not content or content.isspace():
        _refuse("file_empty", file)
    text, told = to_utf8(file, content)
    if not text or text.isspace():
        _refuse("file_empty", file)
    at = text.find(b"\x00")
    if at >= 0:
        _refuse("nul_byte", file, text.count(b"\n", 0, at) + 1)
    first = _LINE_END.search(text)
    if first is None:
        text += b"\n"
    elif b"\n" not in text:
        text = text.replace(b"\r", b"\n")
        told.append(finding("line_ends_cr", file=file))
    header = _names(text[: first.start() if first else -1].decode())
    if len(header) > limits.columns:
        _refuse("columns_too_many", file, 1, limit=limits.columns)
    table, ragged, overwide = _parse_trusted(file, text, header)
    if table.num_rows > limits.rows:
        _refuse("rows_too_many", file, limit=f"{limits.rows:,}")
    columns = [_trimmed(table[name]) for name in table.column_names[:-1]]
    table = pa.table([*columns, table["row"]], names=table.column_names)
    holds = _not_blank(columns)
    table = table if pc.all(holds).as_py() else table.filter(holds)
    return Rows(table, header, ragged, overwide, told)


def _refuse(code: str, file: str, row: int | None = None, **words: object) -> NoReturn:
    raise DeliveryRefused([finding(code, file=file, row=row, **words)])


def _csv(lines: Iterable[str], *, strict: bool = False) -> Iterator[Fields]:
    """Python's CSV reader, which is slow and exact; how long a field may be is not its business."""
    csv.field_size_limit(_LONGEST_FIELD)
    return csv.reader(lines, strict=strict)


def csv_lines(text: str) -> Iterator[Fields]:
    """The rows of a small file, whatever ends its lines."""
    return _csv(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _names(line: str) -> Fields:
    """The names in a header row; one blank name when it is blank."""
    return [name.strip() for name in next(_csv([line]), [])] or [""]


def header_of(content: bytes) -> Fields:
    """The header row of a file, for a first look at a file that is not read yet."""
    head = content[:_HEADER_BYTES]
    encoding = "utf-16" if head.startswith(_UTF16_BOMS) else "utf-8-sig"
    return _names(re.split(r"[\r\n]", head.decode(encoding, "replace"), maxsplit=1)[0])


def to_utf8(file: str, content: bytes) -> tuple[bytes, list[Finding]]:
    """The file as UTF-8 without a byte order mark, and what was odd about its encoding."""
    try:
        if content.startswith(_UTF16_BOMS):
            return content.decode("utf-16").encode(), [finding("encoding_utf16", file=file)]
        content.decode()
        return content.removeprefix(_UTF8_BOM), []
    except UnicodeDecodeError:
        pass
    try:
        text = content.removeprefix(_UTF8_BOM).decode("cp1252").encode()
        return text, [finding("encoding_cp1252", file=file)]
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DeliveryRefused([finding("encoding_unknown", file=file, row=row)]) from error


Parsed = tuple[pa.Table, list[tuple[int, Fields]], list[int]]


def _parse_trusted(file: str, text: bytes, header: Fields) -> Parsed:
    """The rows, once it is certain that no quote is left open.

    Quotes in pairs, and as many rows as lines, are certainty enough. Else it is a rare file (a
    value with a line break, a quote in the middle of a value, or one that is never closed) and
    worth a slow reader first.
    """
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if text.count(b'"') % 2 == 0:
        parsed = _parse(file, text, header, lines=lines)
        if parsed is not None:
            return parsed
    _check_quotes(file, text)
    parsed = _parse(file, text, header, lines=None)
    if parsed is None:
        _refuse("row_too_long", file)
    return parsed


def _check_quotes(file: str, text: bytes) -> None:
    """Refuse a file with a quote that is not closed where it should be."""
    reader = _csv(io.StringIO(text.decode(), newline=""), strict=True)
    row = 1
    try:
        for row, _ in enumerate(reader, start=2):  # noqa: B007
            pass
    except csv.Error as error:
        last = text.rstrip().count(b"\n") + 1
        code = "record_incomplete" if row == last else "quote_unclosed"
        raise DeliveryRefused([finding(code, file=file, row=row)]) from error


def _parse(file: str, text: bytes, header: Fields, *, lines: int | None) -> Parsed | None:
    """The records with their row numbers, the rows that do not fit, and the overwide ones.

    lines: how many rows there must be, header included, when no value may span lines; None when
    one may. Returns None when they are not as many, or a row is too long to be read.
    """
    names = [str(place) for place in range(len(header))]
    misfits = 0
    ragged: list[tuple[int, Fields]] = []
    overwide: list[tuple[int, Fields]] = []
    blank: list[int] = []

    def count(row: pacsv.InvalidRow) -> str:
        nonlocal misfits
        misfits += 1
        return "skip"

    def note(row: pacsv.InvalidRow) -> str:
        fields = next(_csv([row.text]))
        beyond = fields[len(header) :]
        if not any(value.strip() for value in fields):
            blank.append(row.number)
        elif beyond and not any(value.strip() for value in beyond):
            overwide.append((row.number, fields[: len(header)]))
        else:
            ragged.append((row.number, fields))
        return "skip"

    multi_line = lines is None
    table = _read_csv(text, names, multi_line, count, use_threads=True)
    if table is None or lines not in (None, table.num_rows + misfits + 1):
        return None
    if misfits:
        # Row numbers are known to one thread only, so the file is read again; it is the rare case.
        table = _read_csv(text, names, multi_line, note, use_threads=False)
        assert table is not None
    _check_end(file, text, table.num_rows + misfits + 1, header, ragged)
    misfit_rows = np.array([*blank, *(row for row, _ in (*ragged, *overwide))], dtype=np.int64)
    rows = np.delete(np.arange(2, table.num_rows + misfits + 2), misfit_rows - 2)
    table = table.append_column("row", pa.array(rows, pa.int64()))
    if overwide:
        cut = [list(values) for values in zip(*(fields for _, fields in overwide), strict=True)]
        arrays = [pa.array(values, pa.string()) for values in cut]
        numbers = pa.array([row for row, _ in overwide], pa.int64())
        table = pa.concat_tables([table, pa.table([*arrays, numbers], names=[*names, "row"])])
        table = table.sort_by("row")
    return table, ragged, [row for row, _ in overwide]


def _read_csv(
    text: bytes,
    names: Fields,
    multi_line: bool,
    handler: Callable[[pacsv.InvalidRow], str],
    *,
    use_threads: bool,
) -> pa.Table | None:
    """The rows that fit, as text; None when a row is longer than the reader's blocks, or a value
    spans lines though none may."""
    try:
        return pacsv.read_csv(
            pa.py_buffer(text),
            pacsv.ReadOptions(
                use_threads=use_threads, column_names=names, skip_rows=1, block_size=_BLOCK_BYTES
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
    except pa.ArrowInvalid:
        # Its message would quote the row.
        return None


def _check_end(
    file: str, text: bytes, last_row: int, header: Fields, ragged: list[tuple[int, Fields]]
) -> None:
    """A last line without line end that has too few fields is a file cut in the middle."""
    if ragged and not text.endswith((b"\n", b"\r")):
        row, fields = ragged[-1]
        if row == last_row and len(fields) < len(header):
            _refuse("record_incomplete", file, row)


def _trimmed(column: pa.ChunkedArray) -> pa.Array:
    """A column without blanks around its values, null where nothing is left."""
    trimmed = pc.utf8_trim_whitespace(column.combine_chunks())
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _not_blank(columns: list[pa.Array]) -> pa.Array:
    """Which rows hold a value. Empty lines and rows of commas only are no records (Excel leaves
    them behind)."""
    holds = pc.is_valid(columns[0])
    for column in columns[1:]:
        if pc.all(holds).as_py():
            break
        holds = pc.or_(holds, pc.is_valid(column))
    return holds
