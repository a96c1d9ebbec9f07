"""`roster district remove`: takes a district out of use, or all that is known of it away."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roster_pipeline.cli.lookup import DistrictArgument, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json
from roster_pipeline.settings import acting_user, load_settings, prepare_home

if TYPE_CHECKING:
    from sqlalchemy import Connection


def remove(
    district_id: DistrictArgument,
    delete_data: Annotated[
        bool,
        typer.Option(
            "--delete-data",
            help="Delete all that is kept of it too: its roster and history, deliveries, reports.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    format: FormatOption = Format.table,
) -> None:
    """Take a district out of use: nothing is imported for it any more, and nobody can log in to its
    landing zone. What was imported stays, unless --delete-data says otherwise."""
    from roster_pipeline.cli.running import forget_district
    from roster_pipeline.districts.files import (
        UnknownDistrict,
        aside_path,
        district_path,
        set_district_aside,
    )
    from roster_pipeline.districts.settings import is_district_id
    from roster_pipeline.landing.retention import folders_of_districts, stores_of_districts
    from roster_pipeline.warehouse.database import reading
    from roster_pipeline.warehouse.lock import DistrictBusy, district_lock
    from roster_pipeline.warehouse.removal import delete_district, rows_of

    settings, now = load_settings(), datetime.now(UTC)
    prepare_home(settings)
    engine = open_or_fail()
    with reading(engine) as conn:
        rows = sum(rows_of(conn, district_id).values())
    folders = [root / district_id for root in folders_of_districts(settings)]
    stores = stores_of_districts(settings)
    has_file = True
    try:
        district_path(settings.districts, district_id)
    except UnknownDistrict as error:
        has_file = False
        kept = any(f.exists() for f in folders) or any(district_id in s.districts() for s in stores)
        left = rows or (is_district_id(district_id) and kept)
        if not (delete_data and left):
            fail(str(error), 2)
    _confirm(district_id, rows, delete_data, yes)
    aside = aside_path(settings.districts, district_id)
    try:
        with district_lock(engine, district_id):
            if has_file:
                set_district_aside(settings.districts, district_id)
            with engine.begin() as conn:
                account = _close_account(conn, district_id, now)
            if delete_data:
                delete_district(engine, district_id, acting_user(), now)
                for folder in folders:
                    shutil.rmtree(folder, ignore_errors=not folder.exists())
                for store in stores:
                    store.clear(district_id)
                aside.unlink(missing_ok=True)
    except DistrictBusy as busy:
        fail(str(busy))
    partition = forget_district(settings, district_id)
    if format is Format.json:
        told = {"district": district_id, "account_closed": account, "partition_deleted": partition}
        data = {"file": None if delete_data else str(aside), "rows_deleted": rows * delete_data}
        print_json({**told, **data})
    else:
        _print_removed(district_id, rows, None if delete_data else aside)
        if not partition:
            console().print(
                "A run of it is in flight, so Dagster still lists it; remove it again later."
            )


def _print_removed(district_id: str, rows: int, aside: Path | None) -> None:
    """What went and what stays, rows of the warehouse among it. aside: where its settings are, if
    its data were not deleted."""
    out = console()
    out.print(f"{district_id} is a district no more; nobody can log in to its landing zone.")
    if aside is None:
        out.print(f"Deleted: {rows:,} rows of the warehouse, and all its files.")
        out.print("Stays: who did what (audit log); Dagster's runs, which hold no records.")
    else:
        out.print(f"Its settings: {aside}; rename it to bring the district back.", soft_wrap=True)
        out.print(f"Stays: its roster and history ({rows:,} rows), its deliveries and reports.")
        out.print(f"All of that goes with: roster district remove {district_id} --delete-data")


def _confirm(district_id: str, rows: int, delete_data: bool, yes: bool) -> None:
    """Let a person who is there say it once more; end with exit code 2 when nobody is."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail("Say --yes: there is nobody to ask.", 2)
    what = f"Delete {district_id}, {rows:,} rows and all its files, for good?"
    if not delete_data:
        what = f"Take {district_id} out of use?"
    if typer.prompt(f"{what} Type its id", err=True).strip() != district_id:
        fail("Nothing was done.", 2)


def _close_account(conn: Connection, district_id: str, now: datetime) -> bool:
    """Close the landing account, if there is one, and note that the district was removed."""
    from roster_pipeline.landing.accounts import account_of, remove_account
    from roster_pipeline.warehouse import audit

    account = account_of(conn, district_id)
    if account is not None:
        remove_account(conn, district_id, acting_user(), now)
    audit.record(conn, now, acting_user(), "district_removed", district_id)
    return account is not None
