"""The plan and the merge: the last assets, where an import waits for a person or is written."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pandas as pd
from sqlalchemy import Connection

from roster_pipeline.defs import checks
from roster_pipeline.defs.io import StagedPlan, StagedRoster
from roster_pipeline.defs.partitions import DISTRICTS, checked_district
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.defs.stage_assets import (
    GROUP,
    OWNERS,
    booked,
    import_metadata,
    outcome_metadata,
    report_metadata,
    run_stage,
    school_decisions,
    stage_asset,
)
from roster_pipeline.defs.views import table_metadata
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.reports.outcomes import save_outcomes
from roster_pipeline.roster import RECEIVED_OUTCOMES
from roster_pipeline.stages.plan import make_plan, stored_records
from roster_pipeline.stages.schools import (
    map_schools,
    tell_schools,
)
from roster_pipeline.warehouse import holds, ledger, queries, results
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.mappings import record_decisions, record_pending
from roster_pipeline.warehouse.merge import merge, merging
from roster_pipeline.warehouse.review import Review, attribute_changes, review_plan
from roster_pipeline.warehouse.state import known_schools, read_state


@stage_asset(
    StagedRoster,
    "school_mapped_roster",
    "Records that name the warehouse's own schools.",
    {"pandas", "parquet"},
    output_required=False,
    check_specs=[checks.SCHOOLS_ARE_MAPPED],
)
def school_mapped_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    linked_roster: StagedRoster,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Maps organisations to schools; where one waits for a person, the import waits too."""
    district_id = checked_district(context.partition_key)
    import_id, received = linked_roster.import_id, linked_roster.roster.frames["school"]
    with booked(context, warehouse, import_id) as imported:
        decisions = school_decisions(warehouse, house, district_id, imported, linked_roster.roster)
        with warehouse.engine.begin() as conn:
            told = tell_schools(received, decisions, known_schools(conn, district_id))
            results.record_findings(conn, import_id, told)
            pending = _wait_for_schools(conn, imported, received, decisions)
    check = checks.evaluate_schools(pending, told, district_id)
    if len(pending):
        yield check
        return
    result = run_stage(
        context, house, warehouse, linked_roster, lambda r, _: map_schools(r, decisions)
    )
    yield result._replace(check_results=[check])


def _wait_for_schools(
    conn: Connection,
    imported: ledger.Import,
    received: pd.DataFrame,
    decisions: pd.DataFrame,
) -> pd.DataFrame:
    """The organisations that wait for a person; where there are any, the import waits for them. A
    preview ends there, and leaves what others wait for as it is."""
    open_ = decisions.loc[decisions["how"] == "pending", "org_id"]
    names = {"source_id": "org_id", "name": "org_name", "identifier": "org_identifier"}
    pending = received.loc[received["source_id"].isin(open_), list(names)].rename(columns=names)
    now = datetime.now(UTC)
    if imported.preview:
        if len(pending):
            message = f"The import would wait for {len(pending)} organisations to be mapped."
            ledger.finish_import(conn, imported.id, "previewed", now, message)
        return pending
    record_pending(conn, imported.district_id, imported.id, pending, now)
    if len(pending):
        where = f"`roster schools {imported.district_id}`"
        message = f"{len(pending)} organisations wait to be mapped: {where}."
        ledger.finish_import(conn, imported.id, "needs_school_mapping", now, message)
    return pending


