"""Mails: the sensors that tell what happened and send it, and the daily digest.

Telling and sending cost a fraction of a second, so the sensors do it themselves, without runs.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import Field
from sqlalchemy import Engine

from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.districts.files import (
    DistrictFileError,
    UnknownDistrict,
    district_ids,
    load_district,
    load_districts,
)
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.notifications.alerts import post_alerts, post_run_failure
from roster_pipeline.notifications.digest import due_digests, make_digest, post_digest
from roster_pipeline.notifications.mailers import choose_mailer
from roster_pipeline.notifications.outbox import Delivered, deliver
from roster_pipeline.settings import load_mail_settings
from roster_pipeline.warehouse.abandoned import settle_abandoned
from roster_pipeline.warehouse.database import opened

UNTIL_TAG = "roster/digests_until"
"""On a run of the schedule: the moment up to which all digests were due and are in it."""


def _deliver(engine: Engine, house: HouseResource) -> Delivered:
    mailer = choose_mailer(load_mail_settings(), house.settings().outbox)
    return deliver(engine, mailer, datetime.now(UTC))


@dg.sensor(
    name="mail_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks imports whose process is gone as failed, puts alerts of imports that were "
    "held, refused or failed into the outbox, and sends what waits there.",
)
def mail_sensor(context: dg.SensorEvaluationContext, house: HouseResource) -> dg.SkipReason:
    """One look at the ledger and one at the outbox."""
    now = datetime.now(UTC)
    with opened(house.settings().warehouse_url) as engine:
        settle_abandoned(engine, now)
        ui_url = load_mail_settings().ui_url
        posted = post_alerts(engine, house.settings().districts, ui_url, now)
        done = _deliver(engine, house)
    return dg.SkipReason(
        f"{posted} new alerts; {done.sent} mails sent, {done.waiting} wait, {done.failed} given up "
        "(roster digest --outbox)."
    )


@dg.run_failure_sensor(
    name="run_failure_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of runs that failed and of which no import in the ledger tells.",
)
def run_failure_sensor(
    context: dg.RunFailureSensorContext, house: HouseResource
) -> dg.SkipReason | None:
    """Puts an alert into the outbox; the mail sensor sends it."""
    run = context.dagster_run
    district_id = run.tags.get("dagster/partition")
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("It will be tried again.")
    try:
        settings = house.district(district_id or "")
    except (UnknownDistrict, DistrictFileError):
        return dg.SkipReason("It is of no district with a readable file.")
    steps = [e.step_key for e in context.get_step_failure_events() if e.step_key is not None]
    with opened(house.settings().warehouse_url) as engine, engine.begin() as conn:
        post_run_failure(
            conn,
            str(district_id),
            settings,
            run.run_id,
            run.job_name,
            steps,
            load_mail_settings().ui_url,
            datetime.now(UTC),
        )
    return None


class DigestConfig(dg.Config):
    """Whose digests to send, and the day they are called after."""

    districts: list[str] = Field(
        default_factory=list, description="Ids of districts; none: all that have a file."
    )
    date: str | None = Field(
        default=None, description="Such as 2026-11-24; none: each district's own date."
    )


@dg.op(name="digest", description="Posts the digests, and sends what waits in the outbox.")
def digest_op(context: dg.OpExecutionContext, config: DigestConfig, house: HouseResource) -> None:
    """One digest for each district and day, if there is anything to tell."""
    folder, ui_url, now = house.settings().districts, load_mail_settings().ui_url, datetime.now(UTC)
    try:
        day = date.fromisoformat(config.date) if config.date else None
    except ValueError:
        allowed = "it must be a day such as 2026-11-24"
        raise dg.Failure(f"date is {config.date!r}, but {allowed}.", allow_retries=False) from None
    posted, wrong = [], []
    with opened(house.settings().warehouse_url) as engine:
        for district_id in config.districts or district_ids(folder):
            try:
                settings = load_district(folder, district_id)
            except (UnknownDistrict, DistrictFileError):
                wrong.append(district_id)
                continue
            with engine.begin() as conn:
                digest = make_digest(conn, district_id, settings, now, day)
                if post_digest(conn, digest, settings, ui_url, now):
                    posted.append(district_id)
        done = _deliver(engine, house)
    context.log.info(f"Digests of: {', '.join(posted) or 'no district'}.")
    context.log.info(f"{done.sent} mails sent, {done.waiting} wait, {done.failed} given up.")
    if wrong:
        told = ", ".join(wrong)
        raise dg.Failure(
            f"No readable file of: {told}. See `roster district check`.", allow_retries=False
        )


@dg.job(
    name="send_daily_digest",
    executor_def=dg.in_process_executor,
    description="Sends each district's digest, or those named in the config, now; a second one of "
    "a district and day is not sent.",
)
def SEND_DAILY_DIGEST() -> None:
    """One op."""
    digest_op()


@dg.schedule(
    name="daily_digest_schedule",
    job=SEND_DAILY_DIGEST,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Sends each district's digest at six in the morning by its own clock, within the "
    "hour; once for all the days on which nobody looked.",
)
def daily_digest_schedule(
    context: dg.ScheduleEvaluationContext, house: HouseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for all districts that are due, for each day they are due for."""
    now = context.scheduled_execution_time
    due = due_digests(_zones(house), _settled(context.instance, now), now)
    if not due:
        return dg.SkipReason("No district's digest is due.")
    by_day: dict[date, list[str]] = {}
    for district_id, day in due.items():
        by_day.setdefault(day, []).append(district_id)
    return [
        dg.RunRequest(
            run_key=f"{now:%Y-%m-%dT%H:%M} {day}",
            run_config={"ops": {"digest": {"config": {"districts": ids, "date": str(day)}}}},
            tags={UNTIL_TAG: now.isoformat()},
        )
        for day, ids in sorted(by_day.items())
    ]


def _zones(house: HouseResource) -> dict[str, ZoneInfo]:
    """The time zones of the districts that a digest goes to."""
    known = load_districts(house.settings().districts)
    return {
        district_id: settings.zone
        for district_id, settings in known.items()
        if isinstance(settings, DistrictSettings) and settings.notifications.digest
    }


def _settled(instance: dg.DagsterInstance, now: datetime) -> datetime:
    """Up to which moment the schedule has had all digests sent; before its first, an hour ago."""
    mine = dg.RunsFilter(
        job_name="send_daily_digest", tags={"dagster/schedule_name": "daily_digest_schedule"}
    )
    for run in instance.get_runs(mine, limit=1):
        return datetime.fromisoformat(run.tags[UNTIL_TAG])
    return now - timedelta(hours=1)
