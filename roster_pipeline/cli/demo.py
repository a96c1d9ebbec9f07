"""`roster demo`: a sample district, its landing zone, one delivery, the import, the summary."""

from __future__ import annotations

import shutil
import time

from roster_pipeline.cli.output import Format, console, fail, print_json, table
from roster_pipeline.settings import Settings, prepare_home

DISTRICT = "springfield"


def run_demo(settings: Settings, students: int, format: Format = Format.table) -> None:
    """Make the sample district's delivery with planted faults, import it, and compare what was
    found with what was planted. Ends with exit code 1 when they differ."""
    from roster_pipeline.cli.imports import print_summary
    from roster_pipeline.cli.running import ImportNotStarted, run_import
    from roster_pipeline.districts.files import add_district
    from roster_pipeline.oneroster.writer import write_package
    from roster_pipeline.reports.summary import import_summary
    from roster_pipeline.sample import DEMO_FAULTS, make_district, plant_faults
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import open_warehouse, reading

    prepare_home(settings)
    started = time.monotonic()
    if not (settings.districts / f"{DISTRICT}.yaml").exists():
        add_district(settings.districts, DISTRICT, "Springfield Public Schools", "America/Chicago")
    landing = settings.landing / DISTRICT
    landing.mkdir(mode=0o700, exist_ok=True)
    delivery = plant_faults(make_district(students), DEMO_FAULTS)
    package = landing / "OneRoster.zip"
    write_package(package, delivery.frames, replaced=delivery.replaced)
    if format is Format.table:
        console().print(f"A made-up district of {students:,} students, with planted faults:")
        console().print(f"  {package}\n", soft_wrap=True)
    try:
        import_id = run_import(settings, DISTRICT, "sftp", [], force=True)
    except ImportNotStarted as error:
        fail(str(error))
    with reading(open_warehouse(settings.warehouse_url)) as conn:
        summary = import_summary(conn, import_id)
        found = ledger.findings(conn, import_id)
    rows = []
    for fault in delivery.planted:
        places = set(fault.rows)
        mine = found.loc[found["code"] == fault.code]
        hits = set(zip(mine["file"], mine["row"], mine["source_id"], strict=True))
        rows.append(
            [fault.name.replace("_", " "), fault.count, len(hits & places), len(hits - places)]
        )
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
