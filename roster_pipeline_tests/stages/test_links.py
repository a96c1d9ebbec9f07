"""Links: what a dangling reference costs, how it cascades, and what the warehouse still holds up.

Guards that one unreadable row in orgs.csv once took everything of that organisation out of the
warehouse, and that a session lost its parent although the parent was kept.
"""

from __future__ import annotations

import pandas as pd
import pytest

from roster_pipeline_tests.stages.passage import (
    Frames,
    Passage,
    Warehouse,
    added,
    as_file,
    changed,
    known_warehouse,
    lines_of,
    passage,
    row_of,
    settings,
    small_district,
    told,
    warehouse_after,
    without,
)


@pytest.fixture
def district() -> Frames:
    return small_district()


@pytest.fixture(scope="module")
def warehouse() -> Warehouse:
    """The warehouse after a first import of the small district."""
    return known_warehouse()


def records(passed: Passage, enrollment_type: str) -> pd.DataFrame:
    return passed.linked.roster.frames[enrollment_type].set_index("source_id")


def kept(passed: Passage) -> set[tuple[str, str]]:
    rows = passed.plan.kept[["enrollment_type", "source_id"]]
    return set(rows.itertuples(index=False, name=None))


def deleted(passed: Passage) -> set[tuple[str, str]]:
    rows = passed.plan.deleted[["enrollment_type", "source_id"]]
    return set(rows.itertuples(index=False, name=None))


def test_in_a_clean_district_every_reference_resolves(district: Frames) -> None:
    passed = passage(district)
    assert passed.linked.findings.empty
    assert passed.linked.roster.ended.empty
    assert passed.linked.roster.kept.empty


@pytest.mark.parametrize(
    ("file", "source_id", "header", "code", "enrollment_type"),
    [
        ("courses", "art", "orgSourcedId", "org_id_unknown", "course"),
        ("users", "cy", "orgSourcedIds", "primary_school_unknown", "student"),
        ("users", "tom", "orgSourcedIds", "primary_school_unknown", "teacher"),
        ("users", "gale", "orgSourcedIds", "primary_school_unknown", "contact"),
        ("classes", "a1", "schoolSourcedId", "school_id_unknown", "class"),
        ("classes", "a1", "courseSourcedId", "course_id_unknown", "class"),
        ("classes", "a1", "termSourcedIds", "session_ids_unknown", "class"),
        ("enrollments", "e3", "schoolSourcedId", "school_id_unknown", "enrollment"),
        ("enrollments", "e3", "classSourcedId", "class_id_unknown", "enrollment"),
        ("enrollments", "e3", "userSourcedId", "person_id_unknown", "enrollment"),
    ],
)
def test_a_required_reference_that_leads_nowhere_makes_the_record_invalid(
    district: Frames, file: str, source_id: str, header: str, code: str, enrollment_type: str
) -> None:
    frames = changed(district, file, source_id, **{header: "nowhere"})
    passed = passage(frames)
    assert passed.fate(enrollment_type, source_id) == "invalid"
    mine = passed.findings.loc[passed.findings["source_id"] == source_id]
    assert told(mine) == [(code, source_id, row_of(district, file, source_id), "skipped")]
    (finding,) = mine.to_dict("records")
    assert (finding["file"], finding["field"]) == (f"{file}.csv", header)
    assert finding["message"].startswith(f"{header} names nowhere, which is no ")


@pytest.mark.parametrize(
    ("file", "source_id", "header", "attribute", "enrollment_type"),
    [
        ("orgs", "north", "parentSourcedId", "parent_id", "school"),
        ("academicSessions", "fall", "parentSourcedId", "parent_id", "academic_session"),
        ("courses", "art", "schoolYearSourcedId", "school_year_id", "course"),
        ("users", "ann", "agentSourcedIds", "contact_ids", "student"),
        ("users", "gus", "agentSourcedIds", "student_ids", "contact"),
    ],
)
def test_an_optional_reference_that_leads_nowhere_is_dropped_and_told(
    district: Frames, file: str, source_id: str, header: str, attribute: str, enrollment_type: str
) -> None:
    passed = passage(changed(district, file, source_id, **{header: "nowhere"}))
    row = row_of(district, file, source_id)
    assert told(passed.findings) == [(f"{attribute}_unknown", source_id, row, "reported")]
    assert pd.isna(records(passed, enrollment_type).loc[source_id, attribute])
    assert passed.fate(enrollment_type, source_id) == "added"


