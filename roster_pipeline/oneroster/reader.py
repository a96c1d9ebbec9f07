"""Reads one data file: its header, its values, and which of its rows are records.

The rules are the standard's (OneRoster CSV binding, data types and file tables): a required value
that cannot be read makes the record invalid, an optional one is dropped and told; an id stands for
one record of its file. What a record means to us is decided later, in the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.oneroster.manifest import Mode
from roster_pipeline.oneroster.package import Limits
from roster_pipeline.oneroster.standard import GRADES, VERSIONS, Column, FileSpec, Version
from roster_pipeline.oneroster.text import Rows, read_rows
from roster_pipeline.oneroster.values import arrow_type, read_column
from roster_pipeline.roster import INTEGER, TEXT, first_element

KIND_COLUMN = {"users": "role", "orgs": "type", "roles": "role"}
"""The column that says what a row of the file is."""
ORG_COLUMN = {
    "orgs": "sourcedId",
    "users": "orgSourcedIds",
    "courses": "orgSourcedId",
    "classes": "schoolSourcedId",
    "enrollments": "schoolSourcedId",
}
"""The column that says which school a row belongs to."""
REJECTED_COLUMNS = ("row", "sourcedId", "kind", "org", "outcome")
TOLD_COLUMNS = ("row", "sourcedId", "kind", "org", "code", "field", "allowed")
_GONE = ("tobedeleted", "inactive")
_NOT_READ = ("", "row", "file", "enrollment_type")
"""Columns without a header, and those whose names the frames have for themselves."""


@dataclass(frozen=True)
class FileReading:
    """One data file as read.

    frame: the records. Columns: those of the file's version by their newest name (null where the
        file lacks an optional one), `metadata.*` and other columns as text, `row` (header is 1).
    rejected: the rows that are no records. Columns: row, sourcedId (null when not readable), kind
        (users: role, orgs: type, as far as readable), org (the first), outcome: invalid,
        duplicate, or removed where the row says so itself.
    told: what is to be told of single rows. Columns: as `rejected` with code, field and allowed
        (what the field may hold, in words) instead of the outcome.
    findings: what is to be told of the file.
    """

    name: str
    frame: pd.DataFrame
    rejected: pd.DataFrame
    told: pd.DataFrame
    findings: tuple[Finding, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows arrived, records or not."""
        return len(self.frame) + len(self.rejected)


def read_file(
    name: str, content: bytes, version: Version, mode: Mode, limits: Limits
) -> FileReading:
    """Read one data file of a package.

    Raises DeliveryRefused when the file as a whole cannot be trusted.
    """
    file = f"{name}.csv"
    rows = read_rows(file, content, limits)
    known = _names_of_headers(name)
    columns = [known.get(header.lower(), header) for header in rows.header]
    named = [place for place, column in enumerate(columns) if column not in _NOT_READ]
    header, read = [rows.header[n] for n in named], [columns[n] for n in named]
    spec, told = _check_header(file, name, version, header, read)
    if "" in columns:
        told.append(finding("column_unnamed", file=file, row=1, count=columns.count("")))
    everything = rows.table.select([*named, len(columns)]).rename_columns([*read, "row"])
    table = _without_headers(everything, header[read.index("sourcedId")])
    if repeats := everything.num_rows - table.num_rows:
        told.append(finding("header_repeated", file=file, count=repeats))
    if len(rows.ragged) * 2 > table.num_rows + len(rows.ragged):
        count = table.num_rows + len(rows.ragged)
        fatal = finding("file_mostly_ragged", file=file, count=len(rows.ragged), rows=count)
        raise DeliveryRefused([fatal])
    if not table.num_rows and not rows.ragged:
        told.append(finding("file_without_rows", file=file))
    needed = ("status",) if mode == "delta" else ()
    typed = _Typed.of(file, spec, table, limits, needed)
    reading = _settle(name, spec, typed, rows, columns, mode)
    findings = (*rows.findings, *told, *typed.findings, *reading.findings)
    return FileReading(name, reading.frame, reading.rejected, reading.told, findings)


def _without_headers(table: pa.Table, header: str) -> pa.Table:
    """The table without rows that say again what its columns are called."""
    repeats = pc.fill_null(pc.equal(pc.ascii_lower(table["sourcedId"]), header.lower()), False)
    return table.filter(pc.invert(repeats)) if pc.any(repeats).as_py() else table


