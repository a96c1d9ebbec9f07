"""Imports in warm workers, as deploy/celery has them: a real Redis, two real workers, PostgreSQL
for Dagster's history and the warehouse.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.launcher import LaunchRunContext
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from roster_pipeline.definitions import defs
from roster_pipeline.defs import launcher
from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, opened, reading
from roster_pipeline_tests.defs.watching import district, uploaded
from roster_pipeline_tests.oneroster.packages import zipped
from roster_pipeline_tests.serving import ROOT, children

CELERY = ROOT / "deploy" / "celery"
JOB = "import_roster"
LIBRARIES = {"great_expectations.data_context", "pandas", "dagster", "roster_pipeline.defs.assets"}


def until(what: Callable[[], Any], seconds: float = 300) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.1)
    return answer


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Redis with nothing in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = shutil.which("redis-server")
    assert command, "redis-server is not installed (.ci/run does that)"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with (tmp_path / "redis.log").open("w") as log:
        process = subprocess.Popen([command, *options], stdout=log)
    until(lambda: listening(port), 30)
    monkeypatch.setenv("ROSTER_CELERY_URL", f"redis://127.0.0.1:{port}/0")
    yield
    process.kill()
    process.wait()


@pytest.fixture
def instance(
    home: Path, postgresql_server: Any, redis: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The instance of deploy/celery, in which a run need not have been started long ago."""
    monkeypatch.setattr(launcher, "STARTS_WITHIN_S", 0)
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as conn:
        for name in ("dagster_of_celery", "warehouse_of_celery"):
            conn.execute(f"CREATE DATABASE {name}")
    url = str(postgresql_server.get_uri(database="dagster_of_celery"))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.replace("postgresql:", "postgresql+psycopg2:"))
    monkeypatch.setenv(
        "ROSTER_WAREHOUSE_URL", postgresql_server.get_uri(database="warehouse_of_celery")
    )
    settings = load_settings()
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster))
    settings.dagster.mkdir(parents=True)
    shutil.copy(CELERY / "dagster.yaml", settings.dagster)
    prepare_home(settings)
    open_warehouse(settings.warehouse_url).dispose()
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def workers(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[dict[int, Path]]:
    """Two workers that are ready, as the unit for systemd starts them, with one process each. By
    their process, their logs, in which there is also what they import."""
    unit = (CELERY / "roster-worker.service").read_text(encoding="utf-8")
    said = re.search(r"^ExecStart=/opt/roster/bin/celery (.*) --loglevel WARNING (.*)$", unit, re.M)
    assert said is not None
    command = [sys.executable, "-m", "celery", *shlex.split(f"{said[1]} --loglevel INFO {said[2]}")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPROFILEIMPORTTIME": "1"}
    started: list[subprocess.Popen[bytes]] = []
    logs: dict[int, Path] = {}
    for name in ("one", "other"):
        log = tmp_path / f"{name}.log"
        named = [*command, "--concurrency", "1", "--hostname", f"{name}@%h"]
        with log.open("w") as stream:
            started.append(subprocess.Popen(named, env=env, stdout=stream, stderr=stream))
        logs[started[-1].pid] = log
    for log in logs.values():
        until(lambda log=log: " ready." in log.read_text(errors="replace"))
    yield logs
    for process in started:
        left = children(process.pid)
        process.kill()
        process.wait()
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def launch(instance: dg.DagsterInstance, district_id: str, **config: Any) -> str:
    """Hand a run to the launcher, as the queue of Dagster's daemon does."""
    pointer = CodePointer.from_module("roster_pipeline.definitions", "defs", str(ROOT))
    job = ReconstructableJob(ReconstructableRepository(pointer), JOB)
    run = instance.create_run_for_job(
        job_def=defs.resolve_job_def(JOB),
        tags={"dagster/partition": district_id},
        run_config={"ops": {"landing_snapshot": {"config": config}}},
        job_code_origin=job.get_python_origin(),
    )
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    return run.run_id


def record(instance: dg.DagsterInstance, run_id: str) -> dg.RunRecord:
    found = instance.get_run_record_by_id(run_id)
    assert found is not None
    return found


def process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The process in which a run is executed, once it is."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if found := re.search(r"Started process for run \(pid: (\d+)\)", entry.message):
            return int(found[1])
    return None


def look(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    """The run's status after Dagster's run monitoring has looked at it."""
    monitor_started_run(instance, None, record(instance, run_id), logging.getLogger("test"))  # type: ignore[arg-type]
    return record(instance, run_id).dagster_run.status


def statuses(district_ids: Iterable[str]) -> dict[str, list[ledger.Status]]:
    """Of each district's imports, the oldest first."""
    with opened(load_settings().warehouse_url) as engine, reading(engine) as conn:
        return {d: [i.status for i in reversed(ledger.imports(conn, d))] for d in district_ids}


def imported(log: Path) -> tuple[set[str], set[str]]:
    """What a worker imported before it was ready, and after."""
    before, _, after = log.read_text(errors="replace").partition(" ready.")
    pattern = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.M)
    return set(pattern.findall(before)), set(pattern.findall(after))


@pytest.mark.slow
def test_districts_are_imported_side_by_side_by_warm_workers_one_of_which_is_killed(
    instance: dg.DagsterInstance, workers: dict[int, Path], postgresql_server: Any, tmp_path: Path
) -> None:
    all_of_them = ("ash", "birch", "cedar", "elm", "fir")
    for district_id in all_of_them:
        hold = {"preview": district_id == "cedar"}
        apps = {"sftp": {"trigger": ["on_arrival"]}, "csv_upload": {}}
        district(district_id, apps=apps, hold=hold)
        uploaded(district_id)
    instance.add_dynamic_partitions(str(DISTRICTS.name), list(all_of_them))
    refused = zipped(tmp_path / "OneRoster.zip", [("orgs.csv", b"")])
    started, failure = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE

    with psycopg.connect(postgresql_server.get_uri(database="warehouse_of_celery")) as gate:
        # No import gets on to its plan until this transaction ends.
        gate.execute("LOCK TABLE students IN ACCESS EXCLUSIVE MODE")
        runs = {d: launch(instance, d) for d in ("ash", "elm")}
        processes = {
            d: until(lambda run_id=run_id: process_of(instance, run_id))
            for d, run_id in runs.items()
        }
        killed = next(w for w in workers if processes["ash"] in children(w))
        left = next(w for w in workers if processes["elm"] in children(w))
        assert killed != left
        until(lambda: statuses(runs) == {"ash": ["running"], "elm": ["running"]})
        os.kill(killed, signal.SIGKILL)
        os.kill(processes["ash"], signal.SIGKILL)
        # The first look may come before PostgreSQL has let the lock go.
        until(lambda: look(instance, runs["ash"]) is failure)
        assert [look(instance, runs["elm"]) for _ in range(2)] == [started, started]
        gate.rollback()

    runs |= {d: launch(instance, d) for d in ("cedar", "fir")}
    runs |= {"birch": launch(instance, "birch", app="csv_upload", files=[str(refused)])}
    runs |= {"ash": launch(instance, "ash")}  # as Dagster's retries do
    until(lambda: all(record(instance, r).dagster_run.is_finished for r in runs.values()))

    assert statuses(all_of_them) == {
        "ash": ["failed", "imported"],
        "birch": ["refused"],
        "cedar": ["held"],
        "elm": ["imported"],
        "fir": ["imported"],
    }
    ended = {d: record(instance, r).dagster_run.status for d, r in runs.items()}
    assert [d for d, status in ended.items() if status is not dg.DagsterRunStatus.SUCCESS] == [
        "birch"
    ]
    assert {process_of(instance, r) for r in runs.values()} == {processes["elm"]}
    before, after = imported(workers[left])
    assert before >= LIBRARIES
    assert not after & LIBRARIES


def test_a_worker_that_could_never_get_a_run_does_not_start(home: Path) -> None:
    prepare_home(load_settings())

    with pytest.raises(
        RuntimeError, match=r"WatchedRunLauncher, not by Celery\. Put deploy/celery"
    ):
        importlib.import_module("roster_pipeline.defs.worker")


def test_the_instance_with_workers_is_the_one_on_postgresql_but_for_how_runs_are_started() -> None:
    ours, postgresql = (
        yaml.safe_load((ROOT / "deploy" / folder / "dagster.yaml").read_text(encoding="utf-8"))
        for folder in ("celery", "postgres")
    )
    assert ours.pop("run_launcher")["class"] == "WatchedCeleryRunLauncher"
    assert ours["run_coordinator"]["config"].pop("dequeue_interval_seconds") == 1
    waits = ours["run_monitoring"].pop("start_timeout_seconds")
    assert waits > postgresql["run_monitoring"].pop("start_timeout_seconds")
    del postgresql["run_launcher"]
    assert ours == postgresql
