"""The mail sensor, the run failure sensor and the digest's job and schedule, in a home of their
own, with mails as files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from sqlalchemy import Engine

from roster_pipeline.definitions import defs
from roster_pipeline.defs import landing
from roster_pipeline.defs.mail import daily_digest_schedule, mail_sensor, run_failure_sensor
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline.warehouse.lock import district_lock
from roster_pipeline_tests.notifications.books import booked, district, mails, without_email

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOUSE = {"house": HouseResource()}


@pytest.fixture
def warehouse(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The home's warehouse, beside the file of the district oak."""
    settings = load_settings()
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    prepare_home(settings)
    district(settings.districts)
    engine = open_warehouse(settings.warehouse_url)
    yield engine
    engine.dispose()


def look(instance: dg.DagsterInstance) -> str:
    """What a tick of the mail sensor says."""
    told = mail_sensor(dg.build_sensor_context(instance, resources=HOUSE))
    assert isinstance(told, dg.SkipReason)
    return str(told.skip_message)


def files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "outbox").iterdir())


def test_a_tick_of_the_mail_sensor_settles_tells_and_sends(warehouse: Engine, home: Path) -> None:
    booked(warehouse, "running", datetime.now(UTC))
    booked(warehouse, "imported", datetime.now(UTC), district_id="elm")
    with dg.DagsterInstance.get() as instance:
        # The run is none that Dagster knows: so it is not tried again.
        assert look(instance).startswith("1 new alerts; 1 mails sent, 0 wait, 0 given up")
        assert look(instance).startswith("0 new alerts; 0 mails sent, 0 wait, 0 given up")
    assert files(home) == ["import-1-failed.eml"]
    assert "the process that ran" not in (home / "outbox" / "import-1-failed.eml").read_text()


def test_a_run_that_fails_before_there_is_an_import_is_told_once(
    warehouse: Engine, home: Path
) -> None:
    path = home / "districts" / "oak.yaml"
    path.write_text(path.read_text() + "apps: {sftp: {}}\n")
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(DISTRICTS.name or "", ["oak"])
        failed = defs.resolve_job_def("import_roster").execute_in_process(
            instance=instance,
            partition_key="oak",
            raise_on_error=False,
            run_config={"ops": {"landing_snapshot": {"config": {"app": "csv_upload"}}}},
        )
        for _ in range(2):
            assert told_of(instance, failed) is None
    ((key, mail),) = mails(warehouse).items()
    assert key == f"run-{failed.run_id}-failed"
    assert "It failed in: landing_snapshot." in mail.text
    assert f"/runs/{failed.run_id}" in mail.text


def told_of(
    instance: dg.DagsterInstance, failed: dg.ExecuteInProcessResult
) -> dg.SkipReason | None:
    """What the sensor says of a run that failed."""
    told = run_failure_sensor(
        dg.build_run_status_sensor_context(
            sensor_name="run_failure_sensor",
            dagster_event=failed.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=failed.dagster_run,
            resources=HOUSE,
        )
    )
    assert told is None or isinstance(told, dg.SkipReason)
    return told


def test_a_decision_that_is_refused_is_told_to_nobody(
    warehouse: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROSTER_OPERATORS", "ops@agency.example")
    booked(warehouse, "rejected", datetime.now(UTC))

    def refused(job: str, op: str, **config: object) -> str:
        failed = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key="oak",
            raise_on_error=False,
            run_config={"ops": {op: {"config": {**config, "reason": "x"}}}},
        )
        told = told_of(instance, failed)
        return str(told.skip_message) if told else ""

    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(DISTRICTS.name or "", ["oak"])
        said = {
            "it does not wait": refused("approve_import", "landing_snapshot", resume=1),
            "it was not merged": refused("undo_import", "undo", import_id=1),
        }
        with district_lock(warehouse, "oak"):
            said["an import is running"] = refused("undo_import", "undo", import_id=1)
        assert said == dict.fromkeys(said, "What was asked for cannot be done, as the run says.")
        look(instance)
    assert mails(warehouse) == {}


@pytest.mark.parametrize("operators", ["", "ops@agency.example, ann@agency.example"])
def test_a_failed_run_of_no_district_is_told_to_the_operators_if_there_are_any(
    warehouse: Engine, monkeypatch: pytest.MonkeyPatch, operators: str
) -> None:
    monkeypatch.setenv("ROSTER_OPERATORS", operators)
    with dg.DagsterInstance.get() as instance:
        failed = defs.resolve_job_def("send_daily_digest").execute_in_process(
            instance=instance,
            run_config={"ops": {"digest": {"config": {"date": "today"}}}},
            raise_on_error=False,
        )
        told = told_of(instance, failed)
    if not operators:
        assert told is not None
        assert "No address is named" in str(told.skip_message)
        assert mails(warehouse) == {}
        return
    (mail,) = mails(warehouse).values()
    assert mail.recipients == ["ops@agency.example", "ann@agency.example"]
    assert mail.subject == "Roster: a run of send_daily_digest failed"
    assert "It failed in: digest." in mail.text


