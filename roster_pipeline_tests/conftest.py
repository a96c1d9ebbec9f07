"""What tests of every room may use: a home of their own, and the command line in this process."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

VARIABLES = (
    "ROSTER_HOME",
    "ROSTER_WAREHOUSE_URL",
    "ROSTER_ARCHIVE_URL",
    "ROSTER_ARTIFACTS_URL",
    "ROSTER_EXPECTATIONS",
    "DAGSTER_HOME",
    "ROSTER_LANDING_HOST",
    "ROSTER_LANDING_PORT",
    # Or the tests would send mails where the developer's own do.
    "SENDGRID_API_KEY",
    "ROSTER_SENDGRID_URL",
    "ROSTER_SMTP_URL",
    "ROSTER_MAIL_FROM",
    "ROSTER_UI_URL",
)


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


Roster = Callable[..., Said]

_buckets = itertools.count()

MEMORY = Path("/dev/shm")
"""A disk in memory, where there is one: the databases of the tests need not outlive the power."""


def pytest_configure(config: pytest.Config) -> None:
    """Put the tests' folders there, unless --basetemp says where."""
    on_disk = config.option.basetemp is not None or not os.access(MEMORY, os.W_OK)
    if not on_disk and not hasattr(config, "workerinput"):
        config.option.basetemp = tempfile.mkdtemp(prefix="roster-tests-", dir=MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ROSTER_HOME of the test's own. All variables are set, so that what a command adds to the
    environment is taken back."""
    home = tmp_path / "home"
    monkeypatch.setenv("ROSTER_HOME", str(home))
    for variable in VARIABLES[1:]:
        monkeypatch.setenv(variable, "")
    return home


@pytest.fixture
def roster(home: Path) -> Roster:
    """The command `roster`, run in this process."""
    from roster_pipeline.cli.main import app

    def run(*arguments: object) -> Said:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def object_server() -> Iterator[dict[str, str]]:
    """A server that speaks S3, in a thread; the environment in which it is found."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        # Or the developer's own would be asked.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    server.stop()


@pytest.fixture
def bucket_url(object_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket."""
    from s3fs import S3FileSystem

    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for variable, value in object_server.items():
        monkeypatch.setenv(variable, value)
    name = f"roster-{next(_buckets)}"
    S3FileSystem().mkdir(name)
    return f"s3://{name}"


@pytest.fixture(params=["disk", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind: a folder, a place in a bucket."""
    if request.param == "disk":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket_url')}/store"
