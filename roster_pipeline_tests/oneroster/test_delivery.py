"""Whole deliveries of every version: what they say, through to who is what (parsing included)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.oneroster.delivery import (
    Delivery,
    delivered_modes,
    open_manifest,
    read_delivery,
)
from roster_pipeline.oneroster.effective import apply_delivery, missing_files
from roster_pipeline.oneroster.package import Package, open_package
from roster_pipeline.oneroster.standard import DATA_FILES, VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes
from roster_pipeline.stages.parse import Parsed, parse
from roster_pipeline_tests.oneroster.packages import Contents, codes, contents, folder, replaced
from roster_pipeline_tests.stages.passage import (
    Frames,
    added,
    changed,
    ended,
    settings,
    small_district,
    table,
    told,
    without,
)

ROLES = """
    sourcedId | userSourcedId | roleType  | role                  | orgSourcedId
    r1        | ann           | primary   | student               | north
    r2        | ben           | secondary | student               | north
    r3        | ben           | primary   | student               | south
    r4        | cy            | primary   | student               | south
    r5        | tess          | primary   | teacher               | north
    r6        | tom           | primary   | counselor             | south
    r7        | ada           | primary   | districtAdministrator | d
    r8        | ada           | secondary | teacher               | south
    r9        | gina          | primary   | parent                | north
    r10       | gus           | primary   | guardian              | north
    r11       | gale          | primary   | relative              | south
