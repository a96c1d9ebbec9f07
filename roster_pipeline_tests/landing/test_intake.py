"""Taking a delivery in: what is taken, what is told of the rest, and an archive nobody changes."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roster_pipeline.findings import DeliveryRefused, finding
from roster_pipeline.landing.intake import (
    Delivery,
    NotArchived,
    archive_again,
    archive_delivery,
    file_hashes,
    keep,
    landed_files,
    open_delivery,
    set_aside,
)
from roster_pipeline.landing.store import Disk, Store, store_at
from roster_pipeline.warehouse.ledger import Import
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
    archive = Disk(tmp_path / "archive")
    package = open_delivery(archive, archive_delivery(archive, OAK, found.paths))
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
def archive(store_url: str) -> Store:
    return store_at(store_url)


def arrived(tmp_path: Path, **files: bytes) -> Path:
    return folder(tmp_path / "arrived", files or {"users": b"u", "orgs": b"o"})


def held(archive: Store, path: str) -> dict[str, bytes]:
    """The files of a thing."""
    with archive.open(path) as folder:
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def shelf(archive: Store, name: str = "deliveries") -> list[str]:
    return [thing.path for thing in archive.things(f"{OAK}/{name}")]


def test_the_archive_is_named_by_content(tmp_path: Path, archive: Store) -> None:
    delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
    assert held(archive, delivery.path) == {"orgs.csv": b"o", "users.csv": b"u"}
    assert delivery.path == f"oak/deliveries/{delivery.name}"
    assert (len(delivery.name), delivery.size) == (64, 2)
    assert shelf(archive) == [delivery.path]


def test_on_a_disk_it_is_private_and_read_only(tmp_path: Path) -> None:
    delivery = archive_delivery(Disk(tmp_path / "archive"), OAK, [arrived(tmp_path)])
    folder = tmp_path / "archive" / delivery.path
    assert {mode(p) for p in folder.iterdir()} == {0o400}
    assert (mode(folder), mode(folder.parent)) == (0o700, 0o700)


def test_the_same_bytes_with_another_time_are_the_same_delivery(
    tmp_path: Path, archive: Store
) -> None:
    source = arrived(tmp_path)
    first = archive_delivery(archive, OAK, [source])
    stamp = archive.stamp(first.path)
    os.utime(source / "users.csv", (1, 1))
    again = archive_delivery(archive, OAK, sorted(source.iterdir()))
    assert again == first
    assert shelf(archive) == [first.path] and archive.stamp(first.path) == stamp


@pytest.mark.parametrize("change", [{"users": b"v"}, {"users": b"u", "courses": b"o"}])
def test_other_bytes_or_names_are_another_delivery(
    tmp_path: Path, change: dict[str, bytes]
) -> None:
    archive = Disk(tmp_path / "archive")
    first = archive_delivery(archive, OAK, [arrived(tmp_path)])
    other = archive_delivery(archive, OAK, [folder(tmp_path / "other", change)])
    assert other.name != first.name


def test_a_later_upload_does_not_disturb_the_copy(tmp_path: Path, archive: Store) -> None:
    source = arrived(tmp_path)
    delivery = archive_delivery(archive, OAK, [source])
    (source / "users.csv").write_bytes(b"changed")
    assert held(archive, delivery.path)["users.csv"] == b"u"


def test_districts_have_archives_of_their_own(tmp_path: Path, archive: Store) -> None:
    source = arrived(tmp_path)
    elms = archive_delivery(archive, "elm", [source])
    assert archive.districts() == ["elm"]
    archive_delivery(archive, OAK, [source])
    archive.clear("elm")
    assert archive.districts() == ["oak"] and not archive.has(elms.path)


def test_two_files_of_one_name_from_two_folders_are_refused(tmp_path: Path) -> None:
    """They once ended the import as failed."""
    one, two = folder(tmp_path / "1", {"users": b"1"}), folder(tmp_path / "2", {"users": b"2"})
    archive = Disk(tmp_path / "archive")
    with pytest.raises(DeliveryRefused) as refused:
        archive_delivery(archive, OAK, [one / "users.csv", two / "users.csv"])
    assert codes(refused.value.findings) == ["file_twice"]


def test_an_empty_folder_is_an_empty_delivery(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeliveryRefused) as refused:
        archive_delivery(Disk(tmp_path / "archive"), OAK, [tmp_path / "empty"])
    assert codes(refused.value.findings) == ["delivery_empty"]


def test_a_file_that_is_not_there_is_refused_by_name_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    source = arrived(tmp_path)
    (source / "gone.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DeliveryRefused) as refused:
        archive_delivery(Disk(tmp_path / "archive"), OAK, [source])
    assert codes(refused.value.findings) == ["file_not_found"]
    assert [p for p in (tmp_path / "archive").rglob("*") if p.is_file()] == []


# Refused deliveries


def reason(archive: Store, delivery: Delivery) -> list[tuple[str, str]]:
    files = held(archive, f"{OAK}/refused/{delivery.name}")
    return [(f["code"], f["file"]) for f in json.loads(files["reason.json"])]


def test_a_refused_delivery_lies_aside_with_its_reason(tmp_path: Path, archive: Store) -> None:
    delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
    set_aside(archive, OAK, delivery, REFUSAL)
    assert shelf(archive) == []
    (aside,) = shelf(archive, "refused")
    assert held(archive, aside)["users.csv"] == b"u"
    assert reason(archive, delivery) == [("zip_empty", "OneRoster.zip")]
    if isinstance(archive, Disk):
        assert mode((archive.root / aside).parent) == 0o700


def test_refused_again_for_another_reason_it_says_the_last_one(
    tmp_path: Path, archive: Store
) -> None:
    other = DeliveryRefused([finding("zip_encrypted", file="a.zip")])
    for refusal in (REFUSAL, other):
        delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
        set_aside(archive, OAK, delivery, refusal)
    assert reason(archive, delivery) == [("zip_encrypted", "a.zip")]
    assert shelf(archive) == []


def test_what_an_import_stands_on_is_not_moved_away(tmp_path: Path, archive: Store) -> None:
    """The same bytes can be good by SFTP and refused as an upload, which wants all files."""
    delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
    keep(archive, delivery)
    for _ in range(2):
        set_aside(archive, OAK, archive_delivery(archive, OAK, [arrived(tmp_path)]), REFUSAL)
    assert held(archive, delivery.path)["users.csv"] == b"u"
    assert held(archive, f"{OAK}/refused/{delivery.name}")["users.csv"] == b"u"


def test_a_delivery_that_holds_a_reason_json_of_its_own_is_set_aside_too(
    tmp_path: Path, archive: Store
) -> None:
    source = arrived(tmp_path)
    (source / "reason.json").write_text("mine")
    delivery = archive_delivery(archive, OAK, [source])
    set_aside(archive, OAK, delivery, REFUSAL)
    assert reason(archive, delivery) == [("zip_empty", "OneRoster.zip")]


def test_a_delivery_is_taken_again_also_when_it_was_refused(tmp_path: Path, archive: Store) -> None:
    delivery = archive_delivery(archive, OAK, [arrived(tmp_path)])
    now = datetime.now(UTC)
    booked = (1, OAK, "sftp", "imported", None, False, "host", 1, now, now, None, "s", None)
    imported = Import(*booked, delivery=delivery.path)
    assert archive_again(archive, imported) == delivery
    set_aside(archive, OAK, delivery, REFUSAL)
    assert archive_again(archive, imported) == delivery
    assert held(archive, delivery.path) == {"orgs.csv": b"o", "users.csv": b"u"}
    archive.clear(OAK)
    with pytest.raises(NotArchived, match="not in the archive any more"):
        archive_again(archive, imported)


def test_the_same_files_loose_or_zipped_have_the_same_hashes(
    tmp_path: Path, archive: Store
) -> None:
    loose = archive_delivery(archive, OAK, [folder(tmp_path / "d", contents())])
    archived = zipped(tmp_path / "OneRoster.zip", entries(contents(), "a folder/"))
    zip_ = archive_delivery(archive, OAK, [archived])
    assert loose.name != zip_.name
    hashes = [file_hashes(open_delivery(archive, delivery)) for delivery in (loose, zip_)]
    assert hashes[0] == hashes[1] and hashes[0].keys() == contents().keys()
