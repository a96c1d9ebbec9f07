"""How good what a district delivered is: one import's findings in sum, beside the import before."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection

from roster_pipeline.warehouse import ledger, results

SEVERITIES = ("fatal", "skipped", "reported")
"""The weightiest first."""


@dataclass(frozen=True)
class Quality:
    """The quality of the delivery an import is of; of an undo, of that whose state it gave back.

    rows: of all data files. rows_left_out: those that went no further for a fault; rows_told: those
        that went in with something to tell.
    rules: what was found, the weightiest first; columns code, severity, enrollment_type, findings,
        new, gone. What was found before and is not any more has a line with no findings.
    before: the import it is compared with; None when there is none, or when a stage has not seen
        the delivery, so that nothing can be said.
    """

    imported: ledger.Import
    rows: int
    rows_left_out: int
    rows_told: int
    rules: pd.DataFrame
    before: int | None

    @property
    def score(self) -> float:
        """From 0 to 100: the share of the rows that went through without any finding; 0 when not
        every stage could look at them (refused, failed), and so none of them can be used."""
        if not self.rows or self.imported.status in ledger.UNEXAMINED:
            return 0.0
        clean = self.rows - self.rows_left_out - self.rows_told
        return round(100 * max(clean, 0) / self.rows, 1)

    @property
    def findings(self) -> int:
        """How many there are."""
        return int(self.rules["findings"].sum())

    @property
    def new(self) -> int:
        """How many the import before did not have."""
        return int(self.rules["new"].sum())

    @property
    def gone(self) -> int:
        """How many only the import before had."""
        return int(self.rules["gone"].sum())


def import_quality(conn: Connection, import_id: int) -> Quality:
    """The quality of what an import is of. Raises UnknownImport."""
    imported = ledger.get_import(conn, import_id)
    source = ledger.stands_on(conn, imported)
    before = None
    if imported.status not in ledger.UNEXAMINED and imported.app != ledger.UNDO:
        before = ledger.examined_before(conn, imported)
    left_out, told = results.rows_with_findings(conn, source.id)
    rows = sum(file.rows for file in ledger.files(conn, source.id))
    counted = results.finding_counts(conn, source.id)
    rules = _rules(conn, counted, source.id, before.id if before else None)
    return Quality(imported, rows, left_out, told, rules, before.id if before else None)


def _rules(
    conn: Connection, counted: pd.DataFrame, import_id: int, before: int | None
) -> pd.DataFrame:
    told = [counted.assign(new=0, gone=0)]
    if before is not None:
        told.append(results.new_and_gone(conn, import_id, before).assign(findings=0))
    keys, numbers = ["code", "severity", "enrollment_type"], ["findings", "new", "gone"]
    both = pd.concat(told, ignore_index=True)
    rules = both.groupby(keys, dropna=False, sort=False)[numbers].sum().astype(int).reset_index()
    weight = rules["severity"].map(SEVERITIES.index)
    in_order = rules.assign(weight=weight, fewest=-rules["findings"]).sort_values(
        ["weight", "fewest", "code", "enrollment_type"]
    )
    return in_order[[*keys, *numbers]].reset_index(drop=True)
