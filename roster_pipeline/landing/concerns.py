"""What people are told of a landing zone without asking: nothing comes, or what came is not taken.

A concern is found anew at every look; what it is about makes it one and the same, so that it is
told once (`notifications.alerts`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from roster_pipeline.districts.schedule import schedule_of
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.landing.arrival import ZIP_QUIET_S, Arrival
from roster_pipeline.landing.zones import Zone
from roster_pipeline.notifications.alerts import LandingKind
from roster_pipeline.notifications.letters import moment_in_words

PATIENCE = timedelta(hours=1)
"""After so long a server that does not answer, or an upload that does not end, is told."""
SILENT_AFTER = 3
"""School days without a new file after which a district is told; one that is synchronised weekly
has a school week more."""
SCHOOL_WEEK = 5


@dataclass(frozen=True)
class Concern:
    """One thing to tell: what it is about (letters, digits, hyphens), and sentences."""

    kind: LandingKind
    about: str
    facts: tuple[str, ...]


def concerns(
    zone: Zone,
    before: Zone | None,
    arrival: Arrival | None,
    district: DistrictSettings,
    now: datetime,
) -> list[Concern]:
    """What is to be told of a landing zone after a look.

    before: the zone before the look. arrival: what its state comes to; None when it could not be
    looked at.
    """
    if arrival is None:
        return _trouble(zone, district, now)
    return [
        *_near_misses(zone, arrival, now),
        *_unfinished(arrival, district, now),
        *_header_only(zone, before),
        *_silent(zone, district, now),
    ]


def silence(zone: Zone, district: DistrictSettings) -> Concern | None:
    """That nothing new comes from a district; None when nothing ever did."""
    if zone.arrived_at is None:
        return None
    last = moment_in_words(zone.arrived_at, district.zone)
    fact = f"The last file came on {last} ({district.timezone})."
    return Concern("silent", _moment(zone.arrived_at), (fact,))


def unfinished(arrival: Arrival, district: DistrictSettings) -> Concern | None:
    """That an upload does not end; None when there is none."""
    if arrival.state != "waiting" or arrival.since is None:
        return None
    since = datetime.fromtimestamp(arrival.since, UTC)
    said = f"{arrival.why[0].upper()}{arrival.why[1:]}."
    if arrival.files and arrival.why.startswith(arrival.files):
        said = f"{arrival.why}."
    when = f"Nothing has changed since {moment_in_words(since, district.zone)}"
    return Concern("unfinished", _moment(since), (said, f"{when} ({district.timezone})."))


def _trouble(zone: Zone, district: DistrictSettings, now: datetime) -> list[Concern]:
    trouble = zone.trouble
    if trouble is None or (trouble.kind == "unreachable" and now - trouble.since < PATIENCE):
        return []
    since = f"Since {moment_in_words(trouble.since, district.zone)} ({district.timezone})."
    return [Concern(trouble.kind, _moment(trouble.since), (trouble.says, since))]


def _near_misses(zone: Zone, arrival: Arrival, now: datetime) -> list[Concern]:
    """Files that have lain there for a while: a client may yet rename one."""
    settled = {f.name for f in zone.files if now.timestamp() - f.since >= ZIP_QUIET_S}
    near = {name: right for name, right in sorted(arrival.near.items()) if name in settled}
    if not near:
        return []
    facts = tuple(f"{name} is not taken: it must be named {right}." for name, right in near.items())
    return [Concern("near_miss", _names(near), facts)]


def _unfinished(arrival: Arrival, district: DistrictSettings, now: datetime) -> list[Concern]:
    late = arrival.since is not None and now.timestamp() - arrival.since >= PATIENCE.total_seconds()
    concern = unfinished(arrival, district) if arrival.broken_off and late else None
    return [concern] if concern else []


def _header_only(zone: Zone, before: Zone | None) -> list[Concern]:
    """Files that held records before: a delivery a day without any is told once."""
    if zone.content is None or not set(zone.header_only) - set(
        before.header_only if before else ()
    ):
        return []
    names = ", ".join(zone.header_only)
    about = f"{(zone.content.key or '')[:12]}"
    return [Concern("header_only", about, (f"Without a record: {names}.",))]


def _silent(zone: Zone, district: DistrictSettings, now: datetime) -> list[Concern]:
    concern = silence(zone, district)
    if concern is None or zone.arrived_at is None:
        return []
    schedule = schedule_of(district)
    weekly = schedule is not None and schedule.when == "weekly"
    days = school_days(
        zone.arrived_at.astimezone(district.zone).date(), now.astimezone(district.zone).date()
    )
    return [concern] if days >= SILENT_AFTER + (SCHOOL_WEEK if weekly else 0) else []


def school_days(after: date, before: date) -> int:
    """How many days from Monday to Friday lie between two days."""
    weeks, rest = divmod(max((before - after).days - 1, 0), 7)
    days = (after + timedelta(days=n) for n in range(1, rest + 1))
    return weeks * SCHOOL_WEEK + sum(day.weekday() < SCHOOL_WEEK for day in days)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S}"


def _names(names: dict[str, str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
