"""Takes a delivery through the stages without Dagster and SQL, and holds a small district by hand.

`small_district` is a delivery a reader can hold in her head; `passage` writes frames as a package,
opens and parses it and runs every stage, so that a test meets the stages as a district does. The
warehouse is what `warehouse_after` says an import would have left there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import DeliveryRefused, Outcome, concat_findings
from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.effective import apply_delivery, missing_files
from roster_pipeline.oneroster.package import open_package
from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes, write_package
from roster_pipeline.roster import DTYPES, RECEIVED_OUTCOMES, TEXT, Roster, empty_texts
from roster_pipeline.stages.attributes import map_attributes
from roster_pipeline.stages.data_requirements import Suites, require_data
from roster_pipeline.stages.filters import filter_records
from roster_pipeline.stages.links import link_records
from roster_pipeline.stages.parse import Parsed, parse
from roster_pipeline.stages.plan import SyncPlan, make_plan, stored_records
from roster_pipeline.stages.schools import decide_schools, map_schools
from roster_pipeline.stages.uniqueness import check_uniqueness

Frames = dict[str, pd.DataFrame]
Cell = str | None

TODAY = date(2026, 10, 1)
SUITES = Path(__file__).parents[2] / "expectations"

_SMALL: dict[str, str] = {
    "orgs": """
        sourcedId | name              | type     | identifier | parentSourcedId
        d         | Anytown Schools   | district | 17         |
        north     | North Elementary  | school   | 1701       | d
        south     | South High School | school   | 1702       | d
    """,
    "academicSessions": """
        sourcedId | title   | type       | startDate  | endDate    | parentSourcedId | schoolYear
        y26       | 2026-27 | schoolYear | 2026-08-20 | 2027-06-10 |                 | 2027
        fall      | Fall    | term       | 2026-08-20 | 2026-12-20 | y26             | 2027
    """,
    "courses": """
        sourcedId | title | courseCode | grades | orgSourcedId | schoolYearSourcedId | subjects
        math      | Math  | MA         | 03,04  | d            | y26                 | Math
        art       | Art   | AR         | 09     | south        | y26                 | Art
    """,
    "classes": """
        sourcedId | title  | courseSourcedId | classType | schoolSourcedId | termSourcedIds | grades
        m1        | Math 3 | math            | scheduled | north           | y26            | 03
        m2        | Math 4 | math            | scheduled | north           | fall,y26       | 04
        a1        | Art 9  | art             | scheduled | south           | fall           | 09
    """,
    "users": """
        sourcedId|orgSourcedIds| role |givenName|familyName|email|agentSourcedIds|grades
        ann  | north       | student       | Ann  | Alder | ann@s.example     | gina,gus | 03
        ben  | north,south | student       | Ben  | Birch | ben@s.example     | gina     | 04
        cy   | south       | student       | Cy   | Cedar | cy@s.example      | gale     | 09
        tess | north       | teacher       | Tess | Thorn | tess@t.example    |          |
        tom  | south       | aide          | Tom  | Teak  | tom@t.example     |          |
        ada  | d           | administrator | Ada  | Ash   | ada@t.example     |          |
        gina | north       | parent        | Gina | Alder | home@mail.example | ann,ben  |
        gus  | north       | guardian      | Gus  | Alder | home@mail.example | ann      |
        gale | south       | relative      | Gale | Cedar |                   | cy       |
    """,
    "enrollments": """
        sourcedId | classSourcedId | schoolSourcedId | userSourcedId | role | beginDate | endDate
        e1 | m1 | north | ann  | student | 2026-08-20 | 2027-06-10
        e2 | m2 | north | ben  | student | 2026-08-20 | 2027-06-10
        e3 | a1 | south | cy   | student | 2026-08-20 | 2026-12-20
        e4 | m1 | north | tess | teacher | 2026-08-20 | 2027-06-10
        e5 | m2 | north | tess | teacher | 2026-08-20 | 2027-06-10
        e6 | a1 | south | tom  | teacher | 2026-08-20 | 2026-12-20
    """,
    "demographics": """
        sourcedId | birthDate  | sex    | white
        ann       | 2017-05-04 | female | true
        ben       | 2016-03-02 | male   | false
        cy        | 2011-01-31 | male   | true
    """,
}


def table(text: str) -> pd.DataFrame:
    """A frame of texts written as a table with `|`; blank is null."""
    lines = [line.split("|") for line in text.strip().splitlines()]
    header, *rows = [[cell.strip() or None for cell in line] for line in lines]
    return pd.DataFrame(
        {
            str(name): pd.Series([row[i] for row in rows], dtype=TEXT)
            for i, name in enumerate(header)
        }
    )


def small_district() -> Frames:
    """Two schools, three classes, three students with all that belongs to them; nothing wrong."""
    frames = {file: table(text) for file, text in _SMALL.items()}
    users = frames["users"]
    same = {"enabledUser": "true", "phone": "555-0100", "password": "hush"}
    frames["users"] = users.assign(
        username=users["sourcedId"],
        identifier=pd.Series(range(101, 101 + len(users))).astype(TEXT),
        **{header: pd.Series(value, users.index, dtype=TEXT) for header, value in same.items()},
    )
    return frames


def changed(frames: Frames, file: str, source_id: str, **cells: Cell) -> Frames:
    """The frames with cells of one record written anew; `metadata__x` is the header metadata.x."""
    frame = frames[file].copy()
    record = frame["sourcedId"] == source_id
    assert record.any(), f"{file} has no {source_id}"
    for name, value in cells.items():
        header = name.replace("__", ".")
        if header not in frame:
            frame[header] = pd.Series(pd.NA, frame.index, dtype=TEXT)
        frame.loc[record, header] = value
    return {**frames, file: frame}


def added(frames: Frames, file: str, like: str, **cells: Cell) -> Frames:
    """The frames with one more record at the end of a file, like another but for some cells."""
    frame = frames[file]
    row = frame.loc[frame["sourcedId"] == like].copy()
    for header, value in cells.items():
        row[header] = pd.Series(value, row.index, dtype=TEXT)
    return {**frames, file: pd.concat([frame, row], ignore_index=True)}


def without(frames: Frames, file: str, *source_ids: str) -> Frames:
    """The frames without some records of a file."""
    frame = frames[file]
    left = frame.loc[~frame["sourcedId"].isin(source_ids)].reset_index(drop=True)
    return {**frames, file: left}


def row_of(frames: Frames, file: str, source_id: str) -> int:
    """The row of a record as a spreadsheet shows it."""
    return frames[file]["sourcedId"].tolist().index(source_id) + 2


def settings(**sections: object) -> DistrictSettings:
    """A district's settings, told as its file would tell them."""
    return DistrictSettings.model_validate({"name": "Anytown", **sections})


