"""Against asyncssh's own SFTP server on this machine, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from roster_pipeline.districts.sections import ForeignServer
from roster_pipeline.landing import client
from roster_pipeline.landing.arrival import SeenFile
from roster_pipeline.landing.client import (
    Endpoint,
    EndpointError,
    HostKeyChanged,
    IncompatibleServer,
    LoginRefused,
    RemoteError,
    RemoteFileChanged,
    RemoteFileMissing,
    RemoteRefused,
    Unreachable,
    connect,
    endpoint_of,
    read_private_key,
)

PASSWORD = "pass word of the sis"
HOST_KEYS = [
    asyncssh.generate_private_key(kind) for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256")
] + [asyncssh.generate_private_key("ssh-rsa", key_size=2048)]
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")


class Login(asyncssh.SSHServer):
    """One user, by password or key."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("sis", PASSWORD)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "sis" and key == USER_KEY.convert_to_public()


@dataclass
class Server:
    """port: where it listens. folder: what it shows as its root. sftp: how it answers."""

    port: int
    folder: Path
    sftp: type[asyncssh.SFTPServer] = asyncssh.SFTPServer


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Server]:
    """A server in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = Server(0, folder)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            **{
                "server_factory": Login,
                "server_host_keys": HOST_KEYS,
                "sftp_factory": lambda chan: server.sftp(chan, chroot=os.fsencode(folder)),
                **options,
            },
        )

    async def end(acceptor: asyncssh.SSHAcceptor) -> None:
        acceptor.close()
        await acceptor.wait_closed()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result(60)
        server.port = acceptor.get_port()
        yield server
        asyncio.run_coroutine_threadsafe(end(acceptor), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """A server with an empty folder."""
    for left_over in shared.folder.iterdir():
        left_over.rmdir() if left_over.is_dir() else left_over.unlink()
    yield shared
    shared.sftp = asyncssh.SFTPServer


def line(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


def to(port: int, **changes: Any) -> Endpoint:
    usual = Endpoint("127.0.0.1", port, "sis", line(HOST_KEYS[0]), path="/", password=PASSWORD)
    return replace(usual, **changes)


class TestLogin:
    @pytest.mark.parametrize("key", HOST_KEYS, ids=lambda key: key.get_algorithm())
    @pytest.mark.parametrize("form", ["line", "line with comment", "fingerprint"])
    def test_a_server_is_known_by_any_of_its_keys_as_line_or_fingerprint(
        self, server: Server, key: asyncssh.SSHKey, form: str
    ) -> None:
        pin = {
            "line": line(key),
            "line with comment": f"{line(key)} root@server",
            "fingerprint": key.get_fingerprint(),
        }[form]
        with connect(to(server.port, host_key=pin)) as remote:
            assert remote.list_files() == []

    @pytest.mark.parametrize("form", ["line", "fingerprint"])
    def test_another_key_is_told_with_both_fingerprints_before_any_secret_is_sent(
        self, server: Server, form: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr(Login, "begin_auth", lambda self, name: asked.append(name) or True)
        other = asyncssh.generate_private_key("ssh-ed25519")
        pin = line(other) if form == "line" else other.get_fingerprint()
        with pytest.raises(HostKeyChanged) as error, connect(to(server.port, host_key=pin)):
            pass
        assert other.get_fingerprint() in str(error.value)
        assert HOST_KEYS[0].get_fingerprint() in str(error.value)
        assert asked == []
        assert not error.value.transient

    def test_a_server_that_has_no_key_of_the_pinned_type_is_another(self, tmp_path: Path) -> None:
        with (
            serving(tmp_path, server_host_keys=HOST_KEYS[:1]) as server,
            pytest.raises(HostKeyChanged, match="none of that type"),
            connect(to(server.port, host_key=line(HOST_KEYS[2]))),
        ):
            pass

    def test_a_key_logs_in(self, server: Server) -> None:
        key = client.parse_private_key(USER_KEY.export_private_key("openssh"))
        with connect(to(server.port, password=None, private_key=key)) as remote:
            assert remote.list_files() == []

    @pytest.mark.parametrize("changes", [{"password": "wrong"}, {"username": "nobody"}])
    def test_a_refused_login_names_the_user_and_not_the_password(
        self, server: Server, changes: dict[str, str]
    ) -> None:
        endpoint = to(server.port, **changes)
        with pytest.raises(LoginRefused) as error, connect(endpoint):
            pass
        says = f"refuses the user name {endpoint.username} with this password"
        assert says in str(error.value)
        assert str(endpoint.password) not in str(error.value) + repr(endpoint)
        assert not error.value.transient

    def test_a_refused_key_is_told_as_such(self, server: Server) -> None:
        key = paramiko.RSAKey.generate(2048)
        with (
            pytest.raises(LoginRefused, match="with this key"),
            connect(to(server.port, password=None, private_key=key)),
        ):
            pass

    def test_a_server_that_takes_keys_only_is_told_as_such(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Login, "password_auth_supported", lambda self: False)
        with pytest.raises(LoginRefused, match="only by publickey"), connect(to(server.port)):
            pass

    def test_a_server_with_old_encryption_only_is_refused(self, tmp_path: Path) -> None:
        with (
            serving(tmp_path, encryption_algs=["aes128-cbc"]) as server,
            pytest.raises(IncompatibleServer, match="no acceptable ciphers"),
            connect(to(server.port)),
        ):
            pass

    def test_a_server_without_sftp_is_told_as_such(self, tmp_path: Path) -> None:
        with (
            serving(tmp_path, sftp_factory=None) as server,
            pytest.raises(RemoteRefused, match="offers no SFTP"),
            connect(to(server.port)),
        ):
            pass

    def test_small_requests_do_not_wait_for_one_another(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[socket.socket] = []
        plain = socket.create_connection

        def remembering(*args: Any, **kwargs: Any) -> socket.socket:
            made.append(plain(*args, **kwargs))
            return made[-1]

        monkeypatch.setattr(socket, "create_connection", remembering)
        with connect(to(server.port)):
            assert made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port at which each connection gets that answer; the connections stay open meanwhile."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_ones.append(connection)
            answer(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)
        for connection in open_ones:
            connection.close()


class TestUnreachable:
    def refused(self, endpoint: Endpoint, says: str, login_s: float = 60.0) -> None:
        with (
            pytest.raises(Unreachable, match=says) as error,
            connect(endpoint, login_s=login_s, answer_s=2.0) as remote,
        ):
            remote.list_files()
        assert error.value.transient

    def test_a_port_nobody_listens_at(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.refused(to(port), "refuses connections")

    def test_a_name_without_an_address(self) -> None:
        self.refused(to(22, host="sftp.springfield.invalid"), "There is no server sftp.spring")

    def test_a_server_that_says_nothing(self) -> None:
        with listening(lambda connection: None) as port:
            self.refused(to(port), "did not answer in time", login_s=0.5)

    def test_a_server_that_greets_and_then_says_nothing(self) -> None:
        with listening(lambda connection: connection.sendall(b"SSH-2.0-Slow\r\n")) as port:
            self.refused(to(port), "did not answer in time", login_s=0.5)

    def test_a_server_that_hangs_up(self) -> None:
        with listening(lambda connection: connection.close()) as port:
            self.refused(to(port), "does not answer as an SSH server")

    def test_a_server_of_something_else(self) -> None:
        page = b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"<p>\r\n" * 200
        with listening(lambda connection: connection.sendall(page)) as port:
            self.refused(to(port), "does not answer as an SSH server")

    def test_a_server_that_never_opens_the_session(self, tmp_path: Path) -> None:
        class Silent(Login):
            async def validate_password(self, username: str, password: str) -> bool:  # type: ignore[override]
                await asyncio.sleep(600)
                return True

        with serving(tmp_path, server_factory=Silent) as server:
            self.refused(to(server.port), "did not answer in time", login_s=1.0)

    def test_a_session_that_stops_answering(self, server: Server) -> None:
        class Silent(asyncssh.SFTPServer):
            async def scandir(self, path: bytes) -> Any:  # type: ignore[override]
                await asyncio.sleep(600)
                yield None

        server.sftp = Silent
        self.refused(to(server.port), "stopped answering")

    def test_a_connection_that_breaks_in_the_middle(self, server: Server, tmp_path: Path) -> None:
        class Breaking(asyncssh.SFTPServer):
            def read(self, file_obj: object, offset: int, size: int) -> bytes:
                if offset > 100_000:
                    self.channel.get_connection().abort()
                return super().read(file_obj, offset, size)

        (server.folder / "OneRoster.zip").write_bytes(os.urandom(1 << 20))
        server.sftp = Breaking
        with connect(to(server.port)) as remote, pytest.raises(Unreachable):
            remote.fetch("OneRoster.zip", tmp_path / "OneRoster.zip")
        assert [p.name for p in tmp_path.iterdir()] == []


class TestFiles:
    def test_plain_files_are_listed_with_size_and_time(self, server: Server) -> None:
        for name, time in (("users.csv", 1_785_000_000), ("OneRoster.zip", 1_785_000_001)):
            path = server.folder / name
            path.write_bytes(b"x" * 100)
            os.utime(path, (time, time))
        (server.folder / ".OneRoster.zip.part").touch()
        (server.folder / "archive").mkdir()
        (server.folder / "orgs.csv").symlink_to("/etc/hosts")
        with connect(to(server.port)) as remote:
            assert remote.list_files() == [
                SeenFile("OneRoster.zip", 100, 1_785_000_001.0),
                SeenFile("users.csv", 100, 1_785_000_000.0),
            ]

    def test_the_folder_may_be_another_than_the_first(self, server: Server, tmp_path: Path) -> None:
        (server.folder / "out").mkdir()
        with connect(to(server.port, path="/out")) as remote:
            (tmp_path / "users.csv").write_bytes(b"sourcedId\n")
            remote.put(tmp_path / "users.csv", "users.csv")
            assert [file.name for file in remote.list_files()] == ["users.csv"]
            assert (
                remote.fetch("users.csv", tmp_path / "got")
                == hashlib.sha256(b"sourcedId\n").hexdigest()
            )
            remote.remove("users.csv")
            assert remote.list_files() == []

    def test_a_server_that_tells_nothing_of_its_files_is_asked_for_each(
        self, server: Server
    ) -> None:
        class Terse(asyncssh.SFTPServer):
            async def scandir(self, path: bytes) -> Any:  # type: ignore[override]
                async for name in super().scandir(path):
                    yield asyncssh.SFTPName(name.filename, attrs=asyncssh.SFTPAttrs())

        (server.folder / "users.csv").write_bytes(b"x" * 100)
        os.utime(server.folder / "users.csv", (5, 5))
        (server.folder / "archive").mkdir()
        server.sftp = Terse
        with connect(to(server.port)) as remote:
            assert remote.list_files() == [SeenFile("users.csv", 100, 5.0)]

    def test_a_server_that_never_tells_size_and_time_has_them_as_zero(self, server: Server) -> None:
        class Mute(asyncssh.SFTPServer):
            async def scandir(self, path: bytes) -> Any:  # type: ignore[override]
                for name, long in ((b"users.csv", b"-rw"), (b"old", b"drwx"), (b"ln", b"lrwx")):
                    yield asyncssh.SFTPName(name, long, asyncssh.SFTPAttrs())

            def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
                return asyncssh.SFTPAttrs()

        server.sftp = Mute
        with connect(to(server.port)) as remote:
            assert remote.list_files() == [SeenFile("users.csv", 0, 0.0)]

    def test_a_name_that_is_no_text_is_told(self, server: Server) -> None:
        (server.folder / os.fsdecode(b"\xe9l\xe8ves.csv")).touch()
        with (
            connect(to(server.port)) as remote,
            pytest.raises(RemoteRefused, match="not in UTF-8"),
        ):
            remote.list_files()

    @pytest.mark.parametrize("size", [0, 1, 32768, client.STEP, 3 * client.STEP + 12345])
    def test_what_is_fetched_is_what_is_there(
        self, server: Server, tmp_path: Path, size: int
    ) -> None:
        content = os.urandom(size)
        (server.folder / "OneRoster.zip").write_bytes(content)
        target = tmp_path / "OneRoster.zip"
        with connect(to(server.port)) as remote:
            digest = remote.fetch("OneRoster.zip", target)
        assert digest == hashlib.sha256(content).hexdigest()
        assert target.read_bytes() == content
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [target]

    def test_a_server_that_sends_less_than_asked_for_is_read_to_the_end(
        self, server: Server, tmp_path: Path
    ) -> None:
        class Sparing(asyncssh.SFTPServer):
            def read(self, file_obj: object, offset: int, size: int) -> bytes:
                return super().read(file_obj, offset, min(size, 10_000))

        content = os.urandom(300_000)
        (server.folder / "users.csv").write_bytes(content)
        server.sftp = Sparing
        with connect(to(server.port)) as remote:
            remote.fetch("users.csv", tmp_path / "users.csv")
        assert (tmp_path / "users.csv").read_bytes() == content

    @pytest.mark.parametrize("change", ["grows", "shrinks", "is replaced", "is touched", "goes"])
    def test_a_file_that_changes_while_it_is_read_is_not_taken(
        self, server: Server, tmp_path: Path, change: str
    ) -> None:
        path = server.folder / "OneRoster.zip"
        path.write_bytes(os.urandom(3 << 20))
        os.utime(path, (5, 5))

        class Changing(asyncssh.SFTPServer):
            def read(self, file_obj: object, offset: int, size: int) -> bytes:
                if offset == 2 << 20:
                    if change == "grows":
                        with path.open("ab") as file:
                            file.write(b"more")
                    elif change == "shrinks":
                        os.truncate(path, 1 << 20)
                    elif change == "is replaced":
                        path.with_name("new").write_bytes(bytes(3 << 20))
                        path.with_name("new").replace(path)
                    elif change == "is touched":
                        os.utime(path, (9, 9))
                    else:
                        path.unlink()
                return super().read(file_obj, offset, size)

        server.sftp = Changing
        expected = RemoteFileMissing if change == "goes" else RemoteFileChanged
        target = tmp_path / "OneRoster.zip"
        target.write_bytes(b"of before")
        with connect(to(server.port)) as remote, pytest.raises(expected) as error:
            remote.fetch("OneRoster.zip", target)
        assert error.value.transient is (change != "goes")
        assert list(tmp_path.iterdir()) == [target]
        assert target.read_bytes() == b"of before"

    def test_a_file_that_claims_to_be_huge_is_not_read(
        self, server: Server, tmp_path: Path
    ) -> None:
        with (server.folder / "OneRoster.zip").open("wb") as file:
            file.truncate(1 << 42)  # sparse
        with (
            connect(to(server.port)) as remote,
            pytest.raises(RemoteRefused, match="has 4398046511104 bytes"),
        ):
            remote.fetch("OneRoster.zip", tmp_path / "OneRoster.zip")

    def test_what_is_not_there_is_told(self, server: Server, tmp_path: Path) -> None:
        with connect(to(server.port)) as remote:
            with pytest.raises(RemoteFileMissing, match=r"users\.csv is not on 127\.0\.0\.1"):
                remote.fetch("users.csv", tmp_path / "users.csv")
            with pytest.raises(RemoteFileMissing):
                remote.remove("users.csv")
        with (
            connect(to(server.port, path="/nowhere")) as remote,
            pytest.raises(RemoteFileMissing, match="/nowhere is not on"),
        ):
            remote.list_files()

    def test_what_is_not_allowed_is_told(self, server: Server, tmp_path: Path) -> None:
        class ReadOnly(asyncssh.SFTPServer):
            def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
                raise asyncssh.SFTPPermissionDenied("no")

            def remove(self, path: bytes) -> None:
                raise asyncssh.SFTPFailure("disk \x1b[31mfull")

        (tmp_path / "a").touch()
        server.sftp = ReadOnly
        with connect(to(server.port)) as remote:
            with pytest.raises(RemoteRefused, match="does not let sis write a"):
                remote.put(tmp_path / "a", "a")
            with pytest.raises(RemoteRefused, match=r"it says 'disk \\x1b\[31mfull'"):
                remote.remove("a")

    @pytest.mark.parametrize("name", ["", ".", "..", "../users.csv", "/etc/passwd", "a/b"])
    def test_only_names_in_the_folder_can_be_asked_for(
        self, server: Server, tmp_path: Path, name: str
    ) -> None:
        with connect(to(server.port)) as remote, pytest.raises(ValueError, match="no name of"):
            remote.fetch(name, tmp_path / "target")

    def test_a_full_disk_here_is_not_the_servers_fault(
        self, server: Server, tmp_path: Path
    ) -> None:
        (server.folder / "users.csv").write_bytes(b"x")
        with connect(to(server.port)) as remote, pytest.raises(FileNotFoundError) as error:
            remote.fetch("users.csv", tmp_path / "no folder" / "users.csv")
        assert not isinstance(error.value, RemoteError)


class TestForeignServers:
    SERVER = ForeignServer(
        host="sftp.springfield.example",
        username="sis",
        password_env="SPRINGFIELD_SFTP",
        host_key=line(HOST_KEYS[0]),
        path="/out",
    )

    def with_key(self, path: Path) -> ForeignServer:
        return self.SERVER.model_copy(update={"password_env": None, "private_key_file": str(path)})

    def test_the_password_is_in_the_named_variable(self) -> None:
        endpoint = endpoint_of(self.SERVER, {"SPRINGFIELD_SFTP": PASSWORD})
        assert endpoint == Endpoint(
            "sftp.springfield.example", 22, "sis", line(HOST_KEYS[0]), "/out", PASSWORD
        )

    @pytest.mark.parametrize("env", [{}, {"SPRINGFIELD_SFTP": ""}])
    def test_a_variable_that_is_not_set_is_named(self, env: dict[str, str]) -> None:
        with pytest.raises(EndpointError, match=r"variable SPRINGFIELD_SFTP, .* is not set"):
            endpoint_of(self.SERVER, env)

    @pytest.mark.parametrize(
        "key",
        [
            USER_KEY.export_private_key("openssh"),
            HOST_KEYS[2].export_private_key("pkcs1-pem"),
            HOST_KEYS[2].export_private_key("pkcs8-pem"),
            HOST_KEYS[1].export_private_key("openssh"),
            HOST_KEYS[1].export_private_key("pkcs8-pem"),
            USER_KEY.export_private_key("pkcs8-pem"),
        ],
    )
    def test_the_key_is_in_the_named_file(self, tmp_path: Path, key: bytes) -> None:
        (tmp_path / "key").write_bytes(key)
        endpoint = endpoint_of(self.with_key(tmp_path / "key"), {})
        expected = asyncssh.import_private_key(key).get_fingerprint()
        assert endpoint.private_key is not None
        assert endpoint.private_key.fingerprint == expected
        assert endpoint.password is None

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (None, "cannot be read: No such file"),
            (b"hello", "holds no private key"),
            (USER_KEY.export_public_key(), "holds no private key"),
            (
                USER_KEY.export_private_key(
                    "openssh", passphrase="abc", rounds=1, ignore_few_rounds=True
                ),
                "has a passphrase",
            ),
            (HOST_KEYS[2].export_private_key("pkcs8-pem", passphrase="abc"), "has a passphrase"),
            (asyncssh.generate_private_key("ssh-ed448").export_private_key(), "no private key"),
        ],
        ids=["absent", "text", "public", "passphrase", "passphrase in PKCS 8", "ed448"],
    )
    def test_a_key_file_that_cannot_be_used_is_told(
        self, tmp_path: Path, content: bytes | None, says: str
    ) -> None:
        if content is not None:
            (tmp_path / "key").write_bytes(content)
        with pytest.raises(EndpointError, match=says):
            endpoint_of(self.with_key(tmp_path / "key"), {})

    def test_a_key_file_is_named_from_the_root_on(self) -> None:
        with pytest.raises(EndpointError, match="by its absolute path"):
            read_private_key("keys/springfield")
