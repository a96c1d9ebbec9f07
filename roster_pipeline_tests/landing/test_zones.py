"""What is kept of a landing zone from look to look, and what the ledger says is news."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from roster_pipeline.landing.arrival import Arrival, Content, SeenFile, watch
from roster_pipeline.landing.news import Books, at_slot, read_books, run_key
from roster_pipeline.landing.survey import look_into
from roster_pipeline.landing.zones import (
    Trouble,
    Zone,
    read_zones,
    record_taken,
    save_looks,
    save_slots,
)
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading

NOW = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)


def looked(*files: SeenFile, at: datetime = NOW) -> Zone:
    return Zone("oak").seen(watch((), files, at.timestamp()), at)


def kept(engine: Engine) -> dict[str, Zone]:
    with reading(engine) as conn:
        return read_zones(conn)


def test_a_zone_is_kept_as_it_is_each_part_by_who_writes_it(warehouse: Engine) -> None:
    zone = looked(SeenFile("users.csv", 1 << 40, 1_800_000_000.123457))
    zone = zone.read(Content("a" * 64, header_only=("users.csv",)))
    zone = replace(zone, trouble=Trouble("unreachable", "It did not answer.", NOW))
    slots = {"settled_until": NOW, "settled_schedule": "daily", "settled_by": NOW}
    with warehouse.begin() as conn:
        record_taken(conn, "oak", "b" * 64, 7, NOW)
        save_looks(conn, [zone, Zone("elm")])
        save_slots(conn, [replace(Zone("oak"), **slots)])
    taken = {"taken": "b" * 64, "taken_import_id": 7, "taken_at": NOW}
    expected = replace(zone, **slots, **taken)
    assert kept(warehouse) == {"oak": expected, "elm": Zone("elm")}
    with warehouse.begin() as conn:
        save_looks(conn, [Zone("oak", content=Content(None, "not whole yet"))])
    again = kept(warehouse)["oak"]
    assert again.content == Content(None, "not whole yet")
    assert (again.files, again.trouble, again.taken) == ((), None, "b" * 64)


def test_what_was_read_is_forgotten_when_the_delivery_changes_and_only_then() -> None:
    zone = looked(SeenFile("OneRoster.zip", 5, 1.0)).read(Content("a" * 64))
    beside = watch(zone.files, [SeenFile("OneRoster.zip", 5, 1.0), SeenFile("x.txt", 1, 1.0)], 9e9)
    assert zone.seen(beside, NOW).content == zone.content
    other = watch(zone.files, [SeenFile("OneRoster.zip", 6, 1.0)], 9e9)
    assert zone.seen(other, NOW).content is None


def test_when_a_file_last_came_is_remembered_when_the_zone_is_emptied() -> None:
    zone = looked(SeenFile("OneRoster.zip", 5, NOW.timestamp() - 60))
    assert zone.arrived_at == NOW - timedelta(seconds=60)
    assert zone.seen((), NOW).arrived_at == zone.arrived_at


def test_a_look_sees_plain_files_and_uploads_and_no_links(tmp_path: Path) -> None:
    for name in ("OneRoster.zip", ".upload-1", ".bashrc"):
        (tmp_path / name).write_text("x")
    (tmp_path / "users.csv").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    assert sorted(file.name for file in look_into(tmp_path)) == [".upload-1", "OneRoster.zip"]
    assert look_into(tmp_path / "none") == []


def book(
    engine: Engine, status: ledger.Status, app: str = "sftp", delivery: str | None = None
) -> int:
    number = ledger.start_import(engine, "oak", app, None, False, "", NOW)
    with engine.begin() as conn:
        if delivery is not None:
            ledger.record_delivery(conn, number, f"oak/deliveries/{delivery}")
        ledger.finish_import(conn, number, status, NOW)
    return number


def test_the_books_say_what_came_after_what_was_taken(warehouse: Engine) -> None:
    with reading(warehouse) as conn:
        assert read_books(conn, [Zone("oak")]) == {"oak": Books()}
    taken = book(warehouse, "imported", delivery="a")
    with warehouse.begin() as conn:
        record_taken(conn, "oak", "a", taken, NOW)
    with reading(warehouse) as conn:
        zone = read_zones(conn)["oak"]
        assert read_books(conn, [zone]) == {"oak": Books(taken, "imported")}
    book(warehouse, "imported", delivery="a")  # the same again, by hand
    book(warehouse, "refused", "csv_upload", "c")
    with reading(warehouse) as conn:
        assert read_books(conn, [zone])["oak"].other_since is None
    newest = book(warehouse, "imported", "csv_upload", "b")
    undone = book(warehouse, "imported", ledger.UNDO)
    with reading(warehouse) as conn:
        assert read_books(conn, [zone]) == {"oak": Books(undone, "imported", True, NOW)}
    assert newest < undone


READY = Arrival("ready", ("OneRoster.zip",), since=NOW.timestamp(), key="a")


@pytest.mark.parametrize(
    ("zone", "books", "key"),
    [
        (Zone("oak"), Books(), "oak:a:0"),
        (Zone("oak", taken="b", taken_at=NOW), Books(4), "oak:a:4"),
        (Zone("oak", taken="a", taken_at=NOW), Books(4), None),
        # Put there again after it was taken: news only when another was imported in between.
        (Zone("oak", taken="a", taken_at=NOW - timedelta(hours=2)), Books(4), None),
        (
            Zone("oak", taken="a", taken_at=NOW - timedelta(hours=2)),
            Books(5, other_since=NOW - timedelta(hours=1)),
            "oak:a:5",
        ),
        (
            Zone("oak", taken="a", taken_at=NOW - timedelta(hours=2)),
            Books(5, other_since=NOW + timedelta(hours=1)),
            None,
        ),
    ],
)
def test_what_is_news(zone: Zone, books: Books, key: str | None) -> None:
    assert run_key(zone, READY, books) == key
    assert run_key(zone, replace(READY, state="waiting"), books) is None


def test_at_a_slot_an_undone_delivery_stays_undone() -> None:
    zone = Zone("oak", taken="a", taken_import_id=3, taken_at=NOW)
    what = at_slot(zone, READY, Books(5, "unchanged", undone=True), NOW, NOW)
    assert what == ("pass", "the same delivery was undone (import 3)")
    assert at_slot(zone, READY, Books(5, "unchanged"), NOW, NOW) == ("run", "")
    assert at_slot(zone, READY, Books(5, "failed"), NOW, NOW) == ("run", "")
