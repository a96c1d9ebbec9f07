"""What is told at once: an import that waits or came to nothing, and trouble with a landing zone.

Alerts of imports are derived from the ledger, again and again; each is told once, by its key. They
hold counts, rules, reasons and where to look, never records, and never a text that somebody typed
or an exception carries: nobody has read it for names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, Engine, func, select

from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.notifications.letters import (
    Letter,
    Step,
    is_left_out,
    moment_in_words,
    rule_in_words,
    run_link,
    write,
)
from roster_pipeline.notifications.outbox import Kind, post, posted_before
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.holds import HoldEntry, last_hold
from roster_pipeline.warehouse.ledger import Import
from roster_pipeline.warehouse.tables import holds, imports

TOLD: tuple[Kind, ...] = ("held", "needs_school_mapping", "refused", "failed")
"""Statuses of imports that somebody must hear of."""
LATELY = timedelta(days=7)
"""What ended before is old news, to an installation that has just begun to send mails."""
RUN_ENDS_WITHIN = timedelta(minutes=10)
"""How long the mail about a failed import waits for the end of its run, which says whether it is
tried again. Dagster finds the run of a killed command last, some five minutes after its end."""
SHOWN = 10

LandingKind = Literal[
    "unreachable",
    "login_refused",
    "host_key_changed",
    "silent",
    "header_only",
    "near_miss",
    "unfinished",
]

_log = logging.getLogger(__name__)


def post_alerts(
    engine: Engine,
    districts: Path,
    ui_url: str,
    now: datetime,
    tried_again: Callable[[str], bool | None] = lambda _: False,
) -> int:
    """Put an alert into the outbox for each import that ended lately, must be told and was not yet.

    districts: the folder of the districts' files; addresses are those of the app an import came
    by. A district whose file is wrong is told when it is mended. tried_again: whether a failed run
    is tried again without anybody doing anything; None while that cannot be known, for which the
    alert waits a while. Returns how many alerts it put there.
    """
    with reading(engine) as conn:
        untold = _untold(conn, now)
    posted = 0
    for key, imported in untold:
        again: bool | None = False
        if imported.status == "failed" and imported.run_id is not None:
            again = tried_again(imported.run_id)
        assert imported.finished_at is not None
        if again is None and now - imported.finished_at < RUN_ENDS_WITHIN:
            continue
        try:
            settings = load_district(districts, imported.district_id).for_app(imported.app)
        except (UnknownDistrict, DistrictFileError):
            _log.warning("The file of %s cannot be read; %s waits.", imported.district_id, key)
            continue
        recipients = settings.notifications.alerts
        if not recipients:
            continue
        with reading(engine) as conn:
            letter = _import_letter(conn, imported, settings, ui_url, again=bool(again))
        kind: Kind = imported.status  # type: ignore[assignment]  # one of TOLD
        with engine.begin() as conn:
            posted += _post(conn, key, imported.district_id, kind, recipients, letter, now)
    return posted


def landing_alert_key(district_id: str, kind: LandingKind, about: str) -> str:
    """The key of the mail by which trouble with a landing zone is told."""
    return f"{kind}-{district_id}-{about}"


def post_landing_alert(
    conn: Connection,
    district_id: str,
    settings: DistrictSettings,
    kind: LandingKind,
    about: str,
    facts: Sequence[str],
    now: datetime,
) -> bool:
    """Tell of trouble with a district's landing zone, once.

    about: what makes this one and the same trouble, of letters, digits, dots and hyphens: the
    moment it began, or a hash of the file names it is about. facts: sentences that say since when,
    which files, how many; without a person's data. Returns whether it is told now: False when it
    was before, or when the district's settings name nobody.
    """
    words = _LANDING_WORDS[kind]
    letter = write(
        "alert",
        f"{settings.name}: {words.subject}",
        headline=words.headline,
        facts=list(facts),
        causes=[],
        left_out=[],
        steps=[
            Step(step.what, step.command.format(id=district_id) if step.command else None)
            for step in words.steps
        ],
        link=None,
    )
    recipients = settings.for_app("sftp").notifications.alerts
    key = landing_alert_key(district_id, kind, about)
    return _post(conn, key, district_id, kind, recipients, letter, now)


def post_run_failure(
    conn: Connection,
    district_id: str | None,
    name: str,
    recipients: Sequence[str],
    run_id: str,
    job: str,
    steps: Sequence[str],
    ui_url: str,
    now: datetime,
) -> bool:
    """Tell of a run that failed, once, unless the ledger has its import as running or failed: then
    the alert is the import's.

    district_id: whose run it was, if it was for one district. name: whom it is about, as the
    subject says it. steps: which of the run's steps failed; none when it never came to one. Returns
    whether it is told now.
    """
    imported = ledger.import_of_run(conn, run_id)
    merged = imported is not None and imported.status not in ledger.UNEXAMINED
    if imported is not None and not merged and imported.app != ledger.UNDO:
        return False
    ended = " The roster is as it was." if district_id is not None else ""
    if imported is not None and merged:
        ended = f" Import {imported.id} had ended before as {imported.status.replace('_', ' ')}."
    how = f"It failed in: {', '.join(steps)}." if steps else "It was killed or did not start."
    letter = write(
        "alert",
        f"{name}: a run of {job} failed",
        headline=f"A run of {job} failed.{ended}",
        facts=[how],
        causes=[],
        left_out=[],
        steps=[Step("Look at the run, mend what it says, and launch it again.")],
        link=run_link(ui_url, run_id),
    )
    return _post(conn, f"run-{run_id}-failed", district_id, "run_failed", recipients, letter, now)


def _post(
    conn: Connection,
    key: str,
    district_id: str | None,
    kind: Kind,
    recipients: Sequence[str],
    letter: Letter,
    now: datetime,
) -> bool:
    if not recipients:
        return False
    subject, text, html = letter.subject, letter.text, letter.html
    return post(conn, key, district_id, kind, recipients, subject, text, html, now)


def _untold(conn: Connection, now: datetime) -> list[tuple[str, Import]]:
    """The imports to be told that were not, with the key of the mail that is to tell them. One
    that is held anew is told anew. An undo that fails is told to whoever asked for it."""
    last = select(func.max(holds.c.id)).where(holds.c.import_id == imports.c.id).scalar_subquery()
    statement = (
        select(imports, last)
        .where(
            imports.c.status.in_(TOLD),
            imports.c.finished_at >= now - LATELY,
            imports.c.preview.is_(False),
            imports.c.app != ledger.UNDO,
        )
        .order_by(imports.c.id)
    )
    found = {}
    for *columns, hold_id in conn.execute(statement):
        imported = Import(*columns)
        again = f"-{hold_id}" if imported.status == "held" else ""
        found[f"import-{imported.id}-{imported.status}{again}"] = imported
    told = posted_before(conn, list(found)) if found else set()
    return [(key, imported) for key, imported in found.items() if key not in told]


def _import_letter(
    conn: Connection, imported: Import, settings: DistrictSettings, ui_url: str, *, again: bool
) -> Letter:
    """again: whether a failed import is being tried again."""
    tell = {
        "held": _tell_held,
        "needs_school_mapping": _tell_schools,
        "refused": _tell_refused,
        "failed": _tell_tried_again if again else _tell_failed,
    }[imported.status]
    what, headline, facts, steps = tell(conn, imported)
    hold = last_hold(conn, imported.id) if imported.status == "held" else None
    came = moment_in_words(imported.started_at, settings.zone)
    return write(
        "alert",
        f"{settings.name}: import {imported.id} {what}",
        headline=headline,
        facts=[*facts, f"It began on {came} ({settings.timezone})."],
        causes=hold.causes if hold else [],
        # What was found of half a delivery is half of what is wrong with it.
        left_out=[] if imported.status in ledger.UNEXAMINED else _left_out(conn, imported.id),
        steps=steps,
        link=run_link(ui_url, imported.run_id),
    )


Told = tuple[str, str, list[str], list[Step]]
"""How the subject ends, the headline, the facts, and what to do."""


def _tell_held(conn: Connection, imported: Import) -> Told:
    hold = last_hold(conn, imported.id)
    number = imported.id
    return (
        "waits for a decision",
        "The import would change more than it may without being seen. Nothing was merged; the "
        "roster is as it was.",
        hold_sentences(hold) if hold else [],
        [
            Step("See what it would change:", f"roster show {number}"),
            Step("If that is right:", f'roster approve {number} --reason "…"'),
            Step("If not:", f'roster reject {number} --reason "…"'),
        ],
    )


def hold_sentences(hold: HoldEntry) -> list[str]:
    """The reasons of a hold. Of one that was turned down before only that: what follows is what a
    person wrote about it."""
    return [
        f"{reason['message'].partition('. ')[0].rstrip('.')}."
        if reason["rule"].endswith("_before")
        else reason["message"]
        for reason in hold.reasons
    ]


def _tell_schools(_: Connection, imported: Import) -> Told:
    return (
        "waits for schools to be mapped",
        "The delivery holds organisations that are no school of the warehouse yet. Nothing was "
        "merged; the roster is as it was.",
        [str(imported.message)],
        [
            Step("See what each may be, and say it:", f"roster schools {imported.district_id}"),
            Step("Then let the import go on:", f"roster schools {imported.district_id} --run"),
        ],
    )


def _tell_refused(conn: Connection, imported: Import) -> Told:
    fatal = results.findings(conn, imported.id, severity="fatal")
    sentences = [
        f"{message} {remedy}"
        for message, remedy in zip(fatal["message"], fatal["how_to_fix"], strict=True)
    ]
    more = [f"And {len(sentences) - SHOWN:,} more."] if len(sentences) > SHOWN else []
    return (
        "was refused",
        "The delivery cannot be imported. The roster is as it was.",
        [*sentences[:SHOWN], *more],
        [
            Step("See all that is wrong:", f"roster findings {imported.id}"),
            Step("Mend it where the files are made, and deliver them again."),
        ],
    )


_FAILED = (
    "It failed by a fault of this software or its machine, not of the delivery. Nothing was "
    "merged; the roster is as it was."
)


def _tell_failed(_: Connection, imported: Import) -> Told:
    again = Step("Then upload the delivery again.")
    if imported.delivery is not None:
        command = f"roster import {imported.district_id} --from-import {imported.id}"
        again = Step("Then import the delivery again:", command)
    elif imported.app == "sftp":
        again = Step("Then import the delivery again:", f"roster import {imported.district_id}")
    return (
        "failed",
        _FAILED,
        [],
        [Step("See what happened:", f"roster show {imported.id}"), again],
    )


def _tell_tried_again(_: Connection, imported: Import) -> Told:
    return (
        "failed and is tried again",
        f"{_FAILED} The delivery is being imported again, without anybody doing anything.",
        [],
        [
            Step("Nothing, unless another mail says that the new attempt failed too."),
            Step("See how the new attempt went:", f"roster imports {imported.district_id}"),
        ],
    )


def _left_out(conn: Connection, import_id: int) -> list[str]:
    """What was left out by which rule, most first."""
    kinds = results.finding_counts(conn, import_id)
    skipped = kinds.loc[is_left_out(kinds)]
    lines = [
        rule_in_words(code, name if isinstance(name, str) else None, int(number))
        for code, name, number in zip(
            skipped["code"], skipped["enrollment_type"], skipped["findings"], strict=True
        )
    ]
    more = [f"{len(lines) - SHOWN:,} more rules"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]


@dataclass(frozen=True)
class _Words:
    """What a mail about a landing zone says; `{id}` in a command is the district's."""

    subject: str
    headline: str
    steps: tuple[Step, ...]


