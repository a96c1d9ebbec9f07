"""What Dagster loads: the way of the data as an asset graph, and what loading it costs."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import dagster as dg
import pytest

from roster_pipeline.definitions import defs
from roster_pipeline.defs.io import ArtifactIOManager, StagedRoster
from roster_pipeline.defs.partitions import checked_district
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.roster import Roster
from roster_pipeline_tests.serving import STAGES


def test_the_asset_graph_is_the_way_of_the_data() -> None:
    graph = defs.resolve_asset_graph()
    arrows = {
        (parent.to_user_string(), key.to_user_string())
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
    }
    tables = [f"warehouse/{t.table}" for t in ENROLLMENT_TYPES.values()]
    merge = {("sync_plan", table) for table in tables}
    views = {(table, view) for table in tables for view in ("data_quality", "overview")}
    assert arrows == set(pairwise(STAGES)) | merge | views


def test_every_asset_says_what_it_is_who_owns_it_and_is_partitioned_by_district() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
        of_views = key.to_user_string() in ("data_quality", "overview")
        assert node.group_name == ("reports" if of_views else "import")
        assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)


def test_every_asset_of_an_import_has_a_check_and_none_has_more_than_ten() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        if graph.get(key).group_name == "import":
            assert 1 <= len(graph.get(key).check_keys) <= 10, key


def test_an_import_renews_the_views_without_steps_of_its_own() -> None:
    keys = defs.resolve_job_def("import_roster").asset_layer.executable_asset_keys
    assert {key.path[0] for key in keys} == {*STAGES, "warehouse"}


def test_loading_the_definitions_does_not_import_great_expectations() -> None:
    code = "import sys, roster_pipeline.definitions\nsys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_domain_runs_without_dagster_and_sqlalchemy() -> None:
    code = (
        "import sys, pkgutil, importlib\n"
        "import roster_pipeline.stages, roster_pipeline.oneroster\n"
        "for package in (roster_pipeline.stages, roster_pipeline.oneroster):\n"
        "    for m in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(m.name)\n"
        "sys.exit(bool({'dagster', 'sqlalchemy', 'paramiko'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("key", ["../../x", "Oak", "a", "oak/../elm", "", "oak\n"])
def test_a_partition_key_that_is_no_district_id_is_refused(key: str) -> None:
    with pytest.raises(dg.Failure, match="is no district id"):
        checked_district(key)


def test_an_artifact_is_never_written_outside_its_folder(home: object) -> None:
    manager = ArtifactIOManager()
    context = dg.build_output_context(
        partition_key="../../x", asset_key=dg.AssetKey("parsed_roster")
    )
    with pytest.raises(dg.Failure, match="is no district id"):
        manager.handle_output(context, StagedRoster(1, Roster({})))
