"""`roster demo`: a sample district, its landing zone, one delivery, the import, the summary."""

from __future__ import annotations

import shutil
import time

from roster_pipeline.cli.output import console, fail, table
from roster_pipeline.settings import Settings, prepare_home

DISTRICT = "springfield"


def run_demo(settings: Settings, students: int) -> None:
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

    out = console()
    prepare_home(settings)
    started = time.monotonic()
    if not (settings.districts / f"{DISTRICT}.yaml").exists():
        add_district(settings.districts, DISTRICT, "Springfield Public Schools", "America/Chicago")
    landing = settings.landing / DISTRICT
    landing.mkdir(mode=0o700, exist_ok=True)
    delivery = plant_faults(make_district(students), DEMO_FAULTS)
    package = landing / "OneRoster.zip"
    write_package(package, delivery.frames, replaced=delivery.replaced)
    out.print(f"A made-up district of {students:,} students, with faults planted in its files:")
    out.print(f"  {package}", soft_wrap=True)
    out.print()
    try:
        import_id = run_import(settings, DISTRICT, "sftp", [], force=True)
    except ImportNotStarted as error:
        fail(str(error))
    with reading(open_warehouse(settings.warehouse_url)) as conn:
        summary = import_summary(conn, import_id)
        found = ledger.findings(conn, import_id)
    print_summary(summary)

    rows = []
    for fault in delivery.planted:
        places = set(fault.rows)
        mine = found.loc[found["code"] == fault.code]
        hits = set(zip(mine["file"], mine["row"], mine["source_id"], strict=True))
        rows.append(
            [fault.name.replace("_", " "), fault.count, len(hits & places), len(hits - places)]
        )
    out.print()
    out.print(table(["planted", "rows", "found", "found elsewhere"], rows))
    out.print()
    out.print(f"Done in {time.monotonic() - started:.0f} seconds. Next:")
    program = "roster" if shutil.which("roster") else ".venv/bin/roster"
    for command, why in (
        (f"roster findings {import_id}", "each finding with file, row and remedy"),
        (f"roster overview {DISTRICT}", "what the warehouse now holds, by school"),
        (f"roster import {DISTRICT}", "the same delivery again: unchanged, nothing is done"),
        ("roster ui", "the import in the Dagster UI"),
        ("roster district add ID --name …", "a district of your own"),
    ):
        out.print(f"  {command.replace('roster', program, 1):<{28 + len(program)}} {why}")
    if any(planted != found_ or elsewhere for _, planted, found_, elsewhere in rows):
        fail("What was found is not what was planted; this is a fault of ours.")
