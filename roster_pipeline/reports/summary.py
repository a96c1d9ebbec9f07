"""The summary of one import: its counts by enrollment type, its files, its findings in sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.roster import RECEIVED_OUTCOMES
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.holds import HoldEntry, last_hold


@dataclass(frozen=True)
class ImportSummary:
    """One import in numbers.

    counts: by enrollment type, `received`, each outcome, `deleted`, `kept` and `reported`;
        `received` is the sum of the outcomes, and `reported` the number of records with something
        to tell that did not leave them out.
    fatal: the findings for which the delivery was refused, as records with FINDING_COLUMNS.
    findings: how many in all. rules: how many of each kind (see `results.finding_counts`).
    changes: in how many updated records each attribute changed (see `results.changes`).
    hold: why it waits or waited, and what was decided; None when it never did.
    """

    imported: ledger.Import
    counts: dict[str, dict[str, int]]
    files: list[ledger.FileEntry]
    fatal: list[dict[str, Any]]
    findings: int
    rules: pd.DataFrame
    changes: pd.DataFrame
    hold: HoldEntry | None

    def as_json(self) -> dict[str, Any]:
        """The summary as `roster show --format json` prints it (design section 8)."""
        return {
            "import_id": self.imported.id,
            "district": self.imported.district_id,
            "app": self.imported.app,
            "status": self.imported.status,
            "message": self.imported.message,
            "counts": self.counts,
            "files": [vars(entry) for entry in self.files],
            "findings": self.findings,
            "changes": as_records(self.changes),
            "hold": self.hold.as_json() if self.hold else None,
        }


def import_summary(conn: Connection, import_id: int) -> ImportSummary:
    """The summary of an import. Raises UnknownImport."""
    imported = ledger.get_import(conn, import_id)
    rows = results.counts(conn, import_id)
    by_type = rows.groupby(["enrollment_type", "outcome"])["records"].sum()
    reported = results.reported_records(conn, import_id)
    names = [
        *ENROLLMENT_TYPES,
        *(n for n in rows["enrollment_type"].unique() if n not in ENROLLMENT_TYPES),
    ]
    counts: dict[str, dict[str, int]] = {}
    for name in names if len(rows) else []:
        outcomes = {
            o: int(by_type.get((name, o), 0)) for o in (*RECEIVED_OUTCOMES, "deleted", "kept")
        }
        received = sum(outcomes[o] for o in RECEIVED_OUTCOMES)
        counts[name] = {"received": received, **outcomes, "reported": reported.get(name, 0)}
    rules = results.finding_counts(conn, import_id)
    return ImportSummary(
        imported,
        counts,
        ledger.files(conn, import_id),
        as_records(results.findings(conn, import_id, severity="fatal")),
        int(rules["findings"].sum()),
        rules,
        results.changes(conn, import_id),
        last_hold(conn, import_id),
    )


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame as plain dictionaries, null as None; for what is printed or sent as JSON."""
    rows: list[dict[str, Any]] = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
    return rows
