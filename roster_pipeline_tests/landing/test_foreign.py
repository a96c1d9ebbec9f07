"""Districts' own servers as landing zones: looked at, fetched from, and never in another's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roster_pipeline.districts.sections import ForeignServer
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.landing import client, foreign
from roster_pipeline.landing.arrival import SeenFile
from roster_pipeline.landing.client import (
    HostKeyChanged,
    LoginRefused,
    RemoteFileChanged,
    Unreachable,
)
from roster_pipeline.landing.foreign import Remotes, forget_fetched, landing_files, look
from roster_pipeline.landing.survey import survey
from roster_pipeline.landing.zones import Zone
from roster_pipeline.settings import Settings, load_settings, prepare_home
from roster_pipeline_tests.oneroster.packages import contents, entries, zipped

SERVER = ForeignServer(
    host="sftp.oak.example", username="roster", password_env="OAK", host_key=f"SHA256:{'A' * 43}"
)
LONG_AGO = timedelta(minutes=10)


class Server:
    """A server in memory."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, float]] = {}
        self.fetched: list[str] = []
        self.error: Exception | None = None
        self.fetch_error: Exception | None = None

    def list_files(self) -> list[SeenFile]:
        return [SeenFile(n, len(data), when) for n, (data, when) in self.files.items()]

    def fetch(self, name: str, target: Path) -> str:
        if self.fetch_error:
            raise self.fetch_error
        self.fetched.append(name)
        target.write_bytes(self.files[name][0])
        return ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    @contextmanager
    def connect(_: object) -> Iterator[Server]:
        if server.error:
            raise server.error
        yield server

    monkeypatch.setenv("OAK", "secret")
    monkeypatch.setattr(client, "connect", connect)
    return server


@pytest.fixture
def settings(home: Path) -> Settings:
    prepare_home(load_settings())
    return load_settings()


def delivery(tmp_path: Path, mark: str = "") -> bytes:
    files = contents(orgs=lambda old: old + mark.encode())
    return zipped(tmp_path / "made.zip", entries(files)).read_bytes()


def earlier(zone: Zone, by: timedelta = LONG_AGO) -> Zone:
    """The zone as if its last look had been so much earlier."""
    assert zone.looked_at
    files = tuple(replace(f, since=f.since - by.total_seconds()) for f in zone.files)
    return replace(zone, files=files, looked_at=zone.looked_at - by)


def district(server: ForeignServer = SERVER) -> DistrictSettings:
    apps = {"sftp": {"server": server.model_dump()}}
    return DistrictSettings.model_validate({"name": "Oak", "apps": apps})


def test_a_delivery_is_fetched_when_it_was_left_alone_and_once(
    server: Server, tmp_path: Path
) -> None:
    server.files["OneRoster.zip"] = delivery(tmp_path), 1_700_000_000.0
    folder = tmp_path / "fetched"
    first = look(Zone("oak"), SERVER, folder)
    assert (server.fetched, first.content) == ([], None)

    second = look(earlier(first), SERVER, folder)

    assert server.fetched == ["OneRoster.zip"]
    assert second.content is not None and second.content.key
    third = look(earlier(second), SERVER, folder)
    assert third.content == second.content
    assert server.fetched == ["OneRoster.zip"]


def test_one_that_is_not_whole_is_fetched_again_only_when_it_changes(
    server: Server, tmp_path: Path
) -> None:
    whole = delivery(tmp_path)
    server.files["OneRoster.zip"] = whole[:-10], 1_700_000_000.0
    zone = look(earlier(look(Zone("oak"), SERVER, tmp_path / "f")), SERVER, tmp_path / "f")
    assert zone.content is not None and zone.content.fault == "OneRoster.zip is not whole yet"
    zone = look(earlier(zone), SERVER, tmp_path / "f")
    assert server.fetched == ["OneRoster.zip"]
    server.files["OneRoster.zip"] = whole, 1_700_000_500.0
    zone = look(earlier(look(earlier(zone), SERVER, tmp_path / "f")), SERVER, tmp_path / "f")
    assert zone.content is not None and zone.content.key


