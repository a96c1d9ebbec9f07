"""`roster ui` serves Dagster behind the guard and ends all it started; a read-only one has no way
to change anything."""

import json
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path

import dagster as dg
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from roster_pipeline.cli.ui import UiError, UiOptions, allowed_addresses, serve_ui
from roster_pipeline.definitions import defs
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.sample import make_district
from roster_pipeline.settings import load_settings
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.serving import (
    LAUNCH,
    Served,
    alive,
    answer,
    children,
    command_line,
    launch_params,
    serving,
)

LOCAL = ["http://127.0.0.1:3000", "http://localhost:3000"]


@pytest.mark.parametrize(
    ("host", "port", "url", "expected"),
    [
        ("127.0.0.1", 3000, None, LOCAL),
        ("0.0.0.0", 3000, None, LOCAL),
        ("roster.lan", 3000, None, ["http://roster.lan:3000", *LOCAL]),
        ("::1", 3000, None, [*LOCAL, "http://[::1]:3000"]),
        ("127.0.0.1", 80, None, ["http://127.0.0.1", "http://localhost"]),
        ("0.0.0.0", 3000, "https://Roster.example/", ["https://roster.example", *LOCAL]),
        ("0.0.0.0", 3000, "https://roster.example:443", ["https://roster.example", *LOCAL]),
        ("0.0.0.0", 3000, "http://[fd00::1]:8080", ["http://[fd00::1]:8080", *LOCAL]),
        ("127.0.0.1", 3000, "http://127.0.0.1:8080", LOCAL),
    ],
)
def test_the_ui_answers_to_the_addresses_of_where_it_listens_and_of_its_proxy(
    host: str, port: int, url: str | None, expected: list[str]
) -> None:
    assert allowed_addresses(host, port, url) == expected


@pytest.mark.parametrize("url", [None, "https://roster.example"])
def test_links_lead_to_the_port_that_is_served_unless_an_address_is_set(
    url: str | None, home: Path, roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[UiOptions] = []
    monkeypatch.setattr(
        "roster_pipeline.cli.ui.serve_ui", lambda _, options: served.append(options)
    )
    if url:
        monkeypatch.setenv("ROSTER_UI_URL", url)
    roster("ui", "--port", "3977", "--read-only")
    assert [(options.port, options.url) for options in served] == [(3977, url)]


@pytest.mark.parametrize("url", ["roster.example", "https://roster.example/ui", "https://a@b"])
def test_an_address_under_which_the_ui_cannot_be_served_is_refused(url: str) -> None:
    with pytest.raises(UiError, match=r"ROSTER_UI_URL is .* https://roster.example.org"):
        allowed_addresses("127.0.0.1", 3000, url)


def test_a_port_that_is_taken_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UiError, match=f"Port {port} is taken.*--port"):
            serve_ui(load_settings({"ROSTER_HOME": str(tmp_path)}), UiOptions(port=port))


