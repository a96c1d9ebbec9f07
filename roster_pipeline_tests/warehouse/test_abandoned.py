"""An import whose process is gone is told as failed, one that runs is left alone."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine

from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.abandoned import settle_abandoned
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.lock import district_lock

NOW = datetime(2026, 11, 24, 16, tzinfo=UTC)


def status(warehouse: Engine, import_id: int) -> str:
    with reading(warehouse) as conn:
        return ledger.get_import(conn, import_id).status


def test_an_import_that_nobody_holds_the_lock_for_has_failed(warehouse: Engine) -> None:
    import_id = ledger.start_import(warehouse, "oak", "sftp", None, False, "", NOW)
    assert settle_abandoned(warehouse, NOW) == {"oak": [import_id]}
    assert settle_abandoned(warehouse, NOW) == {}
    assert status(warehouse, import_id) == "failed"
    with reading(warehouse) as conn:
        assert "Nothing of it was merged" in str(ledger.get_import(conn, import_id).message)


def test_an_import_that_runs_is_left_alone(warehouse: Engine) -> None:
    with district_lock(warehouse, "oak"):
        import_id = ledger.start_import(warehouse, "oak", "sftp", None, False, "", NOW)
        assert settle_abandoned(warehouse, NOW) == {}
        assert status(warehouse, import_id) == "running"
