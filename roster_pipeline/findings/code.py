"""A kind of finding: the stage that tells it, what it does to the record, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["fatal", "skipped", "reported"]


@dataclass(frozen=True)
class Code:
    """A kind of finding: the stage that tells it, its severity, and its words.

    message and how_to_fix may name `{field}`, `{file}`, `{attribute}` and what the teller passes
    as details.
    """

    stage: str
    severity: Severity
    title: str
    message: str
    how_to_fix: str
