"""The landing zone: an SFTP server that can do what a delivery needs and nothing else.

asyncssh speaks SSH. Here is who may log in, how often, how many at once, and when a session ends;
what a session may do is in `sftp`. No forwarding of any kind, no agent, no X11.

Logins by password are throttled and checked in threads, those by key are neither. Connections that
are not logged in are few for each address; who comes next takes the place of who says nothing. A
session ends when its account's credentials change.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

import asyncssh
from asyncssh.constants import (
    DISC_BY_APPLICATION,
    DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
    DISC_TOO_MANY_CONNECTIONS,
)
from asyncssh.kex import get_kex_algs
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from roster_pipeline.landing.accounts import (
    Account,
    accounts,
    find_account,
    is_ephemeral,
    verify_password,
)
from roster_pipeline.landing.folder import Entry, Folder, FolderLimits
from roster_pipeline.landing.host_keys import host_keys, public_line
from roster_pipeline.landing.log import Action, Event, LandingLog
from roster_pipeline.landing.sftp import Channel, Session
from roster_pipeline.landing.throttle import Throttle
from roster_pipeline.settings import Settings
from roster_pipeline.warehouse.database import open_warehouse, reading

logger = logging.getLogger("roster.landing")

KEY_EXCHANGES = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
)
"""Of these, what the installed libraries have."""
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CIPHERS = (*FAST_CIPHERS, "aes256-ctr", "aes128-ctr")
"""OpenSSH, which has had GCM since 2013 and yet asks for CTR before, is offered the fast ones only:
the others cost half as much again here. Many an older client has nothing but CTR."""
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
SIGNATURES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
"""Explicit, whatever a library offers: no SHA-1, no CBC, no chacha20-poly1305 (Terrapin)."""

_MOST_UNREAD = 4 << 20
"""Bytes answered that a client has not taken; then it is not listened to either."""
_LARGEST_BEFORE_LOGIN = 8 << 10
"""Bytes of a packet: the longest key fits, but no password that takes a second to normalise."""
_PASSWORD_THREADS = 2
_ENDS_WITHIN = 5.0


@dataclass(frozen=True)
class Limits:
    """How much one may ask of the server: counts, and times in seconds.

    waiting_address, waiting: connections that are not logged in, from one address and in all.
    names, passwords, keys: how many a connection may try. checks: passwords that wait for a check.
    handles: open files and listings of a session; channels: sessions of a connection.
    """

    waiting_address: int = 64
    waiting: int = 512
    login_seconds: float = 60.0
    names: int = 3
    passwords: int = 6
    keys: int = 20
    checks: int = 32
    throttled_seconds: float = 0.25
    connections_account: int = 10
    connections: int = 200
    channels: int = 4
    handles: int = 64
    keepalive_seconds: float = 30.0
    credentials_seconds: float = 1.0
    folder: FolderLimits = field(default_factory=FolderLimits)


@dataclass(frozen=True)
class Serving:
    """A running server: where, and its host keys' public halves (as in known_hosts, without the
    host)."""

    host: str
    port: int
    host_keys: tuple[str, ...]


@asynccontextmanager
async def serve(
    settings: Settings, host: str, port: int, limits: Limits = Limits()
) -> AsyncIterator[Serving]:
    """Serve the landing zone until the block ends; port 0 takes a free one.

    Raises OSError when the port is taken, WarehouseError when the warehouse cannot be used.
    """
    engine = open_warehouse(settings.warehouse_url)
    keys = host_keys(settings.keys)
    zone = _Zone(settings, engine, limits)
    try:
        known = {name.decode() for name in get_kex_algs()}
        acceptor = await asyncssh.listen(
            host,
            port,
            server_factory=lambda: _Connection(zone),
            server_host_keys=keys,
            server_version="roster",
            kex_algs=[name for name in KEY_EXCHANGES if name in known],
            encryption_algs=CIPHERS,
            mac_algs=MACS,
            signature_algs=SIGNATURES,
            compression_algs=None,
            config=None,
            encoding=None,
            gss_host=None,
            host_based_auth=False,
            kbdint_auth=False,
            allow_pty=False,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            login_timeout=limits.login_seconds,
            keepalive_interval=limits.keepalive_seconds,
        )
        watch = asyncio.create_task(zone.watch_credentials())
        try:
            yield Serving(host, acceptor.get_port(), tuple(public_line(key) for key in keys))
        finally:
            watch.cancel()
            acceptor.close()
            await zone.close()
    finally:
        zone.end()
        engine.dispose()


class _Zone:
    """What all connections share."""

    def __init__(self, settings: Settings, engine: Engine, limits: Limits) -> None:
        self.settings = settings
        self.limits = limits
        self.throttle = Throttle()
        self.log = LandingLog(engine)
        self.waiting: dict[_Connection, None] = {}  # in order of arrival
        self.logged_in: set[_Connection] = set()
        self.checks = 0
        self._engine = engine
        self._folders: dict[str, tuple[Folder, int]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        # Kept apart, so that none of them waits for another.
        self._lookups = ThreadPoolExecutor(2, "landing-accounts")
        self._passwords = ThreadPoolExecutor(_PASSWORD_THREADS, "landing-passwords")
        self._files = ThreadPoolExecutor(2, "landing-files")

    async def find(self, username: str) -> Account | None:
        """The account of a user name."""

        def look_up() -> Account | None:
            with reading(self._engine) as conn:
                return find_account(conn, username)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._lookups, look_up)
        except SQLAlchemyError as error:
            logger.warning("Nobody can log in: the warehouse: %s", type(error).__name__)
            raise

    async def verify(self, account: Account | None, password: str) -> bool:
        """Whether it is the account's password."""
        loop = asyncio.get_running_loop()
        self.checks += 1
        try:
            return await loop.run_in_executor(self._passwords, verify_password, account, password)
        finally:
            self.checks -= 1

    async def in_thread(self, work: Callable[[], None]) -> None:
        """Do what takes long on a disk, off the loop."""
        await asyncio.get_running_loop().run_in_executor(self._files, work)

    def arrived(self, connection: _Connection) -> None:
        """Take a connection in, and make room for it: of the address that has most which are not
        logged in, the oldest goes, before others one that has not even named a user."""
        self.waiting[connection] = None
        addresses = Counter(c.address for c in self.waiting)
        address, most = addresses.most_common(1)[0]
        if most > self.limits.waiting_address or len(self.waiting) > self.limits.waiting:
            others = [c for c in self.waiting if c is not connection]
            candidates = [c for c in others if c.address == address] or others
            goes = next((c for c in candidates if c.username is None), candidates[0])
            goes.hang_up()

    def open_folder(self, district_id: str) -> Folder:
        """The district's folder, one for all its sessions. To be given back."""
        folder, users = self._folders.get(district_id, (None, 0))
        if folder is None:
            folder = Folder(self.settings.landing, district_id, self.limits.folder)
        self._folders[district_id] = (folder, users + 1)
        self._empty.clear()
        return folder

    def give_back(self, district_id: str) -> None:
        """End a session's use of a folder."""
        folder, users = self._folders[district_id]
        if users > 1:
            self._folders[district_id] = (folder, users - 1)
            return
        del self._folders[district_id]
        folder.close()
        if not self._folders:
            self._empty.set()

    def log_upload(self, event: Event, descriptor: int) -> None:
        """Log an upload when its bytes are on the disk, with their hash. Closes the descriptor."""
        at = datetime.now(UTC)

        def work() -> None:
            with os.fdopen(descriptor, "rb") as file:
                os.fsync(descriptor)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.log.add(replace(event, sha256=digest), at)

        self._files.submit(work)

    async def watch_credentials(self) -> None:
        """End the sessions of accounts whose credentials changed, or that are gone."""

        def changes() -> dict[str, datetime]:
            with reading(self._engine) as conn:
                return {account.username: account.changed_at for account in accounts(conn)}

        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.credentials_seconds)
            if not self.logged_in:
                continue
            try:
                now = await loop.run_in_executor(self._lookups, changes)
            except Exception as error:  # the warehouse may be away; who is in stays in
                logger.warning("The warehouse cannot be read: %s", type(error).__name__)
                continue
            for connection in list(self.logged_in):
                account = connection.account
                if account is None or now.get(account.username) != account.changed_at:
                    connection.hang_up("The account has changed; log in again.")

    async def close(self) -> None:
        """End all connections, and wait for them."""
        for connection in [*self.waiting, *self.logged_in]:
            connection.hang_up("The server ends.")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), _ENDS_WITHIN)

    def end(self) -> None:
        """Write what is left to write."""
        for pool in (self._lookups, self._passwords, self._files):
            pool.shutdown()
        self.log.close()


