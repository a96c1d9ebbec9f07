"""The schedule that imports by the clock: one for all districts.

It wakes every five minutes and asks which districts have a slot that is not settled. So a new
district, or another time of day, counts without a reload, and thousands of districts cost one
evaluation. A slot between two evaluations begins at the next, up to five minutes late.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy.exc import OperationalError

from roster_pipeline.defs.jobs import IMPORT_ROSTER
from roster_pipeline.defs.landing import (
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
from roster_pipeline.districts.schedule import due_districts, schedule_of
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.landing.arrival import Arrival
from roster_pipeline.landing.concerns import Concern, silence, unfinished
from roster_pipeline.landing.news import at_slot, read_books
from roster_pipeline.landing.zones import Zone, read_zones, save_looks, save_slots
from roster_pipeline.warehouse.database import reading

EVERY = timedelta(minutes=5)
_JUST_BEFORE = timedelta(microseconds=1)


@dg.schedule(
    name="sync_schedule",
    job=IMPORT_ROSTER,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Imports the landing zones of the districts whose schedule says so, each by its "
    "own clock; once for all the slots that nobody saw. Asks every five minutes.",
)
def sync_schedule(
    context: dg.ScheduleEvaluationContext, house: HouseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """The runs for the districts that are due."""
    time_left = time_box()
    now = context.scheduled_execution_time.astimezone(UTC)
    settings = house.settings()
    districts = {d: s for d, s in watched_districts(settings)[0].items() if schedule_of(s)}
    with warehouse_for_a_look(settings) as engine:
        with reading(engine) as conn:
            known = read_zones(conn)
        zones = {
            d: _followed(known.get(d, Zone(d)), district, now) for d, district in districts.items()
        }
        changed = {d: zone for d, zone in zones.items() if zone != known.get(d)}
        due = due_districts(districts, {d: _settled(zone, now) for d, zone in zones.items()}, now)
        requests: list[dg.RunRequest] = []
        said, told = [], []
        busy = districts_in_flight(context.instance) if due else set()
        looked = [d for d in due if d not in busy]
        seen = look_around(settings, {d: districts[d] for d in looked}, zones, looked, time_left)
        with reading(engine) as conn:
            books = read_books(conn, [seen.zones[d] for d in looked])
        for district_id, slot in due.items():
            if district_id in busy:
                said.append(f"{district_id}: a run of it has not ended; asked again.")
                continue
            zone, arrival = seen.zones[district_id], seen.arrivals.get(district_id)
            what, why = at_slot(zone, arrival, books[district_id], slot, now)
            if what == "run" and arrival:
                key = f"{district_id}:{slot:%Y-%m-%dT%H:%M}"
                requests.append(import_request(district_id, key, arrival.key, "schedule"))
            else:
                again = "; looked at again" if what == "wait" else ""
                said.append(f"{district_id}: {why.rstrip('.')}{again}.")
            if what != "wait":
                changed[district_id] = replace(zone, settled_until=slot, settled_by=now)
            if what == "pass" and (concern := _missed(zone, arrival, districts[district_id])):
                told.append((district_id, districts[district_id], concern))
        try:
            if changed or seen.changed:
                with engine.begin() as conn:
                    save_looks(conn, seen.changed)
                    save_slots(conn, changed.values())
                    tell(conn, untold(conn, told), datetime.now(UTC))
        except OperationalError:  # what is not saved as settled is due the next time
            return dg.SkipReason("An import is writing to the warehouse; asked again.")
    if requests:
        names = [str(request.partition_key) for request in requests]
        context.instance.add_dynamic_partitions(str(DISTRICTS.name), names)
        return requests
    return dg.SkipReason(in_short(said) or "No district is due.")


def _missed(zone: Zone, arrival: Arrival | None, district: DistrictSettings) -> Concern | None:
    """What is told when a slot passes without a delivery."""
    if arrival is not None and arrival.state == "ready":
        return None
    return (unfinished(arrival, district) if arrival else None) or silence(zone, district)


def _followed(zone: Zone, district: DistrictSettings, now: datetime) -> Zone:
    """The zone, following the schedule it has now: one that is new or another has missed nothing
    before this evaluation."""
    schedule = schedule_of(district)
    told = f"{schedule.model_dump_json() if schedule else ''} {district.timezone}"
    if zone.settled_schedule == told:
        return zone
    return replace(zone, settled_schedule=told, settled_until=now - EVERY, settled_by=None)


def _settled(zone: Zone, now: datetime) -> datetime:
    """Up to which moment the slots are settled. An evaluation that was interrupted is done again by
    Dagster, which knows the runs it had asked for: so what it settled itself is due once more."""
    assert zone.settled_until
    return zone.settled_until - _JUST_BEFORE if zone.settled_by == now else zone.settled_until
