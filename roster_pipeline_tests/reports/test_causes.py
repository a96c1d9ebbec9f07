"""Root causes: what to mend first, and how much hangs on it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from roster_pipeline.findings import findings_frame
from roster_pipeline.oneroster.package import open_package
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.reports.causes import root_causes
from roster_pipeline.reports.inspection import inspect_delivery
from roster_pipeline.roster import first_element
from roster_pipeline.sample import make_district

Frames = dict[str, pd.DataFrame]


def causes_of(frames: Frames, folder: Path) -> list[str]:
    write_package(folder / "d", frames)
    assert open_package([folder / "d"]).files
    return [cause.in_words() for cause in root_causes(inspect_delivery([folder / "d"]).findings)]


def without(frame: pd.DataFrame, source_id: str) -> pd.DataFrame:
    return frame.loc[frame["sourcedId"] != source_id].reset_index(drop=True)


def test_nothing_left_out_has_no_cause() -> None:
    assert root_causes(findings_frame()) == []


def test_one_missing_school_is_one_cause_whatever_hangs_on_it(tmp_path: Path) -> None:
    frames = make_district(300)
    orgs = frames["orgs"]
    school = orgs.loc[orgs["type"] == "school", "sourcedId"].iloc[0]
    frames["orgs"] = without(orgs, school)
    first_org = first_element(frames["users"]["orgSourcedIds"])
    students = ((first_org == school) & (frames["users"]["role"] == "student")).sum()
    classes = (frames["classes"]["schoolSourcedId"] == school).sum()

    told = causes_of(frames, tmp_path)

    assert len(told) == 1
    assert told[0].startswith("1 school missing from orgs.csv: ")
    assert f"{students:,} students" in told[0]
    assert f"{classes:,} classes" in told[0]


def test_two_missing_schools_are_two_causes_the_one_with_more_first(tmp_path: Path) -> None:
    frames = make_district(300)
    orgs = frames["orgs"]
    schools = list(orgs.loc[orgs["type"] == "school", "sourcedId"].iloc[:2])
    frames["orgs"] = orgs.loc[~orgs["sourcedId"].isin(schools)].reset_index(drop=True)
    classes = frames["classes"]["schoolSourcedId"].value_counts()
    write_package(tmp_path / "d", frames)

    causes = root_causes(inspect_delivery([tmp_path / "d"]).findings)

    assert sorted(cause.roots for cause in causes) == sorted((school,) for school in schools)
    for cause in causes:
        assert cause.consequences["class"] == classes[cause.roots[0]]
    assert causes[0].weight >= causes[1].weight


def test_causes_come_in_the_order_in_which_to_mend_them(tmp_path: Path) -> None:
    frames = make_district(300)
    enrollments = frames["enrollments"]
    lost_class = enrollments["classSourcedId"].iloc[0]
    elsewhere = (enrollments["classSourcedId"] != lost_class) & (enrollments["role"] == "student")
    lost_person = enrollments.loc[elsewhere, "userSourcedId"].iloc[-1]
    frames["classes"] = without(frames["classes"], lost_class)
    frames["users"] = without(frames["users"], lost_person)

    told = causes_of(frames, tmp_path)

    assert [t.partition(":")[0] for t in told] == [
        "1 person missing from users.csv",
        "1 class missing from classes.csv",
    ]


def test_a_fault_that_takes_others_along_names_the_fault(tmp_path: Path) -> None:
    frames = make_district(300)
    classes = frames["classes"]
    faulty = classes["sourcedId"].iloc[0]
    hers = int((frames["enrollments"]["classSourcedId"] == faulty).sum())
    at = classes["sourcedId"] == faulty
    frames["classes"] = classes.assign(classType=classes["classType"].mask(at, "lecture"))

    fault = "A required value that cannot be read"
    assert causes_of(frames, tmp_path) == [f"1 class ({fault}): {hers:,} enrollments"]
