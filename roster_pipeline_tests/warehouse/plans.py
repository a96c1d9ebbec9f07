"""Plans for the tests, written as short as a test wants to say them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

import pandas as pd
from sqlalchemy import Engine

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.roster import DTYPES, INTEGER, TEXT
from roster_pipeline.stages.plan import SyncPlan, record_hash
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.merge import Touched, merge, merging

DISTRICT = "springfield"
MONDAY = datetime(2026, 8, 31, 2, 0, 0, 250_000, tzinfo=UTC)

PROCESSES = get_context("forkserver")
"""Makes processes that begin with all this imported, which takes longer than what they do."""
PROCESSES.set_forkserver_preload([__name__])

Record = tuple[str, str, Mapping[str, object]]
"""Outcome, source id, attributes."""


def frame(enrollment_type: str, records: Iterable[Record]) -> pd.DataFrame:
    """Records in the shape of SyncPlan.changes."""
    rows = list(records)
    kinds = {a.name: DTYPES[a.kind] for a in ENROLLMENT_TYPES[enrollment_type].attributes}
    columns = {"source_id": pd.Series([r[1] for r in rows], dtype=TEXT)}
    for name, dtype in {**kinds, "extra": TEXT}.items():
        columns[name] = pd.Series([r[2].get(name) for r in rows], dtype=dtype)
    changes = pd.DataFrame(columns)
    changes["file"] = pd.Series(
        f"{ENROLLMENT_TYPES[enrollment_type].file}.csv", index=changes.index
    )
    changes["row"] = pd.Series(range(2, len(rows) + 2), dtype=INTEGER)
    changes["record_hash"] = record_hash(enrollment_type, changes)
    changes["outcome"] = pd.Series([r[0] for r in rows], dtype=TEXT)
    return changes


def plan(
    changes: Mapping[str, Iterable[Record]] | None = None,
    *,
    deleted: Iterable[tuple[str, str]] = (),
    kept: Iterable[tuple[str, str]] = (),
) -> SyncPlan:
    """A plan of records by enrollment type; deleted and kept are pairs (type, source id)."""
    frames = {name: frame(name, rows) for name, rows in (changes or {}).items()}
    gone, stay = list(deleted), list(kept)
    numbers = Counter(
        (name, outcome) for name, rows in frames.items() for outcome in rows["outcome"]
    )
    numbers.update((name, "deleted") for name, _ in gone)
    numbers.update((name, "kept") for name, _ in stay)
    counts = pd.DataFrame(
        {
            "enrollment_type": pd.Series([name for name, _ in numbers], dtype=TEXT),
            "school": pd.Series([None] * len(numbers), dtype=TEXT),
            "outcome": pd.Series([outcome for _, outcome in numbers], dtype=TEXT),
            "records": pd.Series(list(numbers.values()), dtype=INTEGER),
        }
    )
    return SyncPlan(frames, _keys(gone), _keys(stay), counts)


def _keys(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "enrollment_type": pd.Series([name for name, _ in pairs], dtype=TEXT),
            "source_id": pd.Series([source_id for _, source_id in pairs], dtype=TEXT),
            "school": pd.Series([None] * len(pairs), dtype=TEXT),
        }
    )


def run_import(
    engine: Engine, what: SyncPlan, *, days: int = 0, district: str = DISTRICT
) -> dict[str, Touched]:
    """Merge a plan as an import does, `days` after MONDAY. Imports are numbered from 1."""
    now = MONDAY + timedelta(days=days)
    import_id = ledger.start_import(engine, district, "sftp", None, False, "settings", now)
    with merging(engine, what) as conn:
        touched = merge(conn, district, import_id, what, now)
        ledger.finish_import(conn, import_id, "imported", now)
    return touched
