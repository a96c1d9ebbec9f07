"""Containers: which files a delivery holds is settled without trusting what it says of itself."""

from __future__ import annotations

import stat
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.oneroster.package import Limits, Package, open_package
from roster_pipeline_tests.oneroster.packages import (
    Entry,
    codes,
    contents,
    encrypted,
    entries,
    folder,
    link,
    patched,
    zipped,
)

FILES = contents()


def opened(path: Path, content: Sequence[Entry]) -> Package:
    return open_package([zipped(path / "OneRoster.zip", content)])


def refusal(paths: Sequence[Path], **limits: int) -> tuple[str, str | None]:
    with pytest.raises(DeliveryRefused) as refused:
        open_package(paths, Limits(**limits))
    (finding,) = refused.value.findings
    assert finding.severity == "fatal" and finding.how_to_fix
    return finding.code, finding.file


def test_zip_folder_and_loose_files_are_the_same_package(tmp_path: Path) -> None:
    loose = folder(tmp_path / "d", FILES)
    archive = zipped(tmp_path / "a.zip", entries(FILES))
    for paths in ([loose], [archive], sorted(loose.iterdir())):
        package = open_package(paths)
        assert package.files == FILES
        assert (package.ignored, package.findings) == ((), ())


def test_of_each_file_the_beginning_can_be_read_alone(tmp_path: Path) -> None:
    large = {**FILES, "users": FILES["users"] + b"x" * 3_000_000}
    loose = folder(tmp_path / "d", large)
    archive = zipped(tmp_path / "a.zip", entries(large))
    for paths in ([loose], [archive]):
        files = open_package(paths, beginnings=True).files
        assert files.keys() == FILES.keys()
        assert len(files["users"]) == 1 << 20
        assert large["users"].startswith(files["users"])
        assert files["orgs"] == FILES["orgs"]


def test_stored_entries_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("users.csv", FILES["users"])
    assert open_package([tmp_path / "a.zip"]).files == {"users": FILES["users"]}


def test_an_archive_with_zip64_records_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries(FILES):
            with archive.open(str(name), "w", force_zip64=True) as entry:
                entry.write(content)
    assert open_package([tmp_path / "a.zip"]).files == FILES


def test_an_archive_written_to_a_pipe_is_read(tmp_path: Path) -> None:
    """Such archives have their sizes behind the data (data descriptors)."""

    class Pipe:
        def __init__(self, file: Path) -> None:
            self.stream = file.open("wb")

        def write(self, data: bytes) -> int:
            return self.stream.write(data)

        def flush(self) -> None:
            self.stream.flush()

    pipe = Pipe(tmp_path / "a.zip")
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, content in entries(FILES):
            archive.writestr(name, content)
    pipe.stream.close()
    assert open_package([tmp_path / "a.zip"]).files == FILES


