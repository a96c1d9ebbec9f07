"""The outbox: a mail is told once, sent once or retried, and never lost, whatever the provider
answers and whoever dies."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, select

from roster_pipeline.notifications import outbox
from roster_pipeline.notifications.mailers import Mail, NotSent, SendGridMailer
from roster_pipeline.notifications.outbox import (
    ATTEMPTS,
    LEASE,
    LONGEST_PAUSE,
    Delivered,
    deliver,
    post,
    unsent,
)
from roster_pipeline.warehouse import tables
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.notifications.providers import ACCEPTED, FakeSendGrid

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BUSY = (429, {"Retry-After": "300"}, b"")
BROKEN = (500, {}, b"")


def put(engine: Engine, key: str = "import-17-held", now: datetime = NOW) -> bool:
    with engine.begin() as conn:
        to = ["It@Oak.example", "it@oak.example", "ann@oak.example"]
        return post(conn, key, "oak", "held", to, f"About\n{key}", "text", "<p>html</p>", now)


def row(engine: Engine, key: str = "import-17-held") -> dict[str, object]:
    with reading(engine) as conn:
        found = conn.execute(select(tables.outbox).where(tables.outbox.c.key == key)).mappings()
        return dict(found.one())


@dataclass
class Recorder:
    """A provider that takes or refuses what a test says."""

    refusals: list[NotSent] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def send(self, mail: Mail) -> str | None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.sent.append(mail.key)
        return None


def test_the_same_is_told_once(warehouse: Engine) -> None:
    assert put(warehouse)
    assert not put(warehouse)
    assert put(warehouse, "import-18-held")
    mailer = Recorder()
    assert deliver(warehouse, mailer, NOW) == Delivered(2, 0, 0)
    assert not put(warehouse), "it is told already, though it does not wait any more"
    assert deliver(warehouse, mailer, NOW + MINUTE) == Delivered(0, 0, 0)
    assert mailer.sent == ["import-17-held", "import-18-held"]


def test_an_address_is_written_to_once_and_a_subject_is_one_line(warehouse: Engine) -> None:
    put(warehouse)
    assert row(warehouse)["recipients"] == ["it@oak.example", "ann@oak.example"]
    assert row(warehouse)["subject"] == "About import-17-held"


def test_of_many_that_tell_the_same_at_once_one_does(warehouse: Engine, warehouse_url: str) -> None:
    engines = [warehouse, open_warehouse(warehouse_url)]
    told: list[bool] = []
    at_once = threading.Barrier(8)

    def tell(engine: Engine) -> None:
        at_once.wait(60)
        told.append(put(engine))

    threads = [threading.Thread(target=tell, args=(engines[n % 2],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engines[1].dispose()
    assert sorted(told) == [False] * 7 + [True]


def test_a_mail_in_a_transaction_that_is_taken_back_was_never_told(warehouse: Engine) -> None:
    with warehouse.connect() as conn:
        assert post(conn, "k", "oak", "held", ["it@oak.example"], "s", "t", "h", NOW)
        conn.rollback()
    assert put(warehouse, "k")


@pytest.mark.parametrize("warehouse_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("answers", "status", "requests"),
    [
        pytest.param([ACCEPTED], "sent", 1, id="accepted"),
        pytest.param([BUSY, ACCEPTED], "sent", 2, id="too many, then accepted"),
        pytest.param([BROKEN, BROKEN, ACCEPTED], "sent", 3, id="broken twice, then accepted"),
        pytest.param([None, ACCEPTED], "sent", 2, id="silent, then accepted"),
        pytest.param([BROKEN] * 4, "waiting", 4, id="broken"),
        pytest.param([(200, {}, b"")] * 4, "waiting", 4, id="a page that is not theirs"),
        pytest.param([(401, {}, b"{}")] * 4, "waiting", 4, id="a wrong key, that can be mended"),
        pytest.param([(400, {}, b"{}")] * 4, "failed", 1, id="a mail they never take"),
    ],
)
def test_each_mail_arrives_once_or_is_retried_and_shown_as_waiting(
    warehouse: Engine,
    sendgrid: FakeSendGrid,
    answers: list[object],
    status: str,
    requests: int,
) -> None:
    put(warehouse)
    sendgrid.answers(answers)  # type: ignore[arg-type]
    mailer = SendGridMailer("SG.secret", sendgrid.url, "roster@agency.example", timeout=0.5)
    for hours in range(4):
        deliver(warehouse, mailer, NOW + timedelta(hours=hours))

    assert len(sendgrid.accepted) == (status == "sent")
    assert len(sendgrid.requests) == requests
    assert (row(warehouse)["status"], row(warehouse)["attempts"]) == (status, requests)
    with reading(warehouse) as conn:
        shown = [(mail.key, mail.status, bool(mail.last_error)) for mail in unsent(conn)]
    assert shown == ([] if status == "sent" else [("import-17-held", status, True)])


def test_what_the_provider_asks_all_to_wait_all_wait(
    warehouse: Engine, sendgrid: FakeSendGrid
) -> None:
    put(warehouse)
    put(warehouse, "import-18-held", NOW + MINUTE)
    sendgrid.answers([BUSY])
    mailer = SendGridMailer("SG.secret", sendgrid.url, "roster@agency.example")
    assert deliver(warehouse, mailer, NOW + MINUTE) == Delivered(0, 2, 0)
    assert deliver(warehouse, mailer, NOW + 5 * MINUTE) == Delivered(0, 2, 0)
    assert len(sendgrid.requests) == 1
    assert deliver(warehouse, mailer, NOW + 6 * MINUTE) == Delivered(2, 0, 0)


def test_a_provider_that_is_down_is_asked_once_a_round_and_no_mail_stands_in_anothers_way(
    warehouse: Engine,
) -> None:
    put(warehouse)
    put(warehouse, "import-18-held")
    mailer = Recorder([NotSent("It is down.")])
    assert deliver(warehouse, mailer, NOW) == Delivered(0, 2, 0)
    assert deliver(warehouse, mailer, NOW + timedelta(seconds=30)) == Delivered(1, 1, 0)
    assert deliver(warehouse, mailer, NOW + MINUTE) == Delivered(1, 0, 0)
    assert mailer.sent == ["import-18-held", "import-17-held"]


def test_the_pause_grows_up_to_a_limit_and_then_the_mail_is_given_up(warehouse: Engine) -> None:
    put(warehouse)
    mailer, now, pauses = Recorder([NotSent("It is down.")] * ATTEMPTS), NOW, []
    for _ in range(ATTEMPTS):
        done = deliver(warehouse, mailer, now)
        following = row(warehouse)["next_attempt_at"]
        assert isinstance(following, datetime)
        pauses.append(following - now)
        now = following
    assert pauses[:4] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert max(pauses) == LONGEST_PAUSE
    assert timedelta(days=1) < now - NOW < timedelta(days=3)
    assert done == Delivered(0, 0, 1)
    assert (row(warehouse)["status"], row(warehouse)["last_error"]) == ("failed", "It is down.")
    assert deliver(warehouse, mailer, now + timedelta(days=9)) == Delivered(0, 0, 0)


@pytest.mark.parametrize("warehouse_url", ["sqlite"], indirect=True)
def test_a_mail_is_marked_as_sent_though_an_import_is_merging_when_it_is_gone(
    warehouse: Engine, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(warehouse)
    event.listen(warehouse, "connect", lambda c, _: c.execute("PRAGMA busy_timeout = 0"))
    warehouse.dispose()
    other = open_warehouse(warehouse_url).connect()

    class Slow(Recorder):
        def send(self, mail: Mail) -> str | None:
            other.begin()
            return super().send(mail)

    waited = []

    def merged(seconds: float) -> None:
        waited.append(seconds)
        other.close()

    monkeypatch.setattr(outbox, "sleep", merged)
    mailer = Slow()
    assert deliver(warehouse, mailer, NOW) == Delivered(1, 0, 0)
    assert len(waited) == 1
    assert (row(warehouse)["status"], mailer.sent) == ("sent", ["import-17-held"])


class Killed(BaseException):
    """What ends a process in the middle of something."""


class Dying:
    """A provider that takes a mail, whereupon our process dies."""

    def send(self, mail: Mail) -> str | None:
        raise Killed


def test_a_mail_whose_sender_dies_waits_for_the_lease_and_is_sent_again(warehouse: Engine) -> None:
    put(warehouse)
    with pytest.raises(Killed):
        deliver(warehouse, Dying(), NOW)
    mailer = Recorder()
    assert deliver(warehouse, mailer, NOW + LEASE - MINUTE) == Delivered(0, 1, 0)
    assert deliver(warehouse, mailer, NOW + LEASE) == Delivered(1, 0, 0)


def test_a_mail_at_which_every_sender_dies_is_given_up(warehouse: Engine) -> None:
    put(warehouse)
    for attempt in range(ATTEMPTS):
        with pytest.raises(Killed):
            deliver(warehouse, Dying(), NOW + attempt * LEASE)
    mailer = Recorder()
    assert deliver(warehouse, mailer, NOW + ATTEMPTS * LEASE) == Delivered(0, 0, 1)
    assert mailer.sent == []


def test_two_processes_that_deliver_at_once_send_each_mail_once(
    warehouse: Engine, warehouse_url: str, sendgrid: FakeSendGrid
) -> None:
    keys = [f"import-{number}-held" for number in range(12)]
    for key in keys:
        put(warehouse, key)
    engines = [warehouse, open_warehouse(warehouse_url), open_warehouse(warehouse_url)]
    at_once = threading.Barrier(len(engines))

    def work(engine: Engine) -> None:
        mailer = SendGridMailer("SG.secret", sendgrid.url, "roster@agency.example")
        at_once.wait(60)
        deliver(engine, mailer, NOW)

    threads = [threading.Thread(target=work, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines[1:]:
        engine.dispose()
    sent = [mail["custom_args"]["roster_key"] for mail in sendgrid.accepted]
    assert sorted(sent) == sorted(keys)


def test_a_round_ends_in_time(warehouse: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "ROUND_SECONDS", 0.0)
    put(warehouse)
    put(warehouse, "import-18-held")
    assert deliver(warehouse, Recorder(), NOW) == Delivered(1, 1, 0)
