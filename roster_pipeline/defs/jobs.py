"""Jobs: what a person or a schedule starts."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field
from sqlalchemy import Connection

from roster_pipeline.defs.partitions import DISTRICTS, IMPORT_TAG, checked_district
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.defs.stage_assets import GROUP, import_metadata, outcome_metadata
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.landing.retention import purge
from roster_pipeline.settings import acting_user, load_keep_days
from roster_pipeline.warehouse import holds, ledger, results
from roster_pipeline.warehouse.database import opened, reading
from roster_pipeline.warehouse.history import CannotUndo, undo

RETRIES = {"dagster/retry_on_asset_or_op_failure": "false", "dagster/retry_strategy": "ALL_STEPS"}
"""Only a run whose process was killed is tried again by itself (dagster.yaml says how often), and
from its first step, which opens a new import: data that were refused once are refused again."""

IMPORT_ROSTER = dg.define_asset_job(
    "import_roster",
    selection=dg.AssetSelection.groups(GROUP),
    tags=RETRIES,
    executor_def=dg.in_process_executor,
    description="Takes one district's delivery through every stage into the warehouse: what lies "
    "in the landing zone, or what the config of landing_snapshot says, such as `from_import: 12` "
    "for a delivery from the archive.",
)

APPROVE_IMPORT = dg.define_asset_job(
    "approve_import",
    selection=dg.AssetSelection.groups(GROUP),
    tags=RETRIES,
    executor_def=dg.in_process_executor,
    description="Takes an import that waits through every stage again and merges it, if its plan "
    "is still the one that was shown. In the config of landing_snapshot, `resume` names the import "
    "and `reason` says why a held one is approved; `only: adds,updates` lets what it would delete "
    "wait.",
)


class DecisionConfig(dg.Config):
    """Which import is decided on, and why."""

    import_id: int = Field(description="The number of the import.")
    reason: str = Field(description="Why; it is kept with the import.")


def import_of(conn: Connection, import_id: int, district_id: str) -> ledger.Import:
    """An import of a district. Raises Failure when the district has none of that number."""
    try:
        imported = ledger.get_import(conn, import_id)
    except ledger.UnknownImport as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if imported.district_id != district_id:
        raise dg.Failure(
            f"Import {import_id} is of {imported.district_id}, not of {district_id}; launch the "
            "job for that partition.",
            allow_retries=False,
        )
    return imported


def _check_decision(conn: Connection, config: DecisionConfig, district_id: str) -> None:
    """Raises Failure when the district has no such import, or no reason is given."""
    import_of(conn, config.import_id, district_id)
    if not config.reason.strip():
        raise dg.Failure("`reason` must say why.", allow_retries=False)


@dg.op(name="reject", description="Closes a held import without merging it.")
def reject_op(
    context: dg.OpExecutionContext, config: DecisionConfig, warehouse: WarehouseResource
) -> None:
    """Rejects an import that is held."""
    district_id = checked_district(context.partition_key)
    try:
        with warehouse.engine.begin() as conn:
            _check_decision(conn, config, district_id)
            now = datetime.now(UTC)
            holds.reject(conn, config.import_id, acting_user(), config.reason, now)
    except ledger.NotWaiting as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.instance.add_run_tags(context.run_id, {IMPORT_TAG: str(config.import_id)})
    context.log_event(
        dg.AssetObservation(
            "sync_plan",
            partition=district_id,
            metadata={"import_id": config.import_id, "rejected because": config.reason},
        )
    )


@dg.job(
    name="reject_import",
    partitions_def=DISTRICTS,
    executor_def=dg.in_process_executor,
    description="Closes a held import without merging it; the same delivery, sent again, will be "
    "held again.",
)
def REJECT_IMPORT() -> None:
    """One op."""
    reject_op()


@dg.op(name="undo", description="Gives the roster the state it had before an import.")
def undo_op(
    context: dg.OpExecutionContext, config: DecisionConfig, warehouse: WarehouseResource
) -> None:
    """Undoes an import, and those after it, as a new import."""
    district_id, now = checked_district(context.partition_key), datetime.now(UTC)
    with reading(warehouse.engine) as conn:
        _check_decision(conn, config, district_id)
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
    with reading(warehouse.engine) as conn:
        counts = results.counts(conn, import_id)
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        metadata = {
            **import_metadata(import_id),
            **outcome_metadata(counts.loc[counts["enrollment_type"] == name]),
            "undo of": str(config.import_id),
        }
        key = dg.AssetKey(["warehouse", enrollment_type.table])
        context.log_event(dg.AssetMaterialization(key, partition=district_id, metadata=metadata))


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


class PurgeConfig(dg.Config):
    """What a purge does."""

    dry_run: bool = Field(False, description="Say what would go, and leave everything.")


@dg.op(name="purge", description="Takes away what has had its days and nothing needs.")
def purge_op(context: dg.OpExecutionContext, config: PurgeConfig, house: HouseResource) -> None:
    """Purges landing zones, archive and artifacts of all districts."""
    settings, now = house.settings(), datetime.now(UTC)
    with opened(settings.warehouse_url) as engine:
        done = purge(settings, engine, load_keep_days(), now, dry_run=config.dry_run)
    lines = [{**line, "districts": ", ".join(line["districts"])} for line in done.lines()]
    for line in lines:
        context.log.info(
            "{what} (kept {kept_days} days), {outcome}: {files} files, {bytes} bytes".format(**line)
        )
    context.add_output_metadata(
        {
            "dry_run": config.dry_run,
            "files": done.gone("files"),
            "bytes": done.gone("size"),
            "log_lines": done.log_lines,
            **({"report": dg.MetadataValue.table([*map(dg.TableRecord, lines)])} if lines else {}),
        }
    )
    if done.troubles:
        raise dg.Failure("Not all of it could be looked at: " + " ".join(done.troubles))


@dg.job(
    name="purge_expired",
    executor_def=dg.in_process_executor,
    description="Takes away what has had its days and nothing needs: files in landing zones, "
    "archived and refused deliveries, artifacts, the landing zones' log. For how many days each is "
    "kept, the environment says (ROSTER_KEEP_…_DAYS).",
)
def PURGE_EXPIRED() -> None:
    """One op."""
    purge_op()


PURGE_SCHEDULE = dg.ScheduleDefinition(
    name="purge_schedule",
    job=PURGE_EXPIRED,
    # Of an import that begins in the moment its district is looked at, the purge would be in the
    # way: not on the hour, nor any other time that people choose.
    cron_schedule="47 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 3:47 UTC.",
)
