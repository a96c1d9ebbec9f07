"""The books: what is written about an import is read back as it was."""

from __future__ import annotations

import os
from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine

from roster_pipeline.findings import FINDING_COLUMNS, Finding, findings_frame
from roster_pipeline.roster import INTEGER, TEXT
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.database import reading
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY

FINDINGS = findings_frame(
    [
        Finding(
            stage="link",
            code="unknown_school",
            severity="skipped",
            message='classes.csv row 7 names the school "nörth", which is not there.',
            how_to_fix="Add the school to orgs.csv,\nor mend schoolSourcedId.",
            file="classes.csv",
            row=7,
            field="schoolSourcedId",
            source_id="c-1",
            school="north",
            enrollment_type="class",
            attribute="school_id",
        ),
        Finding("parse", "bom", "reported", "users.csv begins with a BOM.", "", file="users.csv"),
        Finding(
            "link",
            "unknown_school",
            "skipped",
            "m",
            "h",
            enrollment_type="class",
            school="south",
        ),
    ]
)


def start(engine: Engine, district: str = DISTRICT, days: int = 0) -> int:
    now = MONDAY + timedelta(days=days)
    return ledger.start_import(engine, district, "sftp", "run-1", False, "settings-1", now)


def test_an_import_is_running_until_it_is_finished(warehouse: Engine) -> None:
    import_id = start(warehouse)
    with reading(warehouse) as conn:
        running = ledger.get_import(conn, import_id)
    assert running == ledger.Import(
        id=1,
        district_id=DISTRICT,
        app="sftp",
        status="running",
        run_id="run-1",
        preview=False,
        host=os.uname().nodename,
        process_id=os.getpid(),
        started_at=MONDAY,
        finished_at=None,
        effective_hash=None,
        settings_hash="settings-1",
        message=None,
    )

    end = MONDAY + timedelta(seconds=9)
    with warehouse.begin() as conn:
        ledger.finish_import(conn, import_id, "refused", end, "No manifest.")

    with reading(warehouse) as conn:
        finished = ledger.get_import(conn, import_id)
    assert (finished.status, finished.finished_at, finished.message) == (
        "refused",
        end,
        "No manifest.",
    )


def test_an_earlier_import_left_running_is_marked_as_failed_but_not_anothers(
    warehouse: Engine,
) -> None:
    left = start(warehouse)
    others = start(warehouse, "shelbyville")
    start(warehouse, days=1)
    with reading(warehouse) as conn:
        assert ledger.get_import(conn, left).status == "failed"
        assert ledger.get_import(conn, left).finished_at == MONDAY + timedelta(days=1)
        assert ledger.get_import(conn, others).status == "running"


def test_an_unknown_import_is_named(warehouse: Engine) -> None:
    sentence = "There is no import 12. `roster imports` lists those there are."
    with reading(warehouse) as conn, pytest.raises(ledger.UnknownImport) as raised:
        ledger.get_import(conn, 12)
    assert str(raised.value) == sentence
    with pytest.raises(ledger.UnknownImport), warehouse.begin() as conn:
        ledger.finish_import(conn, 12, "imported", MONDAY)


def test_the_last_accepted_import_is_the_last_that_was_merged(warehouse: Engine) -> None:
    with reading(warehouse) as conn:
        assert ledger.last_accepted(conn, DISTRICT) is None
    statuses: list[ledger.Status] = ["imported", "imported", "unchanged", "refused", "held"]
    for status in statuses:
        import_id = start(warehouse)
        with warehouse.begin() as conn:
            ledger.record_effective(conn, import_id, f"hash {import_id}", [])
            ledger.finish_import(conn, import_id, status, MONDAY)
    start(warehouse, "shelbyville")
    with reading(warehouse) as conn:
        last = ledger.last_accepted(conn, DISTRICT)
        assert last is not None and (last.id, last.effective_hash) == (2, "hash 2")
        assert ledger.last_accepted(conn, "shelbyville") is None