@stage_asset(
    StagedPlan,
    "sync_plan",
    "What the import would change in the warehouse, record by record and in sum.",
    {"pandas", "parquet"},
    output_required=False,
    check_specs=[checks.COUNTS_ADD_UP, checks.WITHIN_HOLD_THRESHOLDS],
)
def sync_plan(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    school_mapped_roster: StagedRoster,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Compares the roster with the warehouse; a plan that must be seen first goes no further."""
    import_id, roster = school_mapped_roster.import_id, school_mapped_roster.roster
    district_id = checked_district(context.partition_key)
    started = time.perf_counter()
    with booked(context, warehouse, import_id) as imported:
        rules = house.district(district_id).for_app(imported.app).hold
        with reading(warehouse.engine) as conn, ThreadPoolExecutor(1) as pool:
            # Half of the reading is the database's, in which Python can look at the records.
            reading_state = pool.submit(read_state, conn, district_id)
            records = stored_records(roster)
            state = reading_state.result()
            base = ledger.last_accepted(conn, district_id)
            plan = make_plan(roster, records, state)
            review = review_plan(conn, imported, plan, roster.school_decisions, state, rules)
            reports = house.settings().reports
            saving = pool.submit(
                save_outcomes, reports, district_id, import_id, review.plan, roster.ended
            )
            changes = attribute_changes(conn, district_id, review.plan)
            saving.result()
        adds_up = checks.evaluate_counts(roster.received(), review.plan.counts)
        within = checks.evaluate_hold(review, import_id)
        with warehouse.engine.begin() as conn:
            results.record_counts(conn, import_id, review.plan.counts)
            results.record_changes(conn, import_id, changes)
            _close_without_merge(conn, import_id, review, adds_up)
            files = ledger.files(conn, import_id)
    metadata = {
        **_plan_metadata(import_id, review, files, time.perf_counter() - started),
        **report_metadata(reports, district_id, import_id),
    }
    if review.verdict != "merge":
        context.log_event(
            dg.AssetObservation("sync_plan", partition=district_id, metadata=metadata)
        )
        yield from (adds_up, within)
        return
    yield dg.MaterializeResult(
        value=StagedPlan(
            import_id, base.id if base else None, review.plan, roster.school_decisions
        ),
        metadata=metadata,
        check_results=[adds_up, within],
    )


def _close_without_merge(
    conn: Connection, import_id: int, review: Review, adds_up: dg.AssetCheckResult
) -> None:
    """Close an import whose plan goes no further: wrong, held or only previewed."""
    now = datetime.now(UTC)
    if not adds_up.passed:
        message = "The counts do not add up; nothing was merged. This is a fault of ours."
        ledger.finish_import(conn, import_id, "failed", now, message)
    elif review.verdict != "merge":
        holds.record_hold(conn, import_id, review.plan_hash, review.reasons, review.causes, now)
        status: ledger.Status = "held" if review.verdict == "hold" else "previewed"
        ledger.finish_import(conn, import_id, status, now, review.message)


def _plan_metadata(
    import_id: int, review: Review, files: Sequence[ledger.FileEntry], seconds: float
) -> dict[str, Any]:
    counts = review.plan.counts
    received = int(counts.loc[counts["outcome"].isin(RECEIVED_OUTCOMES), "records"].sum())
    return {
        **import_metadata(import_id),
        "counts": _counts_table(counts),
        "received": received,
        **outcome_metadata(counts),
        "rows per second": round(received / max(seconds, 1e-6)),
        "files": {entry.file: f"{entry.mode}, {entry.rows} rows" for entry in files},
        "all records": f"roster records {import_id}",
    }


def _counts_table(counts: pd.DataFrame) -> dg.MetadataValue:
    """A line for each enrollment type, with the outcomes that there are: the page has no room for
    all."""
    there = [name for name, number in outcome_metadata(counts).items() if number]
    lines = []
    for name, mine in counts.groupby("enrollment_type", sort=False):
        numbers = outcome_metadata(mine)
        lines.append({"enrollment type": str(name), **{o: numbers[o] for o in there}})
    return table_metadata({"enrollment type": "string"} | dict.fromkeys(there, "int"), lines)


WAREHOUSE_SPECS = [
    dg.AssetSpec(
        ["warehouse", enrollment_type.table],
        deps=["sync_plan"],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"sql"},
        partitions_def=DISTRICTS,
        description=f"The table `{enrollment_type.table}`: one row for each "
        f"{enrollment_type.name.replace('_', ' ')} a district has or had.",
    )
    for enrollment_type in ENROLLMENT_TYPES.values()
]


@dg.multi_asset(
    name="warehouse",
    specs=WAREHOUSE_SPECS,
    ins={"plan": dg.AssetIn("sync_plan")},
    check_specs=[checks.merged_spec(t.table) for t in ENROLLMENT_TYPES.values()],
)
def warehouse_tables(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, plan: StagedPlan
) -> Iterator[dg.MaterializeResult]:
    """Merges the plan into the warehouse, in one transaction."""
    district_id = checked_district(context.partition_key)
    with booked(context, warehouse, plan.import_id):
        now = datetime.now(UTC)
        with merging(warehouse.engine, plan.plan) as conn:
            base = ledger.last_accepted(conn, district_id)
            if (base.id if base else None) != plan.base_import_id:
                raise dg.Failure(
                    "The warehouse has changed since this plan was made; run import_roster again.",
                    allow_retries=False,
                )
            record_decisions(conn, district_id, plan.import_id, plan.school_decisions, now)
            merge(conn, district_id, plan.import_id, plan.plan, now)
            part = holds.deletions_wait(conn, plan.import_id)
            message = "What it would delete waits for the next import." if part else None
            ledger.finish_import(conn, plan.import_id, "imported", datetime.now(UTC), message)
        seconds = (datetime.now(UTC) - now).total_seconds()
        with reading(warehouse.engine) as conn:
            for name in ENROLLMENT_TYPES:
                yield _merged(conn, district_id, name, plan, seconds, deletions_wait=part)


def _merged(
    conn: Connection,
    district_id: str,
    name: str,
    staged: StagedPlan,
    seconds: float,
    *,
    deletions_wait: bool,
) -> dg.MaterializeResult:
    """What became of one table. seconds: what the whole merge took."""
    plan, table, import_id = staged.plan, ENROLLMENT_TYPES[name].table, staged.import_id
    kept = int((plan.kept["enrollment_type"] == name).sum())
    active = queries.active_records(conn, district_id, name)
    written = sum(len(frame) for frame in plan.changes.values())
    return dg.MaterializeResult(
        asset_key=["warehouse", table],
        metadata={
            **import_metadata(import_id),
            **outcome_metadata(plan.counts.loc[plan.counts["enrollment_type"] == name]),
            "dagster/row_count": active,
            "rows per second": round(written / max(seconds, 1e-6)),
            "all records": f"roster records {import_id} --type {name}",
        },
        check_results=[
            checks.evaluate_merge(
                table, len(plan.changes[name]) + kept, active, deletions_wait=deletions_wait
            )
        ],
    )
