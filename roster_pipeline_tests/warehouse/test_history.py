"""Past states, their differences, and undoing, which gives back the state before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sqlalchemy import Engine, text

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.history import CannotUndo, difference, import_at, undo
from roster_pipeline.warehouse.holds import turned_down_before
from roster_pipeline.warehouse.state import read_records
from roster_pipeline_tests.warehouse.content import CHANGED_BY_UNDO, content_hash
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY, Record, plan, run_import

Values = Mapping[str, object]
ANN: Values = {"sis_id": "1", "grades": "03", "extra": '{"lunch":"yes","bus":"4"}'}


def run_undo(engine: Engine, import_id: int) -> int:
    undo_id = ledger.start_import(engine, DISTRICT, ledger.UNDO, None, False, "", MONDAY)
    with engine.begin() as conn:
        undo(conn, import_id, undo_id, "ada", "a wrong file", MONDAY)
    return undo_id


def record_files(engine: Engine, import_id: int, effective_hash: str) -> None:
    """Book a file of as many rows as the import's number."""
    entries = [ledger.FileEntry("users.csv", "bulk", import_id, "ab")]
    with engine.begin() as conn:
        ledger.record_effective(conn, import_id, effective_hash, entries)


def state(engine: Engine) -> str:
    with reading(engine) as conn:
        return content_hash(conn, DISTRICT, without=CHANGED_BY_UNDO)


def records(engine: Engine, as_of: int | None = None) -> list[dict[str, Any]]:
    """Whole records of students, active or not."""
    with reading(engine) as conn:
        frame = read_records(conn, DISTRICT, "student", active_only=False, as_of=as_of)
    plain = frame.astype(object).where(frame.notna(), None)
    return plain.sort_values("source_id").to_dict("records")


def test_an_undo_takes_back_additions_updates_and_deletions(warehouse: Engine) -> None:
    first = {"student": [("added", "ann", ANN), ("added", "ben", {"sis_id": "2"})]}
    run_import(warehouse, plan(first))
    before = state(warehouse)
    run_import(
        warehouse,
        plan(
            {"student": [("updated", "ann", {"sis_id": "9"}), ("added", "cy", {})]},
            deleted=[("student", "ben")],
        ),
        days=1,
    )
    changed = records(warehouse)
    assert state(warehouse) != before

    undo_id = run_undo(warehouse, 2)

    assert state(warehouse) == before
    assert records(warehouse, as_of=2) == changed
    with reading(warehouse) as conn:
        assert ledger.get_import(conn, 2).status == "undone"
        undone = ledger.get_import(conn, undo_id)
        counts = results.counts(conn, undo_id).set_index("outcome")["records"].to_dict()
    assert (undone.app, undone.status) == ("undo", "imported")
    assert undone.message == "Took back import 2 (ada: a wrong file)."
    assert counts == {"updated": 1, "restored": 1, "deleted": 1}


def test_an_undo_of_an_earlier_import_takes_back_those_after_it_too(warehouse: Engine) -> None:
    run_import(warehouse, plan({"student": [("added", "ann", ANN)]}))
    before = state(warehouse)
    run_import(warehouse, plan({"student": [("updated", "ann", {"sis_id": "9"})]}))
    run_import(warehouse, plan(deleted=[("student", "ann")]))
    run_undo(warehouse, 2)
    assert state(warehouse) == before
    with reading(warehouse) as conn:
        statuses = [i.status for i in ledger.imports(conn, DISTRICT)]
    assert statuses == ["imported", "undone", "undone", "imported"]


def test_an_undo_can_be_undone(warehouse: Engine) -> None:
    run_import(warehouse, plan({"student": [("added", "ann", ANN)]}))
    before = state(warehouse)
    undo_id = run_undo(warehouse, 1)
    assert records(warehouse) == []
    run_undo(warehouse, undo_id)
    assert state(warehouse) == before


def test_a_record_that_comes_back_is_restored_with_its_first_import(warehouse: Engine) -> None:
    run_import(warehouse, plan({"student": [("added", "ann", ANN)]}))
    run_import(warehouse, plan(deleted=[("student", "ann")]))
    run_import(warehouse, plan({"student": [("restored", "ann", ANN)]}))
    run_import(warehouse, plan({"student": [("updated", "ann", {"sis_id": "9"})]}))
    run_undo(warehouse, 4)
    with reading(warehouse) as conn:
        row = conn.execute(text("SELECT first_import_id, active, sis_id FROM students")).one()
    assert tuple(row) == (1, True, "1")


