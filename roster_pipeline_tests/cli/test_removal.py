"""`roster district remove`: what goes, what stays, and that nobody loses data by a slip."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from roster_pipeline.cli.running import forget_district
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.landing.accounts import account_of, open_account
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse import audit
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.lock import district_lock
from roster_pipeline.warehouse.removal import rows_of
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.warehouse.plans import plan, run_import

OAK = "oak"


@pytest.fixture
def district(roster: Roster, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Oak, with a student, an account and a delivery in its landing zone; its home."""
    monkeypatch.setenv("ROSTER_USER", "ada")
    assert roster("district", "add", OAK, "--name", "Oak County").code == 0
    engine = open_warehouse(load_settings().warehouse_url)
    run_import(engine, plan({"student": [("added", "ann", {"last_name": "Lee"})]}), district=OAK)
    with engine.begin() as conn:
        open_account(conn, OAK, None, "ada", datetime.now(UTC))
    engine.dispose()
    (home / "landing" / OAK / "OneRoster.zip").write_text("z")
    return home


def rows(home: Path) -> int:
    engine = open_warehouse(load_settings().warehouse_url)
    with reading(engine) as conn:
        return sum(rows_of(conn, OAK).values())


def partitions() -> list[str]:
    with dg.DagsterInstance.get() as instance:
        return list(instance.get_dynamic_partitions(DISTRICTS.name or ""))


def test_without_a_person_to_ask_it_wants_yes_and_does_nothing(
    roster: Roster, district: Path
) -> None:
    said = roster("district", "remove", OAK, "--delete-data")
    assert said.code == 2 and "--yes" in said.err
    assert (district / "districts" / "oak.yaml").exists() and rows(district) > 0


def test_it_is_a_district_no_more_and_what_was_imported_stays(
    roster: Roster, district: Path
) -> None:
    before = rows(district)

    said = roster("district", "remove", OAK, "--yes")

    assert said.code == 0, said.err
    assert "oak.yaml.removed" in said.out and "--delete-data" in said.out
    assert roster("district", "list", "--format", "json").json() == []
    assert roster("import", OAK).code == 2
    assert (district / "landing" / OAK / "OneRoster.zip").exists()
    assert rows(district) == before - 1, "the account"
    assert partitions() == []
    engine = open_warehouse(load_settings().warehouse_url)
    with reading(engine) as conn:
        assert account_of(conn, OAK) is None
        told = [(e["who"], e["action"]) for e in audit.entries(conn, OAK)]
    assert told[-2:] == [("ada", "landing_account_removed"), ("ada", "district_removed")]
    (district / "districts" / "oak.yaml.removed").rename(district / "districts" / "oak.yaml")
    assert roster("district", "check", OAK).code == 0, "it can be brought back"


def test_with_delete_data_nothing_is_left_also_of_one_that_was_removed_before(
    roster: Roster, district: Path
) -> None:
    roster("district", "remove", OAK, "--yes")

    said = roster("district", "remove", OAK, "--delete-data", "--yes", "--format", "json")

    assert said.code == 0, said.err
    assert said.json()["rows_deleted"] > 0
    assert rows(district) == 0
    assert [p for p in district.rglob("*") if OAK in p.name and p.suffix != ".lock"] == []
    again = roster("district", "remove", OAK, "--delete-data", "--yes")
    assert again.code == 2 and "There is no district 'oak'" in again.err


@pytest.mark.parametrize("name", ["elm", "../../x"])
def test_what_is_no_district_is_not_removed(roster: Roster, district: Path, name: str) -> None:
    assert roster("district", "remove", name, "--delete-data", "--yes").code == 2
    assert rows(district) > 0


def test_while_an_import_runs_nothing_is_removed(roster: Roster, district: Path) -> None:
    engine = open_warehouse(load_settings().warehouse_url)
    before = rows(district)
    with district_lock(engine, OAK):
        said = roster("district", "remove", OAK, "--delete-data", "--yes")
    assert said.code == 1 and "is running" in said.err
    assert (district / "districts" / "oak.yaml").exists() and rows(district) == before


def test_a_partition_with_a_run_in_flight_is_not_deleted(roster: Roster, district: Path) -> None:
    tags = {"dagster/partition": OAK}
    with dg.DagsterInstance.get() as instance:
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert not forget_district(load_settings(), OAK)
    assert partitions() == [OAK]
    with dg.DagsterInstance.get() as instance:
        instance.delete_run(run.run_id)
    assert forget_district(load_settings(), OAK)
    assert partitions() == []
