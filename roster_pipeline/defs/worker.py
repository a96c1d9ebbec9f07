"""The Celery app of the workers: `celery --app roster_pipeline.defs.worker worker`.

dagster_celery's own app listens to a broker of its own, whatever the launcher's settings say. This
one is the launcher's, as dagster.yaml has it (deploy/celery), so that both always meet.

A worker loads everything an import needs before it makes the processes that run them: these have it
from their first import on, share its memory, and one that died is replaced at once.
"""

from __future__ import annotations

from celery import Celery
from dagster._core.instance.ref import InstanceRef
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task

from roster_pipeline.settings import load_settings

LOADED = ("roster_pipeline.definitions", "great_expectations")
"""By their names, as Celery takes them: it imports them when the worker starts."""


def worker_app() -> Celery:
    """The app that the launcher in dagster.yaml sends runs to. Raises RuntimeError when it is
    another launcher."""
    folder = load_settings().dagster
    launcher = InstanceRef.from_dir(str(folder)).run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        raise RuntimeError(
            f"{folder / 'dagster.yaml'} starts runs by {type(launcher).__name__}, not by Celery. "
            "Put deploy/celery/dagster.yaml there."
        )
    launcher.celery.conf.include = LOADED
    create_execute_job_task(launcher.celery)
    return launcher.celery


app = worker_app()
