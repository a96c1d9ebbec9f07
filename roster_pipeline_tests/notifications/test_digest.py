"""The daily digest: what it says, when there is none, and when each district's is due."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, update

from roster_pipeline.districts.files import load_district
from roster_pipeline.findings import finding
from roster_pipeline.notifications.digest import (
    Digest,
    LeftOut,
    due_digests,
    make_digest,
    post_digest,
    write_digest,
)
from roster_pipeline.stages.hold import Reason
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.tables import imports
from roster_pipeline_tests.notifications.books import (
    booked,
    district,
    held,
    mails,
    repeated,
    without_email,
)

NOW = datetime(2026, 11, 24, 13, tzinfo=UTC)  # six in the morning in Denver
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
UI = "http://127.0.0.1:3000"
ON_SQLITE = pytest.mark.parametrize("warehouse_url", ["sqlite"], indirect=True)


@pytest.fixture
def districts(tmp_path: Path) -> Path:
    return district(tmp_path / "districts")


def made(engine: Engine, districts: Path, now: datetime = NOW) -> Digest:
    with reading(engine) as conn:
        return make_digest(conn, "oak", load_district(districts, "oak"), now)


def posted(engine: Engine, districts: Path, now: datetime = NOW) -> bool:
    digest = made(engine, districts, now)
    with engine.begin() as conn:
        return post_digest(conn, digest, load_district(districts, "oak"), UI, now)


def test_it_tells_what_is_left_out_new_and_gone_since_the_digest_before(
    warehouse: Engine, districts: Path
) -> None:
    gone = finding(
        "source_id_repeated", file="classes.csv", source_id="c-1", enrollment_type="class"
    )
    booked(warehouse, "imported", NOW - 2 * HOUR, [*without_email("s-1", "s-2"), gone])
    assert posted(warehouse, districts)
    booked(warehouse, "refused", NOW + 3 * HOUR, [finding("delta_without_base", file="users.csv")])
    dropped = finding("value_dropped", field="sex", allowed="one of them", file="users.csv", row=2)
    findings = [*without_email("s-2", "s-3", "s-4"), dropped]
    booked(warehouse, "imported", NOW + 4 * HOUR, findings)

    digest = made(warehouse, districts, NOW + DAY)
    assert digest.left_out == [
        LeftOut("email_missing", "student", 3, 2, 1),
        LeftOut("source_id_repeated", "class", 0, 0, 1),
    ]
    assert (digest.since, digest.reported) == (NOW, 1)
    assert digest.ended == {"imported": 1, "refused": 1}
    letter = write_digest(digest, UI)
    assert letter.subject == "Oak County: roster digest of Wednesday 25 November 2026"
    assert "came on Tuesday 24 November 2026, 09:59, 20 hours ago (import 3, imp" in letter.text
    assert "Since Tuesday 24 November 2026, 06:00: 1 merged, 1 refused." in letter.text
    assert "- 3 students: No email (2 new, 1 gone)\n" in letter.text
    assert "- 3 students (No email)\n" in letter.text
    assert "roster findings 3 --causes" in letter.text
    assert "http://127.0.0.1:3000/runs/run-1" in letter.text
    for said in ("No email", "more findings, which left nothing out", "--causes"):
        assert said in letter.html
    assert "s-2" not in letter.text + letter.html


def test_it_is_posted_once_for_a_district_and_day(warehouse: Engine, districts: Path) -> None:
    booked(warehouse, "imported", NOW - HOUR, without_email("s-1"))
    with reading(warehouse) as conn:
        first = make_digest(conn, "oak", load_district(districts, "oak"), NOW)
    assert posted(warehouse, districts)
    with warehouse.begin() as conn:
        assert not post_digest(conn, first, load_district(districts, "oak"), UI, NOW)
    (mail,) = mails(warehouse).values()
    assert (mail.key, mail.recipients) == ("digest-oak-2026-11-24", ["roster@oak.example"])


@ON_SQLITE
def test_a_day_on_which_nothing_came_waits_or_went_wrong_has_none(
    warehouse: Engine, districts: Path
) -> None:
    assert not made(warehouse, districts).worth_telling, "nothing ever came"
    booked(warehouse, "imported", NOW - HOUR, without_email("s-1"))
    assert posted(warehouse, districts)
    assert not posted(warehouse, districts, NOW + DAY), "nothing came since"
    booked(warehouse, "unchanged", NOW + 30 * HOUR, without_email("s-1"))
    assert posted(warehouse, districts, NOW + 2 * DAY), "it came, and is as it was"


@ON_SQLITE
def test_a_delivery_of_which_nothing_is_left_out_has_none_unless_something_is_mended(
    warehouse: Engine, districts: Path
) -> None:
    booked(warehouse, "imported", NOW - HOUR, without_email("s-1"))
    assert posted(warehouse, districts)
    booked(warehouse, "imported", NOW + HOUR)
    mended = made(warehouse, districts, NOW + DAY)
    assert mended.left_out == [LeftOut("email_missing", "student", 0, 0, 1)]
    assert posted(warehouse, districts, NOW + DAY)
    booked(warehouse, "imported", NOW + DAY + HOUR)
    assert not made(warehouse, districts, NOW + 2 * DAY).worth_telling


@ON_SQLITE
def test_what_waits_is_told_each_day_with_its_reasons(warehouse: Engine, districts: Path) -> None:
    number = booked(warehouse, "held", NOW - HOUR)
    held(warehouse, number, NOW - HOUR, Reason("delete", "<b> loses 9 of 9 classes."))
    assert posted(warehouse, districts)
    assert posted(warehouse, districts, NOW + DAY)
    letter = write_digest(made(warehouse, districts, NOW + DAY), UI)
    assert "Import 1 waits for a person since Tuesday 24 November 2026, 05:00" in letter.text
    assert "- <b> loses 9 of 9 classes.\n" in letter.text
    assert "roster approve 1" in letter.text
    assert "&lt;b&gt; loses 9 of 9 classes." in letter.html


@ON_SQLITE
def test_schools_that_wait_are_told_with_the_command_that_lists_them(
    warehouse: Engine, districts: Path
) -> None:
    message = "2 organisations wait to be mapped: `roster schools oak`."
    booked(warehouse, "needs_school_mapping", NOW - HOUR, message=message)
    digest = made(warehouse, districts)
    assert digest.reasons == [message]
    assert "roster schools oak" in write_digest(digest, UI).text


@ON_SQLITE
@pytest.mark.parametrize(
    ("state_of", "state"),
    [
        (1, "the state that import 1 had left."),
        (None, "the state before its first import: without"),
    ],
)
def test_an_undo_is_told_with_the_state_it_gave_back(
    warehouse: Engine, districts: Path, state_of: int | None, state: str
) -> None:
    booked(warehouse, "imported", NOW - HOUR)
    booked(warehouse, "imported", NOW - HOUR)
    assert not made(warehouse, districts).worth_telling
    with warehouse.begin() as conn:
        conn.execute(update(imports).where(imports.c.id == 2).values(status="undone"))
    why = "Took back import 2 (ann: Zyxwv)."
    booked(warehouse, "imported", NOW, app=ledger.UNDO, message=why, state_of=state_of)
    digest = made(warehouse, districts)
    assert (digest.ended, digest.as_json()["undos"]) == ({"imported": 1, "undone": 1}, [3])
    letter = write_digest(digest, UI)
    for form in (letter.text, letter.html):
        assert f"An undo (import 3) gave the roster back {state}" in form
        assert "Zyxwv" not in form
    assert posted(warehouse, districts)
    assert made(warehouse, districts, NOW + DAY).undos == []


@ON_SQLITE
def test_an_undo_that_was_refused_is_not_told(warehouse: Engine, districts: Path) -> None:
    booked(warehouse, "failed", NOW - HOUR, app=ledger.UNDO)
    digest = made(warehouse, districts)
    assert (digest.ended, digest.undos, digest.worth_telling) == ({}, [], False)


@ON_SQLITE
def test_a_row_that_stands_twice_is_among_what_is_left_out(
    warehouse: Engine, districts: Path
) -> None:
    booked(warehouse, "imported", NOW - HOUR, [*without_email("s-1"), repeated(7)])
    digest = made(warehouse, districts)
    assert digest.left_out == [
        LeftOut("email_missing", "student", 1, 0, 0),
        LeftOut("record_repeated", "student", 1, 0, 0),
    ]
    assert digest.reported == 0


@ON_SQLITE
def test_a_delivery_that_could_not_be_read_is_told_though_none_was_before(
    warehouse: Engine, districts: Path
) -> None:
    booked(warehouse, "refused", NOW - HOUR)
    letter = write_digest(made(warehouse, districts), UI)
    assert "No delivery could be read yet." in letter.text
    assert "roster imports oak" in letter.text
    assert posted(warehouse, districts)


@ON_SQLITE
def test_nobody_named_means_no_digest(warehouse: Engine, tmp_path: Path) -> None:
    folder = district(tmp_path / "others", to="alerts: [it@oak.example]")
    booked(warehouse, "imported", NOW - HOUR, without_email("s-1"))
    assert not posted(warehouse, folder)


DENVER, LONDON, KATHMANDU = (
    ZoneInfo(name) for name in ("America/Denver", "Europe/London", "Asia/Kathmandu")
)


def slots(zone: ZoneInfo, start: datetime, hours: int) -> list[tuple[datetime, date]]:
    """When an hourly clock finds the digest of a district due, and of which day."""
    found = []
    for hour in range(hours):
        now = start + hour * HOUR
        due = due_digests({"oak": zone}, now - HOUR, now)
        found += [(now, day) for day in due.values()]
    return found


@pytest.mark.parametrize(
    ("zone", "start", "utc_hours"),
    [
        pytest.param(DENVER, datetime(2026, 3, 7, tzinfo=UTC), [13, 12, 12], id="Denver, spring"),
        pytest.param(DENVER, datetime(2026, 10, 31, tzinfo=UTC), [12, 13, 13], id="Denver, autumn"),
        pytest.param(LONDON, datetime(2026, 3, 28, tzinfo=UTC), [6, 5, 5], id="London, spring"),
        pytest.param(LONDON, datetime(2026, 10, 24, tzinfo=UTC), [5, 6, 6], id="London, autumn"),
        pytest.param(KATHMANDU, datetime(2026, 3, 7, tzinfo=UTC), [1, 1, 1], id="Kathmandu"),
    ],
)
def test_it_is_due_at_six_by_the_districts_clock_once_a_day_over_a_change_of_the_clocks(
    zone: ZoneInfo, start: datetime, utc_hours: list[int]
) -> None:
    found = slots(zone, start, 72)
    days = [start.date() + n * DAY for n in range(3)]
    assert found == [
        (start + n * DAY + hour * HOUR, day)
        for n, (hour, day) in enumerate(zip(utc_hours, days, strict=True))
    ]


def test_after_days_on_which_nobody_looked_there_is_one() -> None:
    zones = {"oak": DENVER, "elm": LONDON}
    due = due_digests(zones, NOW - 9 * DAY, NOW - 2 * HOUR)
    assert due == {"oak": date(2026, 11, 23), "elm": date(2026, 11, 24)}


def test_what_was_settled_is_not_due_again() -> None:
    assert due_digests({"oak": DENVER}, NOW, NOW + 23 * HOUR) == {}
    assert due_digests({"oak": DENVER}, NOW - HOUR, NOW) == {"oak": date(2026, 11, 24)}
