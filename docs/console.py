"""Runs the commands that a page of docs/ shows, in the order of the page, and puts what they print
beneath them.

A block of the language `console` holds commands, each after a `$`, and what they print. `roster` is
run in this process, anything else by the shell, all in one folder, in which there is nothing but
OneRoster.zip, a delivery of 300 students with planted faults. What differs from run to run (times,
ports, keys, paths) is made the same. A line `…` stands for lines that are left out: a block with it
stays as it is as long as the rest is true.

Two commands do not end: `roster landing serve` is a server in a thread until the page ends, and
`roster ui` is not started here; after an upload by `sftp` what lies in the landing zone is imported
as its sensor would. (That the daemon does so is tested in test_daemon.py.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import typer.testing

from roster_pipeline.cli.main import app
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import DEMO_FAULTS, make_district, plant_faults
from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline_tests.conftest import VARIABLES
from roster_pipeline_tests.landing.zone import Zone, askpass, running

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "…"
ALWAYS = (
    (re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-09-15 02:10:00"),
    (re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d\b(?!:)"), "2026-09-15 02:10"),
    (re.compile(r"SHA256:[\w+/]{43}"), "SHA256:gGBdQxmMSgPji9gnVa02/mOhzipJuENtBVpvF23BcAg"),
    (re.compile(r"(?:[a-z0-9]{5}-){4}[a-z0-9]{5}"), "9g54x-sy8mc-zwvtq-7kkzd-z2zub"),
    (re.compile(r"(?<=127\.0\.0\.1 port )\d+"), "2222"),
    (re.compile(r"(?<=Done in )\d+"), "9"),
)
"""What differs from run to run, and what stands for it."""


class Console:
    """A folder in which a page's commands are run, until the block ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._zone: Zone | None = None
        self._password = ""
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        ours = {**dict.fromkeys(VARIABLES, ""), "ROSTER_USER": "you"}
        self._ends.callback(_set_variables, {name: os.environ.get(name) for name in ours})
        self._ends.callback(os.chdir, Path.cwd())
        _set_variables(ours)
        os.chdir(self.folder)
        delivery = plant_faults(make_district(300), DEMO_FAULTS)
        write_package(Path("OneRoster.zip"), delivery.frames, replaced=delivery.replaced)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def run(self, command: str, answers: list[str]) -> str:
        """What a command prints. answers: what is typed at its own prompt, of `sftp`."""
        if command == "roster landing serve":
            return self._same(self._serve())
        if command == "roster ui":
            return "Loading the pipeline …\nDagster UI: http://127.0.0.1:3000   (Ctrl-C ends it)\n"
        if command.startswith("sftp "):
            return self._same(self._sftp(command.split()[-1], answers))
        first, pipe, rest = command.replace("make demo", "roster demo").partition(" | ")
        if not first.startswith("roster "):
            return self._same(self._shell(command))
        printed = self._roster(first.removeprefix("roster "))
        return self._same(self._shell(rest, printed) if pipe else printed)

    def _roster(self, arguments: str) -> str:
        result = typer.testing.CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code in (1, 2):
            raise RuntimeError(f"roster {arguments}: {result.output}")
        if found := re.search(r"^Password +(\S+)$", result.output, re.MULTILINE):
            self._password = found[1]
        return result.output

    def _shell(self, command: str, given: str = "") -> str:
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", command], input=given, env=env, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def _serve(self) -> str:
        settings = load_settings()
        prepare_home(settings)
        engine = open_warehouse(settings.warehouse_url)
        self._ends.callback(engine.dispose)
        zone = Zone(settings, engine, self.folder / "no key", self.folder)
        self._zone = self._ends.enter_context(running(zone))
        os.environ["ROSTER_LANDING_PORT"] = str(self._zone.port)
        return f"The landing zone takes SFTP on 127.0.0.1 port {self._zone.port}.\n{LEFT_OUT}\n"

    def _sftp(self, login: str, lines: list[str]) -> str:
        """A session of OpenSSH's client, as `sftp> ` shows it, and the import that it leads to."""
        assert self._zone is not None, "the page has not yet started `roster landing serve`"
        user, _, host = login.partition("@")
        options = ("-o", "BatchMode=no", "-o", "PreferredAuthentications=password")
        done = subprocess.run(
            self._zone.sftp_command(user, *options),
            input="".join(f"{line}\n" for line in lines),
            env=askpass(self.folder, self._password),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"sftp: {done.stderr}")
        self._roster(f"import {user}")
        return f"{login}'s password:\nConnected to {host}.\n{done.stdout}"

    def _same(self, printed: str) -> str:
        """Without what differs from run to run."""
        printed = printed.replace(str(self.folder.resolve()), "/home/you")
        for differs, same in ALWAYS:
            printed = differs.sub(same, printed)
        return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())


def replayed(page: str, console: Console) -> str:
    """The page with what its commands print now."""

    def block(found: re.Match[str]) -> str:
        parts = re.split(r"^(?=\$ )", found[1], flags=re.MULTILINE)
        return "```console\n" + "".join(_command(part, console) for part in parts if part) + "```"

    return BLOCK.sub(block, page)


def _command(shown: str, console: Console) -> str:
    head, _, said = shown.partition("\n")
    answers = re.findall(r"^sftp> (.*)$", said, re.MULTILINE)
    printed = console.run(head.removeprefix("$ "), answers)
    return f"{head}\n{said if _stands_for(said, printed) else printed}"


def _stands_for(shown: str, printed: str) -> bool:
    """Whether what is shown is what was printed but for what it leaves out."""
    pattern = re.escape(shown).replace(re.escape(f"{LEFT_OUT}\n"), r"(.*\n)*?")
    return re.fullmatch(pattern, printed) is not None


def _set_variables(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
