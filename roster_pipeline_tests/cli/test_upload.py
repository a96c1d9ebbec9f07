"""`roster upload`: complete or nothing, and told before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from roster_pipeline.cli import running
from roster_pipeline.oneroster.standard import DATA_FILES
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.oneroster.packages import contents, entries, folder, zipped

OAK = "oak"
Asked = list[tuple[str, tuple[str, ...]]]


@pytest.fixture
def asked(roster: Roster, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Which imports were asked for, by app and files; none is run."""
    assert roster("district", "add", OAK, "--name", "Oak").code == 0
    asked: Asked = []

    def run(settings: object, district: str, app: str, files: Sequence[Path], **_: object) -> int:
        asked.append((app, tuple(path.name for path in files)))
        raise running.ImportNotStarted("as the test wants it")

    monkeypatch.setattr(running, "run_import", run)
    return asked


def without(*names: str) -> dict[str, bytes]:
    return {name: content for name, content in contents().items() if name not in names}


@pytest.mark.parametrize(
    "words", [("upload", OAK), ("import", OAK), ("import", OAK, "--app=csv_upload")]
)
@pytest.mark.parametrize("form", ["a zip", "a folder", "files"])
def test_what_is_missing_is_named_and_nothing_is_run_or_written(
    roster: Roster, asked: Asked, home: Path, tmp_path: Path, words: tuple[str, ...], form: str
) -> None:
    missing = ("classes", "orgs")
    if form == "a zip":
        paths = [tmp_path / "OneRoster.zip"]
        zipped(paths[0], entries(without(*missing)))
    else:
        paths = [folder(tmp_path / "export", without(*missing))]
        paths = paths if form == "a folder" else sorted(paths[0].iterdir())

    said = roster(*words, *paths)

    assert said.code == 4
    assert "classes.csv is missing." in said.out and "orgs.csv is missing." in said.out
    assert "Send classes.csv with the others" in said.out
    assert asked == []
    assert roster("imports", "--format", "json").json() == []
    assert list((home / "archive").iterdir()) == []


def test_as_json_the_missing_files_are_a_list(roster: Roster, asked: Asked, tmp_path: Path) -> None:
    export = folder(tmp_path / "export", without(*DATA_FILES[1:]))
    told = roster("upload", OAK, export, "--format", "json").json()
    assert (told["status"], told["import_id"]) == ("refused", None)
    assert sorted(told["missing"]) == sorted(f"{name}.csv" for name in DATA_FILES[1:])


def test_a_complete_upload_runs_the_manifest_being_optional(
    roster: Roster, asked: Asked, tmp_path: Path
) -> None:
    export = folder(tmp_path / "export", without("manifest"))
    assert roster("upload", OAK, export).code == 1
    assert asked == [("csv_upload", ("export",))]


def test_only_what_the_district_requires_is_missed(
    roster: Roster, asked: Asked, home: Path, tmp_path: Path
) -> None:
    path = home / "districts" / "oak.yaml"
    path.write_text(path.read_text() + "apps:\n  csv_upload: {required_files: [users, orgs]}\n")
    export = folder(tmp_path / "export", without("manifest", "classes", "orgs"))
    said = roster("upload", OAK, export)
    assert said.code == 4
    assert "orgs.csv is missing." in said.out and "classes.csv" not in said.out


def test_other_faults_are_for_the_import_to_find_and_keep(
    roster: Roster, asked: Asked, tmp_path: Path
) -> None:
    broken = tmp_path / "OneRoster.zip"
    broken.write_bytes(b"no zip")
    assert roster("upload", OAK, broken).code == 1
    assert asked == [("csv_upload", ("OneRoster.zip",))]


def test_by_sftp_a_part_of_the_files_is_for_the_import_to_judge(
    roster: Roster, asked: Asked, tmp_path: Path
) -> None:
    export = folder(tmp_path / "export", without("orgs"))
    assert roster("import", OAK, export, "--app", "sftp").code == 1
    assert asked == [("sftp", ("export",))]


def test_files_that_are_not_there_and_apps_that_are_not_active_are_wrong_usage(
    roster: Roster, asked: Asked, home: Path, tmp_path: Path
) -> None:
    assert roster("upload", OAK, tmp_path / "nowhere.zip").code == 2
    path = home / "districts" / "oak.yaml"
    path.write_text(path.read_text() + "apps: {sftp: {}}\n")
    said = roster("upload", OAK, folder(tmp_path / "export", contents()))
    assert said.code == 2 and "csv_upload is not active" in said.err
    assert asked == []


def test_an_earlier_delivery_is_named_by_an_import_of_the_district(
    roster: Roster, asked: Asked, tmp_path: Path
) -> None:
    said = roster("import", OAK, "--from-import", "9")
    assert said.code == 2 and "There is no import 9" in said.err
    said = roster("import", OAK, tmp_path, "--from-import", "9")
    assert said.code == 2 and "either files or --from-import" in said.err
