"""The running server: what clients do with it, what a hostile one must not get, who may log in.

Clients are OpenSSH's `sftp`, lftp, asyncssh, and paramiko, whose raw requests send what no client
would.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest
from argon2 import Parameters
from asyncssh.constants import FXP_BLOCK, FXP_UNBLOCK
from asyncssh.packet import Byte, String, UInt32, UInt64
from asyncssh.sftp import SFTPServerHandler
from paramiko.sftp import (
    CMD_CLOSE,
    CMD_EXTENDED,
    CMD_FSETSTAT,
    CMD_HANDLE,
    CMD_MKDIR,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READ,
    CMD_READLINK,
    CMD_REALPATH,
    CMD_REMOVE,
    CMD_RENAME,
    CMD_RMDIR,
    CMD_SETSTAT,
    CMD_STAT,
    CMD_SYMLINK,
    CMD_WRITE,
    int64,
)

from roster_pipeline.landing.accounts import remove_account, set_password
from roster_pipeline.landing.algorithms import CIPHERS
from roster_pipeline.landing.connection import MOST_UNREAD, Connection
from roster_pipeline.landing.folder import FolderLimits
from roster_pipeline.landing.host_keys import host_keys
from roster_pipeline.landing.served_zone import Limits
from roster_pipeline.landing.sftp import Operations, Protocol
from roster_pipeline_tests.landing.test_folder import HOSTILE
from roster_pipeline_tests.landing.zone import (
    WAITS,
    Zone,
    askpass,
    make_zone,
    password_of,
    running,
    until,
)

LIMITS = Limits(
    throttled_seconds=0.01,
    credentials_seconds=0.05,
    folder=FolderLimits(file_bytes=64 << 20, free_bytes=0),
)


def serve(work: Path) -> Iterator[Zone]:
    zone = make_zone(work)
    with running(zone, LIMITS):
        yield zone
    zone.engine.dispose()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    yield from serve(tmp_path_factory.mktemp("zone"))


@pytest.fixture
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """A server of one test's own, which for a while looks at no password from this address."""
    yield from serve(tmp_path_factory.mktemp("flooded"))


@pytest.fixture
def zone(served: Zone) -> Zone:
    """The running server, its folders empty."""
    until(lambda: not any(served.folder().glob(".upload-*")))
    served.clear()
    return served


def write(path: Path, size: int) -> bytes:
    content = random.Random(size).randbytes(size)
    path.write_bytes(content)
    return content


# What districts do


def test_openssh_puts_lists_renames_gets_and_deletes(zone: Zone) -> None:
    content = write(zone.work / "OneRoster.zip", 300_000)
    said = zone.sftp(
        "pwd",
        "put OneRoster.zip",
        "chmod 644 OneRoster.zip",
        "ls -l",
        "rename OneRoster.zip Other.zip",
        "get Other.zip back.zip",
        "put -p OneRoster.zip Other.zip",
        "put -f OneRoster.zip",
        "rm Other.zip",
    )
    assert "Remote working directory: /\n" in said
    assert re.search(r"^-rw-------\s.*\s300000 .* OneRoster\.zip$", said, re.M)
    assert (zone.work / "back.zip").read_bytes() == content
    assert zone.files() == {"OneRoster.zip": content}


def test_a_password_logs_in(zone: Zone) -> None:
    write(zone.work / "users.csv", 10)
    options = ("-o", "BatchMode=no", "-o", "PreferredAuthentications=password")
    done = subprocess.run(
        zone.sftp_command("oak", *options),
        input="put users.csv\n",
        env=askpass(zone.work, password_of("oak")),
        cwd=zone.work,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "users.csv" in zone.files()


def test_paramiko_tries_its_keys_and_then_the_password(zone: Zone, tmp_path: Path) -> None:
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1",
            zone.port,
            "oak",
            password_of("oak"),
            key_filename=make_key(tmp_path),
            allow_agent=False,
            look_for_keys=False,
        )
        assert client.open_sftp().listdir() == []


def test_winscp_uploads_under_another_name_and_renames(zone: Zone) -> None:
    with zone.client() as client:
        for content in (b"first", b"second"):
            with client.open("OneRoster.zip.filepart", "wb") as file:
                file.write(content)
            client.utime("OneRoster.zip.filepart", (1, 1))
            client.rename("OneRoster.zip.filepart", "OneRoster.zip")
            assert zone.files() == {"OneRoster.zip": content}
        with client.open("b.part", "wb") as file:
            file.write(b"third")
        client.posix_rename("b.part", "OneRoster.zip")
        assert zone.files() == {"OneRoster.zip": b"third"}
        modified = client.stat("OneRoster.zip").st_mtime
    assert modified is not None
    assert modified > 1_000_000