def test_a_comment_of_the_archive_does_not_matter(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", entries(FILES))
    with zipfile.ZipFile(archive, "a") as more:
        more.comment = b"made by an exporter"
    assert open_package([archive]).files == FILES


@pytest.mark.parametrize("before", ["export/", "a/b/", "Exporté 2026/"])
def test_one_folder_around_the_files_is_taken_off_and_told(tmp_path: Path, before: str) -> None:
    package = opened(tmp_path, entries(FILES, before))
    assert package.files == FILES
    assert codes(package.findings) == ["zip_folder"]


def test_a_document_in_another_folder_does_not_matter(tmp_path: Path) -> None:
    package = opened(tmp_path, [*entries(FILES), ("docs/guide.pdf", b"%PDF")])
    assert package.files == FILES
    assert [(f.code, f.file) for f in package.findings] == [("file_ignored", "docs/guide.pdf")]


def test_leftovers_are_ignored_without_a_word(tmp_path: Path) -> None:
    names = ["__MACOSX/._users.csv", ".DS_Store", "Thumbs.db", "desktop.ini", "._orgs.csv"]
    package = opened(tmp_path, [*entries(FILES), *((n, b"x") for n in names)])
    assert package.files == FILES
    assert sorted(package.ignored) == sorted(names)
    assert package.findings == ()


def test_names_in_other_capitals_are_known_and_told(tmp_path: Path) -> None:
    package = opened(tmp_path, [("Users.CSV", b"a\n"), ("ACADEMICSESSIONS.csv", b"b\n")])
    assert package.files == {"users": b"a\n", "academicSessions": b"b\n"}
    assert codes(package.findings) == ["file_name_case"] * 2


def test_names_alike_but_for_their_unicode_form_are_two_ignored_files(tmp_path: Path) -> None:
    name = "élèves.csv"
    both = [(unicodedata.normalize(form, name), b"x") for form in ("NFC", "NFD")]
    package = opened(tmp_path, [*entries(FILES), *both])
    assert package.files == FILES
    assert codes(package.findings) == ["file_ignored"] * 2


def test_gradebook_files_are_part_of_the_package(tmp_path: Path) -> None:
    package = opened(tmp_path, [("results.csv", b"x"), ("userProfiles.csv", b"y")])
    assert set(package.files) == {"results", "userProfiles"}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("../users.csv", b""), "zip_entry_path"),
        (("a/../../users.csv", b""), "zip_entry_path"),
        (("..\\users.csv", b""), "zip_entry_path"),
        (("a\\users.csv", b""), "zip_entry_path"),
        (("/users.csv", b""), "zip_entry_path"),
        (("C:users.csv", b""), "zip_entry_path"),
        (link("users.csv", "/etc/passwd"), "zip_entry_link"),
        (link("elsewhere", "/"), "zip_entry_link"),
        (("a.zip", b""), "zip_in_zip"),
        (("deep/A.ZIP", b""), "zip_in_zip"),
        (("users.csv", b"PK\x03\x04\x14\x00"), "zip_in_zip"),
    ],
)
def test_entries_that_are_no_part_of_a_roster_refuse_it(
    tmp_path: Path, more: Entry, code: str
) -> None:
    archive = zipped(tmp_path / "a.zip", [("orgs.csv", b"x"), more])
    assert refusal([archive])[0] == code


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("users.csvXexe", b"x"), ("orgs.csv", b"x")])
    archive.write_bytes(archive.read_bytes().replace(b"csvXexe", b"csv\0exe"))
    assert refusal([archive])[0] in ("zip_entry_path", "zip_damaged")


