"""What is told of a landing zone without asking, and how one concern is known again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.landing.arrival import Arrival, Content, WatchedFile
from roster_pipeline.landing.concerns import Concern, concerns, school_days
from roster_pipeline.landing.zones import Trouble, Zone

NOW = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)  # a Friday
HOUR = timedelta(hours=1)
DISTRICT = DistrictSettings(name="Oak County", timezone="America/Chicago")
EMPTY = Arrival("empty")


def told(
    zone: Zone,
    arrival: Arrival | None = EMPTY,
    before: Zone | None = None,
    district: DistrictSettings = DISTRICT,
) -> list[Concern]:
    return concerns(zone, before, arrival, district, NOW)


@pytest.mark.parametrize(
    ("after", "before", "days"),
    [
        (date(2026, 11, 23), date(2026, 11, 23), 0),
        (date(2026, 11, 23), date(2026, 11, 24), 0),
        (date(2026, 11, 23), date(2026, 11, 27), 3),
        (date(2026, 11, 20), date(2026, 11, 23), 0),  # a weekend
        (date(2026, 11, 20), date(2026, 12, 1), 6),
        (date(2026, 6, 1), date(2026, 6, 30), 20),
    ],
)
def test_school_days_are_mondays_to_fridays_between(after: date, before: date, days: int) -> None:
    assert school_days(after, before) == days


def test_silence_is_told_after_three_school_days_and_names_the_last_file() -> None:
    zone = Zone("oak", arrived_at=datetime(2026, 11, 23, 8, 0, tzinfo=UTC))
    (concern,) = told(zone)
    assert concern.kind == "silent"
    assert concern.facts == (
        "The last file came on Monday 23 November 2026, 02:00 (America/Chicago).",
    )
    assert told(replace(zone, arrived_at=datetime(2026, 11, 24, 8, 0, tzinfo=UTC))) == []
    assert told(Zone("oak")) == []


def test_a_district_that_is_synchronised_weekly_may_be_silent_for_a_week_more() -> None:
    schedule = {"when": "weekly", "days": ["mon"], "at": "02:00"}
    weekly = DistrictSettings.model_validate({"name": "Oak", "schedule": schedule})
    monday = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert told(Zone("oak", arrived_at=monday), district=weekly) == []
    (concern,) = told(Zone("oak", arrived_at=monday - timedelta(days=7)), district=weekly)
    assert concern.kind == "silent"


def test_the_next_silence_is_another() -> None:
    first, second = (
        told(Zone("oak", arrived_at=NOW - timedelta(days=days)))[0].about for days in (20, 10)
    )
    assert first != second


def test_a_server_is_told_at_once_when_it_refuses_us_and_after_an_hour_when_it_is_away() -> None:
    def trouble(kind: str, since: datetime) -> list[str]:
        zone = Zone("oak", trouble=Trouble(kind, "It says no.", since))  # type: ignore[arg-type]
        return [concern.kind for concern in told(zone, None)]

    assert trouble("login_refused", NOW) == ["login_refused"]
    assert trouble("host_key_changed", NOW) == ["host_key_changed"]
    assert trouble("unreachable", NOW - HOUR / 2) == []
    assert trouble("unreachable", NOW - HOUR) == ["unreachable"]


def test_an_upload_that_broke_off_is_told_after_an_hour_and_one_that_goes_on_is_not() -> None:
    since = (NOW - HOUR).timestamp()
    broken = Arrival(
        "waiting", ("OneRoster.zip",), "OneRoster.zip is not whole yet", since, broken_off=True
    )
    (concern,) = told(Zone("oak"), broken)
    assert concern.kind == "unfinished"
    assert concern.facts[0] == "OneRoster.zip is not whole yet."
    assert "Friday 27 November 2026, 11:00" in concern.facts[1]
    assert told(Zone("oak"), replace(broken, since=since + 60)) == []
    assert told(Zone("oak"), replace(broken, broken_off=False)) == []


def test_a_near_miss_is_told_when_the_file_has_lain_there_for_a_while() -> None:
    arrival = Arrival("empty", near={"oneroster.zip": "OneRoster.zip"})

    def lying(seconds: float) -> list[Concern]:
        file = WatchedFile("oneroster.zip", 1, 0.0, NOW.timestamp() - seconds)
        return told(Zone("oak", files=(file,)), arrival)

    assert lying(5) == []
    (concern,) = lying(60)
    assert concern.facts == ("oneroster.zip is not taken: it must be named OneRoster.zip.",)


def test_files_without_records_are_told_when_they_had_some_before() -> None:
    zone = Zone("oak").read(Content("a" * 64, header_only=("users.csv",)))
    (concern,) = told(zone, before=Zone("oak"))
    assert (concern.kind, concern.facts) == ("header_only", ("Without a record: users.csv.",))
    assert told(zone, before=zone) == []
