"""What leaves by SendGrid, by SMTP and as a file, and what is told when it does not."""

from __future__ import annotations

import email
import email.policy
import logging
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roster_pipeline.notifications.mailers import (
    FileMailer,
    Mail,
    Mailer,
    NotSent,
    SendGridMailer,
    SmtpMailer,
    choose_mailer,
    retry_after,
)
from roster_pipeline.settings import SmtpServer, load_mail_settings
from roster_pipeline_tests.notifications.providers import FakeSendGrid, FakeSmtp

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
SENDER = "Roster <roster@agency.example>"
MAIL = Mail(
    key="import-17-held-4",
    recipients=["it@oak.example", "ann@oak.example"],
    subject="Öak: import 17 waits",
    text="It deletes 1,188 students.\n",
    html="<p>It deletes 1,188 students.</p>\n",
    created_at=NOW,
)


def refused(mailer: Mailer) -> NotSent:
    with pytest.raises(NotSent) as raised:
        mailer.send(MAIL)
    assert "oak.example" not in str(raised.value)
    return raised.value


def test_sendgrid_gets_the_mail_whole_and_counts_nobodys_clicks(sendgrid: FakeSendGrid) -> None:
    assert SendGridMailer("SG.secret", sendgrid.url, SENDER).send(MAIL) is None
    (taken,) = sendgrid.accepted
    to = [{"email": "it@oak.example"}, {"email": "ann@oak.example"}]
    assert taken["personalizations"] == [{"to": to}]
    assert taken["from"] == {"email": "roster@agency.example", "name": "Roster"}
    assert taken["subject"] == MAIL.subject
    assert [part["value"] for part in taken["content"]] == [MAIL.text, MAIL.html]
    assert taken["custom_args"] == {"roster_key": MAIL.key}
    tracking = taken["tracking_settings"]
    assert tracking["click_tracking"] == {"enable": False, "enable_text": False}
    assert tracking["open_tracking"] == {"enable": False}
    assert sendgrid.headers[0]["Authorization"] == "Bearer SG.secret"


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        (400, True),
        (401, False),
        (403, False),
        (413, True),
        (429, False),
        (500, False),
        (503, False),
    ],
)
def test_sendgrid_refuses_the_mail_itself_for_good_and_everything_else_for_now(
    sendgrid: FakeSendGrid, status: int, permanent: bool
) -> None:
    says = b'{"errors": [{"message": "ann@oak.example is not right.", "field": "from"}]}'
    sendgrid.answers([(status, {}, says)])
    error = refused(SendGridMailer("SG.secret", sendgrid.url, SENDER))
    assert error.permanent is permanent
    assert error.wait is None
    assert str(error) == f"SendGrid answered {status}: … is not right."


def test_sendgrid_may_ask_us_to_wait(sendgrid: FakeSendGrid) -> None:
    sendgrid.answers([(429, {"Retry-After": "90"}, b"")])
    error = refused(SendGridMailer("SG.secret", sendgrid.url, SENDER))
    assert error.wait == timedelta(seconds=90)


def test_a_silent_sendgrid_is_not_waited_for_for_ever(sendgrid: FakeSendGrid) -> None:
    sendgrid.answers([None])
    error = refused(SendGridMailer("SG.secret", sendgrid.url, SENDER, timeout=0.2))
    assert str(error) == "SendGrid did not answer in time."
    assert not error.permanent


def test_a_sendgrid_that_is_not_there_is_told(sendgrid: FakeSendGrid) -> None:
    with FakeSendGrid() as gone:
        url = gone.url
    error = refused(SendGridMailer("SG.secret", url, SENDER))
    assert str(error) == "SendGrid cannot be reached (ConnectionRefusedError)."


def test_neither_the_key_nor_an_address_is_logged(
    sendgrid: FakeSendGrid, caplog: pytest.LogCaptureFixture
) -> None:
    sendgrid.answers([(500, {}, b"it@oak.example")])
    with caplog.at_level(logging.DEBUG):
        refused(SendGridMailer("SG.secret", sendgrid.url, SENDER))
        SendGridMailer("SG.secret", sendgrid.url, SENDER).send(MAIL)
    assert "SG.secret" not in caplog.text
    assert "oak.example" not in caplog.text


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("120", timedelta(minutes=2)),
        ("Tue, 24 Nov 2026 06:05:00 GMT", timedelta(minutes=5)),
        ("Tue, 24 Nov 2026 05:00:00 GMT", timedelta()),
        ("99999999999999", timedelta(days=1)),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_seconds_or_a_moment(value: str | None, wait: timedelta | None) -> None:
    assert retry_after(value, NOW) == wait


