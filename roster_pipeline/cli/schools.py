"""`roster schools`: which school of the warehouse each organisation of a district is."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roster_pipeline.cli.lookup import DistrictArgument, district_must_exist, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.cli.summary import end_with_summary
from roster_pipeline.settings import acting_user, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SECTIONS = ("pending", "missing", "existing", "ignored")


class Action(StrEnum):
    """What to do with an organisation, or with all that are pending."""

    auto_map = "auto-map"
    map = "map"
    new = "new"
    ignore = "ignore"


WORDS = {Action.auto_map: 0, Action.map: 2, Action.new: 1, Action.ignore: 1}
"""How many of ORG and SCHOOL an action takes."""


def schools(
    district_id: DistrictArgument,
    action: Annotated[
        Action | None,
        typer.Argument(
            help="auto-map: match all that is pending by identifier and name, else make new "
            "schools; map: ORG is SCHOOL (several may be one); new: ORG is a new school; ignore: "
            "leave ORG out, with all records that are of it."
        ),
    ] = None,
    org: Annotated[
        str | None, typer.Argument(metavar="[ORG]", help="The id orgs.csv gives it.")
    ] = None,
    school: Annotated[
        str | None, typer.Argument(metavar="[SCHOOL]", help="A school of the warehouse.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Let the import that waits for this go on.")
    ] = False,
    format: FormatOption = Format.table,
) -> None:
    """Which school each organisation is: mapped, missing and pending, or decide on one."""
    district_must_exist(district_id)
    if action is None:
        if run:
            _run(district_id, format)
        _show(district_id, format)
        return
    if len([word for word in (org, school) if word is not None]) != WORDS[action]:
        fail(f"roster schools {district_id} {action} takes {_takes(action)}.", 2)
    told = format is Format.table
    if action is Action.auto_map:
        _auto_map(district_id, told=told)
    elif org is not None:
        how = {Action.map: "manual", Action.new: "new", Action.ignore: "ignored"}[action]
        _decide(district_id, org, org if action is Action.new else school, how, told=told)
    if run:
        _run(district_id, format)
    if not told:
        _show(district_id, format)


def _takes(action: Action) -> str:
    return ("nothing more", "ORG", "ORG and SCHOOL")[WORDS[action]]


def _auto_map(district_id: str, *, told: bool) -> None:
    from roster_pipeline.reports.schools import match_pending

    engine = open_or_fail()
    with engine.begin() as conn:
        matched = match_pending(conn, district_id, acting_user(), datetime.now(UTC))
    if told:
        for row in matched.to_dict("records"):
            console().print(f"{row['org_id']} is {row['school_id']} ({row['how']})", markup=False)
        _say_what_waits(engine, district_id)


def _decide(district_id: str, org_id: str, school_id: str | None, how: str, *, told: bool) -> None:
    from roster_pipeline.reports.schools import UnknownSchool, decide_school

    engine = open_or_fail()
    try:
        with engine.begin() as conn:
            decide_school(
                conn, district_id, org_id, school_id, how, acting_user(), datetime.now(UTC)
            )
    except UnknownSchool as error:
        fail(str(error), 2)
    if told:
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
