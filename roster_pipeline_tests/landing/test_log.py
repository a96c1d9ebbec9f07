"""The landing zone's log: what is written, what is folded, and that it harms nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from roster_pipeline.landing.log import LONGEST_SHOWN, Action, Event, LandingLog, shown
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.tables import landing_log, metadata
from roster_pipeline_tests.landing.zone import until


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 8, 3, 6, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_warehouse(f"sqlite:///{tmp_path}/warehouse.db")
    yield engine
    engine.dispose()


def rows(engine: Engine) -> list[Any]:
    with reading(engine) as conn:
        return list(conn.execute(select(landing_log).order_by(landing_log.c.id)).all())


def test_an_upload_is_a_row_with_size_and_hash(engine: Engine) -> None:
    clock = Clock()
    log = LandingLog(engine, clock)
    log.add(Event(Action.upload, "oak", "192.0.2.1", "OneRoster.zip", 12, "ab" * 32))
    log.close()
    [row] = rows(engine)
    assert row._mapping == {
        "id": 1,
        "at": clock.now,
        "district_id": "oak",
        "action": "upload",
        "address": "192.0.2.1",
        "file": "OneRoster.zip",
        "size": 12,
        "sha256": "ab" * 32,
        "detail": None,
    }


def test_who_knocks_a_thousand_times_makes_two_rows(engine: Engine) -> None:
    clock = Clock()
    log = LandingLog(engine, clock)
    for _ in range(1000):
        log.add(Event(Action.login_refused, None, "192.0.2.1", detail="wrong password of oak"))
        clock.go_on(0.01)
    log.add(Event(Action.login, "oak", "192.0.2.1"))
    clock.go_on(60)
    log.add(Event(Action.login_refused, None, "192.0.2.1", detail="wrong password of oak"))
    log.close()
    assert [(row.action, row.detail) for row in rows(engine)] == [
        ("login_refused", "wrong password of oak"),
        ("login", None),
        ("login_refused", "wrong password of oak: 999 more within a minute"),
        ("login_refused", "wrong password of oak"),
    ]


def test_a_thousand_addresses_are_told_together(engine: Engine) -> None:
    log = LandingLog(engine, Clock())
    for number in range(1000):
        log.add(Event(Action.login_refused, None, f"2001:db8::{number:x}", detail="wrong"))
    log.close()
    written = rows(engine)
    assert len(written) == 201
    assert written[-1].detail == "from various addresses: 800 more within a minute"


def test_however_many_knock_each_login_upload_and_deletion_is_a_row(engine: Engine) -> None:
    log = LandingLog(engine, Clock())
    done = (Action.login, Action.upload, Action.deletion)
    for number in range(300):
        log.add(Event(Action.login_refused, None, f"2001:db8::{number:x}", detail="wrong"))
        log.add(Event(Action.rename, "elm", "192.0.2.9", "a.csv", 1, detail=f"was {number}"))
        for action in done:
            log.add(Event(action, "oak", "192.0.2.1", f"{number}.csv", 1))
    log.add(Event(Action.refused, "oak", "192.0.2.1", detail="no links"))
    log.close()
    of_oak = [(row.action, row.file) for row in rows(engine) if row.district_id == "oak"]
    expected = [(action, f"{n}.csv") for n in range(300) for action in done]
    assert of_oak == [*expected, ("refused", None)]
    renamed = [row.detail for row in rows(engine) if row.district_id == "elm"]
    assert renamed[-1] == "rename: 200 more within a minute"
    assert len(renamed) == 101


def test_what_the_warehouse_does_not_take_waits_for_it(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    log = LandingLog(engine, Clock())
    landing_log.drop(engine)
    log.add(Event(Action.login, "oak", "192.0.2.1"))
    until(lambda: "does not take the log" in caplog.text)
    metadata.create_all(engine, tables=[landing_log])
    log.close()
    assert [row.action for row in rows(engine)] == ["login"]


@pytest.mark.parametrize(
    ("name", "as_shown"),
    [
        (b"/../../etc/passwd", "/../../etc/passwd"),
        (b"a\nlogin ok\x00", "a\\nlogin ok\\x00"),
        (b"\x1b[2J", "\\x1b[2J"),
        ("a\u202ezip".encode(), "a\\u202ezip"),
        (b"\xff", "\\xff"),
        (b"a" * 500, "a" * (LONGEST_SHOWN - 1) + "~"),
        (b"\n" * 500, "\\n" * 39 + "\\~"),
    ],
)
def test_a_clients_name_can_do_no_harm_where_it_is_read(name: bytes, as_shown: str) -> None:
    assert shown(name) == as_shown
    assert len(shown(name)) <= LONGEST_SHOWN
