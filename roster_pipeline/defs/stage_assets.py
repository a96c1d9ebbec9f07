"""What the assets of all stages share: how one is declared, booked, run and reported.

A refused delivery closes its import as `refused`, anything unforeseen as `failed`; a stage of an
import that has ended is not run again by itself.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from roster_pipeline.defs import checks
from roster_pipeline.defs.io import StagedRoster
from roster_pipeline.defs.partitions import DISTRICTS, checked_district
from roster_pipeline.defs.resources import HouseResource, WarehouseResource
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.findings import DeliveryRefused, Outcome, findings_frame
from roster_pipeline.landing.store import StoreError
from roster_pipeline.reports.html import report_path
from roster_pipeline.roster import RECEIVED_OUTCOMES, REJECTED_OUTCOMES, Roster
from roster_pipeline.stages.schools import decide_schools
from roster_pipeline.warehouse import ledger, results
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.mappings import read_mappings
from roster_pipeline.warehouse.state import known_schools

GROUP = "import"
OWNERS = ["team:data"]
REFUSED_TAG = "roster/refused"
ENDINGS = ("filtered", *REJECTED_OUTCOMES)
"""What can become of a record before the plan."""


def stage_asset(
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
def booked(
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
            # These are ours and say why; what another exception carries may be a person's.
            why = error.description if isinstance(error, dg.Failure) else None
            why = str(error) if isinstance(error, StoreError) else why
            message = f"{context.asset_key.to_user_string()}: {why or type(error).__name__}"
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
        results.record_findings(conn, import_id, told)
        ledger.finish_import(conn, import_id, "refused", datetime.now(UTC), str(refusal))
    context.instance.add_run_tags(context.run.run_id, {REFUSED_TAG: "true"})
    remedies = "\n".join(f"{f.message} {f.how_to_fix}" for f in refusal.findings)
    raise dg.Failure(
        f"The delivery is refused; the warehouse is as it was.\n{remedies}",
        metadata={"import_id": import_id, "findings": f"roster findings {import_id}"},
        allow_retries=False,
    ) from None


def import_metadata(import_id: int) -> dict[str, Any]:
    """What every asset says of the import it is of: its number, as text since Dagster plots what
    is a number, and where to read of it."""
    return {"import_id": str(import_id), "summary": f"roster show {import_id}"}


def report_metadata(reports: Path, district_id: str, import_id: int) -> dict[str, Any]:
    """Where the import's report is; it is written when its run ends."""
    path = report_path(reports, district_id, import_id)
    return {"report": dg.MetadataValue.path(str(path))}


def outcome_metadata(counts: pd.DataFrame) -> dict[str, int]:
    """How many records had each outcome (columns outcome, records), those that none had too, so
    that a plot has no gaps."""
    by_outcome = counts.groupby("outcome")["records"].sum()
    return {name: int(by_outcome.get(name, 0)) for name in (*RECEIVED_OUTCOMES, "deleted", "kept")}


def report_stage(
    stage: str,
    outcome: Outcome,
    import_id: int,
    warehouse: WarehouseResource,
    seconds: float,
    more: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult:
    """Record what the stage found, and report it."""
    results.record_findings_apart(warehouse.engine, import_id, outcome.findings)
    records = {name: len(frame) for name, frame in outcome.roster.frames.items()}
    ended = outcome.roster.ended["outcome"].value_counts()
    total = sum(records.values())
    return dg.MaterializeResult(
        value=StagedRoster(import_id, outcome.roster),
        metadata={
            **import_metadata(import_id),
            "dagster/row_count": total,
            "records": records,
            **{f"{name} so far": int(ended.get(name, 0)) for name in ENDINGS},
            "findings": len(outcome.findings),
            "rows per second": round(total / max(seconds, 1e-6)),
            "all findings": f"roster findings {import_id} --stage {stage}",
            **(more or {}),
        },
        check_results=checks.evaluate_findings(stage, outcome.findings, import_id),
    )


def run_stage(
    context: dg.AssetExecutionContext,
    house: HouseResource,
    warehouse: WarehouseResource,
    before: StagedRoster,
    stage: Callable[[Roster, DistrictSettings], Outcome],
    further_checks: Callable[[Roster], list[dg.AssetCheckResult]] = lambda _: [],
) -> dg.MaterializeResult:
    """A stage that needs only the roster and the district's settings."""
    with booked(context, warehouse, before.import_id) as imported:
        settings = house.district(checked_district(context.partition_key)).for_app(imported.app)
        started = time.perf_counter()
        outcome = stage(before.roster, settings)
        seconds = time.perf_counter() - started
        name = context.asset_key.path[-1]
        result = report_stage(name, outcome, before.import_id, warehouse, seconds)
        told = [*(result.check_results or ()), *further_checks(outcome.roster)]
        return result._replace(check_results=told)


def school_decisions(
    warehouse: WarehouseResource,
    house: HouseResource,
    district_id: str,
    imported: ledger.Import,
    roster: Roster,
) -> pd.DataFrame:
    """Which school of the warehouse each received one is, under the settings of the import."""
    with reading(warehouse.engine) as conn:
        return decide_schools(
            roster.frames["school"],
            known_schools(conn, district_id),
            read_mappings(conn, district_id),
            house.district(district_id).for_app(imported.app).schools,
        )
