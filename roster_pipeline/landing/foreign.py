"""Districts' own servers as landing zones: looked at and fetched from, in the background.

What is fetched lies in a private folder for each district, with the times it has on the server, so
that only what changed is fetched again, and an import reads local files. A look never waits for a
server: it asks, and collects what has been answered.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from roster_pipeline.districts.sections import ForeignServer
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.findings import DeliveryRefused, finding
from roster_pipeline.landing.arrival import (
    Content,
    SeenFile,
    decide,
    delivery_of,
    unread_key,
    watch,
)
from roster_pipeline.landing.intake import ZIP_NAME, Landed, delivery_name, landed_files
from roster_pipeline.landing.wholeness import examine
from roster_pipeline.landing.zones import TroubleKind, Zone
from roster_pipeline.oneroster.package import Limits
from roster_pipeline.settings import Settings

if TYPE_CHECKING:
    from roster_pipeline.landing.client import Remote

WORKERS = 8
_log = logging.getLogger(__name__)


def own_server(district: DistrictSettings) -> ForeignServer | None:
    """The server of a district's own from which we fetch; None when we host its landing zone."""
    sftp = district.apps.sftp
    return sftp.server if sftp is not None and isinstance(sftp.server, ForeignServer) else None


def landing_files(
    settings: Settings, district_id: str, district: DistrictSettings, content: str | None = None
) -> Landed:
    """What lies in a district's landing zone, fetched first where that is on its own server.

    content: what a look saw there; when that is what it fetched, the server is not asked again.
    Raises DeliveryRefused when nothing can be taken, RemoteError when the server cannot be read.
    """
    server = own_server(district)
    if server is None:
        return landed_files(settings.landing, district_id)
    if content is not None:
        with suppress(DeliveryRefused):
            landed = landed_files(settings.fetched, district_id)
            if delivery_name(landed.paths) == content:
                return landed
    from roster_pipeline.landing.client import connect, endpoint_of

    with connect(endpoint_of(server)) as remote:
        seen = remote.list_files()
        fetch(remote, seen, settings.fetched / district_id)
    return landed_files(settings.fetched, district_id)


def forget_fetched(settings: Settings, landed: Landed) -> None:
    """Delete what was fetched, once it is in the archive."""
    for path in landed.paths:
        if path.is_relative_to(settings.fetched):
            path.unlink(missing_ok=True)


def fetch(remote: Remote, seen: Sequence[SeenFile], folder: Path) -> None:
    """Bring a folder to the delivery that was seen on a server. Raises RemoteError, or
    DeliveryRefused when a file is larger than a delivery's may be."""
    delivery = delivery_of(seen)
    limits = Limits()
    for file in delivery:
        limit = limits.zip_bytes if file.name == ZIP_NAME else limits.file_bytes
        if file.size > limit:
            code = "zip_too_large" if file.name == ZIP_NAME else "file_too_large"
            raise DeliveryRefused([finding(code, file=file.name, limit=f"{limit >> 20} MB")])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in {file.name for file in delivery} and not path.name.startswith("."):
            path.unlink()
    for file in delivery:
        target = folder / file.name
        if not _is_here(file, target):
            remote.fetch(file.name, target)
            os.utime(target, (file.modified, file.modified))


def _is_here(file: SeenFile, target: Path) -> bool:
    try:
        here = target.stat()
    except FileNotFoundError:
        return False
    return (here.st_size, int(here.st_mtime)) == (file.size, int(file.modified))


class Remotes:
    """Looks at districts' own servers, a few at a time, each for as long as it takes: one that does
    not answer keeps nobody waiting but itself."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="landing")
        self._asked: dict[str, Future[Zone]] = {}
        self._lock = threading.Lock()

    def ask(self, zone: Zone, server: ForeignServer, folder: Path) -> None:
        """Begin a look, unless the last one at this zone is still going on."""
        with self._lock:
            if zone.district_id not in self._asked:
                self._asked[zone.district_id] = self._pool.submit(look, zone, server, folder)

    def collect(self, seconds: float) -> dict[str, Zone]:
        """The zones that have been looked at by now, or in these seconds."""
        with self._lock:
            asked = dict(self._asked)
        done = wait(asked.values(), max(0.0, seconds)).done
        with self._lock:
            ready = {name: future for name, future in asked.items() if future in done}
            for name in ready:
                self._asked.pop(name, None)
        return {name: future.result() for name, future in ready.items()}


def look(zone: Zone, server: ForeignServer, folder: Path) -> Zone:
    """The zone after a look at a district's own server; a delivery that was left alone is fetched
    into the folder and read. Raises nothing: what went wrong is the zone's trouble."""
    from roster_pipeline.landing.client import (
        RemoteError,
        RemoteFileChanged,
        RemoteFileMissing,
        connect,
        endpoint_of,
    )

    now = datetime.now(UTC)
    try:
        with connect(endpoint_of(server)) as remote:
            files = watch(zone.files, remote.list_files(), now.timestamp())
            zone = zone.seen(files, now, our_clock=False)
            arrival = decide(files, now.timestamp(), zone.content, our_clock=False)
            if arrival.state != "settled":
                return zone
            try:
                fetch(remote, files, folder)
            except (RemoteFileChanged, RemoteFileMissing):  # the next look will see it
                return zone
            except DeliveryRefused:  # arrived, and too large; the import will say so
                return zone.read(Content(unread_key(files)))
        return zone.read(examine(folder, arrival.files))
    except (RemoteError, OSError) as error:
        return _troubled(zone, error, now)
    except Exception as error:
        _log.exception("A look at the server of %s ended in an error", zone.district_id)
        return _troubled(zone, error, now)


def _troubled(zone: Zone, error: Exception, now: datetime) -> Zone:
    from roster_pipeline.landing.client import (
        EndpointError,
        HostKeyChanged,
        LoginRefused,
        RemoteError,
    )

    kind: TroubleKind = "unreachable"
    if isinstance(error, LoginRefused | EndpointError):
        kind = "login_refused"
    elif isinstance(error, HostKeyChanged):
        kind = "host_key_changed"
    says = f"The look failed: {type(error).__name__}."
    if isinstance(error, RemoteError):
        says = str(error)
    return zone.troubled(kind, says, now)
