"""What is decided about organisations: written once, kept, replaced by a person only."""

from __future__ import annotations

import pandas as pd
from sqlalchemy import Engine

from roster_pipeline.roster import TEXT
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.mappings import (
    decide,
    list_mappings,
    read_mappings,
    record_decisions,
    record_pending,
    take_back_decisions,
)
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY


def decisions(*rows: tuple[str, str | None, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["org_id", "school_id", "how"]).astype(TEXT)


def record(engine: Engine, import_id: int, *rows: tuple[str, str | None, str]) -> None:
    with engine.begin() as conn:
        record_decisions(conn, DISTRICT, import_id, decisions(*rows), MONDAY)


def mappings(engine: Engine) -> dict[str, str | None]:
    with reading(engine) as conn:
        return read_mappings(conn, DISTRICT)


def test_a_decision_is_kept_by_later_imports(warehouse: Engine) -> None:
    record(warehouse, 1, ("a", "a", "new"), ("b", "x", "name"))
    record(warehouse, 2, ("a", "z", "known"), ("b", "x", "known"), ("c", "c", "new"))
    assert mappings(warehouse) == {"a": "a", "b": "x", "c": "c"}


def test_an_ignored_organisation_stays_ignored_however_often_it_comes(warehouse: Engine) -> None:
    with warehouse.begin() as conn:
        decide(conn, DISTRICT, "a", None, "ignored", 0, MONDAY)
    for import_id in (1, 2):
        record(warehouse, import_id, ("a", None, "ignored"))
    assert mappings(warehouse) == {"a": None}


def test_what_is_pending_is_no_mapping_until_it_is_decided(warehouse: Engine) -> None:
    pending = pd.DataFrame(
        [("a", "Oak", None), ("b", "Elm", "17")], columns=["org_id", "org_name", "org_identifier"]
    ).astype(TEXT)
    for _ in range(2):
        with warehouse.begin() as conn:
            record_pending(conn, DISTRICT, 1, pending, MONDAY)
    assert mappings(warehouse) == {}
    with warehouse.begin() as conn:
        decide(conn, DISTRICT, "a", "1", "manual", 1, MONDAY)
        record_pending(conn, DISTRICT, 2, pending.iloc[1:], MONDAY)
    record(warehouse, 2, ("b", "b", "new"))
    with reading(warehouse) as conn:
        told = list_mappings(conn, DISTRICT)[["org_id", "school_id", "how", "org_name"]]
    assert told.iloc[0].to_list() == ["a", "1", "manual", "Oak"]
    assert told.iloc[1, :3].to_list() == ["b", "b", "new"]


def test_an_undo_takes_back_what_imports_decided_but_not_what_a_person_did(
    warehouse: Engine,
) -> None:
    record(warehouse, 1, ("a", "a", "new"))
    record(warehouse, 2, ("b", "b", "new"))
    with warehouse.begin() as conn:
        decide(conn, DISTRICT, "c", "a", "manual", 2, MONDAY)
        take_back_decisions(conn, DISTRICT, 2)
    assert mappings(warehouse) == {"a": "a", "c": "a"}
