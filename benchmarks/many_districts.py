"""Many districts: `python -m benchmarks.many_districts`; needs `redis-server`.

1. So many districts of 500 students each lay their first delivery into their landing zones.
   Dagster's daemon sees them, its queue hands the runs to two warm workers (deploy/celery), and all
   is in PostgreSQL. One delivery must be refused, one import waits for a person, all others must be
   imported, or the benchmark ends with an error. Measured is from the moment the first run is asked
   for to the end of the last, per district.
2. The same for a few districts with the default launcher (deploy/postgres), which starts a process
   for each run.
3. 2,000 districts are registered, all with a delivery that was imported: how long the evaluation of
   the schedule takes when none is due and when all are, the sensor's decision, `roster district
   list`, and what the UI asks for to show an asset's partitions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.imports import ROOT, ROSTER, databases, machine, run_process

STUDENTS = 500
WORKERS = 2
REGISTERED = 2000
HELD, REFUSED = "d0000", "d0001"
WORKER = (sys.executable, "-m", "celery", "--app", "roster_pipeline.defs.worker", "worker")
DAEMON = (sys.executable, "-c", "from dagster._daemon.cli import main; main()", "run")
PARTITIONS = """{ assetNodes(assetKeys: [{path: ["landing_snapshot"]}]) { partitionKeys
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions unmaterializedPartitions materializingPartitions } } } }
"""


def name_of(number: int) -> str:
    return f"d{number:04d}"


def write_district(home: Path, number: int, **more: Any) -> Path:
    """A district's file; returns its landing zone."""
    district_id = name_of(number)
    told = {
        "name": f"District {number}",
        "timezone": "UTC",
        "apps": {"sftp": {"trigger": ["on_arrival"]}},
        "schools": {"auto_map": True},
        "hold": {"preview": district_id == HELD},
        **more,
    }
    (home / "districts").mkdir(parents=True, exist_ok=True)
    (home / "districts" / f"{district_id}.yaml").write_text(json.dumps(told))  # which is YAML
    landing = home / "landing" / district_id
    landing.mkdir(parents=True)
    return landing


def deliver(home: Path, districts: int) -> None:
    """A first delivery of each district, which nobody has touched for a while."""
    from roster_pipeline.oneroster.writer import write_package
    from roster_pipeline.sample import make_district

    an_hour_ago = time.time() - 3600
    for number in range(districts):
        package = write_district(home, number) / "OneRoster.zip"
        write_package(package, make_district(STUDENTS, number))
        if name_of(number) == REFUSED:
            with zipfile.ZipFile(package, "w") as archive:
                archive.writestr("orgs.csv", "sourcedId,name\n1,Oak\n")
        os.utime(package, (an_hour_ago, an_hour_ago))


@contextmanager
def running(*command: str, log: Path, ready: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children, for as long as the block lasts; begins when it has said it is
    ready."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        while ready not in log.read_text(errors="replace"):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def installed(home: Path, instance: str, new_database: Callable[[str], str], name: str) -> None:
    """Let the environment be that of an installation with one of deploy/'s dagster.yaml."""
    from roster_pipeline.settings import load_settings, prepare_home
    from roster_pipeline.warehouse.database import open_warehouse

    dagster = new_database(f"dagster_{name}").replace("postgresql:", "postgresql+psycopg2:")
    os.environ |= {
        "ROSTER_HOME": str(home),
        "ROSTER_WAREHOUSE_URL": new_database(f"warehouse_{name}"),
        "DAGSTER_HOME": str(home / "dagster"),
        "DAGSTER_POSTGRES_URL": dagster,
    }
    (home / "dagster").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / instance / "dagster.yaml", home / "dagster")
    settings = load_settings()
    prepare_home(settings)
    open_warehouse(settings.warehouse_url).dispose()


def import_all(work: Path, districts: int) -> float:
    """Let the daemon import what lies in the landing zones; seconds per district."""
    import dagster as dg

    command = (*DAEMON, "--workspace", str(ROOT / "workspace.yaml"))
    finished = 0
    with (
        dg.DagsterInstance.get() as instance,
        running(*command, log=work / "daemon.log") as daemon,
    ):
        while finished < districts:
            if daemon.poll() is not None:
                raise SystemExit((work / "daemon.log").read_text())
            time.sleep(0.5)
            records = instance.get_run_records(dg.RunsFilter(job_name="import_roster"))
            finished = sum(record.dagster_run.is_finished for record in records)
    begun = min(record.create_timestamp.timestamp() for record in records)
    ended = max(record.end_time or 0 for record in records)
    return (ended - begun) / districts


def check_outcomes(districts: int) -> None:
    """End the benchmark when the imports did not come to what they must."""
    from roster_pipeline.settings import load_settings
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import opened, reading

    with opened(load_settings().warehouse_url) as engine, reading(engine) as conn:
        found = {i.district_id: i.status for i in ledger.imports(conn, limit=None)}
    wanted = {name_of(number): "imported" for number in range(districts)}
    wanted |= {HELD: "held", REFUSED: "refused"}
    if found != wanted:
        raise SystemExit(f"Not what it must come to: {found.items() ^ wanted.items()}")


def measure_workers(work: Path, new_database: Callable[[str], str], districts: int) -> float:
    """Seconds per district in warm workers."""
    home, port = work / "workers", free_port()
    os.environ["ROSTER_CELERY_URL"] = f"redis://127.0.0.1:{port}/0"
    installed(home, "celery", new_database, "workers")
    deliver(home, districts)
    redis = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    options = ("--concurrency", str(WORKERS), "--loglevel", "INFO")
    with (
        running(*redis, "--dir", str(work), log=work / "redis.log", ready="Ready to accept"),
        running(*WORKER, *options, log=work / "worker.log", ready=" ready."),
    ):
        seconds = import_all(work, districts)
    check_outcomes(districts)
    return seconds


