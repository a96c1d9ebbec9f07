"""The assets of the stages between what arrived and the plan, and the list of all assets.

What a stage does is in `stages/`; each asset loads its input, calls the stage, stores and reports.
"""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg
import pandas as pd

from roster_pipeline.defs import checks
from roster_pipeline.defs.intake_assets import landing_snapshot, parsed_roster
from roster_pipeline.defs.io import StagedRoster
from roster_pipeline.defs.partitions import checked_district
from roster_pipeline.defs.plan_assets import school_mapped_roster, sync_plan, warehouse_tables
from roster_pipeline.defs.quality_assets import data_quality, overview
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.defs.stage_assets import booked, run_stage, school_decisions, stage_asset
from roster_pipeline.stages.attributes import map_attributes
from roster_pipeline.stages.data_requirements import require_data
from roster_pipeline.stages.filters import filter_records
from roster_pipeline.stages.links import link_records
from roster_pipeline.stages.sanity import look_for_oddities
from roster_pipeline.stages.schools import ignore_schools
from roster_pipeline.stages.uniqueness import check_uniqueness
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.state import read_references


@stage_asset(
    StagedRoster,
    "mapped_roster",
    "Records by enrollment type, with the warehouse's attributes.",
    {"pandas", "parquet"},
    check_specs=checks.finding_specs("mapped_roster"),
)
def mapped_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    parsed_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Maps headers to attributes."""
    return run_stage(context, house, warehouse, parsed_roster, map_attributes)


@stage_asset(
    StagedRoster,
    "complete_roster",
    "Records that have the attributes they must have (Great Expectations).",
    {"pandas", "parquet"},
    check_specs=checks.finding_specs("complete_roster"),
)
def complete_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    mapped_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Leaves out records without required data."""
    suites = house.suites()
    return run_stage(
        context, house, warehouse, mapped_roster, lambda r, s: require_data(r, s, suites)
    )


@stage_asset(
    StagedRoster,
    "filtered_roster",
    "Records that the district's filter rules include.",
    {"pandas", "parquet"},
    check_specs=[checks.FILTERS_KEEP_RECORDS],
)
def filtered_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    complete_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Applies the filter rules, with the district's own date for past and future."""
    return run_stage(
        context,
        house,
        warehouse,
        complete_roster,
        lambda r, s: filter_records(r, s, datetime.now(s.zone).date()),
        lambda r: [checks.evaluate_filters(r, complete_roster.import_id)],
    )


@stage_asset(
    StagedRoster,
    "unique_roster",
    "Records that share no e-mail or id that only one may have.",
    {"pandas", "parquet"},
    check_specs=checks.finding_specs("unique_roster"),
)
def unique_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    filtered_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Checks the domains of uniqueness."""
    return run_stage(context, house, warehouse, filtered_roster, check_uniqueness)


@stage_asset(
    StagedRoster,
    "linked_roster",
    "Records all of whose references lead to a record that will be active.",
    {"pandas", "parquet"},
    check_specs=[*checks.finding_specs("linked_roster"), checks.IS_PLAUSIBLE],
)
def linked_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    unique_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Resolves references, against the delivery and what stays in the warehouse; what is of an
    ignored school has left before."""
    with booked(context, warehouse, unique_roster.import_id) as imported:
        district_id = checked_district(context.partition_key)
        decisions = school_decisions(warehouse, house, district_id, imported, unique_roster.roster)

    def known(name: str, ids: Sequence[str] | None) -> pd.DataFrame:
        with reading(warehouse.engine) as conn:
            return read_references(conn, district_id, name, ids)

    return run_stage(
        context,
        house,
        warehouse,
        unique_roster,
        lambda r, _: link_records(ignore_schools(r, decisions), known, decisions),
        lambda r: [checks.evaluate_oddities(look_for_oddities(r))],
    )


ASSETS: list[dg.AssetsDefinition] = [
    landing_snapshot,
    parsed_roster,
    mapped_roster,
    complete_roster,
    filtered_roster,
    unique_roster,
    linked_roster,
    school_mapped_roster,
    sync_plan,
    warehouse_tables,
    data_quality,
    overview,
]
