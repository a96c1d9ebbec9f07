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
from sqlalchemy import Connection, Engine

from roster_pipeline.defs import checks
from roster_pipeline.defs.io import Snapshot, StagedPlan, StagedRoster
from roster_pipeline.defs.jobs import IMPORT_TAG
from roster_pipeline.defs.partitions import DISTRICTS, checked_district
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.districts.settings import DistrictSettings, settings_hash
from roster_pipeline.findings import DeliveryRefused, Outcome, findings_frame
from roster_pipeline.landing import intake
from roster_pipeline.landing.base import load_base, load_sources, save_base
from roster_pipeline.oneroster.delivery import delivered_modes, open_manifest, read_delivery
from roster_pipeline.oneroster.effective import (
    apply_delivery,
    effective_hash,
    missing_files,
    next_sources,
)
from roster_pipeline.reports.outcomes import save_outcomes
from roster_pipeline.roster import ENROLLMENT_TYPES, Roster
from roster_pipeline.settings import Settings, acting_user
from roster_pipeline.stages.attributes import map_attributes
from roster_pipeline.stages.data_requirements import require_data
from roster_pipeline.stages.filters import filter_records
from roster_pipeline.stages.links import link_records
from roster_pipeline.stages.parse import parse
from roster_pipeline.stages.plan import make_plan
from roster_pipeline.stages.sanity import look_for_oddities
from roster_pipeline.stages.schools import (
    decide_schools,
    ignore_schools,
    map_schools,
    tell_schools,
)
from roster_pipeline.stages.uniqueness import check_uniqueness
from roster_pipeline.warehouse import holds, ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.mappings import read_mappings, record_decisions, record_pending
from roster_pipeline.warehouse.merge import merge
from roster_pipeline.warehouse.review import Review, attribute_changes, review_plan
from roster_pipeline.warehouse.state import known_schools, read_state

GROUP = "import"
OWNERS = ["team:data"]
REFUSED_TAG = "roster/refused"


class ImportConfig(dg.Config):
    """What to import. Without files, what lies in the district's landing zone.

    preview: show the plan and write nothing. resume: an import that waits, taken again from the
    archive. reason: why a held one that is resumed is approved; only: `adds,updates` lets what it
    would delete wait.
    """

    app: str = "sftp"
    files: list[str] = Field(default_factory=list)
    force: bool = False
    preview: bool = False
    resume: int | None = None
    reason: str = ""
    only: str | None = None


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
) -> Iterator[ledger.Import]:
    """Close the import when a stage cannot go on: as refused with its findings, or as failed.

    Raises Failure up front when the import has ended: its books are closed, and a stage of it that
    is materialised again by itself must not write into them.
    """
    with reading(warehouse.engine) as conn:
        imported = ledger.get_import(conn, import_id)
    if imported.status != "running":
        raise dg.Failure(
            f"Import {import_id} has ended as {imported.status}. Run the job import_roster, or "
            "materialise all assets from landing_snapshot on: that opens a new import.",
            allow_retries=False,
        )
    try:
        yield imported
    except DeliveryRefused as refusal:
        _refuse(context, warehouse, import_id, refusal)
    except Exception as error:
        with warehouse.engine.begin() as conn:
            message = f"{context.asset_key.to_user_string()}: {type(error).__name__}"
            ledger.finish_import(conn, import_id, "failed", datetime.now(UTC), message)
        raise


@contextmanager
def _kept_aside(settings: Settings, district_id: str, delivery: intake.Delivery) -> Iterator[None]:
    """Put a delivery that is refused aside in the archive, with its reason."""
    try:
        yield
    except DeliveryRefused as refusal:
        intake.set_aside(settings.archive, district_id, delivery, refusal)
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


def _app(engine: Engine, config: ImportConfig) -> str:
    """The import app a delivery comes by; of an import that is resumed, the one it came by."""
    if config.resume is None:
        return config.app
    with reading(engine) as conn:
        return ledger.get_import(conn, config.resume).app


def _check_active(district: DistrictSettings, app: str) -> None:
    """Raises Failure when the district does not have the app a delivery would come by."""
    if app not in (active := district.active_apps()):
        raise dg.Failure(
            f"The import app {app} is not active for this district; active: {', '.join(active)}.",
            allow_retries=False,
        )


