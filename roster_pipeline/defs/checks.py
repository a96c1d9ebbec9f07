"""Asset checks: for each a builder of its spec and a pure evaluator, side by side.

Row-level faults warn, since the rest of the roster goes on; only what must stop an import is an
error and blocks. A check shows ids, files, rows and rules, never a person's data.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster_shared.record import replace

from roster_pipeline.defs.partitions import DISTRICTS
from roster_pipeline.findings import CODES
from roster_pipeline.roster import RECEIVED_OUTCOMES, Roster
from roster_pipeline.stages.sanity import Oddity
from roster_pipeline.warehouse.review import Review

SHOWN_FINDINGS = 20


def _spec(
    name: str, asset: str | list[str], description: str, *, blocking: bool = False
) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        # Partitioned checks are a preview in Dagster 1.13; the version is pinned by the lock.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset=asset, description=description, blocking=blocking, partitions_def=DISTRICTS
        )


DELIVERY_IS_ACCEPTED = _spec(
    "delivery_is_accepted",
    "landing_snapshot",
    "The delivery can be read: nothing in it makes the import refuse it.",
    blocking=True,
)


def evaluate_delivery(fatal: pd.DataFrame, import_id: int) -> dg.AssetCheckResult:
    """Fail when the delivery is refused. fatal: the findings for which it is."""
    metadata: dict[str, Any] = {
        "reasons to refuse it": len(fatal),
        "all of them": f"roster findings {import_id} --status fatal",
    }
    if len(fatal):
        metadata["what to do"] = "\n".join(fatal["message"] + " " + fatal["how_to_fix"])
    return dg.AssetCheckResult(
        passed=fatal.empty,
        check_name=DELIVERY_IS_ACCEPTED.name,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def told_of_refusal(
    fatal: pd.DataFrame, import_id: int, district_id: str, last: dg.EventLogRecord | None
) -> dg.AssetCheckEvaluation:
    """The check of a refused delivery as an event. last: the district's last snapshot, as an event;
    a check that is of no snapshot, or of an older one, is shown as one that was not evaluated."""
    result = evaluate_delivery(fatal, import_id)
    target = last and AssetCheckEvaluationTargetMaterializationData(
        storage_id=last.storage_id, run_id=last.run_id, timestamp=last.timestamp
    )
    return dg.AssetCheckEvaluation(
        DELIVERY_IS_ACCEPTED.asset_key,
        DELIVERY_IS_ACCEPTED.name,
        result.passed,
        result.metadata,
        target_materialization_data=target,
        severity=result.severity,
        blocking=True,
        partition=district_id,
    )


def not_reached(
    key: dg.AssetCheckKey, district_id: str, why: str, before: dg.AssetCheckEvaluation | None
) -> dg.AssetCheckEvaluation:
    """A check that a run was to evaluate and did not come to, as an event: what it said before
    stands, since its asset is what it was. One that has said nothing yet warns, for nothing was
    found to be right."""
    told = before or dg.AssetCheckEvaluation(
        key.asset_key,
        key.name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        partition=district_id,
    )
    stands = " What is shown here is of an earlier import." if before else ""
    return replace(told, description=f"Not reached: {why}{stands}")


FINDING_CHECKS = {
    "parsed_roster": ("rows_are_readable", "Every row fits its header and can be read."),
    "mapped_roster": ("files_fit_together", "Rows of the files that belong together are there."),
    "complete_roster": ("required_data_is_there", "No record lacks an attribute it must have."),
    "unique_roster": ("people_are_unique", "No two people share an e-mail or an id."),
    "linked_roster": ("references_resolve", "Every reference leads to a record."),
}
"""By stage: the check that fails when the stage left records out, and what it says."""


def finding_specs(stage: str) -> list[dg.AssetCheckSpec]:
    """The specs of a stage's checks on its findings."""
    if stage not in FINDING_CHECKS:
        return []
    name, description = FINDING_CHECKS[stage]
    return [_spec(name, stage, description)]


