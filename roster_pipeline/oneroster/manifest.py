"""manifest.csv: which version the files are of, and which of them are bulk, delta or absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.oneroster.standard import FILE_NAMES, VERSIONS
from roster_pipeline.oneroster.text import csv_lines, to_utf8

FILE = "manifest.csv"
Mode = Literal["bulk", "delta"]
MODES = ("bulk", "delta", "absent")


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    modes: by file name, `bulk`, `delta` or `absent`; files it does not name are not in it.
    """

    version: str
    modes: Mapping[str, str]
    findings: tuple[Finding, ...] = field(default=())

    def mode(self, name: str) -> Mode:
        """How a file that arrived is to be taken: delta where told so, else bulk."""
        return "delta" if self.modes.get(name) == "delta" else "bulk"


def read_manifest(content: bytes) -> Manifest:
    """Read manifest.csv (OneRoster 1.1 and 1.2; two columns, property and value).

    The header's spelling, capitals, blanks around words and the order of rows do not matter.
    Raises DeliveryRefused when the version is missing or unknown, or when it cannot be known
    whether a file that we read is bulk or delta.
    """
    text, told = to_utf8(FILE, content)
    cells = _cells(text)
    number, version = cells.get("oneroster.version", (1, ""))
    if not version:
        raise DeliveryRefused([finding("manifest_unreadable", file=FILE)])
    known = re.fullmatch(r"(\d\.\d)(\.\d)?", version)
    if known is None or known[1] not in VERSIONS:
        allowed = ", ".join(VERSIONS)
        words = {"found": version[:40], "allowed": allowed, "field": "oneroster.version"}
        raise DeliveryRefused([finding("version_unknown", file=FILE, row=number, **words)])
    if cells.get("manifest.version", (0, ""))[1] != "1.0":
        told.append(finding("manifest_version", file=FILE, field="manifest.version"))
    modes = {
        FILE_NAMES.get(name, name): (row, mode.lower())
        for name, (row, mode) in (
            (key.removeprefix("file."), cell)
            for key, cell in cells.items()
            if key.startswith("file.")
        )
    }
    wrong = [
        finding("mode_unknown", file=FILE, row=row, field=f"file.{name}", found=_said(mode))
        for name, (row, mode) in modes.items()
        if mode not in MODES and any(name in v.files for v in VERSIONS.values())
    ]
    if wrong:
        raise DeliveryRefused(wrong)
    return Manifest(known[1], {name: mode for name, (_, mode) in modes.items()}, tuple(told))


def _cells(text: bytes) -> dict[str, tuple[int, str]]:
    """By property, in lower case: the row it stands in, and its value. Raises DeliveryRefused when
    two rows say different things of one property."""
    cells: dict[str, tuple[int, str]] = {}
    for number, fields in enumerate(csv_lines(text.decode()), start=1):
        if len(fields) < 2:
            continue
        key, value = fields[0].strip().lower(), fields[1].strip()
        if key in cells and cells[key][1].lower() != value.lower():
            words = {"row": number, "field": key}
            raise DeliveryRefused([finding("manifest_contradicts", file=FILE, **words)])
        cells.setdefault(key, (number, value))
    return cells


def _said(mode: str) -> str:
    return mode[:40] or "nothing"
