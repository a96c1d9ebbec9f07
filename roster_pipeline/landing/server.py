"""The landing zone: an SFTP server that can do what a delivery needs and nothing else.

asyncssh speaks SSH. Here it is set up, with no forwarding of any kind, no agent, no X11; who may
log in is in `connection`, what a session may do in `sftp`, what all of them share in `served_zone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncssh
from asyncssh.kex import get_kex_algs

from roster_pipeline.landing.algorithms import CIPHERS, KEY_EXCHANGES, MACS, SIGNATURES
from roster_pipeline.landing.connection import Connection
from roster_pipeline.landing.host_keys import host_keys, public_line
from roster_pipeline.landing.served_zone import Limits, ServedZone
from roster_pipeline.settings import Settings
from roster_pipeline.warehouse.database import open_warehouse

USUAL_LIMITS = Limits()


@dataclass(frozen=True)
class Serving:
    """A running server: where, and its host keys' public halves (as in known_hosts, without the
    host)."""

    host: str
    port: int
    host_keys: tuple[str, ...]


@asynccontextmanager
async def serve(
    settings: Settings, host: str, port: int, limits: Limits = USUAL_LIMITS
) -> AsyncIterator[Serving]:
    """Serve the landing zone until the block ends; port 0 takes a free one.

    Raises OSError when the port is taken, WarehouseError when the warehouse cannot be used.
    """
    engine = open_warehouse(settings.warehouse_url)
    keys = host_keys(settings.keys)
    zone = ServedZone(settings, engine, limits)
    try:
        known = {name.decode() for name in get_kex_algs()}
        acceptor = await asyncssh.listen(
            host,
            port,
            server_factory=lambda: Connection(zone),
            server_host_keys=keys,
            server_version="roster",
            kex_algs=[name for name in KEY_EXCHANGES if name in known],
            encryption_algs=CIPHERS,
            mac_algs=MACS,
            signature_algs=SIGNATURES,
            compression_algs=None,
            config=None,
            encoding=None,
            gss_host=None,
            host_based_auth=False,
            kbdint_auth=False,
            allow_pty=False,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            login_timeout=limits.login_seconds,
            keepalive_interval=limits.keepalive_seconds,
        )
        watch = asyncio.create_task(zone.watch_credentials())
        try:
            yield Serving(host, acceptor.get_port(), tuple(public_line(key) for key in keys))
        finally:
            watch.cancel()
            acceptor.close()
            await zone.close()
    finally:
        zone.end()
        engine.dispose()
