"""What arrived: the first two assets, from the landing zone or an upload to typed records."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field
from sqlalchemy import Engine

from roster_pipeline.defs import checks
from roster_pipeline.defs.io import Snapshot, StagedRoster
from roster_pipeline.defs.jobs import APPROVE_IMPORT, import_of
from roster_pipeline.defs.partitions import IMPORT_TAG, checked_district
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.defs.stage_assets import (
    booked,
    import_metadata,
    report_metadata,
    report_stage,
    stage_asset,
)
from roster_pipeline.districts.settings import DistrictSettings, settings_hash
from roster_pipeline.findings import DeliveryRefused, findings_frame
from roster_pipeline.landing import intake
from roster_pipeline.landing.arrival import is_what_was_seen
from roster_pipeline.landing.base import load_base, load_sources, save_base
from roster_pipeline.landing.foreign import forget_fetched, landing_files
from roster_pipeline.landing.store import Store, store_at
from roster_pipeline.landing.zones import record_taken
from roster_pipeline.oneroster.delivery import delivered_modes, open_manifest, read_delivery
from roster_pipeline.oneroster.effective import (
    apply_delivery,
    effective_hash,
    missing_files,
    next_sources,
    roles_are_outdated,
)
from roster_pipeline.oneroster.manifest import Mode
from roster_pipeline.oneroster.package import Package
from roster_pipeline.settings import Settings, acting_user
from roster_pipeline.stages.parse import parse
from roster_pipeline.warehouse import holds, ledger, results
from roster_pipeline.warehouse.database import reading


class App(Enum):
    """How a delivery arrives."""

    sftp = "sftp"
    csv_upload = "csv_upload"


class ImportConfig(dg.Config):
    """What to import. As it is, what lies in the district's landing zone."""

    app: App | None = Field(
        None,
        description="How the delivery arrived. Not set: csv_upload with `files`, the app of the "
        "earlier import with `from_import`, else sftp.",
    )
    files: list[str] = Field(
        [],
        description="The delivery, as paths on the machine the run is on: a zip, a folder or CSV "
        "files. Not set: what lies in the landing zone.",
    )
    from_import: int | None = Field(
        None,
        description="The number of an earlier import, whose delivery is taken from the archive and "
        "imported as if it arrived now.",
    )
    content: str | None = Field(
        None,
        description="Set by landing_zone_sensor and sync_schedule: what they saw in the landing "
        "zone. Should something else lie there by now, it is left to them.",
    )
    force: bool = Field(
        False, description="Import also when files and settings are those of the last import."
    )
    preview: bool = Field(
        False, description="Show what the import would change, and write nothing."
    )
    resume: int | None = Field(
        None, description="For approve_import: the number of the import that waits."
    )
    reason: str = Field(
        "", description="For approve_import: why a held import is approved; it is kept with it."
    )
    only: Literal["everything", "adds,updates"] = Field(
        "everything",
        description="For approve_import: `adds,updates` lets what the import would delete wait.",
    )


@contextmanager
def kept_aside(archive: Store, district_id: str, delivery: intake.Delivery) -> Iterator[None]:
    """Put a delivery that is refused aside in the archive, with its reason."""
    try:
        yield
    except DeliveryRefused as refusal:
        intake.set_aside(archive, district_id, delivery, refusal)
        raise


def _check_config(config: ImportConfig, job: str) -> None:
    """Raises Failure when it is not clear what is to be imported."""
    if job == APPROVE_IMPORT.name and config.resume is None:
        raise dg.Failure(
            "In the config of landing_snapshot, `resume` must be the number of the import that "
            "waits.",
            allow_retries=False,
        )
    if config.files and config.from_import is not None:
        raise dg.Failure("Set either `files` or `from_import`, not both.", allow_retries=False)


def _earlier(
    engine: Engine, archive: Store, district_id: str, config: ImportConfig
) -> ledger.Import | None:
    """The import that is resumed, or whose delivery is taken again. Raises Failure when there is
    none of that number, it is another district's, or its delivery is not in the archive."""
    number = config.from_import if config.resume is None else config.resume
    if number is None:
        return None
    with reading(engine) as conn:
        earlier = import_of(conn, number, district_id)
    try:
        intake.archived_at(archive, earlier)
    except intake.NotArchived as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    return earlier


