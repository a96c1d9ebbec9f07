"""`roster db`, and what every command says of a warehouse that is not of its version."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command

from roster_pipeline.warehouse.database import _alembic_config, connect
from roster_pipeline_tests.conftest import Roster


def warehouse_of(home: Path, version: str) -> None:
    home.mkdir()
    engine = connect(f"sqlite:///{home / 'warehouse.db'}")
    with engine.begin() as conn:
        config = _alembic_config()
        config.attributes["connection"] = conn
        command.upgrade(config, "0001" if version == "older" else "head")
        if version == "newer":
            conn.exec_driver_sql("UPDATE warehouse_version SET version_num = '9999'")
    engine.dispose()


COMMANDS = [
    ("imports",),
    ("district", "list"),
    ("trace", "oak", "ann"),
    ("undo", "1", "--reason", "x"),
    ("approve", "1", "--reason", "x"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_an_older_warehouse_is_told_and_what_to_do(
    roster: Roster, home: Path, words: tuple[str, ...]
) -> None:
    warehouse_of(home, "older")
    said = roster(*words)
    assert said.code == 2
    assert "older version of this program" in said.err and "roster db upgrade" in said.err


def test_an_upgrade_brings_it_to_this_version_once(roster: Roster, home: Path) -> None:
    warehouse_of(home, "older")
    assert "(before: 0001)" in roster("db", "upgrade").out
    assert "which is this program's" in roster("db", "upgrade").out
    assert roster("imports").code == 0


@pytest.mark.parametrize("words", [*COMMANDS, ("db", "upgrade")], ids=lambda words: words[0])
def test_a_newer_warehouse_is_left_alone(
    roster: Roster, home: Path, words: tuple[str, ...]
) -> None:
    warehouse_of(home, "newer")
    said = roster(*words)
    assert said.code == 2
    assert "newer version of this program" in said.err
