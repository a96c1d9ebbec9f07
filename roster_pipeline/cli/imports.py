"""`roster import` and `roster upload`: take a delivery through every stage."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from roster_pipeline.cli.lookup import DistrictArgument, import_or_fail, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json
from roster_pipeline.cli.summary import EXIT_CODES, end_with_summary
from roster_pipeline.settings import load_settings, prepare_home

ForceOption = Annotated[
    bool, typer.Option("--force", help="Import also what is the same as in the last import.")
]
PreviewOption = Annotated[
    bool, typer.Option("--preview", help="Show what it would change, and write nothing.")
]


class App(StrEnum):
    """How a delivery arrives."""

    sftp = "sftp"
    csv_upload = "csv_upload"


def add_commands(app: typer.Typer) -> None:
    """Hang the commands of this module on the command line."""
    app.command("import")(import_)
    app.command()(upload)


def import_(
    district_id: DistrictArgument,
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
    files = files or []
    _import(district_id, how, files, format, from_import=from_import, force=force, preview=preview)


def upload(
    district_id: DistrictArgument,
    files: Annotated[
        list[Path],
        typer.Argument(help="A zip, a folder, or all the CSV files (manifest optional)."),
    ],
    force: ForceOption = False,
    preview: PreviewOption = False,
    format: FormatOption = Format.table,
) -> None:
    """Take a complete delivery, given by hand, into the warehouse (import --app csv_upload)."""
    _import(district_id, "csv_upload", files, format, force=force, preview=preview)


def _import(
    district_id: str,
    app: str,
    files: list[Path],
    format: Format,
    *,
    from_import: int | None = None,
    force: bool,
    preview: bool,
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
    from roster_pipeline.warehouse.database import reading

    with reading(open_or_fail()) as conn:
        earlier = import_or_fail(conn, import_id)
    if earlier.district_id != district_id:
        fail(f"Import {import_id} is of {earlier.district_id}, not of {district_id}.", 2)
    try:
        archived_at(store_at(load_settings().archive_url), earlier)
    except NotArchived as error:
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
        package = open_package(files, beginnings=True)
        missing = missing_files(package, required, first=False, every_time=True)
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
