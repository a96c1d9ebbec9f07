"""`roster show --html`: where the report is, or why it is not there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse.database import opened
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.notifications.books import booked, district


@pytest.fixture(autouse=True)
def oak(home: Path) -> None:
    settings = load_settings()
    prepare_home(settings)
    district(settings.districts)
    with opened(settings.warehouse_url) as engine:
        booked(engine, "refused", datetime.now(UTC))


def test_the_report_is_written_where_one_says(roster: Roster, tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.html"
    said = roster("show", "1", "--html", target)
    assert (said.code, said.out.strip()) == (0, str(target))
    assert "<html" in target.read_text(encoding="utf-8")


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(
    roster: Roster, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for target, why in (("file/report.html", "File exists"), (".", "Is a directory")):
        said = roster("show", "1", "--html", tmp_path / target)
        assert said.code == 2
        told = " ".join(said.err.split())
        assert f"The report cannot be written to {tmp_path / target}: {why}." in told
        assert "Name a file that you may write" in told
