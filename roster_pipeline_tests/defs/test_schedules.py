"""The schedule: each district once at its slot, in its own time, and never beside another run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import select

from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.tables import outbox
from roster_pipeline_tests.defs.watching import (
    aged,
    content_of,
    district,
    evaluate,
    imported,
    run_of,
    tick,
    uploaded,
    warehouse,
)

NIGHTLY = {"when": "daily", "at": "02:00"}
CHICAGO = {"timezone": "America/Chicago", "schedule": NIGHTLY}
BEFORE, SLOT, LATER = "2026-11-24T07:55", "2026-11-24T08:00", "2026-11-24T08:05"
AN_HOUR_LATER, NEXT_SLOT = "2026-11-24T09:00", "2026-11-25T08:00"


@pytest.fixture
def instance(home: Path, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def due(result: list[dg.RunRequest] | dg.SkipReason) -> list[str]:
    """The districts a run is asked for."""
    return [] if isinstance(result, dg.SkipReason) else [str(r.partition_key) for r in result]


def mails() -> list[str]:
    with reading(warehouse()) as conn:
        return list(conn.scalars(select(outbox.c.kind)))


def test_a_district_is_due_once_at_its_own_time_of_day(instance: dg.DagsterInstance) -> None:
    district("oak", trigger=["schedule"], **CHICAGO)
    district("elm", trigger=["schedule"], timezone="Europe/Berlin", schedule=NIGHTLY)
    uploaded("oak")
    tick(instance)
    assert due(evaluate(instance, BEFORE)) == []

    (request,) = evaluate(instance, SLOT)

    assert request.partition_key == "oak"
    assert request.run_key == "oak:2026-11-24T08:00"
    assert request.tags == {"roster/trigger": "schedule"}
    assert len(content_of(request)) == 64
    assert instance.has_dynamic_partition("district", "oak")
    assert due(evaluate(instance, LATER)) == []
    assert due(evaluate(instance, NEXT_SLOT)) == ["oak"]


def test_a_daemon_that_was_down_catches_up_once(instance: dg.DagsterInstance) -> None:
    district("oak", trigger=["schedule"], **CHICAGO)
    uploaded("oak")
    tick(instance)
    evaluate(instance, "2026-11-19T12:00")
    assert due(evaluate(instance, "2026-11-24T15:20")) == ["oak"]
    assert due(evaluate(instance, "2026-11-24T15:25")) == []


def test_an_evaluation_that_was_interrupted_asks_for_the_same_again(
    instance: dg.DagsterInstance,
) -> None:
    district("oak", trigger=["schedule"], **CHICAGO)
    uploaded("oak")
    tick(instance)
    evaluate(instance, BEFORE)
    first, again = evaluate(instance, SLOT), evaluate(instance, SLOT)
    assert isinstance(first, list) and isinstance(again, list)
    assert [r.run_key for r in first] == [r.run_key for r in again] == ["oak:2026-11-24T08:00"]


def test_a_new_district_and_a_new_time_of_day_have_missed_nothing(
    instance: dg.DagsterInstance,
) -> None:
    district("oak", trigger=["schedule"], **CHICAGO)
    uploaded("oak")
    tick(instance)
    assert due(evaluate(instance, "2026-11-24T12:00")) == []
    district("oak", trigger=["schedule"], timezone="UTC", schedule=NIGHTLY | {"at": "10:00"})
    assert due(evaluate(instance, "2026-11-24T12:05")) == []
    assert due(evaluate(instance, "2026-11-25T10:00")) == ["oak"]


def test_a_district_with_a_run_in_flight_is_asked_for_when_that_has_ended(
    instance: dg.DagsterInstance,
) -> None:
    district("oak", trigger=["on_arrival", "schedule"], **CHICAGO)
    uploaded("oak")
    tick(instance)
    evaluate(instance, BEFORE)
    run = run_of(instance, "oak")
    skipped = evaluate(instance, SLOT)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "oak: a run of it has not ended; asked again."
    instance.delete_run(run.run_id)
    assert due(evaluate(instance, LATER)) == ["oak"]


def test_what_comes_a_little_late_is_still_taken(instance: dg.DagsterInstance) -> None:
    district("oak", trigger=["schedule"], **CHICAGO)
    evaluate(instance, BEFORE)
    skipped = evaluate(instance, SLOT)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "oak: the landing zone is empty; looked at again."
    uploaded("oak")
    tick(instance)
    assert due(evaluate(instance, LATER)) == ["oak"]


def test_a_slot_without_a_whole_delivery_passes_after_an_hour_and_is_told_once(
    instance: dg.DagsterInstance,
) -> None:
    district("oak", trigger=["schedule"], notifications={"alerts": ["it@oak.example"]}, **CHICAGO)
    path = uploaded("oak")
    path.write_bytes(path.read_bytes()[:-10])
    aged(path, 300)
    for moment in (BEFORE, SLOT, LATER, "2026-11-24T08:55"):
        assert due(evaluate(instance, moment)) == []
    assert mails() == []
    skipped = evaluate(instance, AN_HOUR_LATER)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "oak: OneRoster.zip is not whole yet."
    assert mails() == ["unfinished"]
    evaluate(instance, NEXT_SLOT)
    evaluate(instance, "2026-11-25T09:00")
    assert mails() == ["unfinished"]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("refused", "was refused"),
        ("held", "waits for a decision"),
        ("needs_school_mapping", "waits for schools to be mapped"),
        ("rejected", "was rejected"),
        ("undone", "was undone"),
    ],
)
def test_a_delivery_that_a_person_is_to_decide_on_is_not_imported_again_by_the_clock(
    instance: dg.DagsterInstance, status: ledger.Status, why: str
) -> None:
    district("oak", trigger=["schedule"], **CHICAGO)
    uploaded("oak")
    tick(instance)
    evaluate(instance, BEFORE)
    (request,) = evaluate(instance, SLOT)
    imported("oak", content_of(request), status)
    skipped = evaluate(instance, NEXT_SLOT)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == f"oak: the same delivery {why} (import 1)."


def test_a_district_without_schedule_or_its_trigger_is_never_due(
    instance: dg.DagsterInstance,
) -> None:
    district("oak", trigger=["schedule"])
    district("elm", trigger=["on_arrival"], **CHICAGO)
    for name in ("oak", "elm"):
        uploaded(name)
    tick(instance)
    evaluate(instance, BEFORE)
    skipped = evaluate(instance, SLOT)
    assert isinstance(skipped, dg.SkipReason) and skipped.skip_message == "No district is due."
    assert len(list(load_settings().districts.iterdir())) == 2