def test_openssh_resumes_what_it_broke_off(zone: Zone) -> None:
    content = write(zone.work / "OneRoster.zip", 200_000)
    (zone.folder() / "OneRoster.zip").write_bytes(content[:70_000])
    (zone.folder() / "b.zip").write_bytes(content[:70_000])
    zone.sftp("reput OneRoster.zip", "put -a OneRoster.zip b.zip")
    assert zone.files() == {"OneRoster.zip": content, "b.zip": content}


@pytest.mark.skipif(not shutil.which("lftp"), reason="lftp is not installed")
def test_lftp_uploads_and_resumes(zone: Zone) -> None:
    content = write(zone.work / "OneRoster.zip", 200_000)
    (zone.folder() / "OneRoster.zip").write_bytes(content[:70_000])
    connect = (
        f"ssh -a -x -F none -i {zone.key} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "
        "-o UserKnownHostsFile=/dev/null"
    )
    script = (
        f'set sftp:connect-program "{connect}"; open -u oak, -p {zone.port} sftp://127.0.0.1; '
        "put -c OneRoster.zip; put OneRoster.zip -o b.zip; bye"
    )
    subprocess.run(
        ["lftp", "--norc", "-c", script], cwd=zone.work, check=True, timeout=60, stdin=-3
    )
    assert zone.files() == {"OneRoster.zip": content, "b.zip": content}


async def _asyncssh_put(zone: Zone, path: Path) -> None:
    async with (
        zone.ssh() as conn,
        conn.start_sftp_client() as client,
    ):
        await client.put(path, "OneRoster.zip", block_size=20_000, max_requests=100)


def test_a_client_that_writes_many_pieces_at_once_is_served(zone: Zone) -> None:
    content = write(zone.work / "big.zip", 3_000_000)
    asyncio.run(_asyncssh_put(zone, zone.work / "big.zip"))
    assert zone.files() == {"OneRoster.zip": content}


def test_what_happened_is_in_the_log_with_size_and_hash_and_nothing_else(zone: Zone) -> None:
    before = len(zone.log())
    (zone.work / "users.csv").write_bytes(b"sourcedId,familyName\n1,Secretname\n")
    zone.sftp("put users.csv", "rename users.csv u.csv", "rm u.csv", "-mkdir x")
    # The log is written behind: a row of an earlier test may come now, and the refusal comes last.
    until(lambda: any(row.file == "/x" for row in zone.log()[before:]))
    rows = zone.log()[before:]
    by_action = {row.action: row for row in rows}
    assert set(by_action) == {"login", "upload", "rename", "deletion", "refused"}
    assert {(row.district_id, row.address) for row in rows} == {("oak", "127.0.0.1")}
    upload = by_action["upload"]
    assert (upload.file, upload.size) == ("users.csv", 34)
    assert upload.sha256 == hashlib.sha256((zone.work / "users.csv").read_bytes()).hexdigest()
    assert by_action["refused"].file == "/x"
    assert "Secretname" not in str(rows)


# Uploads that do not end well


def half_an_upload(zone: Zone, name: str = "OneRoster.zip") -> subprocess.Popen[str]:
    """An `sftp` in the middle of an upload that would take half a minute."""
    write(zone.work / "OneRoster.zip", 20_000_000)
    process = subprocess.Popen(
        zone.sftp_command("oak", "-i", str(zone.key), "-l", "6000"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=zone.work,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(f"put OneRoster.zip {name}\n")
    process.stdin.close()
    until(lambda: [p for p in zone.folder().glob(".upload-*") if p.stat().st_size > 500_000])
    return process


def test_a_client_killed_at_half_leaves_nothing_new(zone: Zone) -> None:
    (zone.folder() / "OneRoster.zip").write_bytes(b"the last one")
    process = half_an_upload(zone)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: zone.files() == {"OneRoster.zip": b"the last one"})


def test_a_connection_that_drops_publishes_nothing(zone: Zone) -> None:
    """asyncssh closes open files by itself then, just as the client would."""
    with zone.client() as client:
        file = client.open("OneRoster.zip", "wb")
        file.write(b"half")
        file.flush()
        channel = client.get_channel()
        assert channel is not None
        channel.get_transport().sock.close()
        until(lambda: not zone.files())
    with zone.client() as client:
        file = client.open("OneRoster.zip", "wb")
        file.write(b"half")
        channel = client.get_channel()
        assert channel is not None
        channel.close()  # orderly, and yet the file was not closed
        until(lambda: not zone.files())


def test_ctrl_c_in_openssh_closes_the_half_and_a_later_upload_replaces_it(zone: Zone) -> None:
    process = half_an_upload(zone)
    process.send_signal(signal.SIGINT)
    until(lambda: set(zone.files()) == {"OneRoster.zip"})
    process.wait(WAITS)
    content = (zone.work / "OneRoster.zip").read_bytes()
    half = zone.files()["OneRoster.zip"]
    assert 0 < len(half) < len(content)
    assert content.startswith(half)
    zone.sftp("reput OneRoster.zip")
    assert zone.files() == {"OneRoster.zip": content}


def test_an_unfinished_name_keeps_its_half_so_that_winscp_can_resume(zone: Zone) -> None:
    process = half_an_upload(zone, "OneRoster.zip.filepart")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: set(zone.files()) == {"OneRoster.zip.filepart"})
    zone.sftp("reput OneRoster.zip OneRoster.zip.filepart")
    assert zone.files() == {"OneRoster.zip.filepart": (zone.work / "OneRoster.zip").read_bytes()}


