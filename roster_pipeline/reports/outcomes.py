"""What became of each received record of an import, kept beside the reports, by import: ids, files,
rows and outcomes, nothing of the records' content. `trace` reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from roster_pipeline.roster import ENDED_COLUMNS, ended_records
from roster_pipeline.stages.plan import SyncPlan


def save_outcomes(
    reports: Path, district_id: str, import_id: int, plan: SyncPlan, ended: pd.DataFrame
) -> None:
    """Keep the outcome of each received record. ended: those that ended before the plan, columns
    ENDED_COLUMNS."""
    planned = [
        ended_records(name, frame, "").assign(outcome=frame["outcome"])
        for name, frame in plan.changes.items()
    ]
    rows = pd.concat([*planned, ended], ignore_index=True)[list(ENDED_COLUMNS)]
    path = _path(reports, district_id, import_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    # In the order of the ids, so that one of them is found without reading all.
    rows.sort_values("source_id").to_parquet(beside, compression="zstd", index=False)
    beside.replace(path)


def outcomes_of(reports: Path, district_id: str, import_id: int, source_id: str) -> pd.DataFrame:
    """What became of the records of one id in one import; columns ENDED_COLUMNS, no rows when
    there were none or they are not kept any more."""
    path = _path(reports, district_id, import_id)
    if not path.exists():
        return pd.DataFrame(columns=list(ENDED_COLUMNS))
    found = pq.read_table(path, filters=[("source_id", "=", source_id)])
    rows: pd.DataFrame = found.to_pandas(types_mapper=pd.ArrowDtype)
    return rows


def _path(reports: Path, district_id: str, import_id: int) -> Path:
    return reports / district_id / "outcomes" / f"{import_id}.parquet"