def test_after_an_undo_the_next_delivery_is_compared_with_the_files_before_it(
    warehouse: Engine,
) -> None:
    for import_id in (1, 2):
        run_import(warehouse, plan({"student": [("added", f"s{import_id}", {})]}))
        record_files(warehouse, import_id, f"files {import_id}")
    run_undo(warehouse, 2)
    with reading(warehouse) as conn:
        base = ledger.last_accepted(conn, DISTRICT)
        assert base is not None and (base.id, base.effective_hash) == (3, "files 1")
        assert [f.rows for f in ledger.files(conn, base.id)] == [1]


def test_an_undo_of_an_undo_stands_on_the_files_that_came_back(warehouse: Engine) -> None:
    for import_id in (1, 2):
        run_import(warehouse, plan({"student": [("added", f"s{import_id}", {})]}))
        record_files(warehouse, import_id, f"files {import_id}")
    told = []
    for undone in (2, 3, 4):
        undo_id = run_undo(warehouse, undone)
        with reading(warehouse) as conn:
            base = ledger.get_import(conn, undo_id)
            rows = [f.rows for f in ledger.files(conn, undo_id)]
            again = replace(base, id=undo_id + 1, effective_hash="files 2")
            reason = turned_down_before(conn, again)
        told.append((base.state_of, base.effective_hash, rows, reason and reason.rule))
    assert told == [
        (1, "files 1", [1], "undone_before"),
        (2, "files 2", [2], None),
        (1, "files 1", [1], "undone_before"),
    ]


def test_an_undo_of_the_first_import_stands_on_no_files(warehouse: Engine) -> None:
    run_import(warehouse, plan({"student": [("added", "ann", ANN)]}))
    record_files(warehouse, 1, "files 1")
    undo_id = run_undo(warehouse, 1)
    with reading(warehouse) as conn:
        base = ledger.get_import(conn, undo_id)
        assert (base.state_of, base.effective_hash) == (None, None)
        assert ledger.in_effect(conn, DISTRICT, undo_id + 1) == set()


@pytest.mark.parametrize("status", ["held", "undone", "failed", "rejected"])
def test_only_what_was_imported_can_be_undone(warehouse: Engine, status: ledger.Status) -> None:
    run_import(warehouse, plan({"student": [("added", "ann", ANN)]}))
    with warehouse.begin() as conn:
        ledger.finish_import(conn, 1, status, MONDAY)
    before = state(warehouse)
    with pytest.raises(CannotUndo, match=f"Import 1 is {status}"):
        run_undo(warehouse, 1)
    assert state(warehouse) == before


def test_an_undo_leaves_other_districts_alone(warehouse: Engine) -> None:
    run_import(warehouse, plan({"student": [("added", "ann", ANN)]}))
    run_import(warehouse, plan({"student": [("added", "ann", ANN)]}), district="shelbyville")
    run_undo(warehouse, 1)
    with reading(warehouse) as conn:
        assert list(conn.scalars(text("SELECT district_id FROM students"))) == ["shelbyville"]


def test_two_states_differ_in_what_was_added_updated_and_deleted_between(
    warehouse: Engine,
) -> None:
    first = {"student": [("added", "ann", ANN), ("added", "ben", {"primary_school": "s"})]}
    run_import(warehouse, plan(first))
    run_import(
        warehouse,
        plan(
            {"student": [("updated", "ann", {**ANN, "sis_id": "9"}), ("added", "cy", {})]},
            deleted=[("student", "ben")],
        ),
    )
    with reading(warehouse) as conn:
        found = difference(conn, DISTRICT, 1, 2)
        none = difference(conn, DISTRICT, 2, 2)
    counts = found.counts.astype(object).where(found.counts.notna(), None)
    assert set(counts.itertuples(index=False, name=None)) == {
        ("student", None, "updated", 1),
        ("student", None, "added", 1),
        ("student", "s", "deleted", 1),
    }
    assert found.changes.to_dict("records") == [
        {"enrollment_type": "student", "attribute": "sis_id", "records": 1}
    ]
    assert none.counts.empty and none.changes.empty


def test_a_time_names_the_import_that_held_then(warehouse: Engine) -> None:
    for day in range(3):
        run_import(warehouse, plan({"student": [("added", f"s{day}", {})]}), days=day)
    with reading(warehouse) as conn:
        at = [import_at(conn, DISTRICT, MONDAY + timedelta(days=d)) for d in (-1, 0, 1.5, 9)]
    assert at == [0, 1, 2, 3]


