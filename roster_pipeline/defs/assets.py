"""The assets of an import, one for each stage: load, call the stage, store, report.

What a stage does is in `stages/`; how an import is booked is in `warehouse.ledger`. Here the two
meet: a refused delivery closes its import as `refused`, anything unforeseen as `failed`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field

from roster_pipeline.defs import checks
from roster_pipeline.defs.io import Snapshot, StagedPlan, StagedRoster
from roster_pipeline.defs.partitions import DISTRICTS, checked_district
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.districts.settings import DistrictSettings, settings_hash
from roster_pipeline.findings import DeliveryRefused, Outcome, findings_frame
from roster_pipeline.landing import intake
from roster_pipeline.roster import ENROLLMENT_TYPES, Roster
from roster_pipeline.stages.attributes import map_attributes
from roster_pipeline.stages.data_requirements import require_data
from roster_pipeline.stages.filters import filter_records
from roster_pipeline.stages.links import link_records
from roster_pipeline.stages.parse import parse
from roster_pipeline.stages.plan import make_plan
from roster_pipeline.stages.schools import decide_schools, map_schools
from roster_pipeline.stages.uniqueness import check_uniqueness
from roster_pipeline.warehouse import ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.mappings import read_mappings, record_decisions
from roster_pipeline.warehouse.merge import merge
from roster_pipeline.warehouse.state import known_schools, read_state

GROUP = "import"
OWNERS = ["team:data"]
IMPORT_TAG = "roster/import_id"
REFUSED_TAG = "roster/refused"


class ImportConfig(dg.Config):
    """What to import. Without files, what lies in the district's landing zone."""

    app: str = "sftp"
    files: list[str] = Field(default_factory=list)
    force: bool = False


def _asset(
    artifact: type, name: str, description: str, kinds: set[str], **more: Any
) -> Callable[..., Any]:
    """The decorator of a stage's asset, which hands on an artifact of this type."""
    return dg.asset(
        name=name,
        dagster_type=dg.PythonObjectDagsterType(artifact, name=f"{name}_artifact"),
        description=description,
        kinds=kinds,
        group_name=GROUP,
        owners=OWNERS,
        partitions_def=DISTRICTS,
        **more,
    )


@contextmanager
def _booked(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, import_id: int
) -> Iterator[None]:
    """Close the import when a stage cannot go on: as refused with its findings, or as failed."""
    try:
        yield
    except DeliveryRefused as refusal:
        _refuse(context, warehouse, import_id, refusal)
    except Exception as error:
        with warehouse.engine.begin() as conn:
            message = f"{context.asset_key.to_user_string()}: {type(error).__name__}"
            ledger.finish_import(conn, import_id, "failed", datetime.now(UTC), message)
        raise


def _refuse(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    import_id: int,
    refusal: DeliveryRefused,
) -> None:
    told = findings_frame(refusal.findings)
    with warehouse.engine.begin() as conn:
        ledger.record_findings(conn, import_id, told)
        ledger.finish_import(conn, import_id, "refused", datetime.now(UTC), str(refusal))
    context.instance.add_run_tags(context.run.run_id, {REFUSED_TAG: "true"})
    remedies = "\n".join(f"{f.message} {f.how_to_fix}" for f in refusal.findings)
    raise dg.Failure(
        f"The delivery is refused; the warehouse is as it was.\n{remedies}",
        metadata={"import_id": import_id, "findings": f"roster findings {import_id}"},
        allow_retries=False,
    ) from None


