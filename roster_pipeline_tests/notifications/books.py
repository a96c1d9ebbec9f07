"""Districts and imports for the tests of mails, straight into their files and books."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, select, update

from roster_pipeline.districts.files import add_district
from roster_pipeline.findings import Finding, finding, findings_frame
from roster_pipeline.notifications.outbox import Mail
from roster_pipeline.stages.hold import Reason
from roster_pipeline.warehouse import holds, ledger, results, tables
from roster_pipeline.warehouse.database import reading

TO = "digest: [roster@oak.example], alerts: [it@oak.example]"


def district(folder: Path, district_id: str = "oak", to: str = TO, more: str = "") -> Path:
    """A folder of districts with one in it, of America/Denver."""
    folder.mkdir(exist_ok=True)
    path = add_district(folder, district_id, "Oak County", "America/Denver")
    path.write_text(f"{path.read_text()}\nnotifications: {{{to}}}\n{more}")
    return folder


def booked(
    engine: Engine,
    status: ledger.Status,
    ended: datetime,
    findings: Sequence[Finding] = (),
    *,
    district_id: str = "oak",
    app: str = "sftp",
    preview: bool = False,
    message: str | None = None,
    run_id: str | None = "run-1",
    delivery: str | None = None,
    state_of: int | None = None,
) -> int:
    """An import of a minute that ended so. delivery: its folder in the archive. state_of: the
    import whose state an undo gave back."""
    begun = ended - timedelta(minutes=1)
    number = ledger.start_import(engine, district_id, app, run_id, preview, "", begun)
    with engine.begin() as conn:
        results.record_findings(conn, number, findings_frame(findings))
        if status != "running":
            ledger.finish_import(conn, number, status, ended, message)
        known = {"delivery": delivery, "state_of": state_of}
        conn.execute(update(tables.imports).where(tables.imports.c.id == number).values(known))
    return number


def held(engine: Engine, number: int, now: datetime, *reasons: Reason) -> None:
    """Why an import is held."""
    with engine.begin() as conn:
        holds.record_hold(conn, number, "plan", reasons, ["12 people have new ids."], now)


def without_email(*ids: str) -> list[Finding]:
    """Students who were left out since they have no e-mail."""
    return [
        finding(
            "email_missing",
            noun="student",
            attribute="email",
            field="email",
            file="users.csv",
            row=row,
            source_id=source_id,
            enrollment_type="student",
        )
        for row, source_id in enumerate(ids, start=2)
    ]


def repeated(row: int) -> Finding:
    """A student's row that says what an earlier one says."""
    place = {"file": "users.csv", "row": row, "source_id": "s-9"}
    return finding("record_repeated", enrollment_type="student", **place)


def mails(engine: Engine) -> dict[str, Mail]:
    """What is in the outbox, by key."""
    columns = [tables.outbox.c[name] for name in Mail.__dataclass_fields__]
    with reading(engine) as conn:
        found = [Mail(*row) for row in conn.execute(select(*columns).order_by(tables.outbox.c.id))]
    return {mail.key: mail for mail in found}
