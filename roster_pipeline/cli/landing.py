"""`roster landing`: the SFTP server that districts drop their deliveries into."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from roster_pipeline.cli import accounts, landing_status
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json
from roster_pipeline.settings import load_landing_address, load_settings, prepare_home

if TYPE_CHECKING:
    from roster_pipeline.landing.server import Serving

app = typer.Typer(help="The SFTP landing zone and its accounts.", no_args_is_help=True)
accounts.add_commands(app)
app.command()(landing_status.status)


@app.callback()
def landing() -> None:
    """The SFTP landing zone and its accounts."""


@app.command()
def serve(format: FormatOption = Format.table) -> None:
    """Run the SFTP server, until it is stopped (Ctrl-C, SIGTERM). ROSTER_LANDING_HOST and
    ROSTER_LANDING_PORT say where it listens."""
    import asyncio
    import errno
    import logging
    import resource
    import signal
    import socket

    from roster_pipeline.landing import server

    settings, address = load_settings(), load_landing_address()
    prepare_home(settings)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("roster.landing").setLevel(logging.INFO)

    # Each connection and each open file is a descriptor; 1024 are soon used up.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))

    async def run() -> None:
        stopped = asyncio.Event()
        for stop in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(stop, stopped.set)
        async with server.serve(settings, address.host, address.port) as serving:
            _print_serving(serving, format)
            await stopped.wait()

    try:
        asyncio.run(run())
    except OSError as error:
        says = {
            errno.EADDRINUSE: "another server is there",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "ports below 1024 are for the system's administrator",
            socket.EAI_NONAME: "there is no such host",
            socket.EAI_AGAIN: "there is no such host, or no answer about it",
        }
        if error.errno not in says or error.filename is not None:
            raise
        fail(
            f"The landing zone cannot listen on {address.host} port {address.port}: "
            f"{says[error.errno]}. ROSTER_LANDING_HOST and ROSTER_LANDING_PORT say where it does.",
            2,
        )


def _print_serving(serving: Serving, format: Format) -> None:
    """Say where the server is and how to know it, at once, also into a pipe."""
    from roster_pipeline.landing.host_keys import fingerprint

    keys = [{"key": line, "fingerprint": fingerprint(line)} for line in serving.host_keys]
    if format is Format.json:
        print_json({"host": serving.host, "port": serving.port, "host_keys": keys})
    else:
        out = console()
        out.print(f"The landing zone takes SFTP on {serving.host} port {serving.port}.")
        for key in keys:
            out.print(f"Host key {key['fingerprint']} ({key['key'].split()[0]})")
    sys.stdout.flush()