def _result(
    stage: str,
    outcome: Outcome,
    import_id: int,
    warehouse: WarehouseResource,
    seconds: float,
    more: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult:
    """Record what the stage found, and report it."""
    with warehouse.engine.begin() as conn:
        ledger.record_findings(conn, import_id, outcome.findings)
    records = {name: len(frame) for name, frame in outcome.roster.frames.items()}
    left_out = outcome.roster.ended["outcome"].value_counts().to_dict()
    total = sum(records.values())
    return dg.MaterializeResult(
        value=StagedRoster(import_id, outcome.roster),
        metadata={
            "import_id": import_id,
            "dagster/row_count": total,
            "records": records,
            "left out so far": {str(k): int(v) for k, v in left_out.items()},
            "findings": len(outcome.findings),
            "rows per second": round(total / max(seconds, 1e-6)),
            "all findings": f"roster findings {import_id}",
            **(more or {}),
        },
        check_results=checks.evaluate_findings(stage, outcome.findings, import_id),
    )


def _run_stage(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    before: StagedRoster,
    stage: Callable[[Roster, DistrictSettings], Outcome],
) -> dg.MaterializeResult:
    """A stage that needs only the roster and the district's settings."""
    with _booked(context, warehouse, before.import_id):
        settings = house.district(checked_district(context.partition_key))
        started = time.perf_counter()
        outcome = stage(before.roster, settings)
        seconds = time.perf_counter() - started
        name = context.asset_key.path[-1]
        return _result(name, outcome, before.import_id, warehouse, seconds)


@_asset(
    Snapshot,
    "landing_snapshot",
    "What arrived: the delivery, copied once into the archive, and how it differs from the last.",
    {"file"},
    output_required=False,
)
def landing_snapshot(
    context: dg.AssetExecutionContext,
    config: ImportConfig,
    house: HouseResource,
    warehouse: WarehouseResource,
) -> Iterator[dg.MaterializeResult]:
    """Takes the delivery in; ends the import as `unchanged` when nothing is new in it."""
    settings = house.settings()
    district_id = checked_district(context.partition_key)
    identity = settings_hash(house.district(district_id), house.suites())
    import_id = ledger.start_import(
        warehouse.engine,
        district_id,
        config.app,
        context.run.run_id,
        False,
        identity,
        datetime.now(UTC),
    )
    context.instance.add_run_tags(context.run.run_id, {IMPORT_TAG: str(import_id)})
    with _booked(context, warehouse, import_id):
        paths = [Path(f).absolute() for f in config.files]
        paths = paths or intake.landed_files(settings.landing, district_id)
        delivery = intake.archive_delivery(settings.archive, district_id, paths)
        hashes = intake.file_hashes(intake.open_delivery(delivery))
        effective = intake.effective_hash(hashes)
        with warehouse.engine.begin() as conn:
            last = ledger.last_accepted(conn, district_id)
            same = last is not None and (last.effective_hash, last.settings_hash) == (
                effective,
                identity,
            )
            if last is not None and same and not config.force:
                ledger.repeat_books(conn, import_id, last)
                message = f"The same files and settings as import {last.id}."
                ledger.finish_import(conn, import_id, "unchanged", datetime.now(UTC), message)
                context.log.info(message)
                return
        yield dg.MaterializeResult(
            value=Snapshot(import_id, delivery, hashes),
            metadata={
                "import_id": import_id,
                "app": config.app,
                "files": dg.MetadataValue.md(
                    "\n".join(f"- {name}: `{digest[:12]}`" for name, digest in hashes.items())
                ),
                "archived in": str(delivery.folder),
                "effective_hash": effective,
            },
        )


@_asset(
    StagedRoster,
    "parsed_roster",
    "The files as typed records, each with its file and row; what cannot be a record is told.",
    {"csv", "parquet"},
    check_specs=checks.finding_specs("parsed_roster"),
)
def parsed_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    landing_snapshot: Snapshot,
) -> dg.MaterializeResult:
    """Parses the archived delivery."""
    import_id = landing_snapshot.import_id
    with _booked(context, warehouse, import_id):
        settings = house.district(checked_district(context.partition_key))
        started = time.perf_counter()
        parsed = parse(intake.open_delivery(landing_snapshot.delivery), settings)
        seconds = time.perf_counter() - started
        hashes = landing_snapshot.hashes
        entries = [
            ledger.FileEntry(f.file, f.mode, f.rows, hashes[f.file.removesuffix(".csv")])
            for f in parsed.files
        ]
        with warehouse.engine.begin() as conn:
            ledger.record_effective(conn, import_id, intake.effective_hash(hashes), entries)
        more = {
            "OneRoster version": parsed.version,
            "rows in files": {f.file: f.rows for f in parsed.files},
        }
        return _result("parsed_roster", parsed, import_id, warehouse, seconds, more)


