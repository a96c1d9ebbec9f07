"""The outbox: a mail is written into it before it is sent, told once, and retried until it is gone.

A mail is claimed before the provider is called, by counting the attempt and moving the next one
past a lease, and marked as sent after the provider has taken it. So two processes do not send one
mail. Who dies in between leaves a mail that is sent again after the lease: no provider can tell us
whether it took a mail that we did not see it take (SendGrid has no idempotency key), and an alert
that comes twice does less harm than one that never comes. A mail says its key to the provider and
carries one Message-ID for all attempts, by which a copy can be told.

Whose addresses they are is in this table only: never in an error, a log or a print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Literal

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from roster_pipeline.notifications.mailers import Mail, Mailer, NotSent
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.tables import outbox

Kind = Literal[
    "held",
    "needs_school_mapping",
    "refused",
    "failed",
    "run_failed",
    "unreachable",
    "login_refused",
    "host_key_changed",
    "silent",
    "header_only",
    "near_miss",
    "unfinished",
    "digest",
]
"""What a mail is about: an import, a run that came to none, the landing zone, the day."""

ATTEMPTS = 20
"""After so many (about two days) a mail is given up and shown as failed."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=4)
LEASE = timedelta(minutes=10)
"""How long a claimed mail is left to the process that claimed it: far longer than sending takes."""
ROUND_SECONDS = 20.0
"""How long a round goes on beginning new mails; a sensor's tick has 60."""
MARK_SECONDS = 300.0
"""How long it is tried to mark a mail as sent: longer than any merge holds SQLite, and shorter than
the lease, after which it would be sent again."""
MARK_PAUSE = 0.2
SHOWN_FAILED = 50


@dataclass(frozen=True)
class Delivered:
    """What a round did: mails sent, mails that still wait (in all), mails given up."""

    sent: int
    waiting: int
    failed: int


@dataclass(frozen=True)
class Unsent:
    """A mail that waits or was given up, without what is in it and whom it is for."""

    key: str
    district_id: str | None
    kind: Kind
    subject: str
    status: Literal["waiting", "failed"]
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    last_error: str | None


def post(
    conn: Connection,
    key: str,
    district_id: str | None,
    kind: Kind,
    recipients: Sequence[str],
    subject: str,
    text: str,
    html: str,
    now: datetime,
) -> bool:
    """Put a mail into the outbox, unless one with this key is or was there. Returns whether it was
    put there. An address is written to once, however its capitals are."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    statement = (
        insert(outbox)
        .values(
            key=key,
            district_id=district_id,
            kind=kind,
            recipients=list({address.casefold(): address for address in recipients}.values()),
            subject=" ".join(subject.split()),
            text=text,
            html=html,
            status="waiting",
            attempts=0,
            created_at=now,
            next_attempt_at=now,
        )
        .on_conflict_do_nothing(index_elements=[outbox.c.key])
        .returning(outbox.c.id)
    )
    return conn.scalar(statement) is not None


def deliver(engine: Engine, mailer: Mailer, now: datetime) -> Delivered:
    """Send the mails that are due, oldest first; those that cannot be sent now wait longer.

    A round ends at the first mail that the provider cannot take just now: it would hardly take the
    next one. No transaction is open while the provider is asked.
    """
    sent = 0
    failed = _give_up(engine, now)
    ends = monotonic() + ROUND_SECONDS
    for mail_id in _due(engine, now):
        claimed = _claim(engine, mail_id, now)
        if claimed is None:
            continue
        mail, attempts = claimed
        try:
            note = mailer.send(mail)
        except NotSent as error:
            given_up = error.permanent or attempts >= ATTEMPTS
            _not_sent(engine, mail_id, attempts, error, given_up, now)
            failed += given_up
            if not error.permanent:
                break
        else:
            _mark_sent(engine, mail_id, note, now)
            sent += 1
        if monotonic() >= ends:
            break
    with reading(engine) as conn:
        waiting = select(func.count()).select_from(outbox).where(outbox.c.status == "waiting")
        return Delivered(sent, conn.scalar(waiting) or 0, failed)


def unsent(conn: Connection) -> list[Unsent]:
    """The mails that wait, the one that is due next first, and then the last that were given up."""
    columns = [outbox.c[name] for name in Unsent.__dataclass_fields__]
    waiting = select(*columns).where(outbox.c.status == "waiting")
    failed = select(*columns).where(outbox.c.status == "failed")
    return [
        Unsent(*row)
        for statement in (
            waiting.order_by(outbox.c.next_attempt_at, outbox.c.id),
            failed.order_by(outbox.c.id.desc()).limit(SHOWN_FAILED),
        )
        for row in conn.execute(statement)
    ]


def posted_before(conn: Connection, keys: Sequence[str]) -> set[str]:
    """Which of these keys a mail is or was posted with."""
    return set(conn.scalars(select(outbox.c.key).where(outbox.c.key.in_(keys))))


def last_digest(conn: Connection, district_id: str) -> datetime | None:
    """When the district's last digest was posted, None before the first."""
    statement = select(func.max(outbox.c.created_at)).where(
        outbox.c.district_id == district_id, outbox.c.kind == "digest"
    )
    return conn.scalar(statement)


