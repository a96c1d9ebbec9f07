"""The command `roster`: what it can be asked, and nothing that takes time to load.

Each command imports what it needs when it runs, so that `roster --help` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path

import typer

from roster_pipeline.cli import (
    db,
    decisions,
    digest,
    district,
    filters,
    findings,
    history,
    imports,
    inspect,
    landing,
    overview,
    purge,
    schools,
    summary,
)
from roster_pipeline.cli.output import Format, FormatOption, fail
from roster_pipeline.settings import (
    SettingsError,
    load_mail_settings,
    load_settings,
    prepare_home,
)

app = typer.Typer(
    name="roster",
    help="Takes school districts' OneRoster deliveries into a SQL warehouse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(district.app, name="district")
app.command()(schools.schools)
app.add_typer(landing.app, name="landing")
app.add_typer(db.app, name="db")
imports.add_commands(app)
app.command()(summary.show)
findings.add_commands(app)
decisions.add_commands(app)
history.add_commands(app)
app.command()(overview.overview)
app.command()(inspect.inspect)
app.command()(filters.filter_preview)
app.command()(purge.purge)
app.command()(digest.digest)


@app.command()
def demo(
    students: int = typer.Option(1200, min=300, help="How large the sample district is."),
    format: FormatOption = Format.table,
) -> None:
    """Make a sample district with planted faults, import it, and show what came of it."""
    from roster_pipeline.cli.demo import run_demo

    run_demo(load_settings(), students, format)


@app.command()
def ui(
    port: int = typer.Option(3000, min=0, max=65535, help="The port to listen on; 0: any free."),
    host: str = typer.Option("127.0.0.1", help="The address to listen on."),
    workspace: str | None = typer.Option(
        None, help="A workspace.yaml that names the code server, where it is a service of its own."
    ),
    daemon: bool = typer.Option(True, help="Run Dagster's daemon beside it."),
    read_only: bool = typer.Option(
        False, "--read-only", help="Without a daemon and without a way to change anything."
    ),
    open_browser: bool = typer.Option(False, "--open", help="Open the page in a browser."),
) -> None:
    """Serve the Dagster UI, with the daemon beside it.

    ROSTER_UI_URL names the address of a proxy with login in front of it.
    """
    from roster_pipeline.cli.running import register_districts
    from roster_pipeline.cli.ui import UiError, UiOptions, serve_ui
    from roster_pipeline.districts.files import district_ids

    settings = load_settings()
    prepare_home(settings)
    if not read_only:
        register_districts(settings, district_ids(settings.districts))
    options = UiOptions(
        port=port,
        host=host,
        # Where nothing is said, links lead to the port that is served, not to the usual one.
        url=load_mail_settings().ui_url if os.environ.get("ROSTER_UI_URL") else None,
        workspace=Path(workspace) if workspace else None,
        daemon=daemon,
        read_only=read_only,
        open_browser=open_browser,
    )
    try:
        serve_ui(settings, options)
    except UiError as error:
        fail(str(error))


def main() -> None:
    """Run the command line; what a person can mend ends in one line, not in a traceback."""
    os.umask(0o077)
    try:
        app()
    except Exception as error:
        says = _in_plain_words(error)
        if says is None:
            raise
        try:
            fail(says, 2)
        except typer.Exit as end:
            raise SystemExit(end.exit_code) from None


def _in_plain_words(error: Exception) -> str | None:
    """What is wrong with the surroundings (settings, disk, database); None for a fault of ours."""
    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'The system'}: {error.strerror or error}"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "WarehouseError" in kinds or "SuiteError" in kinds:
        return str(error)
    if "OperationalError" in kinds or "DatabaseError" in kinds:
        # The driver's first line says why; what follows is the statement.
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return f"The warehouse cannot be used: {reason}. See ROSTER_WAREHOUSE_URL."
    return None
