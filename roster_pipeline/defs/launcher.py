"""The run launcher of dagster.yaml: Dagster's default one, which also knows dead runs.

The server of the code tells Dagster when the process of a run dies under it. Nobody tells when they
die together (power, an update, `kill -9`), or when the run was a command's (`roster import`): such
a run would count as started, and keep its district's only place, until `max_runtime_seconds`. But a
run holds the lock of its district, which dies with its process, on whatever machine. That is looked
at here, as often as Dagster's run monitoring asks.
"""

from __future__ import annotations

import time
from typing import Any

from dagster import DagsterRun
from dagster._core.launcher.base import CheckRunHealthResult, RunLauncher, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

STARTS_WITHIN_S = 120
"""How long after its start a run may take to get its lock."""


class LockWatch(RunLauncher):
    """What a launcher asks of the locks: a run whose district is locked by nobody, at two looks in
    a row, has no process any more. (At one look it may just have let the lock go, and be about to
    end.)"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unlocked: set[str] = set()

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a started run is there. Of one without a district it cannot be
        told: it counts as running."""
        district_id = run.tags.get("dagster/partition")
        record = self._instance.get_run_record_by_id(run.run_id)
        started = record.start_time if record else None
        running = CheckRunHealthResult(WorkerStatus.RUNNING)
        if district_id is None or started is None or time.time() - started < STARTS_WITHIN_S:
            return running
        if _is_locked(district_id):
            self._unlocked.discard(run.run_id)
            return running
        if run.run_id not in self._unlocked:
            self._unlocked.add(run.run_id)
            return running
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "The process of this run is gone.")


class WatchedRunLauncher(LockWatch, DefaultRunLauncher):
    """Starts each run as a process of its own, on this machine."""


def _is_locked(district_id: str) -> bool:
    from roster_pipeline.settings import load_settings
    from roster_pipeline.warehouse.database import opened
    from roster_pipeline.warehouse.lock import DistrictBusy, district_lock

    with opened(load_settings().warehouse_url) as engine:
        try:
            with district_lock(engine, district_id):
                return False
        except DistrictBusy:
            return True
