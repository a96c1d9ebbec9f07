"""`roster schools`: which school of the warehouse each organisation of a district is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roster_pipeline.cli.imports import end_with_summary, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import acting_user, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

app = typer.Typer(help="Which school of the warehouse each organisation of a district is.")

OrgArgument = Annotated[str, typer.Argument(metavar="ORG", help="The id that orgs.csv gives it.")]
SECTIONS = ("pending", "missing", "existing", "ignored")


@app.callback(invoke_without_command=True)
def schools(
    context: typer.Context,
    district_id: Annotated[str, typer.Argument(metavar="ID", help="The district's id.")],
    run: Annotated[
        bool, typer.Option("--run", help="Let the import that waits for this go on.")
    ] = False,
    format: FormatOption = Format.table,
) -> None:
    """Show what is mapped, missing and pending, with suggestions; or decide on one."""
    from roster_pipeline.districts.files import UnknownDistrict, district_path

    try:
        district_path(load_settings().districts, district_id)
    except UnknownDistrict as error:
        fail(str(error), 2)
    context.obj = district_id
    if context.invoked_subcommand is None:
        if run:
            _run(district_id, format)
        _show(district_id, format)


@app.command("auto-map")
def auto_map(context: typer.Context) -> None:
    """Match what is pending by identifier and name; what matches none becomes a new school."""
    from roster_pipeline.reports.schools import match_pending

    engine = open_or_fail()
    with engine.begin() as conn:
        matched = match_pending(conn, context.obj, acting_user(), datetime.now(UTC))
    for row in matched.to_dict("records"):
        console().print(f"{row['org_id']} is {row['school_id']} ({row['how']})", markup=False)
    _say_what_waits(engine, context.obj)


@app.command("map")
def map_(
    context: typer.Context,
    org: OrgArgument,
    school: Annotated[str, typer.Argument(metavar="SCHOOL", help="A school of the warehouse.")],
) -> None:
    """An organisation is that school; several may be one."""
    _decide(context.obj, org, school, "manual")


@app.command()
def new(context: typer.Context, org: OrgArgument) -> None:
    """An organisation is a new school."""
    _decide(context.obj, org, org, "new")


@app.command()
def ignore(context: typer.Context, org: OrgArgument) -> None:
    """Leave an organisation out, with all records that are of it."""
    _decide(context.obj, org, None, "ignored")


def _decide(district_id: str, org_id: str, school_id: str | None, how: str) -> None:
    from roster_pipeline.reports.schools import UnknownSchool, decide_school

    engine = open_or_fail()
    try:
        with engine.begin() as conn:
            decide_school(
                conn, district_id, org_id, school_id, how, acting_user(), datetime.now(UTC)
            )
    except UnknownSchool as error:
        fail(str(error), 2)
    _say_what_waits(engine, district_id)


def _say_what_waits(engine: Engine, district_id: str) -> None:
    from roster_pipeline.warehouse.database import reading

    with reading(engine) as conn:
        pending = _of(conn, district_id)["pending"]
        waiting = _waiting_import(conn, district_id)
    out = console()
    if pending:
        out.print(f"{len(pending)} still pending: roster schools {district_id}")
    elif waiting:
        out.print(f"Nothing is pending. Go on with: roster schools {district_id} --run")
    else:
        out.print(f"It counts from the next import on (roster import {district_id} --force).")


def _waiting_import(conn: Connection, district_id: str) -> int | None:
    from roster_pipeline.warehouse import ledger

    waiting = ledger.waiting_import(conn, district_id)
    is_it = waiting is not None and waiting.status == "needs_school_mapping"
    return waiting.id if waiting is not None and is_it else None


def _run(district_id: str, format: Format) -> None:
    from roster_pipeline.cli.running import ImportNotStarted, run_resumed
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        import_id = _waiting_import(conn, district_id)
    if import_id is None:
        fail(f"No import of {district_id} waits for schools.", 2)
    try:
        run_resumed(load_settings(), district_id, import_id)
    except ImportNotStarted as error:
        fail(str(error))
    end_with_summary(import_id, format)


def _of(conn: Connection, district_id: str) -> dict[str, list[dict[str, Any]]]:
    from roster_pipeline.reports.schools import schools_of

    return schools_of(conn, district_id)


def _show(district_id: str, format: Format) -> None:
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        told = _of(conn, district_id)
    if format is Format.json:
        print_json(told)
        return
    out = console()
    if not any(told.values()):
        out.print(f"The warehouse knows no schools of {district_id} yet.")
    for section in SECTIONS:
        if rows := told[section]:
            shown = [
                [*(r[c] for c in ("org_id", "name", "school_id", "how")), _likely(r)] for r in rows
            ]
            title = f"{section} ({len(rows)})"
            out.print(
                table(["organisation", "name", "school", "how", "may be"], shown, title=title)
            )
            out.print()
    if told["pending"]:
        out.print(
            f"roster schools {district_id} map ORG SCHOOL | new ORG | ignore ORG | auto-map; "
            f"then roster schools {district_id} --run"
        )


def _likely(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{s['school_id']} {s['name'] or ''} ({s['by']} {s['score']})" for s in row["suggestions"]
    )
