"""Providers of mail that answer as a test wants them to: SendGrid's Web API, and SMTP."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

Answer = tuple[int, Mapping[str, str], bytes] | None
"""Status, headers and body; None is silence until the provider is closed."""

ACCEPTED: Answer = (202, {}, b"")


class FakeSendGrid:
    """Gives its answers one after the other, then accepts everything.

    requests: what was posted, whatever the answer. accepted: the mails it has taken.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.accepted: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self._answers: list[Answer] = []
        self._closing = threading.Event()
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = fake._take(self.path, dict(self.headers), body)
                if answer is None:
                    fake._closing.wait(60)
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answers(self, answers: Iterable[Answer]) -> None:
        self._answers = list(answers)

    def _take(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
        assert path == "/v3/mail/send"
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            answer = self._answers.pop(0) if self._answers else ACCEPTED
            if answer == ACCEPTED:
                self.accepted.append(body)
            return answer

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


class FakeSmtp:
    """An SMTP server without TLS. refuse: commands it answers otherwise, by their beginning, such
    as `{"RCPT TO:<B@": b"550 no"}`, in capitals; that of "" is how
    it greets."""

    def __init__(self, refuse: Mapping[str, bytes] | None = None) -> None:
        self.mails: list[bytes] = []
        self.commands: list[str] = []
        fake, refused = self, refuse or {}

        class Handler(socketserver.StreamRequestHandler):
            timeout: ClassVar[float] = 60.0

            def handle(self) -> None:
                self.say(refused.get("", b"220 fake"))
                while line := self.rfile.readline().decode().strip().upper():
                    fake.commands.append(line)
                    other = [a for start, a in refused.items() if start and line.startswith(start)]
                    if other:
                        self.say(other[0])
                    elif line.startswith("EHLO"):
                        self.say(b"250-fake\r\n250 AUTH PLAIN")
                    elif line == "DATA":
                        self.say(b"354 go on")
                        fake.mails.append(self.content())
                        self.say(b"250 taken")
                    elif line.startswith("AUTH"):
                        self.say(b"235 welcome")
                    else:
                        self.say(b"250 well")

            def say(self, answer: bytes) -> None:
                self.wfile.write(answer + b"\r\n")

            def content(self) -> bytes:
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line)
                return b"".join(lines)

        socketserver.ThreadingTCPServer.daemon_threads = True
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
