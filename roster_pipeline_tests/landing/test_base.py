"""The base of the next delivery is kept exactly as it was read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from roster_pipeline.landing.base import load_base, load_sources, save_base
from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.effective import EffectiveFile, apply_delivery, carried_forward
from roster_pipeline.oneroster.package import Package
from roster_pipeline_tests.oneroster.packages import contents
from roster_pipeline_tests.oneroster.test_delivery import district_1_2
from roster_pipeline_tests.stages.passage import added, changed, small_district, without

SOURCES = {"orgs": ["a"], "users": ["b", "c"]}


def effective(version: str = "1.1", **changes: bytes) -> dict[str, EffectiveFile]:
    frames = district_1_2() if version == "1.2" else small_district()
    frames = changed(frames, "enrollments", "e1", primary="true", endDate="2026-02-30")
    frames = added(frames, "orgs", "north", name="Other")
    frames = changed(frames, "users", "ann", metadata__bus="7")
    files = contents(frames, version=version, **changes)  # type: ignore[arg-type]
    return dict(apply_delivery(read_delivery(Package(files)), {}).files)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_base_is_loaded_as_it_was_saved(tmp_path: Path, version: str) -> None:
    files = effective(version)
    save_base(tmp_path, "oak", "hash", files, {name: ["x"] for name in files})
    loaded = load_base(tmp_path, "oak", "hash")
    assert loaded.keys() == files.keys()
    for name, file in files.items():
        for part in ("frame", "rejected", "told"):
            assert_frame_equal(getattr(loaded[name], part), getattr(file.reading, part))


def test_a_file_without_rows_is_loaded_with_its_types(tmp_path: Path) -> None:
    header = contents()["demographics"].split(b"\n")[0] + b"\n"
    files = effective(demographics=header)
    save_base(tmp_path, "oak", "hash", files, {name: ["x"] for name in files})
    loaded = load_base(tmp_path, "oak", "hash")["demographics"]
    assert_frame_equal(loaded.frame, files["demographics"].reading.frame)


def test_a_delta_upon_a_loaded_base_is_as_upon_the_one_in_memory(tmp_path: Path) -> None:
    files = effective()
    save_base(tmp_path, "oak", "hash", files, {name: ["x"] for name in files})
    frames = without(small_district(), "enrollments", "e3", "e4", "e5", "e6")
    frames = changed(frames, "enrollments", "e1", status="active")
    frames = changed(frames, "enrollments", "e2", status="tobedeleted")
    change = {"enrollments": frames["enrollments"]}
    delta = read_delivery(Package(contents(change, modes={"enrollments": "delta"})))
    kept = apply_delivery(delta, {n: f.reading for n, f in files.items()})
    loaded = apply_delivery(delta, load_base(tmp_path, "oak", "hash"))
    for name, file in kept.files.items():
        for part in ("frame", "rejected", "told"):
            assert_frame_equal(
                getattr(loaded.files[name].reading, part), getattr(file.reading, part)
            )


def test_sources_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    files = {n: f for n, f in effective().items() if n in SOURCES}
    save_base(tmp_path, "oak", "hash", files, SOURCES)
    assert load_sources(tmp_path, "oak", "hash") == SOURCES


def test_before_the_first_import_there_is_no_base(tmp_path: Path) -> None:
    assert load_base(tmp_path, "oak", None) == {}
    assert load_sources(tmp_path, "oak", None) == {}


def test_a_base_is_written_once_whole_and_private(tmp_path: Path) -> None:
    files = {n: f for n, f in effective().items() if n in SOURCES}
    for _ in range(2):
        save_base(tmp_path, "oak", "hash", files, SOURCES)
    shelf = tmp_path / "oak" / "effective"
    assert [p.name for p in shelf.iterdir()] == ["hash"]
    assert stat.S_IMODE(shelf.stat().st_mode) == 0o700
    assert stat.S_IMODE((shelf / "hash").stat().st_mode) == 0o700


def test_what_is_carried_forward_can_be_saved_too(tmp_path: Path) -> None:
    files = {
        n: EffectiveFile("carried_forward", carried_forward(f.reading))
        for n, f in effective().items()
    }
    save_base(tmp_path, "oak", "hash", files, {name: ["x"] for name in files})
    for name, reading in load_base(tmp_path, "oak", "hash").items():
        assert_frame_equal(reading.frame, files[name].reading.frame)
        assert_frame_equal(reading.told, files[name].reading.told)