_TEST = Step("See whether it works again:", "roster landing test {id}")
_STATUS = Step("See what lies in the landing zone:", "roster landing status")

_LANDING_WORDS: dict[LandingKind, _Words] = {
    "unreachable": _Words(
        "the SFTP server cannot be reached",
        "The SFTP server from which the district's files are fetched does not answer. It is tried "
        "again and again; until then the roster stays as it is.",
        (Step("See whether the server is up and can be reached from here."), _TEST),
    ),
    "login_refused": _Words(
        "the SFTP server refuses our login",
        "The SFTP server from which the district's files are fetched does not accept our user name "
        "with its password or key. Nothing is fetched until that is mended.",
        (Step("Correct apps.sftp.server in the district's file or the secret it names."), _TEST),
    ),
    "host_key_changed": _Words(
        "the SFTP server has another host key",
        "The SFTP server from which the district's files are fetched shows another host key than "
        "the one in the settings. It may be another machine, so nothing is sent to it or fetched.",
        (
            Step(
                "Ask the district for the new key by another way than e-mail; if it is right, put "
                "it into apps.sftp.server.host_key of the district's file."
            ),
            _TEST,
        ),
    ),
    "silent": _Words(
        "no new files",
        "Nothing new has come from the district for longer than it should. The roster is as the "
        "last delivery made it.",
        (Step("Ask whoever runs the export whether it still does."), _STATUS),
    ),
    "header_only": _Words(
        "files without records",
        "Files in the district's landing zone hold a header and no records, as an export that went "
        "wrong leaves them.",
        (Step("Look at the export and let it run again."), _STATUS),
    ),
    "near_miss": _Words(
        "files whose names are not quite right",
        "There are files in the district's landing zone that are not taken, since their names are "
        "nearly right only.",
        (Step("Rename them as said above, or let the export do so."), _STATUS),
    ),
    "unfinished": _Words(
        "an upload that does not end",
        "An upload to the district's landing zone was begun and not finished. Its files are not "
        "taken.",
        (Step("Upload the files again; delete what is left of the first attempt."), _STATUS),
    ),
}
