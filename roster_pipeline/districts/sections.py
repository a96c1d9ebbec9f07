"""The sections of a district's file that are no stage's: import apps, schedule, notifications,
reports."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from roster_pipeline.stages.section import Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Trigger = Literal["on_arrival", "schedule"]
_HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)


def _time_of_day(text: str) -> str:
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text) is None:
        raise ValueError('allowed: hours and minutes in quotes, such as "02:00"')
    return text


def _address(text: str) -> str:
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text) is None:
        raise ValueError("allowed: e-mail addresses, such as roster@springfield.example")
    return text


def _host_key(text: str) -> str:
    """A fingerprint, or a public key whose blob says that it is of the type in front of it."""
    if re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", text):
        return text
    kind, blob = (*text.split(), "", "")[:2]
    with suppress(ValueError):
        named = len(kind).to_bytes(4, "big") + kind.encode()
        if kind in _HOST_KEY_TYPES and base64.b64decode(blob, validate=True).startswith(named):
            return text
    raise ValueError(
        "allowed: the server's public key, such as ssh-ed25519 AAAA…, or its fingerprint, "
        "SHA256:… (ssh-keyscan HOST shows the key, with the host in front of it)"
    )


class ForeignServer(Section):
    """An SFTP server of the district's own, from which we fetch. Secrets are named, not written:
    the variable that holds the password, or the file that holds the key."""

    host: str = Field(min_length=1)
    """The server's name or address."""
    port: int = Field(default=22, ge=1, le=65535)
    """Its port."""
    username: str = Field(min_length=1)
    """The user name to log in with."""
    password_env: str | None = None
    """The environment variable that holds the password."""
    private_key_file: str | None = None
    """The file that holds the private key. One of the two is needed."""
    host_key: Annotated[str, AfterValidator(_host_key)]
    """The server's public key (`ssh-ed25519 AAAA…`) or its fingerprint (`SHA256:…`); another server
    is not talked to."""
    path: str = "."
    """The folder in which the delivery lies."""

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.password_env is None) == (self.private_key_file is None):
            raise ValueError("it needs either password_env or private_key_file")
        return self


class Schedule(Section):
    """When a district is synchronised by the clock, in its own time zone."""

    when: Literal["daily", "weekdays", "weekly"]
    """Every day, Monday to Friday, or on the days that `days` names."""
    days: tuple[Day, ...] = ()
    """On which days; with `when: weekly`, and only there."""
    at: Annotated[str, AfterValidator(_time_of_day)]
    """The time of day by the district's clock, in quotes: `"02:00"`."""
    until: date | None = None
    """The last day, if there is one."""

    @model_validator(mode="after")
    def _days_when_weekly(self) -> Self:
        if bool(self.days) != (self.when == "weekly"):
            raise ValueError("`days` are needed with `when: weekly`, and only there")
        return self


class Notifications(Section):
    """Who is written to: the daily digest, and at once when something needs a person."""

    digest: tuple[Annotated[str, AfterValidator(_address)], ...] = ()
    """Who gets a mail at six in the morning when there is something to tell."""
    alerts: tuple[Annotated[str, AfterValidator(_address)], ...] = ()
    """Who is told at once when an import waits, is refused or fails, or the landing zone is silent
    or cannot be reached."""


class ScheduleSettings(Section):
    """The section `schedule`; without it nothing is synchronised by the clock."""

    schedule: Schedule | None = None
    """When to import by the clock, in the district's time zone; without it, never."""


class NotificationSettings(Section):
    """The section `notifications`."""

    notifications: Notifications = Notifications()
    """Who is written to. Mails hold counts, rules and where to look, never a record."""


class Reports(Section):
    """What reports show."""

    show_names: bool = False
    """Show people's names in full beside their ids; otherwise they are masked: `J*** S****`."""


class ReportSettings(Section):
    """The section `reports`."""

    reports: Reports = Reports()
    """What an import's report shows."""
