"""`roster ui`: Dagster's UI and daemon, behind the guard.

One process serves the UI: Dagster's own web application is mounted in it, so that there is no
second, unguarded port. The daemon (schedules, sensors, the queue of runs) and one server of the
project's code, which both use, are its children and end with it; `dagster dev` does the same, but
without the guard. Where the daemon and the code server are services of their own (deploy/), the UI
is started without a daemon, and a workspace file leads it to the code server. A read-only UI never
has a daemon: it is for many readers, beside the one that acts.

From Dagster this takes what `dagster dev` and `dagster-webserver` are made of, which is no public
interface: setup.py keeps Dagster below its next minor version, and a test starts the UI.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roster_pipeline.settings import Settings, prepare_home, project_folder

if TYPE_CHECKING:
    import uvicorn
    from dagster import DagsterInstance
    from dagster._cli.proxy_server_manager import ProxyServerManager

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
DAEMON_PATIENCE_S = 20
"""How long the daemon may take to end before it is killed."""


class UiError(RuntimeError):
    """The UI cannot be started or go on; the message says why and what to do."""


@dataclass(frozen=True)
class UiOptions:
    """How the UI is served.

    port: 0 takes any free one. host: the address to listen on. url: where browsers open it
    (`https://roster.example.org`, of a proxy in front of it), if not where it listens. workspace:
    the file that says where the code is; None is the project's own.
    """

    port: int = 3000
    host: str = "127.0.0.1"
    url: str | None = None
    workspace: Path | None = None
    daemon: bool = True
    read_only: bool = False
    open_browser: bool = False


def serve_ui(settings: Settings, options: UiOptions) -> None:
    """Serve the UI until Ctrl-C or SIGTERM. To be called in the main thread of a process that does
    nothing else: it sets the process's environment and signal handling."""
    if options.workspace is not None and not options.workspace.is_file():
        raise UiError(f"There is no workspace file {options.workspace}.")
    prepare_home(settings)
    os.environ.update(settings.environment())
    # As Ctrl-C, so that children are ended whatever moment it comes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(options.host, options.port))
        port = listener.getsockname()[1]
        addresses = allowed_addresses(options.host, port, options.url)
        # Where the daemon's mails lead to.
        os.environ["ROSTER_UI_URL"] = options.url or addresses[0]
        if options.host not in LOOPBACK:
            _say(f"Whoever can reach {options.host}:{port} can now use the UI: it has no login.")
        try:
            _serve(stack, listener, addresses, options)
        except KeyboardInterrupt:
            _say("Ending the UI.")


def allowed_addresses(host: str, port: int, url: str | None = None) -> list[str]:
    """Under which addresses browsers may open a UI that listens there, the one to show first; as
    an Origin header gives them. Raises UiError for a url that is none."""
    names = ["127.0.0.1", "localhost"]
    if host not in LOOPBACK | EVERY_ADDRESS:
        names.insert(0, host)
    if ":" in host:
        names = [name for name in names if name != host] + [f"[{host}]"]
    suffix = "" if port == 80 else f":{port}"
    local = [f"http://{name}{suffix}" for name in names]
    proxy = _origin(url) if url else None
    # Another port of this machine is not ours, but another program's.
    return [proxy, *local] if proxy and _host(proxy) not in LOOPBACK else local


def _origin(url: str) -> str:
    found = re.fullmatch(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]+))?/?", url.lower())
    if found is None:
        raise UiError(
            f"ROSTER_UI_URL is {url!r}, but the UI can only be served at the root of an address: "
            "https://roster.example.org"
        )
    scheme, name, port = found.groups()
    usual = port is None or port == {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{name}" if usual else f"{scheme}://{name}:{port}"


def _host(origin: str) -> str:
    return urlsplit(origin).hostname or ""


def _serve(
    stack: ExitStack, listener: socket.socket, addresses: list[str], options: UiOptions
) -> None:
    _say("Loading the pipeline …")
    # Seconds of imports, after the port is known to be free.
    import uvicorn
    from dagster import DagsterInstance
    from dagster._cli.proxy_server_manager import ProxyServerManager
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import (
        DEFAULT_DB_STATEMENT_TIMEOUT,
        DEFAULT_POOL_MAX_OVERFLOW,
        DEFAULT_POOL_RECYCLE,
    )
    from dagster_webserver.version import __version__ as webserver_version

    from roster_pipeline.cli.guard import Guard
    from roster_pipeline.cli.reader import reading_app

    instance = stack.enter_context(DagsterInstance.get())
    instance.optimize_for_webserver(
        DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
    )
    # Where code locations of one's own can be added.
    project = WorkspaceFileTarget([str(options.workspace or project_folder() / "workspace.yaml")])
    code = stack.enter_context(ProxyServerManager(instance, project, "warning"))
    workspace = stack.enter_context(_workspace_file(code))
    context = stack.enter_context(
        WorkspaceProcessContext(
            instance,
            version=webserver_version,
            read_only=options.read_only,
            workspace_load_target=WorkspaceFileTarget([str(workspace)]),
        )
    )
    make_app = reading_app if options.read_only else create_app_from_workspace_process_context
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(make_app(context), addresses),
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
    )
    daemon = None
    if options.daemon and not options.read_only:
        daemon = stack.enter_context(_daemon(instance, workspace))
    with _watch(server, daemon, addresses[0], options.open_browser):
        server.run(sockets=[listener])
    if daemon is not None and daemon.poll() is not None:
        raise UiError(
            f"Dagster's daemon ended with code {daemon.returncode}, and the UI with it; "
            "what it said is above."
        )


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UiError(
                f"Port {port} is taken: perhaps the UI runs already, at http://{host}:{port}. "
                "Another port: roster ui --port N"
            ) from None
        raise UiError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from None
    with listener:
        yield listener


@contextmanager
def _workspace_file(code: ProxyServerManager) -> Iterator[Path]:
    """A workspace that names the running code servers, for the UI and the daemon."""
    import yaml

    with tempfile.TemporaryDirectory(prefix="roster-ui-") as folder:
        file = Path(folder) / "workspace.yaml"
        file.write_text(yaml.dump({"load_from": code.get_code_server_specs()}), encoding="utf-8")
        yield file


@contextmanager
def _daemon(instance: DagsterInstance, workspace: Path) -> Iterator[subprocess.Popen[bytes]]:
    from dagster_shared.serdes import serialize_value

    command = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(workspace)]
    # The very instance of the UI: a .env file in this folder may name another DAGSTER_HOME.
    command += ["--instance-ref", serialize_value(instance.get_ref()), "--log-level", "error"]
    # In our process group: when the terminal closes, it ends too.
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(DAEMON_PATIENCE_S)
        finally:
            process.kill()


@contextmanager
def _watch(
    server: uvicorn.Server,
    daemon: subprocess.Popen[bytes] | None,
    address: str,
    open_browser: bool,
) -> Iterator[None]:
    """Say when the UI can be used, and end it when its daemon ends."""
    done = threading.Event()

    def watch() -> None:
        told = False
        while not done.wait(0.2):
            if server.started and not told:
                told = True
                _say(f"Dagster UI: {address}   (Ctrl-C ends it)")
                if open_browser:
                    webbrowser.open(address)
            if daemon is not None and daemon.poll() is not None:
                server.should_exit = True
                return

    thread = threading.Thread(target=watch, name="roster-ui-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
