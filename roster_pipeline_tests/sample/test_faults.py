"""Planted faults are where they are said to be, and nowhere else.

Everything is judged on the written CSV files, read back with the csv module, because that is
where the people and the pipeline meet them.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import DEMO_FAULTS, FAULTS, Delivery, make_district, plant_faults

Row = Mapping[str, str]
Files = dict[str, list[dict[str, str]]]
Cells = dict[str, list[list[str]]]


@pytest.fixture(scope="module")
def clean() -> dict[str, pd.DataFrame]:
    return make_district(600, seed=3)


@pytest.fixture(scope="module")
def delivery(clean: dict[str, pd.DataFrame]) -> Delivery:
    return plant_faults(clean, DEMO_FAULTS, seed=5)


@pytest.fixture(scope="module")
def cells(delivery: Delivery, tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return written(delivery, tmp_path_factory.mktemp("delivery"))


def written(delivery: Delivery, folder: Path) -> Cells:
    """The rows of each written file, the header first, so that row n of a spreadsheet is [n-1]."""
    write_package(folder, delivery.frames, replaced=delivery.replaced)
    return {
        path.name: list(csv.reader(path.read_text("utf-8").splitlines()))
        for path in folder.glob("*.csv")
        if path.name != "manifest.csv"
    }


def faults_found(cells: Cells) -> dict[str, set[tuple[str, int]]]:
    """The faults of a package by name, found by plain rules that know nothing of the planting."""
    found: dict[str, set[tuple[str, int]]] = {name: set() for name in FAULTS}
    files: dict[str, dict[int, dict[str, str]]] = {}
    for file, (header, *rows) in cells.items():
        files[file] = {}
        for row, fields in enumerate(rows, start=2):
            if len(fields) == len(header):
                files[file][row] = dict(zip(header, fields, strict=True))
            else:
                found["ragged_row"].add((file, row))

    def mark(name: str, file: str, wrong: Callable[[Row], bool]) -> None:
        found[name].update((file, row) for row, record in files[file].items() if wrong(record))

    def ids(file: str) -> set[str]:
        return {record["sourcedId"] for record in files[file].values()}

    students = [r for r in files["users.csv"].values() if r["role"] == "student"]
    id_uses = Counter(r["sourcedId"] for r in files["users.csv"].values())
    email_uses = Counter(r["email"].lower() for r in students if r["email"])

    def student(record: Row) -> bool:
        return record["role"] == "student"

    mark("missing_email", "users.csv", lambda r: student(r) and not r["email"])
    mark("missing_last_name", "users.csv", lambda r: not r["familyName"])
    mark("repeated_id", "users.csv", lambda r: id_uses[r["sourcedId"]] > 1)
    mark("duplicate_email", "users.csv", lambda r: email_uses[r["email"].lower()] > 1)
    mark("missing_birth_date", "demographics.csv", lambda r: not r["birthDate"])
    classes, users, orgs = ids("classes.csv"), ids("users.csv"), ids("orgs.csv")
    mark("unknown_school", "classes.csv", lambda r: r["schoolSourcedId"] not in orgs)
    mark("unknown_class", "enrollments.csv", lambda r: r["classSourcedId"] not in classes)
    mark("unknown_person", "enrollments.csv", lambda r: r["userSourcedId"] not in users)
    mark("bad_date", "enrollments.csv", lambda r: r["beginDate"] == "2026-02-30")
    seen: set[tuple[str, ...]] = set()
    for row, record in files["enrollments.csv"].items():
        values = tuple(record.values())
        if values in seen:
            found["repeated_row"].add(("enrollments.csv", row))
        seen.add(values)
    return found


def test_there_is_a_demo_fault_of_every_kind() -> None:
    assert set(DEMO_FAULTS) == set(FAULTS)


def test_a_clean_district_has_no_faults(clean: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    cells = written(Delivery(clean, {}, ()), tmp_path)
    assert not any(faults_found(cells).values())


def test_the_planted_rows_are_exactly_the_faulty_rows_of_the_written_files(
    delivery: Delivery, cells: Cells
) -> None:
    told = {fault.name: {(r.file, r.row) for r in fault.rows} for fault in delivery.planted}
    assert told == faults_found(cells)


def test_the_planted_rows_carry_the_ids_they_are_said_to(delivery: Delivery, cells: Cells) -> None:
    for fault in delivery.planted:
        for planted in fault.rows:
            assert cells[planted.file][planted.row - 1][0] == planted.source_id


def test_each_fault_is_counted_as_often_as_it_yields_findings(delivery: Delivery) -> None:
    pairs = {"duplicate_email", "repeated_id"}
    for fault in delivery.planted:
        assert fault.code == FAULTS[fault.name].code
        assert fault.count == DEMO_FAULTS[fault.name] * (2 if fault.name in pairs else 1)
        assert len(set(fault.rows)) == fault.count


def test_no_record_carries_two_faults(delivery: Delivery) -> None:
    rows = [(r.file, r.row) for fault in delivery.planted for r in fault.rows]
    assert len(rows) == len(set(rows))
    names = {(fault.name, r.source_id) for fault in delivery.planted for r in fault.rows}
    assert max(Counter(source_id for _, source_id in names).values()) == 1


def skipped_records(delivery: Delivery, file: str, *names: str) -> set[str]:
    return {
        r.source_id
        for fault in delivery.planted
        if fault.name in names
        for r in fault.rows
        if r.file == file
    }


def test_nothing_refers_to_a_record_that_will_be_left_out(delivery: Delivery) -> None:
    persons = skipped_records(
        *(delivery, "users.csv"),
        *("missing_email", "missing_last_name", "duplicate_email", "repeated_id"),
    )
    users, enrollments = delivery.frames["users"], delivery.frames["enrollments"]
    agents = users["agentSourcedIds"].dropna().str.split(",").explode()
    assert persons
    assert not agents.isin(persons).any()
    assert not enrollments["userSourcedId"].isin(persons).any()
    classes = skipped_records(delivery, "classes.csv", "unknown_school")
    assert classes
    assert not enrollments["classSourcedId"].isin(classes).any()


def test_references_that_were_not_damaged_still_resolve(delivery: Delivery) -> None:
    damaged = skipped_records(delivery, "enrollments.csv", "unknown_class", "unknown_person")
    damaged |= skipped_records(delivery, "classes.csv", "unknown_school")
    for file, spec in VERSIONS["1.1"].files.items():
        frame = delivery.frames[file]
        frame = frame[~frame["sourcedId"].isin(damaged)]
        for column in spec.columns:
            if column.refers_to:
                named = frame[column.name].dropna().str.split(",").explode()
                assert named.isin(delivery.frames[column.refers_to]["sourcedId"]).all()
    assert (
        delivery.frames["demographics"]["sourcedId"]
        .isin(delivery.frames["users"]["sourcedId"])
        .all()
    )


def test_students_with_one_id_have_different_names_and_no_demographics(delivery: Delivery) -> None:
    repeated = skipped_records(delivery, "users.csv", "repeated_id")
    users = delivery.frames["users"]
    pairs = users[users["sourcedId"].isin(repeated)]
    assert not pairs.duplicated(["sourcedId", "givenName", "familyName"]).any()
    assert not delivery.frames["demographics"]["sourcedId"].isin(repeated).any()


def test_shared_e_mails_differ_in_case(delivery: Delivery) -> None:
    ids = skipped_records(delivery, "users.csv", "duplicate_email")
    emails = delivery.frames["users"].set_index("sourcedId").loc[list(ids), "email"]
    assert emails.is_unique
    assert set(emails.str.lower().value_counts()) == {2}


def test_rows_are_right_when_everything_is_planted_together_in_quantity(tmp_path: Path) -> None:
    delivery = plant_faults(make_district(1500, seed=2), dict.fromkeys(FAULTS, 20), seed=9)
    told = {fault.name: {(r.file, r.row) for r in fault.rows} for fault in delivery.planted}
    assert told == faults_found(written(delivery, tmp_path))


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_can_be_planted_alone(
    clean: dict[str, pd.DataFrame], name: str, tmp_path: Path
) -> None:
    delivery = plant_faults(clean, {name: 3})
    found = faults_found(written(delivery, tmp_path))
    assert {fault.name for fault in delivery.planted} == {name}
    assert {key for key, rows in found.items() if rows} == {name}
    assert {(r.file, r.row) for r in delivery.planted[0].rows} == found[name]


def test_the_same_seed_plants_the_same_faults(
    clean: dict[str, pd.DataFrame], delivery: Delivery
) -> None:
    again = plant_faults(clean, {name: DEMO_FAULTS[name] for name in reversed(FAULTS)}, seed=5)
    assert again.planted == delivery.planted
    assert again.replaced == delivery.replaced
    assert all(again.frames[file].equals(delivery.frames[file]) for file in clean)
    assert plant_faults(clean, DEMO_FAULTS, seed=6).planted != delivery.planted


def test_planting_leaves_the_given_frames_as_they_were() -> None:
    frames = make_district(300)
    plant_faults(frames, DEMO_FAULTS)
    assert all(frame.equals(frames[file]) for file, frame in make_district(300).items())


def test_a_fault_planted_no_times_is_not_mentioned(clean: dict[str, pd.DataFrame]) -> None:
    delivery = plant_faults(clean, dict.fromkeys(FAULTS, 0))
    assert delivery.planted == ()
    assert delivery.replaced == {}
    assert all(frame.equals(clean[file]) for file, frame in delivery.frames.items())


def test_a_district_of_300_has_room_for_the_demo_faults() -> None:
    assert plant_faults(make_district(300), DEMO_FAULTS).planted


def test_too_small_a_district_is_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match=r"missing_email needs 50 rows of users.csv.*only \d+"):
        plant_faults(make_district(20), {"missing_email": 50})


@pytest.mark.parametrize(
    ("faults", "words"),
    [({"no_such_fault": 1}, "No fault is called"), ({"bad_date": -1}, "cannot be planted")],
)
def test_what_cannot_be_planted_is_refused(
    clean: dict[str, pd.DataFrame], faults: dict[str, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        plant_faults(clean, faults)