def test_an_import_of_a_district_whose_file_cannot_be_read_is_told_to_the_operators(
    warehouse: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROSTER_OPERATORS", "ops@agency.example")
    (home / "districts" / "oak.yaml").write_text("nmae: Oak\n")
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(DISTRICTS.name or "", ["oak"])
        failed = defs.resolve_job_def("import_roster").execute_in_process(
            instance=instance, partition_key="oak", raise_on_error=False
        )
        assert told_of(instance, failed) is None
    (mail,) = mails(warehouse).values()
    assert mail.recipients == ["ops@agency.example"]
    assert mail.subject == "oak: a run of import_roster failed"


LAUNCHED = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("roster_pipeline"), "__repository__"),
    "import_roster",
)
"""Where the daemon finds the code of a run that it, or the UI, launched."""


@pytest.mark.parametrize(
    ("origin", "subject"),
    [(LAUNCHED, "import 1 failed and is tried again"), (None, "import 1 failed")],
    ids=["launched", "of a command"],
)
def test_a_killed_run_is_told_when_dagster_has_found_it_and_whether_it_is_tried_again(
    warehouse: Engine, origin: RemoteJobOrigin | None, subject: str
) -> None:
    job = defs.resolve_job_def("import_roster")
    with dg.DagsterInstance.get() as instance:
        run = instance.create_run_for_job(
            job, tags={"dagster/partition": "oak"}, remote_job_origin=origin
        )
        booked(warehouse, "failed", datetime.now(UTC), run_id=run.run_id)
        look(instance)
        assert mails(warehouse) == {}
        event = instance.report_run_failed(run)
        look(instance)
        (mail,) = mails(warehouse).values()
        assert mail.subject == f"Oak County: {subject}"
        run = instance.get_run_by_id(run.run_id) or run
        assert run.tags["dagster/will_retry"] == "true"
        told = run_failure_sensor(
            dg.build_run_status_sensor_context(
                "run_failure_sensor", event, instance, run, resources=HOUSE
            )
        )
        assert isinstance(told, dg.SkipReason) == (origin is not None)
    assert len(mails(warehouse)) == 1


def test_a_look_does_not_wait_for_a_merge(
    warehouse: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "BUSY_TIMEOUT_MS", 0)
    booked(warehouse, "failed", datetime.now(UTC), run_id=None)
    with dg.DagsterInstance.get() as instance:
        with warehouse.begin():
            told = look(instance)
        assert told == "An import is writing to the warehouse; looked at again."
        look(instance)
    assert files(home) == ["import-1-failed.eml"]


def test_the_digests_job_sends_what_is_to_be_told_and_names_a_file_that_is_wrong(
    warehouse: Engine, home: Path
) -> None:
    booked(warehouse, "imported", datetime.now(UTC), without_email("s-1"))
    job = defs.resolve_job_def("send_daily_digest")

    def run(**config: object) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(
            run_config={"ops": {"digest": {"config": config}}}, raise_on_error=False
        )

    assert run(districts=["oak"], date="2026-11-24").success
    assert run().success
    assert files(home) == ["digest-oak-2026-11-24.eml"]

    (home / "districts" / "elm.yaml").write_text("nmae: Elm\n")
    wrong = run()
    assert "elm" in str(wrong.get_step_failure_events()[0].event_specific_data)
    wrong = run(date="today")
    assert "such as 2026-11-24" in str(wrong.get_step_failure_events()[0].event_specific_data)


def requests(instance: dg.DagsterInstance, now: datetime) -> list[dg.RunRequest]:
    with dg.build_schedule_context(instance, now, resources=HOUSE) as context:
        asked = daily_digest_schedule(context)
    return asked if isinstance(asked, list) else []


def launched(instance: dg.DagsterInstance, request: dg.RunRequest) -> None:
    """As the scheduler does it."""
    instance.create_run_for_job(
        job_def=defs.resolve_job_def("send_daily_digest"),
        run_config=request.run_config,
        tags={**request.tags, "dagster/schedule_name": "daily_digest_schedule"},
    )


def test_the_schedule_asks_for_one_run_for_all_that_are_due_and_catches_up_once(
    warehouse: Engine, home: Path
) -> None:
    district(home / "districts", "elm")
    district(home / "districts", "ash", to="alerts: [it@oak.example]")
    with dg.DagsterInstance.get() as instance:
        assert requests(instance, NOON) == []
        (first,) = requests(instance, NOON + HOUR)
        assert first.run_config["ops"]["digest"]["config"] == {
            "districts": ["elm", "oak"],
            "date": "2026-11-24",
        }
        launched(instance, first)
        assert requests(instance, NOON + 2 * HOUR) == []
        # The daemon was down for four days; Dagster evaluates the last tick it missed.
        (late,) = requests(instance, NOON + 4 * DAY)
        assert late.run_config["ops"]["digest"]["config"]["date"] == "2026-11-27"
        launched(instance, late)
        assert requests(instance, NOON + 4 * DAY + HOUR / 2) == []
        assert len(requests(instance, NOON + 4 * DAY + HOUR)) == 1


def test_sensors_and_schedule_run_without_being_switched_on() -> None:
    assert mail_sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert run_failure_sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert daily_digest_schedule.default_status is dg.DefaultScheduleStatus.RUNNING
