"""The plan: what becomes of each record, of those not received too, and that the counts add up."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.roster import RECEIVED_OUTCOMES, TEXT, Roster, empty_texts
from roster_pipeline.stages.attributes import empty_frame
from roster_pipeline.stages.plan import (
    CHANGE_COLUMNS,
    COUNT_COLUMNS,
    SyncPlan,
    changed_attributes,
    plan_hash,
    record_hash,
    stored_records,
    without_deletions,
)
from roster_pipeline_tests.stages.passage import (
    Frames,
    Passage,
    Warehouse,
    added,
    changed,
    clean_roster,
    empty_warehouse,
    first_import,
    known_warehouse,
    mapped,
    passage,
    planned,
    settings,
    small_district,
    warehouse_after,
    with_extra,
    without,
)

NOTHING_DECIDED = empty_texts("org_id", "school_id", "how")


@pytest.fixture
def district() -> Frames:
    return small_district()


@pytest.fixture(scope="module")
def first() -> Passage:
    return first_import()


@pytest.fixture(scope="module")
def warehouse() -> Warehouse:
    return known_warehouse()


def gone(passed: Passage) -> list[tuple[str, str, str]]:
    rows = passed.plan.deleted[["enrollment_type", "source_id", "school"]].fillna("")
    return list(rows.itertuples(index=False, name=None))


def test_in_an_empty_warehouse_everything_is_added(first: Passage) -> None:
    assert set(first.fates.values()) == {"added"}
    assert first.plan.deleted.empty
    assert first.plan.kept.empty


def test_the_same_delivery_again_changes_nothing(district: Frames, warehouse: Warehouse) -> None:
    passed = passage(district, warehouse=warehouse)
    assert set(passed.fates.values()) == {"unchanged"}
    assert passed.plan.deleted.empty


def test_a_record_that_says_something_else_is_updated_and_only_that(
    district: Frames, warehouse: Warehouse
) -> None:
    passed = passage(changed(district, "users", "ben", givenName="Benno"), warehouse=warehouse)
    updated = {key for key, outcome in passed.fates.items() if outcome == "updated"}
    assert updated == {("student", "ben")}


def test_a_record_the_warehouse_does_not_hold_is_added(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = added(district, "enrollments", "e1", sourcedId="e9")
    passed = passage(frames, warehouse=warehouse)
    assert passed.counts()["enrollment"] == {"unchanged": 6, "added": 1}


def test_a_record_that_was_not_received_is_deleted_and_what_hung_on_it(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = without(district, "users", "cy", "gale")
    passed = passage(frames, warehouse=warehouse)
    assert gone(passed) == [
        ("student", "cy", "south"),
        ("contact", "gale", "south"),
        ("enrollment", "e3", "south"),
    ]
    # The enrollment was received, but it is rejected and the student it hung on goes.
    assert passed.fate("enrollment", "e3") == "invalid"


def test_a_deleted_record_that_comes_back_is_restored(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = without(without(district, "enrollments", "e3"), "users", "cy", "gale")
    later = warehouse_after(passage(frames, warehouse=warehouse))
    passed = passage(changed(district, "users", "gale", givenName="Gail"), warehouse=later)
    restored = {key for key, outcome in passed.fates.items() if outcome == "restored"}
    assert restored == {("student", "cy"), ("contact", "gale"), ("enrollment", "e3")}
    assert passed.plan.deleted.empty


def test_a_record_that_is_deleted_already_is_not_deleted_again(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = without(without(district, "enrollments", "e3"), "users", "cy", "gale")
    later = warehouse_after(passage(frames, warehouse=warehouse))
    assert passage(frames, warehouse=later).plan.deleted.empty


def test_a_record_that_was_received_but_rejected_is_kept_and_counted_beside_the_sum(
    district: Frames, warehouse: Warehouse
) -> None:
    passed = passage(changed(district, "enrollments", "e3", role="wizard"), warehouse=warehouse)
    assert passed.counts()["enrollment"] == {"unchanged": 5, "invalid": 1, "kept": 1}
    assert passed.received()["enrollment"] == 6
    assert passed.plan.deleted.empty
    assert passed.plan.kept.to_dict("records") == [
        {"enrollment_type": "enrollment", "source_id": "e3", "school": "south"},
    ]


def test_a_filtered_record_that_is_active_is_deleted(
    district: Frames, warehouse: Warehouse
) -> None:
    rules = settings(filters=[{"student": {"grades": {"in": ["03", "04"]}}}])
    passed = passage(district, rules, warehouse)
    assert passed.counts()["student"] == {"unchanged": 2, "filtered": 1, "deleted": 1}


def test_a_person_who_changes_the_type_is_added_there_and_deleted_here(
    district: Frames, warehouse: Warehouse
) -> None:
    passed = passage(changed(district, "users", "tom", role="administrator"), warehouse=warehouse)
    assert passed.fate("admin", "tom") == "added"
    assert gone(passed) == [("teacher", "tom", "south")]
    assert passed.fate("enrollment", "e6") == "unchanged"


def test_counts_are_by_type_and_school(first: Passage) -> None:
    counts = first.plan.counts
    assert tuple(counts.columns) == COUNT_COLUMNS
    assert counts.astype({"school": object}).fillna("-").to_numpy().tolist() == [
        ["school", "north", "added", 1],
        ["school", "south", "added", 1],
        ["academic_session", "-", "added", 2],
        ["course", "d", "added", 1],
        ["course", "south", "added", 1],
        ["student", "north", "added", 2],
        ["student", "south", "added", 1],
        ["teacher", "north", "added", 1],
        ["teacher", "south", "added", 1],
        ["admin", "d", "added", 1],
        ["contact", "north", "added", 2],
        ["contact", "south", "added", 1],
        ["class", "north", "added", 2],
        ["class", "south", "added", 1],
        ["enrollment", "north", "added", 4],
        ["enrollment", "south", "added", 2],
    ]


def test_the_outcomes_of_received_records_add_up_to_what_was_received(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = changed(district, "users", "ann", role=None)
    frames = added(frames, "courses", "math")
    frames = without(frames, "orgs", "south")
    passed = passage(frames, warehouse=warehouse)
    assert passed.received() == passed.mapped_schools.roster.received()
    assert sum(passed.received().values()) == 24 + 1 - 1
    assert set(passed.plan.counts["outcome"]) <= {*RECEIVED_OUTCOMES, "deleted", "kept"}


def test_two_records_of_one_id_in_a_type_are_an_error_of_ours(first: Passage) -> None:
    roster = first.mapped_schools.roster
    twice = pd.concat([roster.frames["class"]] * 2, ignore_index=True)
    with pytest.raises(ValueError, match="Two records of type class have one source id"):
        stored_records(replace(roster, frames={**roster.frames, "class": twice}))


def hashes(roster: Roster, name: str) -> list[str]:
    frame = roster.frames[name].assign(extra=pd.Series(dtype=roster.ended["outcome"].dtype))
    return record_hash(name, frame).tolist()


def test_a_record_hash_is_sixteen_hexadecimal_digits() -> None:
    for name in ENROLLMENT_TYPES:
        assert all(len(h) == 16 and int(h, 16) >= 0 for h in hashes(clean_roster(), name))


def test_record_hashes_stay_the_same_from_version_to_version() -> None:
    # A change here makes the next import of every district an update of every record.
    roster = clean_roster()
    assert hashes(roster, "school")[0] == "3500decfc0f3cd3b"
    assert hashes(roster, "student")[0] == "cc032e300531cf4d"
    assert hashes(roster, "enrollment")[0] == "683816abc3a47f42"


def test_a_hash_does_not_depend_on_the_row_or_the_order_of_the_columns(district: Frames) -> None:
    turned = {
        file: frame.iloc[::-1, [0, *range(len(frame.columns) - 1, 0, -1)]].reset_index(drop=True)
        for file, frame in district.items()
    }
    forth, back = mapped(district), mapped(turned)
    for name in ENROLLMENT_TYPES:
        assert hashes(forth, name) == hashes(back, name)[::-1]


OTHER = {"text": "other", "list": "other,more", "date": pd.Timestamp("2000-02-02").date()}


@pytest.mark.parametrize(
    ("name", "attribute"), [(n, a.name) for n, t in ENROLLMENT_TYPES.items() for a in t.attributes]
)
def test_a_hash_feels_each_attribute(first: Passage, name: str, attribute: str) -> None:
    frame = first.plan.changes[name]
    spec = ENROLLMENT_TYPES[name].attribute(attribute)
    filled = frame.assign(**{attribute: frame[attribute].ffill().bfill()})
    value = OTHER.get(spec.kind, False)
    other = frame.assign(
        **{attribute: pd.Series(value, frame.index).astype(frame[attribute].dtype)}
    )
    blank = frame.assign(**{attribute: pd.Series(pd.NA, frame.index, dtype=frame[attribute].dtype)})
    three = [record_hash(name, f) for f in (filled, other, blank)]
    assert (three[1] != three[2]).all()
    if frame[attribute].notna().any():
        assert (three[0] != three[1]).all()
        assert (three[0] != three[2]).all()


def test_a_hash_feels_an_own_attribute_and_the_id(first: Passage) -> None:
    frame = first.plan.changes["student"]
    plain = record_hash("student", frame)
    assert (record_hash("student", frame.assign(extra="{}")) != plain).all()
    assert (record_hash("student", frame.assign(source_id="x")) != plain).all()


def test_a_value_that_moves_to_the_next_attribute_changes_the_hash(first: Passage) -> None:
    frame = first.plan.changes["student"]
    moved = frame.assign(first_name=frame["middle_name"], middle_name=frame["first_name"])
    assert (record_hash("student", frame) != record_hash("student", moved)).all()


def test_a_type_without_records_has_a_plan_too() -> None:
    frames = {name: empty_frame(t) for name, t in ENROLLMENT_TYPES.items()}
    plan = planned(Roster(frames), empty_warehouse().state)
    assert plan.counts.empty
    assert plan.deleted.empty
    assert all(frame.empty for frame in plan.changes.values())


def test_types_that_vanish_altogether_are_deleted_whole(warehouse: Warehouse) -> None:
    frames = {name: empty_frame(t) for name, t in ENROLLMENT_TYPES.items()}
    plan = planned(Roster(frames), warehouse.state)
    assert len(plan.deleted) == 24
    assert set(plan.counts["outcome"]) == {"deleted"}


@pytest.fixture(scope="module")
def approved(warehouse: Warehouse) -> SyncPlan:
    """Ben is updated, enrollment e1 kept, e3 deleted; all else stays as it is."""
    frames = changed(small_district(), "users", "ben", givenName="Benno")
    frames = without(changed(frames, "enrollments", "e1", role="wizard"), "enrollments", "e3")
    return passage(frames, warehouse=warehouse).plan


def with_student(plan: SyncPlan, who: str, **cells: str) -> SyncPlan:
    students = plan.changes["student"].copy()
    students.loc[students["source_id"] == who, list(cells)] = list(cells.values())
    return replace(plan, changes={**plan.changes, "student": students})


def test_an_approval_is_bound_to_each_change_the_plan_would_make(approved: SyncPlan) -> None:
    one_more = pd.concat([approved.deleted, approved.kept], ignore_index=True)
    plans = {
        "approved": approved,
        "another version of ben": with_student(approved, "ben", record_hash="0" * 16),
        "ben comes back": with_student(approved, "ben", outcome="restored"),
        "another than ben": with_student(approved, "ben", source_id="benno"),
        "ben stays as he is": with_student(approved, "ben", outcome="unchanged"),
        "nothing deleted": replace(approved, deleted=approved.deleted.iloc[:0]),
        "more deleted": replace(approved, deleted=one_more),
        "another type": replace(approved, deleted=approved.deleted.assign(enrollment_type="class")),
        "nothing kept": replace(approved, kept=approved.kept.iloc[:0]),
        "kept, not deleted": replace(approved, deleted=approved.kept, kept=approved.deleted),
    }
    hashes = {told: plan_hash(plan, NOTHING_DECIDED) for told, plan in plans.items()}
    assert len(set(hashes.values())) == len(plans), hashes
    assert all(len(h) == 64 and int(h, 16) >= 0 for h in hashes.values())


def test_an_approval_holds_whatever_the_order_and_what_stays_as_it_is(approved: SyncPlan) -> None:
    back = {name: frame.iloc[::-1] for name, frame in approved.changes.items()}
    same = [
        replace(approved, changes=back),
        replace(approved, deleted=approved.deleted.assign(school="elsewhere")),
        with_student(approved, "cy", record_hash="0" * 16, source_id="cyan"),
    ]
    hashes = {plan_hash(plan, NOTHING_DECIDED) for plan in (approved, *same)}
    assert len(hashes) == 1


def test_an_approval_is_bound_to_the_schools_it_was_given_for(approved: SyncPlan) -> None:
    decided = pd.DataFrame(
        {"org_id": ["north", "south"], "school_id": ["north", None], "how": ["known", "pending"]}
    ).astype(TEXT)
    told = plan_hash(approved, decided)
    assert plan_hash(approved, decided.iloc[::-1]) == told
    # How a school was found changes nothing.
    assert plan_hash(approved, decided.assign(how="manual")) == told
    others = [
        decided.assign(school_id="north"),
        decided.assign(school_id=""),
        decided.assign(org_id=["north", "west"]),
        NOTHING_DECIDED,
    ]
    assert len({told, *(plan_hash(approved, other) for other in others)}) == 1 + len(others)


def with_own(**own: list[str | None]) -> Roster:
    """The clean roster, whose three students have attributes of the district's own."""
    roster = clean_roster()
    columns = {name: pd.Series(values, dtype=TEXT) for name, values in own.items()}
    sources = {**roster.sources["student"], **{name: f"users.metadata.{name}" for name in own}}
    return replace(
        roster,
        frames={**roster.frames, "student": roster.frames["student"].assign(**columns)},
        sources={**roster.sources, "student": sources},
    )