def _names_of_headers(name: str) -> dict[str, str]:
    """Every header any version gives a column of this file, in lower case, to our name of it."""
    return {
        header.lower(): column.name
        for version in VERSIONS.values()
        if name in version.files
        for column in version.files[name].columns
        for header in (column.name, column.written)
    }


def _missing(spec: FileSpec, columns: Sequence[str], *, required: bool) -> list[str]:
    return [c.written for c in spec.columns if c.required is required and c.name not in columns]


def _check_header(
    file: str, name: str, version: Version, header: list[str], columns: list[str]
) -> tuple[FileSpec, list[Finding]]:
    """The version's table that fits a file's header, and what is to be told of the header."""
    claimed = version.files[name]
    others = [v for v in VERSIONS.values() if v is not version and name in v.files]
    if name == "users":
        # A file without roles is none of 1.2 by itself; see `delivery` for when it is.
        others = [v for v in others if "roles" not in v.files]
    fitting = [v for v in (version, *others) if not _missing(v.files[name], columns, required=True)]
    if not fitting:
        words = {
            "missing": ", ".join(_missing(claimed, columns, required=True)),
            "found": _some(header)
            if set(columns) & set(_names_of_headers(name).values())
            else _NONE,
        }
        raise DeliveryRefused([finding("header_missing", file=file, row=1, **words)])
    doubled = next((c for c in columns if columns.count(c) > 1), None)
    if doubled is not None:
        raise DeliveryRefused([finding("header_doubled", file=file, row=1, field=doubled)])
    used = fitting[0]
    spec = used.files[name]
    told = []
    if used is not version:
        words = {"used": used.name, "claimed": version.name}
        told.append(finding("header_of_other_version", file=file, row=1, **words))
    absent = _missing(spec, columns, required=False)
    if absent:
        told.append(finding("column_missing", file=file, row=1, missing=", ".join(absent)))
    written = {c.name: c.written for c in spec.columns}
    odd = [
        f"{h} for {written[c]}"
        for h, c in zip(header, columns, strict=True)
        if c in written and h != written[c]
    ]
    if odd:
        told.append(finding("header_spelling", file=file, row=1, found=", ".join(odd)))
    order = [c for c in columns if c in written]
    if order != [c for c in written if c in order] or columns[: len(order)] != order:
        told.append(finding("header_order", file=file, row=1))
    return spec, told


_NONE = "none of the standard's"
"""Said of a header that may well be a row of data, which is not to be repeated in a message."""


def _some(words: list[str]) -> str:
    shown = ", ".join(word[:40] for word in words[:12])
    return shown + (" …" if len(words) > 12 else "")


@dataclass(frozen=True)
class _Typed:
    """A table with each column read as its kind.

    invalid, dropped: by header, the row numbers whose required (optional) value was unreadable.
    """

    frame: pd.DataFrame
    invalid: dict[str, pd.Series[int]]
    dropped: dict[str, pd.Series[int]]
    too_long: pd.Series[int]
    findings: list[Finding]

    @classmethod
    def of(
        cls, file: str, spec: FileSpec, table: pa.Table, limits: Limits, needed: Sequence[str]
    ) -> _Typed:
        """needed: columns that are to be treated like required ones here."""
        too_long = _too_long(table, limits)
        rows = table["row"].combine_chunks()
        typed: dict[str, pa.Array] = {}
        bad: dict[bool, dict[str, pd.Series[int]]] = {True: {}, False: {}}
        findings: list[Finding] = []
        for column in spec.columns:
            if column.name not in table.column_names:
                typed[column.name] = pa.nulls(table.num_rows, arrow_type(column))
                continue
            read = read_column(column, table[column.name].combine_chunks())
            typed[column.name] = read.values
            unreadable = rows.filter(read.unreadable)
            if len(unreadable):
                required = column.required or column.name in needed
                bad[required][column.name] = pd.Series(unreadable.to_pandas())
            if read.normalised:
                words = {"field": column.written, "count": read.normalised}
                findings.append(finding("values_normalised", file=file, **words))
        # A password never leaves the archive.
        others = {n: table[n] for n in table.column_names if n not in typed}
        frame = pa.table({**typed, **others}).to_pandas(types_mapper=pd.ArrowDtype)
        frame = frame.drop(columns="password", errors="ignore")
        return cls(frame, bad[True], bad[False], too_long, findings)


