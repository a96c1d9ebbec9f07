"""The views over a district: what the assets `data_quality` and `overview` say, and their renewal.

Every import renews them, however it ended. Dagster skips whatever comes after a step that failed or
was skipped, so they are no steps of an import's run: when the run ends, its import's report is
written and both assets are told to be materialised (`renew_views`).

Numbers have the same names and kinds for every import, since Dagster plots them over time.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from sqlalchemy import Connection, Engine

from roster_pipeline.defs import checks
from roster_pipeline.findings import CODES
from roster_pipeline.reports.charts import as_markdown, bar_chart
from roster_pipeline.reports.html import STATUS_WORDS, report_path, write_report
from roster_pipeline.reports.quality import Quality, import_quality
from roster_pipeline.reports.summary import as_records
from roster_pipeline.roster import ENROLLMENT_TYPES
from roster_pipeline.settings import Settings
from roster_pipeline.stages.hold import nouns
from roster_pipeline.warehouse import ledger, queries
from roster_pipeline.warehouse.database import reading

SHOWN_RULES = 50
SHOWN_SCHOOLS = 100

_OF_SCHOOLS = [
    t.name for t in ENROLLMENT_TYPES.values() if t.school_attribute and t.name != "school"
]
_COLUMNS = [nouns(name) for name in _OF_SCHOOLS]

RULES = {
    "weight": "string",
    "of": "string",
    "rule": "string",
    "findings": "int",
    "new": "int",
    "gone": "int",
    "code": "string",
}
"""The columns of the table of rules, and their types in Dagster."""


def renew_views(
    instance: dg.DagsterInstance, engine: Engine, settings: Settings, import_id: int
) -> None:
    """Let `data_quality` and `overview` of an import's district say what they say now, and write
    the import's report: last, so that a disk that is full keeps nothing else from being told. Does
    nothing while the import is running."""
    with reading(engine) as conn:
        imported = ledger.get_import(conn, import_id)
        if imported.status == "running":
            return
        quality = import_quality(conn, import_id)
        views = {
            "data_quality": quality_metadata(settings.reports, quality),
            "overview": overview_metadata(conn, imported.district_id),
        }
        fatal = ledger.findings(conn, import_id, severity="fatal")
    for asset, metadata in views.items():
        instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=imported.district_id, metadata=metadata)
        )
    if imported.status == "refused":
        snapshots = dg.AssetRecordsFilter(
            checks.DELIVERY_IS_ACCEPTED.asset_key, asset_partitions=[imported.district_id]
        )
        last = next(iter(instance.fetch_materializations(snapshots, limit=1).records), None)
        instance.report_runless_asset_event(
            checks.told_of_refusal(fatal, import_id, imported.district_id, last)
        )
    with reading(engine) as conn:
        write_report(conn, settings.reports, settings.districts, quality, datetime.now(UTC))


def quality_metadata(reports: Path, quality: Quality) -> dict[str, Any]:
    """What `data_quality` says of a district's last import."""
    imported = quality.imported
    words, sentence = STATUS_WORDS[imported.status]
    rules = [
        {
            "weight": rule["severity"],
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


def overview_metadata(conn: Connection, district_id: str) -> dict[str, Any]:
    """What `overview` says of a district: its active records, by type and by school."""
    counts = queries.overview(conn, district_id)
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
