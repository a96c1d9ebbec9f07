"""`roster db`: the warehouse's tables."""

from __future__ import annotations

import typer

from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json
from roster_pipeline.settings import load_settings, prepare_home

app = typer.Typer(help="The warehouse's tables.", no_args_is_help=True)


@app.callback()
def db() -> None:
    """The warehouse's tables."""


@app.command()
def upgrade(format: FormatOption = Format.table) -> None:
    """Bring an older warehouse to this program's version. Make a backup first."""
    from roster_pipeline.warehouse.database import WarehouseError, connect
    from roster_pipeline.warehouse.database import upgrade as upgrade_tables

    settings = load_settings()
    prepare_home(settings)
    try:
        engine = connect(settings.warehouse_url)
        before, now = upgrade_tables(engine)
    except WarehouseError as error:
        fail(str(error), 2)
    if format is Format.json:
        print_json({"version": now, "before": before})
    elif before == now:
        console().print(f"The warehouse has version {now}, which is this program's.")
    else:
        console().print(f"The warehouse now has version {now} (before: {before or 'no tables'}).")
