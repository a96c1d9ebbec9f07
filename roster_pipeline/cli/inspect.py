"""`roster inspect`: the tool one gives to a district."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table

SHOWN_FINDINGS = 40


def inspect(
    files: Annotated[list[Path], typer.Argument(help="A zip, a folder or CSV files.")],
    format: FormatOption = Format.table,
) -> None:
    """Read a delivery without importing it: version, files, rows, and what is wrong with them."""
    from roster_pipeline.reports.inspection import inspect_delivery

    for path in files:
        if not path.exists():
            fail(f"{path} does not exist.", 2)
    inspection = inspect_delivery(files)
    told = inspection.as_json()
    if format is Format.json:
        print_json(told)
    else:
        out = console()
        if inspection.accepted:
            out.print(f"OneRoster {inspection.version}, can be read.")
            out.print()
            columns = ["file", "mode", "rows"]
            out.print(table(columns, [[f[c] for c in columns] for f in inspection.files]))
        else:
            out.print("An import would refuse this delivery.", style="red")
        out.print()
        if told["findings"]:
            columns = ["file", "row", "source_id", "severity", "message", "how_to_fix"]
            rows = [[f[c] for c in columns] for f in told["findings"][:SHOWN_FINDINGS]]
            out.print(table(["file", "row", "id", "severity", "what", "how to mend it"], rows))
        else:
            out.print("Nothing is wrong with it.")
        if len(told["findings"]) > SHOWN_FINDINGS:
            more = len(told["findings"]) - SHOWN_FINDINGS
            out.print(f"{more:,} more; all of them with --format json.")
    raise typer.Exit(0 if inspection.accepted else 4)