@pytest.mark.slow
def test_the_ui_is_guarded_materialises_all_assets_and_ends_with_all_its_children(
    home: Path, nothing_required: None, roster: Roster
) -> None:
    assert roster("district", "add", "oak", "--name", "Oak").code == 0
    write_package(home / "landing" / "oak" / "OneRoster.zip", make_district(300))
    keys = [{"path": key.path} for key in defs.resolve_asset_graph().get_all_asset_keys()]
    run = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    with serving(home) as ui:
        query = {"query": "{ version }"}
        mutation = f"{ui.address}/graphql?query=mutation{{setNuxSeen}}"
        plain = {"Content-Type": "text/plain"}
        assert '"version"' in answer(ui.request("/graphql", query))[1]
        assert answer(ui.request("/graphql", query, Origin="https://evil.example"))[0] == 403
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            assert answer(urllib.request.Request(mutation, headers=headers))[0] == 403
        assert answer(urllib.request.Request(mutation))[0] == 405
        assert answer(ui.request("/graphql", query, **plain))[0] == 415
        assert said_over_a_socket(ui, "query { version }") == "error"
        with pytest.raises(InvalidStatus, match="403"):
            said_over_a_socket(ui, "query { version }", origin="https://evil.example")
        chosen = launch_params("__ASSET_JOB", "oak", assetSelection=keys)
        run_id = ui.graphql(LAUNCH, p=chosen)["launchPipelineExecution"]["run"]["runId"]

        def status() -> str:
            return str(ui.graphql(run, id=run_id)["runOrError"]["status"])

        ui.wait_for(lambda: status() in ("SUCCESS", "FAILURE", "CANCELED"))
        assert status() == "SUCCESS"
        for noise in (" - DEBUG - ", "No cursor for event type"):
            assert noise not in ui.log.read_text(), "the terminal is for what goes wrong"
        started = children(ui.process.pid)
        assert len(started) >= 2  # the daemon and the code server
        ui.process.send_signal(signal.SIGTERM)
        assert ui.process.wait(60) == 0, ui.log.read_text()
        assert "Traceback" not in ui.log.read_text()
        deadline = time.monotonic() + 30
        while left := {pid for pid in started if alive(pid)}:
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.2)
    assert roster("show", "1", "--format", "json").json()["counts"]["student"]["added"] == 300


def said_over_a_socket(ui: Served, query: str, origin: str | None = None) -> str:
    """What the UI's socket says to an operation after it has said that it is connected."""
    address = ui.address.replace("http:", "ws:") + "/graphql"
    with connect(
        address, origin=Origin(origin or ui.address), subprotocols=[Subprotocol("graphql-ws")]
    ) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(socket.recv(60))["type"] == "connection_ack"
        socket.send(json.dumps({"type": "start", "id": "1", "payload": {"query": query}}))
        said = json.loads(socket.recv(60))
        return str(said["type"])


@pytest.mark.slow
def test_a_read_only_ui_shows_all_and_can_change_nothing(home: Path, after_an_import: str) -> None:
    """Guards against what Dagster's own read-only mode lets through or looks at first."""
    with serving(home, "--read-only") as ui:
        runs = "{ runsOrError { ... on Runs { results { runId status } } } }"
        before = ui.graphql(runs)
        (run,) = before["runsOrError"]["results"]
        assert run["status"] == "SUCCESS"
        assert ui.graphql("{ __schema { mutationType { name } } }")["__schema"] == {
            "mutationType": None
        }
        add = (
            'mutation { addDynamicPartition(partitionsDefName: "district", partitionKey: "elm", '
            'repositorySelector: {repositoryName: "__repository__", '
            'repositoryLocationName: "roster_pipeline.definitions"}) { __typename } }'
        )
        for query, variables in (
            (LAUNCH, {"p": launch_params("import_roster", "oak")}),
            (add, {}),
            ("mutation { setNuxSeen }", {}),
            (f'mutation {{ deleteRun(runId: "{run["runId"]}") {{ __typename }} }}', {}),
            (f'mutation {{ terminateRun(runId: "{run["runId"]}") {{ __typename }} }}', {}),
        ):
            said = answer(ui.request("/graphql", {"query": query, "variables": variables}))
            assert "not configured to execute mutation" in said[1], query
            assert json.loads(said[1])["data"] is None
        assert said_over_a_socket(ui, "mutation { setNuxSeen }") == "error"
        logs = f'subscription {{ pipelineRunLogs(runId: "{run["runId"]}") {{ __typename }} }}'
        assert said_over_a_socket(ui, logs) == "data"
        for what in ("materialization", "observation", "check"):
            body = {"partition": "oak", "check_name": "counts_add_up", "passed": True}
            path = f"/report_asset_{what}/sync_plan"
            assert answer(ui.request(path, body))[0] == 401
        assert ui.graphql(runs) == before
        assert not [p for p in children(ui.process.pid) if "dagster._daemon" in command_line(p)]
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert instance.get_dynamic_partitions("district") == ["oak"]
