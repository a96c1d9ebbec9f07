"""`roster landing serve`: what it says, how it ends, what it says when it cannot begin."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from roster_pipeline_tests.conftest import Roster


def test_serve_says_where_it_is_and_by_which_keys_it_is_known_and_ends_when_told(
    home: Path,
) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from roster_pipeline.cli.main import main; main()"),
            *("landing", "serve", "--format", "json"),
        ],
        env={**os.environ, "ROSTER_LANDING_PORT": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        while not said.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            said += line
        told = json.loads(said)
        with socket.create_connection((told["host"], told["port"]), 30) as client:
            assert client.recv(100).startswith(b"SSH-2.0-roster\r\n")
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")
    public = (home / "keys" / "landing_ed25519.pub").read_text().strip()
    assert told["host_keys"][0]["key"] == public
    assert [key["fingerprint"][:7] for key in told["host_keys"]] == ["SHA256:", "SHA256:"]


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("127.0.0.1", None, "another server is there"),
        ("192.0.2.1", "0", "this machine has no such address"),
    ],
)
def test_serve_says_why_it_cannot_listen(
    roster: Roster, monkeypatch: pytest.MonkeyPatch, host: str, port: str | None, why: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("ROSTER_LANDING_HOST", host)
        monkeypatch.setenv("ROSTER_LANDING_PORT", port or str(taken.getsockname()[1]))
        said = roster("landing", "serve")
    assert said.code == 2
    assert why in said.err
    assert f"{host} port" in said.err