def test_the_states_an_undo_can_give_back_are_those_before_each_import_that_can_be_undone(
    warehouse: Engine,
) -> None:
    statuses: list[ledger.Status] = ["imported", "held", "undone", "undone"]
    for status in statuses:
        import_id = start(warehouse)
        with warehouse.begin() as conn:
            ledger.finish_import(conn, import_id, status, MONDAY)
    undo_id = ledger.start_import(warehouse, DISTRICT, ledger.UNDO, None, False, "", MONDAY)
    with warehouse.begin() as conn:
        ledger._update(conn, undo_id, state_of=1)
        ledger.finish_import(conn, undo_id, "imported", MONDAY)
    with reading(warehouse) as conn:
        # Now it is 1; undoing the undo gives back what 4 had made; before 1 there was nothing.
        assert ledger.returnable_states(conn, DISTRICT) == {1, 4}
        assert ledger.state_before(conn, DISTRICT, undo_id) == 4
        assert ledger.returnable_states(conn, "shelbyville") == set()


def test_imports_are_listed_newest_first(warehouse: Engine) -> None:
    for district in (DISTRICT, "shelbyville", DISTRICT):
        start(warehouse, district)
    with reading(warehouse) as conn:
        assert [i.id for i in ledger.imports(conn)] == [3, 2, 1]
        assert [i.id for i in ledger.imports(conn, DISTRICT)] == [3, 1]
        assert [i.id for i in ledger.imports(conn, limit=1)] == [3]


def test_the_files_of_the_effective_set_come_back_by_name(warehouse: Engine) -> None:
    users = ledger.FileEntry("users.csv", "bulk", 3, "ab12")
    orgs = ledger.FileEntry("orgs.csv", "carried", 1, "cd34")
    import_id = start(warehouse)
    with warehouse.begin() as conn:
        ledger.record_effective(conn, import_id, "effective-1", [users, orgs])
    with reading(warehouse) as conn:
        assert ledger.files(conn, import_id) == [orgs, users]
        assert ledger.get_import(conn, import_id).effective_hash == "effective-1"


def test_counts_come_back_as_they_were_with_and_without_school(warehouse: Engine) -> None:
    counts = pd.DataFrame(
        {
            "enrollment_type": pd.Series(["student", "academic_session"], dtype=TEXT),
            "school": pd.Series(["north", None], dtype=TEXT),
            "outcome": pd.Series(["added", "unchanged"], dtype=TEXT),
            "records": pd.Series([120, 4], dtype=INTEGER),
        }
    )
    import_id = start(warehouse)
    with warehouse.begin() as conn:
        results.record_counts(conn, import_id, counts)
    with reading(warehouse) as conn:
        pd.testing.assert_frame_equal(results.counts(conn, import_id), counts)
        assert results.counts(conn, 99).empty


def test_findings_come_back_in_order_and_as_they_were(warehouse: Engine) -> None:
    other, import_id = start(warehouse), start(warehouse)
    with warehouse.begin() as conn:
        results.record_findings(conn, other, FINDINGS[:1])
        results.record_findings(conn, import_id, FINDINGS)
        results.record_findings(conn, import_id, findings_frame())
    with reading(warehouse) as conn:
        read = results.findings(conn, import_id)
        none = results.findings(conn, 99)
    pd.testing.assert_frame_equal(read, FINDINGS)
    assert none.empty and tuple(none.columns) == FINDING_COLUMNS


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({"enrollment_type": "class"}, [0, 2]),
        ({"severity": "reported"}, [1]),
        ({"code": "unknown_school", "school": "south"}, [2]),
        ({"code": "x' OR '1' = '1"}, []),
    ],
)
def test_findings_are_narrowed_by_what_is_asked(
    warehouse: Engine, wanted: dict[str, str], places: list[int]
) -> None:
    import_id = start(warehouse)
    with warehouse.begin() as conn:
        results.record_findings(conn, import_id, FINDINGS)
    with reading(warehouse) as conn:
        read = results.findings(conn, import_id, **wanted)
    assert list(read["message"]) == list(FINDINGS["message"].iloc[places])


def test_findings_are_counted_by_kind(warehouse: Engine) -> None:
    import_id = start(warehouse)
    with warehouse.begin() as conn:
        results.record_findings(conn, import_id, FINDINGS)
    with reading(warehouse) as conn:
        counted = results.finding_counts(conn, import_id)
    assert list(counted.columns) == ["code", "severity", "enrollment_type", "findings"]
    assert list(counted["code"]) == ["unknown_school", "bom"]
    assert list(counted["severity"]) == ["skipped", "reported"]
    assert list(counted["enrollment_type"].fillna("none")) == ["class", "none"]
    assert list(counted["findings"]) == [2, 1]