def test_a_file_that_changes_while_it_is_fetched_is_looked_at_again(
    server: Server, tmp_path: Path
) -> None:
    server.files["OneRoster.zip"] = delivery(tmp_path), 1_700_000_000.0
    first = look(Zone("oak"), SERVER, tmp_path / "f")
    server.fetch_error = RemoteFileChanged("its upload is going on")
    zone = look(earlier(first), SERVER, tmp_path / "f")
    assert (zone.content, zone.trouble) == (None, None)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unreachable("It did not answer."), "unreachable"),
        (LoginRefused("It refuses us."), "login_refused"),
        (HostKeyChanged("It is another."), "host_key_changed"),
        (RuntimeError("a fault of ours"), "unreachable"),
    ],
)
def test_a_server_that_cannot_be_read_is_trouble_and_not_an_empty_landing_zone(
    server: Server, tmp_path: Path, error: Exception, kind: str
) -> None:
    server.files["OneRoster.zip"] = delivery(tmp_path), 1_700_000_000.0
    before = look(Zone("oak"), SERVER, tmp_path / "f")
    server.error = error
    zone = look(before, SERVER, tmp_path / "f")
    assert zone.trouble is not None and zone.trouble.kind == kind
    assert zone.files == before.files
    again = look(zone, SERVER, tmp_path / "f")
    assert again.trouble is not None and again.trouble.since == zone.trouble.since
    server.error = None
    assert look(again, SERVER, tmp_path / "f").trouble is None


def test_a_password_that_is_not_set_is_a_login_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OAK", raising=False)
    zone = look(Zone("oak"), SERVER, tmp_path)
    assert zone.trouble is not None and zone.trouble.kind == "login_refused"
    assert "OAK" in zone.trouble.says


def test_a_file_that_is_too_large_is_not_fetched_and_left_to_the_import_to_refuse(
    server: Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["OneRoster.zip"] = delivery(tmp_path), 1_700_000_000.0

    class Small:
        zip_bytes = file_bytes = 10

    monkeypatch.setattr(foreign, "Limits", Small)
    zone = look(earlier(look(Zone("oak"), SERVER, tmp_path / "f")), SERVER, tmp_path / "f")
    assert zone.content is not None and str(zone.content.key).startswith("unread-")
    with pytest.raises(DeliveryRefused):
        landing_files(settings, "oak", district())
    assert server.fetched == []


def test_an_import_fetches_what_is_there_now_and_nothing_else_stays(
    server: Server, settings: Settings
) -> None:
    server.files = {"users.csv": (b"1", 5.0), "orgs.csv": (b"2", 5.0), "other.txt": (b"3", 5.0)}
    found = landing_files(settings, "oak", district())
    assert [p.name for p in found.paths] == ["orgs.csv", "users.csv"]
    del server.files["orgs.csv"]
    server.files["users.csv"] = b"4", 6.0
    (path,) = landing_files(settings, "oak", district()).paths
    assert path.read_bytes() == b"4"
    assert server.fetched == ["users.csv", "orgs.csv", "users.csv"]


def test_an_import_of_what_a_look_has_fetched_does_not_ask_the_server_again(
    server: Server, settings: Settings, tmp_path: Path
) -> None:
    server.files["OneRoster.zip"] = delivery(tmp_path), 1_700_000_000.0
    folder = settings.fetched / "oak"
    zone = look(earlier(look(Zone("oak"), SERVER, folder)), SERVER, folder)
    server.error = Unreachable("It does not answer.")
    assert zone.content is not None
    landed = landing_files(settings, "oak", district(), zone.content.key)
    assert landed.paths == [folder / "OneRoster.zip"]
    forget_fetched(settings, landed)
    assert list(folder.iterdir()) == []
    with pytest.raises(Unreachable):
        landing_files(settings, "oak", district(), "another")


def test_a_server_that_does_not_answer_delays_no_other(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    silent = SERVER.model_copy(update={"host": "silent.example"})

    @contextmanager
    def connect(endpoint: client.Endpoint) -> Iterator[Server]:
        if endpoint.host == "silent.example":
            released.wait(60)
            raise Unreachable("It did not answer.")
        yield server

    monkeypatch.setattr(client, "connect", connect)
    monkeypatch.setattr("roster_pipeline.landing.survey.FOREIGN_PATIENCE_S", 0.5)
    districts = {"ash": district(silent), "elm": district(), "oak": district()}
    remotes = Remotes()
    now = datetime.now(UTC)
    try:
        zones: dict[str, Zone] = {}
        for _ in range(2):
            seen = survey(settings, districts, zones, list(districts), now, lambda: 30.0, remotes)
            zones = seen.zones
        assert set(seen.arrivals) == {"elm", "oak"}
        assert zones["ash"].looked_at is None
    finally:
        released.set()
    found = remotes.collect(60)
    assert found["ash"].trouble is not None


def test_a_server_is_not_asked_at_every_survey(server: Server, settings: Settings) -> None:
    remotes, now = Remotes(), datetime.now(UTC)
    zone = Zone("oak", looked_at=now)
    for minutes, looked in ((1, False), (3, True)):
        at = now + timedelta(minutes=minutes)
        seen = survey(settings, {"oak": district()}, {"oak": zone}, ["oak"], at, lambda: 9, remotes)
        assert bool(seen.changed) is looked
