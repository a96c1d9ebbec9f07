"""What we write is what the standard says, and what we read again."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from roster_pipeline.oneroster.delivery import read_delivery
from roster_pipeline.oneroster.package import Package, open_package
from roster_pipeline.oneroster.standard import RACES, VERSIONS
from roster_pipeline.oneroster.values import SOURCED_ID
from roster_pipeline.oneroster.writer import csv_bytes, manifest_bytes, write_package
from roster_pipeline.roster import TEXT
from roster_pipeline.sample import make_district
from roster_pipeline_tests.oneroster.packages import contents
from roster_pipeline_tests.oneroster.test_delivery import district_1_2
from roster_pipeline_tests.stages.passage import changed, small_district


def read(package: Package) -> dict[str, pd.DataFrame]:
    delivery = read_delivery(package)
    assert all(r.rejected.empty and r.told.empty for r in delivery.readings.values())
    return {name: r.frame for name, r in delivery.readings.items()}


def again(frames: dict[str, pd.DataFrame], version: str) -> Package:
    spec = VERSIONS[version]
    files = {name: csv_bytes(frame, spec, name) for name, frame in frames.items()}
    return Package({**files, "manifest": manifest_bytes(spec, dict.fromkeys(frames, "bulk"))})


@pytest.mark.parametrize("version", list(VERSIONS))
def test_headers_stand_in_the_order_of_the_standard(version: str) -> None:
    for name, spec in VERSIONS[version].files.items():
        written = csv_bytes(pd.DataFrame({"sourcedId": []}), VERSIONS[version], name)
        assert written.decode() == ",".join(spec.headers) + "\n"


def test_some_headers_of_the_standard_to_the_letter() -> None:
    assert ",".join(VERSIONS["1.1"].files["users"].headers) == (
        "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,"
        "givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,"
        "password"
    )
    assert ",".join(VERSIONS["1.2"].files["roles"].headers) == (
        "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,"
        "orgSourcedId,userProfileSourcedId"
    )
    assert ",".join(VERSIONS["1.0"].files["enrollments"].headers) == (
        "sourcedId,classSourcedId,schoolSourcedId,userSourcedId,role,status,dateLastModified,"
        "primary"
    )
    assert len(RACES) == 7


def test_values_are_quoted_where_they_must_be() -> None:
    frames = changed(small_district(), "orgs", "north", name='The "North", or so')
    written = csv_bytes(frames["orgs"], VERSIONS["1.1"], "orgs").decode()
    assert 'The ""North"", or so"' in written
    rows = list(csv.reader(io.StringIO(written)))
    assert rows[2] == ["north", "", "", 'The "North", or so', "school", "1701", "d"]


def test_columns_of_ones_own_stand_at_the_end() -> None:
    frames = changed(small_district(), "orgs", "north", metadata__region="West")
    header = csv_bytes(frames["orgs"], VERSIONS["1.1"], "orgs").split(b"\n")[0]
    assert header.endswith(b",parentSourcedId,metadata.region")


def test_a_manifest_names_every_file_of_its_version() -> None:
    lines = manifest_bytes(VERSIONS["1.1"], {"users": "delta"}).decode().splitlines()
    assert lines[:3] == ["propertyName,value", "manifest.version,1.0", "oneroster.version,1.1"]
    assert "file.users,delta" in lines and "file.lineItems,absent" in lines
    assert len(lines) == 3 + 13
    assert len(manifest_bytes(VERSIONS["1.2"], {}).splitlines()) == 3 + 21


def test_zip_and_folder_hold_the_same_and_a_zip_is_the_same_each_time(tmp_path: Path) -> None:
    frames = small_district()
    write_package(tmp_path / "a.zip", frames)
    write_package(tmp_path / "b.zip", frames)
    write_package(tmp_path / "folder", frames)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert open_package([tmp_path / "a.zip"]).files == open_package([tmp_path / "folder"]).files
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_DEFLATED}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_read_package_that_is_written_and_read_again_is_the_same(version: str) -> None:
    frames = district_1_2() if version == "1.2" else small_district()
    first = read(Package(contents(frames, version=version)))
    second = read(again(first, version))
    assert first.keys() == second.keys()
    for name, frame in first.items():
        assert_frame_equal(frame, second[name])


def test_a_made_district_survives_writing_and_reading() -> None:
    made = make_district(200)
    first = read(again(made, "1.1"))
    for name, frame in read(again(first, "1.1")).items():
        assert_frame_equal(frame, first[name])
        assert frame["sourcedId"].tolist() == made[name]["sourcedId"].tolist()


words = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), min_size=1, max_size=12
)
ids = st.from_regex(SOURCED_ID.replace("{1,255}", "{1,20}"), fullmatch=True)
orgs = st.fixed_dictionaries(
    {
        "name": st.none() | words,
        "identifier": st.none() | words,
        "metadata.x": st.none() | words,
        "type": st.sampled_from(["school", "district", "local"]),
        "parentSourcedId": st.none() | ids,
    }
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(ids.filter(lambda i: i.lower() != "sourcedid"), orgs, max_size=6))
def test_any_text_survives_writing_and_reading(rows: dict[str, dict[str, str | None]]) -> None:
    columns = ["sourcedId", "name", "identifier", "metadata.x", "type", "parentSourcedId"]
    records = [{"sourcedId": i, **cells} for i, cells in rows.items()]
    frame = pd.DataFrame({c: pd.Series([r[c] for r in records], dtype=TEXT) for c in columns})
    first = read(again({"orgs": frame}, "1.1"))["orgs"]
    second = read(again({"orgs": first}, "1.1"))["orgs"]
    assert_frame_equal(first, second)
    assert first["sourcedId"].tolist() == list(rows)
    names = [(name or "").strip() or None for name in (row["name"] for row in records)]
    assert first["name"].astype(object).where(first["name"].notna(), None).tolist() == names
