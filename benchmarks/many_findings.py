"""Many findings from the stage into the database: `python benchmarks/many_findings.py`.

Takes the e-mail, the last name and the grades from 100,000 students, so that one import has
300,000 findings, and times the stage that tells them and the database that keeps them.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.effective import apply_delivery
from roster_pipeline.oneroster.package import open_package
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.reports.spreadsheet import spreadsheet_csv
from roster_pipeline.sample import make_district
from roster_pipeline.settings import load_settings
from roster_pipeline.stages.attributes import map_attributes
from roster_pipeline.stages.data_requirements import load_suites, require_data
from roster_pipeline.stages.parse import parse
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.database import open_warehouse, reading


def main() -> None:
    """Run the benchmark and print its figures."""
    settings = DistrictSettings(name="Bench")
    with tempfile.TemporaryDirectory() as folder:
        frames = make_district(100_000)
        users = frames["users"]
        student = users["role"] == "student"
        blank = {c: users[c].mask(student, pd.NA) for c in ("email", "familyName", "grades")}
        write_package(Path(folder) / "d", {**frames, "users": users.assign(**blank)})
        delivery = read_delivery(open_package([Path(folder) / "d"]))
        roster = map_attributes(parse(apply_delivery(delivery, {}), settings).roster, settings)
        suites = load_suites(load_settings().expectations)
        require_data(roster.roster, DistrictSettings(name="Warm"), suites)

        started = time.perf_counter()
        findings = require_data(roster.roster, settings, suites).findings
        told = time.perf_counter()
        engine = open_warehouse(f"sqlite:///{folder}/warehouse.db")
        number = ledger.start_import(engine, "bench", "sftp", None, False, "", datetime.now(UTC))
        with engine.begin() as conn:
            results.record_findings(conn, number, findings)
        kept = time.perf_counter()
        with reading(engine) as conn:
            text = spreadsheet_csv(results.findings(conn, number))
        written = time.perf_counter()
    print(f"{len(findings):,} findings, {len(text) / 1e6:.0f} MB as CSV")
    print(f"told by the stage       {told - started:5.1f} s")
    print(f"kept by SQLite          {kept - told:5.1f} s")
    print(f"read and written as CSV {written - kept:5.1f} s")


if __name__ == "__main__":
    main()
