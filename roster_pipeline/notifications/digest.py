"""The daily digest of a district: what its last delivery left out, what is new and mended since the
digest before, what to mend first, and what waits for a person.

A day on which nothing came, nothing waits and nothing went wrong has no digest: a mail that says
the same each morning is soon not read, and a landing zone that has fallen silent is told by an
alert of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from sqlalchemy import Connection, func, select

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.notifications.alerts import hold_sentences
from roster_pipeline.notifications.letters import (
    Letter,
    Step,
    is_left_out,
    moment_in_words,
    rule_in_words,
    run_link,
    write,
)
from roster_pipeline.notifications.outbox import last_digest, post
from roster_pipeline.reports.causes import root_causes
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.holds import last_hold
from roster_pipeline.warehouse.ledger import Import
from roster_pipeline.warehouse.tables import imports

AT = time(6)
"""When digests are due, by the clock of the district."""
SHOWN_CAUSES = 10


@dataclass(frozen=True)
class LeftOut:
    """How many records of a type a rule left out of the last delivery, how many of them the
    delivery before did not have, and how many of that one's are mended or gone."""

    code: str
    enrollment_type: str | None
    records: int
    new: int
    gone: int

    @property
    def in_words(self) -> str:
        """The rule and how many records; what is mended altogether counts none."""
        return rule_in_words(self.code, self.enrollment_type, self.records)


@dataclass(frozen=True)
class Digest:
    """What is told of a district on a day.

    made_at: as things were then. since: the moment of the digest before, or a day earlier.
    ended: by status, how many imports ended since. undos: the undos that were merged since.
    imported: the last import whose delivery was looked at whole; before: the last of these at the
    time of the digest before, with whose findings it is compared. left_out: by rule, most first.
    reported: how many findings left nothing out. causes: what to mend, in that order.
    waiting: the import that waits for a person, and why.
    """

    district_id: str
    name: str
    zone: ZoneInfo
    day: date
    made_at: datetime
    since: datetime
    ended: dict[str, int]
    undos: list[Import]
    imported: Import | None
    before: Import | None
    left_out: list[LeftOut]
    reported: int
    causes: list[str]
    waiting: Import | None
    reasons: list[str]

    @property
    def worth_telling(self) -> bool:
        """Whether there is anything a person should read."""
        fresh = self.imported is not None and self.imported != self.before
        went_wrong = any(self.ended.get(status) for status in ("refused", "failed"))
        happened = self.waiting is not None or went_wrong or bool(self.undos)
        return happened or (fresh and bool(self.left_out))

    @property
    def key(self) -> str:
        """Under which it is posted: once for a district and a day."""
        return f"digest-{self.district_id}-{self.day}"

    def as_json(self) -> dict[str, Any]:
        """The digest as `roster digest --format json` prints it."""
        return {
            "district": self.district_id,
            "day": self.day,
            "since": self.since,
            "worth_telling": self.worth_telling,
            "ended": self.ended,
            "undos": [undo.id for undo in self.undos],
            "import_id": self.imported.id if self.imported else None,
            "compared_with": self.before.id if self.before else None,
            "left_out": [vars(line) for line in self.left_out],
            "reported": self.reported,
            "causes": self.causes,
            "waiting": self.waiting.id if self.waiting else None,
            "reasons": self.reasons,
        }


def due_digests(zones: Mapping[str, ZoneInfo], since: datetime, now: datetime) -> dict[str, date]:
    """The districts whose hour came after `since` and not after `now`, each with the day it is of;
    of several days that went by only the last."""
    due = {}
    for district_id, zone in zones.items():
        day = now.astimezone(zone).date()
        if _slot(day, zone) > now:
            day -= timedelta(days=1)
        if _slot(day, zone) > since:
            due[district_id] = day
    return due


def _slot(day: date, zone: ZoneInfo) -> datetime:
    # In UTC: two moments of one zone are compared by what the clocks on the wall show.
    return datetime.combine(day, AT, tzinfo=zone).astimezone(UTC)


def make_digest(
    conn: Connection,
    district_id: str,
    settings: DistrictSettings,
    now: datetime,
    day: date | None = None,
) -> Digest:
    """The digest of a district as things are. day: what it is called after; by default the date in
    the district. It goes back to the last digest that was posted, or a day."""
    since = last_digest(conn, district_id) or now - timedelta(days=1)
    imported, before = _examined(conn, district_id, now), _examined(conn, district_id, since)
    left_out, reported, causes = _found(conn, imported, before)
    waiting = ledger.waiting_import(conn, district_id)
    return Digest(
        district_id=district_id,
        name=settings.name,
        zone=settings.zone,
        day=day or now.astimezone(settings.zone).date(),
        made_at=now,
        since=since,
        ended=_ended(conn, district_id, since),
        undos=_undos(conn, district_id, since),
        imported=imported,
        before=before,
        left_out=left_out,
        reported=reported,
        causes=causes,
        waiting=waiting,
        reasons=_reasons(conn, waiting),
    )


def write_digest(digest: Digest, ui_url: str) -> Letter:
    """The digest as a mail."""
    day = f"{digest.day:%A} {digest.day.day} {digest.day:%B %Y}"
    imported, waiting = digest.imported, digest.waiting
    return write(
        "digest",
        f"{digest.name}: roster digest of {day}",
        digest=digest,
        moved=any(line.new or line.gone for line in digest.left_out),
        since=moment_in_words(digest.since, digest.zone),
        ended=[
            f"{number:,} {_STATUS.get(status, status)}" for status, number in digest.ended.items()
        ],
        undos=[_undone(undo) for undo in digest.undos],
        came=moment_in_words(imported.started_at, digest.zone) if imported else None,
        age=_age(digest.made_at - imported.started_at) if imported else None,
        waits_since=(
            moment_in_words(waiting.finished_at, digest.zone)
            if waiting and waiting.finished_at
            else None
        ),
        waiting_steps=_waiting_steps(waiting),
        steps=_steps(digest),
        link=run_link(ui_url, imported.run_id if imported else None),
    )


