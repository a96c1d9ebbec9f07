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
from pathlib import Path

import pytest

from roster_pipeline.cli.ui import UiError, allowed_hosts, serve_ui
from roster_pipeline.settings import load_settings


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


@pytest.mark.slow
def test_the_ui_starts_guarded_and_ends_with_all_its_children(tmp_path: Path) -> None:
    code = (
        "from roster_pipeline.cli.ui import serve_ui\n"
        "from roster_pipeline.settings import load_settings\n"
        "serve_ui(load_settings(), port=0)\n"
    )
    env = {**os.environ, "ROSTER_HOME": str(tmp_path)}
    for variable in ("DAGSTER_HOME", "ROSTER_WAREHOUSE_URL", "ROSTER_EXPECTATIONS"):
        env.pop(variable, None)
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=stream)
    children: set[int] = set()
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"Dagster UI: (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        address = found[1]
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
    finally:
        process.kill()
        for pid in children:
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)
