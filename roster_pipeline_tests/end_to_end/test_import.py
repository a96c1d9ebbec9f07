"""A delivery all the way: through the command line and Dagster into the warehouse, and what the
next delivery then does to it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from roster_pipeline.landing import intake
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import DEMO_FAULTS, make_district, plant_faults
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.warehouse.content import content_hash

RECEIVED = (
    *("added", "updated", "unchanged", "restored", "removed"),
    *("filtered", "skipped", "duplicate", "invalid"),
)


@pytest.fixture
def district(roster: Roster, nothing_required: None) -> str:
    assert roster("district", "add", "oak", "--name", "Oak County").code == 0
    return "oak"


@pytest.fixture
def settled(after_an_import: str) -> str:
    """A district that has imported make_district(300)."""
    return "oak"


@pytest.fixture
def data_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is required by default, after all."""
    monkeypatch.setenv("ROSTER_EXPECTATIONS", "")


def warehouse_hash(home: Path) -> str:
    with reading(open_warehouse(f"sqlite:///{home / 'warehouse.db'}")) as conn:
        return content_hash(conn)


def changed(shown: dict[str, object], *outcomes: str) -> dict[str, dict[str, int]]:
    """The counts that are not zero, of these outcomes only."""
    counts: dict[str, dict[str, int]] = shown["counts"]  # type: ignore[assignment]
    found = {t: {o: c[o] for o in outcomes if c[o]} for t, c in counts.items()}
    return {t: c for t, c in found.items() if c}


def test_a_zip_in_the_landing_zone_is_imported_with_every_row_accounted_for_and_fault_told(
    roster: Roster, district: str, data_required: None, home: Path
) -> None:
    frames = make_district(300)
    delivery = plant_faults(frames, DEMO_FAULTS)
    landing = home / "landing" / district
    write_package(landing / "OneRoster.zip", delivery.frames, replaced=delivery.replaced)

    said = roster("import", district, "--format", "json")

    assert said.code == 0
    shown = said.json()
    assert shown["status"] == "imported"
    assert (shown["district"], shown["app"], shown["hold"]) == (district, "sftp", None)
    for counts in shown["counts"].values():
        assert counts["received"] == sum(counts[outcome] for outcome in RECEIVED)
    rows = {entry["file"]: entry["rows"] for entry in shown["files"]}
    people = ("student", "teacher", "admin", "contact")
    assert sum(shown["counts"][p]["received"] for p in people) == rows["users.csv"]
    for kind, file in (("class", "classes.csv"), ("enrollment", "enrollments.csv")):
        assert shown["counts"][kind]["received"] == rows[file]
    assert (landing / "OneRoster.zip").exists()

    found = roster("findings", shown["import_id"], "--format", "json").json()
    assert len(found) == shown["findings"]
    planted = {(f.code, *row) for f in delivery.planted for row in f.rows}
    assert {(f["code"], f["file"], f["row"], f["source_id"]) for f in found} == planted
    lines = list(
        csv.DictReader(io.StringIO(roster("findings", shown["import_id"], "--format", "csv").out))
    )
    assert len(lines) == shown["findings"]
    assert {"file", "row", "source_id", "code", "message", "how_to_fix"} <= lines[0].keys()


def test_the_same_delivery_again_is_unchanged_and_touches_nothing(
    roster: Roster, settled: str, home: Path, tmp_path: Path
) -> None:
    package = tmp_path / "delivery"
    write_package(package, make_district(300))
    first = roster("show", 1, "--format", "json").json()
    before = warehouse_hash(home)

    again = roster("import", settled, package, "--format", "json")

    assert again.code == 0
    assert again.json()["status"] == "unchanged"
    assert changed(again.json(), "added", "updated", "deleted") == {}
    assert changed(again.json(), "unchanged") == {
        kind: {"unchanged": counts["added"]} for kind, counts in first["counts"].items()
    }
    assert warehouse_hash(home) == before


