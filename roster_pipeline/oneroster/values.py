"""Reads single values as the standard defines them: dates, booleans, vocabularies, grades, ids.

Strict about meaning, tolerant about form (design rule 4.3): `9` is grade `09`, `TRUE` is `true`,
`Scheduled` is `scheduled`; what cannot be known is not guessed but given back as unreadable.
Each column is read through its distinct values, so that a column of a million rows with twenty
grades costs twenty readings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from roster_pipeline.oneroster.standard import GRADES, Column

SOURCED_ID = r"^[0-9A-Za-z./@_-]{1,255}$"
"""OneRoster 1.2, data type GUID: fewer than 256 of these characters."""

_TRUE = {"true": "true", "false": "false", "yes": "true", "no": "false", "1": "true", "0": "false"}
_GRADE_WORDS = {
    **{grade.lower(): grade for grade in GRADES},
    "k": "KG",
    "kinder": "KG",
    "kindergarten": "KG",
    "0": "KG",
    "00": "KG",
    "-1": "PK",
    "-2": "PK",
    "prek": "PK",
    "pre-k": "PK",
    "prekindergarten": "PK",
    "transitional kindergarten": "TK",
    **{str(n): f"{n:02d}" for n in range(1, 14)},
}
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})([T ].*)?$")
_YEAR = re.compile(r"(\d{4})$")
_YEARS = re.compile(r"(\d{4})\s*[-/]\s*(\d{4}|\d{2})$")


@dataclass(frozen=True)
class ReadColumn:
    """A column after reading.

    values: text, date32 or bool. unreadable: true where a value was there and could not be read
    (the value is then null). normalised: how many values were put into the standard's form.
    """

    values: pa.Array
    unreadable: pa.Array
    normalised: int


_ARROW_TYPES = {"date": pa.date32(), "boolean": pa.bool_()}


def arrow_type(column: Column) -> pa.DataType:
    """What the values of a column are after reading."""
    return _ARROW_TYPES.get(column.kind, pa.string())


Reader = Callable[[str], str | None]
_ARROW_TYPES = {"date": pa.date32(), "boolean": pa.bool_()}
_FEW_DISTINCT_LISTS = ("grades", "orgSourcedIds")


def _read_date(value: str) -> str | None:
    match = _DATE.match(value)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    except ValueError:
        return None


def _read_year(value: str) -> str | None:
    if _YEAR.match(value):
        return value
    span = _YEARS.match(value)
    if span is None:
        return None
    start, end = int(span[1]), int(span[2])
    end = end if end > 99 else start // 100 * 100 + end
    return str(end) if end == start + 1 else None


def read_grade(value: str) -> str | None:
    """A grade level in CEDS form, or None when the word is not known."""
    return _GRADE_WORDS.get(value.strip().lower())


def _enum_reader(column: Column) -> Reader:
    words = {word.lower(): word for word in column.vocabulary}

    def read(value: str) -> str | None:
        known = words.get(value.lower())
        if known is None and column.extensible and value.startswith("ext:"):
            return value
        return known

    return read


def _read_grades(value: str) -> str | None:
    """All elements of a list of grades, or None when one of them is unknown."""
    read = [read_grade(part) for part in value.split(",") if part.strip()]
    return ",".join(dict.fromkeys(g for g in read if g)) if read and all(read) else None


def _read_orgs(value: str) -> str | None:
    """A list of ids, each once: some systems name a guardian's school once for each child."""
    ids = (part.strip() for part in value.split(","))
    return ",".join(dict.fromkeys(i for i in ids if i)) or None


def _reader_for(column: Column) -> Reader | None:
    if column.kind == "list":
        return _read_grades if column.name == "grades" else _read_orgs
    readers: dict[str, Reader] = {
        "date": _read_date,
        "boolean": lambda value: _TRUE.get(value.lower()),
        "year": _read_year,
        "enum": _enum_reader(column),
    }
    return readers.get(column.kind)


def _read_list(text: pa.Array) -> ReadColumn:
    """Lists of ids and words are often distinct in every row, so they are tidied in one pass."""
    tidy = pc.utf8_trim(pc.replace_substring_regex(text, r"[\s,]*,[\s,]*", ","), characters=",")
    tidy = pc.if_else(pc.equal(tidy, ""), pa.scalar(None, pa.string()), tidy)
    changed = pc.fill_null(pc.not_equal(tidy, text), False)
    return ReadColumn(tidy, pa.repeat(False, len(text)), int(pc.sum(changed).as_py() or 0))


def read_column(column: Column, text: pa.Array) -> ReadColumn:
    """Read a column of trimmed texts (null where blank) as its kind says."""
    nowhere = pa.repeat(False, len(text))
    if text.null_count == len(text):
        return ReadColumn(
            pa.nulls(len(text), _ARROW_TYPES.get(column.kind, pa.string())), nowhere, 0
        )
    if column.kind == "guid":
        unreadable = pc.fill_null(pc.invert(pc.match_substring_regex(text, SOURCED_ID)), False)
        return ReadColumn(pc.if_else(unreadable, pa.scalar(None, pa.string()), text), unreadable, 0)
    if column.kind == "list" and column.name not in _FEW_DISTINCT_LISTS:
        return _read_list(text)
    reader = _reader_for(column)
    if reader is None:
        return ReadColumn(text, nowhere, 0)
    encoded = text.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    read = [reader(value) for value in distinct]
    values = pa.array(read, pa.string()).take(encoded.indices)
    unreadable = pc.and_(pc.is_valid(text), pc.is_null(values))
    changed = pa.array(
        [new is not None and new != old for old, new in zip(distinct, read, strict=True)],
        pa.bool_(),
    )
    normalised = int(pc.sum(changed.take(encoded.indices)).as_py() or 0)
    if column.kind == "date":
        values = pc.cast(values, pa.date32())
    elif column.kind == "boolean":
        values = pc.equal(values, "true")
    return ReadColumn(values, unreadable, normalised)
