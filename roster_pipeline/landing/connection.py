"""One connection to the landing zone's server: who may log in, how often, and what follows.

Logins by password are throttled and checked in threads, those by key are neither. What a session
may do is in `sftp`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

import asyncssh
from asyncssh.constants import (
    DISC_BY_APPLICATION,
    DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
    DISC_TOO_MANY_CONNECTIONS,
)

from roster_pipeline.landing.accounts import Account, is_ephemeral
from roster_pipeline.landing.algorithms import FAST_CIPHERS, SIGNATURES
from roster_pipeline.landing.folder import Entry
from roster_pipeline.landing.host_keys import public_line
from roster_pipeline.landing.log import Action, Event
from roster_pipeline.landing.served_zone import ServedZone
from roster_pipeline.landing.sftp import Channel, Session

MOST_UNREAD = 4 << 20
"""Bytes answered that a client has not taken; then it is not listened to either."""
_LARGEST_BEFORE_LOGIN = 8 << 10
"""Bytes of a packet: the longest key fits, but no password that takes a second to normalise."""


class Connection(asyncssh.SSHServer):
    """One connection: who it is, and what it may."""

    def __init__(self, zone: ServedZone) -> None:
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
        self._transport.set_write_buffer_limits(high=MOST_UNREAD)
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

    def __init__(self, connection: Connection) -> None:
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
