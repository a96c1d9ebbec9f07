"""Looks into many landing zones, in the time there is, and says what has arrived in each.

Looking at a hosted zone costs next to nothing; reading what is in a delivery that has settled does.
So all hosted zones are looked at, and read from one district on for as long as there is time; the
next survey goes on where this one stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.landing.arrival import (
    Arrival,
    Content,
    SeenFile,
    decide,
    delivery_of,
    unread_key,
    watch,
)
from roster_pipeline.landing.foreign import Remotes, own_server
from roster_pipeline.landing.intake import UPLOADING
from roster_pipeline.landing.wholeness import examine
from roster_pipeline.landing.zones import Zone
from roster_pipeline.settings import Settings

FOREIGN_EVERY = timedelta(minutes=2)
TROUBLED_EVERY = timedelta(minutes=10)
"""How often a server of a district's own is looked at; and one that does not let us: a login that
is tried too often is blocked."""
FOREIGN_PATIENCE_S = 5.0
"""How long a survey waits for answers of such servers; what comes later, the next one sees."""
WHOLE_S = 20.0
"""With so much time, a survey has the time it takes to read any delivery of a usual size."""


@dataclass(frozen=True)
class Survey:
    """What a survey found.

    zones: the districts' as they are now. changed: those that must be saved. arrivals: what the
    state of each comes to that could be looked at. stopped_at: the first district for whose
    delivery there was no time.
    """

    zones: dict[str, Zone]
    changed: list[Zone]
    arrivals: dict[str, Arrival]
    stopped_at: str | None


class _OutOfTimeError(Exception):
    """There is no time to read on."""


def look_into(folder: Path) -> list[SeenFile]:
    """The plain files in a hosted landing zone, and uploads that are going on; no links, nothing
    else that is hidden. A folder that is not there is empty. Raises OSError."""
    seen = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and not UPLOADING.match(entry.name)
                if hidden or not entry.is_file(follow_symlinks=False):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # renamed or deleted just now
                    continue
                seen.append(SeenFile(entry.name, status.st_size, status.st_mtime))
    except FileNotFoundError:
        return []
    return seen


def survey(
    settings: Settings,
    districts: Mapping[str, DistrictSettings],
    known: Mapping[str, Zone],
    order: Sequence[str],
    now: datetime,
    time_left: Callable[[], float],
    remotes: Remotes,
) -> Survey:
    """Look into these districts' landing zones.

    known: the zones from the looks before. order: the districts, in the order in which they get
    their turn. time_left: seconds until the survey must end.
    """
    zones = {d: known.get(d, Zone(d)) for d in order}
    servers = {d: server for d in order if (server := own_server(districts[d]))}
    for district_id, server in servers.items():
        zone = zones[district_id]
        every = TROUBLED_EVERY if zone.trouble else FOREIGN_EVERY
        if zone.looked_at is None or now - zone.looked_at >= every:
            remotes.ask(zone, server, settings.fetched / district_id)
    hosted = [d for d in order if d not in servers]
    looked: list[str] = []
    for district_id in hosted:
        if time_left() < FOREIGN_PATIENCE_S:
            break
        zones[district_id] = _look(settings.landing / district_id, zones[district_id], now)
        looked.append(district_id)
    settled = [
        zones[d]
        for d in looked
        if zones[d].trouble is None and _arrival(zones[d], our_clock=True).state == "settled"
    ]
    read, stopped_at = _read_in_turn(settings.landing, settled, time_left)
    zones |= read
    stopped_at = stopped_at or next(iter(hosted[len(looked) :]), None)
    for district_id, zone in remotes.collect(min(FOREIGN_PATIENCE_S, time_left())).items():
        if district_id in servers:
            zones[district_id] = zones[district_id].after(zone)
    arrivals = {
        d: _arrival(zones[d], our_clock=d not in servers)
        for d in [*servers, *looked]
        if zones[d].looked_at and zones[d].trouble is None
    }
    changed = [z for d, z in zones.items() if _is_another(z, known.get(d), hosted=d not in servers)]
    return Survey(zones, changed, arrivals, stopped_at)


def _is_another(zone: Zone, before: Zone | None, *, hosted: bool) -> bool:
    """Whether a zone must be saved: of a hosted one not for the time of the look alone."""
    if before is not None and hosted:
        before = replace(before, looked_at=zone.looked_at)
    return zone != before


def _look(folder: Path, zone: Zone, now: datetime) -> Zone:
    """The zone after a look at a hosted one. One that was as it is keeps its state, so that it need
    not be saved."""
    try:
        seen = look_into(folder)
    except OSError as error:
        says = f"The landing zone cannot be read: {error.strerror or error}."
        return zone.troubled("unreachable", says, now)
    return zone.seen(watch(zone.files, seen, now.timestamp()), now)


def _arrival(zone: Zone, *, our_clock: bool) -> Arrival:
    """What the last look at a zone comes to."""
    assert zone.looked_at
    return decide(zone.files, zone.looked_at.timestamp(), zone.content, our_clock=our_clock)


def _read_in_turn(
    landing: Path, settled: Sequence[Zone], time_left: Callable[[], float]
) -> tuple[dict[str, Zone], str | None]:
    """The zones whose deliveries there was time to read, by district, and the first district for
    which there was none."""
    read: dict[str, Zone] = {}
    has_time = time_left() >= WHOLE_S
    for zone in settled:
        try:
            read[zone.district_id] = _read(landing / zone.district_id, zone, time_left)
        except _OutOfTimeError:
            if zone is not settled[0] or not has_time:
                return read, zone.district_id
            # It had all the time there is; the import reads it anyway.
            read[zone.district_id] = zone.read(Content(unread_key(zone.files)))
    return read, None


def _read(folder: Path, zone: Zone, time_left: Callable[[], float]) -> Zone:
    """The zone, the delivery in it having been read; as it was, when that changed meanwhile. Raises
    _OutOfTimeError."""

    def going_on() -> None:
        if time_left() < FOREIGN_PATIENCE_S:
            raise _OutOfTimeError

    going_on()
    delivery = delivery_of(zone.files)
    before = {(f.name, f.size, f.modified) for f in delivery}
    try:
        content = examine(folder, [f.name for f in delivery], going_on=going_on)
        after = {(f.name, f.size, f.modified) for f in look_into(folder)}
    except OSError:  # a file that is gone; what else it may be, the next look says
        return zone
    return zone.read(content) if before <= after else zone
