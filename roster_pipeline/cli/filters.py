"""`roster filter-preview`: what filter rules would leave, before they are saved."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from roster_pipeline.cli.lookup import DistrictArgument, open_or_fail
from roster_pipeline.cli.output import Format, FormatOption, console, fail, print_json, table
from roster_pipeline.settings import load_settings


def filter_preview(
    district_id: DistrictArgument,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="A rule as in the district's file, such as '{student: {grades: {in: [KG]}}}'; may "
            "be given several times. Without, the rules that are saved."
        ),
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Say how many records of each type the filter rules would leave of the last delivery."""
    from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district
    from roster_pipeline.findings import DeliveryRefused
    from roster_pipeline.landing.base import load_base
    from roster_pipeline.landing.store import store_at
    from roster_pipeline.reports.filter_preview import preview_filters
    from roster_pipeline.warehouse import ledger
    from roster_pipeline.warehouse.database import reading

    home = load_settings()
    try:
        settings = load_district(home.districts, district_id, filters=rule)
    except (UnknownDistrict, DistrictFileError) as error:
        fail(str(error), 2)
    with reading(open_or_fail()) as conn:
        last = ledger.last_accepted(conn, district_id)
    if last is None:
        fail(f"{district_id} has no imported delivery yet; a preview needs one.", 2)
    base = load_base(store_at(home.archive_url), district_id, last.effective_hash)
    try:
        lines = preview_filters(base, settings, datetime.now(settings.zone).date())
    except DeliveryRefused as refusal:
        fail(str(refusal), 2)
    if format is Format.json:
        print_json([{**vars(line), "filtered": line.filtered} for line in lines])
        return
    rows = [
        [line.enrollment_type.replace("_", " "), line.records, line.left, line.filtered]
        for line in lines
    ]
    console().print(table(["", "records", "left", "filtered"], rows))