@pytest.mark.parametrize(
    "content",
    [
        [("users.csv", b"1"), ("users.csv", b"2")],
        [("users.csv", b"1"), ("USERS.csv", b"2")],
        [("a/users.csv", b"1"), ("a/Users.csv", b"2")],
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused(tmp_path: Path, content: list[Entry]) -> None:
    assert refusal([zipped(tmp_path / "a.zip", content)])[0] == "file_twice"


def test_files_in_two_folders_are_refused(tmp_path: Path) -> None:
    both = [("a/users.csv", b"1"), ("b/orgs.csv", b"2")]
    assert refusal([zipped(tmp_path / "a.zip", both)])[0] == "zip_several_folders"


def test_a_password_is_told(tmp_path: Path) -> None:
    archive = encrypted(zipped(tmp_path / "a.zip", entries(FILES)))
    assert refusal([archive]) == ("zip_encrypted", "a.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("users.csv", FILES["users"])
    assert refusal([tmp_path / "a.zip"])[0] == "zip_compression"


@pytest.mark.parametrize("method", [1, 6, 9, 98])
def test_compressions_python_does_not_know_are_refused(tmp_path: Path, method: int) -> None:
    archive = patched(zipped(tmp_path / "a.zip", entries(FILES)), 10, 8, "<H", method)
    assert refusal([archive])[0] == "zip_compression"


@pytest.mark.parametrize(
    ("place", "local"),
    [(24, 22), (20, 18), (16, 14), (42, 26)],
    ids=["size", "compressed size", "checksum", "offset"],
)
@pytest.mark.parametrize("value", [3, 1 << 30])
def test_lies_about_an_entry_are_found(tmp_path: Path, place: int, local: int, value: int) -> None:
    archive = patched(zipped(tmp_path / "a.zip", entries(FILES)), place, local, "<I", value)
    assert refusal([archive])[0] in ("zip_damaged", "zip_prefixed")


def test_a_name_that_is_no_utf8_is_a_damaged_archive(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("ü.txt", b"x"), *entries(FILES)])
    archive.write_bytes(archive.read_bytes().replace("ü".encode(), b"\xff\xfe"))
    assert refusal([archive])[0] == "zip_damaged"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda z: b"", "zip_empty"),
        (lambda z: z[:-10], "zip_damaged"),
        (lambda z: z[: len(z) // 2], "zip_damaged"),
        (lambda z: z[10:], "zip_damaged"),
        (lambda z: z + b"x", "zip_damaged"),
        (lambda z: b"#!/bin/sh\n" + z, "zip_prefixed"),
        (lambda z: b"propertyName,value\n", "zip_damaged"),
        (lambda z: z[:30] + z[40:], "zip_damaged"),
    ],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: object, code: str) -> None:
    archive = zipped(tmp_path / "a.zip", entries(FILES))
    archive.write_bytes(damage(archive.read_bytes()))  # type: ignore[operator]
    found, _ = refusal([archive])
    assert found == code or (code, found) == ("zip_damaged", "zip_prefixed")


def test_two_archives_one_behind_the_other_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", entries(FILES))
    archive.write_bytes(archive.read_bytes() * 2)
    assert refusal([archive])[0] == "zip_prefixed"


def test_limits_are_counted_on_what_comes_out(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("users.csv", bytes(5000)), ("orgs.csv", bytes(5000))])
    assert refusal([archive], file_bytes=4000) == ("file_too_large", "users.csv")
    assert refusal([archive], unpacked_bytes=9000) == ("delivery_too_large", "a.zip")
    assert refusal([archive], zip_bytes=100) == ("zip_too_large", "a.zip")
    assert refusal([archive], entries=1) == ("zip_too_many_entries", "a.zip")
    assert refusal([archive], ratio=10, ratio_from_bytes=1000) == ("zip_ratio", "users.csv")
    assert set(open_package([archive]).files) == {"users", "orgs"}


def test_limits_hold_for_loose_files_too(tmp_path: Path) -> None:
    loose = folder(tmp_path / "d", {"users": bytes(5000), "orgs": bytes(5000)})
    assert refusal([loose], file_bytes=4000)[0] == "file_too_large"
    assert refusal([loose], unpacked_bytes=9000)[0] == "delivery_too_large"


def test_what_is_no_delivery_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal([])[0] == "delivery_empty"
    assert refusal([empty])[0] == "delivery_empty"
    assert refusal([tmp_path / "nowhere.csv"])[0] == "file_not_found"
    assert refusal([zipped(tmp_path / "a.zip", [])])[0] == "zip_empty"
    assert refusal([zipped(tmp_path / "b.zip", [("users/", b"")])])[0] == "delivery_without_files"
    assert refusal([zipped(tmp_path / "c.zip", [("x.txt", b"")])])[0] == "delivery_without_files"
    assert refusal([tmp_path / "a.zip", tmp_path / "b.zip"]) == ("zip_several", "b.zip")


def test_loose_files_beside_a_zip_are_ignored_and_listed(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "OneRoster.zip", entries(FILES))
    folder(tmp_path, {"users": b"other"})
    package = open_package([tmp_path])
    assert package.files == open_package([archive]).files
    assert package.ignored == ("users.csv",)
    assert codes(package.findings) == ["file_ignored_beside_zip"]


def test_nothing_is_written_beside_the_archive(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", entries(FILES, "x/"))
    before = {p: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    open_package([archive])
    assert {p: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")} == before
