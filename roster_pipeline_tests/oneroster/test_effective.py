"""The effective set: however a state was delivered, in bulk, by changes or in parts, it is one.

The property is the heart of it. It is stated on the records by id, since a record keeps the row of
the file that brought it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.effective import (
    EffectiveFile,
    Sources,
    apply_delivery,
    carried_forward,
    effective_hash,
    next_sources,
    roles_are_outdated,
)
from roster_pipeline.oneroster.package import Package
from roster_pipeline.oneroster.reader import FileReading
from roster_pipeline.roster import TEXT
from roster_pipeline_tests.oneroster.packages import contents, replaced
from roster_pipeline_tests.stages.passage import Frames, added, changed, small_district, without

Readings = dict[str, FileReading]


def after(base: Readings, frames: Frames, **delivery: object) -> dict[str, EffectiveFile]:
    """The files of the effective set after a delivery upon a base."""
    package = Package(contents(frames, **delivery))  # type: ignore[arg-type]
    return dict(apply_delivery(read_delivery(package), base).files)


def readings(files: Mapping[str, EffectiveFile]) -> Readings:
    return {name: file.reading for name, file in files.items()}


@pytest.fixture
def base() -> Readings:
    return readings(after({}, small_district()))


def delta(frames: Frames, file: str, **statuses: str) -> Frames:
    """The records of a file that have a status here, as a delta."""
    frame = frames[file]
    frame = frame.loc[frame["sourcedId"].isin(list(statuses))]
    return {file: frame.assign(status=frame["sourcedId"].map(statuses).astype(TEXT))}


def ids(reading: FileReading) -> list[str]:
    return sorted(reading.frame["sourcedId"])


def test_what_a_delivery_does_not_hold_is_carried_forward(base: Readings) -> None:
    files = after(base, {"orgs": small_district()["orgs"]})
    assert {n: f.mode for n, f in files.items() if f.mode != "carried_forward"} == {"orgs": "bulk"}
    assert files["users"].reading.frame.equals(base["users"].frame)


def test_a_bulk_file_replaces_its_predecessor_and_nothing_else(base: Readings) -> None:
    files = after(
        base, {"enrollments": without(small_district(), "enrollments", "e1")["enrollments"]}
    )
    assert ids(files["enrollments"].reading) == ["e2", "e3", "e4", "e5", "e6"]
    assert ids(files["users"].reading) == ids(base["users"])


def test_a_delta_upserts_and_removes_by_id_and_leaves_the_rest(base: Readings) -> None:
    frames = changed(small_district(), "enrollments", "e2", endDate="2027-01-01")
    frames = added(frames, "enrollments", "e1", sourcedId="e9")
    change = delta(frames, "enrollments", e2="active", e3="tobedeleted", e9="active")
    files = after(base, change, modes={"enrollments": "delta"})
    reading = files["enrollments"].reading
    assert files["enrollments"].mode == "delta"
    assert ids(reading) == ["e1", "e2", "e4", "e5", "e6", "e9"]
    ends = dict(zip(reading.frame["sourcedId"], reading.frame["endDate"].astype(str), strict=True))
    assert (ends["e2"], ends["e1"]) == ("2027-01-01", "2027-06-10")
    assert reading.rejected[["sourcedId", "outcome"]].to_numpy().tolist() == [["e3", "removed"]]


def test_bulk_and_delta_may_come_together(base: Readings) -> None:
    frames = {
        "orgs": small_district()["orgs"],
        **delta(small_district(), "users", ann="tobedeleted"),
    }
    files = after(base, frames, modes={"users": "delta"})
    assert (files["orgs"].mode, files["users"].mode) == ("bulk", "delta")
    assert "ann" not in ids(files["users"].reading)


def test_a_removal_of_what_is_not_there_is_no_fault(base: Readings) -> None:
    frames = added(small_district(), "users", "ann", sourcedId="zoe")
    files = after(base, delta(frames, "users", zoe="tobedeleted"), modes={"users": "delta"})
    assert ids(files["users"].reading) == ids(base["users"])


def test_a_delta_of_a_file_that_was_never_sent_is_refused(base: Readings) -> None:
    del base["users"]
    change = delta(small_district(), "users", ann="active")
    with pytest.raises(DeliveryRefused) as refused:
        after(base, change, modes={"users": "delta"})
    assert [(f.code, f.file) for f in refused.value.findings] == [
        ("delta_without_base", "users.csv")
    ]


def test_a_row_of_a_delta_that_is_no_record_is_rejected_until_it_is_mended(base: Readings) -> None:
    frames = changed(small_district(), "academicSessions", "fall", startDate="soon", title="New")
    change = delta(frames, "academicSessions", fall="active")
    content = contents(change, modes={"academicSessions": "delta"})
    # One bad row of one would be most of the file; a second, good one is beside it.
    assert content["academicSessions"].count(b"\n") == 2
    files = after(base, change, modes={"academicSessions": "delta"})
    reading = files["academicSessions"].reading
    titles = dict(zip(reading.frame["sourcedId"], reading.frame["title"], strict=True))
    assert titles == {"y26": "2026-27"}
    assert list(zip(reading.rejected["sourcedId"], reading.rejected["outcome"], strict=True)) == [
        ("fall", "invalid")
    ]
    assert list(reading.told["code"]) == ["value_unreadable"]

    again = carried_forward(reading)
    assert list(again.rejected["sourcedId"]) == ["fall"]
    assert list(again.told["sourcedId"]) == ["fall"]

    mended = delta(small_district(), "academicSessions", fall="active")
    kept = {name: file.reading for name, file in files.items()}
    whole = after(kept, mended, modes={"academicSessions": "delta"})["academicSessions"].reading
    assert set(whole.frame["sourcedId"]) == {"y26", "fall"}
    assert whole.rejected.empty
    assert whole.told.empty


def test_a_removal_counts_in_its_own_import_only(base: Readings) -> None:
    files = after(
        base, delta(small_district(), "users", ann="tobedeleted"), modes={"users": "delta"}
    )
    later = after(readings(files), {"orgs": small_district()["orgs"]})
    assert files["users"].reading.rows == 9
    assert later["users"].reading.rows == 8


def test_what_was_told_of_a_row_is_told_again_as_long_as_the_row_counts() -> None:
    bad = changed(small_district(), "enrollments", "e2", endDate="2027-02-30")
    first = after({}, bad, orgs=replaced(b'"school"', b'"School"'))
    assert [f.code for f in first["orgs"].reading.findings] == ["values_normalised"]
    later = after(readings(first), {"users": small_district()["users"]})
    assert later["orgs"].reading.findings == ()
    assert later["enrollments"].reading.told["code"].tolist() == ["value_dropped"]
    mended = delta(small_district(), "enrollments", e2="active")
    last = after(readings(later), mended, modes={"enrollments": "delta"})
    assert last["enrollments"].reading.told.empty


def test_a_notice_of_a_delta_does_not_stick_to_another_row_of_that_number(base: Readings) -> None:
    """A delta has its own row 2."""
    frames = changed(small_district(), "enrollments", "e6", endDate="2027-02-30")
    change = delta(frames, "enrollments", e6="active")
    files = after(base, change, modes={"enrollments": "delta"})
    gone = delta(small_district(), "enrollments", e6="tobedeleted")
    last = after(readings(files), gone, modes={"enrollments": "delta"})
    later = carried_forward(last["enrollments"].reading)
    assert later.told.empty
    assert later.rows == 5


def test_the_types_of_columns_outlast_a_delta_that_lacks_them(base: Readings) -> None:
    frame = small_district()["enrollments"][
        ["sourcedId", "classSourcedId", "schoolSourcedId", "userSourcedId", "role"]
    ]
    narrow = frame.assign(status=pd.Series("active", frame.index, dtype=TEXT)).head(2)
    content = narrow.to_csv(index=False, lineterminator="\n").encode()
    files = after(base, {"enrollments": frame}, modes={"enrollments": "delta"}, enrollments=content)
    before, now = base["enrollments"].frame, files["enrollments"].reading.frame
    assert now.dtypes.to_dict() == before.dtypes.to_dict()
    assert now["endDate"].isna().sum() == 2


def test_columns_of_ones_own_outlast_a_delta_that_lacks_them() -> None:
    frames = changed(small_district(), "users", "ann", metadata__bus="7")
    base = readings(after({}, frames))
    change = delta(small_district(), "users", ben="active")
    users = after(base, change, modes={"users": "delta"})["users"].reading.frame
    assert users.set_index("sourcedId").loc["ann", "metadata.bus"] == "7"
    assert users["metadata.bus"].dtype == TEXT


# Identity


def test_the_same_delta_again_leaves_the_set_as_it_is() -> None:
    base: Sources = {"users": ["a"], "orgs": ["o"]}
    once = next_sources(base, {"users": "d"}, {"users": "delta"})
    twice = next_sources(once, {"users": "d"}, {"users": "delta"})
    assert once["users"] == ["a", "d"]
    assert effective_hash(once) == effective_hash(twice) != effective_hash(base)


def test_a_delta_is_another_after_another_one_in_between() -> None:
    chain: Sources = {"users": ["a"]}
    for digest in ("d1", "d2", "d1"):
        chain = next_sources(chain, {"users": digest}, {"users": "delta"})
    assert chain["users"] == ["a", "d1", "d2", "d1"]


def test_a_bulk_file_begins_anew() -> None:
    chain = next_sources({"users": ["a", "d"]}, {"users": "b"}, {"users": "bulk"})
    assert chain == {"users": ["b"]}
    assert effective_hash(next_sources(chain, {"users": "b"}, {"users": "bulk"})) == effective_hash(
        chain
    )


def test_files_may_come_together_or_apart() -> None:
    together = next_sources({}, {"a": "1", "b": "2"}, {"a": "bulk", "b": "bulk"})
    apart = next_sources(next_sources({}, {"b": "2"}, {"b": "bulk"}), {"a": "1"}, {"a": "bulk"})
    assert effective_hash(together) == effective_hash(apart)


def test_roles_that_users_bring_themselves_end_those_of_roles_csv() -> None:
    base: Sources = {"users": ["a"], "roles": ["r"]}
    assert next_sources(base, {"users": "b"}, {"users": "bulk"}) == {"users": ["b"], "roles": ["r"]}
    assert next_sources(base, {"users": "b"}, {"users": "bulk"}, roles_outdated=True) == {
        "users": ["b"]
    }
    assert base == {"users": ["a"], "roles": ["r"]}


@pytest.mark.parametrize(
    ("version", "modes", "roles", "outdated"),
    [
        ("1.1", {}, None, True),
        ("1.1", {"users": "delta"}, None, False),
        ("1.1", {}, b"sourcedId\n", False),
        ("1.2", {}, None, False),
    ],
)
def test_roles_csv_is_outdated_when_all_users_come_anew_with_roles_of_their_own(
    version: str, modes: dict[str, str], roles: bytes | None, outdated: bool
) -> None:
    files = contents({"users": small_district()["users"]}, version=version, modes=modes)
    if roles:
        files["roles"] = roles
    assert roles_are_outdated(Package(files)) is outdated


def test_roles_csv_is_not_outdated_by_a_delivery_without_users() -> None:
    assert not roles_are_outdated(Package(contents({"orgs": small_district()["orgs"]})))


# The property

FILES = ("orgs", "enrollments")
Row = dict[str, str | None]
State = dict[str, dict[str, Row]]

_row = {
    "orgs": st.fixed_dictionaries(
        {
            "name": st.sampled_from(["North", "Süd", 'The "East"', "West, upper"]),
            "type": st.sampled_from(["school", "district"]),
            "identifier": st.sampled_from([None, "1", "2"]),
        }
    ),
    "enrollments": st.fixed_dictionaries(
        {
            "classSourcedId": st.sampled_from(["m1", "m2"]),
            "schoolSourcedId": st.just("north"),
            "userSourcedId": st.sampled_from(["ann", "ben"]),
            "role": st.sampled_from(["student", "teacher"]),
            "primary": st.sampled_from([None, "true", "false"]),
            "beginDate": st.sampled_from([None, "2026-08-20"]),
            "endDate": st.sampled_from([None, "2026-12-20"]),
        }
    ),
}
_ids = st.sampled_from([f"id{n}" for n in range(6)])


@dataclass(frozen=True)
class Step:
    """What a delivery holds of one file: its mode, its rows, and in a delta, what goes."""

    mode: str
    rows: dict[str, Row]
    gone: frozenset[str] = field(default_factory=frozenset)


@st.composite
def steps(draw: st.DrawFn, file: str) -> Step:
    rows = draw(st.dictionaries(_ids, _row[file], min_size=1, max_size=5))
    if draw(st.booleans()):
        return Step("bulk", rows)
    gone = draw(st.frozensets(_ids, max_size=3)) - rows.keys()
    return Step("delta", rows, gone)


deliveries = st.lists(
    st.fixed_dictionaries({}, optional={file: steps(file) for file in FILES}), max_size=5
)


def frame_of(file: str, step: Step) -> pd.DataFrame:
    """A step as a file; what goes is written as it last could be, by its id only."""
    rows: list[Row] = [
        {"sourcedId": i, **row, "status": "active" if step.mode == "delta" else None}
        for i, row in step.rows.items()
    ]
    blank = dict.fromkeys(next(iter(step.rows.values())))
    rows += [{"sourcedId": i, **blank, "status": "tobedeleted"} for i in sorted(step.gone)]
    return pd.DataFrame({c: pd.Series([r[c] for r in rows], dtype=TEXT) for c in rows[0]})


def next_state(state: State, file: str, step: Step) -> State:
    kept = {} if step.mode == "bulk" else state[file]
    rows = {i: row for i, row in {**kept, **step.rows}.items() if i not in step.gone}
    return {**state, file: rows}


def records(reading: FileReading) -> list[tuple[object, ...]]:
    """The records by id, without the rows that brought them and the status that did."""
    frame = reading.frame.drop(columns=["row", "status", "dateLastModified"])
    frame = frame[sorted(frame.columns)].sort_values("sourcedId").astype(object)
    return [tuple(row) for row in frame.where(frame.notna(), None).to_numpy().tolist()]


@settings(max_examples=40, deadline=None)
@given(
    first=st.fixed_dictionaries({f: steps(f).filter(lambda s: s.mode == "bulk") for f in FILES}),
    later=deliveries,
)
def test_any_sequence_of_deliveries_is_as_one_full_delivery_of_its_end(
    first: dict[str, Step], later: list[dict[str, Step]]
) -> None:
    state: State = {}
    base: Readings = {}
    for delivery in [first, *later]:
        frames = {file: frame_of(file, step) for file, step in delivery.items()}
        modes = {file: step.mode for file, step in delivery.items()}
        base = readings(after(base, frames, modes=modes))
        for file, step in delivery.items():
            state = next_state(state, file, step)
    whole = {f: frame_of(f, Step("bulk", rows)) for f, rows in state.items() if rows}
    at_once = readings(after({}, whole))
    for file in FILES:
        assert records(base[file]) == (records(at_once[file]) if file in at_once else [])
        rejected = carried_forward(base[file]).rejected
        assert rejected.empty
