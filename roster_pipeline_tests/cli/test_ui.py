"""`roster ui` serves Dagster behind the guard and ends all it started."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from roster_pipeline.cli.ui import UiError, allowed_hosts, serve_ui
from roster_pipeline.definitions import defs
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import make_district
from roster_pipeline.settings import load_settings
from roster_pipeline_tests.conftest import Roster


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("127.0.0.1", 3000, ["127.0.0.1:3000", "localhost:3000"]),
        ("0.0.0.0", 3000, ["127.0.0.1:3000", "localhost:3000"]),
        ("roster.lan", 3000, ["roster.lan:3000", "127.0.0.1:3000", "localhost:3000"]),
        ("::1", 3000, ["127.0.0.1:3000", "localhost:3000", "[::1]:3000"]),
        ("127.0.0.1", 80, ["127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"]),
    ],
)
def test_the_ui_answers_to_the_names_of_where_it_listens(
    host: str, port: int, expected: list[str]
) -> None:
    assert allowed_hosts(host, port) == expected


def test_a_port_that_is_taken_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UiError, match=f"Port {port} is taken.*--port"):
            serve_ui(load_settings({"ROSTER_HOME": str(tmp_path)}), port=port)


def _answer(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _children(pid: int) -> set[int]:
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in found.stdout.splitlines()]
    children = {child for child, parent in pairs if parent == pid}
    return children.union(*(_children(child) for child in children)) if children else children


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _serving(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """A UI on a free port: its address, its process, and what it says. All ends with the block."""
    code = (
        "from roster_pipeline.cli.ui import serve_ui\n"
        "from roster_pipeline.settings import load_settings\n"
        "serve_ui(load_settings(), port=0)\n"
    )
    env = {**os.environ, "ROSTER_HOME": str(home)}
    for variable in ("DAGSTER_HOME", "ROSTER_WAREHOUSE_URL", "ROSTER_EXPECTATIONS"):
        env.pop(variable, None)
    log = home / "log"
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=stream)
    children: set[int] = set()
    try:
        _wait_for(lambda: "Dagster UI: " in log.read_text(), process, log)
        found = re.search(r"Dagster UI: (http://\S+)", log.read_text())
        assert found is not None
        children = _children(process.pid)
        yield found[1], process, log
    finally:
        process.kill()
        for pid in children | _children(process.pid):
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)


def _wait_for(there: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _graphql(address: str, query: str, **variables: object) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Content-Type": "application/json"}
    code, text = _answer(urllib.request.Request(f"{address}/graphql", body, headers))
    assert code == 200, text
    return json.loads(text)["data"]


@pytest.mark.slow
def test_the_ui_starts_guarded_and_ends_with_all_its_children(tmp_path: Path) -> None:
    with _serving(tmp_path) as (address, process, log):
        query = json.dumps({"query": "{ version }"}).encode()
        headers = {"Content-Type": "application/json"}
        own = urllib.request.Request(f"{address}/graphql", query, headers)
        foreign = urllib.request.Request(
            f"{address}/graphql", query, {**headers, "Origin": "https://evil.example"}
        )
        by_get = urllib.request.Request(f"{address}/graphql?query={{version}}")
        assert _answer(own)[0] == 200
        assert '"version"' in _answer(own)[1]
        assert _answer(foreign)[0] == 403
        assert _answer(by_get)[0] == 405
        children = _children(process.pid)
        assert len(children) >= 2  # the daemon and the code server
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
        deadline = time.monotonic() + 30
        while alive := {pid for pid in children if _alive(pid)}:
            assert time.monotonic() < deadline, f"still there: {alive}"
            time.sleep(0.2)


@pytest.mark.slow
def test_all_assets_of_a_district_are_materialised_from_the_ui(home: Path, roster: Roster) -> None:
    assert roster("district", "add", "oak", "--name", "Oak").code == 0
    write_package(home / "landing" / "oak" / "OneRoster.zip", make_district(300))
    keys = [key.path for key in defs.resolve_asset_graph().get_all_asset_keys()]
    launch = (
        "mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) "
        "{ ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
    )
    run = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    with _serving(home) as (address, process, log):
        chosen = {
            "selector": {
                "repositoryLocationName": "roster_pipeline.definitions",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": path} for path in keys],
            },
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "oak"}]},
        }
        launched = _graphql(address, launch, p=chosen)["launchPipelineExecution"]
        run_id = launched["run"]["runId"]

        def status() -> str:
            return str(_graphql(address, run, id=run_id)["runOrError"]["status"])

        _wait_for(lambda: status() in ("SUCCESS", "FAILURE", "CANCELED"), process, log)
        assert status() == "SUCCESS"
    assert roster("show", "1", "--format", "json").json()["counts"]["student"]["added"] == 300
