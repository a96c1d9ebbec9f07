"""The README is true: its commands run, and its output is what they print."""

from __future__ import annotations

import re
import shlex
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from roster_pipeline.cli.main import app
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import make_district
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.landing.zone import Zone, running

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def block_with(start: str) -> list[str]:
    return next(block for block in BLOCKS if block.startswith(start)).splitlines()


def test_the_demo_goes_the_whole_way_and_prints_what_the_readme_shows(
    roster: Roster, home: Path
) -> None:
    said = roster("demo")

    assert said.code == 0, said.err
    assert re.search(r"by SFTP to 127\.0\.0\.1 port \d+, as springfield", said.out)
    with sqlite3.connect(home / "warehouse.db") as warehouse:
        log = warehouse.execute("SELECT action, file FROM landing_log").fetchall()
    assert ("upload", "OneRoster.zip") in log
    printed = [line.rstrip() for line in said.out.splitlines()]
    shown = [line.rstrip() for line in block_with("Import 1 of springfield") if line.strip() != "…"]
    start = printed.index(shown[0])
    assert printed[start : start + len(shown)] == shown


def half(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """A partial export: every other student is not in it."""
    users = frames["users"]
    left = (users["role"] != "student") | (users.index % 2 == 0)
    return {**frames, "users": users.loc[left].reset_index(drop=True)}


def test_the_steps_with_a_district_of_ones_own_run_as_written(
    roster: Roster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: str) -> None:
        said = roster(*shlex.split(command)[1:])
        assert said.code == 0, (command, said.err)

    monkeypatch.chdir(tmp_path)
    frames = make_district(300)
    write_package(tmp_path / "OneRoster.zip", frames)
    write_package(tmp_path / "half.zip", half(frames))
    assert roster("demo", "--students", 300).code == 0, "it is import 1"
    first = [c for c in block_with("roster district add oak") if c.startswith("roster ")]
    assert len(first) == 6
    for command in first:
        run(command)

    approve, reject, *others = block_with("roster approve 3")
    assert roster("import", "oak", "half.zip").code == 3
    run(approve)
    write_package(tmp_path / "quarter.zip", half(half(frames)))
    assert roster("import", "oak", "quarter.zip").code == 3
    run(reject)
    assert len(others) == 5
    for command in others:
        run(command)


def test_the_steps_of_the_landing_zone_run_as_written(
    roster: Roster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, serve, *others = block_with("roster landing account")
    assert roster("district", "add", "oak", "--name", "Oak").code == 0
    assert "Password" in roster(*shlex.split(account)[1:]).out
    assert shlex.split(serve)[1:] == ["landing", "serve"]
    assert len(others) == 2
    settings = load_settings()
    engine = open_warehouse(settings.warehouse_url)
    with running(Zone(settings, engine, tmp_path / "no key", tmp_path)) as zone:
        monkeypatch.setenv("ROSTER_LANDING_PORT", str(zone.port))
        for command in others:
            said = roster(*shlex.split(command)[1:])
            assert said.code == 0, (command, said.err)


def test_every_command_the_readme_names_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    known |= {group.name for group in app.registered_groups}
    named = set(re.findall(r"^roster (\w+)", README, re.MULTILINE))
    assert named <= known
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)$", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_sql_gives_the_roster_as_an_import_left_it(
    roster: Roster, home: Path, tmp_path: Path
) -> None:
    frames = make_district(300)
    write_package(tmp_path / "whole", frames)
    write_package(tmp_path / "half", half(frames))
    roster("district", "add", "oak", "--name", "Oak")
    assert roster("import", "oak", tmp_path / "whole").code == 0
    assert roster("import", "oak", tmp_path / "half").code == 3
    assert roster("approve", 2, "--reason", "moved away").code == 0
    sql = re.findall(r"^```sql\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(sql) == 1

    with sqlite3.connect(home / "warehouse.db") as warehouse:
        now = warehouse.execute("SELECT count(*) FROM active_students").fetchone()
        then = warehouse.execute(f"SELECT count(*) FROM ({sql[0]})").fetchone()

    students = (half(frames)["users"]["role"] == "student").sum()
    assert (now[0], then[0]) == (students, 300)