def _begin(
    engine: Engine, district_id: str, config: ImportConfig, run_id: str, identity: str
) -> ledger.Import:
    """Open a new import in the ledger, or let one that waits go on, approved when it was held.

    Raises UnknownImport, NotWaiting, or Failure when it is another district's or not approved.
    """
    now = datetime.now(UTC)
    if config.resume is None:
        import_id = ledger.start_import(
            engine, district_id, config.app, run_id, config.preview, identity, now
        )
        with reading(engine) as conn:
            return ledger.get_import(conn, import_id)
    with engine.begin() as conn:
        waiting = ledger.get_import(conn, config.resume)
        if waiting.district_id != district_id:
            raise dg.Failure(f"Import {waiting.id} is of {waiting.district_id}.")
        if waiting.status == "held":
            if not config.reason:
                raise dg.Failure(f"Import {waiting.id} is held; its approval needs a reason.")
            holds.approve(conn, waiting.id, acting_user(), config.reason, config.only, now)
    return ledger.resume_import(engine, config.resume, run_id, identity, now)


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
    further_checks: Callable[[Roster], list[dg.AssetCheckResult]] = lambda _: [],
) -> dg.MaterializeResult:
    """A stage that needs only the roster and the district's settings."""
    with _booked(context, warehouse, before.import_id) as imported:
        settings = house.district(checked_district(context.partition_key)).for_app(imported.app)
        started = time.perf_counter()
        outcome = stage(before.roster, settings)
        seconds = time.perf_counter() - started
        name = context.asset_key.path[-1]
        result = _result(name, outcome, before.import_id, warehouse, seconds)
        told = [*(result.check_results or ()), *further_checks(outcome.roster)]
        return result._replace(check_results=told)


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
    app = _app(warehouse.engine, config)
    _check_active(house.district(district_id), app)
    chosen = house.district(district_id).for_app(app)
    identity = settings_hash(chosen, house.suites(), datetime.now(chosen.zone).date())
    imported = _begin(warehouse.engine, district_id, config, context.run.run_id, identity)
    import_id = imported.id
    context.instance.add_run_tags(context.run.run_id, {IMPORT_TAG: str(import_id)})
    with _booked(context, warehouse, import_id):
        landed = intake.Landed([Path(f).absolute() for f in config.files], ())
        if imported.delivery is not None:
            landed = intake.Landed([settings.archive / imported.delivery], ())
        if not landed.paths:
            landed = intake.landed_files(settings.landing, district_id)
        with reading(warehouse.engine) as conn:
            last = ledger.last_accepted(conn, district_id)
        delivery = intake.archive_delivery(settings.archive, district_id, landed.paths)
        with warehouse.engine.begin() as conn:
            folder = delivery.folder.relative_to(settings.archive)
            ledger.record_delivery(conn, import_id, str(folder))
        with _kept_aside(settings, district_id, delivery):
            package = intake.open_delivery(delivery)
            missing = missing_files(
                package,
                chosen.required_files,
                first=last is None or last.effective_hash is None,
                every_time=imported.app == "csv_upload",
                manifest_first=imported.app == "sftp",
            )
            if missing:
                raise DeliveryRefused(missing)
            modes = delivered_modes(package, open_manifest(package))
        hashes = intake.file_hashes(package)
        base_hash = last.effective_hash if last else None
        base = load_sources(settings.archive, district_id, base_hash)
        sources = next_sources(base, hashes, modes)
        effective = effective_hash(sources)
        with warehouse.engine.begin() as conn:
            ledger.record_findings(conn, import_id, findings_frame(landed.findings))
            same = last is not None and (base_hash, last.settings_hash) == (effective, identity)
            done = last is not None and same and not holds.deletions_wait(conn, last.id)
            if last is not None and done and not config.force:
                ledger.repeat_books(conn, import_id, last)
                message = f"The same files and settings as import {last.id}."
                ledger.finish_import(conn, import_id, "unchanged", datetime.now(UTC), message)
                context.log.info(message)
                return
        yield dg.MaterializeResult(
            value=Snapshot(import_id, delivery, base_hash, sources),
            metadata={
                "import_id": import_id,
                "app": imported.app,
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
    with _booked(context, warehouse, import_id) as imported:
        snapshot, archive = landing_snapshot, house.settings().archive
        district_id = checked_district(context.partition_key)
        started = time.perf_counter()
        with _kept_aside(house.settings(), district_id, snapshot.delivery):
            delivery = read_delivery(intake.open_delivery(snapshot.delivery))
            base = load_base(archive, district_id, snapshot.base_hash)
            effective = apply_delivery(delivery, base)
        parsed = parse(effective, house.district(district_id).for_app(imported.app))
        seconds = time.perf_counter() - started
        intake.keep(snapshot.delivery)
        effective_id = effective_hash(snapshot.sources)
        save_base(archive, district_id, effective_id, effective.files, snapshot.sources)
        entries = [
            ledger.FileEntry(
                f.file, f.mode, f.rows, snapshot.sources[f.file.removesuffix(".csv")][-1]
            )
            for f in parsed.files
        ]
        with warehouse.engine.begin() as conn:
            ledger.record_effective(conn, import_id, effective_id, entries)
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


def _decisions(
    warehouse: WarehouseResource,
    house: HouseResource,
    district_id: str,
    imported: ledger.Import,
    roster: Roster,
) -> pd.DataFrame:
    with reading(warehouse.engine) as conn:
        return decide_schools(
            roster.frames["school"],
            known_schools(conn, district_id),
            read_mappings(conn, district_id),
            house.district(district_id).for_app(imported.app).schools,
        )


@_asset(
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
    with _booked(context, warehouse, unique_roster.import_id) as imported:
        district_id = checked_district(context.partition_key)
        with reading(warehouse.engine) as conn:
            state = read_state(conn, district_id)
        decisions = _decisions(warehouse, house, district_id, imported, unique_roster.roster)
    return _run_stage(
        context,
        house,
        warehouse,
        unique_roster,
        lambda r, _: link_records(ignore_schools(r, decisions), state, decisions),
        lambda r: [checks.evaluate_oddities(look_for_oddities(r))],
    )


@_asset(
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
    with _booked(context, warehouse, import_id) as imported:
        decisions = _decisions(warehouse, house, district_id, imported, linked_roster.roster)
        with warehouse.engine.begin() as conn:
            told = tell_schools(received, decisions, known_schools(conn, district_id))
            ledger.record_findings(conn, import_id, told)
            pending = _wait_for_schools(conn, district_id, import_id, received, decisions)
    check = checks.evaluate_schools(pending, told, district_id)
    if len(pending):
        yield check
        return
    result = _run_stage(
        context, house, warehouse, linked_roster, lambda r, _: map_schools(r, decisions)
    )
    yield result._replace(check_results=[check])


def _wait_for_schools(
    conn: Connection,
    district_id: str,
    import_id: int,
    received: pd.DataFrame,
    decisions: pd.DataFrame,
) -> pd.DataFrame:
    """The organisations that wait for a person; where there are any, the import waits for them."""
    open_ = decisions.loc[decisions["how"] == "pending", "org_id"]
    names = {"source_id": "org_id", "name": "org_name", "identifier": "org_identifier"}
    pending = received.loc[received["source_id"].isin(open_), list(names)].rename(columns=names)
    record_pending(conn, district_id, import_id, pending, datetime.now(UTC))
    if len(pending):
        message = f"{len(pending)} organisations wait to be mapped: `roster schools {district_id}`."
        ledger.finish_import(conn, import_id, "needs_school_mapping", datetime.now(UTC), message)
    return pending


@_asset(
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
    with _booked(context, warehouse, import_id) as imported:
        rules = house.district(district_id).for_app(imported.app).hold
        with reading(warehouse.engine) as conn:
            state = read_state(conn, district_id)
            base = ledger.last_accepted(conn, district_id)
            plan = make_plan(roster, state)
            review = review_plan(conn, imported, plan, roster.school_decisions, state, rules)
            changes = attribute_changes(conn, district_id, review.plan)
        save_outcomes(house.settings().reports, district_id, import_id, review.plan, roster.ended)
        adds_up = checks.evaluate_counts(roster.received(), review.plan.counts)
        within = checks.evaluate_hold(review)
        with warehouse.engine.begin() as conn:
            ledger.record_counts(conn, import_id, review.plan.counts)
            ledger.record_changes(conn, import_id, changes)
            _close_without_merge(conn, import_id, review, adds_up)
    metadata = _plan_metadata(import_id, review)
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


def _plan_metadata(import_id: int, review: Review) -> dict[str, Any]:
    by_outcome = review.plan.counts.groupby("outcome")["records"].sum().to_dict()
    return {
        "import_id": import_id,
        **{str(outcome): int(n) for outcome, n in by_outcome.items()},
        "counts": _counts_table(review.plan.counts),
        "summary": f"roster show {import_id}",
    }


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
            part = holds.deletions_wait(conn, plan.import_id)
            message = "What it would delete waits for the next import." if part else None
            ledger.finish_import(conn, plan.import_id, "imported", datetime.now(UTC), message)
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
