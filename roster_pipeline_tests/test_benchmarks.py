"""The benchmark of imports: its floor does comparable work, and its tables say what was
measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.deliveries import write_deliveries
from benchmarks.floor import run as run_floor
from benchmarks.imports import DISTRICT, DISTRICT_FILE, comparable, library_seconds
from roster_pipeline_tests.conftest import Roster


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deliveries")
    write_deliveries(100, folder)
    return folder


def test_the_floor_receives_and_rejects_what_an_import_does(
    deliveries: Path, home: Path, roster: Roster, tmp_path: Path
) -> None:
    (home / "districts").mkdir(parents=True)
    (home / "districts" / f"{DISTRICT}.yaml").write_text(DISTRICT_FILE)
    package = deliveries / "rejected.zip"

    imported = comparable(roster("import", DISTRICT, package, "--format", "json").json())
    floor = run_floor(package, tmp_path / "floor.duckdb")["counts"]

    assert floor == imported
    assert (floor["student"]["received"], floor["student"]["rejected"]) == (100, 20)
    assert floor["enrollment"]["rejected"] > 0.3 * floor["enrollment"]["received"]


def test_a_second_pass_of_the_floor_finds_the_rows_that_changed(
    deliveries: Path, tmp_path: Path
) -> None:
    first = run_floor(deliveries / "clean.zip", tmp_path / "floor.duckdb")["counts"]
    again = run_floor(deliveries / "clean.zip", tmp_path / "floor.duckdb")["counts"]
    second = run_floor(deliveries / "changed.zip", tmp_path / "floor.duckdb")["counts"]
    third = run_floor(deliveries / "changed.zip", tmp_path / "floor.duckdb")["counts"]

    assert [_sum(first, k) for k in ("rejected", "deleted")] == [0, 0]
    assert _sum(first, "added") == _sum(first, "received") == _sum(again, "unchanged")
    assert second["enrollment"]["updated"] == round(first["enrollment"]["received"] * 0.01) > 0
    assert _sum(third, "unchanged") == _sum(first, "received")


def _sum(counts: dict[str, dict[str, int]], outcome: str) -> int:
    return sum(c[outcome] for c in counts.values())


def _run(system: str, case: str, how: str, seconds: float, **more: Any) -> dict[str, Any]:
    given = {"system": system, "case": case, "how": how, "seconds": seconds}
    return {"students": 100_000, "memory": None, "stages": {}, **given, **more}


RECORDED: dict[str, Any] = {
    "made": "2026-01-01",
    "rounds": 3,
    "machine": {"CPU": "Abacus, 2 cores"},
    "deliveries": {"100000": {"bytes": 81_000_000, "records": 1000, "rejected": 300}},
    "libraries": [{"pandas": 1.0, "dagster": 2.0}] * 3,
    "runs": [
        *(
            _run("floor", "first", "work", seconds, stages={"read": 1.0, "store": 0.5})
            for seconds in (2.0, 9.0, 1.0)
        ),
        *(
            _run("sqlite", "first", "work", seconds, stages={"parsed_roster": seconds - 1})
            for seconds in (5.0, 7.0, 6.0)
        ),
        _run("sqlite", "unchanged", "work", 1.25),
        _run("sqlite", "first", "process", 15.0, memory=1600),
    ],
}


def test_the_tables_say_medians_and_what_is_over_its_bound() -> None:
    text = report.as_text(RECORDED)

    assert "| SQLite: first import / floor | 3.00 | 4 | times |  |" in text
    assert "| SQLite: unchanged | 1.25 | 1 | s | **over** |" in text
    assert "| peak memory | 1,600 | 1536 | MiB | **over** |" in text
    assert "| `roster import`, whole process | 15 | 20 | s |  |" in text
    assert "| 100,000 students, first import | 2.00 (1.00–9.00) | 6.00 (5.00–7.00) × 3.0 |" in text
    assert "| parsed_roster | 5.00 |" in text
    assert "| before, between, after | 1.00 |" in text
    assert "| all | 3.00 |" in text


def test_the_chart_has_a_bar_for_each_median() -> None:
    chart = report.chart(RECORDED)

    assert "first import, floor 2,000, first import, SQLite 6,000, unchanged, SQLite 1,250" in chart


def test_the_page_and_the_chart_are_those_of_the_kept_results() -> None:
    kept = json.loads(report.RESULTS.read_text())
    page = report.README.read_text()

    assert report.with_tables(page, report.as_text(kept)) == page
    assert report.chart(kept) == report.CHART.read_text()


def test_a_library_pays_for_what_it_is_the_first_to_ask_for() -> None:
    importtime = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 | json
import time:      2000 |       2000 |     numpy
import time:      3000 |       5000 |   pandas
import time:       500 |       5600 | roster_pipeline.roster
import time:      4000 |       4000 |   numpy.random
import time:      1000 |       5000 | dagster
"""

    seconds = library_seconds(importtime)

    assert seconds == pytest.approx(
        {"Python": 0.0001, "pandas": 0.005, "roster_pipeline": 0.0005, "dagster": 0.005}
    )
