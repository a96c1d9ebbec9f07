"""When districts are due: time zones, both changes of the clock, weekly days, and an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roster_pipeline.districts.schedule import due_districts, last_slot, next_sync
from roster_pipeline.districts.settings import DistrictSettings

CHICAGO = "America/Chicago"


def district(
    when: str = "daily",
    at: str = "02:00",
    timezone: str = CHICAGO,
    apps: dict[str, object] | None = None,
    **more: object,
) -> DistrictSettings:
    told = {"name": "Oak", "timezone": timezone, "schedule": {"when": when, "at": at, **more}}
    return DistrictSettings.model_validate(told | ({} if apps is None else {"apps": apps}))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def coming(settings: DistrictSettings, now: datetime, count: int) -> list[str]:
    """The next slots, as the district's clock shows them."""
    shown = []
    for _ in range(count):
        slot = next_sync(settings, now)
        if slot is None:
            break
        shown.append(f"{slot:%a %m-%d %H:%M %Z}")
        now = slot
    return shown


def test_a_daily_slot_is_at_the_districts_own_time_of_day() -> None:
    now = utc("2026-11-24T07:59")
    assert next_sync(district(), now) == utc("2026-11-24T08:00")
    assert next_sync(district(timezone="Asia/Kolkata"), now) == utc("2026-11-24T20:30")
    assert next_sync(district(at="23:59", timezone="Pacific/Kiritimati"), now) == utc(
        "2026-11-24T09:59"
    )


def test_at_the_slot_itself_it_has_come_and_the_next_one_is_tomorrows() -> None:
    now = utc("2026-11-24T08:00")
    assert last_slot(district(), now) == now
    assert next_sync(district(), now) == utc("2026-11-25T08:00")


def test_weekdays_leave_the_weekend_out() -> None:
    friday = utc("2026-11-27T00:00")
    assert coming(district("weekdays"), friday, 3) == [
        "Fri 11-27 02:00 CST",
        "Mon 11-30 02:00 CST",
        "Tue 12-01 02:00 CST",
    ]


def test_weekly_is_on_the_days_that_are_named_by_the_districts_calendar() -> None:
    # Sunday 23:00 in Chicago is Monday in UTC.
    settings = district("weekly", "23:00", days=["sun", "wed"])
    assert coming(settings, utc("2026-11-24T12:00"), 3) == [
        "Wed 11-25 23:00 CST",
        "Sun 11-29 23:00 CST",
        "Wed 12-02 23:00 CST",
    ]


def test_a_time_that_the_clock_skips_comes_once_at_the_first_moment_after() -> None:
    settings = district(at="02:30")
    assert coming(settings, utc("2026-03-07T12:00"), 3) == [
        "Sun 03-08 03:00 CDT",
        "Mon 03-09 02:30 CDT",
        "Tue 03-10 02:30 CDT",
    ]


def test_a_time_that_comes_twice_counts_the_first_time_only() -> None:
    settings = district(at="01:30")
    assert coming(settings, utc("2026-10-31T12:00"), 3) == [
        "Sun 11-01 01:30 CDT",
        "Mon 11-02 01:30 CST",
        "Tue 11-03 01:30 CST",
    ]
    # The second 01:30 finds nothing due.
    settled = {"oak": utc("2026-11-01T06:30")}
    assert due_districts({"oak": settings}, settled, utc("2026-11-01T07:30")) == {}


def test_a_day_that_a_zone_left_out_is_made_up_for_when_the_next_begins() -> None:
    settings = district(at="02:00", timezone="Pacific/Apia")
    assert [s[:16] for s in coming(settings, utc("2011-12-29T13:00"), 3)] == [
        "Sat 12-31 00:00 ",
        "Sat 12-31 02:00 ",
        "Sun 01-01 02:00 ",
    ]


def test_the_last_day_counts_and_none_after_it() -> None:
    settings = district(until="2026-11-25")
    assert coming(settings, utc("2026-11-24T00:00"), 5) == [
        "Tue 11-24 02:00 CST",
        "Wed 11-25 02:00 CST",
    ]
    assert last_slot(settings, utc("2027-06-01T00:00")) == utc("2026-11-25T08:00")


@pytest.mark.parametrize(
    "apps",
    [
        {"csv_upload": {}},
        {"sftp": {"trigger": ["on_arrival"]}},
        {"sftp": {"trigger": []}},
        {"sftp": {"schedule": None}},
    ],
)
def test_without_the_sftp_app_its_trigger_or_a_schedule_nothing_is_due(
    apps: dict[str, object],
) -> None:
    settings = district(apps=apps)
    now = utc("2026-11-24T08:00")
    assert next_sync(settings, now) is None
    assert due_districts({"oak": settings}, {"oak": utc("2026-11-01T00:00")}, now) == {}


def test_the_apps_own_schedule_stands_instead_of_the_districts() -> None:
    settings = district(apps={"sftp": {"schedule": {"when": "daily", "at": "05:15"}}})
    assert next_sync(settings, utc("2026-11-24T08:00")) == utc("2026-11-24T11:15")


def test_many_slots_that_nobody_saw_are_made_up_for_once() -> None:
    districts = {"oak": district(), "elm": district("weekly", days=["fri"])}
    down_since = dict.fromkeys(districts, utc("2026-11-02T00:00"))
    now = utc("2026-11-24T20:00")
    due = due_districts(districts, down_since, now)
    assert due == {"oak": utc("2026-11-24T08:00"), "elm": utc("2026-11-20T08:00")}
    assert due_districts(districts, due, now + timedelta(hours=1)) == {}


def test_a_district_that_is_new_has_missed_nothing() -> None:
    assert due_districts({"oak": district()}, {}, utc("2026-11-24T20:00")) == {}


@given(
    zone=st.sampled_from([CHICAGO, "Europe/London", "Asia/Tehran", "Australia/Lord_Howe", "UTC"]),
    at=st.times().map(lambda t: f"{t:%H:%M}"),
    start=st.integers(0, 4 * 365 * 24).map(lambda h: utc("2024-01-01T00:00") + timedelta(hours=h)),
)
def test_every_day_of_a_year_has_one_slot_and_they_come_in_order(
    zone: str, at: str, start: datetime
) -> None:
    settings = district(at=at, timezone=zone)
    now = start
    days = []
    for _ in range(60):
        slot = next_sync(settings, now)
        assert slot is not None and slot.astimezone(UTC) > now
        assert last_slot(settings, slot) == slot.astimezone(UTC)
        days.append(slot.astimezone(ZoneInfo(zone)).date())
        now = slot.astimezone(UTC)
    assert [d - days[0] for d in days] == [timedelta(days=n) for n in range(60)]
