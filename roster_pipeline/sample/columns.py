"""Text columns made whole columns at a time: picking, joining, numbering, making unique.

Everything is an Arrow array of strings, because a Python loop over the rows of a big district
takes longer than everything else together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.roster import TEXT

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Days: TypeAlias = npt.NDArray[np.datetime64]
Text: TypeAlias = "pa.Array[Any]"


def words(values: Iterable[str | None]) -> Text:
    """A text array of these values."""
    return pa.array(list(values), pa.string())


def pick(options: Text | Sequence[str], positions: Ints) -> Text:
    """`options[position]` for each position; a negative position picks nothing (null)."""
    array: Text = options if isinstance(options, pa.Array) else words(options)
    picked: Text = array.take(pa.array(positions, pa.int64(), mask=positions < 0))
    return picked


def numbers(values: Ints, width: int = 0) -> Text:
    """The numbers as text, with leading zeros up to `width`."""
    text: Text = pa.array(values, pa.int64()).cast(pa.string())
    padded: Text = pc.utf8_lpad(text, width, "0")
    return padded


def dates(days: Days) -> Text:
    """The days as `YYYY-MM-DD`."""
    written: Text = pa.array(days.astype("datetime64[D]")).cast(pa.string())
    return written


def booleans(values: Bools) -> Text:
    """`true` and `false`, as the standard writes them."""
    return pick(("false", "true"), values.astype(np.int64))


def join(*parts: Text | str) -> Text:
    """The parts of each row, one after the other; null where any part is null."""
    return _joined(parts, "", "emit_null")


def listed(*parts: Text) -> Text:
    """The parts of each row that are not null, with commas between: a OneRoster list."""
    return _joined(parts, ",", "skip")


def _joined(parts: Iterable[Any], between: Any, null_handling: Any) -> Text:
    joined: Text = pc.binary_join_element_wise(*parts, between, null_handling=null_handling)
    return joined


def where(mask: Bools, yes: Text, no: Text | None = None) -> Text:
    """`yes` where the mask holds, else `no`, else null."""
    other = pa.scalar(None, pa.string()) if no is None else no
    chosen: Text = pc.if_else(pa.array(mask), yes, other)
    return chosen


def stacked(*parts: Text) -> Text:
    """The arrays one under the other."""
    return pa.concat_arrays(parts)


def numbered_apart(texts: Text) -> Text:
    """The texts, made unique: the second of its kind gets a `2` at its end, and so on.

    Unique as long as no text ends with a digit itself.
    """
    series = pd.Series(texts.dictionary_encode().indices.to_numpy())
    nth = series.groupby(series).cumcount().to_numpy()
    return join(texts, where(nth > 0, numbers(1 + nth.astype(np.int64)), words([""] * len(texts))))


def frame(file: str, columns: Mapping[str, Text]) -> pd.DataFrame:
    """A frame with all columns of a OneRoster 1.1 file in its order; those not given are null."""
    length = len(next(iter(columns.values())))
    headers = VERSIONS["1.1"].files[file].headers
    unknown = set(columns) - set(headers)
    if unknown:
        raise KeyError(f"{file}.csv has no column {', '.join(sorted(unknown))}")
    blank = pa.nulls(length, pa.string())
    return pd.DataFrame(
        {name: pd.Series(columns.get(name, blank), dtype=TEXT) for name in headers}, copy=False
    )


def ranks(*keys: Ints) -> Ints:
    """The place (from 0) of each row among the rows with equal keys, in row order."""
    _, group = unique_groups(*keys)
    order = np.argsort(group, kind="stable")
    grouped = group[order]
    starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(grouped) else order
    place = np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))
    result = np.empty(len(group), np.int64)
    result[order] = place
    return result


def unique_groups(*keys: Ints) -> tuple[Ints, Ints]:
    """The first row of each distinct combination of keys, in key order, and each row's group."""
    combined = keys[0].astype(np.int64)
    for key in keys[1:]:
        combined = combined * (int(key.max(initial=0)) + 1) + key
    _, first, group = np.unique(combined, return_index=True, return_inverse=True)
    return first.astype(np.int64), group.astype(np.int64)