def test_own_attributes_are_one_json_object_a_record_without_those_that_are_blank() -> None:
    # Without blanks and in the order of the settings, as it is compared as a text.
    roster = with_own(bus=["9", None, "7"], lunch=['a "b"\\c', None, None])
    students = planned(roster, empty_warehouse().state).changes["student"]
    assert students["extra"].fillna("none").tolist() == [
        '{"bus":"9","lunch":"a \\"b\\"\\\\c"}',
        "none",
        '{"bus":"7"}',
    ]
    assert not {"bus", "lunch"} & set(students.columns)
    assert students["extra"].dtype == TEXT


def test_every_text_of_an_own_attribute_is_read_again_from_its_json() -> None:
    texts = ["".join(chr(code) for code in range(0x20)), '\\"/é\u2028😀', ""]
    plan = planned(with_own(note=list(texts)), empty_warehouse().state)
    read = with_extra(plan, "student")
    assert list(read.values()) == [{"note": text} for text in texts]


def test_an_own_attribute_that_changes_updates_the_record() -> None:
    before = planned(with_own(bus=["9", "8", None]), empty_warehouse().state)
    students = before.changes["student"].assign(active=True)
    students["school"] = students["primary_school"]
    state = {**empty_warehouse().state, "student": students}
    now = planned(with_own(bus=["9", "7", "1"]), state).changes["student"]
    assert now["outcome"].tolist() == ["unchanged", "updated", "updated"]