def evaluate_findings(
    stage: str, findings: pd.DataFrame, import_id: int
) -> list[dg.AssetCheckResult]:
    """A stage's check: it warns when the stage left records out; findings that were only reported
    are counted."""
    if stage not in FINDING_CHECKS:
        return []
    name, _ = FINDING_CHECKS[stage]
    skipped = findings.loc[findings["severity"] == "skipped"]
    metadata: dict[str, object] = {
        "records left out": int(skipped[["enrollment_type", "row"]].drop_duplicates().shape[0]),
        "findings": len(findings),
        "all of them": f"roster findings {import_id} --stage {stage}",
    }
    if len(findings):
        metadata["rules"] = _rules(findings)
        metadata["first findings"] = _records(findings)
    return [
        dg.AssetCheckResult(
            passed=skipped.empty,
            check_name=name,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata,  # type: ignore[arg-type]
        )
    ]


def _rules(findings: pd.DataFrame) -> dg.TableMetadataValue:
    keys = ["code", "severity", "file"]
    counts = findings[keys].fillna("").value_counts().head(SHOWN_FINDINGS)
    return dg.MetadataValue.table(
        [
            dg.TableRecord({"rule": CODES[row["code"]].title, **row})
            for row in _plain_rows(counts.rename("findings").reset_index())
        ]
    )


def _records(findings: pd.DataFrame) -> dg.TableMetadataValue:
    columns = ["file", "row", "source_id", "field", "severity", "message"]
    shown = findings.head(SHOWN_FINDINGS)[columns].astype(object).where(lambda f: f.notna(), "")
    return dg.MetadataValue.table([dg.TableRecord(row) for row in _plain_rows(shown)])


def _plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame with values that Dagster's tables take."""
    return [
        {str(k): v if isinstance(v, int) else str(v) for k, v in row.items()}
        for row in frame.to_dict("records")
    ]


FILTERS_KEEP_RECORDS = _spec(
    "filters_keep_records",
    "filtered_roster",
    "The filter rules leave something of every enrollment type they filter.",
)


def evaluate_filters(roster: Roster, import_id: int) -> dg.AssetCheckResult:
    """Warn when filters left nothing of a type of which there was something: few mean that."""
    gone = roster.ended.loc[roster.ended["outcome"] == "filtered", "enrollment_type"].value_counts()
    filtered = {str(name): int(number) for name, number in gone.items()}
    emptied = [name for name in filtered if not len(roster.frames.get(name, ()))]
    return dg.AssetCheckResult(
        passed=not emptied,
        check_name=FILTERS_KEEP_RECORDS.name,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "filtered": filtered,
            "nothing left of": ", ".join(emptied),
            "all of them": f"roster records {import_id} --outcome filtered",
        },
    )


IS_PLAUSIBLE = _spec(
    "is_plausible",
    "linked_roster",
    "Students have classes, classes have teachers, and so on: what is allowed but rarely meant.",
)


def evaluate_oddities(oddities: Sequence[Oddity]) -> dg.AssetCheckResult:
    """Warn of oddities, each with its number and the first ids."""
    there = [oddity for oddity in oddities if len(oddity.source_ids)]
    metadata: dict[str, Any] = {oddity.says: len(oddity.source_ids) for oddity in there}
    if there:
        metadata["whose"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "what": oddity.says,
                        "records": len(oddity.source_ids),
                        "first ids": ", ".join(oddity.source_ids.head(SHOWN_FINDINGS)),
                    }
                )
                for oddity in there
            ]
        )
    return dg.AssetCheckResult(
        passed=not there,
        check_name=IS_PLAUSIBLE.name,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


COUNTS_ADD_UP = _spec(
    "counts_add_up",
    "sync_plan",
    "Each received record has exactly one outcome: the outcomes add up to what was received.",
    blocking=True,
)


def evaluate_counts(received: dict[str, int], counts: pd.DataFrame) -> dg.AssetCheckResult:
    """Compare the records received, by enrollment type, with the sum of their outcomes (4.13)."""
    of_received = counts.loc[counts["outcome"].isin(RECEIVED_OUTCOMES)]
    sums = of_received.groupby("enrollment_type")["records"].sum().to_dict()
    wrong = {
        name: f"received {number}, outcomes {int(sums.get(name, 0))}"
        for name, number in received.items()
        if number != sums.get(name, 0)
    }
    return dg.AssetCheckResult(
        passed=not wrong,
        check_name=COUNTS_ADD_UP.name,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"received": sum(received.values()), **wrong},
    )