def _app(earlier: ledger.Import | None, config: ImportConfig) -> str:
    """The import app a delivery comes by; where nothing is said, one that was here before comes as
    it came then."""
    if config.app is not None and config.resume is None:
        return str(config.app.value)
    if earlier is not None:
        return earlier.app
    return "csv_upload" if config.files else "sftp"


def _check_active(district: DistrictSettings, app: str) -> None:
    """Raises Failure when the district does not have the app a delivery would come by."""
    if app not in (active := district.active_apps()):
        raise dg.Failure(
            f"The import app {app} is not active for this district; active: {', '.join(active)}.",
            allow_retries=False,
        )


def _landed(
    settings: Settings, district_id: str, district: DistrictSettings, content: str | None
) -> intake.Landed:
    """What lies in the landing zone. Raises DeliveryRefused, or Failure when it cannot be read."""
    from roster_pipeline.landing.client import RemoteError

    try:
        return landing_files(settings, district_id, district, content)
    except RemoteError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _begin(
    engine: Engine, district_id: str, app: str, config: ImportConfig, run_id: str, identity: str
) -> ledger.Import:
    """Open a new import in the ledger, or let one that waits go on, approved when it was held.

    Raises NotWaiting, or Failure when it is held and the approval has no reason.
    """
    now = datetime.now(UTC)
    if config.resume is None:
        import_id = ledger.start_import(
            engine, district_id, app, run_id, config.preview, identity, now
        )
        with reading(engine) as conn:
            return ledger.get_import(conn, import_id)
    with engine.begin() as conn:
        waiting = ledger.get_import(conn, config.resume)
        if waiting.status == "held":
            if not config.reason.strip():
                raise dg.Failure(
                    f"Import {waiting.id} is held; its approval needs a reason.",
                    allow_retries=False,
                )
            part = None if config.only == "everything" else config.only
            holds.approve(conn, waiting.id, acting_user(), config.reason, part, now)
    return ledger.resume_import(engine, config.resume, run_id, identity, now)


def _take_in(
    settings: Settings,
    engine: Engine,
    archive: Store,
    district: DistrictSettings,
    imported: ledger.Import,
    earlier: ledger.Import | None,
    config: ImportConfig,
) -> intake.Delivery:
    """Copy what is to be imported into the archive, and book what it is and what was found on the
    way. Raises DeliveryRefused, or Failure when the landing zone cannot be read."""
    district_id = imported.district_id
    if config.content:
        # Whatever becomes of it, it is not asked for again.
        with engine.begin() as conn:
            record_taken(conn, district_id, config.content, imported.id, datetime.now(UTC))
    from_zone = earlier is None and not config.files
    landed = intake.Landed([Path(f).absolute() for f in config.files], ())
    if from_zone:
        landed = _landed(settings, district_id, district, config.content)
    with engine.begin() as conn:
        results.record_findings(conn, imported.id, findings_frame(landed.findings))
    if earlier is None:
        delivery = intake.archive_delivery(archive, district_id, landed.paths)
    else:
        delivery = intake.archive_again(archive, earlier)
    forget_fetched(settings, landed)
    with engine.begin() as conn:
        ledger.record_delivery(conn, imported.id, delivery.path)
        if from_zone and not config.content and not config.preview:
            record_taken(conn, district_id, delivery.name, imported.id, datetime.now(UTC))
    return delivery


def _open(
    archive: Store,
    delivery: intake.Delivery,
    district: DistrictSettings,
    imported: ledger.Import,
    last: ledger.Import | None,
) -> tuple[Package, dict[str, Mode]]:
    """The delivery, opened, and the mode of each file. Raises DeliveryRefused, as when a file is
    missing that it must have, and puts it aside."""
    with kept_aside(archive, imported.district_id, delivery):
        package = intake.open_delivery(archive, delivery)
        missing = missing_files(
            package,
            district.required_files,
            first=last is None or last.effective_hash is None,
            every_time=imported.app == "csv_upload",
            manifest_first=imported.app == "sftp",
        )
        if missing:
            raise DeliveryRefused(missing)
        return package, delivered_modes(package, open_manifest(package))


def _book_another(engine: Engine, import_id: int) -> str:
    """Book that something else lies in the landing zone than was seen there, and say so."""
    message = "Something else lies in the landing zone by now; it is taken when it is whole."
    with engine.begin() as conn:
        ledger.finish_import(conn, import_id, "superseded", datetime.now(UTC), message)
    return message


