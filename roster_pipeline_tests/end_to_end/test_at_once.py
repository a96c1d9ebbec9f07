"""Imports that are started at the same time, by processes of their own, on SQLite. (Many at once on
PostgreSQL are in test_daemon.py, its lock between processes in test_lock.py.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.end_to_end.deliveries import district, students, without_people, written
from roster_pipeline_tests.serving import ROOT

AT_ONCE = """
import multiprocessing, os, sys
import roster_pipeline.definitions
from roster_pipeline.cli.main import main

def run(district_id, package):
    log = os.open(f"{package}-{district_id}.log", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv[1:] = ["import", district_id, package]
    main()

imports = zip(sys.argv[1::2], sys.argv[2::2])
processes = [multiprocessing.get_context("fork").Process(target=run, args=i) for i in imports]
for process in processes:
    process.start()
for process in processes:
    process.join()
print(*(process.exitcode for process in processes))
"""
"""Forks a `roster import` for each pair of a district and a package, so that none of them has to
begin with importing what it is made of, and prints their exit codes."""


@pytest.fixture
def started(roster: Roster, nothing_required: None) -> Roster:
    for district_id in ("oak", "elm"):
        assert roster("district", "add", district_id, "--name", district_id).code == 0
    open_warehouse(load_settings().warehouse_url).dispose()
    return roster


def import_at_once(*imports: tuple[str, Path]) -> list[tuple[int, str]]:
    """Each import's exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, *(str(part) for pair in imports for part in pair)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [Path(f"{package}-{district_id}.log").read_text() for district_id, package in imports]
    return list(zip(map(int, done.stdout.split()), said, strict=True))


@pytest.mark.slow
def test_two_imports_of_one_district_are_never_interleaved_and_one_of_another_goes_on(
    started: Roster, tmp_path: Path
) -> None:
    frames = district(300)
    one = written(tmp_path, "one", frames)
    other = written(tmp_path, "other", without_people(frames, students(frames).head(1)))

    *said, elsewhere = import_at_once(("oak", one), ("oak", other), ("elm", one))

    assert elsewhere[0] == 0, elsewhere
    counts = started("overview", "elm", "--format", "json").json()
    assert sum(r["records"] for r in counts if r["enrollment_type"] == "student") == 300
    codes = sorted(code for code, _ in said)
    engine = open_warehouse(load_settings().warehouse_url)
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
