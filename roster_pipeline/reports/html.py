"""The report of one import: an HTML file that needs nothing but itself, for screen and paper.

It is made for the district's staff as much as for the data team: first what happened and what to
do, then what is wrong and where, then the numbers, each leading to the records behind it. Lists are
cut short and say which command has all of them, so that the file stays small whatever came.

People are named by their id; beside it stands their name masked, or in full where the district's
settings ask for it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from sqlalchemy import Connection

from roster_pipeline.districts.files import DistrictFileError, UnknownDistrict, load_district
from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.enrollment_types import PERSONS
from roster_pipeline.findings import CODES
from roster_pipeline.reports.causes import CAUSE_COLUMNS, root_causes
from roster_pipeline.reports.charts import bar_chart
from roster_pipeline.reports.outcomes import first_records
from roster_pipeline.reports.quality import Quality
from roster_pipeline.reports.schools import schools_of
from roster_pipeline.reports.statuses import STATUS_WORDS, WHAT_TO_DO
from roster_pipeline.reports.summary import ImportSummary, as_records, import_summary
from roster_pipeline.roster import REJECTED_OUTCOMES
from roster_pipeline.stages.hold import nouns
from roster_pipeline.warehouse import ledger, queries, results
from roster_pipeline.warehouse.state import known_schools

EACH = 25
"""How many records or findings of one kind are shown."""
SHOWN_SCHOOLS = 100
SHOWN_BARS = 30
SHOWN_CAUSES = 50
SHOWN_IDS = 10

APPS = {
    "sftp": "SFTP landing zone",
    "csv_upload": "CSV upload",
    ledger.UNDO: "undo of earlier imports",
}
MODES = {
    "bulk": "whole file",
    "delta": "changes only",
    "carried_forward": "not sent; carried forward",
}
SEVERITY_WORDS = {
    "fatal": "delivery refused",
    "skipped": "record left out",
    "reported": "record went in",
}
"""What became of the record a finding is about."""
BECAME = {"record_repeated": "row left out, record went in"}
"""The same, of a code that says more than its severity."""


SCHOOL_NUMBERS = {
    "went in": ("added", "updated", "unchanged", "restored"),
    "left out": REJECTED_OUTCOMES,
    "filtered": ("filtered",),
    "deleted": ("deleted", "removed"),
    "kept": ("kept",),
}
"""What is told of each school, and which outcomes are in it."""


@dataclass(frozen=True)
class Records:
    """The first of the records behind a number. of: their type, or school. rows: with source_id,
    name, file, row, school, and the rules for which they were left out."""

    of: str
    anchor: str
    title: str
    number: int
    command: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class SchoolLine:
    """One school's numbers (SCHOOL_NUMBERS). records: those that were left out or deleted."""

    name: str
    numbers: dict[str, int]
    records: Records


@dataclass(frozen=True)
class Rule:
    """One kind of finding: how often, how often anew and no more, and the first of them. became:
    what became of the record, in words."""

    anchor: str
    title: str
    severity: str
    became: str
    of: str
    findings: int
    new: int
    gone: int
    how_to_fix: str
    command: str
    rows: list[dict[str, Any]] = field(default_factory=list)


def report_path(reports: Path, district_id: str, import_id: int) -> Path:
    """Where the report of an import is."""
    return reports / district_id / f"import-{import_id}.html"