def local(server: FakeSmtp, login: bool = False) -> SmtpMailer:
    host = SmtpServer("127.0.0.1", server.port, False, *(("ann", "secret") if login else ()))
    return SmtpMailer(host, SENDER, timeout=20)


def test_smtp_gets_the_mail_in_text_and_html() -> None:
    with FakeSmtp() as server:
        assert local(server, login=True).send(MAIL) is None
    (taken,) = [email.message_from_bytes(m, policy=email.policy.default) for m in server.mails]
    assert taken["Subject"] == MAIL.subject
    assert taken["To"] == "it@oak.example, ann@oak.example"
    assert taken["Message-ID"] == "<import-17-held-4.20261124060000@agency.example>"
    plain, html = (taken.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None and plain.get_content().strip() == MAIL.text.strip()
    assert html is not None and html.get_content().strip() == MAIL.html.strip()
    assert any(command.startswith("AUTH PLAIN") for command in server.commands)


@pytest.mark.parametrize(
    ("start", "answer", "permanent", "says"),
    [
        ("AUTH", b"535 no", False, "The SMTP server refused the login (535)."),
        ("MAIL FROM", b"550 no", True, "The SMTP server answered 550."),
        ("MAIL FROM", b"451 later", False, "The SMTP server answered 451."),
        ("RCPT TO", b"550 no", True, "The SMTP server refused every recipient (550)."),
        ("RCPT TO", b"450 greylisted", False, "The SMTP server refused every recipient (450)."),
        ("DATA", b"554 spam", True, "The SMTP server answered 554."),
        ("", b"421 busy", False, "The SMTP server answered 421."),
    ],
)
def test_smtp_refuses_the_mail_itself_for_good_and_everything_else_for_now(
    start: str, answer: bytes, permanent: bool, says: str
) -> None:
    with FakeSmtp({start: answer}) as server:
        error = refused(local(server, login=True))
    assert (error.permanent, str(error)) == (permanent, says)
    assert server.mails == []


def test_a_mail_that_one_of_two_recipients_gets_is_sent_and_the_other_is_told_of() -> None:
    with FakeSmtp({"RCPT TO:<ANN@": b"550 no"}) as server:
        assert local(server).send(MAIL) == "1 of 2 recipients were refused."
    assert len(server.mails) == 1


def test_a_mail_the_server_has_taken_is_sent_however_it_takes_its_leave() -> None:
    with FakeSmtp({"QUIT": b"421 gone"}) as server:
        assert local(server).send(MAIL) is None


def test_a_silent_smtp_server_is_not_waited_for_for_ever(sendgrid: FakeSendGrid) -> None:
    port = int(sendgrid.url.rpartition(":")[2])  # it waits for us to speak first
    error = refused(SmtpMailer(SmtpServer("127.0.0.1", port, False), SENDER, timeout=0.2))
    assert "cannot be reached or is silent" in str(error)
    assert not error.permanent


def test_no_login_and_no_mail_goes_to_another_machine_without_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roster_pipeline.notifications.mailers.is_loopback", lambda _: False)
    with FakeSmtp() as server:
        error = refused(local(server, login=True))
    assert "STARTTLS" in str(error)
    assert not [c for c in server.commands if c.startswith(("AUTH", "MAIL"))]


def test_without_a_service_mails_are_files_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    mailer = FileMailer(folder, "roster@localhost")
    mailer.send(MAIL)
    mailer.send(MAIL)
    mailer.send(replace(MAIL, key="../../x"))
    assert sorted(p.name for p in folder.iterdir()) == [".._.._x.eml", "import-17-held-4.eml"]
    file = folder / "import-17-held-4.eml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert message["Subject"] == MAIL.subject
    assert message["Date"].datetime == NOW


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    error = refused(FileMailer(tmp_path / "outbox", SENDER))
    assert str(error) == f"The mail cannot be written into {tmp_path / 'outbox'}: File exists."


@pytest.mark.parametrize(
    ("env", "kind"),
    [
        ({}, FileMailer),
        ({"ROSTER_SMTP_URL": "smtp://mail.example", "ROSTER_MAIL_FROM": SENDER}, SmtpMailer),
        ({"SENDGRID_API_KEY": "SG.x", "ROSTER_MAIL_FROM": SENDER}, SendGridMailer),
        (
            {
                "SENDGRID_API_KEY": "SG.x",
                "ROSTER_SMTP_URL": "smtp://mail.example",
                "ROSTER_MAIL_FROM": SENDER,
            },
            SendGridMailer,
        ),
    ],
)
def test_sendgrid_is_chosen_before_smtp_and_smtp_before_files(
    env: dict[str, str], kind: type, tmp_path: Path
) -> None:
    assert type(choose_mailer(load_mail_settings(env), tmp_path)) is kind
