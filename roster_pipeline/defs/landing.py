"""What the sensor and the schedule of the landing zones share: they look, tell, ask for runs."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from sqlalchemy import Connection, Engine, event

from roster_pipeline.districts.files import load_districts
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.landing.concerns import Concern
from roster_pipeline.landing.foreign import Remotes
from roster_pipeline.landing.survey import Survey, survey
from roster_pipeline.landing.zones import Zone
from roster_pipeline.notifications.alerts import landing_alert_key, post_landing_alert
from roster_pipeline.notifications.outbox import posted_before
from roster_pipeline.settings import Settings
from roster_pipeline.warehouse.database import opened

TRIGGER_TAG = "roster/trigger"
"""On a run: what asked for it, on_arrival or schedule."""
TIME_BOX_S = 40.0
"""How long a look around may take; Dagster ends an evaluation after 60."""
BUSY_TIMEOUT_MS = 5_000
"""How long a look waits for SQLite while an import merges: it can be saved the next time."""

SHOWN = 10
"""How many districts are named when no run is asked for."""

_remotes = Remotes()
"""Of this process: a download goes on from one tick to the next."""


@contextmanager
def warehouse_for_a_look(settings: Settings) -> Iterator[Engine]:
    """The warehouse, without much patience for whoever is writing to it."""
    with opened(settings.warehouse_url) as engine:
        if engine.dialect.name == "sqlite":
            patience = f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}"
            event.listen(engine, "connect", lambda c, _: c.execute(patience))
            engine.dispose()  # of the connection that has more
        yield engine


def watched_districts(settings: Settings) -> tuple[dict[str, DistrictSettings], dict[str, str]]:
    """The districts whose landing zone is imported by itself, and those whose file has mistakes,
    with the first."""
    watched, wrong = {}, {}
    for district_id, known in load_districts(settings.districts).items():
        if not isinstance(known, DistrictSettings):
            wrong[district_id] = str(known.mistakes[0])
        elif known.apps.sftp is not None and known.apps.sftp.trigger:
            watched[district_id] = known
    return watched, wrong


def look_around(
    settings: Settings,
    districts: Mapping[str, DistrictSettings],
    known: Mapping[str, Zone],
    order: Sequence[str],
    time_left: Callable[[], float],
) -> Survey:
    """Look into these districts' landing zones, now."""
    return survey(settings, districts, known, order, datetime.now(UTC), time_left, _remotes)


def time_box(seconds: float = TIME_BOX_S) -> Callable[[], float]:
    """How many seconds are left of so many from now on."""
    ends = time.monotonic() + seconds
    return lambda: ends - time.monotonic()


def districts_in_flight(instance: dg.DagsterInstance) -> set[str]:
    """The districts that have a run, of whatever job, that has not ended."""
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_ENDED))
    return {run.tags["dagster/partition"] for run in runs if "dagster/partition" in run.tags}


NOT_ENDED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def in_short(sentences: Sequence[str]) -> str:
    """The first of many sentences, and how many more there are."""
    more = len(sentences) - SHOWN
    rest = [f"And {more} more (roster landing status)."] if more > 0 else []
    return " ".join([*sentences[:SHOWN], *rest])


def import_request(
    district_id: str, run_key: str, content: str | None, trigger: str
) -> dg.RunRequest:
    """A run that imports what was seen in a district's landing zone."""
    config = {"app": "sftp", "content": content}
    return dg.RunRequest(
        run_key=run_key,
        partition_key=district_id,
        run_config={"ops": {"landing_snapshot": {"config": config}}},
        tags={TRIGGER_TAG: trigger},
    )


Found = tuple[str, DistrictSettings, Concern]
"""What was found of a district."""


def untold(conn: Connection, found: Iterable[Found]) -> list[Found]:
    """What somebody is to be told and was not yet."""
    by_key = {
        landing_alert_key(district_id, concern.kind, concern.about): (
            district_id,
            district,
            concern,
        )
        for district_id, district, concern in found
        if district.for_app("sftp").notifications.alerts
    }
    told = posted_before(conn, list(by_key))
    return [one for key, one in by_key.items() if key not in told]


def tell(conn: Connection, found: Iterable[Found], now: datetime) -> None:
    """Put what was found into the outbox, unless it is or was there."""
    for district_id, district, concern in found:
        post_landing_alert(
            conn, district_id, district, concern.kind, concern.about, concern.facts, now
        )
