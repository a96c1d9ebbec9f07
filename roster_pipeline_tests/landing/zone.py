"""A landing zone that runs in a thread of the tests, with two districts, and clients for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
from sqlalchemy import Engine, select

from roster_pipeline.landing.accounts import add_key, open_account, set_password
from roster_pipeline.landing.served_zone import Limits
from roster_pipeline.landing.server import serve
from roster_pipeline.settings import Settings, load_settings, prepare_home
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.tables import landing_log

DISTRICTS = ("oak", "elm")
WAITS = 30.0
"""Seconds in which a slow machine, too, gets to what is waited for."""


def until(condition: Callable[[], Any], seconds: float = WAITS) -> Any:
    """Wait for a condition; returns what it gave at last."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)
    return found


def password_of(district_id: str) -> str:
    return f"right horse battery, {district_id}"


@dataclass
class Zone:
    """A running landing zone: its districts' accounts have a password and one key."""

    settings: Settings
    engine: Engine
    key: Path
    work: Path
    port: int = 0
    host_keys: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def folder(self, district_id: str = "oak") -> Path:
        return self.settings.landing / district_id

    def files(self, district_id: str = "oak") -> dict[str, bytes]:
        """What lies in a folder, the hidden too."""
        found = {}
        for path in self.folder(district_id).glob("*"):
            with suppress(FileNotFoundError):  # it was taken away just now
                found[path.name] = path.read_bytes()
        return found

    def log(self, action: str | None = None) -> list[Any]:
        with reading(self.engine) as conn:
            rows = conn.execute(select(landing_log).order_by(landing_log.c.id)).all()
        return [row for row in rows if action in (None, row.action)]

    def clear(self) -> None:
        """Empty all folders."""
        for district_id in DISTRICTS:
            for path in self.folder(district_id).glob("*"):
                path.unlink()

    def sftp_command(self, user: str = "oak", *options: str) -> list[str]:
        """OpenSSH's `sftp`, batch mode, from standard input, the host key checked."""
        known = self.work / f"known_hosts_{self.port}"
        known.write_text("".join(f"[127.0.0.1]:{self.port} {line}\n" for line in self.host_keys))
        return [
            *("sftp", "-q", *options, "-F", "none", "-b", "-", "-P", str(self.port)),
            *("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "UpdateHostKeys=no"),
            f"{user}@127.0.0.1",
        ]

    def sftp(self, *lines: str, user: str = "oak", options: tuple[str, ...] = ()) -> str:
        """Let `sftp` do these lines, logged in by key; each must succeed unless it begins with `-`.
        Returns what it printed."""
        done = subprocess.run(
            self.sftp_command(user, "-i", str(self.key), *options),
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.work,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def connected(
        self, user: str = "oak", password: str | None = None, source: str = "127.0.0.1"
    ) -> Iterator[paramiko.Transport]:
        """A paramiko connection, logged in by key, or by a password."""
        import socket

        sock = socket.create_connection(("127.0.0.1", self.port), WAITS, (source, 0))
        transport = paramiko.Transport(sock)
        transport.banner_timeout = transport.auth_timeout = WAITS
        try:
            transport.start_client(timeout=WAITS)
            if password is None:
                transport.auth_publickey(user, paramiko.Ed25519Key.from_private_key_file(self.key))
            else:
                transport.auth_password(user, password)
            yield transport
        finally:
            transport.close()

    def ssh(self, **options: Any) -> Any:
        """What `asyncssh.connect` gives, logged in as oak by key."""
        return asyncssh.connect(
            "127.0.0.1",
            self.port,
            username="oak",
            client_keys=[str(self.key)],
            known_hosts=None,
            config=None,
            **options,
        )

    @contextmanager
    def client(self, user: str = "oak") -> Iterator[paramiko.SFTPClient]:
        with self.connected(user) as transport:
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None
            yield client


@contextmanager
def running(zone: Zone, limits: Limits | None = None) -> Iterator[Zone]:
    """Serve the zone until the block ends."""
    ready, errors = threading.Event(), list[BaseException]()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def run() -> None:
        async with serve(zone.settings, "127.0.0.1", 0, limits or zone.limits) as serving:
            zone.port, zone.host_keys = serving.port, serving.host_keys
            ready.set()
            await stopped.wait()

    def work() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:
            errors.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(WAITS)
    if errors:
        raise errors[0]
    try:
        yield zone
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(WAITS)
        assert not thread.is_alive()
        assert not errors, errors


def make_zone(work: Path) -> Zone:
    """A landing zone in a folder, not yet running."""
    settings = load_settings({"ROSTER_HOME": str(work / "home")})
    prepare_home(settings)
    engine = open_warehouse(settings.warehouse_url)
    key = work / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
    subprocess.run(command, check=True)
    now = datetime.now(UTC)
    with engine.begin() as conn:
        for district_id in DISTRICTS:
            open_account(conn, district_id, None, "a test", now)
            set_password(conn, district_id, password_of(district_id), "a test", now)
            add_key(conn, district_id, key.with_suffix(".pub").read_bytes(), "a test", now)
            (settings.landing / district_id).mkdir()
    return Zone(settings, engine, key, work)


def askpass(work: Path, password: str) -> dict[str, str]:
    """The environment in which OpenSSH takes a password from a program."""
    program = work / "askpass"
    program.write_text(f"#!/bin/sh\necho '{password}'\n")
    program.chmod(0o700)
    return {**os.environ, "SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
