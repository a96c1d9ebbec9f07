"""`roster demo`: a sample district, a delivery of its by SFTP, the import, the summary."""

from __future__ import annotations

import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from roster_pipeline.cli.output import Format, console, fail, print_json, table
from roster_pipeline.settings import Settings, acting_user, prepare_home

if TYPE_CHECKING:
    import pandas as pd

    from roster_pipeline.landing.arrival import Arrival
    from roster_pipeline.landing.server import Serving
    from roster_pipeline.sample.faults import PlantedFault

DISTRICT = "springfield"
ZIP = "OneRoster.zip"


def run_demo(settings: Settings, students: int, format: Format = Format.table) -> None:
    """Make the sample district's delivery with planted faults, upload it by SFTP as a district
    would, import it, and compare what was found with what was planted. Ends with exit code 1 when
    they differ."""
    from roster_pipeline.cli.running import ImportNotStarted, run_import
    from roster_pipeline.cli.summary import print_summary
    from roster_pipeline.districts.files import add_district
    from roster_pipeline.oneroster.writer import write_package
    from roster_pipeline.reports.summary import import_summary
    from roster_pipeline.sample import DEMO_FAULTS, make_district, plant_faults
    from roster_pipeline.warehouse import results
    from roster_pipeline.warehouse.database import open_warehouse, reading

    prepare_home(settings)
    started = time.monotonic()
    if not (settings.districts / f"{DISTRICT}.yaml").exists():
        add_district(settings.districts, DISTRICT, "Springfield Public Schools", "America/Chicago")
    (settings.landing / DISTRICT).mkdir(mode=0o700, exist_ok=True)
    delivery = plant_faults(make_district(students), DEMO_FAULTS)
    with tempfile.TemporaryDirectory() as theirs:
        package = Path(theirs) / ZIP
        write_package(package, delivery.frames, replaced=delivery.replaced)
        port = _deliver(settings, package)
    arrival = _arrived(settings.landing / DISTRICT)
    if arrival.state != "ready":
        fail(f"What was uploaded is {arrival.state}: {arrival.why}. This is a fault of ours.")
    if format is Format.table:
        _print_uploaded(settings, students, port)
    try:
        import_id = run_import(settings, DISTRICT, "sftp", [], force=True)
    except ImportNotStarted as error:
        fail(str(error))
    with reading(open_warehouse(settings.warehouse_url)) as conn:
        summary = import_summary(conn, import_id)
        found = results.findings(conn, import_id)
    rows = [_compared(fault, found) for fault in delivery.planted]
    columns = ["planted", "rows", "found", "found elsewhere"]
    if format is Format.json:
        planted = [dict(zip(columns, row, strict=True)) for row in rows]
        print_json({"import": summary.as_json(), "planted": planted})
    else:
        print_summary(summary)
        console().print()
        console().print(table(columns, rows))
        console().print(f"\nDone in {time.monotonic() - started:.0f} seconds. Next:")
        _print_next(import_id)
    if any(planted != found_ or elsewhere for _, planted, found_, elsewhere in rows):
        fail("What was found is not what was planted; this is a fault of ours.")


def _compared(fault: PlantedFault, found: pd.DataFrame) -> tuple[str, int, int, int]:
    """A planted fault: its name, in how many rows it is, in how many of them it was found, and in
    how many others."""
    mine = found.loc[found["code"] == fault.code]
    hits = set(zip(mine["file"], mine["row"], mine["source_id"], strict=True))
    places = set(fault.rows)
    return fault.name.replace("_", " "), fault.count, len(hits & places), len(hits - places)


def _print_uploaded(settings: Settings, students: int, port: int) -> None:
    out = console()
    out.print(f"A made-up district of {students:,} students, with planted faults, has uploaded")
    out.print(f"  {settings.landing / DISTRICT / ZIP}", soft_wrap=True)
    out.print(f"by SFTP to 127.0.0.1 port {port}, as {DISTRICT} with a generated password.")
    out.print("Left alone for a minute, which this demo does not wait, the sensor imports it.\n")


def _deliver(settings: Settings, package: Path) -> int:
    """Upload a file to the district's landing zone, to a server of the demo's own; its port."""
    import asyncio

    from roster_pipeline.landing.accounts import generate_password, open_account, set_password
    from roster_pipeline.landing.server import serve
    from roster_pipeline.warehouse.database import open_warehouse

    password, who, now = generate_password(), acting_user(), datetime.now(UTC)
    engine = open_warehouse(settings.warehouse_url)
    with engine.begin() as conn:
        username = open_account(conn, DISTRICT, None, who, now).username
        set_password(conn, DISTRICT, password, who, now)
    engine.dispose()

    async def upload() -> int:
        async with serve(settings, "127.0.0.1", 0) as serving:
            await asyncio.to_thread(_upload, serving, username, password, package)
            return serving.port

    return asyncio.run(upload())


def _upload(serving: Serving, username: str, password: str, package: Path) -> None:
    """What a district does: log in to a server whose host key it knows, and put a file there."""
    from roster_pipeline.landing.client import Endpoint, connect

    host_key = serving.host_keys[0]
    endpoint = Endpoint(serving.host, serving.port, username, host_key, password=password)
    with connect(endpoint) as remote:
        remote.put(package, package.name)


def _arrived(zone: Path) -> Arrival:
    """What the sensor decides after two looks, between which it lets a minute pass in which nobody
    writes. The demo does not wait for it."""
    from roster_pipeline.landing.arrival import ZIP_QUIET_S, decide, watch
    from roster_pipeline.landing.survey import look_into
    from roster_pipeline.landing.wholeness import examine

    first = time.time()
    later = first + ZIP_QUIET_S
    files = watch(watch((), look_into(zone), first), look_into(zone), later)
    return decide(files, later, examine(zone, [ZIP]))


def _print_next(import_id: int) -> None:
    """What to try next, as it can be typed here."""
    program = "roster" if shutil.which("roster") else ".venv/bin/roster"
    for command, why in (
        (f"findings {import_id}", "each finding with file, row and remedy"),
        (f"overview {DISTRICT}", "what the warehouse now holds, by school"),
        (f"import {DISTRICT}", "the same delivery again: unchanged, nothing is done"),
        ("ui", "the import in the Dagster UI"),
        ("district add ID --name …", "a district of your own"),
    ):
        console().print(f"  {program} {command:<26} {why}")
