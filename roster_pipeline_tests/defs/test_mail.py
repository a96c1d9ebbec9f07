"""The mail sensor, the run failure sensor and the digest's job and schedule, in a home of their
own, with mails as files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import Engine

from roster_pipeline.definitions import defs
from roster_pipeline.defs.mail import daily_digest_schedule, mail_sensor, run_failure_sensor
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse.database import open_warehouse
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


def files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "outbox").iterdir())


def test_a_tick_of_the_mail_sensor_settles_tells_and_sends(warehouse: Engine, home: Path) -> None:
    booked(warehouse, "running", datetime.now(UTC))
    booked(warehouse, "imported", datetime.now(UTC), district_id="elm")

    def tick() -> str:
        told = mail_sensor(dg.build_sensor_context(resources=HOUSE))
        assert isinstance(told, dg.SkipReason)
        return str(told.skip_message)

    assert tick().startswith("1 new alerts; 1 mails sent, 0 wait, 0 given up")
    assert tick().startswith("0 new alerts; 0 mails sent, 0 wait, 0 given up")
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
            context = dg.build_run_status_sensor_context(
                sensor_name="run_failure_sensor",
                dagster_event=failed.get_run_failure_event(),
                dagster_instance=instance,
                dagster_run=failed.dagster_run,
                resources=HOUSE,
            )
            run_failure_sensor(context)
    ((key, mail),) = mails(warehouse).items()
    assert key == f"run-{failed.run_id}-failed"
    assert "It failed in: landing_snapshot." in mail.text
    assert f"/runs/{failed.run_id}" in mail.text


def test_a_run_that_will_be_tried_again_and_one_of_no_district_are_not_told(
    warehouse: Engine,
) -> None:
    tags = ({"dagster/partition": "oak", "dagster/will_retry": "true"}, {}, {"x": "oak"})
    with dg.DagsterInstance.get() as instance:
        for some in tags:
            run = instance.create_run_for_job(defs.resolve_job_def("send_daily_digest"), tags=some)
            event = instance.report_run_failed(run)
            context = dg.build_run_status_sensor_context(
                "run_failure_sensor", event, instance, run, resources=HOUSE
            )
            assert isinstance(run_failure_sensor(context), dg.SkipReason)
    assert mails(warehouse) == {}


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
    context = dg.build_schedule_context(instance, now, resources=HOUSE)
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
