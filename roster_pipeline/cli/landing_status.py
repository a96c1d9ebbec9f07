"""`roster landing status`: what is staged in the landing zones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from roster_pipeline.cli.lookup import district_must_exist, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import load_settings, prepare_home

if TYPE_CHECKING:
    from roster_pipeline.landing.status import LandingStatus


def status(
    district_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One district; without, all.")
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """What lies in the landing zones, since when, ready or waiting for what; the last import."""
    from roster_pipeline.districts.files import load_districts
    from roster_pipeline.districts.settings import DistrictSettings
    from roster_pipeline.landing.status import landing_status
    from roster_pipeline.warehouse.database import reading

    settings = load_settings()
    prepare_home(settings)
    known = load_districts(settings.districts)
    if district_id is not None:
        district_must_exist(district_id)
        if not isinstance(known[district_id], DistrictSettings):
            fail(str(known[district_id]), 2)
        known = {district_id: known[district_id]}
    readable = {d: k for d, k in known.items() if isinstance(k, DistrictSettings)}
    with reading(open_or_fail()) as conn:
        zones = landing_status(settings, conn, readable, datetime.now(UTC))
    if format is Format.json:
        print_json([_zone_as_json(zone) for zone in zones])
        return
    out = console()
    for wrong in sorted(known.keys() - readable.keys()):
        out.print(f"{wrong} is left out: its file has mistakes (roster district check {wrong}).")
    if not zones:
        out.print("No district has a landing zone.")
        return
    rows = [
        [
            zone.district_id,
            zone.server,
            ", ".join(zone.delivery),
            f"{zone.since:%Y-%m-%d %H:%M} UTC" if zone.since else None,
            _state(zone),
            f"{zone.last_import.id} {zone.last_import.status}" if zone.last_import else None,
        ]
        for zone in zones
    ]
    out.print(table(["district", "server", "delivery", "since", "state", "last import"], rows))
    for zone in zones:
        for name, right in sorted(zone.near.items()):
            out.print(f"{zone.district_id}: {name} is not taken; it must be named {right}.")


def _state(zone: LandingStatus) -> str:
    """«taken by import 4 (held)», «waiting: quiet for 20 s of 60 s»."""
    if zone.taken_by:
        return f"taken by import {zone.taken_by.id} ({zone.taken_by.status.replace('_', ' ')})"
    return f"{zone.state}: {zone.why}" if zone.why else zone.state


def _zone_as_json(zone: LandingStatus) -> dict[str, object]:
    last = zone.last_import
    return {
        "district": zone.district_id,
        "server": zone.server,
        "trigger": zone.trigger,
        "files": [
            {
                "file": file.name,
                "size": file.size,
                "modified_at": datetime.fromtimestamp(file.modified, UTC),
                "taken": file.name in zone.delivery,
            }
            for file in zone.files
        ],
        "since": zone.since,
        "state": zone.state,
        "taken_by": zone.taken_by.id if zone.taken_by else None,
        "why": zone.why or None,
        "near_misses": zone.near,
        "last_import": last.id if last else None,
        "status": last.status if last else None,
        "started_at": last.started_at if last else None,
    }
