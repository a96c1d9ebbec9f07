"""It works from a plain clone by Dagster's own commands, and as a wheel far from any clone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from contextlib import suppress
from pathlib import Path

import pytest

from roster_pipeline_tests.serving import LOCATION, ROOT, answer, children, wait_for

CLONED = (
    "README.md",
    "dagster.yaml",
    "expectations",
    "pyproject.toml",
    "roster_pipeline",
    "setup.py",
    "workspace.yaml",
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of the repository that a clone has, and nothing that a test or a build left."""
    target = tmp_path / "clone"
    target.mkdir()
    for name in CLONED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return target


def bare(**variables: str) -> dict[str, str]:
    """The environment without anything that leads to this project."""
    ours = ("ROSTER_", "DAGSTER_", "PYTHONPATH")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | variables


def run(*command: object, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=bare(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def is_source(path: Path) -> bool:
    return path.is_file() and not {"__pycache__", ".mypy_cache"} & set(path.parts)


@pytest.mark.slow
def test_dagsters_own_commands_work_in_a_plain_clone(clone: Path) -> None:
    dagster = (sys.executable, "-m", "dagster")
    run(*dagster, "definitions", "validate", "-w", "workspace.yaml", cwd=clone)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = clone.with_name("dev.log")
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*dagster, "dev", "--port", str(port)],
            cwd=clone,
            env=bare(),
            stdout=stream,
            stderr=stream,
        )
    query = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )

    def loaded() -> bool:
        try:
            status, text = answer(request)
        except OSError:
            return False
        entries = [{"name": LOCATION, "loadStatus": "LOADED"}]
        wanted = {"data": {"workspaceOrError": {"locationEntries": entries}}}
        return status == 200 and json.loads(text) == wanted

    try:
        wait_for(loaded, process, log)
    finally:
        for pid in (*children(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    assert (clone / ".roster" / "dagster" / "history").is_dir()


@pytest.mark.slow
def test_the_wheel_made_of_the_packed_sources_works_outside_the_clone(
    clone: Path, tmp_path: Path
) -> None:
    away, wheels = tmp_path / "away", tmp_path / "wheels"
    away.mkdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    packing = f"from setuptools.build_meta import build_sdist; build_sdist({str(away)!r})"
    run(sys.executable, "-c", packing, cwd=clone)
    (sources,) = away.glob("*.tar.gz")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, sources, cwd=away)
    (wheel,) = wheels.iterdir()
    shutil.rmtree(clone)
    venv.create(tmp_path / "venv", with_pip=False)
    binaries = tmp_path / "venv" / "bin"
    python = binaries / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=away)
    # What it needs is installed already, where these tests run.
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(run(python, "-c", where, cwd=away).strip())
    needed = "\n".join(dict.fromkeys(sysconfig.get_paths()[p] for p in ("purelib", "platlib")))
    (packages / "needed.pth").write_text(needed, encoding="utf-8")

    whence = "import roster_pipeline; print(roster_pipeline.__file__)"
    assert Path(run(python, "-c", whence, cwd=away).strip()).is_relative_to(packages)
    roster = binaries / "roster"
    demo = json.loads(run(roster, "demo", "--students", 300, "--format", "json", cwd=away))
    # What was planted is found (some of it by the suites) and booked (in tables of migrations).
    assert demo["import"]["status"] == "imported"
    assert {fault["found elsewhere"] for fault in demo["planted"]} == {0}
    run(roster, "district", "check", "springfield", cwd=away)
    run(roster, "show", 1, "--html", "report.html", cwd=away)
    assert "<html" in (away / "report.html").read_text(encoding="utf-8")
    packed = {p.relative_to(ROOT) for p in (ROOT / "roster_pipeline").rglob("*") if is_source(p)}
    installed = {p.relative_to(packages) for p in (packages / "roster_pipeline").rglob("*")}
    assert packed - installed == set()
    project = tmp_path / "venv" / "share" / "roster-pipeline"
    home = away / ".roster" / "dagster"
    run(
        python,
        "-m",
        "dagster",
        "definitions",
        "validate",
        "-w",
        project / "workspace.yaml",
        cwd=away,
        DAGSTER_HOME=str(home),
    )