@dataclass(frozen=True)
class Warehouse:
    """What the stages ask of a warehouse: the records by type, and its school mappings."""

    state: Mapping[str, pd.DataFrame]
    schools: pd.DataFrame = field(
        default_factory=lambda: empty_texts("source_id", "name", "identifier")
    )
    mappings: Mapping[str, str] = field(default_factory=dict)

    def known(self, name: str, ids: Sequence[str] | None) -> pd.DataFrame:
        """The records of a type that have these ids, or all, as links ask for them."""
        records = self.state[name]
        return records if ids is None else records.loc[records["source_id"].isin(ids)]


def _state_columns(name: str) -> dict[str, pd.ArrowDtype]:
    references = {a.name: DTYPES[a.kind] for a in ENROLLMENT_TYPES[name].references}
    active = pd.ArrowDtype(pa.bool_())
    return {"source_id": TEXT, "record_hash": TEXT, "active": active, "school": TEXT, **references}


def empty_warehouse() -> Warehouse:
    """A warehouse before the first import."""
    return Warehouse(
        {
            name: pd.DataFrame(
                {column: pd.Series([], dtype=d) for column, d in _state_columns(name).items()}
            )
            for name in ENROLLMENT_TYPES
        }
    )


def warehouse_after(passed: Passage) -> Warehouse:
    """The warehouse as the merge of this passage's plan would leave it."""
    before, plan = passed.warehouse, passed.plan
    state: dict[str, pd.DataFrame] = {}
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        columns = _state_columns(name)
        changes = plan.changes[name].assign(active=True)
        school = enrollment_type.school_attribute
        changes["school"] = changes[school] if school else pd.NA
        old = before.state[name]
        old = old.loc[~old["source_id"].isin(changes["source_id"])].copy()
        deleted = plan.deleted.loc[plan.deleted["enrollment_type"] == name, "source_id"]
        old["active"] &= ~old["source_id"].isin(deleted)
        both = pd.concat([old[list(columns)].astype(columns), changes[list(columns)]])
        state[name] = both.astype(columns).reset_index(drop=True)
    schools = plan.changes["school"][["source_id", "name", "identifier"]]
    others = before.schools.loc[~before.schools["source_id"].isin(schools["source_id"])]
    decided = passed.mapped_schools.roster.school_decisions
    return Warehouse(
        state,
        pd.concat([others, schools], ignore_index=True),
        {**dict(zip(decided["org_id"], decided["school_id"], strict=True)), **before.mappings},
    )