# What a hostile client sends


class Raw:
    """Requests that no client would send. Each must be answered, and gives the status' words, or
    None for «done»."""

    def __init__(self, client: paramiko.SFTPClient) -> None:
        self._client: Any = client

    def ask(self, request: int, *arguments: Any) -> Any:
        return self._client._request(request, *arguments)

    def refused(self, request: int, *arguments: Any) -> str:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            self.ask(request, *arguments)
        return str(caught.value)

    def open(self, name: bytes, flags: int) -> Any:
        kind, message = self.ask(CMD_OPEN, name, flags, paramiko.SFTPAttributes())
        assert kind == CMD_HANDLE
        return message.get_binary()


@pytest.fixture
def raw(zone: Zone) -> Iterator[Raw]:
    with zone.client() as client:
        yield Raw(client)


NO_ATTRIBUTES = paramiko.SFTPAttributes()
READ, WRITE, APPEND, CREATE, TRUNCATE = 1, 2, 4, 8, 16


@pytest.mark.parametrize("name", HOSTILE)
def test_no_operation_takes_a_hostile_name(zone: Zone, raw: Raw, name: bytes) -> None:
    (zone.folder() / "mine.csv").write_text("mine")
    (zone.folder("elm") / "OneRoster.zip").write_text("another's")
    for request in (
        (CMD_OPEN, name, READ, NO_ATTRIBUTES),
        (CMD_OPEN, name, WRITE | CREATE | TRUNCATE, NO_ATTRIBUTES),
        (CMD_OPEN, name, WRITE | CREATE | APPEND, NO_ATTRIBUTES),
        (CMD_STAT, name),
        (CMD_OPENDIR, name),
        (CMD_REALPATH, name),
        (CMD_REMOVE, name),
        (CMD_RENAME, name, b"mine2.csv"),
        (CMD_RENAME, b"mine.csv", name),
        (CMD_SETSTAT, name, NO_ATTRIBUTES),
        (CMD_MKDIR, name, NO_ATTRIBUTES),
        (CMD_RMDIR, name),
        (CMD_READLINK, name),
        (CMD_SYMLINK, name, b"mine.csv"),
        (CMD_SYMLINK, b"mine.csv", name),
        (CMD_EXTENDED, "posix-rename@openssh.com", name, b"mine2.csv"),
        (CMD_EXTENDED, "posix-rename@openssh.com", b"mine.csv", name),
        (CMD_EXTENDED, "hardlink@openssh.com", name, b"mine2.csv"),
        (CMD_EXTENDED, "lsetstat@openssh.com", name, NO_ATTRIBUTES),
        (CMD_EXTENDED, "statvfs@openssh.com", name),
    ):
        said = raw.refused(*request)
        assert str(zone.work) not in said
        assert "root:" not in said
    assert zone.files() == {"mine.csv": b"mine"}
    assert zone.files("elm") == {"OneRoster.zip": b"another's"}
    assert {p.name for p in zone.settings.landing.iterdir()} == {"oak", "elm"}


def test_nobody_gets_out_by_a_link_for_reading_or_writing(zone: Zone, raw: Raw) -> None:
    """asyncssh's own chroot is left so: a link that is made deep, where it points inside, and then
    renamed upwards, where it points outside."""
    secret = zone.work / "secret"
    secret.write_text("a secret")
    target = b"../../../secret"
    for name in (b"deep", b"deep/deeper", b"link", b"/link"):
        raw.refused(CMD_MKDIR, name, NO_ATTRIBUTES)
        raw.refused(CMD_SYMLINK, target, name)
        raw.refused(CMD_SYMLINK, name, target)
        raw.refused(CMD_EXTENDED, "hardlink@openssh.com", target, name)
        raw.refused(CMD_RENAME, b"deep/deeper/link", name)
    assert zone.files() == {}
    # Even if one were there, it would not be.
    (zone.folder() / "link").symlink_to(secret)
    (zone.folder() / "new").symlink_to(zone.work / "made")
    (zone.folder() / "hard").hardlink_to(secret)
    for name in (b"link", b"new", b"hard"):
        raw.refused(CMD_OPEN, name, READ, NO_ATTRIBUTES)
        raw.refused(CMD_OPEN, name, WRITE, NO_ATTRIBUTES)
        raw.refused(CMD_OPEN, name, WRITE | CREATE | TRUNCATE, NO_ATTRIBUTES)
        raw.refused(CMD_OPEN, name, READ | WRITE | APPEND, NO_ATTRIBUTES)
        raw.refused(CMD_STAT, name)
        raw.refused(CMD_READLINK, name)
        raw.refused(CMD_REMOVE, name)
        raw.refused(CMD_RENAME, name, b"mine")
    with zone.client() as client:
        assert client.listdir() == []
    assert secret.read_text() == "a secret"
    assert not (zone.work / "made").exists()
    secret.unlink()


