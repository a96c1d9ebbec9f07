"""Mails: the sensors that tell what happened and send it, and the daily digest.

Telling and sending cost a fraction of a second, so the sensors do it themselves, without runs.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import Field
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from roster_pipeline.defs.jobs import APPROVE_IMPORT, IMPORT_ROSTER, REJECT_IMPORT, UNDO_IMPORT
from roster_pipeline.defs.landing import warehouse_for_a_look
from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.defs.views import renew_views, tell_unreached
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
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.abandoned import settle_abandoned
from roster_pipeline.warehouse.database import opened
from roster_pipeline.warehouse.history import CannotUndo

UNTIL_TAG = "roster/digests_until"
"""On a run of the schedule: the moment up to which all digests were due and are in it."""
WILL_RETRY = "dagster/will_retry"
"""On a run that failed: whether Dagster is to try it again."""
DECISIONS = {job.name for job in (APPROVE_IMPORT, REJECT_IMPORT, UNDO_IMPORT)}
"""What a person launches to decide on an import."""
REFUSALS = {
    kind.__name__ for kind in (dg.Failure, ledger.NotWaiting, ledger.UnknownImport, CannotUndo)
}
"""The errors by which a decision is refused."""


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
    instance, settings = context.instance, house.settings()
    with warehouse_for_a_look(settings) as engine:
        try:
            for district_id, lost in settle_abandoned(engine, now).items():
                renew_views(instance, engine, settings, district_id, lost)
            posted = post_alerts(
                engine,
                settings.districts,
                load_mail_settings().ui_url,
                now,
                lambda run_id: _tried_again(instance, run_id),
            )
            done = _deliver(engine, house)
        except OperationalError:
            return dg.SkipReason("An import is writing to the warehouse; looked at again.")
    return dg.SkipReason(
        f"{posted} new alerts; {done.sent} mails sent, {done.waiting} wait, {done.failed} given up "
        "(roster digest --outbox)."
    )


def _tried_again(instance: dg.DagsterInstance, run_id: str) -> bool | None:
    """Whether a run is tried again by itself; None until it has ended, and Dagster has said so."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status is dg.DagsterRunStatus.SUCCESS:
        return False
    undecided = instance.run_retries_enabled and WILL_RETRY not in run.tags
    if not run.is_finished or (run.status is dg.DagsterRunStatus.FAILURE and undecided):
        return None
    return _will_retry(run)


def _will_retry(run: dg.DagsterRun) -> bool:
    """Dagster says it of a killed command's run (`roster import`) too, and then cannot do it: it
    does not know where to find the code of that."""
    return run.tags.get(WILL_RETRY) == "true" and run.remote_job_origin is not None


@dg.run_failure_sensor(
    name="run_failure_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of runs that failed and of which no import in the ledger tells: the "
    "district of its imports, the operators (ROSTER_OPERATORS) of all others.",
)
def run_failure_sensor(
    context: dg.RunFailureSensorContext, house: HouseResource
) -> dg.SkipReason | None:
    """Puts an alert into the outbox; the mail sensor sends it.

    Of a failed digest, purge or undo, and of an import whose district's file cannot be read, the
    operators are told. Where ROSTER_OPERATORS names none, such a failure is in Dagster's UI and log
    only. Nobody is told of a decision that was refused, such as the approval of an import that no
    longer waits: the run says why to whoever launched it.
    """
    run, mail = context.dagster_run, load_mail_settings()
    if _will_retry(run):
        return dg.SkipReason("It will be tried again.")
    district_id = run.tags.get("dagster/partition")
    failures = context.get_step_failure_events()
    steps = [event.step_key for event in failures if event.step_key is not None]
    name, recipients = district_id or "Roster", mail.operators
    if run.job_name == IMPORT_ROSTER.name:
        with suppress(UnknownDistrict, DistrictFileError):
            district = house.district(district_id or "")
            name, recipients = district.name, district.notifications.alerts
    # Patient, unlike a look: Dagster shows each failure once, and what fails here is not told.
    with opened(house.settings().warehouse_url) as engine:
        if district_id is not None:
            why = "the run failed before; its page says why."
            tell_unreached(context.instance, district_id, run.run_id, why)
        if run.job_name in DECISIONS and _is_refusal([context.failure_event, *failures]):
            return dg.SkipReason("What was asked for cannot be done, as the run says.")
        with engine.begin() as conn:
            post_run_failure(
                conn,
                district_id,
                name,
                recipients,
                run.run_id,
                run.job_name,
                steps,
                mail.ui_url,
                datetime.now(UTC),
            )
    if not recipients:
        return dg.SkipReason("No address is named for it (ROSTER_OPERATORS, or the district's).")
    return None


def _is_refusal(events: Sequence[dg.DagsterEvent]) -> bool:
    """Whether a run failed since what was asked for cannot be done, by no fault of ours."""
    for event in events:
        error = getattr(event.event_specific_data, "error", None)
        while error is not None:
            if error.cls_name in REFUSALS:
                return True
            error = error.cause
    return False


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
