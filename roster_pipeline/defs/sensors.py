"""The sensor of the landing zones: what has arrived there is imported, and what is wrong told.

What it decides by is pure and elsewhere (`landing.arrival`, `landing.news`, `landing.concerns`);
here is what these need to know, and what becomes of their decisions.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

import dagster as dg
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from roster_pipeline.defs.jobs import IMPORT_ROSTER
from roster_pipeline.defs.landing import (
    Found,
    districts_in_flight,
    import_request,
    in_short,
    look_around,
    tell,
    time_box,
    untold,
    warehouse_for_a_look,
    watched_districts,
)
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.districts.files import district_ids
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.landing.concerns import concerns
from roster_pipeline.landing.news import may_be_new, read_books, run_key
from roster_pipeline.landing.survey import Survey
from roster_pipeline.landing.zones import Zone, read_zones, save_looks
from roster_pipeline.warehouse.database import reading

_told_wrong: dict[str, str] = {}
"""The districts' files whose mistakes this process has told, with the mistake."""


class LandingZoneError(Exception):
    """A district's own server does not let us in, or is not the one it was."""


def partition_changes(
    wanted: Collection[str], existing: Collection[str], in_flight: Collection[str]
) -> tuple[list[str], list[str]]:
    """Which districts to add to the partitions and which to take out.

    One with a run in flight stays. If there is no district at all any more, none is taken out: that
    is rather a folder that cannot be seen than the end of all of them.
    """
    add = sorted(set(wanted) - set(existing))
    gone = set(existing) - set(wanted) - set(in_flight) if wanted else set()
    return add, sorted(gone)


def rotated(names: Iterable[str], first: str) -> list[str]:
    """Names in order, beginning at one, or at the next after it."""
    ordered = sorted(names)
    return [n for n in ordered if n >= first] + [n for n in ordered if n < first]


@dg.sensor(
    name="landing_zone_sensor",
    job=IMPORT_ROSTER,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks into every landing zone, waits until what was uploaded there is whole, and "
    "has it imported where the district's trigger is on_arrival; tells of what does not come or is "
    "not taken. New districts become partitions.",
)
def landing_zone_sensor(
    context: dg.SensorEvaluationContext, house: HouseResource
) -> dg.SensorResult:
    """One look into all landing zones."""
    time_left = time_box()
    settings = house.settings()
    districts, wrong = watched_districts(settings)
    _tell_wrong(context, wrong)
    in_flight = districts_in_flight(context.instance)
    order = rotated(districts, context.cursor or "")
    with warehouse_for_a_look(settings) as engine:
        with reading(engine) as conn:
            known = read_zones(conn)
        seen = look_around(settings, districts, known, order, time_left)
        now = datetime.now(UTC)
        with reading(engine) as conn:
            told = untold(conn, _concerns(seen, known, districts, now))
            requests = _requests(conn, seen, districts, in_flight)
        if seen.changed or told:
            try:
                with engine.begin() as conn:
                    save_looks(conn, seen.changed)
                    tell(conn, told, now)
            except OperationalError:
                context.log.warning(
                    "An import is writing to the warehouse; this is seen again at the next look."
                )
    existing = context.instance.get_dynamic_partitions(str(DISTRICTS.name))
    add, delete = partition_changes(district_ids(settings.districts), existing, in_flight)
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = [
        *([DISTRICTS.build_add_request(add)] if add else []),
        *([DISTRICTS.build_delete_request(delete)] if delete else []),
    ]
    refused = _refused(seen, known)
    if refused:
        message = " ".join(f"{d}: {says}" for d, says in sorted(refused.items()))
        # An error ends a tick without what it asked for, so it is raised when nothing is.
        if not requests and not changes and seen.stopped_at is None:
            raise LandingZoneError(message)
        context.log.error(message)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else _skipped(seen, wrong),
        cursor=seen.stopped_at or "",
        dynamic_partitions_requests=changes,
    )


def _concerns(
    seen: Survey,
    known: Mapping[str, Zone],
    districts: Mapping[str, DistrictSettings],
    now: datetime,
) -> list[Found]:
    """What is to be told of each landing zone."""
    return [
        (district_id, districts[district_id], concern)
        for district_id, zone in seen.zones.items()
        for concern in concerns(
            zone,
            known.get(district_id),
            seen.arrivals.get(district_id),
            districts[district_id],
            now,
        )
    ]


def _requests(
    conn: Connection,
    seen: Survey,
    districts: Mapping[str, DistrictSettings],
    in_flight: Collection[str],
) -> list[dg.RunRequest]:
    """A run for each delivery that is new, of districts that have no other one and import on
    arrival."""
    new = [
        seen.zones[district_id]
        for district_id, arrival in seen.arrivals.items()
        if (sftp := districts[district_id].apps.sftp)
        and "on_arrival" in sftp.trigger
        and district_id not in in_flight
        and may_be_new(seen.zones[district_id], arrival)
    ]
    books = read_books(conn, new)
    requests = []
    for zone in new:
        arrival = seen.arrivals[zone.district_id]
        if key := run_key(zone, arrival, books[zone.district_id]):
            requests.append(import_request(zone.district_id, key, arrival.key, "on_arrival"))
    return requests


def _refused(seen: Survey, known: Mapping[str, Zone]) -> dict[str, str]:
    """The districts whose own server just did not let us in, or is another, with the sentence."""
    return {
        district_id: zone.trouble.says
        for district_id, zone in seen.zones.items()
        if zone.trouble
        and zone.trouble.kind != "unreachable"
        and (district_id not in known or known[district_id].looked_at != zone.looked_at)
    }


def _tell_wrong(context: dg.SensorEvaluationContext, wrong: Mapping[str, str]) -> None:
    """Log the mistakes in districts' files, each once: what is logged is kept for every tick."""
    for district_id, mistake in wrong.items():
        if _told_wrong.get(district_id) != mistake:
            context.log.error(f"The file of {district_id} has mistakes: {mistake}")
    _told_wrong.clear()
    _told_wrong.update(wrong)


def _skipped(seen: Survey, wrong: Mapping[str, str]) -> str:
    """Why no import is asked for, in a few sentences."""
    waiting = {d: a.why for d, a in seen.arrivals.items() if a.state in ("waiting", "settled")}
    waiting |= {d: zone.trouble.says for d, zone in seen.zones.items() if zone.trouble}
    waiting |= dict.fromkeys(wrong, "its file has mistakes (roster district check)")
    shown = [f"{d}: {why.rstrip('.')}." for d, why in sorted(waiting.items())]
    return f"Nothing new in {len(seen.zones)} landing zones. {in_short(shown)}".strip()
