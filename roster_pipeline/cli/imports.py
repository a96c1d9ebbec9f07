"""Commands about imports: import, upload, imports, show, findings, records, overview."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import load_settings, prepare_home

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Engine

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
SHOWN_FINDINGS = 40
SHOWN_CHANGES = 20

ForceOption = Annotated[
    bool, typer.Option("--force", help="Import also what is the same as in the last import.")
]
PreviewOption = Annotated[
    bool, typer.Option("--preview", help="Show what it would change, and write nothing.")
]
ImportArgument = Annotated[int, typer.Argument(metavar="IMPORT", help="The import's number.")]


class App(StrEnum):
    """How a delivery arrives."""

    sftp = "sftp"
    csv_upload = "csv_upload"


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
    app.command("import")(import_)
    app.command()(upload)
    app.command("imports")(list_imports)
    app.command()(show)
    app.command()(findings)
    app.command()(records)
    app.command()(overview)


def open_or_fail() -> Engine:
    """The warehouse, or exit code 2 with what to do about it."""
    from roster_pipeline.warehouse.database import WarehouseError, open_warehouse

    settings = load_settings()
    prepare_home(settings)
    try:
        return open_warehouse(settings.warehouse_url)
    except WarehouseError as error:
        fail(str(error), 2)


def import_(
    district_id: Annotated[str, typer.Argument(metavar="ID", help="The district's id.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A zip, a folder or CSV files; without, what lies in the landing zone."
        ),
    ] = None,
    app: Annotated[
        App | None, typer.Option(help="How it arrived; csv_upload when files are named.")
    ] = None,
    from_import: Annotated[
        int | None,
        typer.Option(
            metavar="IMPORT", help="Take the delivery of this earlier import, from the archive."
        ),
    ] = None,
    force: ForceOption = False,
    preview: PreviewOption = False,
    format: FormatOption = Format.table,
) -> None:
    """Take a district's delivery through every stage into the warehouse."""
    how = app.value if app else "csv_upload" if files else "sftp"
    if from_import is not None:
        if files:
            fail("Name either files or --from-import, not both.", 2)
        how = app.value if app else _app_of_archived(district_id, from_import)
    _import(district_id, how, files or [], from_import, force, preview, format)


def upload(
    district_id: Annotated[str, typer.Argument(metavar="ID", help="The district's id.")],
    files: Annotated[
        list[Path],
        typer.Argument(help="A zip, a folder, or all the CSV files (manifest optional)."),
    ],
    force: ForceOption = False,
    preview: PreviewOption = False,
    format: FormatOption = Format.table,
) -> None:
    """Take a complete delivery, given by hand, into the warehouse (import --app csv_upload)."""
    _import(district_id, "csv_upload", files, None, force, preview, format)


def _import(
    district_id: str,
    app: str,
    files: list[Path],
    from_import: int | None,
    force: bool,
    preview: bool,
    format: Format,
) -> NoReturn:
    from roster_pipeline.cli.running import ImportNotStarted, run_import
    from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district

    settings = load_settings()
    prepare_home(settings)
    try:
        district = load_district(settings.districts, district_id)
    except (UnknownDistrict, DistrictFileError) as error:
        fail(str(error), 2)
    open_or_fail().dispose()
    for path in files:
        if not path.exists():
            fail(f"{path} does not exist.", 2)
    if app not in (active := district.active_apps()):
        fail(f"{app} is not active for {district_id}; active: {', '.join(active)}.", 2)
    if files and app == "csv_upload":
        _refuse_incomplete(district_id, files, district.for_app(app).required_files, format)
    try:
        import_id = run_import(
            settings,
            district_id,
            app,
            files,
            from_import=from_import,
            force=force,
            preview=preview,
        )
    except ImportNotStarted as error:
        fail(str(error), 1)
    end_with_summary(import_id, format)


def _app_of_archived(district_id: str, import_id: int) -> str:
    """How the delivery of an earlier import came, or exit code 2 when it cannot be taken again."""
    from roster_pipeline.landing.intake import NotArchived, archived_at
    from roster_pipeline.landing.store import store_at
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import reading

    try:
        with reading(open_or_fail()) as conn:
            earlier = ledger.get_import(conn, import_id)
        if earlier.district_id != district_id:
            fail(f"Import {import_id} is of {earlier.district_id}, not of {district_id}.", 2)
        archived_at(store_at(load_settings().archive_url), earlier)
    except (ledger.UnknownImport, NotArchived) as error:
        fail(str(error), 2)
    return earlier.app


