"""The folder as clients may see and change it: names, links, limits, uploads that break off."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roster_pipeline.landing.folder import Folder, FolderLimits, Refused, Upload, plain_name

LIMITS = FolderLimits(file_bytes=1000, folder_bytes=2900, files=3, free_bytes=0, ahead_bytes=100)

HOSTILE = [
    b"..",
    b"/..",
    b"./..",
    b"../elm/OneRoster.zip",
    b"/../../etc/passwd",
    b"/etc/passwd",
    b"//etc/passwd",
    b"a/../b",
    b"a/b",
    b"a/",
    b"//a",
    b"././a",
    b"...",
    b".hidden",
    b".upload-0000",
    b"..\\x",
    b"a\\b",
    b"C:\\users.csv",
    b"C:users.csv",
    b"a\x00",
    b"\x00",
    b"a\x00.zip",
    b"a\n",
    b"a\r\nb",
    b"a\tb",
    b"\x1b[2J",
    b"a\x7f",
    b"-rf",
    b" a",
    b"~",
    b"~root",
    b"$HOME",
    b"a;b",
    b"a|b",
    b"a*",
    b"%2e%2e",
    "OneRoster．zip".encode(),
    "．．／etc".encode(),
    "Οne.zip".encode(),  # a Greek capital Omicron
    "a\u202ezip".encode(),
    "é.csv".encode(),
    b"\xff\xfe",
    b"\xc0\xae\xc0\xae",
    b"a" * 129,
    b"a" * 100_000,
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path, "oak", LIMITS)
    yield folder
    folder.close()


def put(folder: Folder, name: str, content: bytes) -> None:
    upload = folder.upload(name, create=True, empty=True)
    upload.write(0, content)
    publish(upload)


def publish(upload: Upload) -> None:
    descriptor = upload.publish()
    if descriptor is not None:
        os.close(descriptor)


def get(folder: Folder, name: str) -> bytes:
    download = folder.download(name)
    try:
        return download.read(0, 100_000)
    finally:
        download.close()


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_name_is_refused(path: bytes) -> None:
    with pytest.raises(Refused):
        plain_name(path)


@pytest.mark.parametrize(
    "path", [b"a.zip", b"/a.zip", b"./a.zip", b"/./a.zip"], ids=lambda path: path.decode()
)
def test_a_name_is_one_name_however_a_client_writes_it(path: bytes) -> None:
    assert plain_name(path) == "a.zip"


@pytest.mark.parametrize(
    "name", ["OneRoster.zip", "OneRoster (1).zip", "users.csv", "_x", "9-1.csv", "a" * 128]
)
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert plain_name(name.encode()) == name


@pytest.mark.parametrize("path", [b"", b".", b"/", b"./", b"/.", b"/./"])
def test_the_folder_itself_has_no_name(path: bytes) -> None:
    assert plain_name(path) is None


@given(
    st.binary(max_size=200)
    | st.text(alphabet="./\\ab-_( )\x00\n~é", max_size=20).map(lambda text: text.encode())
)
def test_whatever_a_client_sends_is_the_folder_or_one_plain_name_in_it(path: bytes) -> None:
    try:
        name = plain_name(path)
    except Refused:
        return
    if name is None:
        assert set(path) <= set(b"./") and b".." not in path
    else:
        assert re.fullmatch(r"[A-Za-z0-9_(][A-Za-z0-9 ._()-]{0,127}", name)
        assert path.endswith(name.encode())
        assert os.path.normpath(f"/landing/oak/{name}") == f"/landing/oak/{name}"


def test_what_was_written_is_there_when_the_file_is_closed_and_not_before(folder: Folder) -> None:
    upload = folder.upload("a.zip", create=True, empty=True)
    upload.write(0, b"half")
    assert folder.entries() == []
    upload.write(4, b" and half")
    publish(upload)
    assert [(e.name, e.size) for e in folder.entries()] == [("a.zip", 13)]
    assert get(folder, "a.zip") == b"half and half"


def test_who_reads_a_file_keeps_it_while_it_is_replaced(folder: Folder) -> None:
    put(folder, "a.zip", b"old")
    download = folder.download("a.zip")
    put(folder, "a.zip", b"newer")
    assert download.read(0, 10) == b"old"
    download.close()
    assert get(folder, "a.zip") == b"newer"


def test_an_upload_that_breaks_off_leaves_nothing_and_the_old_file(
    folder: Folder, tmp_path: Path
) -> None:
    put(folder, "a.zip", b"old")
    upload = folder.upload("a.zip", create=True, empty=True)
    upload.write(0, b"half of the n")
    upload.abandon()
    assert get(folder, "a.zip") == b"old"
    assert [path.name for path in (tmp_path / "oak").iterdir()] == ["a.zip"]


def test_under_an_unfinished_name_the_half_stays_to_be_resumed(folder: Folder) -> None:
    upload = folder.upload("a.zip.filepart", create=True, empty=True)
    upload.write(0, b"half")
    upload.write(50, b"beyond a gap")
    upload.abandon()
    assert get(folder, "a.zip.filepart") == b"half"
    resumed = folder.upload("a.zip.filepart", create=True, empty=False)
    resumed.copy()
    resumed.write(4, b" and half")
    publish(resumed)
    folder.rename("a.zip.filepart", "a.zip")
    assert get(folder, "a.zip") == b"half and half"


def test_a_file_can_be_written_on(folder: Folder) -> None:
    put(folder, "a.zip", b"half")
    for append, offset in ((False, 4), (True, 0)):
        upload = folder.upload("a.zip", create=True, empty=False, append=append)
        upload.copy()
        assert upload.entry().size == len(get(folder, "a.zip"))
        upload.write(offset, b"+more")
        publish(upload)
    assert get(folder, "a.zip") == b"half+more+more"


def test_a_file_that_was_opened_but_not_written_is_not_touched(
    folder: Folder, tmp_path: Path
) -> None:
    put(folder, "a.zip", b"old")
    before = (tmp_path / "oak" / "a.zip").stat()
    upload = folder.upload("a.zip", create=False, empty=False)
    upload.copy()
    assert upload.publish() is None
    after = (tmp_path / "oak" / "a.zip").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_write_far_beyond_the_end_is_refused(folder: Folder, tmp_path: Path) -> None:
    upload = folder.upload("a.zip", create=True, empty=True)
    for offset in (101, 2**31, 2**40, 2**63, 2**64 - 1):
        with pytest.raises(Refused, match="without gaps"):
            upload.write(offset, b"x")
    assert upload.size == 0
    hidden = next((tmp_path / "oak").glob(".upload-*"))
    assert hidden.stat().st_size == 0


def test_a_piece_may_come_a_little_early_but_must_not_stay_away(folder: Folder) -> None:
    upload = folder.upload("a.zip", create=True, empty=True)
    upload.write(4, b"2222")
    upload.write(12, b"44")
    upload.write(0, b"1111")
    with pytest.raises(Refused, match="missing"):
        upload.publish()
    assert folder.entries() == []


@given(st.permutations(range(12)), st.integers(0, 11))
def test_pieces_in_any_order_make_the_file_only_if_none_is_missing(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], left_out: int
) -> None:
    content = bytes(range(60))
    folder = Folder(tmp_path_factory.getbasetemp(), "pieces", LIMITS)
    upload = folder.upload("whole", create=True, empty=True)
    for piece in order:
        upload.write(5 * piece, content[5 * piece : 5 * piece + 5])
    publish(upload)
    assert get(folder, "whole") == content
    upload = folder.upload("holed", create=True, empty=True)
    for piece in order:
        if piece != left_out:
            upload.write(5 * piece, content[5 * piece : 5 * piece + 5])
    if left_out == 11:
        publish(upload)
        assert get(folder, "holed") == content[:-5]
    else:
        with pytest.raises(Refused):
            upload.publish()
    folder.close()


def test_an_open_file_can_be_cut_but_not_stretched(folder: Folder) -> None:
    upload = folder.upload("a.zip", create=True, empty=True)
    upload.write(0, b"0123456789")
    upload.cut(4)
    with pytest.raises(Refused):
        upload.cut(5)
    publish(upload)
    assert get(folder, "a.zip") == b"0123"


def test_limits_on_the_file_the_folder_and_the_number_hold(folder: Folder) -> None:
    upload = folder.upload("a", create=True, empty=True)
    with pytest.raises(Refused, match="at most"):
        upload.write(0, b"x" * 1001)
    upload.write(0, b"x" * 1000)  # the other two are counted while this one is under way
    others = [folder.upload(name, create=True, empty=True) for name in "bc"]
    with pytest.raises(Refused, match="3 files"):
        folder.upload("d", create=True, empty=True)
    others[0].write(0, b"x" * 1000)
    others[1].write(0, b"x" * 899)
    with pytest.raises(OSError, match="folder is full"):
        others[1].write(899, b"xx")
    others[1].write(899, b"x")
    for each in (upload, *others):
        publish(each)
    with pytest.raises(OSError, match="folder is full"):
        folder.upload("a", create=True, empty=False)  # its copy counts, too
    folder.remove("b")
    put(folder, "a", b"replaced")
    assert [e.name for e in folder.entries()] == ["a", "c"]


def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "oak", FolderLimits(free_bytes=1 << 60))
    with pytest.raises(OSError, match="disk is full"):
        folder.upload("a", create=True, empty=True)
    folder.close()


def test_only_plain_files_are_there_whoever_put_the_others(folder: Folder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a secret")
    inside = tmp_path / "oak"
    (inside / "link.csv").symlink_to(secret)
    (inside / "dangling.csv").symlink_to(tmp_path / "new.csv")
    (inside / "up").symlink_to(tmp_path)
    (inside / "hard.csv").hardlink_to(secret)
    (inside / "folder.csv").mkdir()
    os.mkfifo(inside / "pipe.csv")
    (inside / ".hidden").write_text("x")
    (inside / "Schüler.csv").write_text("x")
    assert folder.entries() == []
    for name in ("link.csv", "dangling.csv", "up", "hard.csv", "folder.csv", "pipe.csv"):
        for act in (folder.entry, folder.download, folder.remove):
            with pytest.raises(FileNotFoundError):
                act(name)
        with pytest.raises(FileNotFoundError):
            folder.rename(name, "mine.csv")
        for empty in (True, False):
            with pytest.raises(Refused, match="taken"):
                folder.upload(name, create=True, empty=empty)
        put(folder, "mine.csv", b"mine")
        with pytest.raises(Refused, match="taken"):
            folder.rename("mine.csv", name)
    assert secret.read_text() == "a secret"
    assert not (tmp_path / "new.csv").exists()


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "oak").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"directory|symbolic"):
        Folder(tmp_path, "oak", LIMITS)


def test_the_folder_is_made_private(tmp_path: Path) -> None:
    Folder(tmp_path, "new", LIMITS).close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_what_a_killed_server_left_is_removed_but_no_upload_under_way(
    folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "oak" / ".upload-left").write_text("x")
    upload = folder.upload("a", create=True, empty=True)
    Folder(tmp_path, "oak", LIMITS).close()
    assert not (tmp_path / "oak" / ".upload-left").exists()
    publish(upload)
    assert [e.name for e in folder.entries()] == ["a"]
