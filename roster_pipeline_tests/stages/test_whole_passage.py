"""What must hold of a whole passage, whatever the district, its faults and its settings.

Districts are made, faults planted and settings drawn by Hypothesis; the same draws serve every
property (`@seed`), so that each passage is made once. The clean and the planted truth come from
`sample`, which knows nothing of the stages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as examples
from hypothesis import strategies as st

from roster_pipeline.districts.settings import DistrictSettings
from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import Outcome
from roster_pipeline.roster import RECEIVED_OUTCOMES, Roster
from roster_pipeline.sample import FAULTS, Delivery, make_district, plant_faults
from roster_pipeline.stages.data_requirements import Suites, load_suites, require_data
from roster_pipeline.stages.filters import filter_records
from roster_pipeline.stages.links import link_records
from roster_pipeline.stages.schools import map_schools
from roster_pipeline.stages.uniqueness import check_uniqueness
from roster_pipeline_tests.stages.passage import (
    SUITES,
    TODAY,
    Frames,
    Passage,
    ended,
    id_and_outcome,
    passage,
    settings,
    small_district,
    warehouse_after,
)

STUDENTS = 300
MOST = {"repeated_id": 2, "duplicate_email": 2}

few = examples(
    max_examples=5,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@cache
def suites() -> Suites:
    return load_suites(SUITES)


@dataclass(frozen=True)
class Case:
    """A delivery and a district to import it for; what it is made of, so that it can be a key."""

    seed: int
    faults: tuple[tuple[str, int], ...]
    email: str
    aide: str
    grades: tuple[str, ...]
    include_linked: bool
    state_id: str

    @property
    def delivery(self) -> Delivery:
        return delivery_of(self.seed, self.faults)

    @property
    def settings(self) -> DistrictSettings:
        sections: dict[str, Any] = {
            "user_types": {"aide": self.aide},
            "data_requirements": {"student": {"email": self.email}},
            "attributes": {"student": {"state_id": "users.identifier"}},
            "uniqueness": {
                "student": [{"attributes": ["state_id"], "on_duplicate": self.state_id}]
            },
            "include_linked": self.include_linked,
        }
        if self.grades:
            sections["filters"] = [{"student": {"grades": {"in": list(self.grades)}}}]
        return settings(**sections)


@cache
def delivery_of(number: int, faults: tuple[tuple[str, int], ...]) -> Delivery:
    return plant_faults(make_district(STUDENTS, number), dict(faults), number)


@cache
def passed(case: Case) -> Passage:
    delivery = case.delivery
    return passage(
        delivery.frames, case.settings, suites=suites(), replaced=delivery.replaced or None
    )


cases = st.builds(
    Case,
    seed=st.integers(1, 1000),
    faults=st.fixed_dictionaries({name: st.integers(1, MOST.get(name, 4)) for name in FAULTS}).map(
        lambda faults: tuple(faults.items())
    ),
    email=st.sampled_from(["skip", "report", "ignore"]),
    aide=st.sampled_from(["teacher", "admin", "ignore"]),
    grades=st.sets(st.sampled_from(["KG", "03", "06", "09", "12"]), max_size=3).map(
        lambda grades: tuple(sorted(grades))
    ),
    include_linked=st.booleans(),
    state_id=st.sampled_from(["report", "skip_all", "keep_first"]),
)


def each_case(test: Callable[[Case], None]) -> Any:
    """The same few cases for each test of this module."""
    return seed(2026)(few(given(case=cases)(test)))


@each_case
def test_the_outcomes_of_each_type_add_up_to_the_rows_that_arrived(case: Case) -> None:
    way = passed(case)
    arrived = {file.file: file.rows for file in way.parsed.files}
    outcomes: Counter[str] = Counter()
    for name, count in way.received().items():
        outcomes["users.csv" if name == "user" else f"{ENROLLMENT_TYPES[name].file}.csv"] += count
    outcomes["orgs.csv"] += len(way.mapped.roster.organizations)
    arrived.pop("demographics.csv")
    assert outcomes == arrived


@each_case
def test_no_stage_gains_or_loses_a_record(case: Case) -> None:
    way = passed(case)
    received = way.mapped.roster.received()
    for outcome in way.outcomes[2:]:
        assert outcome.roster.received() == received
    assert way.received() == {name: count for name, count in received.items() if count}
    assert set(way.plan.counts["outcome"]) <= set(RECEIVED_OUTCOMES)


@each_case
def test_a_record_travels_on_or_has_ended_but_not_both(case: Case) -> None:
    roster = passed(case).mapped_schools.roster
    places = pd.concat(
        [roster.ended[["file", "row"]], *(f[["file", "row"]] for f in frames(roster))]
    )
    assert not places.duplicated().any()


def frames(roster: Roster) -> list[pd.DataFrame]:
    return list(roster.frames.values())


@seed(2026)
@few
@given(case=cases)
def test_the_findings_are_exactly_the_planted_faults(case: Case) -> None:
    district = settings(attributes={"student": {"state_id": "users.identifier"}})
    delivery = case.delivery
    way = passage(delivery.frames, district, suites=suites(), replaced=delivery.replaced or None)
    planted = Counter(
        (fault.code, row.file, row.row, row.source_id)
        for fault in delivery.planted
        for row in fault.rows
    )
    found = way.findings[["code", "file", "row", "source_id"]].itertuples(index=False, name=None)
    assert Counter(found) == planted


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_clean_district_goes_in_whole_and_without_a_word(number: int) -> None:
    way = passage(make_district(STUDENTS, number), suites=suites())
    assert way.findings.empty
    assert set(way.plan.counts["outcome"]) == {"added"}


def shuffled(given: Frames, number: int) -> Frames:
    rng = np.random.default_rng(number)
    return {
        file: frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)
        for file, frame in given.items()
    }


def all_outcomes(way: Passage) -> Counter[tuple[str, str | None, str]]:
    merged = [(n, i, o) for n, f in way.plan.changes.items() for i, o in id_and_outcome(f)]
    return Counter([*merged, *ended(way.mapped_schools.roster)])


@seed(2026)
@few
@given(case=cases.filter(lambda case: case.state_id != "keep_first"), number=st.integers(0, 99))
def test_the_order_of_rows_in_the_files_does_not_matter(case: Case, number: int) -> None:
    frames = case.delivery.frames
    one, other = (
        passage(rows, case.settings, suites=suites()) for rows in (frames, shuffled(frames, number))
    )
    assert all_outcomes(one) == all_outcomes(other)
    told = [
        Counter(w.findings[["code", "source_id"]].itertuples(index=False, name=None))
        for w in (one, other)
    ]
    assert told[0] == told[1]
    for name in ENROLLMENT_TYPES:
        hashes = [set(w.plan.changes[name]["record_hash"]) for w in (one, other)]
        assert hashes[0] == hashes[1]


def again(case: Case) -> list[tuple[Outcome, Outcome]]:
    """What each stage made, and what it makes of that."""
    way, district = passed(case), case.settings
    decisions = way.mapped_schools.roster.school_decisions
    return [
        (way.complete, require_data(way.complete.roster, district, suites())),
        (way.filtered, filter_records(way.filtered.roster, district, TODAY)),
        (way.unique, check_uniqueness(way.unique.roster, district)),
        (way.linked, link_records(way.linked.roster, way.warehouse.known, decisions)),
        (way.mapped_schools, map_schools(way.mapped_schools.roster, decisions)),
    ]


@each_case
def test_a_stage_run_twice_leaves_what_it_left_once(case: Case) -> None:
    for once, twice in again(case):
        assert len(twice.roster.ended) == len(once.roster.ended)
        assert twice.findings.loc[twice.findings["severity"] == "skipped"].empty
        for name, frame in once.roster.frames.items():
            assert twice.roster.frames[name].equals(frame)


@each_case
def test_no_stage_changes_a_value_it_does_not_own(case: Case) -> None:
    way = passed(case)
    stages = [way.mapped, way.complete, way.filtered, way.unique, way.linked, way.mapped_schools]
    for before, after in pairwise(stages):
        for name, frame in after.roster.frames.items():
            whole = before.roster.frames[name].set_index("source_id")
            left = frame.set_index("source_id")
            references = [a.name for a in ENROLLMENT_TYPES[name].references]
            owned = references if after is way.linked else []
            same = whole.loc[left.index].drop(columns=owned)
            assert left.drop(columns=owned).equals(same)
            assert left.index.equals(whole.index[whole.index.isin(left.index)])


@each_case
def test_links_only_take_references_away(case: Case) -> None:
    way = passed(case)
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        after = way.linked.roster.frames[name].set_index("source_id")
        before = way.unique.roster.frames[name].set_index("source_id").loc[after.index]
        for attribute in enrollment_type.references:
            pairs = zip(
                before[attribute.name].fillna(""), after[attribute.name].fillna(""), strict=True
            )
            for old, new in pairs:
                assert set(filter(None, new.split(","))) <= set(old.split(","))


@each_case
def test_every_reference_that_is_left_leads_to_a_record_that_goes_in(case: Case) -> None:
    roster = passed(case).mapped_schools.roster
    ids = {name: set(frame["source_id"]) for name, frame in roster.frames.items()}
    ids["organization"] = set(roster.organizations["source_id"])
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        for attribute in enrollment_type.references:
            named = roster.frames[name][attribute.name].dropna().str.split(",").explode()
            assert set(named) <= set().union(*(ids[t] for t in attribute.refers_to))


@each_case
def test_a_second_import_of_the_same_delivery_changes_nothing(case: Case) -> None:
    once = passed(case)
    delivery = case.delivery
    twice = passage(
        delivery.frames,
        case.settings,
        warehouse_after(once),
        suites=suites(),
        replaced=delivery.replaced or None,
    )
    counts = once.plan.counts
    expected = counts.assign(outcome=counts["outcome"].replace("added", "unchanged"))
    assert twice.plan.counts.equals(expected)
    assert twice.plan.deleted.empty
    assert twice.plan.kept.empty


@each_case
def test_no_finding_says_anything_of_a_person(case: Case) -> None:
    users = case.delivery.frames["users"]
    secrets = {*users["email"].dropna().str.lower(), *users["phone"].dropna()}
    words = " ".join(passed(case).findings["message"].dropna()).lower()
    assert not [secret for secret in secrets if secret in words]


@pytest.mark.parametrize(
    "file",
    ["orgs", "academicSessions", "courses", "classes", "users", "enrollments"],
)
def test_a_file_of_nothing_but_a_header_still_passes(file: str) -> None:
    frames = small_district()
    way = passage({**frames, file: frames[file].iloc[:0]}, suites=suites())
    assert way.received() == {n: c for n, c in way.mapped.roster.received().items() if c}