@_asset(
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
    return _run_stage(context, house, warehouse, parsed_roster, map_attributes)


@_asset(
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
    return _run_stage(
        context, house, warehouse, mapped_roster, lambda r, s: require_data(r, s, suites)
    )


@_asset(
    StagedRoster,
    "filtered_roster",
    "Records that the district's filter rules include.",
    {"pandas", "parquet"},
)
def filtered_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    complete_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Applies the filter rules, with the district's own date for past and future."""
    return _run_stage(
        context,
        house,
        warehouse,
        complete_roster,
        lambda r, s: filter_records(r, s, datetime.now(s.zone).date()),
    )


@_asset(
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
    return _run_stage(context, house, warehouse, filtered_roster, check_uniqueness)


def _decisions(warehouse: WarehouseResource, district_id: str, roster: Roster) -> pd.DataFrame:
    with reading(warehouse.engine) as conn:
        return decide_schools(
            roster.frames["school"],
            known_schools(conn, district_id),
            read_mappings(conn, district_id),
        )


@_asset(
    StagedRoster,
    "linked_roster",
    "Records all of whose references lead to a record that will be active.",
    {"pandas", "parquet"},
    check_specs=checks.finding_specs("linked_roster"),
)
def linked_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    unique_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Resolves references, against the delivery and what stays in the warehouse."""
    district_id = checked_district(context.partition_key)
    with reading(warehouse.engine) as conn:
        state = read_state(conn, district_id)
    decisions = _decisions(warehouse, district_id, unique_roster.roster)
    return _run_stage(
        context, house, warehouse, unique_roster, lambda r, s: link_records(r, state, decisions)
    )


@_asset(
    StagedRoster,
    "school_mapped_roster",
    "Records that name the warehouse's own schools.",
    {"pandas", "parquet"},
)
def school_mapped_roster(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    linked_roster: StagedRoster,
) -> dg.MaterializeResult:
    """Maps organisations to schools."""
    district_id = checked_district(context.partition_key)
    decisions = _decisions(warehouse, district_id, linked_roster.roster)
    return _run_stage(
        context, house, warehouse, linked_roster, lambda r, s: map_schools(r, decisions)
    )


@_asset(
    StagedPlan,
    "sync_plan",
    "What the import would change in the warehouse, record by record and in sum.",
    {"pandas", "parquet"},
    output_required=False,
    check_specs=[checks.COUNTS_ADD_UP],
)
def sync_plan(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    school_mapped_roster: StagedRoster,
) -> Iterator[dg.MaterializeResult]:
    """Compares the roster with the warehouse."""
    import_id = school_mapped_roster.import_id
    district_id = checked_district(context.partition_key)
    with _booked(context, warehouse, import_id):
        with reading(warehouse.engine) as conn:
            state = read_state(conn, district_id)
            base = ledger.last_accepted(conn, district_id)
        plan = make_plan(school_mapped_roster.roster, state)
        check = checks.evaluate_counts(school_mapped_roster.roster.received(), plan.counts)
        with warehouse.engine.begin() as conn:
            ledger.record_counts(conn, import_id, plan.counts)
            if not check.passed:
                message = "The counts do not add up; nothing was merged. This is a fault of ours."
                ledger.finish_import(conn, import_id, "failed", datetime.now(UTC), message)
        by_outcome = plan.counts.groupby("outcome")["records"].sum().to_dict()
        decisions = school_mapped_roster.roster.school_decisions
        yield dg.MaterializeResult(
            value=StagedPlan(import_id, base.id if base else None, plan, decisions),
            metadata={
                "import_id": import_id,
                **{str(outcome): int(n) for outcome, n in by_outcome.items()},
                "counts": _counts_table(plan.counts),
                "summary": f"roster show {import_id}",
            },
            check_results=[check],
        )


def _counts_table(counts: pd.DataFrame) -> dg.TableMetadataValue:
    by_type = counts.groupby(["enrollment_type", "outcome"])["records"].sum().unstack(fill_value=0)
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {"enrollment type": str(name), **{str(k): int(v) for k, v in row.items()}}
            )
            for name, row in by_type.to_dict("index").items()
        ]
    )


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


@dg.multi_asset(name="warehouse", specs=WAREHOUSE_SPECS, ins={"plan": dg.AssetIn("sync_plan")})
def warehouse_tables(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, plan: StagedPlan
) -> Iterator[dg.MaterializeResult]:
    """Merges the plan into the warehouse, in one transaction."""
    district_id = checked_district(context.partition_key)
    with _booked(context, warehouse, plan.import_id):
        now = datetime.now(UTC)
        with warehouse.engine.begin() as conn:
            base = ledger.last_accepted(conn, district_id)
            if (base.id if base else None) != plan.base_import_id:
                raise dg.Failure(
                    "The warehouse has changed since this plan was made; run import_roster again.",
                    allow_retries=False,
                )
            record_decisions(conn, district_id, plan.import_id, plan.school_decisions, now)
            merge(conn, district_id, plan.import_id, plan.plan, now)
            ledger.finish_import(conn, plan.import_id, "imported", datetime.now(UTC))
        counts = plan.plan.counts
        for name, enrollment_type in ENROLLMENT_TYPES.items():
            mine = counts.loc[counts["enrollment_type"] == name]
            by_outcome = mine.groupby("outcome")["records"].sum().to_dict()
            yield dg.MaterializeResult(
                asset_key=["warehouse", enrollment_type.table],
                metadata={
                    "import_id": plan.import_id,
                    **{str(outcome): int(n) for outcome, n in by_outcome.items()},
                },
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
]
