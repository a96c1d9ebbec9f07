"""No pupil's data where it does not belong: every personal value of a delivery carries a marker,
and the marker is looked for in everything that is not the roster itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from roster_pipeline.notifications.alerts import post_alerts
from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes, write_package
from roster_pipeline.sample import DEMO_FAULTS, make_district, plant_faults
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline_tests.conftest import Roster

MARKER = "Zyxwv"
PERSONAL = ("givenName", "familyName", "middleName", "username", "email", "sms", "phone")
ROSTER_TABLES = ("students", "teachers", "admins", "contacts", "record_history")


def marked(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    users = frames["users"].copy()
    for column in PERSONAL:
        users[column] = MARKER + users[column].fillna("x")
    users["password"] = MARKER + users["sourcedId"]
    born = frames["demographics"].assign(cityOfBirth=MARKER)
    return {**frames, "users": users, "demographics": born}


def told_about(home: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that is kept beside the roster: Dagster's history, the books, what is in files."""
    for path in (home / "dagster").rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    for path in (home / "archive").rglob("reason.json"):
        yield str(path), path.read_bytes()
    for path in (home / "reports").rglob("*.*"):
        yield str(path), path.read_bytes()
    with sqlite3.connect(home / "warehouse.db") as warehouse:
        tables = warehouse.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table not in ROSTER_TABLES and not table.startswith("sqlite"):
                rows = warehouse.execute(f"SELECT * FROM {table}").fetchall()
                yield table, repr(rows).encode()


def tell(home: Path) -> None:
    """Put the alerts into the outbox, as the mail sensor does."""
    engine = open_warehouse(load_settings().warehouse_url)
    post_alerts(engine, home / "districts", "http://127.0.0.1:3000", datetime.now(UTC))
    engine.dispose()


def test_a_marker_in_every_personal_value_is_found_nowhere_but_in_the_roster(
    roster: Roster, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roster("district", "add", "oak", "--name", "Oak")
    with (home / "districts" / "oak.yaml").open("a") as file:
        file.write("notifications: {digest: [ann@oak.example], alerts: [it@oak.example]}\n")
    faulty = plant_faults(marked(make_district(300)), DEMO_FAULTS)
    write_package(tmp_path / "first", faulty.frames, replaced=faulty.replaced)
    users = csv_bytes(marked(make_district(300))["users"], VERSIONS["1.1"], "users")
    headerless = users.partition(b"\n")[2]
    write_package(tmp_path / "second", faulty.frames, replaced={"users": headerless})
    write_package(tmp_path / "third", faulty.frames, replaced={"users": users[:-40]})
    write_package(tmp_path / "fourth", faulty.frames, replaced={"users": users + b'"x,\xff\n' * 9})
    printed = []
    for name in ("first", "second", "third", "fourth"):
        said = roster("import", "oak", tmp_path / name)
        printed += [said.out, said.err]
    tell(home)
    for command in (
        ("digest", "oak", "--send"),
        ("findings", "1", "--format", "csv"),
        ("findings", "2"),
        ("findings", "1", "--causes"),
        ("show", "1"),
        ("show", "1", "--html"),
        ("records", "1"),
        ("imports",),
        ("overview", "oak"),
    ):
        said = roster(*command)
        printed += [said.out, said.err]

    assert roster("show", "1", "--format", "json").json()["status"] == "imported"
    assert roster("show", "2", "--format", "json").json()["status"] == "refused"
    assert MARKER not in "".join(printed)
    assert "4 mails sent" in "".join(printed), "a digest and three refusals"
    assert MARKER not in caplog.text
    kept = list(told_about(home))
    assert len(kept) > 5
    assert [place for place, content in kept if MARKER.encode() in content] == []
    stored = sqlite3.connect(home / "warehouse.db").execute("SELECT email FROM students").fetchone()
    assert MARKER in stored[0], "the marker must have been there to be found"
