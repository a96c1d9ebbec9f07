"""The sections of a district's file that are no stage's: import apps, schedule, notifications,
reports."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Trigger = Literal["on_arrival", "schedule"]
_HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_FROZEN = ConfigDict(frozen=True, extra="forbid")


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


class ForeignServer(BaseModel):
    """An SFTP server of the district's own, from which we fetch. Secrets are named, not written:
    the variable that holds the password, or the file that holds the key."""

    model_config = _FROZEN

    host: str = Field(min_length=1)
    port: int = Field(default=22, ge=1, le=65535)
    username: str = Field(min_length=1)
    password_env: str | None = None
    private_key_file: str | None = None
    host_key: Annotated[str, AfterValidator(_host_key)]
    path: str = "."

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.password_env is None) == (self.private_key_file is None):
            raise ValueError("it needs either password_env or private_key_file")
        return self


class Schedule(BaseModel):
    """When a district is synchronised by the clock, in its own time zone.

    days: with `weekly`, on which days. at: the time of day. until: the last day, if there is one.
    """

    model_config = _FROZEN

    when: Literal["daily", "weekdays", "weekly"]
    days: tuple[Day, ...] = ()
    at: Annotated[str, AfterValidator(_time_of_day)]
    until: date | None = None

    @model_validator(mode="after")
    def _days_when_weekly(self) -> Self:
        if bool(self.days) != (self.when == "weekly"):
            raise ValueError("`days` are needed with `when: weekly`, and only there")
        return self


class Notifications(BaseModel):
    """Who is written to: the daily digest, and at once when something needs a person."""

    model_config = _FROZEN

    digest: tuple[Annotated[str, AfterValidator(_address)], ...] = ()
    alerts: tuple[Annotated[str, AfterValidator(_address)], ...] = ()


class ScheduleSettings(BaseModel):
    """The section `schedule`; without it nothing is synchronised by the clock."""

    model_config = _FROZEN

    schedule: Schedule | None = None


class NotificationSettings(BaseModel):
    """The section `notifications`."""

    model_config = _FROZEN

    notifications: Notifications = Notifications()


class Reports(BaseModel):
    """What reports show. show_names: the names of people beside their ids, which are masked
    otherwise («J*** S****»)."""

    model_config = _FROZEN

    show_names: bool = False


class ReportSettings(BaseModel):
    """The section `reports`."""

    model_config = _FROZEN

    reports: Reports = Reports()
