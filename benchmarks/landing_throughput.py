"""The landing zone's server beside OpenSSH's: `python benchmarks/landing_throughput.py`.

Starts `sshd` with internal-sftp and `roster landing serve`, each a process of its own on loopback,
and moves the same file by OpenSSH's `sftp` up and down, in turn, then four files up at once. The
time is that of the whole `sftp` process, login and all; figures are medians in MB/s.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from roster_pipeline.landing.accounts import add_key, open_account
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse.database import open_warehouse

DISTRICT = "bench"


@dataclass(frozen=True)
class Server:
    """Where a server listens, for whom, and which folder a client's files lie in there."""

    name: str
    port: int
    user: str
    folder: str


@contextmanager
def our_server(work: Path, key: Path) -> Iterator[Server]:
    """`roster landing serve` with one account."""
    env = {**os.environ, "ROSTER_HOME": str(work / "home"), "ROSTER_LANDING_PORT": "0"}
    settings = load_settings(env)
    prepare_home(settings)
    engine = open_warehouse(settings.warehouse_url)
    with engine.begin() as conn:
        now = datetime.now(UTC)
        open_account(conn, DISTRICT, None, "benchmark", now)
        add_key(conn, DISTRICT, key.with_suffix(".pub").read_bytes(), "benchmark", now)
    engine.dispose()
    command = "from roster_pipeline.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "landing", "serve", "--format", "json"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        while not said.endswith("\n}\n"):
            said += process.stdout.readline()
        yield Server("roster landing serve", json.loads(said)["port"], DISTRICT, "")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def sshd(work: Path, key: Path) -> Iterator[Server]:
    """OpenSSH's server, with its own SFTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (work / "files").mkdir()
    host_key = work / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
    config = work / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {host_key}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {key.with_suffix('.pub')}\nStrictModes no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "sshd is not installed"
    process = subprocess.Popen([program, "-D", "-f", config], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield Server("sshd internal-sftp", port, getpass.getuser(), f"{work}/files/")
    finally:
        process.terminate()
        process.wait()


def start(server: Server, key: Path, options: list[str], line: str) -> subprocess.Popen[str]:
    """An `sftp` that does one thing."""
    process = subprocess.Popen(
        [
            *("sftp", "-q", "-b", "-", "-P", str(server.port), "-i", str(key)),
            *("-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", *options),
            f"{server.user}@127.0.0.1",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.close()
    return process


def seconds(processes: list[subprocess.Popen[str]], started: float) -> float:
    """When all have ended, well."""
    for process in processes:
        if process.wait() != 0:
            raise SystemExit("sftp failed")
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cipher", help="what sftp asks for; by default what it prefers itself")
    chosen = parser.parse_args()
    options = ["-c", chosen.cipher] if chosen.cipher else []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        work = Path(name)
        key, file, back = work / "key", work / "OneRoster.zip", work / "back.zip"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        file.write_bytes(os.urandom(chosen.megabytes * 1_000_000))
        servers = [
            stack.enter_context(sshd(work, key)),
            stack.enter_context(our_server(work, key)),
        ]
        taken: dict[tuple[str, str], list[float]] = {}
        for run in range(chosen.runs + 1):  # the first is not counted
            for server in servers:
                for what, lines in {
                    "up": [f"put {file} {server.folder}OneRoster.zip\n"],
                    "down": [f"get {server.folder}OneRoster.zip {back}\n"],
                    "4 up at once": [f"put {file} {server.folder}part{i}.zip\n" for i in range(4)],
                }.items():
                    started = time.perf_counter()
                    took = seconds([start(server, key, options, line) for line in lines], started)
                    if run:
                        rate = len(lines) * chosen.megabytes / took
                        taken.setdefault((what, server.name), []).append(rate)
                    time.sleep(0.5)  # what is still being hashed is not the next one's burden
        print(f"{chosen.megabytes} MB, median of {chosen.runs}, MB/s")
        print(f"{'':14}{servers[0].name:>22}{servers[1].name:>22}{'ratio':>8}")
        for what in ("up", "down", "4 up at once"):
            theirs, ours = (statistics.median(taken[what, s.name]) for s in servers)
            print(f"{what:14}{theirs:22.0f}{ours:22.0f}{ours / theirs:8.2f}")
        once, four = (statistics.median(taken[w, servers[1].name]) for w in ("up", "4 up at once"))
        print(f"four uploads at once reach {four / once:.2f} of one")


if __name__ == "__main__":
    main()