def _due(engine: Engine, now: datetime) -> list[int]:
    statement = (
        select(outbox.c.id)
        .where(outbox.c.status == "waiting", outbox.c.next_attempt_at <= now)
        .order_by(outbox.c.next_attempt_at, outbox.c.id)
    )
    with reading(engine) as conn:
        return list(conn.scalars(statement))


def _claim(engine: Engine, mail_id: int, now: datetime) -> tuple[Mail, int] | None:
    """The mail and the number of this attempt; None when another process has taken it."""
    statement = (
        update(outbox)
        .where(
            outbox.c.id == mail_id, outbox.c.status == "waiting", outbox.c.next_attempt_at <= now
        )
        .values(attempts=outbox.c.attempts + 1, next_attempt_at=now + LEASE)
        .returning(*(outbox.c[name] for name in Mail.__dataclass_fields__), outbox.c.attempts)
    )
    with engine.begin() as conn:
        row = conn.execute(statement).one_or_none()
    return None if row is None else (Mail(*row[:-1]), row[-1])


def _mark_sent(engine: Engine, mail_id: int, note: str | None, now: datetime) -> None:
    """Note that a mail is gone, even if others write to the database for longer than it waits."""
    done = update(outbox).where(outbox.c.id == mail_id)
    ends = monotonic() + MARK_SECONDS
    while True:
        try:
            with engine.begin() as conn:
                conn.execute(done.values(status="sent", sent_at=now, last_error=note))
        except OperationalError:
            if monotonic() >= ends:
                raise
            sleep(MARK_PAUSE)
        else:
            return


def _not_sent(
    engine: Engine, mail_id: int, attempts: int, error: NotSent, given_up: bool, now: datetime
) -> None:
    """Let a mail wait longer each time, or give it up. What the provider asks us to wait, all wait
    that it would get."""
    pause = min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)
    again = now + max(pause, error.wait or timedelta())
    mine = (
        update(outbox)
        # After the lease another process may have sent it.
        .where(outbox.c.id == mail_id, outbox.c.status == "waiting", outbox.c.attempts == attempts)
        .values(
            status="failed" if given_up else "waiting",
            next_attempt_at=again,
            last_error=str(error),
        )
    )
    with engine.begin() as conn:
        conn.execute(mine)
        if error.wait is not None:
            until = now + error.wait
            sooner = (outbox.c.status == "waiting") & (outbox.c.next_attempt_at < until)
            conn.execute(update(outbox).where(sooner).values(next_attempt_at=until))


def _give_up(engine: Engine, now: datetime) -> int:
    """Give up mails whose last attempt nobody saw the end of; how many there were."""
    spent = (
        (outbox.c.status == "waiting")
        & (outbox.c.attempts >= ATTEMPTS)
        & (outbox.c.next_attempt_at <= now)
    )
    with reading(engine) as conn:
        if conn.scalar(select(func.count()).select_from(outbox).where(spent)) == 0:
            return 0
    why = "The process that sent it ended before it saw whether the mail was taken."
    with engine.begin() as conn:
        ended = conn.execute(update(outbox).where(spent).values(status="failed", last_error=why))
        return ended.rowcount