def test_a_delivery_that_follows_upon_itself_is_not_opened(
    roster: Roster, district: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "OneRoster.zip"
    write_package(package, make_district(300))
    assert roster("import", district, package, "--app", "sftp").code == 0

    def opened(*_: object) -> None:
        raise AssertionError("it is opened")

    monkeypatch.setattr(intake, "open_delivery", opened)
    again = roster("import", district, package, "--app", "sftp", "--format", "json")
    assert (again.code, again.json()["status"]) == (0, "unchanged")
    # By another app other files must be in it, so it is looked at.
    assert roster("import", district, package, "--app", "csv_upload").code == 1
    last = roster("imports", district, "--format", "json").json()[0]
    assert (last["app"], last["message"]) == ("csv_upload", "landing_snapshot: AssertionError")


def test_forcing_the_same_delivery_computes_it_anew_and_changes_nothing(
    roster: Roster, settled: str, home: Path, tmp_path: Path
) -> None:
    package = tmp_path / "OneRoster.zip"
    write_package(package, make_district(300))
    before = warehouse_hash(home)

    again = roster("import", settled, package, "--force", "--format", "json").json()

    assert again["status"] == "imported"
    assert changed(again, "added", "updated", "deleted", "restored") == {}
    assert warehouse_hash(home) == before


def test_a_person_taken_out_of_the_files_goes_with_her_enrollments_and_nothing_else(
    roster: Roster, settled: str, tmp_path: Path
) -> None:
    frames = make_district(300)
    student = frames["enrollments"].query("role == 'student'")["userSourcedId"].iloc[0]
    hers = int((frames["enrollments"]["userSourcedId"] == student).sum())
    frames["users"] = frames["users"].query("sourcedId != @student").reset_index(drop=True)
    write_package(tmp_path / "second", frames)

    shown = roster("import", settled, tmp_path / "second", "--format", "json").json()

    assert changed(shown, "deleted") == {"student": {"deleted": 1}, "enrollment": {"deleted": hers}}
    theirs = int(
        frames["users"]["agentSourcedIds"]
        .str.split(",")
        .map(lambda c: student in c, na_action="ignore")
        .sum()
    )
    assert changed(shown, "updated") == ({"contact": {"updated": theirs}} if theirs else {})
    assert changed(shown, "added", "restored", "kept", "skipped") == {}
    assert changed(shown, "invalid") == {"enrollment": {"invalid": hers}}
    overview = roster("overview", settled, "--format", "json").json()
    students = sum(r["records"] for r in overview if r["enrollment_type"] == "student")
    assert students == 299


def test_a_rejected_record_stays_as_it_was(
    roster: Roster, settled: str, data_required: None, tmp_path: Path
) -> None:
    frames = make_district(300)
    users = frames["users"]
    first_student = users.index[users["role"] == "student"][0]
    frames["users"] = users.assign(email=users["email"].mask(users.index == first_student, pd.NA))
    write_package(tmp_path / "second", frames)

    shown = roster("import", settled, tmp_path / "second", "--format", "json").json()

    assert changed(shown, "skipped", "kept", "deleted", "invalid") == {
        "student": {"skipped": 1, "kept": 1}
    }


def test_a_refused_delivery_names_what_is_missing_and_leaves_the_warehouse_as_it_was(
    roster: Roster, settled: str, home: Path, tmp_path: Path
) -> None:
    frames = make_district(300)
    before = warehouse_hash(home)
    del frames["classes"], frames["orgs"]
    write_package(tmp_path / "second", frames)

    said = roster("import", settled, tmp_path / "second")

    assert said.code == 4
    assert "classes.csv is missing." in said.out
    assert "orgs.csv is missing." in said.out
    assert warehouse_hash(home) == before


def test_an_empty_landing_zone_is_told_and_refused(roster: Roster, district: str) -> None:
    said = roster("import", district)
    assert said.code == 4
    assert "There is no file in the delivery." in said.out


def test_a_filter_by_grade_keeps_these_students_and_tells_no_fault(
    roster: Roster, district: str, home: Path, tmp_path: Path
) -> None:
    frames = make_district(400)
    write_package(tmp_path / "first", frames)
    path = home / "districts" / f"{district}.yaml"
    path.write_text(
        path.read_text()
        + 'filters:\n  - student: {grades: {in: [KG, "01", "02", "03", "04", "05"]}}\n'
    )
    students = frames["users"].query("role == 'student'")
    young = students["grades"].isin(["KG", "01", "02", "03", "04", "05"])
    assert 0 < young.sum() < len(students)

    shown = roster("import", district, tmp_path / "first", "--format", "json").json()

    assert shown["counts"]["student"]["added"] == young.sum()
    assert shown["counts"]["student"]["filtered"] == len(students) - young.sum()
    assert shown["counts"]["teacher"]["filtered"] == 0
    assert shown["counts"]["class"]["filtered"] == 0
    hers = frames["enrollments"]["userSourcedId"].isin(students.loc[~young, "sourcedId"])
    assert shown["counts"]["enrollment"]["filtered"] == hers.sum()
    assert shown["findings"] == 0


def test_a_near_miss_is_named_also_when_the_delivery_is_refused_for_it(
    roster: Roster, district: str, home: Path
) -> None:
    landing = home / "landing" / district
    write_package(landing, make_district(300))
    (landing / "users.csv").rename(landing / "Users.CSV")

    said = roster("import", district)

    assert said.code == 4
    found = roster("findings", "1", "--format", "json").json()
    assert [(f["code"], f["file"]) for f in found] == [
        ("file_near_miss", "Users.CSV"),
        ("file_missing", "users.csv"),
    ]


def test_a_preview_shows_the_plan_and_leaves_what_waits_waiting(
    roster: Roster, settled: str, home: Path, tmp_path: Path
) -> None:
    frames = make_district(300)
    users = frames["users"]
    half = (users["role"] != "student") | (users.index % 2 == 0)
    write_package(tmp_path / "whole", frames)
    write_package(tmp_path / "half", {**frames, "users": users.loc[half].reset_index(drop=True)})
    assert roster("import", settled, tmp_path / "half").code == 3
    before = warehouse_hash(home)

    seen = roster("import", settled, tmp_path / "whole", "--preview", "--format", "json")

    assert seen.code == 0
    assert roster("show", "2", "--format", "json").json()["status"] == "held"
    assert warehouse_hash(home) == before


def test_a_record_rejected_in_a_delta_is_kept_and_told_until_it_is_mended(
    roster: Roster, settled: str, tmp_path: Path
) -> None:
    frames = make_district(300)
    users = frames["users"]
    ours = users.loc[users["role"] == "student"].head(4).reset_index(drop=True)
    broken = ours.assign(
        status="active",
        dateLastModified="2026-11-24T00:00:00.000Z",
        enabledUser=ours["enabledUser"].mask(ours.index == 0, "perhaps"),
    )
    write_package(tmp_path / "delta", {"users": broken}, modes={"users": "delta"})
    write_package(tmp_path / "orgs", {"orgs": frames["orgs"]})
    first = ours["sourcedId"].iloc[0]

    told = [
        roster("import", settled, "--app", "sftp", tmp_path / name, "--force", "--format", "json")
        for name in ("delta", "orgs")
    ]

    for said in told:
        shown = said.json()
        assert changed(shown, "invalid", "kept") == {"student": {"invalid": 1, "kept": 1}}
        skipped = roster(
            "findings", shown["import_id"], "--status", "skipped", "--format", "json"
        ).json()
        assert [(f["source_id"], f["row"], f["field"]) for f in skipped] == [
            (first, 2, "enabledUser")
        ]