SCHOOLS_ARE_MAPPED = _spec(
    "schools_are_mapped",
    "school_mapped_roster",
    "Every organisation of the delivery has a school, and every school is in the delivery.",
)


def evaluate_schools(
    pending: pd.DataFrame, findings: pd.DataFrame, district_id: str
) -> dg.AssetCheckResult:
    """Warn when organisations wait for a person (columns org_id), or schools have vanished (among
    the findings)."""
    vanished = findings.loc[findings["code"] == "school_vanished", "source_id"]
    metadata: dict[str, object] = {
        "waiting": ", ".join(pending["org_id"].head(SHOWN_FINDINGS)),
        "vanished": ", ".join(vanished.head(SHOWN_FINDINGS)),
        "all of them": f"roster schools {district_id}",
    }
    return dg.AssetCheckResult(
        passed=pending.empty and vanished.empty,
        check_name=SCHOOLS_ARE_MAPPED.name,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,  # type: ignore[arg-type]
    )


WITHIN_HOLD_THRESHOLDS = _spec(
    "within_hold_thresholds",
    "sync_plan",
    "The plan does no more than an import may do without a person's approval.",
)


HOW_TO_DECIDE = """\
If it is right, launch the job approve_import for this district with the config
ops: {{landing_snapshot: {{config: {{resume: {import_id}, reason: why it is right}}}}}}
(in a terminal: roster approve {import_id} --reason …).
If it is wrong, launch reject_import with the config
ops: {{reject: {{config: {{import_id: {import_id}, reason: why it is wrong}}}}}}
(in a terminal: roster reject {import_id} --reason …)."""
"""Dagster's pages show it with or without its line breaks."""
WHAT_TO_DO = "what to do"


def evaluate_hold(review: Review, import_id: int) -> dg.AssetCheckResult:
    """Warn when there are reasons to hold the plan, and say them and how to decide."""
    metadata: dict[str, object] = {"verdict": review.verdict}
    if review.reasons:
        metadata["reasons"] = "\n".join(reason.message for reason in review.reasons)
        metadata["causes"] = "\n".join(review.causes)
    if review.verdict == "hold":
        metadata[WHAT_TO_DO] = HOW_TO_DECIDE.format(import_id=import_id)
    return dg.AssetCheckResult(
        passed=not review.reasons,
        check_name=WITHIN_HOLD_THRESHOLDS.name,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,  # type: ignore[arg-type]
    )


def told_of_decision(held: dg.AssetCheckEvaluation, decision: str) -> dg.AssetCheckEvaluation:
    """The check of a plan that waited, when it waits no more: why it did, and what was decided."""
    metadata = {name: told for name, told in held.metadata.items() if name != WHAT_TO_DO}
    return held.with_metadata({**metadata, "decided": decision})


def merged_spec(table: str) -> dg.AssetCheckSpec:
    """The spec of the check of one of the warehouse's tables."""
    return _spec(
        "merged_as_planned",
        ["warehouse", table],
        "The table has as many active records of the district as the plan said.",
    )


def evaluate_merge(
    table: str, planned: int, active: int, *, deletions_wait: bool
) -> dg.AssetCheckResult:
    """Fail when a table has another number of active records than was planned: what was received
    and went in, and what is kept. What was approved without its deletions may have more."""
    return dg.AssetCheckResult(
        passed=active >= planned if deletions_wait else active == planned,
        asset_key=["warehouse", table],
        check_name="merged_as_planned",
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"planned": planned, "active": active, "deletions wait": deletions_wait},
    )
