"""`roster purge`: a report of what went and of what stays, and why."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roster_pipeline_tests.conftest import Roster


@pytest.fixture
def old(roster: Roster, home: Path) -> list[Path]:
    """A delivery that no import has taken, and a refused one, both a year old."""
    roster("district", "add", "oak", "--name", "Oak County")
    refused = home / "archive" / "oak" / "refused" / "abc"
    refused.mkdir(parents=True)
    (refused / "reason.json").write_text("[]")
    landed = home / "landing" / "oak" / "OneRoster.zip"
    landed.write_text("z" * 2_000_000)
    moment = (datetime.now(UTC) - timedelta(days=365)).timestamp()
    for path in (landed, refused):
        os.utime(path, (moment, moment))
    return [landed, refused]


def lines(told: dict[str, list[dict[str, object]]]) -> list[tuple[object, ...]]:
    return [(x["what"], x["outcome"], x["districts"], x["files"]) for x in told["lines"]]


def test_it_says_what_went_and_what_stays_and_why(roster: Roster, old: list[Path]) -> None:
    landed, refused = old
    would = roster("purge", "--dry-run")
    assert would.code == 0 and "would go" in would.out
    assert all(path.exists() for path in old)

    told = roster("purge", "--format", "json").json()

    assert lines(told) == [
        ("landing zone", "no import has taken it", ["oak"], 1),
        ("refused deliveries", "gone", ["oak"], 1),
    ]
    assert (told["files"], told["bytes"], told["dry_run"]) == (1, 2, False)
    assert landed.exists() and not refused.exists()
    table = roster("purge").out
    assert "no import has taken it" in table and "2.0 MB" in table
    assert "0 files, 0.0 MB gone." in table


def test_an_archive_that_the_warehouse_does_not_know_is_left_alone(
    roster: Roster, old: list[Path], home: Path
) -> None:
    delivery = home / "archive" / "oak" / "deliveries" / "def"
    delivery.mkdir(parents=True)
    os.utime(delivery, (0, 0))
    assert "unknown to this warehouse (ROSTER_WAREHOUSE_URL?)" in roster("purge").out
    assert delivery.exists()


def test_a_wrong_number_of_days_is_named(
    roster: Roster, monkeypatch: pytest.MonkeyPatch, old: list[Path]
) -> None:
    from roster_pipeline.settings import SettingsError

    monkeypatch.setenv("ROSTER_KEEP_REFUSED_DAYS", "0")
    with pytest.raises(SettingsError, match="ROSTER_KEEP_REFUSED_DAYS is '0'"):
        roster("purge")
    assert all(path.exists() for path in old)
