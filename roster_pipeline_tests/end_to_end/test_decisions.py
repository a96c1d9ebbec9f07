"""What waits for a person, and what the decision does: by the command line, all the way.

Each runs on one database: what is asked of the books of holds, mappings and history is tried on
both in the tests of the warehouse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from roster_pipeline.warehouse import audit
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.conftest import Roster, Said
from roster_pipeline_tests.end_to_end.deliveries import (
    district,
    rekeyed,
    schools,
    students,
    with_other_school_ids,
    without_people,
    without_school,
    written,
)
from roster_pipeline_tests.warehouse.content import CHANGED_BY_UNDO, content_hash

OAK = "oak"
FRAMES = district(300)
FIRST, SECOND, THIRD = schools(FRAMES)


class House:
    """An installation with the district oak in it."""

    def __init__(self, roster: Roster, home: Path, folder: Path, url: str) -> None:
        self.roster, self.home, self.folder, self.url = roster, home, folder, url

    def settings(self, **sections: object) -> None:
        path = self.home / "districts" / f"{OAK}.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))

    def imports(self, frames: dict[str, Any], *options: str) -> Said:
        """Import frames; each call is a delivery of its own."""
        path = written(self.folder, "OneRoster", frames)
        return self.roster("import", OAK, path, *options, "--format", "json")

    def statuses(self) -> list[str]:
        """Of all imports, oldest first."""
        told = self.roster("imports", OAK, "--format", "json").json()
        return [entry["status"] for entry in reversed(told)]

    def state(self, *without: str) -> str:
        engine = open_warehouse(self.url)
        with reading(engine) as conn:
            found = content_hash(conn, without=without)
        engine.dispose()
        return found

    def audit(self) -> list[tuple[str, str, int | None, str | None]]:
        engine = open_warehouse(self.url)
        with reading(engine) as conn:
            told = audit.entries(conn, OAK)
        engine.dispose()
        return [(e["who"], e["action"], e["import_id"], e["detail"]) for e in told]


@pytest.fixture
def house(
    roster: Roster,
    home: Path,
    nothing_required: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> House:
    """An installation, on SQLite, in which the district has imported nothing."""
    monkeypatch.setenv("ROSTER_USER", "ada")
    assert roster("district", "add", OAK, "--name", "Oak County").code == 0
    return House(roster, home, tmp_path, f"sqlite:///{home / 'warehouse.db'}")


@pytest.fixture
def settled(
    request: pytest.FixtureRequest,
    roster: Roster,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> House:
    """An installation, on SQLite unless the test says otherwise, in which the district has imported
    FRAMES."""
    url = request.getfixturevalue(getattr(request, "param", "after_an_import"))
    monkeypatch.setenv("ROSTER_USER", "ada")
    return House(roster, home, tmp_path, url)


on_postgresql = pytest.mark.parametrize(
    "settled", ["after_an_import_on_postgresql"], indirect=True, ids=["postgresql"]
)


def messages(said: Said) -> str:
    return " ".join(said.json()["hold"]["reasons"])


def changed(shown: dict[str, Any], *outcomes: str) -> dict[str, dict[str, int]]:
    counts = {t: {o: c[o] for o in outcomes if c[o]} for t, c in shown["counts"].items()}
    return {t: c for t, c in counts.items() if c}


@on_postgresql
def test_a_missing_school_is_held_with_the_reason_and_approved_as_it_was_shown(
    settled: House,
) -> None:
    first = settled.roster("show", 1, "--format", "json").json()
    assert (first["status"], first["hold"]) == ("imported", None)
    before = settled.state()

    held = settled.imports(without_school(FRAMES, FIRST))

    assert held.code == 3
    assert held.json()["status"] == "held"
    number, of = len(students(FRAMES, FIRST)), len(students(FRAMES))
    assert f"It deletes {number} of {of} students ({number / of:.1%})".replace(
        "%)", " %)"
    ) in messages(held)
    assert "which is missing from orgs.csv; without that school: 0.0 %" in messages(held)
    assert any(f"({FIRST}) is missing" in cause for cause in held.json()["hold"]["causes"])
    assert settled.state() == before

    number = held.json()["import_id"]
    assert f"or: roster reject {number} --reason TEXT" in settled.roster("show", number).out
    approved = settled.roster(
        "approve", number, "--reason", "the school has closed", "--format", "json"
    )

    assert approved.code == 0, approved.err
    shown = approved.json()
    assert (shown["import_id"], shown["status"]) == (number, "imported")
    assert changed(shown, "deleted", "updated", "added") == changed(
        held.json(), "deleted", "updated", "added"
    )
    assert shown["hold"]["decision"] == "approved"
    assert (shown["hold"]["decided_by"], shown["hold"]["decided_because"]) == (
        "ada",
        "the school has closed",
    )
    assert settled.audit() == [("ada", "approved", number, "the school has closed")]
    assert settled.statuses() == ["imported", "imported"]
    again = settled.imports(without_school(FRAMES, FIRST))
    assert again.json()["status"] == "unchanged"


@on_postgresql
def test_a_rejected_delivery_is_told_so_when_it_comes_again_and_held_though_nothing_else_holds_it(
    settled: House,
) -> None:
    before = settled.state()
    settled.imports(without_school(FRAMES, FIRST))
    rejected = settled.roster("reject", 2, "--reason", "half an export")
    assert rejected.code == 0, rejected.err
    settled.settings(hold={})

    again = settled.imports(without_school(FRAMES, FIRST))

    assert again.code == 3
    assert messages(again) == (
        "The files are those of import 2, which was rejected. Rejected by ada: half an export"
    )
    assert settled.statuses() == ["imported", "rejected", "held"]
    assert settled.state() == before
    assert settled.roster("approve", 2, "--reason", "x").code == 2


def test_a_newer_delivery_supersedes_one_that_is_held(settled: House) -> None:
    settled.imports(without_school(FRAMES, FIRST))
    one_less = without_people(FRAMES, students(FRAMES).head(1))
    assert settled.imports(one_less).json()["status"] == "imported"
    assert settled.statuses() == ["imported", "superseded", "imported"]
    late = settled.roster("approve", 2, "--reason", "late")
    assert late.code == 2
    assert "Import 2 is superseded" in late.err


def test_an_approval_of_a_plan_that_is_another_by_now_is_held_again(settled: House) -> None:
    settled.imports(without_school(FRAMES, FIRST))
    engine = open_warehouse(settled.url)
    with engine.begin() as conn:
        # As if another import had come in between and had not superseded this one.
        conn.execute(
            text("UPDATE students SET active = false WHERE source_id = :id"),
            {"id": students(FRAMES, SECOND).iloc[0]},
        )
    engine.dispose()

    said = settled.roster("approve", 2, "--reason", "fine", "--format", "json")

    assert said.code == 3
    assert said.json()["status"] == "held"
    assert messages(said).startswith("The plan is not the one that was approved any more.")
    assert settled.roster("approve", 2, "--reason", "seen", "--format", "json").code == 0


@on_postgresql
def test_approved_in_part_the_deletions_wait_and_come_up_again(settled: House) -> None:
    held = settled.imports(rekeyed(FRAMES, FIRST)).json()
    number = len(students(FRAMES, FIRST))
    assert changed(held, "deleted") == {"student": {"deleted": number}}

    wrong = settled.roster("approve", 2, "--reason", "x", "--only", "adds")
    assert wrong.code == 2 and "adds,updates" in wrong.err
    part = settled.roster(
        *("approve", 2, "--reason", "new ids", "--only", "adds,updates", "--format", "json")
    ).json()

    assert part["status"] == "imported"
    assert changed(part, "added", "deleted") == {"student": {"added": number}}
    rest = settled.imports(rekeyed(FRAMES, FIRST)).json()
    assert rest["status"] == "held"
    assert changed(rest, "added", "updated", "deleted") == {"student": {"deleted": number}}
    settled.roster("approve", rest["import_id"], "--reason", "all")
    assert settled.imports(rekeyed(FRAMES, FIRST)).json()["status"] == "unchanged"


def test_after_an_undo_the_deletions_that_waited_before_wait_again(settled: House) -> None:
    settled.imports(rekeyed(FRAMES, FIRST))
    settled.roster("approve", 2, "--reason", "new ids", "--only", "adds,updates")
    settled.settings(hold={})
    assert settled.imports(rekeyed(FRAMES, FIRST)).json()["status"] == "imported"
    assert settled.roster("undo", 3, "--reason", "too early").code == 0

    rest = settled.imports(rekeyed(FRAMES, FIRST)).json()

    assert rest["status"] == "held"
    number = len(students(FRAMES, FIRST))
    assert changed(rest, "added", "updated", "deleted") == {"student": {"deleted": number}}


def test_rekeyed_students_are_held_and_the_pairs_are_counted_without_their_names(
    settled: House,
) -> None:
    number = len(students(FRAMES, FIRST))

    said = settled.imports(rekeyed(FRAMES, FIRST))

    assert said.code == 3
    cause = said.json()["hold"]["causes"][0]
    assert cause.startswith(f"Ids seem to have changed: {number} of the {number} people")
    users = FRAMES["users"].loc[FRAMES["users"]["sourcedId"].isin(students(FRAMES, FIRST))]
    shown = settled.roster("show", 2).out + settled.roster("imports").out + said.out
    assert not any(email in shown for email in users["email"].dropna())


def test_a_changed_filter_that_deletes_much_is_held_and_the_settings_are_named(
    settled: House,
) -> None:
    settled.settings(filters=[{"student": {"grades": {"in": ["09", "10", "11", "12"]}}}])
    said = settled.imports(FRAMES)
    assert said.json()["status"] == "held"
    assert (
        "The settings (or this program) have changed since import 1."
        in (said.json()["hold"]["causes"])
    )


def test_every_student_gone_is_held_though_no_threshold_is_set(settled: House) -> None:
    settled.settings(hold={})
    said = settled.imports(without_people(FRAMES, students(FRAMES)))
    assert said.json()["status"] == "held"
    assert f"It deletes every one of the {len(students(FRAMES))} students." in messages(said)


def test_a_file_with_only_a_header_is_named_as_the_cause(settled: House) -> None:
    rows = len(FRAMES["enrollments"])
    said = settled.imports({**FRAMES, "enrollments": FRAMES["enrollments"].iloc[:0]})
    assert said.json()["status"] == "held"
    assert (
        f"enrollments.csv has only its header; before, it had {rows:,} rows."
        in (said.json()["hold"]["causes"])
    )


def test_with_preview_set_every_import_waits_with_the_thresholds_off(house: House) -> None:
    house.settings(hold={"preview": True, "delete_percent": 0})
    held = house.imports(FRAMES)
    assert held.code == 3
    assert held.json()["hold"]["reasons"] == [
        "Every import of this district waits for approval (preview)."
    ]
    assert house.roster("overview", OAK, "--format", "json").json() == []
    assert house.roster("approve", 1, "--reason", "looks right").code == 0
    assert house.statuses() == ["imported"]


def test_a_preview_shows_the_plan_writes_nothing_and_is_no_base(settled: House) -> None:
    before = settled.state()
    said = settled.imports(without_school(FRAMES, FIRST), "--preview")
    assert (said.code, said.json()["status"]) == (0, "previewed")
    assert changed(said.json(), "deleted")["student"] == {"deleted": len(students(FRAMES, FIRST))}
    assert "over the 10 % limit" in messages(said)
    assert settled.state() == before
    assert settled.roster("approve", 2, "--reason", "x").code == 2
    assert settled.imports(FRAMES).json()["status"] == "unchanged"


@on_postgresql
def test_an_undo_is_an_import_of_its_own_and_gives_back_the_state_before(settled: House) -> None:
    before = settled.state(*CHANGED_BY_UNDO)
    settled.settings(hold={})
    settled.imports(without_school(FRAMES, FIRST))

    said = settled.roster("undo", 2, "--reason", "the wrong file", "--format", "json")

    assert said.code == 0, said.err
    assert (said.json()["app"], said.json()["status"]) == ("undo", "imported")
    assert settled.statuses() == ["imported", "undone", "imported"]
    assert settled.state(*CHANGED_BY_UNDO) == before
    assert settled.roster("diff", 1, 3, "--format", "json").json()["counts"] == []
    again = settled.imports(FRAMES)
    assert again.json()["status"] == "unchanged"
    assert changed(again.json(), "unchanged")["student"] == {"unchanged": len(students(FRAMES))}
    undone = settled.imports(without_school(FRAMES, FIRST))
    assert "The files are those of import 2, which was undone." in messages(undone)


@on_postgresql
def test_an_exported_state_imported_into_an_empty_warehouse_is_that_state(
    settled: House, tmp_path: Path
) -> None:
    settled.settings(hold={})
    settled.imports(without_school(FRAMES, FIRST))
    package = tmp_path / "state.zip"
    written_ = settled.roster("export", OAK, package, "--as-of", 1, "--format", "json").json()
    assert written_["rows"]["users.csv"] == len(FRAMES["users"])

    settled.roster("district", "add", "elm", "--name", "Elm County")
    said = settled.roster("import", "elm", package, "--format", "json")

    assert said.json()["status"] == "imported"
    assert said.json()["findings"] == 0
    engine = open_warehouse(settled.url)
    then = text(
        "SELECT source_id, record_hash FROM {0}_versions WHERE district_id = 'oak' AND active "
        "AND valid_from_import_id <= 1 AND coalesce(valid_until_import_id, 9) > 1"
    )
    with reading(engine) as conn:
        for table in ("schools", "students", "teachers", "contacts", "classes", "enrollments"):
            now = text(f"SELECT source_id, record_hash FROM {table} WHERE district_id = 'elm'")
            as_of = text(str(then).format(table))
            assert set(conn.execute(now)) == set(conn.execute(as_of)), table
    engine.dispose()


def test_one_record_is_traced_through_every_import(
    settled: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROSTER_EXPECTATIONS", "")  # an e-mail is required
    settled.settings(hold={})
    student = students(FRAMES, SECOND).iloc[0]
    users = FRAMES["users"]
    mine = users["sourcedId"] == student
    middle = {**FRAMES, "users": users.assign(middleName=users["middleName"].mask(mine, "Q"))}
    settled.imports(middle)
    assert settled.imports(middle).json()["status"] == "unchanged"
    settled.imports({**FRAMES, "users": users.assign(email=users["email"].mask(mine))})
    settled.imports(without_people(FRAMES, students(FRAMES, SECOND).head(1)))

    told = settled.roster("trace", OAK, student, "--format", "json").json()

    row = int(users.index[mine][0]) + 2
    steps = [
        (i["import_id"], [(r["row"], r["outcome"]) for r in i["received"]], i["changes"])
        for i in told
    ]
    change = {"enrollment_type": "student", "attributes": []}
    assert steps == [
        (1, [(row, "added")], [{**change, "change": "added"}]),
        (2, [(row, "updated")], [{**change, "change": "updated", "attributes": ["middle_name"]}]),
        (3, [(row, "unchanged")], []),
        (4, [(row, "skipped")], [{**change, "change": "kept, as it came in rejected"}]),
        (5, [], [{**change, "change": "deleted"}]),
    ]
    assert [f["code"] for f in told[3]["findings"]] == ["email_missing"]
    table = settled.roster("trace", OAK, student).out
    assert "student: updated (middle_name)" in table
    assert "Q" not in table.split()


@on_postgresql
def test_unknown_schools_wait_for_a_person_and_the_import_goes_on_without_being_sent_again(
    settled: House,
) -> None:
    before = settled.state()
    settled.settings(schools={"auto_map": False}, hold={})
    named = with_other_school_ids(FRAMES)

    said = settled.imports(named)

    assert said.code == 3
    assert said.json()["status"] == "needs_school_mapping"
    told = settled.roster("schools", OAK, "--format", "json").json()
    assert [row["org_id"] for row in told["pending"]] == [f"org-{s}" for s in schools(FRAMES)]
    assert [row["suggestions"][0]["by"] for row in told["pending"]] == ["identifier"] * 3
    assert [row["school_id"] for row in told["missing"]] == schools(FRAMES)
    assert len(told["existing"]) == 3
    assert settled.state() == before

    nobody = settled.roster("schools", OAK, "map", f"org-{FIRST}", "9999")
    assert nobody.code == 2 and "There is no school 9999" in nobody.err
    for school in schools(FRAMES):
        assert settled.roster("schools", OAK, "map", f"org-{school}", school).code == 0
    (settled.folder / "OneRoster.zip").unlink()
    went_on = settled.roster("schools", OAK, "--run", "--format", "json")

    assert went_on.code == 0, went_on.err
    assert went_on.json()["import_id"] == 2
    assert changed(went_on.json(), "added", "updated", "deleted") == {}
    assert settled.statuses() == ["imported", "imported"]
    assert [action for _, action, _, _ in settled.audit()] == ["school_mapping"] * 3


def test_an_organisation_may_be_ignored_made_new_or_joined_to_another(house: House) -> None:
    house.settings(schools={"auto_map": False}, hold={})
    assert house.imports(FRAMES).json()["status"] == "needs_school_mapping"
    house.roster("schools", OAK, "new", FIRST)
    house.roster("schools", OAK, "map", SECOND, FIRST)
    house.roster("schools", OAK, "ignore", THIRD)

    shown = house.roster("schools", OAK, "--run", "--format", "json").json()

    assert shown["status"] == "imported"
    assert shown["counts"]["school"]["added"] == 1
    assert shown["counts"]["school"]["filtered"] == 2
    assert shown["counts"]["student"]["filtered"] == len(students(FRAMES, THIRD))
    assert shown["counts"]["enrollment"]["invalid"] == 0
    overview = house.roster("overview", OAK, "--format", "json").json()
    assert {r["school"] for r in overview if r["enrollment_type"] == "student"} == {FIRST}
    assert house.imports(FRAMES, "--force").json()["status"] == "imported"


def test_auto_map_decides_on_all_that_waits(house: House) -> None:
    house.settings(schools={"auto_map": False})
    house.imports(FRAMES)
    said = house.roster("schools", OAK, "auto-map")
    assert said.code == 0, said.err
    assert f"roster schools {OAK} --run" in said.out
    assert house.roster("schools", OAK, "--run").code == 0
    assert house.roster("schools", OAK, "--run").code == 2
