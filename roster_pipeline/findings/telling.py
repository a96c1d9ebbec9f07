"""How a stage tells a finding: by its code, once, for each of many rows, or about an attribute."""

from __future__ import annotations

from dataclasses import fields

import pandas as pd

from roster_pipeline.findings.code import Severity
from roster_pipeline.findings.codes import CODES
from roster_pipeline.findings.outcome import FINDING_COLUMNS, Finding, findings_frame
from roster_pipeline.roster import TEXT, school_of


def finding(code: str, **details: object) -> Finding:
    """One finding of a known code. Details that are fields of `Finding` are set; all of them may
    be named in the code's words."""
    spec = CODES[code]
    known = {f.name for f in fields(Finding)}
    severity = details.pop("severity", spec.severity)
    return Finding(
        stage=spec.stage,
        code=code,
        severity=severity,  # type: ignore[arg-type]
        message=spec.message.format(**details),
        how_to_fix=spec.how_to_fix.format(**details),
        **{key: value for key, value in details.items() if key in known},  # type: ignore[arg-type]
    )


def tell(
    code: str,
    rows: pd.DataFrame,
    *,
    field: str | None = None,
    attribute: str | None = None,
    severity: Severity | None = None,
    message: pd.Series[str] | None = None,
    how_to_fix: pd.Series[str] | None = None,
    cause: pd.Series[str] | None = None,
    **words: object,
) -> pd.DataFrame:
    """One finding of `code` for each of `rows`.

    rows: columns file, row, source_id and, where they are known, school and enrollment_type.
    message: one sentence a row, aligned with `rows`, where the code's template cannot say it.
    how_to_fix: one remedy a row, where it is another than the code's.
    cause: the record each is a consequence of, aligned with `rows`.
    words: what the code's sentences name. Returns a frame with FINDING_COLUMNS.
    """
    if rows.empty:
        return findings_frame()
    spec = CODES[code]
    words = {"attribute": attribute, "field": field, **words}
    constant = {
        "field": field,
        "attribute": attribute,
        "stage": spec.stage,
        "code": code,
        "severity": severity or spec.severity,
        "message": None if message is not None else spec.message.format(**words),
        "how_to_fix": spec.how_to_fix.format(**words),
        "cause": None,
    }
    told = pd.DataFrame(
        {name: pd.Series(value, rows.index, dtype=TEXT) for name, value in constant.items()}
    )
    for column in ("file", "row", "source_id", "school", "enrollment_type"):
        told[column] = rows[column] if column in rows else pd.Series(pd.NA, rows.index, dtype=TEXT)
    if message is not None:
        told["message"] = message
    if how_to_fix is not None:
        told["how_to_fix"] = how_to_fix.fillna(told["how_to_fix"])
    if cause is not None:
        told["cause"] = cause
    return told[list(FINDING_COLUMNS)]


def tell_records(
    code: str,
    enrollment_type: str,
    records: pd.DataFrame,
    attribute: str,
    source: str,
    *,
    severity: Severity | None = None,
    message: pd.Series[str] | None = None,
    how_to_fix: pd.Series[str] | None = None,
    cause: pd.Series[str] | None = None,
    **words: object,
) -> pd.DataFrame:
    """One finding of `code` about an attribute of each of `records`, rows of a type's frame.

    source: the `file.header` the attribute was read from; a student's demographics are pointed to
    in their own file, without a row where they have none there. Returns FINDING_COLUMNS.
    """
    file, _, header = source.partition(".")
    rows = records[["source_id", "file", "row"]].assign(
        school=school_of(enrollment_type, records),
        enrollment_type=pd.Series(enrollment_type, records.index, dtype=TEXT),
    )
    if file == "demographics":
        rows = rows.assign(file="demographics.csv", row=records["demographics_row"])
    noun = enrollment_type.replace("_", " ")
    return tell(
        code,
        rows,
        field=header,
        attribute=attribute,
        severity=severity,
        message=message,
        how_to_fix=how_to_fix,
        cause=cause,
        noun=noun,
        **words,
    )
