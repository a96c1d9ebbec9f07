"""What commands are given and look up: a district, an import, the warehouse. What is not there ends
the command with exit code 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from roster_pipeline.cli.output import fail
from roster_pipeline.settings import load_settings, prepare_home

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from roster_pipeline.warehouse.ledger import Import

DistrictArgument = Annotated[str, typer.Argument(metavar="ID", help="The district's id.")]
ImportArgument = Annotated[int, typer.Argument(metavar="IMPORT", help="The import's number.")]


def open_or_fail() -> Engine:
    """The warehouse, or exit code 2 with what to do about it."""
    from roster_pipeline.warehouse.database import WarehouseError, open_warehouse

    settings = load_settings()
    prepare_home(settings)
    try:
        return open_warehouse(settings.warehouse_url)
    except WarehouseError as error:
        fail(str(error), 2)


def district_must_exist(district_id: str) -> None:
    """End with exit code 2 when a district has no file."""
    from roster_pipeline.districts.files import UnknownDistrict, district_path

    try:
        district_path(load_settings().districts, district_id)
    except UnknownDistrict as error:
        fail(str(error), 2)


def import_or_fail(conn: Connection, import_id: int) -> Import:
    """An import, or exit code 2."""
    from roster_pipeline.warehouse import ledger

    try:
        return ledger.get_import(conn, import_id)
    except ledger.UnknownImport as error:
        fail(str(error), 2)
