"""Writes what docs/ and the README have from the code: the reference pages (`docs.reference`), what
is installed (`docs.licences`), and what commands print on pages that show them (`docs.console`).

Run by `make docs`; a test runs it too and fails where what is committed is something else.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from docs.console import Console, replayed
from docs.licences import licences_page
from docs.reference import DOCS, findings_page, settings_page, statuses_page

PAGES = {
    "settings.md": settings_page,
    "findings.md": findings_page,
    "statuses.md": statuses_page,
    "licences.md": licences_page,
}
"""The pages that are written from the code and from what is installed, by their name."""

REPLAYED = (
    DOCS.parent / "README.md",
    *(DOCS / name for name in ("bad-night.md", "for-districts.md", "operating.md")),
)
"""The pages whose commands are run, from top to bottom, each page in an installation of its own."""


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    for path in REPLAYED:
        with tempfile.TemporaryDirectory(prefix="roster-") as folder, Console(Path(folder)) as here:
            path.write_text(replayed(path.read_text(encoding="utf-8"), here), encoding="utf-8")


if __name__ == "__main__":
    main()
