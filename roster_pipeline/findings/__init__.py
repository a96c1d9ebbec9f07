"""What is to be told: findings, their severities and codes, and what a stage returns.

Every sentence the product says about a record or a file has its code here, with what happened and
how to mend it, so that the command line, the checks, the reports and the mails say the same thing
in the same words. Messages name files, rows, ids, attributes; never a person's data.

`codes` has the kinds of finding, `outcome` what travels, `telling` how a stage makes them.
"""

from roster_pipeline.findings.code import Code, Severity
from roster_pipeline.findings.codes import CODES
from roster_pipeline.findings.outcome import (
    FINDING_COLUMNS,
    DeliveryRefused,
    Finding,
    Outcome,
    concat_findings,
    findings_frame,
)
from roster_pipeline.findings.telling import finding, tell, tell_records

__all__ = [
    "CODES",
    "FINDING_COLUMNS",
    "Code",
    "DeliveryRefused",
    "Finding",
    "Outcome",
    "Severity",
    "concat_findings",
    "finding",
    "findings_frame",
    "tell",
    "tell_records",
]
