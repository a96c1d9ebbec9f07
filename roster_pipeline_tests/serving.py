"""`roster ui` in a process of its own, for tests that ask it over HTTP or show it to a browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROSTER = (sys.executable, "-c", "from roster_pipeline.cli.main import main; main()")
ROOT = Path(__file__).parent.parent
LOCATION = "roster_pipeline.definitions"
STAGES = (
    "landing_snapshot",
    "parsed_roster",
    "mapped_roster",
    "complete_roster",
    "filtered_roster",
    "unique_roster",
    "linked_roster",
    "school_mapped_roster",
    "sync_plan",
)
"""The assets an import passes through, in this order, before the warehouse's tables."""

LAUNCH = (
    "mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) "
    "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
)


@dataclass(frozen=True)
class Served:
    """A UI that runs: its address, its process, and the file with what it says."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def graphql(self, query: str, **variables: object) -> Any:
        """The data with which a query is answered."""
        code, text = answer(self.request("/graphql", {"query": query, "variables": variables}))
        assert code == 200, text
        return json.loads(text)["data"]

    def request(self, path: str, body: object, **headers: str) -> urllib.request.Request:
        return urllib.request.Request(
            self.address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **headers},
        )

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Wait until something is so; fails when the UI ends or it takes too long."""
        wait_for(there, self.process, self.log)


@contextmanager
def serving(home: Path, *options: str) -> Iterator[Served]:
    """A `roster ui` on a free port; all its processes end with the block."""
    env = {**os.environ, "ROSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    log = home.with_name(f"{home.name}-ui.log")
    with log.open("w") as stream:
        command = [*ROSTER, "ui", "--port", "0", *options]
        process = subprocess.Popen(command, env=env, stdout=stream, stderr=stream)
    started: set[int] = set()
    try:
        wait_for(lambda: "Dagster UI: " in log.read_text(), process, log)
        found = re.search(r"Dagster UI: (http://\S+)", log.read_text())
        assert found is not None
        started = children(process.pid)
        yield Served(found[1], process, log)
    finally:
        left = started | children(process.pid)
        process.kill()
        process.wait()
        for pid in left:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def wait_for(there: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def answer(request: urllib.request.Request) -> tuple[int, str]:
    """Status and body with which a request is answered."""
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def children(pid: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in found.stdout.splitlines()]

    def below(parent: int) -> set[int]:
        direct = {child for child, its in pairs if its == parent}
        return direct.union(*(below(child) for child in direct))

    return below(pid)


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def launch_params(
    job: str, district_id: str, run_config: object = None, **selector: object
) -> dict[str, object]:
    """What `launchPipelineExecution` needs to start a job for a district."""
    return {
        "selector": {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "pipelineName": job,
            **selector,
        },
        "runConfigData": run_config or {},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": district_id}]},
    }
