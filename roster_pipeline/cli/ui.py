"""`roster ui`: Dagster's UI and daemon, behind the guard.

One process serves the UI: Dagster's own web application is mounted in it, so that there is no
second, unguarded port. The daemon (schedules, sensors, the queue of runs) and one server of the
project's code, which both use, are its children and end with it; `dagster dev` does the same, but
without the guard.

From Dagster this takes what `dagster dev` and `dagster-webserver` are made of, which is no public
interface: setup.py keeps Dagster below its next minor version, and a test starts the UI.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

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


def serve_ui(
    settings: Settings, port: int = 3000, host: str = "127.0.0.1", open_browser: bool = False
) -> None:
    """Serve the UI until Ctrl-C or SIGTERM. To be called in the main thread of a process that does
    nothing else: it sets the process's environment and signal handling.

    port: 0 takes any free one.
    """
    prepare_home(settings)
    os.environ.update(settings.environment())
    # As Ctrl-C, so that children are ended whatever moment it comes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        port = listener.getsockname()[1]
        hosts = allowed_hosts(host, port)
        if host not in LOOPBACK:
            _say(f"Whoever can reach {host}:{port} can now use the UI: it has no login.")
        try:
            _serve(stack, listener, hosts, open_browser)
        except KeyboardInterrupt:
            _say("Ending the UI.")


def allowed_hosts(host: str, port: int) -> list[str]:
    """What browsers may call a UI that listens on that address, the address to show first."""
    names = ["127.0.0.1", "localhost"]
    if host not in LOOPBACK | EVERY_ADDRESS:
        names.insert(0, host)
    if ":" in host:
        names = [name for name in names if name != host] + [f"[{host}]"]
    return [f"{name}:{port}" for name in names] + (names if port == 80 else [])


def _serve(stack: ExitStack, listener: socket.socket, hosts: list[str], open_browser: bool) -> None:
    _say("Loading the pipeline …")
    # Seconds of imports, after the port is known to be free.
    import uvicorn
    from dagster import DagsterInstance
    from dagster._cli.proxy_server_manager import ProxyServerManager
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__ as webserver_version

    from roster_pipeline.cli.guard import Guard

    instance = stack.enter_context(DagsterInstance.get())
    # Where code locations of one's own can be added.
    project = WorkspaceFileTarget([str(project_folder() / "workspace.yaml")])
    code = stack.enter_context(ProxyServerManager(instance, project, "warning"))
    workspace = stack.enter_context(_workspace_file(code))
    context = stack.enter_context(
        WorkspaceProcessContext(
            instance,
            version=webserver_version,
            read_only=False,
            workspace_load_target=WorkspaceFileTarget([str(workspace)]),
        )
    )
    app = Guard(create_app_from_workspace_process_context(context), hosts)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=3)
    )
    daemon = stack.enter_context(_daemon(instance, workspace))
    with _watch(server, daemon, f"http://{hosts[0]}", open_browser):
        server.run(sockets=[listener])
    if daemon.poll() is not None:
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
    command += ["--instance-ref", serialize_value(instance.get_ref()), "--log-level", "warning"]
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
    server: uvicorn.Server, daemon: subprocess.Popen[bytes], address: str, open_browser: bool
) -> Iterator[None]:
    """Say when the UI can be used, and end it when the daemon ends."""
    done = threading.Event()

    def watch() -> None:
        told = False
        while not done.wait(0.2):
            if server.started and not told:
                told = True
                _say(f"Dagster UI: {address}   (Ctrl-C ends it)")
                if open_browser:
                    webbrowser.open(address)
            if daemon.poll() is not None:
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
