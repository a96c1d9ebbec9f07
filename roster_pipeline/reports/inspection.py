"""What can be said of a delivery by itself: read without a district and without importing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import DeliveryRefused, concat_findings, findings_frame
from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.effective import apply_delivery
from roster_pipeline.oneroster.package import open_package
from roster_pipeline.reports.summary import as_records
from roster_pipeline.stages.attributes import AttributeSettings, empty_frame, map_attributes
from roster_pipeline.stages.links import link_records
from roster_pipeline.stages.parse import ParseSettings, parse
from roster_pipeline.stages.schools import decide_schools


@dataclass(frozen=True)
class Inspection:
    """A delivery as read.

    version: None when it could not be settled. accepted: whether an import would take it, as far
    as the standard goes. files: file, mode, rows. findings: a frame with FINDING_COLUMNS.
    """

    version: str | None
    accepted: bool
    files: list[dict[str, Any]]
    findings: pd.DataFrame

    def as_json(self) -> dict[str, Any]:
        """As `roster inspect --format json` prints it (design section 8)."""
        return {
            "version": self.version,
            "accepted": self.accepted,
            "files": self.files,
            "findings": as_records(self.findings),
        }


def inspect_delivery(paths: Sequence[Path]) -> Inspection:
    """Read a delivery, check it against the standard, and follow its references as far as the
    files they lead to are there. Files a district may have sent before are not missed."""
    try:
        delivery = read_delivery(open_package(paths))
    except DeliveryRefused as refusal:
        return Inspection(None, False, [], findings_frame(refusal.findings))
    # By itself a delta is read as if it were whole; what it names may have been sent before.
    alone = replace(delivery, modes=dict.fromkeys(delivery.modes, "bulk"))
    parsed = parse(apply_delivery(alone, {}), ParseSettings())
    mapped = map_attributes(parsed.roster, AttributeSettings())
    told = [parsed.findings, mapped.findings]
    if "delta" not in delivery.modes.values():
        nothing = {
            name: empty_frame(t).assign(active=pd.Series(dtype=bool))
            for name, t in ENROLLMENT_TYPES.items()
        }
        schools = mapped.roster.frames["school"]
        decisions = decide_schools(schools, nothing["school"], {})
        told.append(link_records(mapped.roster, lambda name, _: nothing[name], decisions).findings)
    files = [
        {"file": f"{name}.csv", "mode": delivery.modes[name], "rows": reading.rows}
        for name, reading in delivery.readings.items()
    ]
    return Inspection(delivery.version.name, True, files, concat_findings(told))
