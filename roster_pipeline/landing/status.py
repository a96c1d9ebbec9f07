"""What is staged in each landing zone, since when, and ready or waiting for what; for people to
read. Looks, and leaves no trace of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.landing.arrival import WatchedFile, decide, watch
from roster_pipeline.landing.foreign import own_server
from roster_pipeline.landing.survey import look_into
from roster_pipeline.landing.zones import Zone, read_zones
from roster_pipeline.settings import Settings
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.ledger import Import


@dataclass(frozen=True)
class LandingStatus:
    """A landing zone.

    server: `hosted`, or where a server of the district's own is. files: what lies there; delivery:
    which of them would be imported. since: when one of these last changed. state: `trouble` when
    it cannot be looked at, `taken` when what lies there has been taken by an import (taken_by),
    whatever became of it; `ready` when that is still to come; else `empty` or `waiting`. why: for
    what, or what the trouble is. near: of files that are not taken, the name they should have.
    """

    district_id: str
    server: str
    trigger: tuple[str, ...]
    files: tuple[WatchedFile, ...]
    delivery: tuple[str, ...]
    since: datetime | None
    state: Literal["empty", "waiting", "ready", "taken", "trouble"]
    taken_by: Import | None
    why: str
    near: Mapping[str, str]
    last_import: Import | None


def landing_status(
    settings: Settings, conn: Connection, districts: Mapping[str, DistrictSettings], now: datetime
) -> list[LandingStatus]:
    """The landing zones of the districts whose SFTP app is active, by district. A server of a
    district's own is shown as the last look saw it."""
    zones = read_zones(conn)
    return [
        _status(
            settings, conn, district_id, district, zones.get(district_id, Zone(district_id)), now
        )
        for district_id, district in sorted(districts.items())
        if district.apps.sftp is not None
    ]


def _status(
    settings: Settings,
    conn: Connection,
    district_id: str,
    district: DistrictSettings,
    zone: Zone,
    now: datetime,
) -> LandingStatus:
    server = own_server(district)
    unseen = zone.looked_at is None
    if server is None:
        try:
            seen = look_into(settings.landing / district_id)
            zone = zone.seen(watch(zone.files, seen, now.timestamp()), now)
        except OSError as error:
            says = f"The landing zone cannot be read: {error.strerror or error}."
            zone = zone.troubled("unreachable", says, now)
    at = (zone.looked_at or now).timestamp()
    arrival = decide(zone.files, at, zone.content, our_clock=server is None)
    taken_by = None
    if zone.taken_import_id and not zone.trouble and arrival.key == zone.taken:
        taken_by = ledger.get_import(conn, zone.taken_import_id)
    state = "waiting" if arrival.state == "settled" else arrival.state
    why = arrival.why
    if zone.trouble:
        why = zone.trouble.says
    elif unseen and (server or zone.files):
        why = "the sensor has not looked there yet; it does while `roster ui` runs"
    sftp = district.apps.sftp
    return LandingStatus(
        district_id=district_id,
        server=f"{server.host}:{server.port}" if server else "hosted",
        trigger=sftp.trigger if sftp else (),
        files=zone.files,
        delivery=arrival.files,
        since=None if arrival.since is None else datetime.fromtimestamp(arrival.since, UTC),
        state="trouble" if zone.trouble else "taken" if taken_by else state,
        taken_by=taken_by,
        why=why,
        near=arrival.near,
        last_import=next(iter(ledger.imports(conn, district_id, 1)), None),
    )
