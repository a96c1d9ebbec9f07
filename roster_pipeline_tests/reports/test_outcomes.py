"""What became of each record, read back from where it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from roster_pipeline.reports import outcomes
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.reports.books import book
from roster_pipeline_tests.warehouse.plans import plan


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_warehouse(f"sqlite:///{tmp_path}/warehouse.db")


@pytest.mark.parametrize("rows_of_a_group", [1, 3, 1_000])
def test_the_first_records_of_each_kind_are_found_in_whatever_group_of_rows_they_lie(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_of_a_group: int
) -> None:
    monkeypatch.setattr(outcomes, "ROWS_OF_A_GROUP", rows_of_a_group)
    pupils = [("added", f"s-{n}", {"primary_school": "one"}) for n in range(9)]
    changes = plan({"school": [("added", "one", {}), ("added", "two", {})], "student": pupils})
    import_id = book(engine, plan=changes, reports=tmp_path)
    with reading(engine) as conn:
        imported = ledger.get_import(conn, import_id)
        found = outcomes.first_records(conn, tmp_path, imported, 2, [])
        all_of_them = outcomes.records_of(conn, tmp_path, imported)
    assert len(all_of_them) == 11
    assert found["source_id"].to_list() == ["one", "two", "s-0", "s-1"]
    assert found["enrollment_type"].to_list() == ["school", "school", "student", "student"]


def test_of_an_import_without_records_there_are_no_first_ones(
    engine: Engine, tmp_path: Path
) -> None:
    import_id = book(engine, plan=plan({}), reports=tmp_path)
    with reading(engine) as conn:
        imported = ledger.get_import(conn, import_id)
        assert outcomes.first_records(conn, tmp_path, imported, 2, []).empty