def test_records_without_own_attributes_have_no_extra(first: Passage) -> None:
    for frame in first.plan.changes.values():
        assert frame["extra"].isna().all()
        assert frame["extra"].dtype == TEXT


def test_without_deletions_a_plan_adds_and_updates_as_before(approved: SyncPlan) -> None:
    assert list(approved.deleted["source_id"]) == ["e3"]
    milder = without_deletions(approved)
    assert milder.deleted.empty
    assert list(milder.deleted.columns) == list(approved.deleted.columns)
    assert milder.changes is approved.changes and milder.kept is approved.kept
    others = approved.counts.loc[approved.counts["outcome"] != "deleted"]
    assert len(others) == len(approved.counts) - 1
    assert milder.counts.equals(others.reset_index(drop=True))


def test_changed_attributes_are_counted_by_the_records_they_differ_in(first: Passage) -> None:
    before = first.plan.changes["student"]
    after = changed(small_district(), "users", "ann", givenName="Anna", email=None, grades="02")
    after = changed(after, "users", "ben", givenName="Benno", middleName="B")
    # Who is in one of the two only does not count; nor does it matter who comes first.
    after = added(without(after, "users", "cy"), "users", "tom", sourcedId="dee")
    after = changed(after, "users", "dee", role="student", email="dee@s.example")
    now = passage(after).plan.changes["student"].iloc[::-1].assign(extra='{"bus":"9"}')
    told = changed_attributes("student", now, before)
    assert tuple(told.columns) == CHANGE_COLUMNS
    assert told.to_numpy().tolist() == [
        ["student", "first_name", 2],
        ["student", "middle_name", 1],
        ["student", "email", 1],
        ["student", "grades", 1],
        ["student", "extra", 2],
    ]


def test_records_that_say_the_same_have_no_changed_attributes(first: Passage) -> None:
    for name, frame in first.plan.changes.items():
        assert changed_attributes(name, frame, frame).empty
        assert changed_attributes(name, frame, frame.iloc[:0]).empty
