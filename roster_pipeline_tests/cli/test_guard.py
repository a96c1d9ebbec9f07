"""The UI may be used by its own pages and by no other web page in the same browser.

Guards against what Dagster's web server alone lets through (tried with 1.13.27): a mutation by a
plain GET from another site, or by a form, whatever Host and Origin say.
"""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from roster_pipeline.cli.guard import POLICY_VIOLATION, Guard

OWN = "http://127.0.0.1:3000"
PUBLIC = "https://roster.example"
"""The address of a proxy in front of it."""
EVIL = "https://evil.example"
MUTATION = {"query": 'mutation { terminateRun(runId: "1") { __typename } }'}


async def _page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"reached by {request.method}")


async def _socket(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="graphql-ws")
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


@pytest.fixture
def ui() -> Iterator[TestClient]:
    app = Starlette(
        routes=[
            Route("/graphql", _page, methods=["GET", "POST"]),
            WebSocketRoute("/graphql", _socket),
            Route("/{path:path}", _page, methods=["GET", "POST", "DELETE"]),
        ]
    )
    guarded = Guard(app, [OWN, "http://localhost:3000", PUBLIC])
    with TestClient(guarded, base_url=OWN) as client:
        yield client


@pytest.mark.parametrize("address", [OWN, "http://localhost:3000", "http://LOCALHOST:3000"])
def test_the_pages_open_under_the_uis_own_addresses(ui: TestClient, address: str) -> None:
    assert ui.get(f"{address}/runs").text == "reached by GET"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:3000",
        "roster.example:3000",
        "127.0.0.1:3001",
        "127.0.0.1",
        "localhost.evil.example:3000",
        "",
    ],
)
def test_another_host_is_refused_and_told_the_right_address(ui: TestClient, host: str) -> None:
    answer = ui.get("/runs", headers={"Host": host})
    assert answer.status_code == 403
    assert OWN in answer.text


@pytest.mark.parametrize(
    "origin",
    [EVIL, "null", "http://localhost:3001", "https://127.0.0.1:3000", "http://roster.example", ""],
)
def test_another_sites_page_cannot_post(ui: TestClient, origin: str) -> None:
    answer = ui.post("/graphql", json=MUTATION, headers={"Origin": origin})
    assert answer.status_code == 403
    assert "reached" not in answer.text


@pytest.mark.parametrize("origin", [OWN, "http://localhost:3000", PUBLIC])
def test_the_uis_own_page_can_post_json(ui: TestClient, origin: str) -> None:
    assert ui.post("/graphql", json=MUTATION, headers={"Origin": origin}).text == "reached by POST"


def test_behind_a_proxy_the_page_opens_under_the_proxys_address(ui: TestClient) -> None:
    headers = {"Host": "roster.example", "Origin": PUBLIC}
    assert ui.post("/graphql", json=MUTATION, headers=headers).text == "reached by POST"


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": EVIL}])
def test_a_mutation_by_get_from_another_site_is_refused(
    ui: TestClient, headers: dict[str, str]
) -> None:
    answer = ui.get("/graphql", params=MUTATION, headers=headers)
    assert answer.status_code == 403
    assert "reached" not in answer.text


def test_a_program_on_the_machine_can_post_json(ui: TestClient) -> None:
    answer = ui.post(
        "/graphql",
        content="{}",
        headers={"Content-Type": "Application/JSON; charset=utf-8"},
    )
    assert answer.text == "reached by POST"


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/%67raphql", "/graphql?"])
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_a_query_by_get_is_refused(ui: TestClient, path: str, accept: str) -> None:
    answer = ui.get(path, params=MUTATION, headers={"Accept": accept})
    assert answer.status_code == 405


def test_the_empty_graphiql_page_opens(ui: TestClient) -> None:
    answer = ui.get("/graphql", headers={"Accept": "text/html,*/*"})
    assert answer.text == "reached by GET"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/graphql",
        None,
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/report_asset_materialization/students"])
def test_what_a_form_can_send_is_refused(
    ui: TestClient, path: str, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert ui.post(path, content=b"{}", headers=headers).status_code == 415


def test_other_methods_are_refused(ui: TestClient) -> None:
    assert ui.delete("/anything").status_code == 405


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_link_to_a_page_but_not_load_it(ui: TestClient, site: str) -> None:
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    picture = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert ui.get("/runs", headers=link).status_code == 200
    assert ui.get("/runs", headers=picture).status_code == 403


def test_no_other_site_may_show_the_ui_in_a_frame(ui: TestClient) -> None:
    assert ui.get("/runs").headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize("headers", [{"Origin": EVIL}, {"Host": "evil.example"}])
def test_another_sites_page_cannot_open_a_socket(ui: TestClient, headers: dict[str, str]) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        ui.websocket_connect("ws://127.0.0.1:3000/graphql", headers=headers),
    ):
        pass
    assert refused.value.code == POLICY_VIOLATION


@pytest.mark.parametrize("headers", [{"Origin": OWN}, {}])
def test_the_uis_own_page_can_open_a_socket(ui: TestClient, headers: dict[str, str]) -> None:
    with ui.websocket_connect(
        "ws://127.0.0.1:3000/graphql", headers=headers, subprotocols=["graphql-ws"]
    ) as socket:
        assert socket.accepted_subprotocol == "graphql-ws"
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
