"""Imports written straight into the books, as short as a test wants to say them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from roster_pipeline.findings import Finding, findings_frame
from roster_pipeline.reports.html import render_report
from roster_pipeline.reports.outcomes import save_outcomes
from roster_pipeline.reports.quality import Quality, import_quality
from roster_pipeline.roster import empty_ended
from roster_pipeline.stages.plan import SyncPlan
from roster_pipeline.warehouse import ledger, queries, results
from roster_pipeline.warehouse.database import reading
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY

NAME = "Springfield Public Schools"


def found(
    source_id: str | None,
    code: str = "email_missing",
    severity: str = "skipped",
    *,
    row: int | None = 2,
    school: str | None = None,
    kind: str | None = "student",
    message: str = "The student has no email.",
    cause: str | None = None,
) -> Finding:
    """A finding about a student, or whatever it is."""
    return Finding(
        "complete_roster",
        code,
        severity,  # type: ignore[arg-type]
        message,
        "Fill it in.",
        file="users.csv",
        row=row,
        source_id=source_id,
        school=school,
        enrollment_type=kind,
        cause=cause,
    )


def book(
    engine: Engine,
    status: ledger.Status = "imported",
    findings: Iterable[Finding] = (),
    *,
    rows: int = 0,
    app: str = "sftp",
    preview: bool = False,
    plan: SyncPlan | None = None,
    reports: Path | None = None,
    message: str | None = None,
    days: int = 0,
) -> int:
    """An import that ended with a status. rows: of users.csv, 0 when it was not read. plan: what
    its counts, and its records in `reports`, are."""
    now = MONDAY + timedelta(days=days)
    import_id = ledger.start_import(engine, DISTRICT, app, None, preview, "settings", now)
    with engine.begin() as conn:
        if rows:
            files = [ledger.FileEntry("users.csv", "bulk", rows, "a" * 64)]
            ledger.record_effective(conn, import_id, f"files of {import_id}", files)
        results.record_findings(conn, import_id, findings_frame(list(findings)))
        if plan is not None:
            results.record_counts(conn, import_id, plan.counts)
        ledger.finish_import(conn, import_id, status, now + timedelta(seconds=4), message)
    if plan is not None and reports is not None:
        save_outcomes(reports, DISTRICT, import_id, plan, empty_ended())
    return import_id


def quality(engine: Engine, import_id: int) -> Quality:
    """The quality of what an import is of."""
    with reading(engine) as conn:
        return import_quality(conn, import_id)


def district_file(districts: Path, *, more: str = "", name: str = NAME) -> None:
    """The district's file, with further settings."""
    districts.mkdir(exist_ok=True)
    text = f"name: '{name}'\ntimezone: America/Chicago\n{more}"
    (districts / f"{DISTRICT}.yaml").write_text(text, encoding="utf-8")


def report(engine: Engine, home: Path, import_id: int, *, more: str = "", name: str = NAME) -> str:
    """An import's report, of a district with these further settings."""
    district_file(home / "districts", more=more, name=name)
    now = MONDAY + timedelta(days=30)
    with reading(engine) as conn:
        told = import_quality(conn, import_id)
        overview = queries.overview(conn, told.imported.district_id)
        return render_report(conn, home / "reports", home / "districts", told, overview, now)
