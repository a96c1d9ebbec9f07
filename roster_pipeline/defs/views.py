"""The views over a district: what the assets `data_quality` and `overview` say, and their renewal.

Every import renews them, however it ended. Dagster skips whatever comes after a step that failed or
was skipped, so they are no steps of an import's run: when the run ends, the reports of the imports
it changed are written, both assets are told to be materialised, and the checks that were not
evaluated say why (`renew_views`).

A check is told of as an event of the run that was to evaluate it, never as one without a run:
Dagster shows the check of the run that was created last, and one that waits in the queue for this
run's end must not be hidden.

Numbers have the same names and kinds for every import, since Dagster plots them over time.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
)
from sqlalchemy import Engine

from roster_pipeline.defs import checks
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import CODES
from roster_pipeline.reports.charts import as_markdown, bar_chart
from roster_pipeline.reports.html import render_report, report_path, write_report
from roster_pipeline.reports.quality import Quality, import_quality
from roster_pipeline.reports.statuses import STATUS_WORDS
from roster_pipeline.reports.summary import as_records
from roster_pipeline.settings import Settings
from roster_pipeline.stages.hold import nouns
from roster_pipeline.warehouse import ledger, queries, results
from roster_pipeline.warehouse.database import reading

SHOWN_RULES = 50
SHOWN_SCHOOLS = 100
LAST_CHECKS = 100
"""At how many evaluations of a check, the last ones, is looked for what an import waited for."""

_OF_SCHOOLS = [
    t.name for t in ENROLLMENT_TYPES.values() if t.school_attribute and t.name != "school"
]
_COLUMNS = [nouns(name) for name in _OF_SCHOOLS]

RULES = {
    "severity": "string",
    "of": "string",
    "rule": "string",
    "findings": "int",
    "new": "int",
    "gone": "int",
    "code": "string",
}
"""The columns of the table of rules, and their types in Dagster."""


def renew_views(
    instance: dg.DagsterInstance,
    engine: Engine,
    settings: Settings,
    district_id: str,
    changed: Collection[int],
) -> None:
    """Let all that is shown of a district say what is so now, after these of its imports came to
    another status: `data_quality` and `overview`, the imports' checks and their reports. The
    reports last, so that a disk that is full keeps nothing else from being told. What is still
    running is not told of."""
    with reading(engine) as conn:
        imports = [ledger.get_import(conn, import_id) for import_id in sorted(changed)]
        ended = [imported for imported in imports if imported.status != "running"]
        if not ended:
            return
        newest = ledger.newest_ended(conn, district_id)
        told = {i.id for i in (*ended, newest) if i is not None}
        qualities = {import_id: import_quality(conn, import_id) for import_id in told}
        fatal = {i.id: results.findings(conn, i.id, severity="fatal") for i in ended}
        overview = queries.overview(conn, district_id)
        views = {"overview": overview_metadata(overview, district_id)}
        if newest is not None:
            views["data_quality"] = quality_metadata(settings.reports, qualities[newest.id])
    for asset, metadata in views.items():
        instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=district_id, metadata=metadata)
        )
    for imported in ended:
        if imported.run_id is None:
            continue
        if imported.status == "refused":
            _tell_refusal(instance, imported, imported.run_id, fatal[imported.id])
        if imported.status in ("refused", "failed"):
            ended_as = "was refused" if imported.status == "refused" else "failed"
            why = f"import {imported.id} {ended_as} before; `roster show {imported.id}` says why."
            tell_unreached(instance, district_id, imported.run_id, why)
        if imported.status in ("rejected", "superseded"):
            _tell_decision(instance, imported, imported.run_id)
    with reading(engine) as conn:
        for imported in ended:
            quality, now = qualities[imported.id], datetime.now(UTC)
            html = render_report(conn, settings.reports, settings.districts, quality, overview, now)
            write_report(html, report_path(settings.reports, district_id, imported.id))


def tell_unreached(instance: dg.DagsterInstance, district_id: str, run_id: str, why: str) -> None:
    """Let the checks that a run was to evaluate, and did not come to, say why: of a run that
    failed, Dagster would show them as failed. What the run did not touch is as it was, and so is
    what a check said of it: also what an import waits for."""
    planned = _check_events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    for key in planned.keys() - _evaluations(instance, run_id).keys():
        before = next(iter(_said(instance, key, district_id, limit=1).values()), None)
        _report(instance, run_id, checks.not_reached(key, district_id, why, before))


def _tell_refusal(
    instance: dg.DagsterInstance, imported: ledger.Import, run_id: str, fatal: pd.DataFrame
) -> None:
    """Let the check of the delivery fail: whichever stage refused it, what a step that fails had
    still to say is lost."""
    mine = dg.AssetRecordsFilter(
        checks.DELIVERY_IS_ACCEPTED.asset_key, asset_partitions=[imported.district_id]
    )
    last = next(iter(instance.fetch_materializations(mine, limit=1).records), None)
    told = checks.told_of_refusal(fatal, imported.id, imported.district_id, last)
    _report(instance, run_id, told)


def _tell_decision(instance: dg.DagsterInstance, imported: ledger.Import, run_id: str) -> None:
    """Let no check say any more how an import is to be decided on."""
    key = checks.WITHIN_HOLD_THRESHOLDS.key
    held = _evaluations(instance, run_id).get(key)
    if held is None or checks.WHAT_TO_DO not in held.metadata:
        return
    for told_in, said in _said(instance, key, imported.district_id, LAST_CHECKS).items():
        if said.metadata == held.metadata:
            _report(instance, told_in, checks.told_of_decision(said, imported.message or ""))


def _evaluations(
    instance: dg.DagsterInstance, run_id: str
) -> dict[dg.AssetCheckKey, dg.AssetCheckEvaluation]:
    """What a run's checks said last."""
    return _check_events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)


