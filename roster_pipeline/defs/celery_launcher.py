"""The run launcher of deploy/celery: hands each run to a worker, in which libraries are loaded.

Celery takes a run off its queue when a worker begins it, so one whose worker dies under it is not
begun a second time by Celery: it is found by its lock (`LockWatch`), has failed, and is tried again
by Dagster's retries. What Celery itself knows of a task is not asked. It says of one whose whole
machine is gone that it is running, for ever; and when Redis was emptied, of one that is running,
that there is none.
"""

from __future__ import annotations

from dagster_celery.launcher import CeleryRunLauncher

from roster_pipeline.defs.launcher import LockWatch


class WatchedCeleryRunLauncher(LockWatch, CeleryRunLauncher):
    """Puts each run into Celery's queue, for whichever worker is free."""
