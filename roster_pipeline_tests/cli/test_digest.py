"""`roster digest`: the daily mail as it would be sent, sending it, and what waits."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from roster_pipeline.settings import load_settings, prepare_home
from roster_pipeline.warehouse.database import open_warehouse
from roster_pipeline_tests.conftest import Roster
from roster_pipeline_tests.notifications.books import booked, district, without_email
from roster_pipeline_tests.notifications.providers import FakeSendGrid


@pytest.fixture(autouse=True)
def oak(home: Path) -> None:
    """A district of which a student was left out today."""
    settings = load_settings()
    prepare_home(settings)
    district(settings.districts)
    engine = open_warehouse(settings.warehouse_url)
    booked(engine, "imported", datetime.now(UTC), without_email("s-1"))
    engine.dispose()


def test_it_is_shown_as_it_would_be_sent_and_nothing_is_sent(roster: Roster, home: Path) -> None:
    said = roster("digest", "oak")
    assert said.code == 0
    assert said.out.startswith("Oak County: roster digest of ")
    assert "- 1 student: No email\n" in said.out
    assert list((home / "outbox").iterdir()) == []
    (told,) = roster("digest", "--format", "json").json()
    assert (told["district"], told["recipients"], told["posted"]) == ("oak", 1, False)
    assert told["left_out"][0]["code"] == "email_missing"
    assert told["text"].strip() == said.out.strip()


def test_send_sends_it_and_a_second_time_says_why_it_is_not_sent(
    roster: Roster, home: Path
) -> None:
    said = roster("digest", "--send")
    assert "1 mails sent, 0 wait, 0 given up" in said.out
    (mail,) = (home / "outbox").iterdir()
    assert mail.name.startswith("digest-oak-")
    said = roster("digest", "oak", "--send")
    assert "oak: nothing new came, waits or went wrong, so no digest is sent." in said.out
    assert "0 mails sent" in said.out


def test_nobody_who_gets_it_is_told(roster: Roster, home: Path) -> None:
    (home / "districts" / "oak.yaml").write_text("name: Oak\n")
    assert "notifications.digest of oak names no address" in roster("digest", "oak").out


def test_what_waits_is_shown_with_its_reason_and_without_addresses(
    roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No mail waits" in roster("digest", "--outbox").out
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.secret")
    monkeypatch.setenv("ROSTER_MAIL_FROM", "roster@agency.example")
    with FakeSendGrid() as sendgrid:
        sendgrid.answers([(500, {}, b"")])
        monkeypatch.setenv("ROSTER_SENDGRID_URL", sendgrid.url)
        assert "0 mails sent, 1 wait" in roster("digest", "--send").out
    said = roster("digest", "--outbox")
    assert "waiting" in said.out
    assert "SendGrid answered 500." in " ".join(said.out.split())
    (mail,) = roster("digest", "--outbox", "--format", "json").json()
    assert (mail["status"], mail["kind"], mail["attempts"]) == ("waiting", "digest", 1)
    assert "roster@oak.example" not in said.out + str(mail)


def test_wrong_usage_is_told(roster: Roster) -> None:
    assert roster("digest", "oka").code == 2
    assert "did you mean oak?" in roster("digest", "oka").err
    assert roster("digest", "oak", "--outbox").code == 2


def test_a_wrong_setting_names_the_variable(
    roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roster_pipeline.settings import SettingsError

    monkeypatch.setenv("ROSTER_SMTP_URL", "smtp://ann:secret@mail.example:25")
    with pytest.raises(SettingsError, match="ROSTER_MAIL_FROM"):
        roster("digest", "--send")
