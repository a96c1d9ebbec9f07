"""What a held import looks like to Dagster: no failure, a check that warns, nothing downstream."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from roster_pipeline.definitions import defs
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.settings import load_settings
from roster_pipeline_tests.end_to_end.deliveries import district, schools, without_school, written


def run(
    job: str, config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> dg.ExecuteInProcessResult:
    for name, value in load_settings().environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(DISTRICTS.name or "", ["oak"])
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key="oak",
            run_config={"ops": {"landing_snapshot": {"config": config}}},
        )


def test_a_held_import_succeeds_without_a_merge_and_is_approved_by_a_job(
    after_an_import: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = district(300)
    second = written(tmp_path, "second", without_school(frames, schools(frames)[0]))

    held = run("import_roster", {"app": "csv_upload", "files": [str(second)]}, monkeypatch)

    assert held.success
    checks = {c.check_name: c for c in held.get_asset_check_evaluations()}
    assert not checks["within_hold_thresholds"].passed
    assert checks["within_hold_thresholds"].severity is dg.AssetCheckSeverity.WARN
    assert "missing from orgs.csv" in str(checks["within_hold_thresholds"].metadata["reasons"])
    assert checks["counts_add_up"].passed
    assert merged(held) == set()

    approved = run("approve_import", {"resume": 2, "reason": "it has closed"}, monkeypatch)

    assert approved.success
    assert "warehouse/students" in merged(approved)


def merged(result: dg.ExecuteInProcessResult) -> set[str]:
    """The tables that a run has written."""
    keys = [e.asset_key for e in result.get_asset_materialization_events() if e.asset_key]
    return {key.to_user_string() for key in keys if key.path[0] == "warehouse"}
