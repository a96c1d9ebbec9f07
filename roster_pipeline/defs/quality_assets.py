"""The assets over what imports did: `data_quality` and `overview`.

Each import renews them when its run ends (see `views`); materialised by hand, they say the same
from the warehouse as it is now, also while an import is running.
"""

from typing import Any

import dagster as dg

from roster_pipeline.defs.partitions import DISTRICTS, checked_district
from roster_pipeline.defs.plan_assets import WAREHOUSE_SPECS
from roster_pipeline.defs.resources import HouseResource
from roster_pipeline.defs.stage_assets import OWNERS
from roster_pipeline.defs.views import overview_metadata, quality_metadata
from roster_pipeline.reports.quality import import_quality
from roster_pipeline.warehouse import ledger, queries
from roster_pipeline.warehouse.database import opened, reading

GROUP = "reports"
NO_IMPORT: dict[str, Any] = {
    "status": "There was no import yet. `roster import ID`, or the job import_roster, makes one."
}


@dg.asset(
    deps=WAREHOUSE_SPECS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"sql"},
    partitions_def=DISTRICTS,
    description="How good the last delivery was: findings by rule, which are new and which are "
    "gone, and the share of rows without any (the score). Each import renews it; before a "
    "district's first one there is nothing to see.",
)
def data_quality(context: dg.AssetExecutionContext, house: HouseResource) -> dg.MaterializeResult:
    """The view over the district's last import."""
    settings, district_id = house.settings(), checked_district(context.partition_key)
    with opened(settings.warehouse_url) as engine, reading(engine) as conn:
        imported = ledger.newest_ended(conn, district_id)
        metadata = NO_IMPORT
        if imported is not None:
            metadata = quality_metadata(settings.reports, import_quality(conn, imported.id))
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    deps=WAREHOUSE_SPECS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"sql"},
    partitions_def=DISTRICTS,
    description="What the warehouse holds of a district: active records by type and by school. "
    "Each import renews it; before a district's first one there is nothing to see.",
)
def overview(context: dg.AssetExecutionContext, house: HouseResource) -> dg.MaterializeResult:
    """The district's records in numbers."""
    district_id = checked_district(context.partition_key)
    with opened(house.settings().warehouse_url) as engine, reading(engine) as conn:
        metadata = overview_metadata(queries.overview(conn, district_id), district_id)
    return dg.MaterializeResult(metadata=metadata)