def measure_processes(work: Path, new_database: Callable[[str], str], districts: int) -> float:
    """Seconds per district with a process for each run."""
    installed(work / "processes", "postgres", new_database, "processes")
    deliver(work / "processes", districts)
    seconds = import_all(work, districts)
    check_outcomes(districts)
    return seconds


def seconds_of(what: Callable[[], Any]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def register(home: Path) -> None:
    """2,000 districts, all of whose landing zones hold what was imported last."""
    from roster_pipeline.landing.zones import record_taken
    from roster_pipeline.oneroster.writer import write_package
    from roster_pipeline.sample import make_district
    from roster_pipeline.settings import load_settings
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import opened

    package, an_hour_ago = home / "OneRoster.zip", time.time() - 3600
    write_package(package, make_district(20, 1))
    os.utime(package, (an_hour_ago, an_hour_ago))
    now = datetime.now(UTC)
    with opened(load_settings().warehouse_url) as engine:
        for number in range(REGISTERED):
            apps = {"sftp": {"trigger": ["on_arrival", "schedule"]}}
            schedule = {"when": "daily", "at": "02:00"}
            shutil.copy2(package, write_district(home, number, apps=apps, schedule=schedule))
            import_id = ledger.start_import(engine, name_of(number), "sftp", None, False, "", now)
            with engine.begin() as conn:
                record_taken(conn, name_of(number), "0" * 64, import_id, now)
                ledger.finish_import(conn, import_id, "imported", now)


def measure_registered(work: Path, new_database: Callable[[str], str]) -> dict[str, float]:
    """Seconds of what is done for all districts at once, when 2,000 are registered."""
    import dagster as dg

    from roster_pipeline.defs.partitions import DISTRICTS
    from roster_pipeline.defs.resources import HouseResource
    from roster_pipeline.defs.schedules import sync_schedule
    from roster_pipeline.defs.sensors import landing_zone_sensor

    home = work / "registered"
    installed(home, "postgres", new_database, "registered")
    register(home)
    house, names = HouseResource(), [name_of(number) for number in range(REGISTERED)]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(str(DISTRICTS.name), names)

        def evaluate(after_midnight: timedelta) -> object:
            moment = midnight + after_midnight
            with dg.build_schedule_context(instance, moment, resources={"house": house}) as context:
                return sync_schedule(context)

        def look() -> object:
            return landing_zone_sensor(dg.build_sensor_context(instance), house=house)

        measured = {
            "schedule, the first evaluation of a process": seconds_of(
                lambda: evaluate(timedelta(hours=1))
            ),
            "schedule, none due": seconds_of(lambda: evaluate(timedelta(hours=1, minutes=5))),
        }
        for name, what in (
            ("sensor, the first look", look),
            ("sensor, when all deliveries have settled and are read", look),
            ("sensor", look),
            ("schedule, all due", lambda: evaluate(timedelta(hours=2))),
        ):
            measured[name] = seconds_of(what)
    listing = run_process((*ROSTER, "district", "list"), os.environ)
    measured["`roster district list`, whole process"] = listing.seconds
    log = work / "ui.log"
    with running(*ROSTER, "ui", "--port", "0", log=log, ready="Dagster UI: "):
        address = re.search(r"Dagster UI: (http://\S+)", log.read_text())
        assert address is not None
        request = urllib.request.Request(
            f"{address[1]}/graphql",
            json.dumps({"query": PARTITIONS}).encode(),
            {"Content-Type": "application/json"},
        )

        def ask() -> None:
            with urllib.request.urlopen(request, timeout=120) as response:
                (node,) = json.load(response)["data"]["assetNodes"]
            if len(node["partitionKeys"]) != REGISTERED:
                raise SystemExit(f"Not all partitions are there: {node}")

        ask()
        measured["the partitions of an asset, for the UI"] = seconds_of(ask)
    return measured


def as_text(measured: Mapping[str, float], told: str) -> str:
    """A table, in MarkDown."""
    rows = [f"| {name} | {seconds:.2f} |" for name, seconds in measured.items()]
    return "\n".join([told, "", "|  | seconds |", "| --- | ---: |", *rows])


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--districts", type=int, default=100)
    parser.add_argument("--in-processes", type=int, default=6, help="with the default launcher")
    chosen = parser.parse_args()
    few, many = chosen.in_processes, chosen.districts
    with tempfile.TemporaryDirectory(prefix="roster-bench-") as folder:
        work = Path(folder)
        with databases("postgresql") as new_database:
            measured = {
                f"a district of {STUDENTS}, of {many} in {WORKERS} warm workers": measure_workers(
                    work, new_database, many
                )
            }
            print(measured, file=sys.stderr, flush=True)
            measured |= {
                f"the same, of {few}, each in a process of its own": measure_processes(
                    work, new_database, few
                )
            }
            print(measured, file=sys.stderr, flush=True)
            registered = measure_registered(work, new_database)
            measured |= {f"{REGISTERED:,} districts: {n}": s for n, s in registered.items()}
    load = f"load at the end {os.getloadavg()[1]:.1f}"
    kind = ", ".join(f"{name} {what}" for name, what in machine().items())
    print(as_text(measured, f"Measured on {datetime.now(UTC):%Y-%m-%d}, {load}. {kind}."))


if __name__ == "__main__":
    main()
