"""Many imports at once, by the real daemon, with Dagster's history and the warehouse in PostgreSQL,
as deploy/postgres has it.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
)

from roster_pipeline.defs.schedules import EVERY, sync_schedule
from roster_pipeline.notifications.alerts import post_alerts
from roster_pipeline.notifications.outbox import posted_before
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.defs.watching import district, evaluate, tick, uploaded
from roster_pipeline_tests.oneroster.packages import zipped
from roster_pipeline_tests.serving import LAUNCH, LOCATION, ROOT, launch_params, serving

BY_ARRIVAL = ["ash", "birch", "cedar", "elm", "fir"]
BY_THE_CLOCK = "oak"
ALL = [*BY_ARRIVAL, BY_THE_CLOCK]
AGAIN = "ash"
"""Imported twice: the second waits for the first."""
FAULTY = "birch"
"""Gets a delivery that must be refused, after its first."""
KILLED = "cedar"


@pytest.fixture
def dagster_home(
    home: Path, nothing_required: None, postgresql_server: Any, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home on PostgreSQL, with room for six imports at once."""
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as conn:
        for name in ("dagster_of_daemon", "warehouse_of_daemon"):
            conn.execute(f"CREATE DATABASE {name}")
    dagster_url = str(postgresql_server.get_uri(database="dagster_of_daemon"))
    monkeypatch.setenv(
        "DAGSTER_POSTGRES_URL", dagster_url.replace("postgresql:", "postgresql+psycopg2:")
    )
    monkeypatch.setenv(
        "ROSTER_WAREHOUSE_URL", postgresql_server.get_uri(database="warehouse_of_daemon")
    )
    settings = load_settings()
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster))
    settings.dagster.mkdir(parents=True)
    shipped = (ROOT / "deploy" / "postgres" / "dagster.yaml").read_text(encoding="utf-8")
    roomy, changed = re.subn(r"max_concurrent_runs: \d+", "max_concurrent_runs: 6", shipped)
    assert changed == 1
    (settings.dagster / "dagster.yaml").write_text(roomy, encoding="utf-8")
    prepare_home(settings)
    return settings.dagster


def due_at_once(instance: dg.DagsterInstance, slot: datetime) -> None:
    """Let Dagster think that the schedule has been running since just before a slot."""
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name=LOCATION)
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(location, "__repository__"), sync_schedule.name
    )
    since = ScheduleInstigatorData(
        str(sync_schedule.cron_schedule), (slot - timedelta(seconds=1)).timestamp()
    )
    instance.add_instigator_state(
        InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, since)
    )


def until(what: Callable[[], Any]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + 300
    while not (answer := what()):
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.2)
    return answer


def process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The process in which a run is executed, once it is."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if found := re.search(r"Started process for run \(pid: (\d+)\)", entry.message):
            return int(found[1])
    return None


@pytest.mark.slow
def test_ticks_start_six_districts_side_by_side_and_a_killed_run_harms_none(
    dagster_home: Path, postgresql_server: Any, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    slot = now - (now - datetime.min.replace(tzinfo=UTC)) % EVERY
    alerts = {"alerts": ["it@district.example"]}
    for district_id in BY_ARRIVAL:
        apps = {"sftp": {"trigger": ["on_arrival"]}, "csv_upload": {}}
        district(district_id, apps=apps, notifications=alerts)
    schedule = {"when": "daily", "at": f"{slot:%H:%M}"}
    district(BY_THE_CLOCK, trigger=["schedule"], timezone="UTC", schedule=schedule)
    for district_id in ALL:
        uploaded(district_id, age=3600)
    refused = zipped(tmp_path / "OneRoster.zip", [("orgs.csv", b"")])
    url = postgresql_server.get_uri(database="warehouse_of_daemon")
    engine = open_warehouse(load_settings().warehouse_url)

    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        tick(instance)  # the first of the two looks that a delivery needs
        evaluate(instance, f"{slot - EVERY:%Y-%m-%dT%H:%M}")  # from which on oak's slots count
        due_at_once(instance, slot)
        with (
            psycopg.connect(url) as gate,
            serving(load_settings().home) as ui,
        ):
            # No import gets on to its plan until this transaction ends.
            gate.execute("LOCK TABLE students IN ACCESS EXCLUSIVE MODE")

            def runs(**having: str) -> list[dg.RunRecord]:
                return list(instance.get_run_records(dg.RunsFilter(tags=having), ascending=True))

            def started() -> dict[str, dg.RunRecord]:
                return {
                    record.dagster_run.tags["dagster/partition"]: record
                    for record in runs()
                    if record.dagster_run.status is dg.DagsterRunStatus.STARTED
                }

            first = until(lambda: len(now := started()) == len(ALL) and now)
            assert {d: r.dagster_run.tags["roster/trigger"] for d, r in first.items()} == {
                **dict.fromkeys(BY_ARRIVAL, "on_arrival"),
                BY_THE_CLOCK: "schedule",
            }
            upload = {"files": [str(refused)]}
            for district_id, config in ((AGAIN, {}), (FAULTY, upload)):
                run_config = {"ops": {"landing_snapshot": {"config": config}}}
                params = launch_params("import_roster", district_id, run_config)
                launched = ui.graphql(LAUNCH, p=params)["launchPipelineExecution"]
                assert launched["__typename"] == "LaunchRunSuccess", launched

            def imports(district_id: str) -> list[ledger.Import]:
                with reading(engine) as conn:
                    return sorted(ledger.imports(conn, district_id), key=lambda i: i.id)

            until(lambda: all(imports(d) for d in ALL))
            victim = first[KILLED].dagster_run.run_id
            process = until(lambda: process_of(instance, victim))
            os.kill(process, signal.SIGKILL)
            waiting = {
                record.dagster_run.tags["dagster/partition"]
                for record in runs()
                if record.dagster_run.status is dg.DagsterRunStatus.QUEUED
            }
            assert {AGAIN, FAULTY} <= waiting
            gate.rollback()

            def ended() -> list[dg.RunRecord] | None:
                records = runs()
                done = all(record.dagster_run.is_finished for record in records)
                return records if done and len(records) == len(ALL) + 3 else None

            records = until(ended)
    by_district = {
        d: [r for r in records if r.dagster_run.tags["dagster/partition"] == d] for d in ALL
    }
    success, failure = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
    outcomes = {d: [r.dagster_run.status for r in rs] for d, rs in by_district.items()}
    assert outcomes == {
        **{district_id: [success] for district_id in ALL},
        AGAIN: [success, success],
        FAULTY: [success, failure],
        KILLED: [failure, success],
    }
    for one, other in (by_district[d] for d in (AGAIN, FAULTY, KILLED)):
        assert one.end_time is not None and other.start_time is not None
        assert one.end_time <= other.start_time
    retried = {r.dagster_run.run_id: r.dagster_run.parent_run_id for r in records}
    assert {parent for parent in retried.values() if parent} == {victim}
    told = [(i.status, i.message) for i in imports(KILLED)]
    assert [status for status, _ in told] == ["failed", "imported"]
    assert "The process that ran this import ended" in (told[0][1] or "")
    assert [i.status for i in imports(FAULTY)] == ["imported", "refused"]
    # The daemon's own tick may have been first.
    post_alerts(engine, load_settings().districts, "http://127.0.0.1:3000", datetime.now(UTC))
    keys = [f"import-{imports(KILLED)[0].id}-failed", f"import-{imports(FAULTY)[1].id}-refused"]
    with reading(engine) as conn:
        assert posted_before(conn, keys) == set(keys)
    assert [i.status for i in imports(BY_THE_CLOCK)] == ["imported"]
    engine.dispose()
