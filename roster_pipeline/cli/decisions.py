"""Commands with which a person decides on an import: approve, reject, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from roster_pipeline.cli.lookup import ImportArgument, import_or_fail, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json
from roster_pipeline.cli.summary import end_with_summary
from roster_pipeline.settings import load_settings

if TYPE_CHECKING:
    from roster_pipeline.warehouse.ledger import Import

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept with the import.")]
PART = {"adds", "updates"}


def add_commands(app: typer.Typer) -> None:
    """Hang the commands of this module on the command line."""
    app.command()(approve)
    app.command()(reject)
    app.command()(undo)


def approve(
    import_id: ImportArgument,
    reason: ReasonOption,
    only: Annotated[
        str | None,
        typer.Option(help="adds,updates: what it would delete waits for the next import."),
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Merge what a held import has shown. It is held again when that is not the same any more."""
    from roster_pipeline.cli.running import ImportNotStarted, run_resumed
    from roster_pipeline.warehouse.holds import ADDS_AND_UPDATES

    words = {word.strip() for word in only.split(",")} if only else set()
    if words and words not in (PART, {*PART, "deletes"}):
        fail(
            f"--only {only}: additions and updates lean on one another, and can be approved "
            f"together only: {ADDS_AND_UPDATES}.",
            2,
        )
    imported = _waiting(import_id, "approved", reason)
    part = ADDS_AND_UPDATES if words == PART else None
    try:
        run_resumed(load_settings(), imported.district_id, import_id, reason, part)
    except ImportNotStarted as error:
        fail(str(error))
    end_with_summary(import_id, format)


def reject(
    import_id: ImportArgument, reason: ReasonOption, format: FormatOption = Format.table
) -> None:
    """Close a held import; the same delivery, sent again, will be held again."""
    from roster_pipeline.cli.running import ImportNotStarted, run_reject

    imported = _waiting(import_id, "rejected", reason)
    try:
        run_reject(load_settings(), imported.district_id, import_id, reason)
    except ImportNotStarted as error:
        fail(str(error))
    if format is Format.json:
        print_json({"import_id": import_id, "status": "rejected"})
    else:
        console().print(f"Import {import_id} is rejected; the warehouse is as it was.")


def _waiting(import_id: int, what: str, reason: str) -> Import:
    """The held import that is to be decided on, or exit code 2."""
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import reading

    imported = _import(import_id, reason)
    with reading(open_or_fail()) as conn:
        waiting = ledger.waiting_import(conn, imported.district_id)
    if imported.status == "needs_school_mapping":
        fail(f"Import {import_id} waits for schools: roster schools {imported.district_id}.", 2)
    if imported.status != "held":
        hint = f" Import {waiting.id} waits." if waiting else ""
        fail(f"{ledger.NotWaiting(imported, what)}{hint}", 2)
    return imported


def _import(import_id: int, reason: str) -> Import:
    """The import that is to be decided on, or exit code 2."""
    from roster_pipeline.warehouse.database import reading

    if not reason.strip():
        fail("--reason must say why.", 2)
    with reading(open_or_fail()) as conn:
        return import_or_fail(conn, import_id)


def undo(
    import_id: ImportArgument,
    reason: ReasonOption,
    format: FormatOption = Format.table,
) -> None:
    """Give the roster the state it had before an import (and before those after it)."""
    from roster_pipeline.cli.running import ImportNotStarted, run_undo

    imported = _import(import_id, reason)
    if imported.status != "imported":
        fail(
            f"Import {import_id} is {imported.status.replace('_', ' ')}; only one that is imported "
            "can be undone.",
            2,
        )
    try:
        undo_id = run_undo(load_settings(), imported.district_id, import_id, reason)
    except ImportNotStarted as error:
        fail(str(error))
    end_with_summary(undo_id, format)