def test_of_a_list_only_the_elements_that_lead_nowhere_are_dropped(district: Frames) -> None:
    frames = changed(district, "users", "ann", agentSourcedIds="x,gina,y,gus")
    frames = changed(frames, "users", "ben", orgSourcedIds="north,nowhere,south")
    frames = changed(frames, "classes", "m2", termSourcedIds="fall,summer")
    passed = passage(frames)
    assert records(passed, "student").loc["ann", "contact_ids"] == "gina,gus"
    assert records(passed, "student").loc["ben", "school_ids"] == "north,south"
    assert records(passed, "class").loc["m2", "session_ids"] == "fall"
    assert told(passed.findings) == [
        ("contact_ids_unknown", "ann", 2, "reported"),
        ("school_ids_unknown", "ben", 3, "reported"),
        ("session_ids_unknown", "m2", 3, "reported"),
    ]
    assert "names x,y, which is no person" in " ".join(passed.findings["message"])


def test_a_class_may_only_be_at_a_school_and_not_at_the_district(district: Frames) -> None:
    passed = passage(changed(district, "classes", "a1", schoolSourcedId="d"))
    assert passed.fate("class", "a1") == "invalid"


def test_what_hangs_on_a_school_falls_with_it_in_the_order_of_the_references(
    district: Frames,
) -> None:
    passed = passage(without(district, "orgs", "south"))
    findings = passed.findings[["code", "source_id"]].itertuples(index=False, name=None)
    assert list(findings) == [
        ("org_id_unknown", "art"),
        ("primary_school_unknown", "cy"),
        ("school_ids_unknown", "ben"),
        ("primary_school_unknown", "tom"),
        ("primary_school_unknown", "gale"),
        ("school_id_unknown", "a1"),
        ("school_id_unknown", "e3"),
        ("school_id_unknown", "e6"),
    ]
    assert passed.counts()["enrollment"] == {"added": 4, "invalid": 2}


def test_an_enrollment_falls_with_its_class(district: Frames) -> None:
    passed = passage(changed(district, "classes", "m1", courseSourcedId="nowhere"))
    assert told(passed.findings) == [
        ("class_id_unknown", "e1", 2, "skipped"),
        ("class_id_unknown", "e4", 5, "skipped"),
        ("course_id_unknown", "m1", 2, "skipped"),
    ]