def _book_repeat(
    engine: Engine, import_id: int, last: ledger.Import, effective: str | None, identity: str
) -> str | None:
    """Book an import as unchanged and say so, when its files and settings are those of the last
    one and nothing of that still waits; None when it has to go on."""
    if (last.effective_hash, last.settings_hash) != (effective, identity):
        return None
    with engine.begin() as conn:
        if holds.deletions_wait(conn, ledger.stands_on(conn, last).id):
            return None
        results.repeat_books(conn, import_id, last)
        message = f"The same files and settings as import {last.id}."
        ledger.finish_import(conn, import_id, "unchanged", datetime.now(UTC), message)
    return message


@stage_asset(
    Snapshot,
    "landing_snapshot",
    "What arrived: the delivery, copied once into the archive, and how it differs from the last. A "
    "district is a partition: `roster district add ID` makes one, the job import_roster imports "
    "what it delivered.",
    {"file"},
    output_required=False,
    check_specs=[checks.DELIVERY_IS_ACCEPTED],
)
def landing_snapshot(
    context: dg.AssetExecutionContext,
    config: ImportConfig,
    house: HouseResource,
    warehouse: WarehouseResource,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Takes the delivery in; ends the import as `unchanged` when nothing is new in it."""
    settings, engine = house.settings(), warehouse.engine
    archive = store_at(settings.archive_url)
    district_id = checked_district(context.partition_key)
    _check_config(config, context.run.job_name)
    earlier = _earlier(engine, archive, district_id, config)
    app = _app(earlier, config)
    _check_active(house.district(district_id), app)
    district = house.district(district_id).for_app(app)
    identity = settings_hash(district, house.suites(), datetime.now(district.zone).date())
    run_id = context.run.run_id
    imported = _begin(engine, district_id, app, config, run_id, identity)
    context.instance.add_run_tags(run_id, {IMPORT_TAG: str(imported.id)})
    accepted = checks.evaluate_delivery(findings_frame(), imported.id)
    with booked(context, warehouse, imported.id):
        delivery = _take_in(settings, engine, archive, district, imported, earlier, config)
        if not is_what_was_seen(delivery.name, config.content):
            context.log.info(_book_another(engine, imported.id))
            yield accepted
            return
        with reading(engine) as conn:
            last = ledger.last_accepted(conn, district_id)
        to_compare = None if config.force else last
        unchanged = None
        if to_compare and (to_compare.delivery, to_compare.app) == (delivery.path, app):
            # Upon itself a delivery changes nothing; it need not be opened.
            same = to_compare.effective_hash
            unchanged = _book_repeat(engine, imported.id, to_compare, same, identity)
        if not unchanged:
            package, modes = _open(archive, delivery, district, imported, last)
            hashes = intake.file_hashes(package)
            base_hash = last.effective_hash if last else None
            base = load_sources(archive, district_id, base_hash)
            outdated = roles_are_outdated(package)
            sources = next_sources(base, hashes, modes, roles_outdated=outdated)
            effective = effective_hash(sources)
            if to_compare:
                unchanged = _book_repeat(engine, imported.id, to_compare, effective, identity)
        if unchanged:
            context.log.info(unchanged)
            yield accepted
            return
        yield dg.MaterializeResult(
            value=Snapshot(imported.id, delivery, base_hash, sources, package),
            metadata={
                **import_metadata(imported.id),
                "app": imported.app,
                "bytes": delivery.size,
                "files": dg.MetadataValue.md(
                    "\n".join(f"- {name}: `{digest[:12]}`" for name, digest in hashes.items())
                ),
                "archived in": dg.MetadataValue.path(archive.address(delivery.path)),
                "effective_hash": effective,
                **report_metadata(settings.reports, district_id, imported.id),
            },
            check_results=[accepted],
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
        snapshot, archive = landing_snapshot, store_at(house.settings().archive_url)
        district_id = checked_district(context.partition_key)
        started = time.perf_counter()
        with kept_aside(archive, district_id, snapshot.delivery):
            package = snapshot.package or intake.open_delivery(archive, snapshot.delivery)
            delivery = read_delivery(package)
            replaced = [name for name, mode in delivery.modes.items() if mode == "bulk"]
            base = load_base(archive, district_id, snapshot.base_hash, without=replaced)
            effective = apply_delivery(delivery, base)
        parsed = parse(effective, house.district(district_id).for_app(imported.app))
        seconds = time.perf_counter() - started
        intake.keep(archive, snapshot.delivery)
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
