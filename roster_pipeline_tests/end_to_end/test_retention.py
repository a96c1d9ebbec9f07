"""After a purge, an undo and the next delta find what they stand on: all the way, with archive and
artifacts in an object store. (What is kept for how long is tried on a disk, too, without imports.)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roster_pipeline.landing.retention import purge, stores_of_districts
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.settings import load_keep_days, load_settings
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.end_to_end.deliveries import district, students, without_people, written

OAK = "oak"
FRAMES = district(300)


def test_an_old_state_is_given_back_and_a_delta_is_applied_to_it_though_all_was_purged(
    roster: Roster,
    home: Path,
    nothing_required: None,
    tmp_path: Path,
    bucket_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("archive", "artifacts"):
        monkeypatch.setenv(f"ROSTER_{name.upper()}_URL", f"{bucket_url}/{name}")
    roster("district", "add", OAK, "--name", "Oak County")
    zone = home / "landing" / OAK
    one, two = students(FRAMES).head(2)
    written(zone, "OneRoster", FRAMES)
    assert roster("import", OAK).code == 0
    written(zone, "OneRoster", without_people(FRAMES, students(FRAMES).head(1)))
    assert roster("import", OAK).code == 0
    taken_again = roster("import", OAK, "--from-import", 1, "--format", "json").json()
    assert taken_again["counts"]["student"]["restored"] == 1, "as if it arrived now"
    assert (taken_again["app"], taken_again["status"]) == ("sftp", "imported")

    engine = open_warehouse(load_settings().warehouse_url)
    in_a_year = datetime.now(UTC) + timedelta(days=365)
    done = purge(load_settings(), engine, load_keep_days(), in_a_year)
    engine.dispose()

    assert {line["what"] for line in done.lines() if line["outcome"] == "gone"} >= {
        *("landing zone", "archive", "artifacts"),
    }
    archive, artifacts = stores_of_districts(load_settings())
    assert list(zone.iterdir()) == [] and artifacts.things(OAK) == []
    gone = roster("import", OAK, "--from-import", 2)
    assert gone.code == 2 and "not in the archive any more" in gone.err
    assert roster("undo", 3, "--reason", "the wrong year").code == 0
    users = FRAMES["users"]
    theirs = users.loc[users["sourcedId"] == two].reset_index(drop=True)
    theirs = theirs.assign(
        status="active", dateLastModified="2026-11-24T00:00:00.000Z", middleName="Quill"
    )
    write_package(tmp_path / "delta", {"users": theirs}, modes={"users": "delta"})

    said = roster("import", OAK, tmp_path / "delta", "--app", "sftp", "--format", "json")

    assert said.code == 0, said.err
    counts = said.json()["counts"]["student"]
    assert (counts["updated"], counts["deleted"]) == (1, 0)
    assert counts["received"] == len(students(FRAMES)) - 1, f"{one} is not back"
    assert len(archive.things(f"{OAK}/effective")) == 3
    assert not any((home / name).exists() for name in ("archive", "artifacts"))
    left = roster("filter-preview", OAK, "--format", "json").json()
    assert {(line["enrollment_type"], line["records"]) for line in left} >= {
        ("student", counts["received"])
    }