def test_a_rejected_record_that_is_active_is_kept_and_references_to_it_hold(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = added(district, "users", "ann", familyName="Other")
    passed = passage(frames, warehouse=warehouse)
    assert kept(passed) == {("student", "ann")}
    assert deleted(passed) == set()
    assert passed.fate("enrollment", "e1") == "unchanged"
    assert passed.fate("contact", "gus") == "unchanged"
    assert set(passed.findings["code"]) == {"source_id_repeated"}
    assert passed.counts()["student"] == {"unchanged": 2, "duplicate": 2, "kept": 1}


def test_a_rejected_record_the_warehouse_does_not_hold_is_no_target(district: Frames) -> None:
    passed = passage(added(district, "users", "ann", familyName="Other"))
    assert kept(passed) == set()
    assert passed.fate("enrollment", "e1") == "invalid"


def test_a_rejected_record_that_is_no_longer_active_is_not_kept(
    district: Frames, warehouse: Warehouse
) -> None:
    gone = without(district, "users", "ann")
    gone = without(gone, "enrollments", "e1")
    later = warehouse_after(passage(gone, warehouse=warehouse))
    passed = passage(added(district, "users", "ann", familyName="Other"), warehouse=later)
    assert kept(passed) == set()
    assert passed.fate("enrollment", "e1") == "invalid"


@pytest.mark.parametrize("role", [None, "wizard"])
def test_a_user_whose_role_cannot_be_read_is_kept_as_what_she_was(
    district: Frames, warehouse: Warehouse, role: str | None
) -> None:
    passed = passage(changed(district, "users", "tess", role=role), warehouse=warehouse)
    assert kept(passed) == {("teacher", "tess")}
    assert passed.fate("enrollment", "e4") == "unchanged"


def test_a_kept_record_goes_when_what_it_refers_to_goes(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = changed(district, "enrollments", "e3", role="wizard")
    frames = without(frames, "classes", "a1")
    passed = passage(frames, warehouse=warehouse)
    assert kept(passed) == set()
    assert deleted(passed) == {("class", "a1"), ("enrollment", "e3"), ("enrollment", "e6")}


def test_a_record_is_kept_in_its_old_references_not_in_those_it_was_rejected_for(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = changed(district, "enrollments", "e3", classSourcedId="nowhere")
    passed = passage(frames, warehouse=warehouse)
    assert kept(passed) == {("enrollment", "e3")}
    assert passed.fate("enrollment", "e3") == "invalid"


def test_a_class_is_kept_while_one_of_its_old_sessions_stays(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = changed(district, "classes", "m2", classType="odd")
    passed = passage(without(frames, "academicSessions", "fall"), warehouse=warehouse)
    assert ("class", "m2") in kept(passed)


def test_a_chain_of_rejected_records_is_kept_together(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = changed(district, "courses", "art", orgSourcedId="nowhere")
    frames = changed(frames, "classes", "a1", classType="odd")
    passed = passage(frames, warehouse=warehouse)
    assert kept(passed) == {("course", "art"), ("class", "a1")}
    assert passed.fate("enrollment", "e3") == "unchanged"


def broken_row(frames: Frames, file: str, source_id: str) -> dict[str, bytes]:
    lines = lines_of(frames, file)
    at = row_of(frames, file, source_id) - 1
    lines[at] = lines[at].rpartition(",")[0]
    return {file: as_file(lines)}


@pytest.mark.parametrize("org", ["north", "south"])
def test_a_broken_row_of_a_school_takes_nothing_out_of_the_warehouse(
    district: Frames, warehouse: Warehouse, org: str
) -> None:
    passed = passage(district, warehouse=warehouse, replaced=broken_row(district, "orgs", org))
    assert deleted(passed) == set()
    assert kept(passed) == {("school", org)}
    assert set(passed.fates.values()) == {"unchanged", "invalid"}
    assert passed.findings["code"].tolist() == ["row_ragged"]


def test_a_broken_row_of_the_district_takes_nothing_out_of_the_warehouse(
    district: Frames, warehouse: Warehouse
) -> None:
    passed = passage(district, warehouse=warehouse, replaced=broken_row(district, "orgs", "d"))
    assert deleted(passed) == set()
    assert passed.fate("course", "math") == "unchanged"
    assert passed.fate("admin", "ada") == "unchanged"
    assert passed.findings["code"].tolist() == ["row_ragged"]


def test_a_broken_row_of_the_district_is_missed_by_courses_alone_too(district: Frames) -> None:
    frames = without(district, "users", "ada")
    known = warehouse_after(passage(frames))
    passed = passage(frames, warehouse=known, replaced=broken_row(frames, "orgs", "d"))
    assert deleted(passed) == set()
    assert passed.fate("course", "math") == "unchanged"


def test_a_broken_row_of_the_district_holds_nobody_up_in_a_first_import(district: Frames) -> None:
    passed = passage(district, replaced=broken_row(district, "orgs", "d"))
    assert set(passed.fates.values()) == {"added"}
    assert passed.findings["code"].tolist() == ["row_ragged"]


def test_an_organisation_whose_type_is_blank_still_holds_what_named_it_before(
    district: Frames, warehouse: Warehouse
) -> None:
    passed = passage(changed(district, "orgs", "d", type=None), warehouse=warehouse)
    assert deleted(passed) == set()
    assert passed.fate("admin", "ada") == "unchanged"


def test_a_kept_session_stays_the_parent_of_its_terms(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = changed(district, "academicSessions", "y26", endDate="June")
    passed = passage(frames, warehouse=warehouse)
    assert kept(passed) == {("academic_session", "y26")}
    assert passed.fate("academic_session", "fall") == "unchanged"
    assert records(passed, "academic_session").loc["fall", "parent_id"] == "y26"


def test_references_into_a_file_that_was_not_sent_are_told_once_and_held_against_nobody(
    district: Frames,
) -> None:
    needed = [name for name in district if name not in ("courses", "demographics")]
    frames = {name: district[name] for name in needed}
    passed = passage(frames, settings(required_files=needed))
    unchecked = passed.linked.findings[["code", "file", "severity"]]
    assert unchecked.to_numpy().tolist() == [
        ["references_not_checked", "courses.csv", "reported"],
    ]
    assert records(passed, "class")["course_id"].tolist() == ["math", "math", "art"]
    assert set(passed.fates.values()) == {"added"}


@pytest.mark.parametrize("absent", ["courses", "academicSessions", "orgs"])
def test_where_one_file_is_not_sent_only_references_into_it_are_not_checked(
    district: Frames, absent: str
) -> None:
    needed = [name for name in district if name != absent]
    frames = {name: district[name] for name in needed}
    frames = changed(frames, "enrollments", "e3", userSourcedId="nobody")
    passed = passage(frames, settings(required_files=needed))
    assert passed.linked.findings[["code", "file"]].to_numpy().tolist() == [
        ["references_not_checked", f"{absent}.csv"],
        ["person_id_unknown", "enrollments.csv"],
    ]
    fates = {key: outcome for key, outcome in passed.fates.items() if outcome != "added"}
    assert fates == {("enrollment", "e3"): "invalid"}
    assert records(passed, "class").loc["m2", "session_ids"] == "fall,y26"
    assert records(passed, "student").loc["ben", "school_ids"] == "north,south"


def test_a_mapped_school_is_found_under_the_id_of_the_delivery_and_of_the_warehouse(
    district: Frames, warehouse: Warehouse
) -> None:
    renumbered = renumber(district, "south", "s-2")
    frames = added(renumbered, "enrollments", "e3", sourcedId="e7", role="wizard")
    known = warehouse_after(passage(renumbered, warehouse=warehouse))
    passed = passage(changed(frames, "enrollments", "e3", role="wizard"), warehouse=known)
    # The warehouse's e3 is at `south`; the delivery calls that school s-2.
    assert kept(passed) == {("enrollment", "e3")}
    assert deleted(passed) == set()


def test_a_broken_row_of_a_mapped_school_takes_nothing_out_of_the_warehouse(
    district: Frames, warehouse: Warehouse
) -> None:
    renumbered = renumber(district, "south", "s-2")
    known = warehouse_after(passage(renumbered, warehouse=warehouse))
    broken = broken_row(renumbered, "orgs", "s-2")
    passed = passage(renumbered, warehouse=known, replaced=broken)
    assert deleted(passed) == set()
    assert kept(passed) == {("school", "south")}
    assert passed.fate("class", "a1") == "unchanged"
    assert passed.findings["code"].tolist() == ["row_ragged"]


def renumber(frames: Frames, old: str, new: str) -> Frames:
    """The district after its student information system gave a school another id."""
    return {
        file: frame.apply(lambda column: column.str.replace(rf"\b{old}\b", new, regex=True))
        for file, frame in frames.items()
    }


def test_an_empty_warehouse_keeps_nothing(district: Frames) -> None:
    passed = passage(changed(district, "enrollments", "e3", role="wizard"))
    assert passed.plan.kept.empty
    assert passed.plan.deleted.empty


def test_a_record_is_not_changed_by_links_but_for_the_references_it_lost(district: Frames) -> None:
    passed = passage(changed(district, "users", "ann", agentSourcedIds="gina,nobody"))
    for name, before in passed.unique.roster.frames.items():
        after = passed.linked.roster.frames[name]
        if name == "student":
            before = before.assign(contact_ids=before["contact_ids"].str.replace(",nobody", ""))
        assert after.equals(before)


def test_what_fell_with_a_received_record_says_where_to_mend_that_one(district: Frames) -> None:
    broken = changed(district, "users", "ann", enabledUser="perhaps")
    found = passage(broken).linked.findings
    hers = found.loc[found["enrollment_type"] == "enrollment"]
    row = row_of(district, "users", "ann")
    assert set(hers["cause"]) == {"student/ann"}
    assert set(hers["how_to_fix"]) == {f"Mend student ann first: users.csv row {row}."}


def test_what_fell_with_a_record_that_was_not_sent_says_to_send_it(district: Frames) -> None:
    found = passage(without(district, "users", "tom")).linked.findings
    assert set(found["cause"]) == {"person/tom"}
    assert found["how_to_fix"].str.startswith("Send the record it names").all()


def causes(passed: Passage) -> dict[str, tuple[str, str]]:
    """By record, what it fell for and what to do about it."""
    found = passed.linked.findings
    rows = zip(found["source_id"], found["cause"], found["how_to_fix"], strict=True)
    return {source_id: (cause, remedy) for source_id, cause, remedy in rows}


def test_all_that_hangs_on_a_missing_school_falls_for_that_school(district: Frames) -> None:
    passed = passage(changed(district, "courses", "art", orgSourcedId="nowhere"))
    assert {i: cause for i, (cause, _) in causes(passed).items()} == dict.fromkeys(
        ("art", "a1", "e3", "e6"), "school/nowhere"
    )


def test_of_several_lost_elements_the_first_is_the_cause(district: Frames) -> None:
    frames = changed(district, "classes", "a1", termSourcedIds="winter,spring")
    assert causes(passage(frames))["a1"][0] == "academic_session/winter"


def test_what_fell_with_a_user_of_unknown_role_says_to_mend_that_user(district: Frames) -> None:
    passed = passage(changed(district, "users", "tom", role="wizard"))
    row = row_of(district, "users", "tom")
    assert causes(passed) == {"e6": ("user/tom", f"Mend user tom first: users.csv row {row}.")}


def test_of_a_record_that_stands_twice_the_first_row_is_to_be_mended(district: Frames) -> None:
    passed = passage(added(district, "users", "tess", familyName="Thistle"))
    assert causes(passed)["e4"] == (
        "teacher/tess",
        "Mend teacher tess first: users.csv row 5.",
    )


def test_a_slash_in_an_id_is_kept_in_what_is_to_be_mended(district: Frames) -> None:
    frames = changed(district, "users", "tom", sourcedId="t/1/x", enabledUser="perhaps")
    frames = changed(frames, "enrollments", "e6", userSourcedId="t/1/x")
    assert causes(passage(frames))["e6"] == (
        "teacher/t/1/x",
        "Mend teacher t/1/x first: users.csv row 6.",
    )


def test_a_session_to_be_mended_is_named_in_words(district: Frames) -> None:
    passed = passage(changed(district, "academicSessions", "fall", startDate="soon"))
    row = row_of(district, "academicSessions", "fall")
    assert causes(passed)["a1"] == (
        "academic_session/fall",
        f"Mend academic session fall first: academicSessions.csv row {row}.",
    )


def test_of_a_list_what_was_filtered_is_told_only_beside_what_was_never_sent(
    district: Frames,
) -> None:
    frames = changed(district, "users", "ben", agentSourcedIds="gina,nobody")
    passed = passage(frames, settings(user_types={"parent": "ignore", "guardian": "ignore"}))
    # Of ann the contacts gina and gus were filtered, and nothing else is missed.
    assert told(passed.linked.findings) == [("contact_ids_unknown", "ben", 3, "reported")]
    assert records(passed, "student")["contact_ids"].isna().tolist() == [True, True, False]


def test_a_kept_record_needs_no_reference_that_it_never_had(district: Frames) -> None:
    frames = changed(district, "users", "gus", orgSourcedIds=None)
    known = warehouse_after(passage(frames))
    passed = passage(changed(frames, "users", "gus", enabledUser="perhaps"), warehouse=known)
    assert kept(passed) == {("contact", "gus")}


def test_a_record_is_not_kept_beside_a_good_row_of_its_id(
    district: Frames, warehouse: Warehouse
) -> None:
    frames = added(district, "academicSessions", "fall", startDate="soon")
    passed = passage(frames, warehouse=warehouse)
    assert kept(passed) == set()
    assert passed.linked.roster.kept.empty
    assert deleted(passed) == set()


def test_a_record_that_fell_is_listed_with_the_school_it_named(district: Frames) -> None:
    ended = passage(
        changed(district, "classes", "a1", schoolSourcedId="nowhere")
    ).linked.roster.ended
    assert ended[["enrollment_type", "source_id", "school"]].to_numpy().tolist() == [
        ["class", "a1", "nowhere"],
        ["enrollment", "e3", "south"],
        ["enrollment", "e6", "south"],
    ]


def test_a_reference_read_from_another_header_is_told_by_its_whole_name(district: Frames) -> None:
    frames = changed(district, "users", "ann", metadata__home="nowhere")
    home = {"student": {"primary_school": "metadata.home"}}
    (finding,) = (
        passage(frames, settings(attributes=home)).linked.findings.head(1).to_dict("records")
    )
    assert finding["field"] == "metadata.home"
    assert finding["message"].startswith("metadata.home names nowhere, which is no school")


def test_a_filtered_record_is_not_kept(district: Frames, warehouse: Warehouse) -> None:
    ignored = settings(user_types={"relative": "ignore"})
    passed = passage(district, ignored, warehouse)
    assert kept(passed) == set()
    assert deleted(passed) == {("contact", "gale")}