def _too_long(table: pa.Table, limits: Limits) -> pd.Series[int]:
    """Numbers of the rows with a field, or in all, of more bytes than allowed."""
    columns = [table[name].combine_chunks() for name in table.column_names if name != "row"]
    longest = [pc.max(pc.binary_length(column)).as_py() or 0 for column in columns]
    if max(longest, default=0) <= limits.field_bytes and sum(longest) <= limits.row_bytes:
        return pd.Series(dtype="int64")
    lengths = [pc.fill_null(pc.binary_length(column), 0).to_numpy() for column in columns]
    over = sum(lengths) > limits.row_bytes
    for length in lengths:
        over |= length > limits.field_bytes
    return pd.Series(table["row"].to_numpy()[over], dtype="int64")


def _settle(
    name: str, spec: FileSpec, typed: _Typed, rows: Rows, columns: list[str], mode: Mode
) -> FileReading:
    """Tell records from rows that are none."""
    frame, number = typed.frame, typed.frame["row"]
    ragged = _ragged(name, rows.ragged, columns)
    status = frame["status"].astype(TEXT)
    gone = status.isin(_GONE) & frame["sourcedId"].notna()
    kind = KIND_COLUMN.get(name)
    long = number.isin(typed.too_long) & ~gone
    unread = {h: number.isin(bad) & ~gone & ~long for h, bad in typed.invalid.items()}
    nobody = pd.Series(False, index=frame.index)
    unreadable = nobody.copy()
    for mask in unread.values():
        unreadable |= mask
    nameless = frame["sourcedId"].isna() & ~unreadable & ~long
    kindless = nobody if kind not in frame else frame[kind].isna() & ~unreadable & ~gone & ~long
    reversed_ = _reversed(frame) & ~gone & ~long & ~unreadable
    sessions = name == "academicSessions"
    invalid = long | unreadable | nameless | kindless | (reversed_ & sessions)
    repeated, conflicting = _repeats(frame, invalid | gone)
    undecided = _both(frame["sourcedId"], gone, ~gone & ~invalid)
    conflicting |= undecided
    repeated &= ~undecided
    gone &= ~undecided

    notes = _Notes(name, frame)
    written = {c.name: c for c in spec.columns}
    notes.add("row_ragged", ragged)
    notes.add("row_overwide", number.isin(rows.overwide))
    notes.add("field_too_long", long)
    notes.add("source_id_missing", nameless, written["sourcedId"])
    if kind in written:
        notes.add("value_missing", kindless, written[kind])
    for header, mask in unread.items():
        notes.add("value_unreadable", mask, written[header])
    for header, bad in typed.dropped.items():
        notes.add("value_dropped", number.isin(bad) & ~gone & ~long, written[header])
    notes.add("dates_reversed", reversed_ & sessions)
    notes.add("dates_dropped", reversed_ & (not sessions))
    notes.add("record_repeated", repeated)
    notes.add("source_id_repeated", conflicting, written["sourcedId"])
    findings = []
    if mode == "bulk":
        notes.add("removed_in_bulk", gone, written["status"])
        actives = int((status == "active").sum())
        if actives:
            findings.append(finding("status_in_bulk", file=f"{name}.csv", count=actives))
    elif status.isna().any():
        count = int(status.isna().sum())
        findings.append(finding("status_missing", file=f"{name}.csv", count=count))

    rejected = [
        ragged.assign(outcome="invalid"),
        _briefly(name, frame.loc[invalid]).assign(outcome="invalid"),
        _briefly(name, frame.loc[repeated | conflicting]).assign(outcome="duplicate"),
        _briefly(name, frame.loc[gone]).assign(outcome="removed"),
    ]
    if reversed_.any() and not sessions:
        frame = frame.assign(endDate=frame["endDate"].where(~reversed_))
    left = frame.loc[~(invalid | repeated | conflicting | gone)].reset_index(drop=True)
    return FileReading(
        name,
        left,
        _concat(rejected, REJECTED_COLUMNS),
        _concat(notes.told, TOLD_COLUMNS),
        tuple(findings),
    )


