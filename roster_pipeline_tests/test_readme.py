"""The README is true: all its steps, from the demo to the undo, run as written, with OpenSSH's
`sftp` and a server of ours, and print what it shows.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.console import Console, replayed
from roster_pipeline_tests.serving import ROOT

README = ROOT / "README.md"


@pytest.mark.slow
def test_the_steps_of_the_readme_run_as_written_and_print_what_it_shows(tmp_path: Path) -> None:
    page = README.read_text(encoding="utf-8")
    assert page.count("sftp> put OneRoster.zip") == 3
    with Console(tmp_path) as console:
        assert page == replayed(page, console), "run `make docs`"
