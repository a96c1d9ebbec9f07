"""The command `roster`: what it can be asked, and nothing that takes time to load.

Each command imports what it needs when it runs, so that `roster --help` answers at once.
"""

from __future__ import annotations

import os

import typer

from roster_pipeline.cli import district, imports
from roster_pipeline.cli.output import fail
from roster_pipeline.settings import SettingsError, load_settings, prepare_home

app = typer.Typer(
    name="roster",
    help="Takes school districts' OneRoster deliveries into a SQL warehouse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(district.app, name="district")
imports.add_commands(app)


@app.command()
def demo(
    students: int = typer.Option(1200, min=300, help="How large the sample district is."),
) -> None:
    """Make a sample district with planted faults, import it, and show what came of it."""
    from roster_pipeline.cli.demo import run_demo

    run_demo(load_settings(), students)


@app.command()
def ui(
    port: int = typer.Option(3000, help="The port on 127.0.0.1."),
    open_browser: bool = typer.Option(False, "--open", help="Open the page in a browser."),
) -> None:
    """Serve the Dagster UI, with the daemon beside it."""
    from roster_pipeline.cli.running import register_districts
    from roster_pipeline.cli.ui import UiError, serve_ui
    from roster_pipeline.districts.files import district_ids

    settings = load_settings()
    prepare_home(settings)
    register_districts(settings, district_ids(settings.districts))
    try:
        serve_ui(settings, port=port, open_browser=open_browser)
    except UiError as error:
        fail(str(error))


def main() -> None:
    """Run the command line; what a person can mend ends in one line and exit code 2."""
    os.umask(0o077)
    try:
        app()
    except SettingsError as error:
        try:
            fail(str(error), 2)
        except typer.Exit as end:
            raise SystemExit(end.exit_code) from None
