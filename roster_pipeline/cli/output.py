"""How commands print: tables for people, JSON and CSV for programs, one tone for errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

NARROWEST = 110
"""Columns assumed where the width is not known, as in a pipe or a log."""


class Format(StrEnum):
    """What a command prints."""

    table = "table"
    json = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="table for people, json for programs.")
]


def console() -> Console:
    """Where tables go: standard output, as wide as the terminal is."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=NARROWEST)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> Table:
    """A table; columns whose values are numbers are set right."""
    rows = [list(row) for row in rows]
    built = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        built.add_column(column, justify=justify, no_wrap=numeric, overflow="fold")
    for row in rows:
        built.add_row(
            *("" if v is None else f"{v:,}" if isinstance(v, int) else str(v) for v in row)
        )
    return built


def fail(message: str, code: int = 1) -> NoReturn:
    """Say on standard error what is wrong and end with an exit code."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(message, style="red", markup=False)
    raise typer.Exit(code)
