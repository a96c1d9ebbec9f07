"""What is done for all districts at once costs no more queries and reads no more files when there
are more of them. Guards against one query for each, which 2,000 districts make seconds of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, event

from roster_pipeline.districts import files
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.defs.watching import (
    asked,
    district,
    evaluate,
    imported,
    tick,
    uploaded,
)

FEW = ["ash", "birch", "cedar"]
MANY = [*FEW, *(f"oak-{number}" for number in range(17))]
BEFORE, SLOT, NEXT_SLOT = "2026-11-24T01:55", "2026-11-24T02:00", "2026-11-25T02:00"

Work = Callable[[Callable[[], Any]], tuple[int, int]]


@pytest.fixture
def instance(home: Path, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def work(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Says of something how many queries it sends, Dagster's included, and how many districts'
    files it reads."""
    queries: list[str] = []
    read: list[str] = []
    load = files.load_district

    def counted_load(folder: Path, district_id: str, **more: Any) -> Any:
        read.append(district_id)
        return load(folder, district_id, **more)

    def count(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        queries.append(statement)

    def measured(what: Callable[[], Any]) -> tuple[int, int]:
        queries.clear()
        read.clear()
        what()
        return len(queries), len(read)

    monkeypatch.setattr(files, "load_district", counted_load)
    event.listen(Engine, "before_cursor_execute", count)
    yield measured
    event.remove(Engine, "before_cursor_execute", count)


def delivered(districts: list[str]) -> None:
    """Districts that are imported by the clock and on arrival, each with a delivery."""
    for district_id in districts:
        schedule = {"when": "daily", "at": "02:00"}
        both = ["on_arrival", "schedule"]
        district(district_id, trigger=both, timezone="UTC", schedule=schedule)
        uploaded(district_id)


def import_all(instance: dg.DagsterInstance) -> list[str]:
    """Let what the sensor asks for be imported; for which districts it did."""
    requests = asked(tick(instance))
    for district_id, request in requests.items():
        imported(district_id, request.run_config["ops"]["landing_snapshot"]["config"]["content"])
    return sorted(requests)


def test_more_districts_cost_the_sensor_and_the_schedule_no_more_queries_and_files(
    instance: dg.DagsterInstance, work: Work
) -> None:
    spent = []
    for districts in (FEW, MANY):
        new = [d for d in districts if districts is FEW or d not in FEW]
        delivered(new)
        tick(instance)
        found: list[str] = []
        looks = [work(lambda found=found: found.extend(asked(tick(instance))))]
        assert sorted(found) == sorted(new)
        assert import_all(instance) == sorted(new)
        looks += [work(lambda: tick(instance))]
        evaluate(instance, BEFORE)
        due: list[Any] = []
        slot = SLOT if districts is FEW else NEXT_SLOT
        looks += [work(lambda due=due, slot=slot: due.extend(evaluate(instance, slot)))]
        assert len(due) == len(districts)
        spent.append(looks)
    few, many = spent
    assert many == few
    assert {read for _, read in few} == {0}


def test_more_districts_cost_their_list_no_more_queries(roster: Roster, work: Work) -> None:
    district("ash")
    imported("ash", None)
    roster("district", "list")
    queries, _ = work(lambda: roster("district", "list"))
    for district_id in MANY:
        district(district_id)
        imported(district_id, None)
    assert work(lambda: roster("district", "list"))[0] == queries
    listed = roster("district", "list", "--format", "json").json()
    assert [d["district"] for d in listed if d["status"] == "imported"] == sorted(MANY)
