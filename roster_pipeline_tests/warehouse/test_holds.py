"""The books of holds: what is decided about an import that waits, by whom, and what that means for
the deliveries after it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from roster_pipeline.stages.hold import Reason
from roster_pipeline.warehouse import audit, holds, ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY

LATER = MONDAY + timedelta(hours=7)
REASON = Reason("delete", "It deletes 3 of 4 students.")


def held(engine: Engine, effective_hash: str = "files") -> int:
    """An import of these files that waits, and its hold."""
    import_id = ledger.start_import(engine, DISTRICT, "sftp", None, False, "settings", MONDAY)
    with engine.begin() as conn:
        ledger.record_effective(conn, import_id, effective_hash, [])
        holds.record_hold(conn, import_id, "plan", [REASON], ["A school is missing."], MONDAY)
        ledger.finish_import(conn, import_id, "held", MONDAY)
    return import_id


def test_a_hold_comes_back_as_it_was_noted_and_waits_for_a_decision(warehouse: Engine) -> None:
    import_id = held(warehouse)
    with reading(warehouse) as conn:
        hold = holds.last_hold(conn, import_id)
        none = holds.last_hold(conn, import_id + 1)
    assert hold is not None and none is None
    assert (hold.import_id, hold.plan_hash, hold.held_at) == (import_id, "plan", MONDAY)
    assert hold.reasons == [{"rule": "delete", "message": "It deletes 3 of 4 students."}]
    assert hold.causes == ["A school is missing."]
    assert (hold.decision, hold.decided_by, hold.decided_at) == (None, None, None)


@pytest.mark.parametrize("part", [None, holds.ADDS_AND_UPDATES])
def test_an_approval_says_who_and_why_and_what_of_it_still_waits(
    warehouse: Engine, part: str | None
) -> None:
    import_id = held(warehouse)
    with warehouse.begin() as conn:
        holds.approve(conn, import_id, "ada", "it has closed", part, LATER)
    with reading(warehouse) as conn:
        hold = holds.last_hold(conn, import_id)
        waits = holds.deletions_wait(conn, import_id)
        told = audit.entries(conn, DISTRICT)
    assert hold is not None
    assert (hold.decision, hold.part) == ("approved", part)
    assert (hold.decided_by, hold.decided_because) == ("ada", "it has closed")
    assert hold.decided_at == LATER
    assert waits == (part is not None)
    assert [(e["who"], e["action"], e["import_id"], e["detail"], e["at"]) for e in told] == [
        ("ada", "approved", import_id, "it has closed", LATER)
    ]


def test_files_that_were_rejected_are_a_reason_to_hold_them_when_they_come_again(
    warehouse: Engine,
) -> None:
    first = held(warehouse)
    with warehouse.begin() as conn:
        holds.reject(conn, first, "ada", "half an export", LATER)
        assert ledger.get_import(conn, first).status == "rejected"
    again, other = held(warehouse), held(warehouse, "other files")
    with reading(warehouse) as conn:
        reasons = [
            holds.turned_down_before(conn, ledger.get_import(conn, i)) for i in (again, other)
        ]
        assert [e["action"] for e in audit.entries(conn, DISTRICT)] == ["rejected"]
    assert reasons == [
        Reason(
            "rejected_before",
            f"The files are those of import {first}, which was rejected. "
            "Rejected by ada: half an export",
        ),
        None,
    ]


def test_what_was_decided_on_waits_no_more_and_cannot_be_decided_again(warehouse: Engine) -> None:
    import_id = held(warehouse)
    with warehouse.begin() as conn:
        holds.reject(conn, import_id, "ada", "half an export", LATER)
    for decide in (
        lambda conn: holds.reject(conn, import_id, "bob", "me too", LATER),
        lambda conn: holds.approve(conn, import_id, "bob", "it is right", None, LATER),
    ):
        with pytest.raises(ledger.NotWaiting), warehouse.begin() as conn:
            decide(conn)
    with reading(warehouse) as conn:
        assert [e["who"] for e in audit.entries(conn, DISTRICT)] == ["ada"]
