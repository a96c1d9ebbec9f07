"""A delivery all the way from a district's SFTP client: server, sensor, daemon, run, warehouse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from roster_pipeline.landing import accounts, arrival
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.end_to_end.deliveries import district, students, without_people
from roster_pipeline_tests.serving import ROOT

ROSTER = (sys.executable, "-c", "from roster_pipeline.cli.main import main; main()")
PASSWORD = "correct horse battery staple"

IN_A_HURRY = """\
from roster_pipeline.defs.sensors import landing_zone_sensor
from roster_pipeline.landing import arrival

arrival.ZIP_QUIET_S = 1
landing_zone_sensor._min_interval = 1

from roster_pipeline.definitions import build_defs

defs = build_defs()
"""
"""The definitions, for a test that cannot wait for a minute."""


def until(what: Callable[[], Any], says: Callable[[], str]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + 240
    while not (answer := what()):
        assert time.monotonic() < deadline, says()
        time.sleep(0.2)
    return answer


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """The process, which ends with the block."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Client:
    """OpenSSH's `sftp`, of a district that logs in by password or by key."""

    def __init__(self, folder: Path, served: dict[str, Any]) -> None:
        self._folder = folder
        lines = [f"[127.0.0.1]:{served['port']} {k['key']}\n" for k in served["host_keys"]]
        (folder / "known_hosts").write_text("".join(lines))
        (folder / "askpass").write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
        (folder / "askpass").chmod(0o700)
        self._port = served["port"]

    def put(self, file: Path, *options: str) -> None:
        """Upload a file as OneRoster.zip."""
        command = ["sftp", "-q", "-F", "none", "-P", str(self._port)]
        command += ["-o", f"UserKnownHostsFile={self._folder / 'known_hosts'}"]
        command += ["-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=60", *options]
        env = os.environ | {
            "SSH_ASKPASS": str(self._folder / "askpass"),
            "SSH_ASKPASS_REQUIRE": "force",
        }
        result = subprocess.run(
            [*command, "oak@127.0.0.1"],
            input=f'put "{file}" OneRoster.zip\n',
            env=env,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_what_a_district_uploads_is_imported_once_and_again_when_it_changes(
    roster: Roster, nothing_required: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "ZIP_QUIET_S", 1)
    assert roster("district", "add", "oak", "--name", "Oak County").code == 0
    settings = load_settings()
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    engine, now = open_warehouse(settings.warehouse_url), datetime.now(UTC)
    with engine.begin() as conn:
        accounts.open_account(conn, "oak", "oak", "test", now)
        accounts.set_password(conn, "oak", PASSWORD, "test", now)
        accounts.add_key(conn, "oak", key.with_suffix(".pub").read_bytes(), "test", now)
    frames = district(300)
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    write_package(first, frames)
    write_package(second, without_people(frames, students(frames).head(3)))
    env = os.environ | settings.environment() | {"PYTHONPATH": str(ROOT)}
    hurry = tmp_path / "in_a_hurry.py"
    hurry.write_text(IN_A_HURRY)
    log = tmp_path / "daemon.log"

    def imports() -> list[tuple[str, str]]:
        """App and status of all imports that have ended, oldest first."""
        with reading(engine) as conn:
            found = ledger.imports(conn, "oak")
        return [(i.app, i.status) for i in reversed(found) if i.status != "running"]

    with (
        ended(
            subprocess.Popen(
                [*ROSTER, "landing", "serve", "--format", "json"],
                env=env | {"ROSTER_LANDING_PORT": "0"},
                stdout=subprocess.PIPE,
                text=True,
            )
        ) as server,
        log.open("w") as said,
        ended(
            subprocess.Popen(
                [sys.executable, "-m", "dagster._daemon", "run", "-f", str(hurry)],
                env=env,
                cwd=tmp_path,
                stdout=said,
                stderr=said,
            )
        ),
        dg.DagsterInstance.from_config(str(settings.dagster)) as instance,
    ):
        assert server.stdout is not None
        client = Client(tmp_path, _document(server.stdout))

        def runs() -> list[dg.DagsterRun]:
            return list(instance.get_runs())

        def looks() -> int:
            """How many looks of the sensor have ended."""
            return sum(
                len(instance.get_ticks(state.instigator_origin_id, state.selector_id))
                for state in instance.all_instigator_state()
                if state.instigator_name == "landing_zone_sensor"
            )

        client.put(first, "-o", "PreferredAuthentications=password")
        until(lambda: imports() == [("sftp", "imported")], log.read_text)
        (run,) = runs()
        assert run.tags["roster/trigger"] == "on_arrival"
        assert run.tags["dagster/partition"] == "oak"

        before = looks()
        client.put(first, "-o", "PreferredAuthentications=publickey", "-i", str(key))
        until(lambda: looks() >= before + 3, log.read_text)
        assert len(runs()) == 1
        status = roster("landing", "status", "oak", "--format", "json").json()
        assert [(zone["state"], zone["status"]) for zone in status] == [("taken", "imported")]

        client.put(second, "-o", "PreferredAuthentications=publickey", "-i", str(key))
        until(lambda: len(imports()) == 2, log.read_text)
        assert imports() == [("sftp", "imported")] * 2
        assert len(runs()) == 2
    counts = roster("show", 2, "--format", "json").json()["counts"]["student"]
    assert counts["deleted"] == 3
    engine.dispose()


def _document(stream: Any) -> Any:
    """The first JSON document a process prints."""
    text = ""
    while True:
        line = stream.readline()
        assert line, text
        text += line
        if line.rstrip() == "}":
            return json.loads(text)
