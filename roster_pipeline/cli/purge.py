"""`roster purge`: takes away what has had its days."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from roster_pipeline.cli.lookup import open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import load_keep_days, load_settings

SHOWN_DISTRICTS = 3


def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and leave everything.")
    ] = False,
    format: FormatOption = Format.table,
) -> None:
    """Take away files, archived deliveries and artifacts that have had their days and that nothing
    needs; say what stays, and why."""
    from roster_pipeline.landing import retention

    keep, now = load_keep_days(), datetime.now(UTC)
    done = retention.purge(load_settings(), open_or_fail(), keep, now, dry_run=dry_run)
    files, size = done.gone("files"), done.gone("size")
    if format is Format.json:
        told = {"dry_run": dry_run, "files": files, "bytes": size, "log_lines": done.log_lines}
        print_json({**told, "lines": done.lines(), "troubles": done.troubles})
    else:
        rows = [
            [
                line["what"],
                f"{line['kept_days']} days",
                line["outcome"] if line["outcome"] != retention.GOES or not dry_run else "would go",
                _first(line["districts"]),
                line["files"],
                _size(line["bytes"]),
            ]
            for line in done.lines()
        ]
        if rows:
            console().print(
                table(["what", "kept for", "outcome", "districts", "files", "size"], rows)
            )
        verb = "would go" if dry_run else "gone"
        console().print(f"{files:,} files, {_size(size)} {verb}.")
    if done.troubles:
        fail("Not all of it could be looked at:\n" + "\n".join(done.troubles))


def _first(districts: list[str]) -> str:
    more = len(districts) - SHOWN_DISTRICTS
    shown = ", ".join(districts[:SHOWN_DISTRICTS])
    return f"{shown} and {more} more" if more > 0 else shown


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB"
