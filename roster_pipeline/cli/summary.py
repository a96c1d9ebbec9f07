"""`roster show`, and how each command that runs an import ends: with its summary and exit code."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from roster_pipeline.cli.lookup import ImportArgument, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import load_settings

if TYPE_CHECKING:
    from roster_pipeline.reports.summary import ImportSummary
    from roster_pipeline.warehouse.holds import HoldEntry
    from roster_pipeline.warehouse.ledger import Import

EXIT_CODES = {
    "imported": 0,
    "unchanged": 0,
    "previewed": 0,
    "needs_school_mapping": 3,
    "held": 3,
    "refused": 4,
}
SHOWN_CHANGES = 20


def show(
    import_id: ImportArgument,
    html: Annotated[
        bool, typer.Option("--html", help="Write the report as HTML, and print where it is.")
    ] = False,
    file: Annotated[
        Path | None, typer.Argument(help="With --html: write it here instead of with the others.")
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """The summary of one import."""
    if file is not None and not html:
        fail("FILE goes with --html.", 2)
    summary = _summary(import_id)
    if html:
        path = _write_html(import_id, file)
        if format is Format.json:
            print_json({"import_id": import_id, "report": str(path)})
        else:
            console().print(str(path), soft_wrap=True, markup=False)
    elif format is Format.json:
        print_json(summary.as_json())
    else:
        print_summary(summary)


def _write_html(import_id: int, file: Path | None) -> Path:
    """Write an import's report, to a file of one's own or beside the others."""
    from roster_pipeline.reports.html import render_report, report_path, write_report
    from roster_pipeline.reports.quality import import_quality
    from roster_pipeline.warehouse import queries
    from roster_pipeline.warehouse.database import reading

    settings, now = load_settings(), datetime.now(UTC)
    with reading(open_or_fail()) as conn:
        quality = import_quality(conn, import_id)
        overview = queries.overview(conn, quality.imported.district_id)
        path = file or report_path(settings.reports, quality.imported.district_id, import_id)
        try:
            html = render_report(conn, settings.reports, settings.districts, quality, overview, now)
            write_report(html, path)
            return path
        except OSError as error:
            why = error.strerror or type(error).__name__
            fail(
                f"The report cannot be written to {file or settings.reports}: {why}. "
                "Name a file that you may write, in a folder with room for it.",
                2,
            )


def end_with_summary(import_id: int, format: Format) -> NoReturn:
    """Print what an import came to, and end with its exit code."""
    summary = _summary(import_id)
    if format is Format.json:
        print_json(summary.as_json())
    else:
        print_summary(summary)
    raise typer.Exit(EXIT_CODES.get(summary.imported.status, 1))


def _summary(import_id: int) -> ImportSummary:
    from roster_pipeline.cli.running import settle
    from roster_pipeline.reports.summary import import_summary
    from roster_pipeline.warehouse.database import reading
    from roster_pipeline.warehouse.ledger import UnknownImport

    engine = open_or_fail()
    settle(load_settings(), engine)
    try:
        with reading(engine) as conn:
            return import_summary(conn, import_id)
    except UnknownImport as error:
        fail(str(error), 2)


def print_summary(summary: ImportSummary) -> None:
    """An import for a person: what it is, what became of each type's records, what was found."""
    from roster_pipeline.findings import CODES

    imported = summary.imported
    out = console()
    out.print(f"[bold]Import {imported.id}[/bold] of {imported.district_id}: {imported.status}")
    if summary.fatal:
        for fault in summary.fatal:
            out.print(fault["message"], style="red", markup=False)
            out.print(f"  {fault['how_to_fix']}", markup=False)
        out.print("Nothing was imported; the warehouse is as it was.")
    elif summary.hold and imported.status in ("held", "previewed"):
        _print_hold(imported, summary.hold)
    elif imported.message:
        out.print(imported.message, markup=False)
    if summary.counts:
        used = [
            name
            for name in next(iter(summary.counts.values()))
            if name == "received" or any(c[name] for c in summary.counts.values())
        ]
        rows = [
            [name.replace("_", " "), *(c[u] for u in used)] for name, c in summary.counts.items()
        ]
        total = ["all", *(sum(c[u] for c in summary.counts.values()) for u in used)]
        out.print()
        out.print(table(["", *used], [*rows, total]))
    if len(summary.changes):
        out.print()
        rows = [
            [int(r["records"]), _word(r["enrollment_type"]), r["attribute"]]
            for r in summary.changes.to_dict("records")[:SHOWN_CHANGES]
        ]
        out.print(table(["updated", "of", "what changed"], rows))
    if len(summary.rules) and not summary.fatal:
        out.print()
        out.print(
            table(
                ["findings", "severity", "of", "what", "code"],
                [
                    [
                        int(r["findings"]),
                        r["severity"],
                        _word(r["enrollment_type"]),
                        CODES[r["code"]].title,
                        r["code"],
                    ]
                    for r in summary.rules.to_dict("records")
                ],
            )
        )
        out.print()
        out.print(f"Each with file, row and remedy: roster findings {imported.id}")


def _print_hold(imported: Import, hold: HoldEntry) -> None:
    """Why an import waits, or a preview would, and what a person can do."""
    out = console()
    for reason in hold.reasons:
        out.print(reason["message"], style="yellow", markup=False)
    for cause in hold.causes:
        out.print(f"  {cause}", markup=False)
    if not hold.reasons:
        out.print("It would be merged without waiting.")
    out.print("Nothing was merged; the warehouse is as it was.")
    if imported.status == "held":
        out.print(f"Decide: roster approve {imported.id} --reason TEXT")
        out.print(f"    or: roster reject {imported.id} --reason TEXT")


def _word(value: object) -> str:
    return value.replace("_", " ") if isinstance(value, str) else "the file"
