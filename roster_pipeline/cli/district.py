"""`roster district`: add, list, show, check and remove districts."""

from __future__ import annotations

from typing import Annotated

import typer

from roster_pipeline.cli.lookup import DistrictArgument, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.cli.removal import remove
from roster_pipeline.settings import load_settings, prepare_home

app = typer.Typer(help="Districts and their settings.", no_args_is_help=True)


@app.command()
def add(
    district_id: DistrictArgument,
    name: Annotated[str, typer.Option(help="What people call it.")],
    timezone: Annotated[str, typer.Option(help="An IANA time zone.")] = "UTC",
    auto_map: Annotated[
        bool, typer.Option(help="Match or make schools by themselves; else the import waits.")
    ] = True,
) -> None:
    """Write a district's file, with comments, and make its landing zone."""
    from pydantic import ValidationError

    from roster_pipeline.cli.running import register_districts
    from roster_pipeline.districts.files import add_district

    settings = load_settings()
    prepare_home(settings)
    try:
        path = add_district(settings.districts, district_id, name, timezone, auto_map=auto_map)
    except ValidationError as error:
        first = error.errors()[0]
        allowed = first["msg"].removeprefix("Value error, ")
        fail(f"--{first['loc'][0]}: found {first['input']!r}; {allowed}", 2)
    except ValueError as error:
        fail(str(error), 2)
    except FileExistsError:
        fail(f"{district_id} is there already: {settings.districts / district_id}.yaml", 2)
    landing = settings.landing / district_id
    landing.mkdir(mode=0o700, exist_ok=True)
    register_districts(settings, [district_id])
    out = console()
    out.print(f"Written: {path}", soft_wrap=True)
    out.print(f"Its landing zone: {landing}", soft_wrap=True)
    out.print(f"Next: put OneRoster.zip there, then `roster import {district_id}`;")
    out.print(f"or let the district upload it: `roster landing account {district_id} --generate`.")


@app.command("list")
def list_districts(format: FormatOption = Format.table) -> None:
    """All districts, with their last import and their next one by the clock."""
    from datetime import UTC, datetime

    from roster_pipeline.districts.files import load_districts
    from roster_pipeline.districts.schedule import next_sync
    from roster_pipeline.districts.settings import DistrictSettings
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import reading

    settings = load_settings()
    prepare_home(settings)
    rows = []
    with reading(open_or_fail()) as conn:
        newest = ledger.newest_imports(conn)
    for district_id, known in load_districts(settings.districts).items():
        last = newest.get(district_id)
        name, coming = "(its file has mistakes: roster district check)", None
        if isinstance(known, DistrictSettings):
            name, coming = known.name, next_sync(known, datetime.now(UTC))
        rows.append(
            {
                "district": district_id,
                "name": name,
                "last_import": last.id if last else None,
                "status": last.status if last else None,
                "started_at": last.started_at if last else None,
                "next_sync": coming,
            }
        )
    if format is Format.json:
        print_json(rows)
    elif not rows:
        console().print("No districts yet. `roster district add ID --name …` adds one.")
    else:
        console().print(
            table(
                ["district", "name", "last import", "status", "started", "next sync"],
                [
                    [
                        r["district"],
                        r["name"],
                        r["last_import"],
                        r["status"],
                        _minute(r["started_at"]),
                        r["next_sync"] and f"{r['next_sync']:%a %Y-%m-%d %H:%M %Z}",
                    ]
                    for r in rows
                ],
            )
        )


def _minute(moment: object) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else None


@app.command()
def show(district_id: DistrictArgument, format: FormatOption = Format.table) -> None:
    """A district's settings in full, defaults included."""
    import yaml

    from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district

    try:
        settings = load_district(load_settings().districts, district_id)
    except (UnknownDistrict, DistrictFileError) as error:
        fail(str(error), 2)
    told = {"district": district_id, **settings.model_dump(mode="json", exclude={"apps"})}
    # An app says only what it sets anew.
    told["apps"] = {
        app: getattr(settings.apps, app).model_dump(mode="json", exclude_unset=True)
        for app in settings.active_apps()
    }
    if format is Format.json:
        print_json(told)
    else:
        typer.echo(yaml.safe_dump(told, sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def check(district_id: DistrictArgument, format: FormatOption = Format.table) -> None:
    """Read a district's file and say what in it is wrong, and where."""
    from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district

    mistakes = []
    try:
        load_district(load_settings().districts, district_id)
    except UnknownDistrict as error:
        fail(str(error), 2)
    except DistrictFileError as error:
        if format is Format.table:
            fail(str(error), 2)
        mistakes = [vars(mistake) for mistake in error.mistakes]
    if format is Format.json:
        print_json({"district": district_id, "mistakes": mistakes})
        raise typer.Exit(2 if mistakes else 0)
    console().print(f"The settings of {district_id} are in order.")


app.command()(remove)


@app.command()
def schema() -> None:
    """The JSON Schema of a district's file, for editors that complete and check YAML by it."""
    from roster_pipeline.districts.settings import DistrictSettings

    print_json(DistrictSettings.model_json_schema())