def _refuse_incomplete(
    district_id: str, files: list[Path], required: Sequence[str], format: Format
) -> None:
    """End with exit code 4, before anything runs, when required files are not in an upload. What
    else is wrong with it, the import finds and keeps."""
    from roster_pipeline.findings import DeliveryRefused
    from roster_pipeline.oneroster.effective import missing_files
    from roster_pipeline.oneroster.package import open_package

    try:
        missing = missing_files(open_package(files), required, first=False, every_time=True)
    except DeliveryRefused:
        return
    if not missing:
        return
    if format is Format.json:
        told = {"import_id": None, "district": district_id, "app": "csv_upload"}
        names = [found.file for found in missing]
        empty = {"counts": {}, "files": [], "findings": len(missing), "hold": None}
        print_json({**told, "status": "refused", **empty, "missing": names})
    else:
        for found in missing:
            console().print(found.message, style="red", markup=False)
            console().print(f"  {found.how_to_fix}", markup=False)
        console().print("An upload holds all files. Nothing was imported.")
    raise typer.Exit(EXIT_CODES["refused"])


def end_with_summary(import_id: int, format: Format) -> NoReturn:
    """Print what an import came to, and end with its exit code."""
    summary = _summary(import_id)
    if format is Format.json:
        print_json(summary.as_json())
    else:
        print_summary(summary)
    raise typer.Exit(EXIT_CODES.get(summary.imported.status, 1))


def _summary(import_id: int) -> ImportSummary:
    from roster_pipeline.reports.summary import import_summary
    from roster_pipeline.warehouse.abandoned import settle_abandoned
    from roster_pipeline.warehouse.database import reading
    from roster_pipeline.warehouse.ledger import UnknownImport

    engine = open_or_fail()
    settle_abandoned(engine, datetime.now(UTC))
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
        out.print(
            f"Decide: roster approve {imported.id} --reason …, or roster reject {imported.id}"
        )


def _word(value: object) -> str:
    return value.replace("_", " ") if isinstance(value, str) else "the file"


def list_imports(
    district_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    format: FormatOption = Format.table,
) -> None:
    """The history of imports, the newest first."""
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.abandoned import settle_abandoned
    from roster_pipeline.warehouse.database import reading

    engine = open_or_fail()
    settle_abandoned(engine, datetime.now(UTC))
    with reading(engine) as conn:
        entries = ledger.imports(conn, district_id, limit)
    if format is Format.json:
        print_json(
            [
                {
                    "import_id": e.id,
                    "district": e.district_id,
                    "app": e.app,
                    "status": e.status,
                    "started_at": e.started_at.isoformat(),
                    "finished_at": e.finished_at.isoformat() if e.finished_at else None,
                    "message": e.message,
                }
                for e in entries
            ]
        )
    elif not entries:
        _must_exist(district_id)
        console().print("No imports yet. `roster import ID FILES…` makes one.")
    else:
        console().print(
            table(
                ["import", "district", "app", "status", "started", "message"],
                [
                    [
                        e.id,
                        e.district_id,
                        e.app,
                        e.status,
                        f"{e.started_at:%Y-%m-%d %H:%M:%S} UTC",
                        e.message,
                    ]
                    for e in entries
                ],
            )
        )