def write_report(html: str, path: Path) -> None:
    """Write a report in the place of an earlier one, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(opened, "w", encoding="utf-8") as stream:
            stream.write(html)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def render_report(
    conn: Connection,
    reports: Path,
    districts: Path,
    quality: Quality,
    overview: pd.DataFrame,
    now: datetime,
) -> str:
    """The report, as HTML, of the import that `quality` is of.

    reports: where its outcomes are. districts: the folder of the districts' files. overview: the
    district's, as it is now.
    """
    import_id = quality.imported.id
    summary = import_summary(conn, import_id)
    settings = _settings(districts, summary.imported)
    found = results.first_findings(conn, import_id, EACH)
    skipped = results.findings(conn, import_id, severity="skipped", columns=CAUSE_COLUMNS)
    by_school = _schools(results.counts(conn, import_id))
    shown_schools = by_school.head(SHOWN_SCHOOLS)
    records = first_records(conn, reports, summary.imported, EACH, list(shown_schools.index))
    schools = dict(_pairs(known_schools(conn, summary.imported.district_id)))
    ids = pd.concat([t[["enrollment_type", "source_id"]] for t in (found, records)])
    people = _People.of(conn, summary.imported.district_id, ids, settings.reports.show_names)
    told, before = _rules_by_record(skipped, records), _import_before(conn, summary.imported)
    writer = _Writer(summary, quality, schools, people, told, before)
    students = _students(overview)
    pending = []
    if summary.imported.status == "needs_school_mapping":
        pending = schools_of(conn, summary.imported.district_id)["pending"]
    return _template().render(
        district=settings.name,
        imported=summary.imported,
        status=STATUS_WORDS[summary.imported.status],
        what_to_do=_what_to_do(summary.imported),
        app=APPS.get(summary.imported.app, summary.imported.app),
        started=_moment(summary.imported.started_at, settings),
        took=_took(summary.imported),
        written=_moment(now, settings),
        files=[{**vars(f), "mode": MODES.get(f.mode, f.mode)} for f in summary.files],
        fatal=summary.fatal,
        hold=summary.hold,
        pending=pending,
        quality=quality,
        rules=writer.rules(found),
        causes=_causes(skipped)[:SHOWN_CAUSES],
        outcomes=writer.outcomes,
        totals={o: sum(c[o] for c in summary.counts.values()) for o in writer.outcomes},
        types=writer.types(),
        records=[
            (name, list(lists)) for name, lists in groupby(writer.records(records), lambda r: r.of)
        ],
        schools=writer.schools(shown_schools, records),
        schools_in_all=len(by_school),
        changes=_changes(summary.changes),
        names_shown=settings.reports.show_names,
        by_type=bar_chart("by-type", "Active records by type", _totals(overview)),
        by_school=bar_chart("by-school", "Active students by school", students[:SHOWN_BARS]),
        empty=overview.empty,
        schools_of_students=len(students),
        each=EACH,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("roster_pipeline.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["words"] = _words
    return environment.get_template("import.html")


def _what_to_do(imported: ledger.Import) -> str:
    """What is to be done about an import of its status, with its own number in the commands."""
    text = re.sub(r"\bIMPORT\b", str(imported.id), WHAT_TO_DO[imported.status])
    return re.sub(r"\bID\b", imported.district_id, text)


def _settings(districts: Path, imported: ledger.Import) -> DistrictSettings:
    """The district's settings; where its file is gone or wrong, those of one that says nothing."""
    try:
        return load_district(districts, imported.district_id).for_app(imported.app)
    except (UnknownDistrict, DistrictFileError):
        return DistrictSettings(name=imported.district_id)


def _import_before(conn: Connection, imported: ledger.Import) -> int | None:
    earlier = (i.id for i in ledger.imports(conn, imported.district_id) if i.id < imported.id)
    return next(earlier, None)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _of(enrollment_type: object) -> str:
    return _words(enrollment_type) if isinstance(enrollment_type, str) else "the file"


def _pairs(schools: pd.DataFrame) -> Iterable[tuple[str, str]]:
    named = schools.loc[schools["name"].notna()]
    return zip(named["source_id"], named["name"], strict=True)


def _moment(at: datetime, settings: DistrictSettings) -> str:
    local = at.astimezone(settings.zone)
    return f"{local:%A, %d %B %Y, %H:%M:%S} ({settings.timezone})"


def _took(imported: ledger.Import) -> str:
    if imported.finished_at is None:
        return ""
    return f"{(imported.finished_at - imported.started_at).total_seconds():,.1f} seconds"


