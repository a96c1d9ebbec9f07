"""The environment: where this installation keeps its files, and which warehouse it writes to.

Five variables, all optional, and what follows from them. A district's own settings are in
`districts/`; how Dagster queues and watches runs is in `dagster.yaml`.

    ROSTER_HOME            the folder for everything the software keeps; default .roster here
    ROSTER_WAREHOUSE_URL   the SQL warehouse; default the file warehouse.db in that folder
    ROSTER_EXPECTATIONS    the Great Expectations suites; default the project's own
    DAGSTER_HOME           Dagster's folder; default dagster/ in ROSTER_HOME
    ROSTER_USER            who decides on imports, for the audit log; default the system's user

Imports nothing that takes time, so that `roster --help` can import it.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

WRITTEN_BY_ROSTER = "# Written by roster from "
"""How a dagster.yaml begins that `prepare_home` may replace. Without that line it is yours."""

LOCATION_BLOCKS = ("storage", "local_artifact_storage", "compute_logs")
"""The blocks of the project's dagster.yaml that are for a `dagster dev` without DAGSTER_HOME."""


class SettingsError(ValueError):
    """A variable says what cannot be; the message names it, what it says and what it may say."""

    def __init__(self, variable: str, found: str, allowed: str) -> None:
        super().__init__(f"{variable} is {found!r}, but {allowed}")


@dataclass(frozen=True)
class Settings:
    """Where this installation keeps its files. All paths are absolute."""

    home: Path
    warehouse_url: str
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
    def archive(self) -> Path:
        """Every delivery as it arrived."""
        return self.home / "archive"

    @property
    def artifacts(self) -> Path:
        """What the stages hand on to one another."""
        return self.home / "artifacts"

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
    def folders(self) -> tuple[Path, ...]:
        """The folders that `prepare_home` makes."""
        return (
            self.home,
            self.districts,
            self.landing,
            self.archive,
            self.artifacts,
            self.reports,
            self.outbox,
            self.keys,
            self.dagster,
        )

    def environment(self) -> dict[str, str]:
        """The variables that give a child process, in whatever folder, these same settings."""
        return {
            "ROSTER_HOME": str(self.home),
            "ROSTER_WAREHOUSE_URL": self.warehouse_url,
            "ROSTER_EXPECTATIONS": str(self.expectations),
            "DAGSTER_HOME": str(self.dagster),
        }


def load_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment gives. A variable that is empty counts as not set."""
    home = _home(env.get("ROSTER_HOME") or ".roster")
    return Settings(
        home=home,
        warehouse_url=_warehouse_url(env.get("ROSTER_WAREHOUSE_URL") or "", home),
        expectations=_expectations(env.get("ROSTER_EXPECTATIONS") or ""),
        dagster=_dagster_home(env.get("DAGSTER_HOME") or "", home),
    )


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
    """Put the project's dagster.yaml where Dagster looks for it, without the blocks that say where
    history is kept: in DAGSTER_HOME, its own default, of course."""
    source = project_folder() / "dagster.yaml"
    if not source.exists():
        return
    if target.exists() and not target.read_text(encoding="utf-8").startswith(WRITTEN_BY_ROSTER):
        return
    wanted = dagster_yaml_for_home(source.read_text(encoding="utf-8"), str(source))
    if target.exists() and target.read_text(encoding="utf-8") == wanted:
        return
    # Another process may be reading it.
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_text(wanted, encoding="utf-8")
    beside.replace(target)


def dagster_yaml_for_home(text: str, source: str) -> str:
    """The project's dagster.yaml (its text, and its name for the first line) as it is written into
    Dagster's folder."""
    blocks = re.split(r"(?m)^(?=\w)", text)
    kept = [b for b in blocks[1:] if b.partition(":")[0] not in LOCATION_BLOCKS]
    if not kept:
        return text
    body = "".join(kept)
    return (
        f"{WRITTEN_BY_ROSTER}{source}; to keep changes of your own here, remove this line.\n\n"
        f"{body}"
    )
