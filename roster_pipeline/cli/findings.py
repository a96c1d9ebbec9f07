"""`roster findings` and `roster records`: the rows behind an import's summary."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roster_pipeline.cli.lookup import ImportArgument, import_or_fail, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, print_json, table
from roster_pipeline.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 40


class Severity(StrEnum):
    """What a finding does to its record or delivery."""

    fatal = "fatal"
    skipped = "skipped"
    reported = "reported"


class FindingsFormat(StrEnum):
    """What `roster findings` prints."""

    table = "table"
    json = "json"
    csv = "csv"


def add_commands(app: typer.Typer) -> None:
    """Hang the commands of this module on the command line."""
    app.command()(findings)
    app.command()(records)


def findings(
    import_id: ImportArgument,
    type: Annotated[str | None, typer.Option(help="Only of this enrollment type.")] = None,
    status: Annotated[Severity | None, typer.Option(help="Only of this severity.")] = None,
    code: Annotated[str | None, typer.Option(help="Only of this code.")] = None,
    school: Annotated[str | None, typer.Option(help="Only of this school's records.")] = None,
    stage: Annotated[
        str | None, typer.Option(help="Only of this stage, such as parsed_roster.")
    ] = None,
    causes: Annotated[
        bool, typer.Option(help="The root causes, in the order in which to mend them.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Write all of them into this file, for a spreadsheet."),
    ] = None,
    format: Annotated[
        FindingsFormat, typer.Option("--format", help="table for people; json and csv hold all.")
    ] = FindingsFormat.table,
) -> None:
    """What an import found: file, row, id, what is wrong, and how to mend it."""
    from roster_pipeline.warehouse import results
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        import_or_fail(conn, import_id)
        found = results.findings(
            conn,
            import_id,
            enrollment_type=type,
            severity=status and status.value,
            code=code,
            school=school,
            stage=stage,
        )
    if causes:
        _print_causes(found, format)
    elif csv is not None or format is FindingsFormat.csv:
        _write_csv(found, csv)
    else:
        _print_findings(import_id, found, format)


def _write_csv(found: pd.DataFrame, file: Path | None) -> None:
    """Findings for a spreadsheet, into a file or, without one, onto standard output."""
    from roster_pipeline.reports.spreadsheet import spreadsheet_csv

    text = spreadsheet_csv(found)
    if file is None:
        sys.stdout.write(text)
    else:
        # With a byte order mark, or Excel takes UTF-8 for something else.
        file.write_text(text, encoding="utf-8-sig")
        console().print(f"{len(found):,} findings written to {file}", soft_wrap=True)


def _print_findings(import_id: int, found: pd.DataFrame, format: FindingsFormat) -> None:
    """All findings for a program, the first of them for a person."""
    from roster_pipeline.reports.summary import as_records

    records = as_records(found)
    if format is FindingsFormat.json:
        print_json(records)
        return
    out = console()
    if not records:
        out.print("Nothing was found.")
        return
    columns = ["file", "row", "source_id", "severity", "message", "how_to_fix"]
    shown = [[r[c] for c in columns] for r in records[:SHOWN_ROWS]]
    out.print(table(["file", "row", "id", "severity", "what is wrong", "how to mend it"], shown))
    if len(records) > len(shown):
        out.print()
        out.print(
            f"{len(records) - len(shown):,} more; all of them: "
            f"roster findings {import_id} --format csv > findings.csv"
        )


def _print_causes(found: pd.DataFrame, format: FindingsFormat) -> None:
    """Root causes for a person or a program."""
    from roster_pipeline.reports.causes import root_causes

    causes = root_causes(found)
    if format is FindingsFormat.json:
        print_json([cause.as_json() for cause in causes])
        return
    out = console()
    if not causes:
        out.print("No record was left out.")
        return
    rows = [[c.weight, c.in_words(), _first(c.roots)] for c in causes]
    out.print(table(["fell with it", "what to mend, in this order", "ids"], rows))


def _first(words: tuple[str, ...], shown: int = 5) -> str:
    """The first of many words."""
    return ", ".join(words[:shown]) + (" …" if len(words) > shown else "")


def records(
    import_id: ImportArgument,
    type: Annotated[str | None, typer.Option(help="Only of this enrollment type.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only with this outcome.")] = None,
    school: Annotated[str | None, typer.Option(help="Only of this school (its id).")] = None,
    format: FormatOption = Format.table,
) -> None:
    """The records behind an import's counts: id, file, row, school, outcome."""
    from roster_pipeline.reports.outcomes import records_of
    from roster_pipeline.reports.summary import as_records
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        found = records_of(
            conn,
            load_settings().reports,
            import_or_fail(conn, import_id),
            enrollment_type=type,
            outcome=outcome,
            school=school,
        )
    if format is Format.json:
        print_json(as_records(found))
        return
    out = console()
    if found.empty:
        out.print("There are no such records, or they were not kept (as of an undo).")
        return
    columns = ["enrollment_type", "source_id", "school", "file", "row", "outcome"]
    shown = as_records(found[columns].head(SHOWN_ROWS))
    out.print(
        table(["type", "id", "school", "file", "row", "outcome"], [[*r.values()] for r in shown])
    )
    if len(found) > len(shown):
        out.print()
        out.print(f"{len(found) - len(shown):,} more; all of them with --format json")
