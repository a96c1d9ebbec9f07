"""The base of the next delivery is kept exactly as it was read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from roster_pipeline.landing.base import load_base, load_sources, save_base
from roster_pipeline.landing.store import Disk, Store, StoreError, store_at
from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.effective import EffectiveFile, apply_delivery, carried_forward
from roster_pipeline.oneroster.package import Package
from roster_pipeline_tests.oneroster.packages import contents
from roster_pipeline_tests.oneroster.test_delivery import district_1_2
from roster_pipeline_tests.stages.passage import added, changed, small_district, without

SOURCES = {"orgs": ["a"], "users": ["b", "c"]}


@pytest.fixture
def archive(store_url: str) -> Store:
    return store_at(store_url)


@pytest.fixture
def disk(tmp_path: Path) -> Store:
    return Disk(tmp_path)


def effective(version: str = "1.1", **changes: bytes) -> dict[str, EffectiveFile]:
    frames = district_1_2() if version == "1.2" else small_district()
    frames = changed(frames, "enrollments", "e1", primary="true", endDate="2026-02-30")
    frames = added(frames, "orgs", "north", name="Other")
    frames = changed(frames, "users", "ann", metadata__bus="7")
    files = contents(frames, version=version, **changes)  # type: ignore[arg-type]
    return dict(apply_delivery(read_delivery(Package(files)), {}).files)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_base_is_loaded_as_it_was_saved(archive: Store, version: str) -> None:
    files = effective(version)
    save_base(archive, "oak", "hash", files, {name: ["x"] for name in files})
    loaded = load_base(archive, "oak", "hash")
    assert loaded.keys() == files.keys()
    for name, file in files.items():
        for part in ("frame", "rejected", "told"):
            assert_frame_equal(getattr(loaded[name], part), getattr(file.reading, part))


def test_a_file_without_rows_is_loaded_with_its_types(disk: Store) -> None:
    header = contents()["demographics"].split(b"\n")[0] + b"\n"
    files = effective(demographics=header)
    save_base(disk, "oak", "hash", files, {name: ["x"] for name in files})
    loaded = load_base(disk, "oak", "hash")["demographics"]
    assert_frame_equal(loaded.frame, files["demographics"].reading.frame)


def test_a_delta_upon_a_loaded_base_is_as_upon_the_one_in_memory(disk: Store) -> None:
    files = effective()
    save_base(disk, "oak", "hash", files, {name: ["x"] for name in files})
    frames = without(small_district(), "enrollments", "e3", "e4", "e5", "e6")
    frames = changed(frames, "enrollments", "e1", status="active")
    frames = changed(frames, "enrollments", "e2", status="tobedeleted")
    change = {"enrollments": frames["enrollments"]}
    delta = read_delivery(Package(contents(change, modes={"enrollments": "delta"})))
    kept = apply_delivery(delta, {n: f.reading for n, f in files.items()})
    loaded = apply_delivery(delta, load_base(disk, "oak", "hash"))
    for name, file in kept.files.items():
        for part in ("frame", "rejected", "told"):
            assert_frame_equal(
                getattr(loaded.files[name].reading, part), getattr(file.reading, part)
            )


def test_files_that_a_delivery_replaces_are_not_read(disk: Store, tmp_path: Path) -> None:
    files = effective()
    save_base(disk, "oak", "hash", files, {name: ["x"] for name in files})
    for part in (tmp_path / "oak" / "effective" / "hash").glob("users.*.parquet"):
        part.write_bytes(b"not asked for")
    loaded = load_base(disk, "oak", "hash", without=["users"])
    assert loaded.keys() == files.keys() - {"users"}


def test_sources_are_loaded_as_they_were_saved(archive: Store) -> None:
    files = {n: f for n, f in effective().items() if n in SOURCES}
    save_base(archive, "oak", "hash", files, SOURCES)
    assert load_sources(archive, "oak", "hash") == SOURCES


def test_a_base_that_is_in_another_archive_is_named(archive: Store) -> None:
    with pytest.raises(StoreError, match=r"oak/effective/hash.*ROSTER_ARCHIVE_URL") as error:
        load_sources(archive, "oak", "hash")
    assert error.value.filename == archive.address("oak/effective/hash")


def test_before_the_first_import_there_is_no_base(disk: Store) -> None:
    assert load_base(disk, "oak", None) == {}
    assert load_sources(disk, "oak", None) == {}


def test_a_base_is_written_once(archive: Store) -> None:
    files = {n: f for n, f in effective().items() if n in SOURCES}
    save_base(archive, "oak", "hash", files, SOURCES)
    stamp = archive.stamp("oak/effective/hash")
    save_base(archive, "oak", "hash", {}, {})
    assert archive.stamp("oak/effective/hash") == stamp
    assert [thing.path for thing in archive.things("oak/effective")] == ["oak/effective/hash"]


def test_on_a_disk_it_is_private(tmp_path: Path) -> None:
    save_base(Disk(tmp_path), "oak", "hash", {}, {})
    shelf = tmp_path / "oak" / "effective"
    assert stat.S_IMODE(shelf.stat().st_mode) == 0o700
    assert stat.S_IMODE((shelf / "hash").stat().st_mode) == 0o700


def test_what_is_carried_forward_can_be_saved_too(disk: Store) -> None:
    files = {
        n: EffectiveFile("carried_forward", carried_forward(f.reading))
        for n, f in effective().items()
    }
    save_base(disk, "oak", "hash", files, {name: ["x"] for name in files})
    for name, reading in load_base(disk, "oak", "hash").items():
        assert_frame_equal(reading.frame, files[name].reading.frame)
        assert_frame_equal(reading.told, files[name].reading.told)
