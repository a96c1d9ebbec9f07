"""What arrived: the first two assets, from the landing zone or an upload to typed records."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from pydantic import Field
from sqlalchemy import Engine

from roster_pipeline.defs import checks
from roster_pipeline.defs.io import Snapshot, StagedRoster
from roster_pipeline.defs.jobs import IMPORT_TAG
from roster_pipeline.defs.partitions import checked_district
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.defs.stage_assets import (
    booked,
    report_stage,
    stage_asset,
)
from roster_pipeline.districts.settings import DistrictSettings, settings_hash
from roster_pipeline.findings import DeliveryRefused, findings_frame
from roster_pipeline.landing import intake
from roster_pipeline.landing.base import load_base, load_sources, save_base
from roster_pipeline.oneroster.delivery import delivered_modes, open_manifest, read_delivery
from roster_pipeline.oneroster.effective import (
    apply_delivery,
    effective_hash,
    missing_files,
    next_sources,
    roles_are_outdated,
)
from roster_pipeline.settings import Settings, acting_user
from roster_pipeline.stages.parse import parse
from roster_pipeline.warehouse import holds, ledger
from roster_pipeline.warehouse.database import reading


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


@contextmanager
def kept_aside(settings: Settings, district_id: str, delivery: intake.Delivery) -> Iterator[None]:
    """Put a delivery that is refused aside in the archive, with its reason."""
    try:
        yield
    except DeliveryRefused as refusal:
        intake.set_aside(settings.archive, district_id, delivery, refusal)
        raise


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


@stage_asset(
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
    with booked(context, warehouse, import_id):
        landed = intake.Landed([Path(f).absolute() for f in config.files], ())
        if imported.delivery is not None:
            landed = intake.Landed([settings.archive / imported.delivery], ())
        if not landed.paths:
            landed = intake.landed_files(settings.landing, district_id)
        with reading(warehouse.engine) as conn:
            last = ledger.last_accepted(conn, district_id)
        with warehouse.engine.begin() as conn:
            ledger.record_findings(conn, import_id, findings_frame(landed.findings))
        delivery = intake.archive_delivery(settings.archive, district_id, landed.paths)
        with warehouse.engine.begin() as conn:
            folder = delivery.folder.relative_to(settings.archive)
            ledger.record_delivery(conn, import_id, str(folder))
        with kept_aside(settings, district_id, delivery):
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
        outdated = roles_are_outdated(package)
        sources = next_sources(base, hashes, modes, roles_outdated=outdated)
        effective = effective_hash(sources)
        with warehouse.engine.begin() as conn:
            same = last is not None and (base_hash, last.settings_hash) == (effective, identity)
            stands = ledger.stands_on(conn, last) if last is not None else None
            done = stands is not None and same and not holds.deletions_wait(conn, stands.id)
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


@stage_asset(
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
    with booked(context, warehouse, import_id) as imported:
        snapshot, archive = landing_snapshot, house.settings().archive
        district_id = checked_district(context.partition_key)
        started = time.perf_counter()
        with kept_aside(house.settings(), district_id, snapshot.delivery):
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
        return report_stage("parsed_roster", parsed, import_id, warehouse, seconds, more)