class _Connection(asyncssh.SSHServer):
    """One connection: who it is, and what it may."""

    def __init__(self, zone: _Zone) -> None:
        self.zone = zone
        self.address = ""
        self.username: str | None = None
        self.account: Account | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._conn: asyncssh.SSHServerConnection
        self._transport: asyncio.Transport
        self._channels = 0
        self._names = 0
        self._passwords = 0
        self._keys = 0
        self._by = ""
        self._admitted = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        peer = conn.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        # Who does not take answers is not listened to; asyncssh would keep them all in memory.
        assert conn._transport is not None
        self._transport = conn._transport
        self._transport.set_write_buffer_limits(high=_MOST_UNREAD)
        conn.pause_writing = self._stop_listening  # type: ignore[method-assign]
        conn.resume_writing = self._go_on_listening  # type: ignore[method-assign]
        conn._max_recv_pktlen = _LARGEST_BEFORE_LOGIN
        self._offer = conn._send_kexinit
        conn._send_kexinit = self._offer_what_is_fast  # type: ignore[method-assign]
        self.zone.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.flowing.set()
        if self._by == "key" and not self._admitted:  # each key of a client is a try: told once
            self.note(Action.login_refused, f"no key {self._whose()}")
        self.zone.waiting.pop(self, None)
        self.zone.logged_in.discard(self)

    def hang_up(self, reason: str | None = None) -> None:
        """End the connection; with a reason it is told to the client first."""
        if reason is None:
            self._conn.abort()
        else:
            self._conn.disconnect(DISC_BY_APPLICATION, reason)
        self.zone.waiting.pop(self, None)
        self.zone.logged_in.discard(self)

    def note(self, action: Action, detail: str | None = None, **of_file: Any) -> None:
        """Tell the log what happened."""
        logged_in = self in self.zone.logged_in
        district_id = self.account.district_id if self.account and logged_in else None
        self.zone.log.add(Event(action, district_id, self.address, detail=detail, **of_file))

    async def begin_auth(self, username: str) -> bool:
        self._names += 1
        if self._names > self.zone.limits.names:
            self._too_many_tries()
        self._expect_another_try()
        self.username = username
        self.account = None
        self.account = await self.zone.find(username)
        return True  # always: False would mean that no login is needed

    def public_key_auth_supported(self) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._expect_another_try()
        self._by = "key"
        self._keys += 1
        if self._keys > self.zone.limits.keys:
            self._too_many_tries()
        # asyncssh does not hold clients' signatures against the algorithms it was given.
        key.all_sig_algorithms = {name.encode() for name in SIGNATURES} & set(
            key.all_sig_algorithms
        )
        known = self.account.public_keys if self.account else ()
        if any(base64.b64decode(line.split()[1]) == key.public_data for line in known):
            return True
        return self.account is not None and is_ephemeral(
            self.zone.settings,
            self.account.district_id,
            public_line(key),
            self.address,
            datetime.now(UTC),
        )

    async def validate_password(self, username: str, password: str) -> bool:
        zone, account = self.zone, self.account
        self._expect_another_try()
        self._by = "password"
        self._passwords += 1
        if self._passwords > zone.limits.passwords:
            self._too_many_tries()
        pause = zone.throttle.begin(self.address, username, time.monotonic())
        if pause:
            self.note(Action.login_refused, f"password {self._whose()} not checked, too many wrong")
            await asyncio.sleep(min(pause, zone.limits.throttled_seconds))
            return False
        right = False
        try:
            if zone.checks >= zone.limits.checks:
                raise asyncssh.DisconnectError(
                    DISC_TOO_MANY_CONNECTIONS, "Too many log in at once; try again."
                )
            right = await zone.verify(account, password)
        finally:
            zone.throttle.end(self.address, username, time.monotonic(), right=right)
        if not right:
            self.note(Action.login_refused, f"wrong password {self._whose()}")
        return right

    def auth_completed(self) -> None:
        zone, account = self.zone, self.account
        self._admitted = True
        zone.waiting.pop(self, None)
        # Cannot be; if it ever is, nobody gets in.
        if account is None or account.username != self._conn.get_extra_info("username"):
            raise asyncssh.PermissionDenied("Not logged in.")
        mine = sum(
            1 for c in zone.logged_in if c.account and c.account.username == account.username
        )
        zone.logged_in.add(self)
        if mine >= zone.limits.connections_account or len(zone.logged_in) > zone.limits.connections:
            self.note(Action.refused, "too many connections at once")
            raise asyncssh.DisconnectError(
                DISC_TOO_MANY_CONNECTIONS, "Too many connections at once; close others."
            )
        self.note(Action.login, f"with a {self._by}")

    def session_requested(self) -> Any:
        if self not in self.zone.logged_in or self._channels >= self.zone.limits.channels:
            return False
        self._channels += 1
        tell = partial(self.note, Action.refused)
        return Channel.of(self._conn, tell), Session(self._visit, self._left)

    def _visit(self) -> _Visit | None:
        try:
            return _Visit(self)
        except OSError as error:
            self.note(Action.refused, f"the district's folder cannot be opened: {error.strerror}")
            self.hang_up("The district's folder cannot be opened; tell the server's operator.")
            return None

    def _left(self) -> None:
        self._channels -= 1

    def _offer_what_is_fast(self) -> None:
        # Called when the client has said what it is.
        if str(self._conn.get_extra_info("client_version", "")).startswith("SSH-2.0-OpenSSH"):
            self._conn._enc_algs = [name.encode() for name in FAST_CIPHERS]
        self._offer()

    def _stop_listening(self) -> None:
        self.flowing.clear()
        self._transport.pause_reading()

    def _go_on_listening(self) -> None:
        self.flowing.set()
        self._transport.resume_reading()

    def _whose(self) -> str:
        # Never a name that nobody has: it may be a password, typed in the wrong place.
        return f"of {self.account.username}" if self.account else "of an unknown user"

    def _expect_another_try(self) -> None:
        # paramiko asks for the service anew with each try, as nothing forbids; asyncssh hangs up.
        self._conn._next_service = b"ssh-userauth"

    def _too_many_tries(self) -> NoReturn:
        raise asyncssh.DisconnectError(
            DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "Too many tries to log in."
        )


class _Visit:
    """One SFTP session: the district's folder, and what is told of it (see `sftp.Visit`)."""

    def __init__(self, connection: _Connection) -> None:
        assert connection.account is not None
        self._connection = connection
        self._zone = connection.zone
        self._district_id = connection.account.district_id
        self.handles = self._zone.limits.handles
        self.folder = self._zone.open_folder(self._district_id)

    def note(self, action: Action, detail: str | None = None, **of_file: Any) -> None:
        event = Event(action, self._district_id, self._connection.address, detail=detail, **of_file)
        self._zone.log.add(event)

    def uploaded(self, entry: Entry, descriptor: int) -> None:
        event = Event(
            Action.upload, self._district_id, self._connection.address, entry.name, entry.size
        )
        self._zone.log_upload(event, descriptor)

    async def in_thread(self, work: Callable[[], None]) -> None:
        await self._zone.in_thread(work)

    async def may_answer(self) -> None:
        await self._connection.flowing.wait()

    def leave(self) -> None:
        self._zone.give_back(self._district_id)
