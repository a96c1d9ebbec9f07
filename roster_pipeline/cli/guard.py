"""The guard in front of Dagster's web application: only its own pages may talk to it.

Dagster's web server has no login, and it runs whatever query or mutation reaches /graphql, also by
GET, also from a form, whatever Host and Origin say. Bound to 127.0.0.1 it is therefore open to
every web page that the user has open in the same browser: a link or a picture on it could start or
end imports, and a name that an attacker lets resolve to 127.0.0.1 could read everything. So:

- Host must be that of an address the UI was started for (no rebinding of names);
- Origin, where there is one, must be such an address (no other page's requests or sockets);
- what a browser marks as coming from another site is refused, unless it is a link to a page;
- only GET, HEAD, OPTIONS and POST, and POST only as application/json, which no form can send;
- /graphql answers POST; by GET only its empty page, GraphiQL.
- no other site may show the UI in a frame.

It keeps other web pages out, not other people: who can reach the port can use the UI. Programs on
the machine, which send no Origin, are let through.

Pure ASGI, and nothing of Dagster in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY_VIOLATION = 1008
"""The code with which a refused WebSocket is closed."""


class Guard:
    """ASGI middleware that passes on what comes from the UI's own pages and refuses the rest.

    addresses: under which browsers may open the UI, as an Origin header gives them, so without a
    port that goes without saying: `http://127.0.0.1:3000`, `https://roster.example.org`.
    """

    def __init__(self, app: ASGIApp, addresses: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(address.lower() for address in addresses)
        self.hosts = frozenset(origin.partition("://")[2] for origin in self.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if refusal := self.refusal(scope):
                status, reason = refusal
                await PlainTextResponse(f"{reason}\n", status)(scope, receive, send)
            else:
                await self.app(scope, receive, _without_frames(send))
        elif scope["type"] == "websocket":
            if self.foreign(Headers(scope=scope)):
                # Before it is accepted: the server answers the handshake with 403.
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            else:
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason with which an HTTP request is refused; None when it may pass."""
        headers = Headers(scope=scope)
        method = scope["method"]
        if reason := self.foreign(headers):
            return 403, reason
        if method == "POST":
            # The media type alone: Dagster looks for the words anywhere in the header, and
            # `text/plain; application/json` can be sent from any site without being asked.
            media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != "application/json":
                return 415, "Requests that change something must be sent as application/json."
        elif method not in {"GET", "HEAD", "OPTIONS"}:
            return 405, f"{method} is not used here."
        elif (
            method == "GET"
            and scope["path"].rstrip("/").endswith("/graphql")
            and (scope["query_string"] or "text/html" not in headers.get("accept", ""))
        ):
            return 405, "Queries must be sent to /graphql by POST, as application/json."
        return None

    def foreign(self, headers: Headers) -> str | None:
        """Why a request does not come from the UI's own pages; None when it may."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return f"Open the UI by its own address: {min(self.origins)}"
        if any(origin.lower() not in self.origins for origin in headers.getlist("origin")):
            return "Another site's page may not use the UI."
        if (
            headers.get("sec-fetch-site", "none") in {"cross-site", "same-site"}
            and headers.get("sec-fetch-mode") != "navigate"
        ):
            return "Another site's page may not use the UI."
        return None


def _without_frames(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["X-Frame-Options"] = "SAMEORIGIN"
        await send(message)

    return guarded
