"""What a merge does to the roster and its history, on both dialects."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Table, func, select, text

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import finding, findings_frame
from roster_pipeline.roster import TEXT
from roster_pipeline.warehouse import bulk, database
from roster_pipeline.warehouse.bulk import lists_to_json, to_arrow
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.merge import MergeMismatch, Touched, merge
from roster_pipeline.warehouse.results import findings, record_findings_apart
from roster_pipeline.warehouse.state import known_schools, read_records, read_references, read_state
from roster_pipeline.warehouse.tables import ROSTER_TABLES, record_history
from roster_pipeline_tests.warehouse.content import content_hash
from roster_pipeline_tests.warehouse.plans import (
    DISTRICT,
    MONDAY,
    Record,
    frame,
    plan,
    run_import,
)

ADA: dict[str, object] = {
    "sis_id": "1001",
    "primary_school": "north",
    "school_ids": "north,south",
    "first_name": "Ada",
    "enabled": True,
    "grades": "09,10",
    "birth_date": date(2011, 12, 10),
    "extra": '{"lunch": "yes", "bus": 4}',
}
FIRST = plan(
    {
        "school": [("added", "north", {"name": "North High", "identifier": "N-1"})],
        "student": [("added", "ada", ADA), ("added", "ben", {"primary_school": "north"})],
    }
)


def row(engine: Engine, enrollment_type: str, source_id: str) -> dict[str, Any]:
    table = ROSTER_TABLES[enrollment_type]
    with reading(engine) as conn:
        statement = select(table).where(
            table.c.district_id == DISTRICT, table.c.source_id == source_id
        )
        return dict(conn.execute(statement).mappings().one())


def history(engine: Engine, source_id: str) -> list[dict[str, Any]]:
    statement = (
        select(record_history)
        .where(record_history.c.source_id == source_id)
        .order_by(record_history.c.replaced_by_import_id)
    )
    with reading(engine) as conn:
        return [dict(version) for version in conn.execute(statement).mappings()]


def hash_of(engine: Engine) -> str:
    with reading(engine) as conn:
        return content_hash(conn)


def test_a_first_merge_stores_every_attribute_in_its_own_type(warehouse: Engine) -> None:
    touched = run_import(warehouse, FIRST)

    assert touched["student"] == Touched(added=2)
    assert touched["school"] == Touched(added=1)
    assert touched["enrollment"] == Touched()
    ada = row(warehouse, "student", "ada")
    assert ada["school_ids"] == ["north", "south"]
    assert ada["grades"] == ["09", "10"]
    assert ada["birth_date"] == date(2011, 12, 10)
    assert ada["enabled"] is True
    assert ada["extra"] == {"lunch": "yes", "bus": 4}
    assert ada["email"] is None and ada["contact_ids"] is None
    assert ada["active"] is True and ada["stale_since"] is None
    assert ada["first_import_id"] == ada["last_import_id"] == 1
    assert ada["created_at"] == ada["updated_at"] == MONDAY
    assert ada["created_at"].utcoffset() == timedelta(0)
    assert history(warehouse, "ada") == []


def test_a_missing_value_is_null_in_sql_not_a_json_null(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    nulls = "SELECT count(*) FROM students WHERE grades IS NULL AND extra IS NULL"
    with reading(warehouse) as conn:
        assert conn.scalar(text(nulls)) == 1


def test_an_update_keeps_the_replaced_version_and_the_first_import(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    replaced_hash = row(warehouse, "student", "ada")["record_hash"]
    changed = plan(
        {
            "student": [
                ("updated", "ada", {**ADA, "grades": "10", "enabled": None}),
                ("unchanged", "ben", {"primary_school": "north"}),
            ]
        }
    )

    touched = run_import(warehouse, changed, days=1)

    assert touched["student"] == Touched(updated=1)
    ada = row(warehouse, "student", "ada")
    assert ada["grades"] == ["10"] and ada["enabled"] is None
    assert (ada["first_import_id"], ada["last_import_id"]) == (1, 2)
    assert ada["created_at"] == MONDAY
    assert ada["updated_at"] == MONDAY + timedelta(days=1)
    assert ada["record_hash"] == changed.changes["student"]["record_hash"][0]
    [version] = history(warehouse, "ada")
    assert version == {
        "district_id": DISTRICT,
        "enrollment_type": "student",
        "source_id": "ada",
        "replaced_by_import_id": 2,
        "valid_from_import_id": 1,
        "change": "updated",
        "record": {
            **dict.fromkeys(a.name for a in ENROLLMENT_TYPES["student"].attributes),
            "source_id": "ada",
            "sis_id": "1001",
            "primary_school": "north",
            "school_ids": ["north", "south"],
            "first_name": "Ada",
            "enabled": True,
            "grades": ["09", "10"],
            "birth_date": "2011-12-10",
            "extra": {"lunch": "yes", "bus": 4},
        },
        "record_hash": replaced_hash,
        "was_active": True,
        "was_stale_since": None,
        "replaced_at": MONDAY + timedelta(days=1),
        "first_import_id": 1,
        "created_at": MONDAY,
    }
    assert row(warehouse, "student", "ben")["last_import_id"] == 1


def test_a_deleted_record_stays_as_inactive_and_its_version_goes_to_history(
    warehouse: Engine,
) -> None:
    run_import(warehouse, FIRST)

    touched = run_import(warehouse, plan(deleted=[("student", "ada")]))

    assert touched["student"] == Touched(deleted=1)
    ada = row(warehouse, "student", "ada")
    assert ada["active"] is False and ada["first_name"] == "Ada"
    assert ada["last_import_id"] == 2
    [version] = history(warehouse, "ada")
    assert version["change"] == "deleted" and version["was_active"] is True
    with reading(warehouse) as conn:
        active = conn.execute(text("SELECT source_id FROM active_students")).scalars().all()
        assert active == ["ben"]
        assert list(read_records(conn, DISTRICT, "student")["source_id"]) == ["ben"]


def test_a_restored_record_is_active_again_and_keeps_its_first_import(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    run_import(warehouse, plan(deleted=[("student", "ada")]))

    touched = run_import(warehouse, plan({"student": [("restored", "ada", {"sis_id": "1002"})]}))

    assert touched["student"] == Touched(restored=1)
    ada = row(warehouse, "student", "ada")
    assert ada["active"] is True and ada["sis_id"] == "1002"
    assert (ada["first_import_id"], ada["last_import_id"]) == (1, 3)
    versions = history(warehouse, "ada")
    assert [(v["change"], v["was_active"]) for v in versions] == [
        ("deleted", True),
        ("restored", False),
    ]


def test_a_kept_record_is_stale_from_its_first_rejection_until_it_comes_in_well(
    warehouse: Engine,
) -> None:
    run_import(warehouse, FIRST)
    rejected = plan(kept=[("student", "ada")])

    assert run_import(warehouse, rejected, days=1)["student"] == Touched(stale=1)
    assert run_import(warehouse, rejected, days=2)["student"] == Touched()
    ada = row(warehouse, "student", "ada")
    assert ada["stale_since"] == MONDAY + timedelta(days=1)
    assert ada["active"] is True and ada["first_name"] == "Ada"

    well_again = plan(
        {
            "student": [
                ("unchanged", "ada", ADA),
                ("unchanged", "ben", {"primary_school": "north"}),
            ]
        }
    )
    assert run_import(warehouse, well_again, days=3)["student"] == Touched(refreshed=1)
    assert row(warehouse, "student", "ada")["stale_since"] is None
    assert [(v["change"], v["was_stale_since"]) for v in history(warehouse, "ada")] == [
        ("stale", None),
        ("refreshed", MONDAY + timedelta(days=1)),
    ]


@pytest.mark.parametrize("outcome", ["updated", "deleted"])
def test_a_stale_record_that_is_updated_or_deleted_is_not_stale_any_more(
    warehouse: Engine, outcome: str
) -> None:
    run_import(warehouse, FIRST)
    run_import(warehouse, plan(kept=[("student", "ada")]), days=1)

    if outcome == "updated":
        run_import(warehouse, plan({"student": [("updated", "ada", {"sis_id": "1"})]}), days=2)
    else:
        run_import(warehouse, plan(deleted=[("student", "ada")]), days=2)

    assert row(warehouse, "student", "ada")["stale_since"] is None
    assert history(warehouse, "ada")[-1]["was_stale_since"] == MONDAY + timedelta(days=1)


def test_an_import_without_changes_touches_no_row(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    before = hash_of(warehouse)
    unchanged: dict[str, list[Record]] = {
        name: [("unchanged", str(r.source_id), {}) for r in changes.itertuples()]
        for name, changes in FIRST.changes.items()
    }

    touched = run_import(warehouse, plan(unchanged), days=1)

    assert set(touched.values()) == {Touched()}
    assert hash_of(warehouse) == before


def test_any_change_of_any_row_changes_the_content_hash(warehouse: Engine) -> None:
    seen = {hash_of(warehouse)}
    for what in (
        FIRST,
        plan({"student": [("updated", "ada", {"sis_id": "2"})]}),
        plan(kept=[("student", "ada")]),
        plan(deleted=[("school", "north")]),
    ):
        run_import(warehouse, what)
        seen.add(hash_of(warehouse))
    assert len(seen) == 5


def test_districts_do_not_touch_each_other(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    with reading(warehouse) as conn:
        before = content_hash(conn, DISTRICT)

    run_import(warehouse, FIRST, district="shelbyville")
    changed = plan({"student": [("updated", "ada", {})]}, deleted=[("student", "ben")])
    run_import(warehouse, changed, district="shelbyville")

    with reading(warehouse) as conn:
        assert content_hash(conn, DISTRICT) == before
        assert list(read_records(conn, "shelbyville", "student")["source_id"]) == ["ada"]


AWKWARD = [
    'a "quoted" word',
    "back\\slash",
    "Zoë Müller-Łuczak 学校 🎒",
    "line\nbreak\tand tab",
    "100% :name %(x)s ?",
    "it's; DROP TABLE students",
    "\\u0041",
    "",
    " ",
    "null",
    "\\N",
]


def test_awkward_texts_come_back_as_they_went_in(warehouse: Engine) -> None:
    records: list[Record] = [
        (
            "added",
            f"id {number} {value}",
            {"first_name": value, "grades": value, "extra": json.dumps({"own": value})},
        )
        for number, value in enumerate(AWKWARD)
    ]
    records.append(("added", "lists", {"grades": ',a"b,,c\\d,é\n', "first_name": None}))
    run_import(warehouse, plan({"student": records}))

    with reading(warehouse) as conn:
        read = read_records(conn, DISTRICT, "student").set_index("source_id")
    for _, source_id, attributes in records:
        assert read.loc[source_id, "grades"] == attributes["grades"]
        if attributes["first_name"] is None:
            assert read["first_name"].isna()[source_id]
        else:
            assert read.loc[source_id, "first_name"] == attributes["first_name"]
            assert read.loc[source_id, "extra"] == attributes["extra"]
    assert row(warehouse, "student", "lists")["grades"] == ["", 'a"b', "", "c\\d", "é\n"]
    assert row(warehouse, "student", f"id {AWKWARD.index('')} ")["grades"] == []


def test_awkward_texts_survive_the_way_into_history(warehouse: Engine) -> None:
    added = [("added", f"s{n}", {"first_name": v, "grades": v}) for n, v in enumerate(AWKWARD)]
    run_import(warehouse, plan({"student": added}))
    run_import(warehouse, plan(deleted=[("student", f"s{n}") for n in range(len(AWKWARD))]))

    for number, value in enumerate(AWKWARD):
        [version] = history(warehouse, f"s{number}")
        assert version["record"]["first_name"] == value
        assert version["record"]["grades"] == ([value] if value else [])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.none()
        | st.lists(
            st.text(st.characters(exclude_characters=",\0", exclude_categories=["Cs"])), min_size=1
        ).map(",".join)
    )
)
def test_lists_become_the_json_arrays_of_their_elements(lists: list[str | None]) -> None:
    column = to_arrow(pd.DataFrame({"grades": pd.Series(lists, dtype=TEXT)})).column("grades")
    for before, after in zip(lists, lists_to_json(column).to_pylist(), strict=True):
        if before is None:
            assert after is None
        else:
            assert json.loads(after) == (before.split(",") if before else [])


def test_records_come_back_in_the_shape_of_a_rosters_frames(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    sent = frame("student", [("added", "ada", ADA), ("added", "ben", {"primary_school": "north"})])
    with reading(warehouse) as conn:
        read = read_records(conn, DISTRICT, "student").sort_values("source_id")

    expected = sent[["source_id", *(a.name for a in ENROLLMENT_TYPES["student"].attributes)]]
    told = read.drop(columns=["extra", "record_hash"])
    assert told.to_dict("records") == expected.to_dict("records")
    assert read.dtypes.to_dict() == sent.drop(columns=["file", "row", "outcome"]).dtypes.to_dict()
    assert read["extra"][0] == ADA["extra"]


def test_the_state_has_what_a_plan_compares(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    run_import(warehouse, plan(deleted=[("student", "ben")], kept=[("student", "ada")]))

    with reading(warehouse) as conn:
        state = read_state(conn, DISTRICT)

    assert list(state) == list(ENROLLMENT_TYPES)
    students = state["student"].sort_values("source_id").set_index("source_id")
    assert list(students.columns) == ["record_hash", "active", "school"]
    assert list(students["active"]) == [True, False]
    assert list(students["school"]) == ["north", "north"]
    assert list(students["record_hash"]) == list(FIRST.changes["student"]["record_hash"])
    assert list(state["school"]["school"]) == ["north"]
    assert state["academic_session"].empty


def test_the_references_of_records_are_read_of_all_or_of_some(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    run_import(warehouse, plan(deleted=[("student", "ben")]))

    with reading(warehouse) as conn:
        students = read_references(conn, DISTRICT, "student")
        some = read_references(conn, DISTRICT, "student", ["ada", "nobody"])
        enrollments = read_references(conn, DISTRICT, "enrollment")

    known = students.set_index("source_id").sort_index()
    assert list(known.columns) == ["active", "primary_school", "school_ids", "contact_ids"]
    assert list(known["active"]) == [True, False]
    assert known.loc["ada", "school_ids"] == "north,south"
    assert some.to_dict("records") == students.loc[students["source_id"] == "ada"].to_dict(
        "records"
    )
    assert list(enrollments.columns) == [
        "source_id",
        "active",
        "school_id",
        "class_id",
        "person_id",
    ]


def test_known_schools_names_the_inactive_ones_too(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    run_import(warehouse, plan(deleted=[("school", "north")]))
    with reading(warehouse) as conn:
        assert known_schools(conn, DISTRICT).to_dict("records") == [
            {"source_id": "north", "name": "North High", "identifier": "N-1", "active": False}
        ]
        assert known_schools(conn, "shelbyville").empty


WRONG_PLANS = {
    "adds one that is there": plan({"student": [("added", "ada", {})]}),
    "adds one twice": plan({"student": [("added", "zoe", {}), ("added", "zoe", {})]}),
    "updates one that is not there": plan({"student": [("updated", "zoe", {})]}),
    "updates an inactive one": plan({"student": [("updated", "ben", {})]}),
    "restores an active one": plan({"student": [("restored", "ada", {})]}),
    "deletes an inactive one": plan(deleted=[("student", "ben")]),
    "keeps one that is not there": plan(kept=[("student", "zoe")]),
}


@pytest.mark.parametrize("wrong", WRONG_PLANS.values(), ids=WRONG_PLANS.keys())
def test_a_plan_made_for_another_state_is_refused_and_nothing_is_left_of_it(
    warehouse: Engine, wrong: Any
) -> None:
    run_import(warehouse, FIRST)
    run_import(warehouse, plan(deleted=[("student", "ben")]))
    before = hash_of(warehouse)
    both = plan({"school": [("added", "south", {"name": "South High"})]})
    wrong_too = type(wrong)(
        {**both.changes, **wrong.changes}, wrong.deleted, wrong.kept, wrong.counts
    )

    with pytest.raises(MergeMismatch):
        run_import(warehouse, wrong_too)

    assert hash_of(warehouse) == before
    with reading(warehouse) as conn:
        assert conn.scalar(select(func.count()).select_from(record_history)) == 1


def test_a_plan_whose_counts_say_otherwise_is_refused(warehouse: Engine) -> None:
    before = hash_of(warehouse)
    miscounted = type(FIRST)(
        FIRST.changes, FIRST.deleted, FIRST.kept, FIRST.counts.assign(records=7)
    )
    with pytest.raises(MergeMismatch, match="counts 7 records of type school as added"):
        run_import(warehouse, miscounted)
    assert hash_of(warehouse) == before


def test_a_failure_after_the_merge_leaves_the_warehouse_as_it_was(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    before = hash_of(warehouse)
    changed = plan({"student": [("updated", "ada", {})]}, deleted=[("student", "ben")])

    def merge_and_fail() -> None:
        with warehouse.begin() as conn:
            merge(conn, DISTRICT, 2, changed, MONDAY)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        merge_and_fail()

    assert hash_of(warehouse) == before
    assert history(warehouse, "ada") == []
    assert run_import(warehouse, changed)["student"] == Touched(updated=1, deleted=1)


@pytest.fixture
def in_files(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite warehouse into which every new record goes by a file beside it."""
    engine = open_warehouse(f"sqlite:///{tmp_path}/warehouse.db")
    lay, take_in, taken = bulk._lay, bulk.take_in, []

    def lay_while_another_writes(*arguments: Any) -> frozenset[str]:
        with closing(sqlite3.connect(tmp_path / "warehouse.db", timeout=0)) as another:
            another.execute("BEGIN IMMEDIATE")
            laid = lay(*arguments)
            another.rollback()
        return laid

    def take_in_and_tell(conn: Connection, table: Table, *more: Any) -> int:
        taken.append(table.name)
        return take_in(conn, table, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "MANY_ROWS", 1)
        patch.setattr(bulk, "_lay", lay_while_another_writes)
        patch.setattr(bulk, "take_in", take_in_and_tell)
        yield engine
    assert taken[:2] == ["schools", "students"]
    assert {path.name for path in tmp_path.iterdir()} <= {
        "warehouse.db",
        "warehouse.db-shm",
        "warehouse.db-wal",
    }
    engine.dispose()


