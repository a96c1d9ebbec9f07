"""The environment: where this installation keeps its files, and which warehouse it writes to.

All variables are optional; here is what follows from them. A district's own settings are in
`districts/`; how Dagster queues and watches runs is in `dagster.yaml`.

    ROSTER_HOME            the folder for everything the software keeps; default .roster here
    ROSTER_WAREHOUSE_URL   the SQL warehouse; default the file warehouse.db in that folder
    ROSTER_ARCHIVE_URL     where deliveries are kept; default the folder archive in ROSTER_HOME
    ROSTER_ARTIFACTS_URL   where what the stages hand on is kept; default artifacts in ROSTER_HOME
    ROSTER_EXPECTATIONS    the Great Expectations suites; default the project's own
    DAGSTER_HOME           Dagster's folder; default dagster/ in ROSTER_HOME
    DAGSTER_POSTGRES_URL   where Dagster keeps its history with deploy/postgres/dagster.yaml:
                           postgresql+psycopg2://user:password@host:5432/database
    ROSTER_CELERY_URL      where runs wait for a worker with deploy/celery/dagster.yaml:
                           redis://:password@host:6379/0
    ROSTER_USER            who decides on imports, for the audit log; default the system's user

ROSTER_ARCHIVE_URL and ROSTER_ARTIFACTS_URL name a folder by its absolute path, or a place in a
store that fsspec knows, by a URL: s3://bucket/archive with the extra `s3`, and with the package
they need gs://…, abfs://… and others. The login is never in the URL but where the store's package
looks for it: for s3 in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, the machine's role;
AWS_ENDPOINT_URL names a server that is not Amazon's; FSSPEC_S3_… whatever else s3fs can be told.

and, for the landing zone's server (`load_landing_address`):

    ROSTER_LANDING_HOST    the address the SFTP server listens on; default 127.0.0.1, 0.0.0.0
                           for all
    ROSTER_LANDING_PORT    the SFTP server's port; default 2222, 0 for one that is free

and, for mails (`load_mail_settings`), which become files in outbox/ when neither of the first two
is set:

    SENDGRID_API_KEY       sends mails by SendGrid
    ROSTER_SMTP_URL        sends mails by an SMTP server: smtp://user:password@host:587, which must
                           offer STARTTLS unless it is on this machine, or smtps://…:465
    ROSTER_MAIL_FROM       whom mails are from; needed with one of these
    ROSTER_SENDGRID_URL    SendGrid's address; default https://api.sendgrid.com
    ROSTER_OPERATORS       who is told of failed runs that are no district's, such as the nightly
                           purge: addresses with commas between them; default nobody, so that such
                           a failure is in Dagster's UI and log only
    ROSTER_UI_URL          where links lead, and what `roster ui` answers to if there is a proxy in
                           front of it; default http://127.0.0.1:3000

and, for how many days what is not needed any more is kept (`load_keep_days`), whole days from 1:

    ROSTER_KEEP_LANDING_DAYS    files in a landing zone that an import has taken; default 30
    ROSTER_KEEP_ARCHIVE_DAYS    archived deliveries, reports, and the landing zones' log; default 90
    ROSTER_KEEP_REFUSED_DAYS    deliveries that were refused; default 14
    ROSTER_KEEP_ARTIFACTS_DAYS  what the stages handed on to one another; default 30

Imports nothing that takes time, so that `roster --help` can import it.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

WRITTEN_BY_ROSTER = "# Written by roster from "
"""How a dagster.yaml begins that `prepare_home` may replace. Without that line it is yours."""


class SettingsError(ValueError):
    """A variable says what cannot be; the message names it, what it says and what it may say."""

    def __init__(self, variable: str, found: str, allowed: str) -> None:
        super().__init__(f"{variable} is {found!r}, but {allowed}")


@dataclass(frozen=True)
class Settings:
    """Where this installation keeps its files. All paths are absolute.

    archive_url: where every delivery is kept as it arrived. artifacts_url: where what the stages
    hand on to one another is kept. Each is a folder's path, or a URL for fsspec.
    """

    home: Path
    warehouse_url: str
    archive_url: str
    artifacts_url: str
    expectations: Path
    dagster: Path

    @property
    def districts(self) -> Path:
        """One YAML file for each district."""
        return self.home / "districts"

    @property
    def landing(self) -> Path:
        """One folder for each district, into which it drops its deliveries."""
        return self.home / "landing"

    @property
    def fetched(self) -> Path:
        """What was fetched from districts' own servers, one folder for each."""
        return self.home / "fetched"

    @property
    def reports(self) -> Path:
        """Written import summaries and overviews."""
        return self.home / "reports"

    @property
    def outbox(self) -> Path:
        """Mails that no mail service was configured for."""
        return self.home / "outbox"

    @property
    def keys(self) -> Path:
        """The SFTP server's own keys."""
        return self.home / "keys"

    @property
    def home_folders(self) -> tuple[Path, ...]:
        """The folders that always are in the home."""
        return (
            self.districts,
            self.landing,
            self.fetched,
            self.reports,
            self.outbox,
            self.keys,
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that `prepare_home` makes."""
        stores = (Path(u) for u in (self.archive_url, self.artifacts_url) if u.startswith("/"))
        return (self.home, *self.home_folders, *stores, self.dagster)

    def environment(self) -> dict[str, str]:
        """The variables that give a child process, in whatever folder, these same settings."""
        return {
            "ROSTER_HOME": str(self.home),
            "ROSTER_WAREHOUSE_URL": self.warehouse_url,
            "ROSTER_ARCHIVE_URL": self.archive_url,
            "ROSTER_ARTIFACTS_URL": self.artifacts_url,
            "ROSTER_EXPECTATIONS": str(self.expectations),
            "DAGSTER_HOME": str(self.dagster),
        }


def load_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment gives. A variable that is empty counts as not set."""
    home = _home(env.get("ROSTER_HOME") or ".roster")
    _check_dagster_url(env.get("DAGSTER_POSTGRES_URL") or "")
    settings = Settings(
        home=home,
        warehouse_url=_warehouse_url(env.get("ROSTER_WAREHOUSE_URL") or "", home),
        archive_url=_store_url("ROSTER_ARCHIVE_URL", env, home / "archive"),
        artifacts_url=_store_url("ROSTER_ARTIFACTS_URL", env, home / "artifacts"),
        expectations=_expectations(env.get("ROSTER_EXPECTATIONS") or ""),
        dagster=_dagster_home(env.get("DAGSTER_HOME") or "", home),
    )
    _check_apart(settings)
    return settings


@dataclass(frozen=True)
class LandingAddress:
    """Where the landing zone's server listens."""

    host: str = "127.0.0.1"
    port: int = 2222


def load_landing_address(env: Mapping[str, str] = os.environ) -> LandingAddress:
    """Where the server listens. A variable that is empty counts as not set. Raises
    SettingsError."""
    host = env.get("ROSTER_LANDING_HOST") or LandingAddress.host
    if re.fullmatch(r"[A-Za-z0-9.:%-]+", host) is None:
        raise SettingsError(
            "ROSTER_LANDING_HOST", host, "it must be one address or host name, without a port"
        )
    port = env.get("ROSTER_LANDING_PORT") or str(LandingAddress.port)
    if re.fullmatch(r"\d{1,5}", port, re.ASCII) is None or int(port) > 65535:
        raise SettingsError("ROSTER_LANDING_PORT", port, "it must be a number from 0 to 65535")
    return LandingAddress(host, int(port))


@dataclass(frozen=True)
class SmtpServer:
    """An SMTP server. tls: from the first byte on, not by STARTTLS."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class MailSettings:
    """How mails are sent, where their links lead, and who runs this installation."""

    sendgrid_key: str | None = field(repr=False)
    sendgrid_url: str
    smtp: SmtpServer | None
    sender: str
    ui_url: str
    operators: tuple[str, ...] = field(repr=False)


def load_mail_settings(env: Mapping[str, str] = os.environ) -> MailSettings:
    """The settings for mails. A variable that is empty counts as not set. Raises SettingsError."""
    key = env.get("SENDGRID_API_KEY") or None
    if key is not None and re.fullmatch(r"[!-~]+", key) is None:
        raise SettingsError("SENDGRID_API_KEY", "***", "it must be a key without blanks")
    smtp = _smtp_server(env.get("ROSTER_SMTP_URL") or "")
    return MailSettings(
        sendgrid_key=key,
        sendgrid_url=_web_url("ROSTER_SENDGRID_URL", env, "https://api.sendgrid.com", secret=True),
        smtp=smtp,
        sender=_sender(env.get("ROSTER_MAIL_FROM") or "", needed=bool(key or smtp)),
        ui_url=_web_url("ROSTER_UI_URL", env, "http://127.0.0.1:3000"),
        operators=_addresses("ROSTER_OPERATORS", env),
    )


@dataclass(frozen=True)
class KeepDays:
    """For how many days what is not needed any more is kept."""

    landing: int = 30
    archive: int = 90
    refused: int = 14
    artifacts: int = 30


def load_keep_days(env: Mapping[str, str] = os.environ) -> KeepDays:
    """How long things are kept. A variable that is empty counts as not set. Raises
    SettingsError."""
    usual: dict[str, int] = vars(KeepDays())
    return KeepDays(
        **{kind: _days(f"ROSTER_KEEP_{kind.upper()}_DAYS", env, n) for kind, n in usual.items()}
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that nobody can listen on the way there."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def acting_user(env: Mapping[str, str] = os.environ) -> str:
    """Who is acting, for the audit log."""
    if name := env.get("ROSTER_USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        return f"user {os.getuid()}"


def prepare_home(settings: Settings) -> None:
    """Make the folders, private to their owner, and Dagster's instance configuration.

    May be called again at any time, by several processes at once, and costs next to nothing then.
    """
    # A `dagster dev` without DAGSTER_HOME makes the home before us, open to all.
    first_use = not settings.districts.exists()
    for folder in settings.folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if first_use:
        settings.home.chmod(0o700)
    _write_dagster_yaml(settings.dagster / "dagster.yaml")


def project_folder() -> Path:
    """Where dagster.yaml, workspace.yaml and expectations/ are: the repository, or what was
    installed from it."""
    beside_the_package = Path(__file__).resolve().parent.parent
    if (beside_the_package / "dagster.yaml").exists():
        return beside_the_package
    return Path(sys.prefix) / "share" / "roster-pipeline"


def _absolute(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _home(text: str) -> Path:
    home = _absolute(text)
    if home.exists() and not home.is_dir():
        raise SettingsError("ROSTER_HOME", text, "it must name a folder, and that is a file")
    return home


def _warehouse_url(url: str, home: Path) -> str:
    if not url:
        return f"sqlite:///{home / 'warehouse.db'}"
    # Never the URL as it is: the message may land in a log, and the password is in it.
    shown = re.sub(r"://[^@/]*@", "://***@", url)
    allowed = (
        "it must be sqlite:////absolute/path/warehouse.db "
        "or postgresql://user:password@host:5432/database"
    )
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise SettingsError("ROSTER_WAREHOUSE_URL", shown, allowed)
    if scheme in {"sqlite", "sqlite+pysqlite"}:
        path = rest.removeprefix("/")
        if not rest.startswith("/") or not path or path.startswith((":memory:", "file:")):
            raise SettingsError(
                "ROSTER_WAREHOUSE_URL",
                shown,
                f"{allowed} (a file, since several processes share it)",
            )
        return f"sqlite:///{_absolute(path)}"
    if scheme in {"postgres", "postgresql", "postgresql+psycopg"}:
        address = rest.rpartition("@")[2]
        port = re.match(r"(?:\[[^\]]*\]|[^:/?]*):([^/?]*)", address)
        if not address.strip("/") or (port and not port[1].isdigit()):
            raise SettingsError("ROSTER_WAREHOUSE_URL", shown, allowed)
        return f"postgresql+psycopg://{rest}"
    raise SettingsError("ROSTER_WAREHOUSE_URL", shown, allowed)


def _store_url(variable: str, env: Mapping[str, str], default: Path) -> str:
    """A folder's absolute path, or a URL for fsspec; without a slash at its end."""
    url = env.get(variable) or str(default)
    path = url.removeprefix("file://")
    if path.startswith("/"):
        if Path(path).exists() and not Path(path).is_dir():
            raise SettingsError(variable, url, "it must name a folder, and that is a file")
        return os.path.normpath(f"/{path.lstrip('/')}")
    # Who says http means a server of one's own.
    if re.fullmatch(r"(?!https?:|file:)[a-z][a-z0-9]*://[^/@:?#\s][^@:?#\s]*", url) is None:
        raise SettingsError(
            variable,
            _without_login(url.partition("?")[0]),
            "it must be a folder's absolute path, or a URL such as s3://bucket/folder without a "
            "login; a server of your own is named by AWS_ENDPOINT_URL",
        )
    return re.sub(r"(?<!:)/{2,}", "/", url).rstrip("/")


def _check_apart(settings: Settings) -> None:
    """One inside another, a purge would take away what is the other's."""
    taken = [str(folder) for folder in settings.home_folders]
    for variable, url in (
        ("ROSTER_ARCHIVE_URL", settings.archive_url),
        ("ROSTER_ARTIFACTS_URL", settings.artifacts_url),
    ):
        for other in taken:
            if f"{url}/".startswith(f"{other}/") or f"{other}/".startswith(f"{url}/"):
                raise SettingsError(variable, url, f"it must lie apart from {other}")
        taken.append(url)


def _smtp_server(url: str) -> SmtpServer | None:
    if not url:
        return None
    allowed = "it must be smtp://user:password@host:587 or smtps://user:password@host:465"
    wrong = SettingsError("ROSTER_SMTP_URL", _without_login(url), allowed)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is no number
        raise wrong from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/"):
        raise wrong
    tls = parts.scheme == "smtps"
    return SmtpServer(
        parts.hostname,
        port or (465 if tls else 587),
        tls,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )


def _sender(text: str, *, needed: bool) -> str:
    from email.utils import parseaddr

    if not text and not needed:
        return "roster@localhost"
    address = parseaddr(text)[1]
    if re.fullmatch(r"[^@\s]+@[^@\s]+", address) is None or not text.isprintable():
        raise SettingsError(
            "ROSTER_MAIL_FROM",
            text,
            "it must be the address mails are from, such as Roster <roster@agency.example>",
        )
    return text


def _addresses(variable: str, env: Mapping[str, str]) -> tuple[str, ...]:
    text = env.get(variable) or ""
    if not text:
        return ()
    addresses = tuple(address.strip() for address in text.split(","))
    if not all(re.fullmatch(r"[^@\s;<>]+@[^@\s;<>]+", address) for address in addresses):
        raise SettingsError(
            variable,
            text,
            "it must be addresses with commas between them, such as "
            "ann@agency.example, bob@agency.example",
        )
    return addresses


def _web_url(variable: str, env: Mapping[str, str], default: str, *, secret: bool = False) -> str:
    """A web address without a slash at its end; one that secrets are sent to must be https, unless
    it is on this machine."""
    url = (env.get(variable) or default).rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is no number
        parts, port = urlsplit(""), None
    safe = parts.scheme == "https" or (not secret or is_loopback(parts.hostname or ""))
    right = parts.scheme in ("http", "https") and parts.hostname and port != 0
    if not (safe and right) or "@" in parts.netloc or parts.query or parts.fragment:
        kind = "https://host (http only on this machine)" if secret else "http://host:port"
        raise SettingsError(variable, _without_login(url), f"it must be {kind} without a login")
    return url


def _days(variable: str, env: Mapping[str, str], default: int) -> int:
    text = env.get(variable) or str(default)
    if re.fullmatch(r"[1-9][0-9]{0,4}", text) is None:
        raise SettingsError(variable, text, "it must be a whole number of days, 1 to 99999")
    return int(text)


def _without_login(url: str) -> str:
    """A URL that may be shown."""
    return re.sub(r"^(\w+://)?.*@", r"\1***@", url)


def _check_dagster_url(url: str) -> None:
    # SQLAlchemy 2.1 would take psycopg, with which dagster-postgres cannot store an event.
    if url and not url.startswith("postgresql+psycopg2://"):
        allowed = "Dagster needs postgresql+psycopg2://user:password@host:5432/database there"
        raise SettingsError("DAGSTER_POSTGRES_URL", _without_login(url), allowed)


def _expectations(text: str) -> Path:
    if not text:
        return project_folder() / "expectations"
    folder = _absolute(text)
    if not folder.is_dir():
        raise SettingsError(
            "ROSTER_EXPECTATIONS", text, "it must name an existing folder of *.json suites"
        )
    return folder


def _dagster_home(text: str, home: Path) -> Path:
    if not text:
        return home / "dagster"
    folder = Path(text)
    if not folder.is_absolute():
        raise SettingsError("DAGSTER_HOME", text, "Dagster needs an absolute path there")
    if folder.exists() and not folder.is_dir():
        raise SettingsError("DAGSTER_HOME", text, "it must name a folder, and that is a file")
    return folder


def _write_dagster_yaml(target: Path) -> None:
    """Put the project's dagster.yaml where Dagster looks for it; history is kept beside it."""
    source = project_folder() / "dagster.yaml"
    if not source.exists():
        return
    if target.exists() and not target.read_text(encoding="utf-8").startswith(WRITTEN_BY_ROSTER):
        return

    def led_here(path: re.Match[str]) -> str:
        return path[1] + json.dumps(str(target.parent), ensure_ascii=False)

    text = source.read_text(encoding="utf-8")
    wanted = (
        f"{WRITTEN_BY_ROSTER}{source}; to keep changes of your own here, remove this line.\n\n"
    ) + re.sub(r"(?m)^( +base_dir: )\.roster/dagster$", led_here, text)
    if target.exists() and target.read_text(encoding="utf-8") == wanted:
        return
    # Another process may be reading it.
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_text(wanted, encoding="utf-8")
    beside.replace(target)
