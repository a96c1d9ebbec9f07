"""The overview of a district."""

from __future__ import annotations

import pandas as pd
from sqlalchemy import Engine

from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.queries import overview
from roster_pipeline_tests.warehouse.plans import DISTRICT, Record, plan, run_import


def test_the_overview_counts_active_records_by_type_and_school(warehouse: Engine) -> None:
    records: dict[str, list[Record]] = {
        "school": [("added", "s2", {"name": "Adams"}), ("added", "s1", {"name": "Zeta"})],
        "academic_session": [("added", "fall", {}), ("added", "spring", {})],
        "student": [
            ("added", "ada", {"primary_school": "s1"}),
            ("added", "ben", {"primary_school": "s1"}),
            ("added", "cy", {"primary_school": "s2"}),
            ("added", "dee", {"primary_school": "district-office"}),
        ],
    }
    run_import(warehouse, plan(records))
    run_import(warehouse, plan(deleted=[("student", "ben")]))
    run_import(warehouse, plan({"student": records["student"]}), district="shelbyville")

    with reading(warehouse) as conn:
        counted = overview(conn, DISTRICT)

    assert list(counted.columns) == ["enrollment_type", "school", "school_name", "records"]
    rows = [tuple(None if pd.isna(v) else v for v in row) for row in counted.values]
    assert set(rows) == {
        ("school", "s2", "Adams", 1),
        ("school", "s1", "Zeta", 1),
        ("academic_session", None, None, 2),
        ("student", "s2", "Adams", 1),
        ("student", "s1", "Zeta", 1),
        ("student", "district-office", None, 1),
    }
    assert [row[0] for row in rows] == ["school"] * 2 + ["academic_session"] + ["student"] * 3
    named = [row[2] for row in rows if row[2] is not None]
    assert named == ["Adams", "Zeta", "Adams", "Zeta"]


def test_the_overview_of_an_unknown_district_is_empty(warehouse: Engine) -> None:
    with reading(warehouse) as conn:
        assert overview(conn, "nowhere").empty
