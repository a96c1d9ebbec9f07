"""Findings as they travel: one of them, a frame of them, and what a stage returns or raises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import pandas as pd

from roster_pipeline.findings.code import Severity
from roster_pipeline.roster import INTEGER, TEXT, Roster


@dataclass(frozen=True)
class Finding:
    """One thing that is to be told about one record or one file (design section 3).

    file, row, field: where the district finds it: the file, the row as a spreadsheet shows it
        (the header is row 1) and the header of the column.
    attribute: our name of that column.
    cause: where this is the consequence of another record's fault, that record, as
        `enrollment_type/source_id`; the first of the chain, which is the one to mend.
    severity: `fatal` (the delivery is refused), `skipped` (the record is left out),
        `reported` (the record goes in; an optional value may have been dropped).
    """

    stage: str
    code: str
    severity: Severity
    message: str
    how_to_fix: str
    file: str | None = None
    row: int | None = None
    field: str | None = None
    source_id: str | None = None
    school: str | None = None
    enrollment_type: str | None = None
    attribute: str | None = None
    cause: str | None = None


FINDING_COLUMNS = (
    "file",
    "row",
    "field",
    "source_id",
    "school",
    "enrollment_type",
    "attribute",
    "stage",
    "code",
    "severity",
    "message",
    "how_to_fix",
    "cause",
)
assert set(FINDING_COLUMNS) == {f.name for f in fields(Finding)}

_NO_FINDINGS = pd.DataFrame(
    {
        column: pd.Series([], dtype=INTEGER if column == "row" else TEXT)
        for column in FINDING_COLUMNS
    }
)


def findings_frame(findings: Iterable[Finding] = ()) -> pd.DataFrame:
    """Findings as a frame with FINDING_COLUMNS; empty when there are none."""
    rows = [asdict(f) for f in findings]
    if not rows:
        return _NO_FINDINGS.copy()
    return pd.DataFrame(
        {
            column: pd.Series(
                [row[column] for row in rows], dtype=INTEGER if column == "row" else TEXT
            )
            for column in FINDING_COLUMNS
        }
    )


def concat_findings(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All findings in one frame, in the order given."""
    full = [frame for frame in frames if len(frame)]
    return pd.concat(full, ignore_index=True) if full else findings_frame()


@dataclass(frozen=True)
class Outcome:
    """What a stage returns: the roster that goes on, and what is to be told."""

    roster: Roster
    findings: pd.DataFrame


class DeliveryRefused(Exception):
    """The delivery cannot be imported. Carries the fatal findings that say why and how to mend."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = list(findings)
        super().__init__(" ".join(f.message for f in self.findings))