def _must_exist(district_id: str | None) -> None:
    """End with exit code 2 when a district that has left no trace has no file either."""
    from roster_pipeline.districts.files import UnknownDistrict, district_path

    if district_id is not None:
        try:
            district_path(load_settings().districts, district_id)
        except UnknownDistrict as error:
            fail(str(error), 2)


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
    from roster_pipeline.reports.html import write_report
    from roster_pipeline.reports.quality import import_quality
    from roster_pipeline.warehouse.database import reading

    settings = load_settings()
    with reading(open_or_fail()) as conn:
        quality = import_quality(conn, import_id)
        return write_report(
            conn, settings.reports, settings.districts, quality, datetime.now(UTC), file
        )


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
    from roster_pipeline.reports.summary import as_records
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import reading

    try:
        with reading(open_or_fail()) as conn:
            ledger.get_import(conn, import_id)
            found = ledger.findings(
                conn,
                import_id,
                enrollment_type=type,
                severity=status and status.value,
                code=code,
                school=school,
                stage=stage,
            )
    except ledger.UnknownImport as error:
        fail(str(error), 2)
    if causes:
        _print_causes(found, format)
        return
    if csv is not None or format is FindingsFormat.csv:
        from roster_pipeline.reports.spreadsheet import spreadsheet_csv

        text = spreadsheet_csv(found)
        if csv is None:
            sys.stdout.write(text)
        else:
            # With a byte order mark, or Excel takes UTF-8 for something else.
            csv.write_text(text, encoding="utf-8-sig")
            console().print(f"{len(found):,} findings written to {csv}", soft_wrap=True)
        return
    records = as_records(found)
    if format is FindingsFormat.json:
        print_json(records)
        return
    out = console()
    if not records:
        out.print("Nothing was found.")
        return
    columns = ["file", "row", "source_id", "severity", "message", "how_to_fix"]
    shown = [[r[c] for c in columns] for r in records[:SHOWN_FINDINGS]]
    out.print(table(["file", "row", "id", "severity", "what is wrong", "how to mend it"], shown))
    if len(records) > len(shown):
        out.print()
        out.print(
            f"{len(records) - len(shown):,} more; all of them: "
            f"roster findings {import_id} --format csv > findings.csv"
        )


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
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import reading

    try:
        with reading(open_or_fail()) as conn:
            imported = ledger.get_import(conn, import_id)
            found = records_of(
                conn,
                load_settings().reports,
                imported,
                enrollment_type=type,
                outcome=outcome,
                school=school,
            )
    except ledger.UnknownImport as error:
        fail(str(error), 2)
    if format is Format.json:
        print_json(as_records(found))
        return
    out = console()
    if found.empty:
        out.print("There are no such records, or they were not kept (as of an undo).")
        return
    columns = ["enrollment_type", "source_id", "school", "file", "row", "outcome"]
    shown = as_records(found[columns].head(SHOWN_FINDINGS))
    out.print(
        table(["type", "id", "school", "file", "row", "outcome"], [[*r.values()] for r in shown])
    )
    if len(found) > len(shown):
        out.print()
        out.print(f"{len(found) - len(shown):,} more; all of them with --format json")


def overview(
    district_id: Annotated[str, typer.Argument(metavar="ID", help="The district's id.")],
    format: FormatOption = Format.table,
) -> None:
    """How many active records a district has in the warehouse, by type and school."""
    from roster_pipeline.reports.summary import as_records
    from roster_pipeline.warehouse import queries
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        counts = queries.overview(conn, district_id)
    records = as_records(counts)
    if format is Format.json:
        print_json(records)
    elif not records:
        _must_exist(district_id)
        console().print(f"The warehouse has no active records of {district_id}.")
    else:
        names = list(dict.fromkeys(r["enrollment_type"] for r in records))
        schools: dict[tuple[str | None, str | None], dict[str, int]] = {}
        for r in records:
            place = (r["school_name"], r["school"])
            schools.setdefault(place, {})[r["enrollment_type"]] = int(r["records"])
        rows = [
            [_school_label(*place, schools), *(by_type.get(n, 0) for n in names)]
            for place, by_type in schools.items()
        ]
        total = ["all", *(sum(b.get(n, 0) for b in schools.values()) for n in names)]
        console().print(table(["", *(n.replace("_", " ") for n in names)], [*rows, total]))


def _school_label(
    name: str | None, source_id: str | None, schools: Mapping[tuple[str | None, str | None], object]
) -> str:
    """What a line of the overview is called: the school, with its id where several share a name;
    an organisation that is no school by its id."""
    if source_id is None:
        return "the district"
    if name is None:
        return f"{source_id} (no school)"
    shared = sum(other == name for other, _ in schools) > 1
    return f"{name} ({source_id})" if shared else name


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
