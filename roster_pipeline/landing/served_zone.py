"""What all connections of the landing zone's server share: limits, threads, folders, the log, and
who is there.

Connections that are not logged in are few for each address; who comes next takes the place of who
says nothing. A session ends when its account's credentials change.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from roster_pipeline.landing.accounts import Account, accounts, find_account, verify_password
from roster_pipeline.landing.folder import Folder, FolderLimits
from roster_pipeline.landing.log import Event, LandingLog
from roster_pipeline.landing.throttle import Throttle
from roster_pipeline.settings import Settings
from roster_pipeline.warehouse.database import reading

logger = logging.getLogger("roster.landing")

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


class Guest(Protocol):
    """A connection, as far as the others are concerned.

    username, account: as whom it wants to log in or has, when it has said so.
    """

    address: str
    username: str | None
    account: Account | None

    def hang_up(self, reason: str | None = None) -> None:
        """End the connection; with a reason it is told to the client first."""


class ServedZone:
    """What all connections share."""

    def __init__(self, settings: Settings, engine: Engine, limits: Limits) -> None:
        self.settings = settings
        self.limits = limits
        self.throttle = Throttle()
        self.log = LandingLog(engine)
        self.waiting: dict[Guest, None] = {}  # in order of arrival
        self.logged_in: set[Guest] = set()
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

    def arrived(self, connection: Guest) -> None:
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
