"""How a mail is written: the templates, and the words that all mails share.

HTML is escaped by itself: a class called `<script>` stays a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from roster_pipeline.findings import CODES
from roster_pipeline.reports.causes import counted


@dataclass(frozen=True)
class Letter:
    """What a mail says, in plain text and in HTML."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Step:
    """One thing to do, and the command or address for it, if there is one."""

    what: str
    command: str | None = None


def write(template: str, subject: str, **words: object) -> Letter:
    """The letter that a pair of templates makes of these words."""
    text, html = (
        _environment().get_template(f"{template}.{form}").render(subject=subject, **words)
        for form in ("txt", "html")
    )
    return Letter(subject, text, html)


def moment_in_words(moment: datetime, zone: ZoneInfo) -> str:
    """«Tuesday 24 November 2026, 06:00», as the district's clock shows it."""
    local = moment.astimezone(zone)
    return f"{local:%A} {local.day} {local:%B %Y, %H:%M}"


def rule_in_words(code: str, enrollment_type: str | None, number: int) -> str:
    """«412 classes: school_id leads nowhere»; a finding of no type is about rows."""
    noun = (enrollment_type or "row").replace("_", " ")
    return f"{counted(noun, number)}: {CODES[code].title}"


def is_left_out(kinds: pd.DataFrame) -> pd.Series[bool]:
    """Which kinds of findings (columns code, severity) are of rows that did not go in: with them,
    what is listed is what a hold counts. Of a row that stands twice the record goes in, but not the
    second row."""
    return (kinds["severity"] == "skipped") | (kinds["code"] == "record_repeated")


def run_link(ui_url: str, run_id: str | None) -> str | None:
    """Where the UI shows a run."""
    return f"{ui_url}/runs/{run_id}" if run_id else None


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("roster_pipeline.notifications"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
