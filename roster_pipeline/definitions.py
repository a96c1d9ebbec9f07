"""What Dagster loads; nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from roster_pipeline.defs.assets import ASSETS
from roster_pipeline.defs.io import ArtifactIOManager
from roster_pipeline.defs.jobs import APPROVE_IMPORT, IMPORT_ROSTER, UNDO_IMPORT
from roster_pipeline.defs.resources import HouseResource, WarehouseResource


def build_defs(*, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """All definitions; tests and variants replace resources by name."""
    return dg.Definitions(
        assets=ASSETS,
        jobs=[IMPORT_ROSTER, APPROVE_IMPORT, UNDO_IMPORT],
        executor=dg.in_process_executor,
        resources={
            "house": HouseResource(),
            "warehouse": WarehouseResource(),
            "io_manager": ArtifactIOManager(),
            **(resource_overrides or {}),
        },
    )


defs = build_defs()
