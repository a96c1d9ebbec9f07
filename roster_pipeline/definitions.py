"""What Dagster loads; nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from roster_pipeline.defs.assets import ASSETS
from roster_pipeline.defs.io import ArtifactIOManager
from roster_pipeline.defs.jobs import (
    APPROVE_IMPORT,
    IMPORT_ROSTER,
    PURGE_EXPIRED,
    PURGE_SCHEDULE,
    REJECT_IMPORT,
    UNDO_IMPORT,
)
from roster_pipeline.defs.mail import (
    SEND_DAILY_DIGEST,
    daily_digest_schedule,
    mail_sensor,
    run_failure_sensor,
)
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.defs.schedules import sync_schedule
from roster_pipeline.defs.sensors import landing_zone_sensor


def build_defs(*, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """All definitions; tests and variants replace resources by name."""
    return dg.Definitions(
        assets=ASSETS,
        jobs=[
            IMPORT_ROSTER,
            APPROVE_IMPORT,
            REJECT_IMPORT,
            UNDO_IMPORT,
            PURGE_EXPIRED,
            SEND_DAILY_DIGEST,
        ],
        schedules=[sync_schedule, daily_digest_schedule, PURGE_SCHEDULE],
        sensors=[landing_zone_sensor, mail_sensor, run_failure_sensor],
        executor=dg.in_process_executor,
        resources={
            "house": HouseResource(),
            "warehouse": WarehouseResource(),
            "io_manager": ArtifactIOManager(),
            **(resource_overrides or {}),
        },
    )


defs = build_defs()