@dataclass(frozen=True)
class Passage:
    """A delivery's way through the stages: what each made of it, and the plan at the end."""

    warehouse: Warehouse
    parsed: Parsed
    mapped: Outcome
    complete: Outcome
    filtered: Outcome
    unique: Outcome
    linked: Outcome
    mapped_schools: Outcome

    @cached_property
    def plan(self) -> SyncPlan:
        """What the import would change."""
        return planned(self.mapped_schools.roster, self.warehouse.state)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What the stages returned, in their order."""
        return (
            *(self.parsed, self.mapped, self.complete, self.filtered),
            *(self.unique, self.linked, self.mapped_schools),
        )

    @property
    def findings(self) -> pd.DataFrame:
        """All findings, in the order of the stages."""
        return concat_findings([outcome.findings for outcome in self.outcomes])

    @property
    def fates(self) -> dict[tuple[str, str], str]:
        """What became of each received record: (enrollment type, source id) to outcome."""
        rows = [
            *((n, i, o) for n, f in self.plan.changes.items() for i, o in id_and_outcome(f)),
            *ended(self.mapped_schools.roster),
        ]
        return {(name, source_id): outcome for name, source_id, outcome in rows}

    def fate(self, enrollment_type: str, source_id: str) -> str:
        """What became of one received record; `absent` when it was not received."""
        return self.fates.get((enrollment_type, source_id), "absent")

    def counts(self) -> dict[str, dict[str, int]]:
        """Records by enrollment type and outcome, without the types that have none."""
        counts: dict[str, dict[str, int]] = {}
        for row in self.plan.counts.itertuples():
            by_outcome = counts.setdefault(row.enrollment_type, {})
            by_outcome[row.outcome] = by_outcome.get(row.outcome, 0) + row.records
        return counts

    def received(self) -> dict[str, int]:
        """By enrollment type, the sum of the outcomes of the received records."""
        return {
            name: sum(by_outcome.get(outcome, 0) for outcome in RECEIVED_OUTCOMES)
            for name, by_outcome in self.counts().items()
        }


def id_and_outcome(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The source ids of a plan's changes with their outcomes."""
    return list(zip(frame["source_id"], frame["outcome"], strict=True))


def ended(roster: Roster) -> list[tuple[str, str | None, str]]:
    """The records that ended so far: (enrollment type, source id, outcome)."""
    rows = roster.ended[["enrollment_type", "source_id", "outcome"]]
    return [(t, None if pd.isna(i) else i, o) for t, i, o in rows.itertuples(index=False)]


