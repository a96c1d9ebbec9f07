"""When districts are synchronised by the clock: the slots of a schedule in a district's time zone.

A slot is a moment at which an import is due. A time of day that a change to daylight-saving time
skips is made up for at the first moment after it; one that comes twice counts the first time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from roster_pipeline.districts.sections import Schedule
from roster_pipeline.districts.settings import DistrictSettings

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_REACH = 9
"""Days in which there is a slot for certain: a week, and one either side for the time zone."""


def schedule_of(settings: DistrictSettings) -> Schedule | None:
    """The schedule by which a district's landing zone is imported; None when the SFTP app is not
    active, is not triggered by it, or none is set."""
    sftp = settings.apps.sftp
    if sftp is None or "schedule" not in sftp.trigger:
        return None
    return settings.for_app("sftp").schedule


def next_sync(settings: DistrictSettings, now: datetime) -> datetime | None:
    """The next slot after a moment, in the district's time zone; None when there is none."""
    schedule = schedule_of(settings)
    if schedule is None:
        return None
    today = now.astimezone(settings.zone).date()
    days = (today + timedelta(days=n) for n in range(-1, _REACH))
    slots = _slots(schedule, settings.zone, days)
    coming = next((slot for slot in slots if slot > now.astimezone(UTC)), None)
    return coming and coming.astimezone(settings.zone)


def last_slot(settings: DistrictSettings, now: datetime) -> datetime | None:
    """The last slot up to a moment, in UTC; None when there is no schedule."""
    schedule = schedule_of(settings)
    if schedule is None:
        return None
    day = now.astimezone(settings.zone).date()
    if schedule.until is not None:
        day = min(day, schedule.until)
    days = (day - timedelta(days=n) for n in range(_REACH))
    slots = _slots(schedule, settings.zone, days)
    return next((slot for slot in slots if slot <= now.astimezone(UTC)), None)


def due_districts(
    districts: Mapping[str, DistrictSettings], settled: Mapping[str, datetime], now: datetime
) -> dict[str, datetime]:
    """The districts with a slot up to now that is not settled, each with its last one, in UTC.

    settled: up to which moment each district's slots are settled; one that is not named has missed
    nothing. However many slots went by while nobody looked, one import makes up for them.
    """
    slots = {name: last_slot(districts[name], now) for name in settled.keys() & districts.keys()}
    return {name: slot for name, slot in sorted(slots.items()) if slot and slot > settled[name]}


def _slots(schedule: Schedule, zone: ZoneInfo, days: Iterable[date]) -> Iterable[datetime]:
    """The slots of these days, in UTC."""
    at = time.fromisoformat(schedule.at)
    for day in days:
        if _is_on(schedule, day):
            yield _moment(datetime.combine(day, at), zone)


def _is_on(schedule: Schedule, day: date) -> bool:
    if schedule.until is not None and day > schedule.until:
        return False
    if schedule.when == "weekly":
        return _WEEK[day.weekday()] in schedule.days
    return schedule.when == "daily" or day.weekday() < 5


def _moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """What a clock on the wall shows, in UTC."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # Skipped: with the offset of before it lies after the change, with that of after before it.
    earlier = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = moment.astimezone(zone).utcoffset()
    seconds = range(int(earlier.timestamp()), int(moment.timestamp()) + 1)
    change = bisect_left(
        seconds, True, key=lambda s: datetime.fromtimestamp(s, zone).utcoffset() == after
    )
    return datetime.fromtimestamp(seconds[change], UTC)
