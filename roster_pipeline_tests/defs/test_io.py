"""What a stage hands on comes to the next one, in this process or another, from any store."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from roster_pipeline.defs.io import Artifact, ArtifactIOManager, Snapshot, StagedRoster
from roster_pipeline.landing.intake import Delivery
from roster_pipeline.landing.store import store_at
from roster_pipeline.roster import Roster
from roster_pipeline.settings import load_settings

OAK = "oak"


@pytest.fixture
def stored(home: object, store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ROSTER_ARTIFACTS_URL", store_url)
    return store_url


def rows(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"name": pd.array(names, dtype="string[pyarrow]")}).convert_dtypes(
        dtype_backend="pyarrow"
    )


def staged(**frames: pd.DataFrame) -> StagedRoster:
    return StagedRoster(7, Roster(frames, absent_files=("orgs",)))


def write(manager: ArtifactIOManager, artifact: Artifact, asset: str) -> None:
    context = dg.build_output_context(partition_key=OAK, asset_key=dg.AssetKey(asset))
    manager.handle_output(context, artifact)


def read(manager: ArtifactIOManager, asset: str, kind: type = StagedRoster) -> Any:
    return manager.load_input(
        dg.build_input_context(
            partition_key=OAK,
            asset_key=dg.AssetKey(asset),
            dagster_type=dg.PythonObjectDagsterType(kind, name=f"{asset}_read"),
        )
    )


def test_another_process_reads_what_was_written(stored: str) -> None:
    snapshot = Snapshot(7, Delivery("oak/deliveries/x", 10), None, {"orgs": ["a"]})
    manager = ArtifactIOManager()
    write(manager, staged(student=rows("ann", "bob")), "parsed_roster")
    write(manager, snapshot, "landing_snapshot")
    other = ArtifactIOManager()
    loaded = read(other, "parsed_roster")
    assert (loaded.import_id, loaded.roster.absent_files) == (7, ("orgs",))
    assert_frame_equal(loaded.roster.frames["student"], rows("ann", "bob"))
    assert read(other, "landing_snapshot", Snapshot) == snapshot


def test_what_it_has_just_written_it_does_not_read_unless_another_has_replaced_it(
    stored: str,
) -> None:
    manager, first = ArtifactIOManager(), staged(student=rows("ann"))
    write(manager, first, "parsed_roster")
    assert read(manager, "parsed_roster") is first
    write(ArtifactIOManager(), staged(student=rows("eve")), "parsed_roster")
    assert list(read(manager, "parsed_roster").roster.frames["student"]["name"]) == ["eve"]


def test_what_is_not_there_is_named(stored: str) -> None:
    with pytest.raises(dg.Failure, match="parsed_roster of oak is not there; materialise it"):
        read(ArtifactIOManager(), "parsed_roster")


def test_a_frame_that_a_stage_did_not_touch_is_stored_all_the_same(stored: str) -> None:
    """On a disk it is one file for both."""
    manager, same = ArtifactIOManager(), rows("ann")
    write(manager, staged(student=same, teacher=rows("tom")), "parsed_roster")
    write(manager, staged(student=same, teacher=rows("tim")), "mapped_roster")
    frames = read(ArtifactIOManager(), "mapped_roster").roster.frames
    assert [list(frames[name]["name"]) for name in ("student", "teacher")] == [["ann"], ["tim"]]
    store = store_at(load_settings().artifacts_url)
    folders = [store.folder(f"{OAK}/{asset}") for asset in ("parsed_roster", "mapped_roster")]
    one, two = folders
    if one is not None and two is not None:
        assert (one / "student.parquet").samefile(two / "student.parquet")
        assert not (one / "teacher.parquet").samefile(two / "teacher.parquet")