class _Notes:
    """Collects what is to be told of a file's rows."""

    def __init__(self, name: str, frame: pd.DataFrame) -> None:
        self.name = name
        self.frame = frame
        self.told: list[pd.DataFrame] = []

    def add(
        self, code: str, rows: pd.Series[bool] | pd.DataFrame, column: Column | None = None
    ) -> None:
        """One note of a code for each row under a mask, or for each of the rows given."""
        if not len(rows) or (isinstance(rows, pd.Series) and not rows.any()):
            return
        brief = rows if isinstance(rows, pd.DataFrame) else _briefly(self.name, self.frame[rows])
        field, allowed = (column.written, allowed_in(column)) if column else (None, None)
        constant = {"code": code, "field": field, "allowed": allowed}
        words = {k: pd.Series(v, brief.index, dtype=TEXT) for k, v in constant.items()}
        self.told.append(brief.assign(**words))


def _briefly(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """What identifies rows of a file: columns row, sourcedId, kind, org."""
    blank = pd.Series(pd.NA, frame.index, dtype=TEXT)
    kind, org = KIND_COLUMN.get(name, ""), ORG_COLUMN.get(name, "")
    return pd.DataFrame(
        {
            "row": frame["row"],
            "sourcedId": frame["sourcedId"],
            "kind": frame.get(kind, blank),
            "org": first_element(frame[org]) if org in frame else blank,
        }
    )


def _concat(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    full = [
        part.astype({c: INTEGER if c == "row" else TEXT for c in columns})[list(columns)]
        for part in parts
        if len(part)
    ]
    if full:
        return pd.concat(full, ignore_index=True)
    return pd.DataFrame({c: pd.Series([], dtype=INTEGER if c == "row" else TEXT) for c in columns})


def _ragged(name: str, ragged: list[tuple[int, list[str]]], columns: list[str]) -> pd.DataFrame:
    """What can be known of rows that do not fit the header: their id, kind and org by position."""

    def at(column: str) -> pd.Series[str]:
        place = columns.index(column) if column in columns else len(columns)
        values = [f[place].strip() or None if place < len(f) else None for _, f in ragged]
        return pd.Series(values, dtype=TEXT)

    return pd.DataFrame(
        {
            "row": pd.Series([row for row, _ in ragged], dtype=INTEGER),
            "sourcedId": at("sourcedId"),
            "kind": at(KIND_COLUMN.get(name, "")),
            "org": first_element(at(ORG_COLUMN.get(name, ""))),
        }
    )


def _reversed(frame: pd.DataFrame) -> pd.Series[bool]:
    """Records that end before they begin."""
    begin = next((c for c in ("startDate", "beginDate") if c in frame), None)
    if begin is None or "endDate" not in frame or frame[[begin, "endDate"]].isna().all().any():
        return pd.Series(False, index=frame.index)
    return (frame["endDate"] < frame[begin]).fillna(False).astype(bool)


def _repeats(
    frame: pd.DataFrame, aside: pd.Series[bool]
) -> tuple[pd.Series[bool], pd.Series[bool]]:
    """Which rows say exactly what an earlier row says, and which share an id and differ."""
    ids = frame["sourcedId"].where(~aside)
    shared = ids.notna() & ids.duplicated(keep=False)
    repeated = pd.Series(False, index=frame.index)
    conflicting = repeated.copy()
    if not shared.any():
        return repeated, conflicting
    repeated.loc[shared] = frame.loc[shared].drop(columns="row").duplicated()
    distinct = ids.loc[shared & ~repeated]
    conflicting.loc[distinct.index] = distinct.duplicated(keep=False)
    conflicting |= repeated & ids.isin(ids[conflicting])
    return repeated & ~conflicting, conflicting


def _both(ids: pd.Series[str], some: pd.Series[bool], others: pd.Series[bool]) -> pd.Series[bool]:
    """Rows of either kind whose id also has a row of the other kind."""
    shared = set(ids[some]).intersection(ids[others]) if some.any() else set()
    return ids.isin(shared) & (some | others)


def allowed_in(column: Column) -> str | None:
    """What a column may hold, in words; None where anything may stand."""
    if column.name == "grades":
        return "grade levels: " + ", ".join(GRADES)
    if column.vocabulary:
        return "one of " + ", ".join(column.vocabulary)
    return {
        "date": "a day of the calendar as YYYY-MM-DD",
        "datetime": "a moment as YYYY-MM-DDThh:mm:ss.sssZ",
        "year": "the year in which the school year ends, as YYYY",
        "guid": "1 to 255 of the characters 0-9 A-Z a-z . - _ / @",
    }.get(column.kind)