def post_digest(
    conn: Connection, digest: Digest, settings: DistrictSettings, ui_url: str, now: datetime
) -> bool:
    """Put a digest into the outbox, if there is anything to tell, somebody to be told, and none of
    the district and the day was there before. Returns whether it was put there."""
    recipients = settings.notifications.digest
    if not digest.worth_telling or not recipients:
        return False
    letter = write_digest(digest, ui_url)
    return post(
        conn,
        digest.key,
        digest.district_id,
        "digest",
        recipients,
        letter.subject,
        letter.text,
        letter.html,
        now,
    )


_STATUS = {
    "needs_school_mapping": "waiting for schools",
    "held": "held",
    "imported": "merged",
}
"""How a status is told where the word of the ledger would not do."""


def _examined(conn: Connection, district_id: str, moment: datetime) -> Import | None:
    """The last import that had ended at a moment and whose delivery was looked at whole."""
    statement = (
        select(imports)
        .where(
            imports.c.district_id == district_id,
            imports.c.finished_at <= moment,
            imports.c.status.not_in(ledger.UNEXAMINED),
            imports.c.preview.is_(False),
            imports.c.app != ledger.UNDO,
        )
        .order_by(imports.c.id.desc())
        .limit(1)
    )
    row = conn.execute(statement).one_or_none()
    return None if row is None else Import(*row)


def _ended(conn: Connection, district_id: str, since: datetime) -> dict[str, int]:
    """An undo is no delivery, and one that was refused is told to whoever asked for it."""
    number = func.count()
    statement = (
        select(imports.c.status, number)
        .where(
            imports.c.district_id == district_id,
            imports.c.finished_at > since,
            imports.c.preview.is_(False),
            imports.c.app != ledger.UNDO,
        )
        .group_by(imports.c.status)
        .order_by(number.desc(), imports.c.status)
    )
    return {status: int(times) for status, times in conn.execute(statement)}


def _undos(conn: Connection, district_id: str, since: datetime) -> list[Import]:
    statement = (
        select(imports)
        .where(
            imports.c.district_id == district_id,
            imports.c.finished_at > since,
            imports.c.app == ledger.UNDO,
            imports.c.status.in_(ledger.MERGED),
        )
        .order_by(imports.c.id)
    )
    return [Import(*row) for row in conn.execute(statement)]


def _undone(undo: Import) -> str:
    """What an undo did; who asked for it and why is theirs to tell."""
    state = (
        f"that import {undo.state_of} had left"
        if undo.state_of is not None
        else "before its first import: without records"
    )
    return f"An undo (import {undo.id}) gave the roster back the state {state}."


def _found(
    conn: Connection, imported: Import | None, before: Import | None
) -> tuple[list[LeftOut], int, list[str]]:
    if imported is None:
        return [], 0, []
    keys = ["code", "severity", "enrollment_type"]
    counted = results.finding_counts(conn, imported.id)
    if before is None or before == imported:
        rules = counted.assign(new=0, gone=0)
    else:
        changed = results.new_and_gone(conn, imported.id, before.id)
        rules = counted.merge(changed, on=keys, how="outer")
    skipped = rules.loc[is_left_out(rules)].sort_values(
        ["findings", "gone"], ascending=False, na_position="last", kind="stable"
    )
    left_out = [
        LeftOut(
            str(line["code"]),
            None if pd.isna(line["enrollment_type"]) else str(line["enrollment_type"]),
            *(0 if pd.isna(line[n]) else int(line[n]) for n in ("findings", "new", "gone")),
        )
        for line in skipped.to_dict("records")
    ]
    reported = counted.loc[~is_left_out(counted), "findings"].sum()
    causes = root_causes(results.findings(conn, imported.id, severity="skipped"))
    return left_out, int(reported), [cause.in_words() for cause in causes[:SHOWN_CAUSES]]


def _reasons(conn: Connection, waiting: Import | None) -> list[str]:
    if waiting is None:
        return []
    hold = last_hold(conn, waiting.id) if waiting.status == "held" else None
    return hold_sentences(hold) if hold else [str(waiting.message)]


def _age(passed: timedelta) -> str:
    """«17 hours»; from two days on in days."""
    hours = int(passed.total_seconds()) // 3600
    if hours == 0:
        return "less than an hour"
    number, unit = (hours // 24, "day") if hours >= 48 else (hours, "hour")
    return f"{number} {unit if number == 1 else unit + 's'}"


def _waiting_steps(waiting: Import | None) -> list[Step]:
    if waiting is None:
        return []
    if waiting.status == "held":
        return [
            Step("See what it would change, then decide:", f"roster show {waiting.id}"),
            Step("If it is right:", f'roster approve {waiting.id} --reason "…"'),
        ]
    return [Step("Say which schools these are:", f"roster schools {waiting.district_id}")]


def _steps(digest: Digest) -> list[Step]:
    if digest.imported is None:
        return [Step("See what came:", f"roster imports {digest.district_id}")]
    number = digest.imported.id
    return [
        Step("What to mend, in this order, with the ids:", f"roster findings {number} --causes"),
        Step(
            "Each row with file, row and remedy:",
            f"roster findings {number} --csv findings.csv",
        ),
    ]