def _schools(counts: pd.DataFrame) -> pd.DataFrame:
    """What became of the records of each school (index: its id), the one that lost most first.
    Columns: SCHOOL_NUMBERS."""
    of_outcome = {
        outcome: name for name, outcomes in SCHOOL_NUMBERS.items() for outcome in outcomes
    }
    counted = counts.dropna(subset="school")
    table = (
        counted.assign(number=counted["outcome"].map(of_outcome))
        .groupby(["school", "number"])["records"]
        .sum()
        .unstack(fill_value=0)
        .reindex(columns=list(SCHOOL_NUMBERS), fill_value=0)
    )
    lost = (table["left out"] + table["deleted"]).sort_values(ascending=False, kind="stable")
    return table.loc[lost.index]


def _totals(overview: pd.DataFrame) -> list[tuple[str, int]]:
    """How many active records there are of each type."""
    by_type = overview.groupby("enrollment_type", sort=False)["records"].sum()
    return [(nouns(str(name)), int(number)) for name, number in by_type.items()]


def _students(overview: pd.DataFrame) -> list[tuple[str, int]]:
    """How many active students each school has, the largest first."""
    students = overview.loc[overview["enrollment_type"] == "student"]
    names = students["school_name"].fillna(students["school"]).fillna("no school")
    pairs = zip(names, students["records"].astype(int), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])


def _changes(changes: pd.DataFrame) -> list[dict[str, Any]]:
    rows = as_records(changes)
    most = max((row["records"] for row in rows), default=0)
    return [{**row, "width": 100 * row["records"] / most} for row in rows]


def _causes(skipped: pd.DataFrame) -> list[dict[str, Any]]:
    """What to mend first, the heaviest first among equals, as `root_causes` has them."""
    return [
        {
            "weight": cause.weight,
            "in_words": cause.in_words(),
            "ids": ", ".join(cause.roots[:SHOWN_IDS]),
            "more": len(cause.roots) - SHOWN_IDS,
        }
        for cause in root_causes(skipped)
    ]


def _rules_by_record(skipped: pd.DataFrame, records: pd.DataFrame) -> dict[tuple[str, str], str]:
    """By type and id, for which rules a shown record was left out."""
    mine = skipped.loc[skipped["source_id"].isin(records["source_id"])]
    told: dict[tuple[str, str], list[str]] = {}
    for row in mine[["enrollment_type", "source_id", "code"]].itertuples(index=False):
        title = CODES[str(row.code)].title
        titles = told.setdefault((str(row.enrollment_type), str(row.source_id)), [])
        if title not in titles:
            titles.append(title)
    return {key: "; ".join(titles) for key, titles in told.items()}


@dataclass(frozen=True)
class _People:
    """What people are called beside their id, by type and id."""

    names: dict[tuple[str, str], str]

    @classmethod
    def of(cls, conn: Connection, district_id: str, ids: pd.DataFrame, shown: bool) -> _People:
        names = {}
        for name in PERSONS:
            mine = ids.loc[ids["enrollment_type"] == name, "source_id"].dropna().unique().tolist()
            found = queries.people_names(conn, district_id, name, mine)
            for source_id, (first, last) in found.items():
                full = " ".join(part for part in (first, last) if part)
                names[name, source_id] = full if shown else _masked(first, last)
        return cls(names)

    def name(self, row: dict[str, Any]) -> str:
        """The name to show of a record, blank when it has none."""
        return self.names.get((row["enrollment_type"], row["source_id"]), "")


