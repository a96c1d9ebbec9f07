"""`roster landing status` and the next synchronisation in `roster district list`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from roster_pipeline.landing.arrival import Content, watch
from roster_pipeline.landing.survey import look_into
from roster_pipeline.landing.zones import Trouble, Zone, save_looks
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.defs.watching import aged, district, imported, uploaded, warehouse


def test_it_shows_what_is_staged_and_what_it_waits_for(roster: Roster, home: Path) -> None:
    for name in ("ash", "elm", "oak"):
        district(name)
    uploaded("oak")
    aged(uploaded("elm", name="oneroster.zip"), 900)
    imported("oak", "a" * 64)

    said = roster("landing", "status")

    assert said.code == 0
    lines = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert lines["ash"].split() == ["ash", "hosted", "empty"]
    assert "waiting: the sensor has not looked there" in lines["oak"]
    assert lines["oak"].rstrip().endswith("1 imported")
    assert "elm: oneroster.zip is not taken; it must be named OneRoster.zip." in said.out

    (zone,) = roster("landing", "status", "oak", "--format", "json").json()
    assert (zone["district"], zone["state"], zone["server"]) == ("oak", "waiting", "hosted")
    assert (zone["files"][0]["file"], zone["files"][0]["taken"]) == ("OneRoster.zip", True)
    assert (zone["last_import"], zone["status"]) == (1, "imported")


def test_a_delivery_that_was_taken_says_by_which_import_and_what_became_of_it(
    roster: Roster, home: Path
) -> None:
    district("oak")
    uploaded("oak")
    files = watch((), look_into(home / "landing" / "oak"), time.time() - 60)
    with warehouse().begin() as conn:
        save_looks(conn, [Zone("oak", files, datetime.now(UTC), Content("a" * 64))])
    imported("oak", "a" * 64, "held")
    imported("oak", None, "refused", app="csv_upload")

    assert "taken by import 1 (held)" in roster("landing", "status").out
    (zone,) = roster("landing", "status", "--format", "json").json()
    assert (zone["state"], zone["taken_by"]) == ("taken", 1)
    assert (zone["last_import"], zone["status"]) == (2, "refused")


def test_a_server_of_the_districts_own_is_shown_as_the_last_look_saw_it(
    roster: Roster, home: Path
) -> None:
    server = {
        "host": "sftp.oak.example",
        "username": "roster",
        "password_env": "OAK",
        "host_key": f"SHA256:{'A' * 43}",
    }
    district("oak", sftp={"server": server})
    (zone,) = roster("landing", "status", "--format", "json").json()
    assert (zone["server"], zone["state"]) == ("sftp.oak.example:22", "empty")
    assert zone["why"] == "the sensor has not looked there yet; it does while `roster ui` runs"
    now = datetime.now(UTC)
    trouble = Trouble("unreachable", "It did not answer.", now)
    with warehouse().begin() as conn:
        save_looks(conn, [Zone("oak", looked_at=now, trouble=trouble)])
    (zone,) = roster("landing", "status", "--format", "json").json()
    assert (zone["state"], zone["why"]) == ("trouble", "It did not answer.")


def test_a_district_that_is_not_there_or_has_mistakes_is_told(roster: Roster, home: Path) -> None:
    district("oak")
    (home / "districts" / "elm.yaml").write_text("nam: Elm\n")
    assert "did you mean oak?" in roster("landing", "status", "oat").err
    assert roster("landing", "status", "elm").code == 2
    assert "elm is left out: its file has mistakes" in roster("landing", "status").out


def test_the_list_of_districts_says_when_each_is_next_synchronised(
    roster: Roster, home: Path
) -> None:
    schedule = {"when": "daily", "at": "02:00"}
    district("oak", trigger=["schedule"], timezone="America/Chicago", schedule=schedule)
    district("elm")
    listed = {d["district"]: d for d in roster("district", "list", "--format", "json").json()}
    assert listed["elm"]["next_sync"] is None
    assert " 02:00:00-0" in listed["oak"]["next_sync"]
    assert " 02:00 C" in roster("district", "list").out
