"""Commands about what has been: imports, trace, diff, export."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roster_pipeline.cli.lookup import (
    DistrictArgument,
    district_must_exist,
    import_or_fail,
    open_or_fail,
)
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection


def add_commands(app: typer.Typer) -> None:
    """Hang the commands of this module on the command line."""
    app.command("imports")(list_imports)
    app.command()(trace)
    app.command()(diff)
    app.command()(export)


def list_imports(
    district_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    format: FormatOption = Format.table,
) -> None:
    """The history of imports, the newest first."""
    from roster_pipeline.cli.running import settle
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import reading

    engine = open_or_fail()
    settle(load_settings(), engine)
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
        if district_id is not None:
            district_must_exist(district_id)
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


def trace(
    district_id: DistrictArgument,
    source_id: Annotated[str, typer.Argument(metavar="SOURCE_ID", help="A sourcedId.")],
    format: FormatOption = Format.table,
) -> None:
    """One record through every import: file, row, outcome, what was found, what changed."""
    from roster_pipeline.reports.trace import trace as trace_record
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        told = trace_record(conn, load_settings().reports, district_id, source_id)
    if format is Format.json:
        print_json(told)
    elif not told:
        console().print(f"No import of {district_id} has had a record {source_id}.", markup=False)
    else:
        console().print(table(["import", "status", "what", "where"], _steps(told)))


def _steps(told: list[dict[str, Any]]) -> list[list[object]]:
    rows: list[list[object]] = []
    for imported in told:
        steps = [
            *((f"{f['code']} ({f['severity']})", _place(f)) for f in imported["findings"]),
            *((f"{_type(r)}: {r['outcome']}", _place(r)) for r in imported["received"]),
            *((_changed(c), "the warehouse") for c in imported["changes"]),
        ]
        rows += [[imported["import_id"], imported["status"], *step] for step in steps]
    return rows


def _type(row: dict[str, Any]) -> str:
    return str(row["enrollment_type"]).replace("_", " ")


def _place(row: dict[str, Any]) -> str:
    return f"{row['file']} row {row['row']}" if row["row"] else str(row["file"] or "")


def _changed(change: dict[str, Any]) -> str:
    which = f" ({', '.join(change['attributes'])})" if change["attributes"] else ""
    return f"{_type(change)}: {change['change']}{which}"


def diff(
    before: Annotated[int, typer.Argument(metavar="IMPORT", help="An import.")],
    after: Annotated[int, typer.Argument(metavar="IMPORT", help="A later import of the district.")],
    format: FormatOption = Format.table,
) -> None:
    """How the roster after one import differs from that after another."""
    from roster_pipeline.reports.summary import as_records
    from roster_pipeline.warehouse import history
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        one, other = (import_or_fail(conn, i) for i in (before, after))
        if one.district_id != other.district_id:
            fail(f"Import {before} is of {one.district_id}, {after} of {other.district_id}.", 2)
        found = history.difference(conn, one.district_id, before, after)
    counts, changes = as_records(found.counts), as_records(found.changes)
    if format is Format.json:
        print_json({"before": before, "after": after, "counts": counts, "changes": changes})
    elif not counts:
        console().print(f"The roster after import {after} is that after import {before}.")
    else:
        rows = [[_type(c), c["school"], c["outcome"], int(c["records"])] for c in counts]
        console().print(table(["", "school", "what", "records"], rows))
        if changes:
            shown = [[int(c["records"]), _type(c), c["attribute"]] for c in changes]
            console().print()
            console().print(table(["updated", "of", "what changed"], shown))


def export(
    district_id: DistrictArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="The package to write.")],
    as_of: Annotated[
        str | None,
        typer.Option(metavar="IMPORT|TIME", help="The state after an import, or at a time."),
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Write a district's roster, as it is or was, as a OneRoster package."""
    from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district
    from roster_pipeline.reports.export import CannotExport, export_roster
    from roster_pipeline.warehouse.database import reading

    if file.suffix != ".zip":
        fail(f"{file} must end in .zip.", 2)
    try:
        settings = load_district(load_settings().districts, district_id)
        with reading(open_or_fail()) as conn:
            state = _state(conn, district_id, as_of, settings.zone) if as_of else None
            rows = export_roster(conn, district_id, settings, file, state)
    except (UnknownDistrict, DistrictFileError, CannotExport) as error:
        fail(str(error), 2)
    if format is Format.json:
        print_json({"file": str(file), "as_of_import": state, "rows": rows})
    else:
        console().print(table(["file", "rows"], [[name, number] for name, number in rows.items()]))
        console().print(f"Written: {file}", soft_wrap=True)


def _state(conn: Connection, district_id: str, as_of: str, zone: tzinfo) -> int:
    """The import after which the roster was as asked; a time without a zone is the district's."""
    from roster_pipeline.warehouse.history import import_at

    if as_of.isdecimal():
        imported = import_or_fail(conn, int(as_of))
        if imported.district_id != district_id:
            fail(f"Import {as_of} is of {imported.district_id}, not of {district_id}.", 2)
        return imported.id
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError:
        fail(f"--as-of {as_of}: it must be an import's number or a time like 2026-09-01T08:00.", 2)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return import_at(conn, district_id, moment.astimezone(UTC))
