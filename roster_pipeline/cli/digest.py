"""`roster digest`: the daily mails as they would be sent, and what waits in the outbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from roster_pipeline.cli.lookup import open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import load_mail_settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from roster_pipeline.notifications.digest import Digest
    from roster_pipeline.notifications.outbox import Delivered


def digest(
    district_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The district's id; without, all.")
    ] = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send it, unless today's was; and what waits.")
    ] = False,
    outbox: Annotated[
        bool, typer.Option("--outbox", help="Show the mails that wait or were given up instead.")
    ] = False,
    format: FormatOption = Format.table,
) -> None:
    """Show the daily digest as it would be sent: what was left out, and what waits."""
    if outbox:
        if district_id is not None or send:
            fail("--outbox shows the mails of all districts; it takes neither an ID nor --send.", 2)
        _show_outbox(open_or_fail(), format)
        return
    engine = open_or_fail()
    ui_url = load_mail_settings().ui_url
    digests = _digests(engine, district_id, ui_url, send)
    delivered = _deliver(engine) if send else None
    if format is Format.json:
        print_json([{**d.as_json(), **told} for d, told in digests])
        return
    for made, told in digests:
        _print(made, told, send)
    if not digests:
        console().print("There is no district: roster district add ID --name …")
    if delivered is not None:
        console().print(
            f"{delivered.sent} mails sent, {delivered.waiting} wait, {delivered.failed} given up; "
            "roster digest --outbox shows those that wait."
        )


def _digests(
    engine: Engine, district_id: str | None, ui_url: str, send: bool
) -> list[tuple[Digest, dict[str, object]]]:
    """The digests of one district or of all, each with its mail and whether it was posted."""
    from roster_pipeline.districts.files import (
        DistrictFileError,
        UnknownDistrict,
        district_ids,
        load_district,
    )
    from roster_pipeline.notifications.digest import make_digest, post_digest, write_digest
    from roster_pipeline.warehouse.database import reading

    folder, now = load_settings().districts, datetime.now(UTC)
    made = []
    for name in [district_id] if district_id is not None else district_ids(folder):
        try:
            settings = load_district(folder, name)
        except (UnknownDistrict, DistrictFileError) as error:
            if district_id is not None:
                fail(str(error), 2)
            # The others' digests are not kept back for it.
            typer.echo(f"{name}: no digest; {error}", err=True)
            continue
        with reading(engine) as conn:
            one = make_digest(conn, name, settings, now)
        letter = write_digest(one, ui_url)
        told: dict[str, object] = {
            "recipients": len(settings.notifications.digest),
            "subject": letter.subject,
            "text": letter.text,
            "posted": False,
        }
        if send:
            with engine.begin() as conn:
                told["posted"] = post_digest(conn, one, settings, ui_url, now)
        made.append((one, told))
    return made


def _deliver(engine: Engine) -> Delivered:
    from roster_pipeline.notifications.mailers import choose_mailer
    from roster_pipeline.notifications.outbox import deliver

    mailer = choose_mailer(load_mail_settings(), load_settings().outbox)
    return deliver(engine, mailer, datetime.now(UTC))


def _print(made: Digest, told: dict[str, object], send: bool) -> None:
    out = console()
    if not made.worth_telling:
        out.print(
            f"{made.district_id}: nothing new came, waits or went wrong, so no digest is sent.",
            markup=False,
        )
        return
    out.print(str(told["text"]), markup=False, soft_wrap=True)
    if not told["recipients"]:
        out.print(
            f"Nobody gets it: notifications.digest of {made.district_id} names no address.",
            style="yellow",
            markup=False,
        )
    elif send and not told["posted"]:
        out.print(f"The digest of {made.day} was posted before.", style="yellow")


def _show_outbox(engine: Engine, format: Format) -> None:
    """The mails that wait or were given up, without what is in them and whom they are for."""
    from roster_pipeline.notifications.outbox import unsent
    from roster_pipeline.warehouse.database import reading

    with reading(engine) as conn:
        mails = unsent(conn)
    if format is Format.json:
        print_json([vars(mail) for mail in mails])
        return
    if not mails:
        console().print("No mail waits, and none was given up.")
        return
    rows = [
        [
            mail.status,
            mail.subject,
            mail.attempts,
            f"{mail.next_attempt_at:%Y-%m-%d %H:%M} UTC" if mail.status == "waiting" else "",
            mail.last_error or "",
        ]
        for mail in mails
    ]
    console().print(table(["", "mail", "attempts", "next", "why"], rows))