def test_a_great_many_records_are_the_same_as_a_few(
    in_files: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = open_warehouse(f"sqlite:///{tmp_path / 'few'}/warehouse.db")
    further = plan({"student": [("added", "eve", {"sis_id": "é\"'", "enabled": False})]})
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "MANY_ROWS", 1_000)
        run_import(few, FIRST)
        run_import(few, further)

    assert run_import(in_files, FIRST)["student"] == Touched(added=2)
    run_import(in_files, further)

    assert hash_of(in_files) == hash_of(few)
    typed = text("SELECT source_id, typeof(enabled), typeof(birth_date), grades FROM students")
    with reading(in_files) as ours, reading(few) as theirs:
        assert ours.execute(typed).all() == theirs.execute(typed).all()
    shutil.rmtree(tmp_path / "few")


def test_a_great_many_findings_are_noted_in_their_order(in_files: Engine) -> None:
    run_import(in_files, FIRST)
    told = findings_frame(
        [finding("header_repeated", file="users.csv", row=n, count=2) for n in (7, 5, 9)]
    )
    record_findings_apart(in_files, 1, told)
    with reading(in_files) as conn:
        assert findings(conn, 1)["row"].to_list() == [7, 5, 9]


def test_what_is_read_in_several_statements_is_read_once_and_in_order(
    in_files: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [("added", f"s-{n}", {"sis_id": f"{n}"}) for n in range(6)]
    run_import(in_files, plan({"school": [("added", "north", {})], "student": many}))
    monkeypatch.setattr(bulk, "READ_TOGETHER", 2)
    with reading(in_files) as conn:
        state = read_state(conn, DISTRICT)["student"]
        one = read_records(conn, DISTRICT, "school")
    assert state["source_id"].to_list() == [f"s-{n}" for n in range(6)]
    assert one["source_id"].to_list() == ["north"]


def test_records_of_a_file_that_are_there_already_leave_the_warehouse_as_it_was(
    in_files: Engine,
) -> None:
    run_import(in_files, FIRST)
    before = hash_of(in_files)
    with pytest.raises(MergeMismatch, match="adds a student that is in students already"):
        run_import(in_files, plan({"student": [("added", "ada", ADA)]}))
    assert hash_of(in_files) == before
    other = plan({"student": [("added", "eve", {})]}, deleted=[("student", "ben")])
    assert run_import(in_files, other)["student"] == Touched(added=1, deleted=1)


def test_what_a_killed_process_left_beside_is_taken_away_when_it_is_old(in_files: Engine) -> None:
    old, new = (database.sqlite_path(in_files).with_name(f".arriving-{n}") for n in ("a", "b"))
    for left in (old, new):
        left.mkdir()
        (left / "rows.db").write_bytes(b"of people")
    os.utime(old, (0, 0))
    run_import(in_files, FIRST)
    assert (old.exists(), new.exists()) == (False, True)
    shutil.rmtree(new)


KILLED = """
import sys, time
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline.warehouse.merge import merge
from roster_pipeline_tests.warehouse.plans import DISTRICT, MONDAY, plan

with open_warehouse(sys.argv[1]).begin() as conn:
    changed = plan({"student": [("updated", "ada", {})]}, deleted=[("student", "ben")])
    merge(conn, DISTRICT, 2, changed, MONDAY)
    print("merged", flush=True)
    time.sleep(60)
"""


def test_a_process_killed_before_the_commit_leaves_the_warehouse_as_it_was(
    warehouse_url: str, warehouse: Engine
) -> None:
    run_import(warehouse, FIRST)
    before = hash_of(warehouse)
    arguments = [sys.executable, "-c", KILLED, warehouse_url]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "merged\n"
    process.kill()
    process.communicate()

    assert hash_of(warehouse) == before
    assert history(warehouse, "ada") == []
    again = plan({"student": [("updated", "ada", {})]}, deleted=[("student", "ben")])
    assert run_import(warehouse, again)["student"] == Touched(updated=1, deleted=1)


def test_every_past_state_of_a_record_can_be_read_from_history(warehouse: Engine) -> None:
    run_import(warehouse, FIRST)
    run_import(warehouse, plan({"student": [("updated", "ada", {"sis_id": "2"})]}))
    run_import(warehouse, plan(kept=[("student", "ada")]))
    run_import(warehouse, plan({"student": [("unchanged", "ada", {"sis_id": "2"})]}))
    run_import(warehouse, plan(deleted=[("student", "ada")]))
    run_import(warehouse, plan({"student": [("restored", "ada", {"sis_id": "3"})]}))

    versions = history(warehouse, "ada")
    borders = [(v["valid_from_import_id"], v["replaced_by_import_id"]) for v in versions]
    assert borders == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    assert [v["record"]["sis_id"] for v in versions] == ["1001", "2", "2", "2", "2"]
    assert [v["was_active"] for v in versions] == [True, True, True, True, False]
    assert row(warehouse, "student", "ada")["last_import_id"] == 6


def test_a_moment_without_a_time_zone_is_refused(warehouse: Engine) -> None:
    with (
        pytest.raises(ValueError, match="has no time zone"),
        warehouse.begin() as conn,
    ):
        merge(conn, DISTRICT, 1, FIRST, MONDAY.replace(tzinfo=None))