def told(findings: pd.DataFrame) -> list[tuple[str, str | None, int | None, str]]:
    """Findings in short: (code, source id, row, severity), sorted."""
    rows = findings[["code", "source_id", "row", "severity"]].astype(object)
    plain = [tuple(None if pd.isna(v) else v for v in row) for row in rows.to_numpy()]
    return sorted(plain, key=lambda row: tuple(str(value) for value in row))


def parsed(
    frames: Frames,
    district: DistrictSettings | None = None,
    *,
    replaced: Mapping[str, bytes] | None = None,
    version: str = "1.1",
) -> Parsed:
    """The frames written as a folder of CSV files, opened and parsed.

    replaced: whole files in the place of what would be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_package(Path(folder), frames, version=version, replaced=replaced)
        chosen = district or settings()
        package = open_package([Path(folder)])
        missing = missing_files(package, chosen.required_files, first=True)
        if missing:
            raise DeliveryRefused(missing)
        return parse(apply_delivery(read_delivery(package), {}), chosen)


def mapped(
    frames: Frames,
    district: DistrictSettings | None = None,
    *,
    replaced: Mapping[str, bytes] | None = None,
) -> Roster:
    """The roster after parsing and attribute mapping."""
    district = district or settings()
    return map_attributes(parsed(frames, district, replaced=replaced).roster, district).roster


def passage(
    frames: Frames,
    district: DistrictSettings | None = None,
    warehouse: Warehouse | None = None,
    *,
    suites: Suites | None = None,
    replaced: Mapping[str, bytes] | None = None,
    today: date = TODAY,
) -> Passage:
    """Take frames through all stages. Without suites, nothing is required of the records (and
    Great Expectations, which takes seconds to import, stays out of the test)."""
    district = district or settings()
    warehouse = warehouse or empty_warehouse()

    def decide(roster: Roster) -> pd.DataFrame:
        received = roster.frames["school"]
        return decide_schools(received, warehouse.schools, warehouse.mappings, district.schools)

    arrived = parsed(frames, district, replaced=replaced)
    typed = map_attributes(arrived.roster, district)
    complete = (
        require_data(typed.roster, district, suites)
        if suites
        else Outcome(typed.roster, concat_findings([]))
    )
    filtered = filter_records(complete.roster, district, today)
    unique = check_uniqueness(filtered.roster, district)
    linked = link_records(unique.roster, warehouse.known, decide(unique.roster))
    schools = map_schools(linked.roster, decide(linked.roster))
    return Passage(
        *(warehouse, arrived, typed, complete, filtered),
        *(unique, linked, schools),
    )


def lines_of(frames: Frames, file: str) -> list[str]:
    """The lines of a file as it is written, the header first, to be damaged as no frame can be."""
    return csv_bytes(frames[file], VERSIONS["1.1"], file).decode().splitlines()


def as_file(lines: list[str]) -> bytes:
    """Lines as the content of a file."""
    return ("\n".join(lines) + "\n").encode()


def with_extra(plan: SyncPlan, enrollment_type: str) -> dict[str, dict[str, str] | None]:
    """The district's own attributes of each record, read from their JSON."""
    frame = plan.changes[enrollment_type]
    return {
        source_id: None if pd.isna(extra) else json.loads(extra)
        for source_id, extra in zip(frame["source_id"], frame["extra"], strict=True)
    }


@cache
def clean_roster() -> Roster:
    """The small district after attribute mapping, made once; no stage changes what it gets."""
    return mapped(small_district())


@cache
def first_import() -> Passage:
    """The passage of the small district into an empty warehouse, made once."""
    return passage(small_district())


@cache
def known_warehouse() -> Warehouse:
    """The warehouse after the small district's first import."""
    return warehouse_after(first_import())


def planned(roster: Roster, state: Mapping[str, pd.DataFrame]) -> SyncPlan:
    """What a roster would change in a warehouse of this state."""
    return make_plan(roster, stored_records(roster), state)
