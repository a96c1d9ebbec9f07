"""Runs an import from the command line: the Dagster job, in this process, in the same instance
the UI shows."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from roster_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, EventLogEntry
    from sqlalchemy import Engine


class ImportNotStarted(Exception):
    """The run ended before there was an import; the message says why."""


def register_districts(settings: Settings, district_ids: Sequence[str]) -> None:
    """Make districts known to Dagster as partitions, so that the UI can import them."""
    os.environ.update(settings.environment())
    import dagster as dg

    from roster_pipeline.defs.partitions import DISTRICTS

    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(DISTRICTS.name or "", list(district_ids))


def forget_district(settings: Settings, district_id: str) -> bool:
    """Take a district's partition from Dagster, unless a run of it is in flight; whether it is
    gone."""
    os.environ.update(settings.environment())
    import dagster as dg
    from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
    from dagster._core.storage.tags import PARTITION_NAME_TAG

    from roster_pipeline.defs.partitions import DISTRICTS

    with dg.DagsterInstance.get() as instance:
        in_flight = dg.RunsFilter(
            statuses=NOT_FINISHED_STATUSES, tags={PARTITION_NAME_TAG: district_id}
        )
        if instance.get_runs_count(in_flight):
            return False
        instance.delete_dynamic_partition(DISTRICTS.name or "", district_id)
    return True


def run_import(
    settings: Settings,
    district_id: str,
    app: str,
    files: Sequence[Path],
    *,
    from_import: int | None = None,
    force: bool = False,
    preview: bool = False,
) -> int:
    """Run the job import_roster for a district and return the import's id.

    from_import: take the delivery of this earlier import, instead of files. Raises
    ImportNotStarted, for instance when another import of the district is running.
    """
    config = {
        "app": app,
        "files": [str(f.absolute()) for f in files],
        "from_import": from_import,
        "force": force,
        "preview": preview,
    }
    return _run(settings, "import_roster", district_id, {"landing_snapshot": config})


def run_resumed(
    settings: Settings, district_id: str, import_id: int, reason: str = "", only: str | None = None
) -> int:
    """Run the job approve_import for an import that waits and return its id. reason, only: why it
    is approved, and in which part, when it is held. Raises ImportNotStarted."""
    config = {"resume": import_id, "reason": reason, "only": only or "everything"}
    return _run(settings, "approve_import", district_id, {"landing_snapshot": config})


def run_reject(settings: Settings, district_id: str, import_id: int, reason: str) -> int:
    """Run the job reject_import for an import that is held and return its id. Raises
    ImportNotStarted."""
    config = {"import_id": import_id, "reason": reason}
    return _run(settings, "reject_import", district_id, {"reject": config})


def run_undo(settings: Settings, district_id: str, import_id: int, reason: str) -> int:
    """Run the job undo_import and return the id of the import that it is. Raises
    ImportNotStarted."""
    config = {"import_id": import_id, "reason": reason}
    return _run(settings, "undo_import", district_id, {"undo": config})


def _run(
    settings: Settings, job: str, district_id: str, ops: Mapping[str, Mapping[str, object]]
) -> int:
    """Run a job in this process and return the id of the import it opened, continued or closed."""
    os.environ.update(settings.environment())
    import dagster as dg

    from roster_pipeline.definitions import defs
    from roster_pipeline.defs.partitions import DISTRICTS, IMPORT_TAG
    from roster_pipeline.defs.views import renew_views
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import open_warehouse

    # An import that ends as unchanged skips the plan; Dagster warns that its check told nothing.
    logging.getLogger("dagster._core.execution.plan.active").setLevel(logging.ERROR)
    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.get() as instance, _progress(instance, run_id):
        instance.add_dynamic_partitions(DISTRICTS.name or "", [district_id])
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_id=run_id,
            partition_key=district_id,
            raise_on_error=False,
            run_config={
                "ops": {name: {"config": dict(config)} for name, config in ops.items()},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
        run = instance.get_run_by_id(result.run_id)
        import_id = run.tags.get(IMPORT_TAG) if run else None
        if import_id is None:
            raise ImportNotStarted(_why(result))
        engine = open_warehouse(settings.warehouse_url)
        with engine.begin() as conn:
            lost = ledger.get_import(conn, int(import_id)).status == "running"
            if lost:
                ledger.finish_import(
                    conn, int(import_id), "failed", datetime.now(UTC), _why(result)
                )
        if lost:
            renew_views(instance, engine, settings, district_id, [int(import_id)])
        return int(import_id)


def settle(settings: Settings, engine: Engine) -> None:
    """Mark imports as failed whose process is gone, and renew what is shown of their districts:
    there may be no daemon that does."""
    from roster_pipeline.warehouse.abandoned import settle_abandoned

    lost = settle_abandoned(engine, datetime.now(UTC))
    if not lost:
        return
    os.environ.update(settings.environment())
    import dagster as dg

    from roster_pipeline.defs.views import renew_views

    with dg.DagsterInstance.get() as instance:
        for district_id, import_ids in lost.items():
            renew_views(instance, engine, settings, district_id, import_ids)


@contextmanager
def _progress(instance: DagsterInstance, run_id: str) -> Iterator[None]:
    """Show on a terminal which stage a run has come to."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return

    def show(entry: EventLogEntry) -> None:
        if entry.dagster_event and entry.dagster_event.is_step_start:
            status.update(f"{entry.step_key} …")

    with console.status("Starting …") as status:
        instance.add_event_listener(run_id, show)
        yield


def _why(result: object) -> str:
    """The first failure of a run, in its own words."""
    from dagster import ExecuteInProcessResult

    assert isinstance(result, ExecuteInProcessResult)
    for event in result.all_events:
        data = event.event_specific_data
        error = getattr(data, "error", None)
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            # Dagster puts the class in front.
            return re.sub(r"^[\w.]+: ", "", error.message.strip())
    return "The run ended before the import began."