def _check_events(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType
) -> dict[dg.AssetCheckKey, Any]:
    events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=kind)]
    told = [event.event_specific_data for event in events if event is not None]
    return {data.asset_check_key: data for data in told}  # type: ignore[union-attr]


def _said(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, district_id: str, limit: int
) -> dict[str, dg.AssetCheckEvaluation]:
    """What a check last said of a district, by run, the newest first."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        key,
        limit=limit,
        status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
        partition_filter=PartitionKeyFilter(key=district_id),
    )
    return {r.run_id: r.evaluation for r in records if r.evaluation is not None}


def _report(instance: dg.DagsterInstance, run_id: str, told: dg.AssetCheckEvaluation) -> None:
    """Note in a run what a check says, in the place of what it said there before."""
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    event = dg.DagsterEvent(kind, "", event_specific_data=told, message=told.description)
    instance.report_dagster_event(event, run_id)


def quality_metadata(reports: Path, quality: Quality) -> dict[str, Any]:
    """What `data_quality` says of a district's last import."""
    imported = quality.imported
    words, sentence = STATUS_WORDS[imported.status]
    rules = [
        {
            "severity": rule["severity"],
            "of": _of(rule["enrollment_type"]),
            "rule": CODES[rule["code"]].title,
            "findings": rule["findings"],
            "new": rule["new"],
            "gone": rule["gone"],
            "code": rule["code"],
        }
        for rule in as_records(quality.rules.head(SHOWN_RULES))
    ]
    return {
        "import": _import_in_words(imported),
        "status": f"{words}. {imported.message or sentence}",
        "score, of 100": quality.score,
        "rows": quality.rows,
        "rows, left out": quality.rows_left_out,
        "rows, in with a notice": quality.rows_told,
        "findings": quality.findings,
        "findings, new": quality.new,
        "findings, gone": quality.gone,
        "compared with": f"import {quality.before}" if quality.before else "nothing",
        "by rule": table_metadata(RULES, rules),
        "report": dg.MetadataValue.path(
            str(report_path(reports, imported.district_id, imported.id))
        ),
        "all findings": f"roster findings {imported.id}, or of a rule: "
        f"roster findings {imported.id} --code CODE",
        **_run(imported),
    }


def overview_metadata(counts: pd.DataFrame, district_id: str) -> dict[str, Any]:
    """What `overview` says of a district: its active records, by type and by school. counts: as
    `queries.overview` returns them."""
    by_type = counts.groupby("enrollment_type")["records"].sum().to_dict()
    totals = {nouns(name): int(by_type.get(name, 0)) for name in ENROLLMENT_TYPES}
    lines = _by_school(counts)
    chart = bar_chart("overview", f"Active records of {district_id}", list(totals.items()))
    columns = {"school": "string", **dict.fromkeys(_COLUMNS, "int")}
    return {
        **totals,
        "chart": dg.MetadataValue.md(as_markdown(chart, "Active records by type")),
        "by school": table_metadata(columns, lines[:SHOWN_SCHOOLS]),
        "all of it": f"roster overview {district_id}",
    }


def _by_school(counts: pd.DataFrame) -> list[dict[str, Any]]:
    """A line for each school, by name; organisations that are none, and the district, come last."""
    told: dict[str | None, dict[str, Any]] = {}
    rows = as_records(counts.loc[counts["enrollment_type"].isin(_OF_SCHOOLS)])
    for row in sorted(rows, key=lambda r: (r["school"] is None, r["school_name"] is None)):
        school = row["school"]
        name = row["school_name"] or (f"{school} (no school)" if school else "the district")
        line = told.setdefault(school, {"school": name, **dict.fromkeys(_COLUMNS, 0)})
        line[nouns(row["enrollment_type"])] = int(row["records"])
    return list(told.values())


def table_metadata(
    columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]
) -> dg.MetadataValue:
    """A table in Dagster; columns by name with their type, so that it may be without rows."""
    schema = dg.TableSchema([dg.TableColumn(name, type=kind) for name, kind in columns.items()])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)


def _of(enrollment_type: str | None) -> str:
    return enrollment_type.replace("_", " ") if enrollment_type else "the file"


def _import_in_words(imported: ledger.Import) -> str:
    # As text: a number would be plotted.
    return f"{imported.id} ({imported.app}, {imported.started_at:%Y-%m-%d %H:%M} UTC)"


def _run(imported: ledger.Import) -> dict[str, dg.MetadataValue]:
    return {"run": dg.MetadataValue.dagster_run(imported.run_id)} if imported.run_id else {}
