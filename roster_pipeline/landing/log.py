"""What happened in the landing zone, for those who run it: rows of `landing_log`, lines of a log.

Logins, uploads, deletions, renames, refusals; of files their name, size and hash, never what is in
them. Written by a thread of its own, in batches, so that neither a slow database nor a flood holds
up a client. Each login, upload and deletion is a row, come what may. What repeats of the rest is
folded: within a minute, events of one kind from one address are written until there are too many,
then counted, and the count is one row. So nobody can fill the table by knocking.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, insert
from sqlalchemy.exc import SQLAlchemyError

from roster_pipeline.warehouse.tables import landing_log

logger = logging.getLogger("roster.landing")

LONGEST_SHOWN = 80
"""Characters of a name that a client made up, as far as they are kept."""
_MOST_WAITING = 10_000
_MOST_KINDS = 200
"""How many different events of one action are told apart within a minute; the others are counted
together."""
_FOLDED_EVERY = 60.0
_WRITTEN_EVERY = 0.2
_TRIED_AGAIN_AFTER = 5.0


class Action(StrEnum):
    """What may happen. refused: a request of somebody who is logged in."""

    login = "login"
    login_refused = "login_refused"
    upload = "upload"
    deletion = "deletion"
    rename = "rename"
    refused = "refused"


_IN_FULL = {Action.login_refused: 1, Action.refused: 3, Action.rename: 100}
"""How many alike are written within a minute before the rest is counted; other actions always
are."""


@dataclass(frozen=True)
class Event:
    """One thing that happened. size in bytes."""

    action: Action
    district_id: str | None
    address: str | None
    file: str | None = None
    size: int | None = None
    sha256: str | None = None
    detail: str | None = None


def shown(text: str | bytes) -> str:
    """A name that a client made up, so that it can do no harm where it is read: printable ASCII,
    cut."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    safe = re.sub(r"[^ -~]", lambda char: ascii(char[0])[1:-1], text[: LONGEST_SHOWN + 1])
    return safe if len(safe) <= LONGEST_SHOWN else f"{safe[: LONGEST_SHOWN - 1]}~"


class LandingLog:
    """Takes events from any thread and writes them to the warehouse, the log's lines at once.

    Begins at once and ends with `close`, which writes what is left.
    """

    def __init__(
        self, engine: Engine, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._now = now
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._seen: dict[Action, dict[Event, int]] = {action: {} for action in _IN_FULL}
        self._minute = now()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="landing-log", daemon=True)
        self._thread.start()

    def add(self, event: Event, at: datetime | None = None) -> None:
        """Take an event, which happened now or at that moment; never blocks."""
        now = self._now()
        with self._lock:
            self._fold(now)
            if event.action in self._seen and self._is_counted_only(event):
                return
            self._waiting.append({"at": at or now, **asdict(event)})
        logger.info("%s", _line(event))

    def _is_counted_only(self, event: Event) -> bool:
        seen, in_full = self._seen[event.action], _IN_FULL[event.action]
        # What a file was called before is another each time.
        detail = None if event.action is Action.rename else event.detail
        kind = Event(event.action, event.district_id, event.address, detail=detail)
        if kind not in seen and len(seen) >= _MOST_KINDS:
            kind = Event(event.action, None, None, detail="from various addresses")
            seen.setdefault(kind, in_full)
        seen[kind] = seen.get(kind, 0) + 1
        return seen[kind] > in_full

    def close(self) -> None:
        """Write what is left, and end."""
        self._ending.set()
        self._thread.join()

    def _fold(self, now: datetime, *, ending: bool = False) -> None:
        """Once a minute, make rows of what was only counted."""
        if not ending and (now - self._minute).total_seconds() < _FOLDED_EVERY:
            return
        for action, seen in self._seen.items():
            for kind, count in seen.items():
                if (more := count - _IN_FULL[action]) > 0:
                    detail = f"{kind.detail or action}: {more} more within a minute"
                    folded = replace(kind, detail=detail)
                    self._waiting.append({"at": now, **asdict(folded)})
                    logger.info("%s", _line(folded))
            seen.clear()
        self._minute = now

    def _run(self) -> None:
        pause = _WRITTEN_EVERY
        while not self._ending.wait(pause):
            with self._lock:
                self._fold(self._now())
            pause = _WRITTEN_EVERY if self._write() else _TRIED_AGAIN_AFTER
        with self._lock:
            self._fold(self._now(), ending=True)
        self._write()

    def _write(self) -> bool:
        """Write what waits. If the warehouse does not take it, the newest of it waits on."""
        with self._lock:
            rows = list(self._waiting)
            self._waiting.clear()
        if not rows:
            return True
        try:
            with self._engine.begin() as conn:
                conn.execute(insert(landing_log), rows)
        except SQLAlchemyError as error:
            logger.warning("The warehouse does not take the log: %s", type(error).__name__)
            with self._lock:
                room = _MOST_WAITING - len(self._waiting)
                self._waiting.extendleft(reversed(rows[max(0, len(rows) - room) :]))
            return False
        return True


def _line(event: Event) -> str:
    """An event as a line of the server's log."""
    said = {k: v for k, v in asdict(event).items() if v is not None and k != "action"}
    return " ".join([event.action, *(f"{key}={value!r}" for key, value in said.items())])
