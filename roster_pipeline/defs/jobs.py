"""Jobs: what a person or a schedule starts."""

import dagster as dg

IMPORT_ROSTER = dg.define_asset_job(
    "import_roster",
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="Takes one district's delivery through every stage into the warehouse. Without "
    "files in the config of landing_snapshot, what lies in the landing zone is taken.",
)
