"""What the tests of the landing zones' sensor and schedule need: districts, deliveries, imports."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import Engine

from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.defs.schedules import sync_schedule
from roster_pipeline.defs.sensors import landing_zone_sensor
from roster_pipeline.landing.zones import record_taken
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline_tests.oneroster.packages import contents, entries, zipped


def district(
    district_id: str, *, trigger: Sequence[str] = ("on_arrival",), **settings: Any
) -> None:
    """Write a district's file."""
    prepare_home(load_settings())
    sftp = {"trigger": list(trigger), **settings.pop("sftp", {})}
    told = {"name": district_id.title(), "apps": {"sftp": sftp}, **settings}
    path = load_settings().districts / f"{district_id}.yaml"
    path.write_text(yaml.safe_dump(told))


def uploaded(
    district_id: str, mark: str = "", *, age: float = 90, name: str = "OneRoster.zip"
) -> Path:
    """A whole delivery in a landing zone, so many seconds old; another mark, other bytes."""
    path = load_settings().landing / district_id / name
    files = contents(orgs=lambda old: old + mark.encode())
    # The bytes of a zip hold the time; the same mark must be the same bytes.
    packed = [(zipfile.ZipInfo(str(n), (2026, 8, 1, 0, 0, 0)), data) for n, data in entries(files)]
    return aged(zipped(path, packed), age)


def aged(path: Path, seconds: float) -> Path:
    """The file, as if it had been left alone for so long."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """One look of the sensor."""
    context = dg.build_sensor_context(instance, cursor=cursor)
    result = landing_zone_sensor(context, house=HouseResource())
    assert isinstance(result, dg.SensorResult)
    return result


def asked(result: dg.SensorResult) -> dict[str, dg.RunRequest]:
    """The runs a look asked for, by district."""
    return {str(request.partition_key): request for request in result.run_requests or ()}


def evaluate(instance: dg.DagsterInstance, moment: str) -> list[dg.RunRequest] | dg.SkipReason:
    """One evaluation of the schedule at a moment, in UTC."""
    when = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    resources = {"house": HouseResource()}
    # A context that is not closed lets its instance be the current one of a later test.
    with dg.build_schedule_context(instance, when, resources=resources) as context:
        result = sync_schedule(context)
    assert isinstance(result, list | dg.SkipReason)
    return result


def content_of(request: dg.RunRequest) -> str:
    """The content a run is to import."""
    return str(request.run_config["ops"]["landing_snapshot"]["config"]["content"])


def warehouse() -> Engine:
    return open_warehouse(load_settings().warehouse_url)


def imported(
    district_id: str, content: str | None, status: ledger.Status = "imported", app: str = "sftp"
) -> int:
    """Book an import, of what was in the landing zone when there is a content."""
    engine, now = warehouse(), datetime.now(UTC)
    number = ledger.start_import(engine, district_id, app, None, False, "", now)
    with engine.begin() as conn:
        if content is not None:
            record_taken(conn, district_id, content, number, now)
            ledger.record_delivery(conn, number, f"{district_id}/deliveries/{content}")
        ledger.finish_import(conn, number, status, datetime.now(UTC))
    engine.dispose()
    return number


def run_of(
    instance: dg.DagsterInstance,
    district_id: str,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> dg.DagsterRun:
    """A run of a district."""
    tags = {"dagster/partition": district_id}
    return create_run_for_test(instance, "import_roster", status=status, tags=tags)