def test_a_write_at_a_mad_offset_is_refused_and_nothing_sparse_is_left(
    zone: Zone, raw: Raw
) -> None:
    handle = raw.open(b"a.zip", WRITE | CREATE | TRUNCATE)
    for offset in (2**40, 2**63 - 1, 2**63, 2**64 - 1):
        assert "without gaps" in raw.refused(CMD_WRITE, handle, int64(offset), b"x")
    attributes = paramiko.SFTPAttributes()
    attributes.st_size = 2**40
    attributes._flags = attributes.FLAG_SIZE
    raw.refused(CMD_FSETSTAT, handle, attributes)
    raw.refused(CMD_SETSTAT, b"a.zip", attributes)
    raw.ask(CMD_WRITE, handle, int64(0), b"good")
    raw.ask(CMD_CLOSE, handle)
    assert zone.files() == {"a.zip": b"good"}


def test_a_file_is_no_larger_than_may_be(zone: Zone, raw: Raw) -> None:
    handle = raw.open(b"a.zip", WRITE | CREATE | TRUNCATE)
    block = b"x" * 250_000
    limit = LIMITS.folder.file_bytes
    for offset in range(0, limit - len(block), len(block)):
        raw.ask(CMD_WRITE, handle, int64(offset), block)
    assert "at most 64 MB" in raw.refused(CMD_WRITE, handle, int64(limit - 1), b"xx")


def test_reading_at_any_offset_gives_what_is_there_or_the_end(zone: Zone, raw: Raw) -> None:
    (zone.folder() / "a.zip").write_bytes(b"0123456789")
    handle = raw.open(b"a.zip", READ)
    _, message = raw.ask(CMD_READ, handle, int64(4), 100)
    assert message.get_binary() == b"456789"
    for offset in (10, 2**40, 2**63, 2**64 - 1):
        with pytest.raises(EOFError):
            raw.ask(CMD_READ, handle, int64(offset), 100)
    raw.refused(CMD_WRITE, handle, int64(0), b"x")


@pytest.mark.parametrize(
    "request_",
    [
        (CMD_EXTENDED, "copy-data", b"h", int64(0), int64(0), b"h", int64(0)),
        (CMD_EXTENDED, "ranges@asyncssh.com", b"h", int64(0), int64(10)),
        (CMD_EXTENDED, "statvfs@openssh.com", b"/"),
        (CMD_EXTENDED, "fstatvfs@openssh.com", b"h"),
        (CMD_EXTENDED, "users-groups-by-id@openssh.com", b"", b""),
        (CMD_EXTENDED, "home-directory", b"root"),
        (CMD_EXTENDED, "expand-path@openssh.com", b"~"),
        (CMD_EXTENDED, "x" * 1000, b""),
        (FXP_BLOCK, b"h", int64(0), int64(1), 1),
        (FXP_UNBLOCK, b"h", int64(0), int64(1)),
        (255, b"h"),
    ],
    ids=lambda request: str(request[1])[:20] if request[0] == CMD_EXTENDED else str(request[0]),
)
def test_requests_that_are_not_served_are_refused(
    zone: Zone, raw: Raw, request_: tuple[Any, ...]
) -> None:
    (zone.folder() / "a.zip").write_bytes(b"x")
    handle = raw.open(b"a.zip", READ)
    raw.refused(*(handle if part == b"h" else part for part in request_))


def test_a_session_has_only_so_many_files_open(zone: Zone, raw: Raw) -> None:
    (zone.folder() / "a.zip").write_bytes(b"x")
    for _ in range(LIMITS.handles - 1):
        raw.open(b"a.zip", READ)
    raw.ask(CMD_OPENDIR, b"/")
    assert "Too many" in raw.refused(CMD_OPEN, b"a.zip", READ, NO_ATTRIBUTES)
    assert "Too many" in raw.refused(CMD_OPENDIR, b"/")


def test_rubbish_ends_a_session_and_no_other(zone: Zone) -> None:
    chance = random.Random(7)
    with zone.client() as witness:
        for _ in range(60):
            with zone.connected() as transport:
                channel = transport.open_session(timeout=WAITS)
                channel.invoke_subsystem("sftp")
                channel.sendall(b"\x00\x00\x00\x05\x01\x00\x00\x00\x03")
                for _ in range(20):
                    body = bytes([chance.randrange(256)]) + chance.randbytes(chance.randrange(60))
                    size = chance.choice([len(body), len(body), 2**31, 0])
                    try:
                        channel.sendall(size.to_bytes(4, "big") + body)
                    except OSError:
                        break
        assert witness.listdir() == []
    assert {p.name for p in zone.settings.landing.iterdir()} == {"oak", "elm"}