"""


def district_1_2() -> Frames:
    """The small district in version 1.2: ada is administrator and teacher, ben is in two schools
    and at home in north."""
    frames = small_district()
    users = frames["users"].drop(columns=["role", "orgSourcedIds"])
    frames["users"] = users.assign(primaryOrgSourcedId=users["sourcedId"].replace("ben", "north"))
    frames["users"].loc[frames["users"]["sourcedId"] != "ben", "primaryOrgSourcedId"] = pd.NA
    return {**frames, "roles": table(ROLES)}


def opened(files: Contents) -> Package:
    return Package(files)


def read(files: Contents) -> Delivery:
    return read_delivery(opened(files))


def parsed(files: Contents, **sections: object) -> Parsed:
    return parse(apply_delivery(read(files), {}), settings(**sections))


def people(outcome: Parsed) -> dict[tuple[str, str], str]:
    """Enrollment type and id of each person, with the organisations."""
    users = outcome.roster.frames["users"]
    keys = zip(users["enrollment_type"], users["sourcedId"], strict=True)
    return dict(zip(keys, users["orgSourcedIds"], strict=True))


def refusal(files: Contents) -> list[tuple[str, str | None]]:
    with pytest.raises(DeliveryRefused) as refused:
        parsed(files)
    return [(f.code, f.file) for f in refused.value.findings]


# Version 1.2


def test_in_1_2_people_are_what_roles_csv_says_with_the_primary_school_first() -> None:
    outcome = parsed(contents(district_1_2(), version="1.2"))
    assert outcome.version == "1.2"
    assert outcome.findings.empty
    assert people(outcome) == {
        ("student", "ann"): "north",
        ("student", "ben"): "north,south",
        ("student", "cy"): "south",
        ("teacher", "tess"): "north",
        ("teacher", "tom"): "south",
        ("admin", "ada"): "d",
        ("teacher", "ada"): "south",
        ("contact", "gina"): "north",
        ("contact", "gus"): "north",
        ("contact", "gale"): "south",
    }


def test_without_a_home_the_primary_role_says_which_school_comes_first() -> None:
    frames = changed(district_1_2(), "users", "ben", primaryOrgSourcedId=None)
    assert people(parsed(contents(frames, version="1.2")))["student", "ben"] == "south,north"


def test_several_roles_of_one_type_are_one_person_of_that_type() -> None:
    frames = added(
        district_1_2(), "roles", "r5", sourcedId="r12", role="aide", orgSourcedId="south"
    )
    outcome = parsed(contents(frames, version="1.2"))
    assert people(outcome)["teacher", "tess"] == "north,south"
    assert outcome.roster.frames["users"]["sourcedId"].tolist().count("tess") == 1


def test_a_user_without_a_role_is_invalid_and_told() -> None:
    frames = without(district_1_2(), "roles", "r4")
    outcome = parsed(contents(frames, version="1.2"))
    assert ended(outcome.roster) == [("user", "cy", "invalid")]
    assert told(outcome.findings) == [("user_without_role", "cy", 4, "skipped")]


def test_a_role_of_nobody_is_told_and_changes_nothing() -> None:
    frames = added(district_1_2(), "roles", "r1", sourcedId="r12", userSourcedId="nobody")
    outcome = parsed(contents(frames, version="1.2"))
    assert told(outcome.findings) == [("role_without_user", "r12", 13, "reported")]
    assert len(people(outcome)) == 10


def test_two_primary_roles_in_one_organisation_are_told() -> None:
    frames = added(district_1_2(), "roles", "r5", sourcedId="r12", role="aide")
    outcome = parsed(contents(frames, version="1.2"))
    assert [t[:2] for t in told(outcome.findings)] == [
        ("several_primary_roles", "r12"),
        ("several_primary_roles", "r5"),
    ]


@pytest.mark.parametrize("cells", [{"role": None}, {"role": "wizard"}, {"orgSourcedId": "no id"}])
def test_a_role_that_cannot_be_read_does_not_make_a_second_person(cells: dict[str, str]) -> None:
    frames = added(district_1_2(), "roles", "r5", sourcedId="r12", orgSourcedId="south")
    outcome = parsed(contents(changed(frames, "roles", "r12", **cells), version="1.2"))
    assert len(people(outcome)) == 10
    assert outcome.roster.ended.empty
    assert outcome.findings["severity"].tolist() == ["skipped"]


def test_a_role_without_an_organisation_still_says_what_a_person_is() -> None:
    frames = changed(district_1_2(), "roles", "r4", orgSourcedId=None)
    outcome = parsed(contents(frames, version="1.2"))
    assert ("student", "cy") in people(outcome)


def test_a_role_of_ones_own_needs_a_type_in_the_settings() -> None:
    frames = changed(district_1_2(), "roles", "r6", role="ext:coach")
    files = contents(frames, version="1.2")
    assert ended(parsed(files).roster) == [("user", "tom", "invalid")]
    assert ("teacher", "tom") in people(parsed(files, user_types={"ext:coach": "teacher"}))


def test_an_ignored_role_leaves_the_others() -> None:
    outcome = parsed(contents(district_1_2(), version="1.2"), user_types={"teacher": "ignore"})
    assert ("admin", "ada") in people(outcome)
    assert ("user", "tess", "filtered") in ended(outcome.roster)
    assert outcome.findings.empty


def test_a_delta_of_roles_makes_a_teacher_of_an_administrator() -> None:
    base = apply_delivery(read(contents(district_1_2(), version="1.2")), {}).files
    roles = changed(
        district_1_2(), "roles", "r7", role="teacher", orgSourcedId="south", status="active"
    )
    roles = {"roles": roles["roles"].query("sourcedId == 'r7'")}
    delta = read(contents(roles, version="1.2", modes={"roles": "delta"}))
    effective = apply_delivery(delta, {n: f.reading for n, f in base.items()})
    after = people(parse(effective, settings()))
    assert ("admin", "ada") not in after
    assert after["teacher", "ada"] == "south"


def test_a_first_delivery_of_1_2_needs_roles_csv() -> None:
    frames = district_1_2()
    del frames["roles"]
    package = opened(contents(frames, version="1.2"))
    missing = missing_files(package, DATA_FILES, first=True)
    assert [(f.code, f.file) for f in missing] == [("file_missing", "roles.csv")]
    assert refusal(dict(package.files)) == [("file_missing", "roles.csv")]


def test_extra_columns_and_files_of_the_first_1_2_are_taken_in_stride() -> None:
    files = contents(
        district_1_2(), version="1.2", users=replaced(b",pronouns", b",resourceSourcedIds")
    )
    files["userProfiles"] = b"sourcedId\np1\n"
    outcome = parsed(files)
    assert sorted(outcome.findings["code"]) == ["column_missing", "file_left_alone"]


def test_sex_may_be_other_in_1_2_only() -> None:
    frames = changed(district_1_2(), "demographics", "ann", sex="other")
    assert parsed(contents(frames, version="1.2")).findings.empty
    old = changed(small_district(), "demographics", "ann", sex="other")
    assert parsed(contents(old)).findings["code"].tolist() == ["value_dropped"]


# Versions mixed up


def test_users_of_1_1_under_a_1_2_manifest_keep_their_own_roles_and_that_is_told() -> None:
    outcome = parsed(
        contents(manifest=replaced(b"oneroster.version,1.1", b"oneroster.version,1.2"))
    )
    assert outcome.findings["code"].tolist() == ["header_of_other_version"]
    assert outcome.findings["file"].tolist() == ["users.csv"]
    assert ("teacher", "tom") in people(outcome)


def test_users_of_1_2_under_a_1_1_manifest_get_their_roles_from_roles_csv() -> None:
    old = replaced(b"oneroster.version,1.2", b"oneroster.version,1.1")
    outcome = parsed(contents(district_1_2(), version="1.2", manifest=old))
    assert outcome.findings["code"].tolist() == ["header_of_other_version"]
    assert len(people(outcome)) == 10


def test_a_roles_csv_beside_users_that_have_roles_is_left_alone() -> None:
    files = contents()
    files["roles"] = csv_bytes(table(ROLES), VERSIONS["1.2"], "roles")
    package = opened(files)
    assert "roles" not in delivered_modes(package, open_manifest(package))
    outcome = parsed(files)
    assert outcome.findings["code"].tolist() == ["file_left_alone"]
    assert "roles" not in outcome.roster.frames


def test_users_without_roles_of_any_kind_are_refused_with_what_is_missing() -> None:
    files = contents(users=csv_bytes(small_district()["users"], VERSIONS["1.2"], "users"))
    assert refusal(files) == [("header_missing", "users.csv")]


def test_a_district_may_go_back_to_1_1() -> None:
    """Its people are then what users.csv says, not what the old roles.csv said."""
    base = apply_delivery(read(contents(district_1_2(), version="1.2")), {}).files
    frames = changed(small_district(), "users", "tess", role="administrator")
    effective = apply_delivery(read(contents(frames)), {n: f.reading for n, f in base.items()})
    after = people(parse(effective, settings()))
    assert ("admin", "tess") in after and ("teacher", "tess") not in after
    assert len(after) == 9


def test_a_district_may_go_on_to_1_2() -> None:
    base = apply_delivery(read(contents()), {}).files
    newer = read(contents(district_1_2(), version="1.2"))
    effective = apply_delivery(newer, {n: f.reading for n, f in base.items()})
    assert len(people(parse(effective, settings()))) == 10


# Version 1.0


def old_contents() -> Contents:
    files = contents(version="1.0")
    del files["manifest"]
    return files


def test_without_a_manifest_1_0_is_known_by_its_headers() -> None:
    outcome = parsed(old_contents())
    assert outcome.version == "1.0"
    assert outcome.findings.empty
    assert people(outcome).keys() == people(parsed(contents())).keys()
    assert outcome.roster.frames["classes"]["termSourcedIds"].tolist() == [
        "y26",
        "fall,y26",
        "fall",
    ]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_without_a_manifest_later_versions_are_known_by_their_headers(version: str) -> None:
    frames = district_1_2() if version == "1.2" else small_district()
    files = contents(frames, version=version)
    del files["manifest"]
    assert read(files).version.name == version


@pytest.mark.parametrize(
    "dress",
    [
        lambda c: b"\xef\xbb\xbf" + c,
        lambda c: c.replace(b"\n", b"\r\n"),
        lambda c: c.replace(b"\n", b"\r"),
        lambda c: b"\xff\xfe" + c.decode().encode("utf-16-le"),
        lambda c: b"\xfe\xff" + c.decode().encode("utf-16-be"),
        lambda c: (
            b",".join(b'"%s"' % h for h in c.split(b"\n")[0].split(b","))
            + b"\n"
            + c.partition(b"\n")[2]
        ),
        lambda c: c.split(b"\n")[0].upper() + b"\n" + c.partition(b"\n")[2],
    ],
    ids=["a mark", "CRLF", "CR", "UTF-16 LE", "UTF-16 BE", "quoted headers", "capitals"],
)
def test_1_0_is_known_however_its_files_are_dressed(dress: object) -> None:
    files = {name: dress(content) for name, content in old_contents().items()}  # type: ignore[operator]
    outcome = parsed(files)
    assert outcome.version == "1.0"
    assert outcome.roster.ended.empty


def test_headers_of_1_0_under_a_1_1_manifest_are_read_and_told() -> None:
    outcome = parsed({**contents(), **old_contents()})
    assert outcome.version == "1.1"
    assert set(outcome.findings["code"]) == {
        *("header_of_other_version", "header_spelling", "column_missing", "header_order"),
    }
    assert outcome.roster.ended.empty


def test_the_seven_files_of_1_0_need_no_manifest() -> None:
    old, new = opened(old_contents()), contents()
    del new["manifest"]
    assert missing_files(old, DATA_FILES, first=True, manifest_first=True) == []
    missing = missing_files(opened(new), DATA_FILES, first=True, manifest_first=True)
    assert [f.file for f in missing] == ["manifest.csv"]


# What else is met in the wild


def test_the_headers_of_a_popular_generator_are_read() -> None:
    files = contents(
        classes=replaced(b"termSourcedIds", b"termSourcedId"),
        enrollments=lambda c: b"\n".join(
            row + (b",courseSourcedId" if n == 0 else b",math") if row else row
            for n, row in enumerate(c.split(b"\n"))
        ),
        demographics=replaced(b"stateOfBirth", b"stateofBirth"),
    )
    outcome = parsed(files)
    assert set(outcome.findings["code"]) == {"header_spelling"}
    assert outcome.roster.ended.empty


def test_gradebook_and_resource_files_of_all_versions_are_left_alone() -> None:
    for version in ("1.1", "1.2"):
        frames = district_1_2() if version == "1.2" else small_district()
        files = contents(frames, version=version)
        others = VERSIONS[version].left_alone
        outcome = parsed({**files, **dict.fromkeys(others, b"\0 not even read")})
        assert outcome.findings["code"].tolist() == ["file_left_alone"] * len(others)
        assert {f.removesuffix(".csv") for f in outcome.findings["file"]} == set(others)


def test_what_the_manifest_says_and_what_is_there_are_compared() -> None:
    files = contents(manifest=replaced(b"file.orgs,bulk", b"file.orgs,absent"))
    assert parsed(files).findings["code"].tolist() == ["file_not_announced"]
    del files["users"]
    with pytest.raises(DeliveryRefused) as refused:
        read(files)
    assert codes(refused.value.findings) == ["file_announced"]


def test_a_manifest_that_announces_gradebooks_that_are_not_there_is_no_fault() -> None:
    assert parsed(contents(manifest=replaced(b"results,absent", b"results,bulk"))).findings.empty


def test_nothing_but_a_manifest_means_that_nothing_changed(tmp_path: Path) -> None:
    manifest = {"manifest": contents({})["manifest"]}
    package = open_package([folder(tmp_path, manifest)])
    base = apply_delivery(read(contents()), {}).files
    effective = apply_delivery(read_delivery(package), {n: f.reading for n, f in base.items()})
    assert {f.mode for f in effective.files.values()} == {"carried_forward"}
    assert parse(effective, settings()).findings.empty


@pytest.mark.parametrize("name", [n for n in DATA_FILES if n != "users"])
def test_any_subset_of_files_can_be_parsed(name: str) -> None:
    alone = {n: small_district()[n] for n in (name,)}
    assert parsed(contents(alone)).files[0].rows == len(alone[name])
    rest = {n: frame for n, frame in small_district().items() if n != name}
    assert len(parsed(contents(rest)).files) == 6


def test_a_delta_without_a_base_is_refused_by_name() -> None:
    files = contents(modes={"users": "delta", "orgs": "delta"})
    assert sorted(refusal(files)) == [
        ("delta_without_base", "orgs.csv"),
        ("delta_without_base", "users.csv"),
    ]
