"""Imports that are started at the same time, by processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.end_to_end.deliveries import district, students, without_people, written

COMMAND = "from roster_pipeline.cli.main import main; main()"


@pytest.fixture
def started(
    roster: Roster, nothing_required: None, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> Roster:
    monkeypatch.setenv("ROSTER_WAREHOUSE_URL", warehouse_url)
    for district_id in ("oak", "elm"):
        assert roster("district", "add", district_id, "--name", district_id).code == 0
    open_warehouse(warehouse_url).dispose()
    return roster


def import_at_once(*imports: tuple[str, Path]) -> list[tuple[int, str]]:
    """Each import's exit code and what it printed."""
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, "import", district_id, str(package)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        for district_id, package in imports
    ]
    said = [process.communicate()[0] for process in processes]
    return [(p.returncode, text) for p, text in zip(processes, said, strict=True)]


@pytest.mark.slow
def test_two_imports_of_one_district_are_never_interleaved_and_one_of_another_goes_on(
    started: Roster, warehouse_url: str, tmp_path: Path
) -> None:
    frames = district(300)
    one = written(tmp_path, "one", frames)
    other = written(tmp_path, "other", without_people(frames, students(frames).head(1)))

    *said, elsewhere = import_at_once(("oak", one), ("oak", other), ("elm", one))

    assert elsewhere[0] == 0, elsewhere
    counts = started("overview", "elm", "--format", "json").json()
    assert sum(r["records"] for r in counts if r["enrollment_type"] == "student") == 300
    codes = sorted(code for code, _ in said)
    engine = open_warehouse(warehouse_url)
    with reading(engine) as conn:
        entries = sorted(ledger.imports(conn, "oak"), key=lambda entry: entry.id)
    engine.dispose()
    assert {entry.status for entry in entries} == {"imported"}
    if codes == [0, 1]:
        refused = next(text for code, text in said if code == 1)
        assert "Another import of oak is running" in refused
        assert len(entries) == 1
    else:
        # The second came when the first had ended.
        assert codes == [0, 0], said
        assert entries[0].finished_at is not None
        assert entries[0].finished_at <= entries[1].started_at