def test_who_asks_and_does_not_listen_costs_no_memory(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[Connection] = []
    made = Connection.connection_made

    def remember(self: Connection, conn: asyncssh.SSHServerConnection) -> None:
        connections.append(self)
        made(self, conn)

    monkeypatch.setattr(Connection, "connection_made", remember)
    (zone.folder() / "a.zip").write_bytes(bytes(1_000_000))

    def framed(*parts: bytes) -> bytes:
        return String(b"".join(parts))

    async def ask() -> None:
        conn = await zone.ssh()
        # A window in which all answers would have room: 500 MB.
        writer, reader, _ = await conn.open_session(subsystem="sftp", encoding=None, window=1 << 30)
        opening = Byte(CMD_OPEN) + UInt32(1) + String("a.zip") + UInt32(READ) + UInt32(0)
        writer.write(framed(Byte(1), UInt32(3)) + framed(opening))
        for _ in range(2):
            size = int.from_bytes(await reader.readexactly(4), "big")
            answer = await reader.readexactly(size)
        assert answer[0] == CMD_HANDLE
        reading = framed(Byte(CMD_READ), UInt32(2), answer[5:], UInt64(0), UInt32(256 << 10))
        assert conn._transport is not None
        conn._transport.pause_reading()
        writer.write(reading * 2000)
        await asyncio.to_thread(until, lambda: not connections[-1].flowing.is_set())
        for _ in range(20):
            assert connections[-1]._transport.get_write_buffer_size() < MOST_UNREAD * 2
            await asyncio.sleep(0.01)
        conn.abort()

    asyncio.run(ask())


async def _ask_for_everything_else(zone: Zone) -> list[str]:
    """What was granted of all that SSH knows beside SFTP."""
    granted: list[str] = []
    async with zone.ssh(
        agent_forwarding=False,
    ) as conn:

        async def attempt(what: str, asked: Any) -> None:
            try:
                await asyncio.wait_for(asked, WAITS)
            except (asyncssh.Error, asyncssh.ChannelListenError, OSError):
                return
            granted.append(what)

        await attempt("a shell", conn.create_process())
        await attempt("a terminal", conn.create_process(term_type="xterm"))
        await attempt("a command", conn.create_process("id"))
        await attempt("scp", conn.create_process("scp -t /"))
        await attempt("sftp by command", conn.create_process("/usr/lib/sftp-server"))
        await attempt("another subsystem", conn.create_process(subsystem="netconf"))
        await attempt("a terminal for sftp", conn.create_process(subsystem="sftp", term_type="x"))
        await attempt("X11", conn.create_process(subsystem="sftp", x11_forwarding=True))
        await attempt("a connection", conn.open_connection("127.0.0.1", zone.port))
        await attempt("a socket's", conn.open_unix_connection("/run/x"))
        await attempt("a tunnel", conn.open_tun())
        await attempt("an ethernet", conn.open_tap())
        await attempt("a port", conn.start_server(lambda *_: True, "127.0.0.1", 0))
        await attempt("a path", conn.start_unix_server(lambda *_: True, str(zone.work / "s")))
        async with conn.start_sftp_client(env={"LD_PRELOAD": "x"}) as client:
            assert await client.listdir() == []
    return granted


def test_nothing_but_sftp_is_granted(zone: Zone) -> None:
    assert asyncio.run(_ask_for_everything_else(zone)) == []
    until(lambda: any("not for shell" in (row.detail or "") for row in zone.log("refused")))
    with zone.connected() as transport:
        channel = transport.open_session(timeout=WAITS)
        with pytest.raises(paramiko.SSHException):
            channel.request_x11()
        channel = transport.open_session(timeout=WAITS)
        assert not _agent_is_forwarded(channel)
    # The environment is not taken over (above, LD_PRELOAD), but offering it is no offence.
    assert not any("for env" in (row.detail or "") for row in zone.log("refused"))


def _agent_is_forwarded(channel: paramiko.Channel) -> bool:
    message = paramiko.Message()
    message.add_byte(b"\x62")
    message.add_int(channel.remote_chanid)
    message.add_string("auth-agent-req@openssh.com")
    message.add_boolean(True)
    channel._event_pending()
    channel.transport._send_user_message(message)
    try:
        channel._wait_for_event()
    except paramiko.SSHException:
        return False
    return True


def test_a_connection_has_only_so_many_sessions(zone: Zone) -> None:
    with zone.connected() as transport:
        channels = [transport.open_session(timeout=WAITS) for _ in range(LIMITS.channels)]
        with pytest.raises(paramiko.ChannelException):
            transport.open_session(timeout=WAITS)
        channels.pop().close()
        until(lambda: _opens(transport))


def _opens(transport: paramiko.Transport) -> bool:
    try:
        transport.open_session(timeout=WAITS)
    except paramiko.ChannelException:
        return False
    return True


def test_two_districts_see_nothing_of_one_another(zone: Zone) -> None:
    (zone.folder("elm") / "OneRoster.zip").write_text("another's")
    with zone.client("oak") as oak, zone.client("elm") as elm:
        assert oak.listdir() == []
        assert elm.listdir() == ["OneRoster.zip"]
        asked = Raw(oak)
        there = asked.refused(CMD_STAT, b"/../elm/OneRoster.zip")
        not_there = asked.refused(CMD_STAT, b"/../elm/none.zip")
        nowhere = asked.refused(CMD_STAT, b"/../no-such-district/none.zip")
        assert there == not_there == nowhere
        assert oak.normalize(".") == elm.normalize(".") == "/"
        before = oak.stat(".").st_mtime
        with elm.open("more.csv", "wb") as file:
            file.write(b"x")
        assert oak.stat(".").st_mtime == before


def test_what_a_client_is_told_names_no_owner_and_no_place(zone: Zone) -> None:
    (zone.folder() / "a.zip").write_bytes(b"x")
    with zone.client() as client:
        [told] = client.listdir_attr()
        assert (told.st_uid, told.st_gid) == (None, None)
        assert told.st_atime == told.st_mtime
        assert told.longname.startswith("-rw-------  1 district district".replace("  ", " "))
        assert client.stat(".").st_mode == 0o40700


# What a newer asyncssh may know


SERVED = {
    *("open", "close", "read", "write", "fstat", "fsetstat", "fsync"),
    *("stat", "lstat", "setstat", "lsetstat", "realpath", "scandir"),
    *("remove", "rename", "posix_rename", "exit"),
}
REFUSED = {"mkdir", "rmdir", "readlink", "symlink", "link"}
NEVER_ASKED = {
    # Not in version 3, or answered by `Protocol` before it comes to that.
    *("open56", "lock", "unlock", "statvfs", "fstatvfs", "convert_attrs"),
    # Helpers of asyncssh's own operations.
    *("channel", "connection", "env", "logger", "map_path", "reverse_map_path"),
    *("format_user", "format_group", "format_longname"),
}


def test_each_operation_that_asyncssh_knows_is_ours_or_refused() -> None:
    """Whoever meets this after an update of asyncssh: decide about the new operation."""
    known = {name for name in dir(asyncssh.SFTPServer) if not name.startswith("_")}
    assert known == SERVED | REFUSED | NEVER_ASKED
    assert not issubclass(Operations, asyncssh.SFTPServer)
    assert vars(Operations).keys() >= SERVED | REFUSED


@pytest.mark.parametrize(
    "name", sorted((REFUSED | NEVER_ASKED | {"a_new_one"}) - {"convert_attrs"})
)
def test_an_operation_that_is_not_ours_is_refused_when_called(zone: Zone, name: str) -> None:
    told: list[Any] = []

    class Visit:
        folder: Any = None
        handles = 1

        def note(self, *said: Any, **of_file: Any) -> None:
            told.append((said, of_file))

    operations: Any = Operations(Visit())  # type: ignore[arg-type]
    two = name in ("symlink", "link", "mkdir")
    with pytest.raises(asyncssh.SFTPPermissionDenied):
        getattr(operations, name)(*([b"x"] * (1 + two)))
    assert len(told) == 1


def test_each_request_that_asyncssh_knows_is_served_or_refused() -> None:
    known = set(SFTPServerHandler._packet_handlers)
    refused = {
        *(FXP_BLOCK, FXP_UNBLOCK),
        *(b"copy-data", b"ranges@asyncssh.com", b"statvfs@openssh.com", b"fstatvfs@openssh.com"),
    }
    assert known - set(Protocol._packet_handlers) == refused


def test_each_question_that_asyncssh_asks_a_server_is_ours_or_answered_with_no() -> None:
    ours = {
        *("connection_made", "connection_lost", "begin_auth", "auth_completed"),
        *("public_key_auth_supported", "validate_public_key"),
        *("password_auth_supported", "validate_password", "session_requested"),
    }
    known = {name for name in dir(asyncssh.SSHServer) if not name.startswith("_")}
    assert known - ours == {
        *("change_password", "debug_msg_received", "validate_gss_principal"),
        *("host_based_auth_supported", "validate_host_based_user", "validate_ca_key"),
        *("validate_host_ca_key", "validate_host_public_key"),
        *("kbdint_auth_supported", "get_kbdint_challenge", "validate_kbdint_response"),
        *("connection_requested", "server_requested", "unix_connection_requested"),
        *("unix_server_requested", "tun_requested", "tap_requested"),
    }
    assert vars(Connection).keys() >= ours


# Who may log in


@pytest.mark.parametrize(
    "weak",
    [
        {"kex_algs": ["diffie-hellman-group14-sha1"]},
        {"kex_algs": ["diffie-hellman-group1-sha1"]},
        {"kex_algs": ["diffie-hellman-group-exchange-sha1"]},
        {"kex_algs": ["rsa2048-sha256"]},
        {"encryption_algs": ["chacha20-poly1305@openssh.com"]},
        {"encryption_algs": ["aes256-cbc"]},
        {"encryption_algs": ["3des-cbc"]},
        {"encryption_algs": ["arcfour"]},
        {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha1"]},
        {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha1-etm@openssh.com"]},
        {"encryption_algs": ["aes128-ctr"], "mac_algs": ["umac-64@openssh.com"]},
        {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-md5"]},
        {"compression_algs": ["zlib@openssh.com"]},
        {"server_host_key_algs": ["ssh-rsa"]},
    ],
    ids=lambda weak: "-".join(weak[max(weak)]),
)
def test_weak_algorithms_are_not_to_be_had(zone: Zone, weak: dict[str, Any]) -> None:
    async def connect() -> None:
        async with zone.ssh(
            **weak,
        ):
            pass

    # The server may have hung up before the client noticed.
    with pytest.raises((asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost)):
        asyncio.run(connect())


@pytest.mark.parametrize("cipher", CIPHERS)
def test_an_older_client_gets_in_with_what_it_has(zone: Zone, cipher: str) -> None:
    async def connect() -> Any:
        async with zone.ssh(
            encryption_algs=[cipher],
            kex_algs=["ecdh-sha2-nistp256"],
            server_host_key_algs=["ecdsa-sha2-nistp256"],
        ) as conn:
            return conn.get_extra_info("recv_cipher")

    assert asyncio.run(connect()) == cipher


def test_openssh_uses_gcm_which_is_faster_here(zone: Zone) -> None:
    said = zone.sftp("ls", options=("-v",))
    assert "cipher: aes128-gcm@openssh.com" in said


@pytest.mark.parametrize("algorithm", [b"rsa-sha2-256", b"ssh-rsa"])
def test_a_signature_with_sha1_does_not_log_in(
    zone: Zone, monkeypatch: pytest.MonkeyPatch, algorithm: bytes
) -> None:
    from roster_pipeline.landing.accounts import add_key

    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    with zone.engine.begin() as conn:
        add_key(conn, "elm", key.export_public_key(), "a test", datetime.now(UTC))

    def choose(_conn: Any, keypair: Any) -> bool:
        keypair.set_sig_algorithm(algorithm)
        return True

    monkeypatch.setattr(asyncssh.SSHClientConnection, "_choose_signature_alg", choose)

    async def log_in() -> bool:
        try:
            async with asyncssh.connect(
                "127.0.0.1",
                zone.port,
                username="elm",
                client_keys=[key],
                known_hosts=None,
                config=None,
                signature_algs=[algorithm.decode()],
                password_auth=False,
            ):
                return True
        except asyncssh.PermissionDenied:
            return False

    assert asyncio.run(log_in()) is (algorithm == b"rsa-sha2-256")


def test_a_restart_keeps_the_host_keys(tmp_path: Path) -> None:
    zone = make_zone(tmp_path)
    with running(zone):
        first = zone.host_keys
        zone.sftp("ls")
    with running(zone):
        assert zone.host_keys == first
        zone.sftp("ls")
    zone.engine.dispose()
    assert [line.split()[0] for line in first] == ["ssh-ed25519", "ecdsa-sha2-nistp256"]
    keys = zone.settings.keys
    for name in ("landing_ed25519", "landing_ecdsa"):
        assert (keys / name).stat().st_mode & 0o777 == 0o600
        assert (keys / f"{name}.pub").read_text().split()[:2] in [x.split()[:2] for x in first]
    assert not [p.name for p in keys.iterdir() if p.name.startswith(".")]


def test_servers_that_start_at_once_agree_on_the_host_keys(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: host_keys(tmp_path / "keys"), range(8)))
    assert len({tuple(key.public_data for key in keys) for keys in made}) == 1


def test_an_account_without_its_password_or_key_is_not_let_in(zone: Zone, tmp_path: Path) -> None:
    with (
        pytest.raises(paramiko.AuthenticationException),
        zone.connected("oak", password_of("elm"), "127.0.0.9"),
    ):
        pass
    other = paramiko.Ed25519Key.from_private_key_file(make_key(tmp_path))
    for user in ("oak", "nobody", "root", "oak\x00", "é", "x" * 900):
        transport = paramiko.Transport(("127.0.0.1", zone.port))
        transport.start_client(timeout=WAITS)
        with pytest.raises(paramiko.SSHException):
            transport.auth_publickey(user, other)
        transport.close()
    told = {"wrong password of oak", "no key of oak", "no key of an unknown user"}
    until(lambda: told <= {row.detail for row in zone.log("login_refused")})
    assert not any("nobody" in str(row) for row in zone.log())


def make_key(folder: Path) -> str:
    path = folder / "another"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return str(path)


def test_a_changed_password_ends_live_sessions_and_their_uploads(zone: Zone) -> None:
    with zone.connected("oak") as oak, zone.client("elm") as elm:
        client = paramiko.SFTPClient.from_transport(oak)
        assert client is not None
        file = client.open("OneRoster.zip", "wb")
        file.write(b"half")
        with zone.engine.begin() as conn:
            set_password(conn, "oak", password_of("oak"), "a test", datetime.now(UTC))
        until(lambda: not oak.is_active())
        assert elm.listdir() == []
    until(lambda: not zone.files())


def test_a_removed_account_ends_its_sessions(tmp_path: Path) -> None:
    zone = make_zone(tmp_path)
    with running(zone, LIMITS), zone.connected("elm") as transport:
        with zone.engine.begin() as conn:
            remove_account(conn, "elm", "a test", datetime.now(UTC))
        until(lambda: not transport.is_active())
    zone.engine.dispose()


def test_an_account_has_only_so_many_connections(tmp_path: Path) -> None:
    zone = make_zone(tmp_path)
    with running(zone, Limits(connections_account=2)), ExitStack() as open_ones:
        for user in ("oak", "oak", "elm"):
            client = open_ones.enter_context(zone.client(user))
            client.listdir()
        # The client may learn it at the login or thereafter.
        with suppress(paramiko.SSHException), zone.connected("oak") as transport:
            until(lambda: not transport.is_active())
        assert client.listdir() == []
        assert len([row for row in zone.log("login") if row.district_id == "oak"]) <= 2
    zone.engine.dispose()


def test_a_hundred_silent_connections_keep_nobody_out(zone: Zone) -> None:
    with ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(socket.create_connection(("127.0.0.1", zone.port), WAITS))
        took = []
        for _ in range(3):
            started = time.monotonic()
            zone.sftp("ls")
            took.append(time.monotonic() - started)
    assert min(took) < 10


FLOOD = """
import asyncio, sys
import asyncssh

class Guesser(asyncssh.SSHClient):
    left = 6
    def password_auth_requested(self):
        self.left -= 1
        return None if self.left < 0 else f"wrong password {self.left}"

async def guess(port, tries):
    while tries:
        tries.pop()
        try:
            await asyncssh.connect(
                "127.0.0.1", port, username="oak", client_factory=Guesser, known_hosts=None,
                config=None, client_keys=None, preferred_auth="password", agent_path=None)
            print("let in"); return
        except (asyncssh.Error, OSError):
            pass

async def main():
    tries = list(range(1000 // 6 + 1))
    print("begins", flush=True)
    await asyncio.gather(*(guess(int(sys.argv[1]), tries) for _ in range(20)))

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_thousand_wrong_passwords_do_not_keep_the_right_key_out(flooded: Zone) -> None:
    checked = len(flooded.log("login_refused"))
    flood = subprocess.Popen(
        [sys.executable, "-c", FLOOD, str(flooded.port)], stdout=subprocess.PIPE, text=True
    )
    assert flood.stdout is not None
    assert flood.stdout.readline() == "begins\n"
    took = []
    while flood.poll() is None:
        started = time.monotonic()
        flooded.sftp("ls")
        took.append(time.monotonic() - started)
    assert flood.stdout.read() == ""
    assert len(took) >= 2
    assert statistics.median(took) < 10
    until(lambda: len(flooded.log("login_refused")) > checked)
    assert len(flooded.log("login_refused")) - checked < 20  # folded


def test_many_wrong_passwords_slow_down_passwords_from_there_and_no_key(zone: Zone) -> None:
    def tries(source: str, password: str) -> bool:
        try:
            with zone.connected("elm", password, source):
                return True
        except paramiko.AuthenticationException:
            return False

    assert not any(tries("127.0.0.5", "wrong") for _ in range(6))
    assert not tries("127.0.0.5", password_of("elm"))  # not even looked at now
    assert tries("127.0.0.6", password_of("elm"))
    zone.sftp("ls", user="elm")


def test_an_unknown_name_costs_a_check_as_a_known_one_does(
    zone: Zone, checks: list[Parameters]
) -> None:
    for user in ("oak", "nobody"):
        with (
            pytest.raises(paramiko.AuthenticationException),
            zone.connected(user, "wrong", "127.0.0.8"),
        ):
            pass
    assert checks == [checks[0]] * 2


def test_a_client_may_not_try_for_ever(zone: Zone) -> None:
    sock = socket.create_connection(("127.0.0.1", zone.port), WAITS, ("127.0.0.7", 0))
    transport = paramiko.Transport(sock)
    transport.start_client(timeout=WAITS)
    for _ in range(LIMITS.passwords):
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_password("oak", "wrong")
    with pytest.raises(paramiko.SSHException):
        transport.auth_password("oak", password_of("oak"))
    transport.close()
