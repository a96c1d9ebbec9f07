"""What became of each record of an import, kept beside the reports, by import: ids, files, rows and
outcomes, nothing of the records' content. `trace` and `roster records` read it, the report its
beginnings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection

from roster_pipeline.roster import ENDED_COLUMNS, REJECTED_OUTCOMES, TEXT, ended_records
from roster_pipeline.stages.plan import SyncPlan
from roster_pipeline.warehouse import ledger, results

ROWS_OF_A_GROUP = 50_000
"""So many rows are read whole to get at one."""


def save_outcomes(
    reports: Path, district_id: str, import_id: int, plan: SyncPlan, ended: pd.DataFrame
) -> None:
    """Keep the outcome of each received record, and of those that are deleted or kept. ended: those
    that ended before the plan, columns ENDED_COLUMNS."""
    planned = [
        ended_records(name, frame, "").assign(outcome=frame["outcome"])
        for name, frame in plan.changes.items()
    ]
    missing = [plan.deleted.assign(outcome="deleted"), plan.kept.assign(outcome="kept")]
    rows = pd.concat([*planned, ended, *missing], ignore_index=True)[list(ENDED_COLUMNS)]
    path = _path(reports, district_id, import_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    rows.astype({"outcome": TEXT}).to_parquet(
        beside,
        compression="zstd",
        use_dictionary=False,
        index=False,
        row_group_size=ROWS_OF_A_GROUP,
    )
    beside.replace(path)


def records_of(
    conn: Connection,
    reports: Path,
    imported: ledger.Import,
    *,
    enrollment_type: str | None = None,
    outcome: str | None = None,
    school: str | None = None,
    source_id: str | None = None,
) -> pd.DataFrame:
    """The records behind an import's counts, narrowed as asked, in the order in which they were
    kept: by type those that went on, then those that ended before; columns ENDED_COLUMNS.

    One that ended as `unchanged` has none of its own: they are those of the import it repeats, as
    `results.repeat_books` counts them. No rows when they are not kept, as of an undo.
    """
    repeats = imported.status == "unchanged"
    wanted = {
        "enrollment_type": enrollment_type,
        "outcome": None if repeats else outcome,
        "school": school,
    }
    filters = [(name, "=", value) for name, value in wanted.items() if value is not None]
    path = _path(reports, imported.district_id, _kept_with(conn, imported))
    if not path.exists():
        return pd.DataFrame(columns=list(ENDED_COLUMNS))
    if source_id is None:
        found = _frame(pq.read_table(path, filters=filters or None))
    else:
        ids = pq.read_table(path, columns=["source_id"])["source_id"]
        found = _rows(path, np.flatnonzero(pc.equal(ids, source_id).to_numpy()))
        for name, _, value in filters:
            found = found.loc[found[name] == value]
    if repeats:
        found = _repeated(found)
        found = found if outcome is None else found.loc[found["outcome"] == outcome]
    return found.reset_index(drop=True)


def first_records(
    conn: Connection,
    reports: Path,
    imported: ledger.Import,
    each: int,
    schools: Sequence[str],
) -> pd.DataFrame:
    """The first records, as they are kept, of each enrollment type and outcome and, of those that
    were left out or deleted, of each of these schools; at most `each` of one. Columns
    ENDED_COLUMNS."""
    path = _path(reports, imported.district_id, _kept_with(conn, imported))
    if not path.exists():
        return pd.DataFrame(columns=list(ENDED_COLUMNS))
    table = pq.read_table(path, columns=["enrollment_type", "outcome", "school"])
    of_kinds = _first([_numbers(table[name]) for name in ("enrollment_type", "outcome")], each)
    gone = pc.is_in(table["outcome"], pa.array([*REJECTED_OUTCOMES, "deleted"]))
    shown = pc.is_in(table["school"], pa.array(schools, pa.string()))
    places = np.flatnonzero(pc.and_(gone, shown).to_numpy())
    of_schools = places[_first([_numbers(table["school"].take(places))], each)]
    rows = _rows(path, np.unique(np.concatenate([of_kinds, of_schools])))
    return _repeated(rows) if imported.status == "unchanged" else rows


def _kept_with(conn: Connection, imported: ledger.Import) -> int:
    """The import whose records are those of this one."""
    if imported.status != "unchanged":
        return imported.id
    return ledger.state_before(conn, imported.district_id, imported.id) or imported.id


def _repeated(records: pd.DataFrame) -> pd.DataFrame:
    """Records of an import as one that repeats it has them."""
    left = records.loc[~records["outcome"].isin(results.GONE)]
    return left.assign(
        outcome=left["outcome"].mask(left["outcome"].isin(results.WRITTEN), "unchanged")
    )


def _rows(path: Path, places: np.ndarray) -> pd.DataFrame:
    """The rows at these places, ascending, of a file."""
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        begins = np.cumsum([0, *sizes])
        parts = [file.schema_arrow.empty_table()]
        for group, (begin, end) in enumerate(pairwise(begins)):
            inside = places[(places >= begin) & (places < end)]
            if len(inside):
                parts.append(file.read_row_group(group).take(inside - begin))
    return _frame(pa.concat_tables(parts))


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each value of a column, equal where the values are."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False))


def _first(kinds: list[np.ndarray], each: int) -> np.ndarray:
    """The places of the first `each` rows of every combination of kinds, of which there are few."""
    combined = np.zeros(len(kinds[0]), np.uint16)
    for numbers in kinds:
        combined = combined * np.uint16(numbers.max(initial=0) + 1) + numbers.astype(np.uint16)
    there = np.flatnonzero(np.bincount(combined))
    first = [np.flatnonzero(combined == kind)[:each] for kind in there]
    return np.concatenate([np.empty(0, int), *first])


def _path(reports: Path, district_id: str, import_id: int) -> Path:
    return reports / district_id / "outcomes" / f"{import_id}.parquet"