def test_an_analyst_reads_a_past_state_from_the_view_of_versions(warehouse: Engine) -> None:
    run_import(warehouse, plan({"student": [("added", "ann", {**ANN, "enabled": True})]}))
    run_import(warehouse, plan({"student": [("updated", "ann", {"grades": "04"})]}))
    run_import(warehouse, plan(deleted=[("student", "ann")]))
    statement = text(
        "SELECT sis_id, grades, enabled, active FROM students_versions "
        "WHERE district_id = :district AND valid_from_import_id <= :state "
        "AND coalesce(valid_until_import_id, :state + 1) > :state"
    )
    with reading(warehouse) as conn:
        states = [
            tuple(conn.execute(statement, {"district": DISTRICT, "state": s}).one())
            for s in (1, 2, 3)
        ]
    lists = [g if isinstance(g, list) else json.loads(g) for _, g, _, _ in states]
    assert lists == [["03"], ["04"], ["04"]]
    assert [(s, e, bool(a)) for s, _, e, a in states] == [
        ("1", True, True),
        (None, None, True),
        (None, None, False),
    ]


IDS = [f"s{n}" for n in range(4)]
AWKWARD = ['"quoted" \\ word', "Zoë\n学校", "", "a,b", "null", "\t"]


class Imports(RuleBasedStateMachine):
    """Imports, deletions, rejections, comings back and undos in any order, beside a model that
    remembers every state. `engine` is set by the test."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        with self.engine.begin() as conn:
            for table in (*(t.table for t in ENROLLMENT_TYPES.values()), "record_history"):
                conn.execute(text(f"DELETE FROM {table}"))
            for table in ("import_counts", "import_changes", "import_files", "holds", "imports"):
                conn.execute(text(f"DELETE FROM {table}"))
        self.present: dict[str, tuple[bool, Values]] = {}
        self.states: dict[int, list[dict[str, Any]]] = {}
        self.now = state(self.engine)
        self.merged: list[int] = []
        self.before: dict[int, str] = {}

    def remember(self, import_id: int) -> None:
        self.before[import_id] = self.now
        self.now = state(self.engine)
        self.states[import_id] = records(self.engine)

    @rule(
        changed=st.dictionaries(
            st.sampled_from(IDS),
            st.fixed_dictionaries(
                {
                    "sis_id": st.none() | st.sampled_from(["1", "2", *AWKWARD]),
                    "grades": st.none() | st.sampled_from(["01", "01,02", *AWKWARD]),
                    "enabled": st.none() | st.booleans(),
                    "extra": st.none() | st.just('{"zz":"1","b":"x y"}'),
                }
            ),
        ),
        rejected=st.sets(st.sampled_from(IDS)),
    )
    def import_(self, changed: dict[str, Values], rejected: set[str]) -> None:
        kept = [i for i in rejected - set(changed) if self.present.get(i, (False,))[0]]
        gone = [i for i, (a, _) in self.present.items() if a and i not in changed and i not in kept]
        rows: list[Record] = []
        for source_id, values in changed.items():
            was = self.present.get(source_id)
            if was is None:
                outcome = "added"
            elif not was[0]:
                outcome = "restored"
            else:
                outcome = "unchanged" if was[1] == values else "updated"
            rows.append((outcome, source_id, values))
            self.present[source_id] = (True, values)
        for source_id in gone:
            self.present[source_id] = (False, self.present[source_id][1])
        what = plan(
            {"student": rows},
            deleted=[("student", i) for i in gone],
            kept=[("student", i) for i in kept],
        )
        run_import(self.engine, what, days=len(self.states))
        with reading(self.engine) as conn:
            import_id = ledger.imports(conn, DISTRICT, 1)[0].id
        self.merged.append(import_id)
        self.remember(import_id)

    @precondition(lambda self: self.merged)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        import_id = data.draw(st.sampled_from(self.merged))
        undo_id = run_undo(self.engine, import_id)
        assert state(self.engine) == self.before[import_id]
        self.merged = [*(i for i in self.merged if i < import_id), undo_id]
        self.remember(undo_id)
        self.present = {
            r["source_id"]: (
                active,
                {k: r[k] for k in ("sis_id", "grades", "enabled", "extra")},
            )
            for r, active in self._rows()
        }

    def _rows(self) -> Iterator[tuple[dict[str, Any], bool]]:
        with reading(self.engine) as conn:
            active = set(read_records(conn, DISTRICT, "student")["source_id"])
        for r in records(self.engine):
            yield r, r["source_id"] in active

    def teardown(self) -> None:
        """Every past state can be read, whatever came after it."""
        for import_id, rows in self.states.items():
            assert records(self.engine, as_of=import_id) == rows


def test_undo_gives_back_the_state_before_after_any_sequence_of_imports(
    warehouse: Engine,
) -> None:
    machine = type("OnThisWarehouse", (Imports,), {"engine": warehouse})
    machine.TestCase.settings = settings(
        deadline=None,
        max_examples=4,
        stateful_step_count=7,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase("runTest").runTest()
