"""Jobs as the launchpad starts them: documented, and clear about what they cannot do."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from roster_pipeline.definitions import defs
from roster_pipeline.defs.intake_assets import ImportConfig
from roster_pipeline.defs.jobs import IMPORT_TAG, DecisionConfig, PurgeConfig
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse import audit, ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.holds import last_hold, record_hold

OAK, ELM = "oak", "elm"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A warehouse in which import 1 of oak is held, import 2 of elm is merged, and import 3 of oak
    came to no delivery."""
    monkeypatch.setenv("ROSTER_USER", "ada")
    settings = load_settings()
    prepare_home(settings)
    for district in (OAK, ELM):
        (settings.districts / f"{district}.yaml").write_text(f"name: {district}\n")
    engine = open_warehouse(settings.warehouse_url)
    for district, status in ((OAK, "held"), (ELM, "imported"), (OAK, "refused")):
        import_id = ledger.start_import(engine, district, "sftp", None, False, "s", NOW)
        with engine.begin() as conn:
            if status == "held":
                (home / "archive" / OAK / "deliveries" / "d").mkdir(parents=True)
                ledger.record_delivery(conn, import_id, f"{OAK}/deliveries/d")
                record_hold(conn, import_id, "plan", [], [], NOW)
            ledger.finish_import(conn, import_id, status, NOW)  # type: ignore[arg-type]
    return engine


def run(
    job: str, ops: dict[str, Any], partition: str | None = OAK
) -> tuple[dg.ExecuteInProcessResult, str]:
    """The run of a job, and the words of its failure."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(DISTRICTS.name or "", [OAK, ELM])
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=partition,
            raise_on_error=False,
            run_config={"ops": {name: {"config": config} for name, config in ops.items()}},
        )
        errors = [getattr(e.event_specific_data, "error", None) for e in result.all_events]
        said = next((e for e in errors if e is not None), None)
        while said is not None and said.cause is not None:
            said = said.cause
        run_ = instance.get_run_by_id(result.run_id)
        words = said.message if said is not None else ""
        tag = run_.tags.get(IMPORT_TAG, "") if run_ else ""
        return result, words or tag


def test_a_held_import_is_rejected_with_who_and_why(engine: Engine) -> None:
    result, tag = run("reject_import", {"reject": {"import_id": 1, "reason": "half an export"}})

    assert result.success and tag == "1"
    with reading(engine) as conn:
        rejected, hold = ledger.get_import(conn, 1), last_hold(conn, 1)
        told = audit.entries(conn, OAK)
    assert (rejected.status, rejected.message) == ("rejected", "Rejected by ada: half an export")
    assert hold is not None and hold.decision == "rejected"
    assert [(e["who"], e["action"], e["detail"]) for e in told] == [
        ("ada", "rejected", "half an export")
    ]
    (seen,) = [e for e in result.all_events if e.event_type_value == "ASSET_OBSERVATION"]
    assert seen.asset_key == dg.AssetKey("sync_plan")


@pytest.mark.parametrize(
    ("partition", "config", "says"),
    [
        (ELM, {"import_id": 1, "reason": "x"}, "Import 1 is of oak, not of elm; launch the job"),
        (OAK, {"import_id": 9, "reason": "x"}, "There is no import 9."),
        (OAK, {"import_id": 1, "reason": "  "}, "`reason` must say why."),
        (ELM, {"import_id": 2, "reason": "x"}, "Import 2 is imported; only one that waits"),
    ],
)
def test_what_cannot_be_rejected_is_said_plainly(
    engine: Engine, partition: str, config: dict[str, Any], says: str
) -> None:
    result, words = run("reject_import", {"reject": config}, partition)
    assert not result.success and says in words
    with reading(engine) as conn:
        assert ledger.get_import(conn, 1).status == "held"


def test_an_undo_for_the_wrong_district_opens_no_import(engine: Engine) -> None:
    result, words = run("undo_import", {"undo": {"import_id": 2, "reason": "x"}})
    assert not result.success and "Import 2 is of elm, not of oak" in words
    with reading(engine) as conn:
        assert len(ledger.imports(conn)) == 3


@pytest.mark.parametrize(
    ("job", "config", "says"),
    [
        ("approve_import", {}, "`resume` must be the number of the import that waits"),
        ("approve_import", {"resume": 1}, "Import 1 is held; its approval needs a reason."),
        ("approve_import", {"resume": 2, "reason": "x"}, "Import 2 is of elm, not of oak"),
        ("approve_import", {"resume": 9, "reason": "x"}, "There is no import 9."),
        ("import_roster", {"from_import": 2}, "Import 2 is of elm, not of oak"),
        ("import_roster", {"from_import": 3}, "Import 3 brought no delivery into the archive."),
        ("import_roster", {"from_import": 1, "files": ["x"]}, "either `files` or `from_import`"),
    ],
)
def test_an_import_that_cannot_begin_says_why_and_opens_none(
    engine: Engine, job: str, config: dict[str, Any], says: str
) -> None:
    result, words = run(job, {"landing_snapshot": config})
    assert not result.success and says in words
    with reading(engine) as conn:
        assert [i.status for i in ledger.imports(conn)] == ["refused", "imported", "held"]


@pytest.mark.parametrize(
    ("field", "value"), [("app", "ftp"), ("only", "adds"), ("from_import", "one")]
)
def test_a_value_that_is_not_allowed_is_refused_by_the_launchpad(
    engine: Engine, field: str, value: str
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=field):
        run("import_roster", {"landing_snapshot": {field: value}})


def test_without_a_partition_the_district_is_asked_for(engine: Engine) -> None:
    result, words = run("reject_import", {"reject": {"import_id": 1, "reason": "x"}}, None)
    assert not result.success and "Launch the job for a partition: the district" in words


def old_artifact(home: Path) -> Path:
    folder = home / "artifacts" / OAK / "sync_plan"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{}")
    moment = (datetime.now(UTC) - timedelta(days=31)).timestamp()
    os.utime(folder, (moment, moment))
    return folder


def test_the_purge_reports_what_went_and_a_dry_run_what_would(engine: Engine, home: Path) -> None:
    folder = old_artifact(home)
    for dry_run in (True, False):
        result, _ = run("purge_expired", {"purge": {"dry_run": dry_run}}, None)
        assert result.success
        (handled,) = [e for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
        metadata = handled.step_output_data.metadata
        assert (metadata["files"].value, metadata["dry_run"].value) == (1, dry_run)
        told = [line.data for line in metadata["report"].records]
        assert [t["districts"] for t in told if t["what"] == "artifacts"] == [OAK]
        assert folder.exists() is dry_run


def test_the_purge_runs_every_night() -> None:
    schedule = defs.resolve_schedule_def("purge_schedule")
    assert schedule.job.name == "purge_expired"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


@pytest.mark.parametrize("config", [ImportConfig, DecisionConfig, PurgeConfig])
def test_every_field_of_a_launchpad_is_described(config: type[dg.Config]) -> None:
    assert [n for n, field in config.model_fields.items() if not field.description] == []


def test_every_job_says_what_it_does() -> None:
    jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    assert [job.name for job in jobs if not job.description] == []
