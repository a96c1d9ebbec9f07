"""The ways a mail gets out: SendGrid, an SMTP server, or `.eml` files in a folder.

A mailer sends one mail, or says why not and whether it is worth another attempt. Its sentences name
no address: they are printed and logged.
"""

from __future__ import annotations

import json
import logging
import os
import re
import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from email.utils import format_datetime, parseaddr, parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

from roster_pipeline.settings import MailSettings, SmtpServer, is_loopback

TIMEOUT = 10.0
"""Seconds the provider may be silent, at each step of the talk."""
LONGEST_WAIT = timedelta(days=1)
"""What a provider may ask us to wait."""
OUR_FAULTS = {401, 403, 404, 408, 429}
"""Answers below 500 that are no fault of the mail: a wrong key or address of the service, or too
much at once. When that is mended, the mail goes out."""

# It logs at debug level what is sent, to whom, and the key.
logging.getLogger("python_http_client").setLevel(logging.INFO)


@dataclass(frozen=True)
class Mail:
    """A mail as the outbox has it. key: what it is about; created_at: when it was posted."""

    key: str
    recipients: list[str] = field(repr=False)
    subject: str
    text: str
    html: str
    created_at: datetime


class NotSent(Exception):
    """A mail was not sent.

    permanent: it would not be taken a second time either. wait: how long the provider asks us to.
    """

    def __init__(self, why: str, *, permanent: bool = False, wait: timedelta | None = None) -> None:
        self.permanent = permanent
        self.wait = wait
        super().__init__(why)


class Mailer(Protocol):
    """One way to send mails."""

    def send(self, mail: Mail) -> str | None:
        """Send a mail. Returns what is to be told of it nevertheless. Raises NotSent."""


def choose_mailer(settings: MailSettings, folder: Path) -> Mailer:
    """SendGrid when it has a key, else the SMTP server, else files in a folder."""
    if settings.sendgrid_key:
        return SendGridMailer(settings.sendgrid_key, settings.sendgrid_url, settings.sender)
    if settings.smtp is not None:
        return SmtpMailer(settings.smtp, settings.sender)
    return FileMailer(folder, settings.sender)


class SendGridMailer:
    """Sends by SendGrid's Web API, without counting who opens or clicks."""

    def __init__(self, key: str, url: str, sender: str, timeout: float = TIMEOUT) -> None:
        from sendgrid import SendGridAPIClient

        self._client = SendGridAPIClient(key, host=url)
        self._client.client.timeout = timeout
        self._sender = sender

    def send(self, mail: Mail) -> str | None:
        """Send a mail. Raises NotSent."""
        from python_http_client.exceptions import HTTPError

        try:
            answer = self._client.send(self._request(mail))
        except HTTPError as error:
            raise _refusal(error.status_code, error.body, error.headers) from None
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            late = isinstance(cause, TimeoutError)
            how = (
                "did not answer in time" if late else f"cannot be reached ({type(cause).__name__})"
            )
            raise NotSent(f"SendGrid {how}.") from None
        if answer.status_code != 202:  # such as the page behind a redirect
            raise NotSent(
                f"SendGrid answered {answer.status_code}, not 202; see ROSTER_SENDGRID_URL."
            )
        return None

    def _request(self, mail: Mail) -> dict[str, object]:
        name, address = parseaddr(self._sender)
        return {
            "personalizations": [{"to": [{"email": to} for to in mail.recipients]}],
            "from": {"email": address, "name": name} if name else {"email": address},
            "subject": mail.subject,
            "content": [
                {"type": "text/plain", "value": mail.text},
                {"type": "text/html", "value": mail.html},
            ],
            "headers": {"Auto-Submitted": "auto-generated"},
            "custom_args": {"roster_key": mail.key},
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
            },
        }


