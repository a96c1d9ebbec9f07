"""Root causes: what to mend first, and what each mending would bring back.

One missing school is one cause with a weight, not thousands of messages of equal rank (design
rule 4.8). Causes come in the order in which to mend them: organisations, then people, then
classes, then enrollments; among equals the heaviest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from roster_pipeline.findings import CODES

CAUSE_COLUMNS = ("severity", "code", "enrollment_type", "source_id", "cause")
"""What `root_causes` needs of findings."""

_ORDER = (
    *("organization", "school", "academic_session", "course"),
    *("person", "student", "teacher", "admin", "contact", "user", "class", "enrollment"),
)
_EACH_ALONE = ("organization", "school")
"""Two of these have nothing to do with one another, whatever fell with each."""
_FILES = {
    "organization": "orgs.csv",
    "school": "orgs.csv",
    "academic_session": "academicSessions.csv",
    "course": "courses.csv",
    "class": "classes.csv",
    "enrollment": "enrollments.csv",
}


@dataclass(frozen=True)
class Cause:
    """Records that are faulty or missing in one way, and what fell with them; an organisation
    always alone.

    code: what is wrong with the roots; `missing` where no row of the file is theirs. roots: their
    source ids. consequences: how many records of each type fell for them, and are well once they
    are mended.
    """

    enrollment_type: str
    code: str
    roots: tuple[str, ...]
    consequences: dict[str, int]

    @property
    def weight(self) -> int:
        """How many records fell for these roots."""
        return sum(self.consequences.values())

    def in_words(self) -> str:
        """«1 school missing from orgs.csv: 412 classes, 9,800 enrollments», «2 students (No email):
        6 enrollments»."""
        noun = self.enrollment_type.replace("_", " ")
        number = len(self.roots)
        what = counted(noun, number)
        if self.code == "missing":
            what += f" missing from {_FILES.get(self.enrollment_type, 'users.csv')}"
        else:
            what += f" ({CODES[self.code].title})"
        fell = [counted(t.replace("_", " "), n) for t, n in self.consequences.items()]
        return f"{what}: {', '.join(fell)}" if fell else what

    def as_json(self) -> dict[str, Any]:
        """The cause as `roster findings --causes --format json` prints it."""
        return {**vars(self), "weight": self.weight, "in_words": self.in_words()}


def counted(noun: str, number: int) -> str:
    """«1 class», «412 classes»."""
    plural = {"person": "people", "class": "classes"}.get(noun, noun + "s")
    return f"{number:,} {noun if number == 1 else plural}"


def root_causes(findings: pd.DataFrame) -> list[Cause]:
    """The causes behind an import's findings (CAUSE_COLUMNS) that left records out."""
    skipped = findings.loc[(findings["severity"] == "skipped") & findings["source_id"].notna()]
    if skipped.empty:
        return []
    own = skipped.loc[skipped["cause"].isna()]
    roots = pd.DataFrame(
        {
            "root": own["enrollment_type"].fillna("user") + "/" + own["source_id"],
            "code": own["code"],
        }
    ).drop_duplicates("root")
    fallen = skipped.loc[skipped["cause"].notna()].drop_duplicates(["enrollment_type", "source_id"])
    named = pd.DataFrame({"root": fallen["cause"].unique()})
    roots = roots.merge(named, on="root", how="outer").fillna({"code": "missing"})
    roots[["type", "id"]] = roots["root"].str.split("/", n=1, expand=True)
    alone = roots["id"].where(roots["type"].isin(_EACH_ALONE), "")
    roots["number"] = roots.groupby(["type", "code", alone], sort=False).ngroup()
    fallen = fallen.merge(roots[["root", "number"]], left_on="cause", right_on="root")
    fell = fallen.groupby(["number", "enrollment_type"], sort=False).size().reset_index()
    consequences: dict[Any, dict[str, int]] = {}
    for number, kind, records in fell.itertuples(index=False, name=None):
        consequences.setdefault(number, {})[kind] = records
    causes = [
        Cause(str(kind), str(code), tuple(mine["id"]), consequences.get(number, {}))
        for (number, kind, code), mine in roots.groupby(["number", "type", "code"], sort=False)
    ]
    return sorted(causes, key=lambda c: (_ORDER.index(c.enrollment_type), -c.weight, -len(c.roots)))
