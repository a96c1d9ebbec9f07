"""Taking a delivery in: what is taken, what is told of the rest, and an archive nobody changes."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from roster_pipeline.findings import DeliveryRefused, finding
from roster_pipeline.landing.intake import (
    Delivery,
    archive_delivery,
    file_hashes,
    keep,
    landed_files,
    open_delivery,
    set_aside,
)
from roster_pipeline_tests.oneroster.packages import codes, contents, entries, folder, zipped

OAK = "oak"
REFUSAL = DeliveryRefused([finding("zip_empty", file="OneRoster.zip")])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def landed(tmp_path: Path, *names: str) -> Path:
    """A landing zone in which these files lie."""
    (tmp_path / OAK).mkdir()
    for name in names:
        (tmp_path / OAK / name).write_bytes(b"x")
    return tmp_path


# The landing zone


def test_a_zip_and_loose_files_are_both_found_and_the_zip_wins(tmp_path: Path) -> None:
    zipped(tmp_path / OAK / "OneRoster.zip", entries(contents()))
    (tmp_path / OAK / "users.csv").write_bytes(b"x")
    found = landed_files(tmp_path, OAK)
    assert [p.name for p in found.paths] == ["OneRoster.zip"]
    assert codes(found.findings) == ["file_ignored_beside_zip"]
    package = open_delivery(archive_delivery(tmp_path / "archive", OAK, found.paths))
    assert package.files == contents()


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("oneroster.zip", "OneRoster.zip"),
        ("ONEROSTER.ZIP", "OneRoster.zip"),
        ("OneRoster (1).zip", "OneRoster.zip"),
        ("OneRoster-2.zip", "OneRoster.zip"),
        ("OneRoster copy.zip", "OneRoster.zip"),
        ("OneRoster_20260801.zip", "OneRoster.zip"),
        ("Users.CSV", "users.csv"),
        ("users (2).csv", "users.csv"),
        ("academicsessions.csv", "academicSessions.csv"),
    ],
)
def test_a_name_that_is_nearly_right_is_not_taken_and_told(
    tmp_path: Path, name: str, right: str
) -> None:
    found = landed_files(landed(tmp_path, name, "orgs.csv"), OAK)
    assert [p.name for p in found.paths] == ["orgs.csv"]
    (notice,) = found.findings
    assert (notice.code, notice.file) == ("file_near_miss", name)
    assert right in notice.message and right in notice.how_to_fix


def test_other_files_are_told_and_unfinished_and_hidden_ones_are_not(tmp_path: Path) -> None:
    names = ("OneRoster.zip.filepart", "users.csv.part", "a.tmp", ".hidden", "readme.txt")
    found = landed_files(landed(tmp_path, "orgs.csv", *names), OAK)
    assert [(f.code, f.file) for f in found.findings] == [("file_ignored", "readme.txt")]


def test_nothing_to_take_is_refused_with_the_near_misses(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        landed_files(landed(tmp_path, "oneroster.zip"), OAK)
    assert codes(refused.value.findings) == ["delivery_empty", "file_near_miss"]


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_landing_zone_and_none_at_all_are_refused(tmp_path: Path, made: bool) -> None:
    if made:
        landed(tmp_path)
    with pytest.raises(DeliveryRefused) as refused:
        landed_files(tmp_path, OAK)
    assert codes(refused.value.findings) == ["delivery_empty"]


def test_a_link_out_of_the_landing_zone_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    zone = landed(tmp_path, "orgs.csv")
    (zone / OAK / "users.csv").symlink_to(secret)
    assert [p.name for p in landed_files(zone, OAK).paths] == ["orgs.csv"]


# The archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def arrived(tmp_path: Path, **files: bytes) -> Path:
    return folder(tmp_path / "arrived", files or {"users": b"u", "orgs": b"o"})


def test_the_archive_is_named_by_content_and_private_and_read_only(
    tmp_path: Path, archive: Path
) -> None:
    delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
    assert delivery.files == ("orgs.csv", "users.csv")
    assert [p.read_bytes() for p in delivery.paths] == [b"o", b"u"]
    assert delivery.folder.parent == archive / OAK / "deliveries"
    assert len(delivery.folder.name) == 64
    assert {mode(p) for p in delivery.paths} == {0o400}
    assert (mode(delivery.folder), mode(delivery.folder.parent)) == (0o700, 0o700)


def test_the_same_bytes_with_another_time_are_the_same_delivery(
    tmp_path: Path, archive: Path
) -> None:
    source = arrived(tmp_path)
    first = archive_delivery(archive, OAK, [source])
    os.utime(source / "users.csv", (1, 1))
    again = archive_delivery(archive, OAK, sorted(source.iterdir()))
    assert again == first
    assert len(list(first.folder.parent.iterdir())) == 1


@pytest.mark.parametrize("change", [{"users": b"v"}, {"users": b"u", "courses": b"o"}])
def test_other_bytes_or_names_are_another_delivery(
    tmp_path: Path, archive: Path, change: dict[str, bytes]
) -> None:
    first = archive_delivery(archive, OAK, [arrived(tmp_path)])
    other = archive_delivery(archive, OAK, [folder(tmp_path / "other", change)])
    assert other.folder != first.folder


def test_a_later_upload_does_not_disturb_the_copy(tmp_path: Path, archive: Path) -> None:
    source = arrived(tmp_path)
    delivery = archive_delivery(archive, OAK, [source])
    (source / "users.csv").write_bytes(b"changed")
    assert (delivery.folder / "users.csv").read_bytes() == b"u"


def test_districts_have_archives_of_their_own(tmp_path: Path, archive: Path) -> None:
    source = arrived(tmp_path)
    assert (
        archive_delivery(archive, OAK, [source]).folder
        != archive_delivery(archive, "elm", [source]).folder
    )


def test_two_files_of_one_name_from_two_folders_are_refused(tmp_path: Path, archive: Path) -> None:
    """They once ended the import as failed."""
    one, two = folder(tmp_path / "1", {"users": b"1"}), folder(tmp_path / "2", {"users": b"2"})
    with pytest.raises(DeliveryRefused) as refused:
        archive_delivery(archive, OAK, [one / "users.csv", two / "users.csv"])
    assert codes(refused.value.findings) == ["file_twice"]


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        archive_delivery(archive, OAK, [tmp_path / "nowhere.csv"])
    assert codes(refused.value.findings) == ["file_not_found"]
    assert not (archive / OAK / "deliveries").exists() or not list(
        (archive / OAK / "deliveries").iterdir()
    )


def test_an_empty_folder_is_an_empty_delivery(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeliveryRefused) as refused:
        archive_delivery(archive, OAK, [tmp_path / "empty"])
    assert codes(refused.value.findings) == ["delivery_empty"]


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path: Path, archive: Path) -> None:
    source = arrived(tmp_path)
    (source / "gone.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DeliveryRefused):
        archive_delivery(archive, OAK, [source])
    assert [p for p in archive.rglob("*") if p.is_file()] == []


# Refused deliveries


def refused_folder(delivery: Delivery, archive: Path) -> Path:
    return archive / OAK / "refused" / delivery.folder.name


def test_a_refused_delivery_lies_aside_with_its_reason(tmp_path: Path, archive: Path) -> None:
    delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
    set_aside(archive, OAK, delivery, REFUSAL)
    aside = refused_folder(delivery, archive)
    assert not delivery.folder.exists()
    assert (aside / "users.csv").read_bytes() == b"u"
    assert mode(aside.parent) == 0o700
    (reason,) = json.loads((aside / "reason.json").read_text())
    assert (reason["code"], reason["file"]) == ("zip_empty", "OneRoster.zip")


def test_refused_again_for_another_reason_it_says_the_last_one(
    tmp_path: Path, archive: Path
) -> None:
    other = DeliveryRefused([finding("zip_encrypted", file="a.zip")])
    for refusal in (REFUSAL, other):
        delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
        set_aside(archive, OAK, delivery, refusal)
    reason = json.loads((refused_folder(delivery, archive) / "reason.json").read_text())
    assert [f["code"] for f in reason] == ["zip_encrypted"]
    assert not delivery.folder.exists()


def test_what_an_import_stands_on_is_not_moved_away(tmp_path: Path, archive: Path) -> None:
    """The same bytes can be good by SFTP and refused as an upload, which wants all files."""
    delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
    keep(delivery)
    for _ in range(2):
        set_aside(archive, OAK, archive_delivery(archive, OAK, [arrived(tmp_path)]), REFUSAL)
    assert (delivery.folder / "users.csv").read_bytes() == b"u"
    assert (refused_folder(delivery, archive) / "users.csv").read_bytes() == b"u"


def test_a_delivery_that_holds_a_reason_json_of_its_own_is_set_aside_too(
    tmp_path: Path, archive: Path
) -> None:
    source = arrived(tmp_path)
    (source / "reason.json").write_text("mine")
    delivery = archive_delivery(archive, OAK, [source])
    set_aside(archive, OAK, delivery, REFUSAL)
    assert "zip_empty" in (refused_folder(delivery, archive) / "reason.json").read_text()


def test_the_same_files_loose_or_zipped_have_the_same_hashes(tmp_path: Path, archive: Path) -> None:
    loose = archive_delivery(archive, OAK, [folder(tmp_path / "d", contents())])
    archived = zipped(tmp_path / "OneRoster.zip", entries(contents(), "a folder/"))
    zip_ = archive_delivery(archive, OAK, [archived])
    assert loose.folder != zip_.folder
    assert file_hashes(open_delivery(loose)) == file_hashes(open_delivery(zip_))
