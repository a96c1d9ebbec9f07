"""Reading a delivery before it is imported: whether it is whole, and whether it holds records."""

from __future__ import annotations

from pathlib import Path

import pytest

from roster_pipeline.landing.intake import archive_delivery
from roster_pipeline.landing.store import Disk
from roster_pipeline.landing.wholeness import examine
from roster_pipeline.oneroster.package import Limits
from roster_pipeline_tests.oneroster import packages
from roster_pipeline_tests.oneroster.packages import contents, entries, zipped

ZIP = ("OneRoster.zip",)


def loose(folder: Path, files: dict[str, bytes]) -> list[str]:
    """The names of these files, laid into a folder."""
    packages.folder(folder, files)
    return sorted(f"{name}.csv" for name in files)


def test_a_whole_zip_is_called_as_the_archive_would_call_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "OneRoster.zip", entries(contents()))
    content = examine(tmp_path, ZIP)
    assert content.key == archive_delivery(Disk(tmp_path / "archive"), "oak", [path]).name
    assert content.fault == ""


def test_so_are_whole_loose_files(tmp_path: Path) -> None:
    names = loose(tmp_path, contents())
    paths = [tmp_path / name for name in names]
    content = examine(tmp_path, names)
    assert content.key == archive_delivery(Disk(tmp_path / "archive"), "oak", paths).name


@pytest.mark.parametrize("kept", [0, 1, 40, -22, -10, -1])
def test_a_zip_that_was_cut_short_is_not_whole(tmp_path: Path, kept: int) -> None:
    path = zipped(tmp_path / "OneRoster.zip", entries(contents()))
    path.write_bytes(path.read_bytes()[:kept])
    content = examine(tmp_path, ZIP)
    assert (content.key, content.fault) == (None, "OneRoster.zip is not whole yet")


def test_a_zip_with_a_hole_in_its_data_is_not_whole(tmp_path: Path) -> None:
    path = zipped(tmp_path / "OneRoster.zip", entries(contents()))
    damaged = bytearray(path.read_bytes())
    damaged[60:90] = bytes(30)
    path.write_bytes(damaged)
    assert examine(tmp_path, ZIP).key is None


def test_a_zip_that_is_whole_but_wrong_has_arrived(tmp_path: Path) -> None:
    zipped(tmp_path / "OneRoster.zip", [("readme.txt", b"none of the files")])
    assert examine(tmp_path, ZIP).key
    zipped(tmp_path / "OneRoster.zip", entries(contents()))
    assert examine(tmp_path, ZIP, Limits(unpacked_bytes=10)).key


def test_loose_files_wait_for_those_the_manifest_names(tmp_path: Path) -> None:
    names = loose(tmp_path, contents())
    without = [n for n in names if n != "classes.csv"]
    assert (
        examine(tmp_path, without).fault == "manifest.csv names classes.csv, which is not there yet"
    )
    assert (
        "classes.csv, courses.csv, which are"
        in examine(tmp_path, [n for n in without if n != "courses.csv"]).fault
    )


def test_a_manifest_that_cannot_be_read_is_for_the_import_to_refuse(tmp_path: Path) -> None:
    names = loose(tmp_path, {"manifest": b"nothing\nof,use\n", "users": b"sourcedId\nu1\n"})
    assert examine(tmp_path, names).key


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r", b"\n\n  \n"])
def test_files_with_a_header_only_are_named(tmp_path: Path, end: bytes) -> None:
    files = contents() | {"classes": b"sourcedId,title" + end, "demographics": b"sourcedId" + end}
    assert examine(tmp_path, loose(tmp_path, files)).header_only == ("classes.csv",)
    zipped(tmp_path / "OneRoster.zip", entries(files))
    assert examine(tmp_path, ZIP).header_only == ("classes.csv",)


def test_reading_can_be_ended(tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    def stop() -> None:
        raise EnoughError

    zipped(tmp_path / "OneRoster.zip", entries(contents()))
    with pytest.raises(EnoughError):
        examine(tmp_path, ZIP, going_on=stop)