class SmtpMailer:
    """Sends by an SMTP server: by TLS from the start (smtps) or by STARTTLS, which only a server on
    this machine need not offer."""

    def __init__(self, server: SmtpServer, sender: str, timeout: float = TIMEOUT) -> None:
        self._server = server
        self._sender = sender
        self._timeout = timeout

    def send(self, mail: Mail) -> str | None:
        """Send a mail. Returns how many recipients were refused, when not all were. Raises
        NotSent."""
        try:
            refused = self._hand_over(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            answers = ", ".join(str(code) for code in sorted(codes))
            raise NotSent(
                f"The SMTP server refused every recipient ({answers}).", permanent=min(codes) >= 500
            ) from None
        except smtplib.SMTPAuthenticationError as error:
            raise NotSent(f"The SMTP server refused the login ({error.smtp_code}).") from None
        except smtplib.SMTPResponseException as error:
            about_mail = isinstance(error, smtplib.SMTPDataError | smtplib.SMTPSenderRefused)
            raise NotSent(
                f"The SMTP server answered {error.smtp_code}.",
                permanent=about_mail and error.smtp_code >= 500,
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise NotSent(f"The SMTP server lacks what is needed: {error}") from None
        except OSError as error:  # all others of smtplib are of this kind
            name = type(error).__name__
            raise NotSent(f"The SMTP server cannot be reached or is silent ({name}).") from None
        if refused:
            return f"{len(refused)} of {len(mail.recipients)} recipients were refused."
        return None

    def _hand_over(self, mail: Mail) -> dict[str, tuple[int, bytes]]:
        """Give the mail to the server; the recipients it refused, unless it refused all."""
        smtp = self._connect()
        try:
            message = as_message(mail, self._sender)
            refused = smtp.send_message(message, to_addrs=mail.recipients)
            with suppress(smtplib.SMTPException):  # it has the mail, however it takes its leave
                smtp.quit()
        finally:
            smtp.close()
        return refused

    def _connect(self) -> smtplib.SMTP:
        server, timeout = self._server, self._timeout
        if server.tls:
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=timeout, context=context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=timeout)
        try:
            if not server.tls and not is_loopback(server.host):
                smtp.starttls(context=ssl.create_default_context())
            if server.username is not None:
                smtp.login(server.username, server.password or "")
        except BaseException:
            smtp.close()
            raise
        return smtp


class FileMailer:
    """Writes mails into a folder, where neither service is configured. A mail that is sent again
    replaces its file."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    def send(self, mail: Mail) -> str | None:
        """Write a mail as `<key>.eml`, for the owner only. Raises NotSent."""
        target = self._folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', mail.key)}.eml"
        arriving = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(bytes(as_message(mail, self._sender)))
                stream.flush()
                os.fsync(stream.fileno())
            arriving.replace(target)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise NotSent(f"The mail cannot be written into {self._folder}: {why}.") from None
        return None


def as_message(mail: Mail, sender: str) -> EmailMessage:
    """The mail in the form of the net, the same for each attempt: text, and HTML beside it."""
    message = EmailMessage()
    message["Subject"] = mail.subject
    message["From"] = sender
    message["To"] = ", ".join(mail.recipients)
    message["Date"] = format_datetime(mail.created_at)
    domain = parseaddr(sender)[1].rpartition("@")[2]
    message["Message-ID"] = f"<{mail.key}.{mail.created_at:%Y%m%d%H%M%S}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


def _refusal(status: int, body: bytes, headers: Message | None) -> NotSent:
    permanent = 400 <= status < 500 and status not in OUR_FAULTS
    says = _what_it_says(body)
    why = f"SendGrid answered {status}{': ' + says if says else ''}."
    wait = retry_after(headers["Retry-After"], datetime.now(UTC)) if headers else None
    return NotSent(why, permanent=permanent, wait=wait)


def _what_it_says(body: bytes) -> str:
    """The first error in an answer, without addresses; empty when it has none we can read."""
    try:
        text = str(json.loads(body)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return ""
    return re.sub(r"\S+@\S+", "…", " ".join(text.split()))[:200].rstrip(".")


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """What a Retry-After header asks for: seconds or a moment; None when it says neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return timedelta(seconds=min(int(value), LONGEST_WAIT.total_seconds()))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta()), LONGEST_WAIT)
