"""What the running server lets the sensor see of an upload that ends too early, stalls, or comes
while an import is at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roster_pipeline.landing.arrival import ZIP_QUIET_S, Arrival, decide, watch
from roster_pipeline.landing.intake import archive_delivery, landed_files
from roster_pipeline.landing.store import Disk
from roster_pipeline.landing.survey import look_into
from roster_pipeline.landing.wholeness import examine
from roster_pipeline_tests.landing.zone import Zone, make_zone, running
from roster_pipeline_tests.oneroster.packages import contents, entries, zipped

NAME = "OneRoster.zip"
LATER = 20 * 60
"""Seconds after which nobody has written any more."""


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    made = make_zone(tmp_path)
    with running(made):
        yield made
    made.engine.dispose()


@pytest.fixture
def delivery(tmp_path: Path) -> bytes:
    return zipped(tmp_path / "theirs" / NAME, entries(contents())).read_bytes()


def looked(zone: Zone, later: float = LATER) -> Arrival:
    """What two looks come to, one now and one later."""
    now = time.time()
    first = watch((), look_into(zone.folder()), now)
    files = watch(first, look_into(zone.folder()), now + later)
    arrival = decide(files, now + later, None)
    if arrival.state != "settled":
        return arrival
    return decide(files, now + later, examine(zone.folder(), arrival.files))


def test_a_half_that_the_client_closed_itself_is_not_imported_and_the_whole_is(
    zone: Zone, delivery: bytes
) -> None:
    with zone.client() as client:
        with client.open(NAME, "wb") as remote:
            remote.write(delivery[: len(delivery) // 2])
        half = looked(zone)
        assert (half.state, half.why) == ("waiting", f"{NAME} is not whole yet")
        assert half.broken_off

        with client.open(NAME, "wb") as remote:
            remote.write(delivery)
    assert (looked(zone).state, looked(zone).files) == ("ready", (NAME,))
    assert looked(zone, ZIP_QUIET_S - 5).state == "waiting"


def test_an_upload_that_stalls_is_not_imported_before_it_is_whole(
    zone: Zone, delivery: bytes
) -> None:
    with zone.client() as client:
        remote = client.open(NAME, "wb")
        remote.write(delivery[: len(delivery) // 2])
        remote.flush()
        assert client.stat("/").st_size == 0  # answered after the write
        assert client.listdir() == []
        stalled = looked(zone)
        assert (stalled.state, stalled.files, stalled.key) == ("waiting", (), None)

        remote.write(delivery[len(delivery) // 2 :])
        remote.close()
    assert looked(zone).state == "ready"


def test_an_import_keeps_its_copy_when_another_delivery_is_uploaded_meanwhile(
    zone: Zone, delivery: bytes, tmp_path: Path
) -> None:
    def uploaded(content: bytes) -> None:
        with zone.client() as client, client.open(NAME, "wb") as remote:
            remote.write(content)

    def taken() -> bytes:
        landed = landed_files(zone.settings.landing, "oak")
        archive = Path(zone.settings.archive_url)
        copies.append(archive / archive_delivery(Disk(archive), "oak", landed.paths).path / NAME)
        return copies[-1].read_bytes()

    copies: list[Path] = []
    other = zipped(tmp_path / "other.zip", entries(contents(version="1.0"))).read_bytes()
    uploaded(delivery)
    with (zone.folder() / NAME).open("rb") as reading:
        begun = reading.read(10)
        uploaded(other)
        assert begun + reading.read() == delivery, "a copy that has begun is of one file"
    uploaded(delivery)
    assert taken() == delivery
    uploaded(other)
    assert copies[0].read_bytes() == delivery
    assert taken() == other
