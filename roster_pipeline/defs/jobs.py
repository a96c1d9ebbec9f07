"""Jobs: what a person or a schedule starts."""

from datetime import UTC, datetime

import dagster as dg

from roster_pipeline.defs.partitions import DISTRICTS, checked_district
from roster_pipeline.defs.resources import WarehouseResource
from roster_pipeline.roster import ENROLLMENT_TYPES
from roster_pipeline.settings import acting_user
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.history import CannotUndo, undo

IMPORT_TAG = "roster/import_id"

IMPORT_ROSTER = dg.define_asset_job(
    "import_roster",
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="Takes one district's delivery through every stage into the warehouse. Without "
    "files in the config of landing_snapshot, what lies in the landing zone is taken.",
)

APPROVE_IMPORT = dg.define_asset_job(
    "approve_import",
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="Takes an import that waits through every stage again and merges it, if its plan "
    "is still the one that was shown. In the config of landing_snapshot, `resume` names the import "
    "and `reason` says why a held one is approved; `only: adds,updates` lets what it would delete "
    "wait.",
)


class UndoConfig(dg.Config):
    """Which import to undo, and why."""

    import_id: int
    reason: str


@dg.op(name="undo", description="Gives the roster the state it had before an import.")
def undo_op(
    context: dg.OpExecutionContext, config: UndoConfig, warehouse: WarehouseResource
) -> None:
    """Undoes an import, and those after it, as a new import."""
    district_id, now = checked_district(context.partition_key), datetime.now(UTC)
    with reading(warehouse.engine) as conn:
        if ledger.get_import(conn, config.import_id).district_id != district_id:
            raise dg.Failure(f"Import {config.import_id} is not of {district_id}.")
    import_id = ledger.start_import(
        warehouse.engine, district_id, ledger.UNDO, context.run_id, False, "", now
    )
    context.instance.add_run_tags(context.run_id, {IMPORT_TAG: str(import_id)})
    try:
        with warehouse.engine.begin() as conn:
            undo(conn, config.import_id, import_id, acting_user(), config.reason, now)
    except Exception as error:
        with warehouse.engine.begin() as conn:
            why = str(error) if isinstance(error, CannotUndo) else f"undo: {type(error).__name__}"
            ledger.finish_import(conn, import_id, "failed", datetime.now(UTC), why)
        raise
    for enrollment_type in ENROLLMENT_TYPES.values():
        key = dg.AssetKey(["warehouse", enrollment_type.table])
        context.log_event(
            dg.AssetMaterialization(
                key, partition=district_id, metadata={"import_id": import_id, "undo": True}
            )
        )


@dg.job(
    name="undo_import",
    partitions_def=DISTRICTS,
    executor_def=dg.in_process_executor,
    description="Gives a district's roster the state it had before an import, and before those "
    "after it, as a new import; everything they made stays in history.",
)
def UNDO_IMPORT() -> None:
    """One op."""
    undo_op()