def _masked(first: str | None, last: str | None) -> str:
    """«J*** S****»: enough to know whom one has before oneself, and no more; the stars do not tell
    how long a name is."""
    parts = (f"{first[0]}***" if first else "", f"{last[0]}****" if last else "")
    return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class _Writer:
    """What is written of one import, as the template has it. before: the district's import before
    this one."""

    summary: ImportSummary
    quality: Quality
    school_names: dict[str, str]
    people: _People
    rules_by_record: dict[tuple[str, str], str]
    before: int | None

    @property
    def outcomes(self) -> list[str]:
        """The columns of the table of types: those that say something of this import."""
        counts = list(self.summary.counts.values())
        return [name for name in (counts[0] if counts else ()) if any(c[name] for c in counts)]

    def types(self) -> list[dict[str, Any]]:
        """The lines of the table of types: each number, and where it leads."""
        by_type = self.summary.counts
        return [
            {
                "name": name,
                "numbers": [(counts[o], self._leads_to(name, o)) for o in self.outcomes],
            }
            for name, counts in by_type.items()
        ]

    def _leads_to(self, enrollment_type: str, outcome: str) -> str:
        if outcome != "reported":
            return _anchor(enrollment_type, outcome)
        rules = self.quality.rules
        told = rules.index[
            (rules["severity"] == "reported") & (rules["enrollment_type"] == enrollment_type)
        ]
        return f"rule-{told[0]}" if len(told) else "findings"

    def rules(self, found: pd.DataFrame) -> list[Rule]:
        """What was found, by kind, the weightiest first."""
        import_id = self.summary.imported.id
        of_kind: dict[tuple[str, str, str | None], list[dict[str, Any]]] = {}
        for row in as_records(found):
            kind = (row["code"], row["severity"], row["enrollment_type"])
            of_kind.setdefault(kind, []).append(self._with_person(row))
        told = []
        for place, rule in enumerate(as_records(self.quality.rules)):
            of = rule["enrollment_type"]
            rows = of_kind.get((rule["code"], rule["severity"], of), [])
            command = f"roster findings {import_id} --code {rule['code']}"
            told.append(
                Rule(
                    f"rule-{place}",
                    CODES[rule["code"]].title,
                    rule["severity"],
                    BECAME.get(rule["code"], SEVERITY_WORDS[rule["severity"]]),
                    _of(of),
                    rule["findings"],
                    rule["new"],
                    rule["gone"],
                    rows[0]["how_to_fix"] if rows else "",
                    f"{command} --type {of}" if of else command,
                    rows,
                )
            )
        return told

    def records(self, records: pd.DataFrame) -> list[Records]:
        """The first records behind the numbers of the table of types."""
        told = []
        for name, counts in self.summary.counts.items():
            mine = records.loc[records["enrollment_type"] == name]
            for outcome in (o for o in self.outcomes if o not in ("received", "reported")):
                if counts[outcome]:
                    rows = as_records(mine.loc[mine["outcome"] == outcome].head(EACH))
                    told.append(
                        Records(
                            name,
                            _anchor(name, outcome),
                            f"{_words(name)}: {outcome}",
                            counts[outcome],
                            self._command(f"--type {name} --outcome {outcome}"),
                            [self._with_person(row) for row in rows],
                        )
                    )
        return told

    def schools(self, schools: pd.DataFrame, records: pd.DataFrame) -> list[SchoolLine]:
        """The lines of the table of schools."""
        gone: dict[str, list[dict[str, Any]]] = {}
        of_schools = records["school"].isin(schools.index)
        lost = records["outcome"].isin([*REJECTED_OUTCOMES, "deleted"])
        for record in as_records(records.loc[of_schools & lost]):
            gone.setdefault(record["school"], []).append(record)
        lines = []
        for place, (school, row) in enumerate(schools.iterrows()):
            rows = gone.get(str(school), [])[:EACH]
            told = Records(
                str(school),
                f"school-{place}",
                self._school(str(school)),
                int(row["left out"] + row["deleted"]),
                self._command(f"--school {shlex.quote(str(school))}"),
                [self._with_person(row) for row in rows],
            )
            numbers = {str(name): int(number) for name, number in row.items()}
            lines.append(SchoolLine(told.title, numbers, told))
        return lines

    def _command(self, which: str) -> str:
        """The command that shows all of some records."""
        imported = self.summary.imported
        if imported.app == ledger.UNDO:
            return f"roster diff {self.before} {imported.id}"
        return f"roster records {imported.id} {which}"

    def _with_person(self, row: dict[str, Any]) -> dict[str, Any]:
        key = (row["enrollment_type"], row["source_id"])
        return {
            **row,
            "name": self.people.name(row),
            "school": self._school(row["school"]) if row["school"] else "",
            "rules": self.rules_by_record.get(key, ""),
        }

    def _school(self, source_id: str) -> str:
        return self.school_names.get(source_id, f"{source_id} (no school)")


def _anchor(enrollment_type: str, outcome: str) -> str:
    return f"records-{enrollment_type}-{outcome}"
