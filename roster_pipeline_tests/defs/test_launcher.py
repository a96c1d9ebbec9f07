"""A run whose process died with all that could have told of it does not block its district.

Guards against a district that waited two hours for its next import after a power cut.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from roster_pipeline.defs import launcher
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline.warehouse.lock import district_lock


@pytest.fixture
def instance(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance as `roster` makes it, in which a run need not have been started long ago."""
    monkeypatch.setattr(launcher, "STARTS_WITHIN_S", 0)
    settings = load_settings()
    prepare_home(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster))
    with dg.DagsterInstance.get() as instance:
        yield instance


def started(instance: dg.DagsterInstance, **tags: str) -> str:
    run = create_run_for_test(
        instance,
        "import_roster",
        status=dg.DagsterRunStatus.STARTING,
        tags={f"dagster/{key}": value for key, value in tags.items()},
    )
    start = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "import_roster")
    instance.report_dagster_event(start, run.run_id)
    return run.run_id


def look(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    """The run's status after Dagster's run monitoring has looked at it."""
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    monitor_started_run(instance, None, record, logging.getLogger("test"))  # type: ignore[arg-type]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_district_nobody_locks_has_failed_at_the_second_look(
    instance: dg.DagsterInstance,
) -> None:
    run_id = started(instance, partition="oak")
    assert look(instance, run_id) is dg.DagsterRunStatus.STARTED
    assert look(instance, run_id) is dg.DagsterRunStatus.FAILURE
    (failure,) = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "The process of this run is gone" in (failure.message or "")


def test_a_run_that_holds_its_lock_goes_on(instance: dg.DagsterInstance) -> None:
    run_id, engine = (
        started(instance, partition="oak"),
        open_warehouse(load_settings().warehouse_url),
    )
    for _ in range(2):
        assert look(instance, run_id) is dg.DagsterRunStatus.STARTED
        with district_lock(engine, "oak"):
            assert look(instance, run_id) is dg.DagsterRunStatus.STARTED
    engine.dispose()


def test_a_run_that_has_just_started_is_left_alone(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "STARTS_WITHIN_S", 3600)
    run_id = started(instance, partition="oak")
    for _ in range(3):
        assert look(instance, run_id) is dg.DagsterRunStatus.STARTED


def test_of_a_run_without_a_district_nothing_is_known(instance: dg.DagsterInstance) -> None:
    run_id = started(instance)
    for _ in range(3):
        assert look(instance, run_id) is dg.DagsterRunStatus.STARTED
