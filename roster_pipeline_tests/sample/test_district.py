"""A made district is a district: complete, consistent, believable, and the same each time."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd
import pytest

from roster_pipeline.oneroster.standard import GRADES, RACES, VERSIONS, Column
from roster_pipeline.oneroster.writer import csv_bytes
from roster_pipeline.roster import TEXT
from roster_pipeline.sample import make_district

Frames = dict[str, pd.DataFrame]
STANDARD = VERSIONS["1.1"]
STUDENTS = 1200
ELEMENTARY = {"KG", "01", "02", "03", "04", "05"}
LEVEL_GRADES = {
    "Elementary School": ELEMENTARY,
    "Middle School": {"06", "07", "08"},
    "High School": {"09", "10", "11", "12"},
}


@pytest.fixture(scope="module")
def district() -> Frames:
    return make_district(STUDENTS, seed=7)


def columns() -> list[tuple[str, Column]]:
    return [(f, c) for f, spec in STANDARD.files.items() for c in spec.columns]


def elements(frame: pd.DataFrame, header: str) -> pd.Series:
    """The elements of a list column, each with its row's label."""
    return frame[header].dropna().str.split(",").explode()


def first_of(lists: pd.Series) -> pd.Series:
    """The first element of each list."""
    return lists.str.replace(",.*", "", regex=True)


def students_of(district: Frames) -> pd.DataFrame:
    users = district["users"]
    return users[users["role"] == "student"]


def test_the_frames_are_the_files_of_the_standard_with_all_columns_as_text(
    district: Frames,
) -> None:
    assert set(district) == set(STANDARD.files)
    for file, frame in district.items():
        assert tuple(frame.columns) == STANDARD.files[file].headers
        assert set(frame.dtypes) == {TEXT}
        assert frame.index.equals(pd.RangeIndex(len(frame)))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_district(
    district: Frames,
) -> None:
    again, other = make_district(STUDENTS, seed=7), make_district(STUDENTS, seed=8)
    for file in district:
        assert csv_bytes(district[file], STANDARD, file) == csv_bytes(again[file], STANDARD, file)
    assert not district["users"].equals(other["users"])


@pytest.mark.parametrize("students", [1, 2, 3, 10, 77, 300, 1500])
def test_a_district_has_exactly_the_students_asked_for(students: int) -> None:
    district = make_district(students)
    assert len(students_of(district)) == len(district["demographics"]) == students
    assert district["enrollments"]["userSourcedId"].isin(district["users"]["sourcedId"]).all()


def test_a_district_without_students_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one student"):
        make_district(0)


@pytest.mark.parametrize(("file", "column"), columns(), ids=lambda x: getattr(x, "name", x))
def test_every_value_is_what_the_standard_allows(
    district: Frames, file: str, column: Column
) -> None:
    values = district[file][column.name]
    if column.required:
        assert values.notna().all()
    values = values.dropna()
    assert (values == values.str.strip()).all()
    assert (values != "").all()
    if column.vocabulary:
        assert values.isin(column.vocabulary).all()
    if column.kind == "date":
        assert values.str.fullmatch(r"\d{4}-\d\d-\d\d").all()
        assert pd.to_datetime(values).notna().all()
    if column.kind == "year":
        assert values.str.fullmatch(r"\d{4}").all()
    if column.kind == "guid":
        assert values.str.fullmatch(r"[0-9A-Za-z./@_-]{1,255}").all()
    if column.name == "grades":
        assert elements(district[file], "grades").isin(GRADES).all()


def test_bulk_files_leave_status_and_date_last_modified_blank(district: Frames) -> None:
    for frame in district.values():
        assert frame[["status", "dateLastModified"]].isna().all(axis=None)


@pytest.mark.parametrize("file", [*STANDARD.files])
def test_ids_are_unique_within_their_file(district: Frames, file: str) -> None:
    assert district[file]["sourcedId"].is_unique


@pytest.mark.parametrize(
    ("file", "column"),
    [(f, c) for f, c in columns() if c.refers_to],
    ids=lambda x: getattr(x, "name", x),
)
def test_every_reference_leads_to_a_record(district: Frames, file: str, column: Column) -> None:
    assert column.refers_to
    named = elements(district[file], column.name)
    assert named.isin(district[column.refers_to]["sourcedId"]).all()
    assert not pd.MultiIndex.from_arrays([named.index, named]).duplicated().any()


def test_every_session_and_enrollment_ends_after_it_begins(district: Frames) -> None:
    sessions, enrollments = district["academicSessions"], district["enrollments"]
    assert (sessions["startDate"] < sessions["endDate"]).all()
    assert (enrollments["beginDate"] < enrollments["endDate"]).all()


def test_each_session_lies_within_its_parent(district: Frames) -> None:
    sessions = district["academicSessions"].set_index("sourcedId")
    assert sessions["type"].value_counts().to_dict() == {
        "gradingPeriod": 4,
        "semester": 2,
        "schoolYear": 1,
    }
    children = sessions[sessions["parentSourcedId"].notna()]
    parents = sessions.loc[children["parentSourcedId"]]
    assert (children["startDate"].to_numpy() >= parents["startDate"].to_numpy()).all()
    assert (children["endDate"].to_numpy() <= parents["endDate"].to_numpy()).all()


def test_enrollments_lie_within_the_terms_of_their_class(district: Frames) -> None:
    sessions = district["academicSessions"].set_index("sourcedId")
    terms = elements(district["classes"].set_index("sourcedId"), "termSourcedIds")
    start = terms.map(sessions["startDate"]).groupby(level=0).min()
    end = terms.map(sessions["endDate"]).groupby(level=0).max()
    enrollments = district["enrollments"]
    assert (enrollments["beginDate"] >= enrollments["classSourcedId"].map(start)).all()
    assert (enrollments["endDate"] == enrollments["classSourcedId"].map(end)).all()


def test_e_mails_and_usernames_are_unique_and_on_reserved_domains(district: Frames) -> None:
    users = district["users"]
    emails = users["email"].dropna()
    assert emails.str.lower().is_unique
    assert users["username"].str.lower().is_unique
    assert emails.str.fullmatch(r"[a-z0-9.]+@[a-z.]+\.example").all()
    assert students_of(district)["email"].str.contains("@students.", regex=False).all()


def test_only_contacts_may_be_without_an_e_mail(district: Frames) -> None:
    roles = set(district["users"].loc[district["users"]["email"].isna(), "role"])
    assert roles
    assert roles <= {"parent", "guardian", "relative"}


def test_names_come_from_many_places_in_composed_unicode(district: Frames) -> None:
    family = list(district["users"]["familyName"])
    assert len(set(family)) > 150
    assert all(unicodedata.is_normalized("NFC", name) for name in family)
    for kind in ("[^\x00-\x7f]", "'", "-", r"\w \w"):
        assert any(re.search(kind, name) for name in family), kind


def test_a_bigger_district_has_more_schools_of_every_level() -> None:
    small, big = (make_district(n)["orgs"] for n in (300, 20_000))
    for level in LEVEL_GRADES:
        of_small = small["name"].str.endswith(level).sum()
        assert 1 <= of_small < big["name"].str.endswith(level).sum()
    assert big["name"].is_unique


def test_students_go_to_a_school_of_their_grade(district: Frames) -> None:
    schools = district["orgs"].set_index("sourcedId")["name"]
    students = students_of(district)
    name = first_of(students["orgSourcedIds"]).map(schools)
    for level, grades in LEVEL_GRADES.items():
        here = students[name.str.endswith(level)]
        assert set(here["grades"]) == grades


def test_a_class_has_grades_of_its_school_and_students_of_its_grades(district: Frames) -> None:
    schools = district["orgs"].set_index("sourcedId")["name"]
    classes = district["classes"].set_index("sourcedId")
    name = classes["schoolSourcedId"].map(schools)
    for level, grades in LEVEL_GRADES.items():
        assert set(elements(classes[name.str.endswith(level)], "grades")) <= grades
    grade = students_of(district).set_index("sourcedId")["grades"]
    enrollments = district["enrollments"].query("role == 'student'")
    taught = enrollments["classSourcedId"].map(classes["grades"])
    attended = enrollments["userSourcedId"].map(grade)
    assert all(g in t.split(",") for g, t in zip(attended, taught, strict=True))


def test_a_class_agrees_with_its_course_and_enrollments_with_their_class(district: Frames) -> None:
    classes, courses = district["classes"], district["courses"].set_index("sourcedId")
    for header in ("grades", "subjects", "subjectCodes"):
        assert (classes[header] == classes["courseSourcedId"].map(courses[header])).all()
    school = classes.set_index("sourcedId")["schoolSourcedId"]
    enrollments = district["enrollments"]
    assert (enrollments["schoolSourcedId"] == enrollments["classSourcedId"].map(school)).all()


def test_people_are_enrolled_only_at_schools_they_belong_to(district: Frames) -> None:
    enrollments = district["enrollments"]
    orgs = enrollments["userSourcedId"].map(
        district["users"].set_index("sourcedId")["orgSourcedIds"]
    )
    assert all(
        school in belongs.split(",")
        for school, belongs in zip(enrollments["schoolSourcedId"], orgs, strict=True)
    )


def test_every_class_has_students_and_exactly_one_primary_teacher(district: Frames) -> None:
    classes, enrollments = district["classes"], district["enrollments"]
    primary = enrollments[(enrollments["role"] == "teacher") & (enrollments["primary"] == "true")]
    assert primary["classSourcedId"].is_unique
    assert set(primary["classSourcedId"]) == set(classes["sourcedId"])
    students = enrollments[enrollments["role"] == "student"]
    assert set(students["classSourcedId"]) == set(classes["sourcedId"])
    assert students["primary"].isna().all()


def test_some_classes_have_a_co_teacher_and_nobody_is_in_a_class_twice(district: Frames) -> None:
    enrollments = district["enrollments"]
    co_taught = enrollments.query("role == 'teacher' and primary == 'false'")
    assert 0 < len(co_taught) < len(district["classes"]) / 5
    assert not enrollments.duplicated(["classSourcedId", "userSourcedId"]).any()


def test_enrollments_name_students_as_students_and_teachers_as_teachers(district: Frames) -> None:
    role = district["users"].set_index("sourcedId")["role"]
    enrollments = district["enrollments"]
    assert (enrollments["userSourcedId"].map(role) == enrollments["role"]).all()
    assert set(role[role == "teacher"].index) <= set(enrollments["userSourcedId"])


def test_nobody_is_in_two_places_in_one_period(district: Frames) -> None:
    classes = district["classes"].set_index("sourcedId")
    enrollments = district["enrollments"]
    busy = pd.DataFrame(
        {
            "person": enrollments["userSourcedId"],
            "period": enrollments["classSourcedId"].map(classes["periods"]),
            "term": enrollments["classSourcedId"].map(classes["termSourcedIds"]),
        }
    ).dropna()
    assert not busy.assign(term=busy["term"].str.split(",")).explode("term").duplicated().any()
    assert set(busy["period"]) == set("1234567")


def test_secondary_students_have_six_or_seven_periods_and_younger_ones_a_homeroom(
    district: Frames,
) -> None:
    classes = district["classes"].set_index("sourcedId")
    enrollments = district["enrollments"].query("role == 'student'")
    of_class = classes.loc[enrollments["classSourcedId"]].reset_index()
    of_class["person"] = enrollments["userSourcedId"].to_numpy()
    homerooms = of_class[of_class["classType"] == "homeroom"]
    students = students_of(district)
    young = students["grades"].isin(ELEMENTARY)
    assert sorted(homerooms["person"]) == sorted(students.loc[young, "sourcedId"])
    periods = of_class.dropna(subset="periods").groupby("person")["periods"].nunique()
    assert set(periods.index) == set(students.loc[~young, "sourcedId"])
    assert set(periods) == {6, 7}


def test_classes_are_of_a_believable_size_and_teachers_have_about_five(district: Frames) -> None:
    enrollments = district["enrollments"]
    sizes = enrollments.query("role == 'student'").groupby("classSourcedId").size()
    assert sizes.max() <= 27
    assert 18 <= sizes.median() <= 27
    big = make_district(8000)
    classes = big["classes"].set_index("sourcedId")
    teaching = big["enrollments"].query("role == 'teacher' and primary == 'true'")
    period = teaching["classSourcedId"].map(classes["periods"])
    load = period.groupby(teaching["userSourcedId"]).nunique()
    load = load[load > 0]
    assert load.max() <= 5
    assert load.mean() > 3


def test_some_classes_last_a_year_and_some_a_semester(district: Frames) -> None:
    terms = district["classes"]["termSourcedIds"].value_counts()
    assert set(terms.index) == {"S1-2027,S2-2027", "S1-2027", "S2-2027", "SY2027"}
    assert terms["S1-2027"] == terms["S2-2027"]


def test_students_and_guardians_name_each_other_and_siblings_share_them(district: Frames) -> None:
    users = district["users"].set_index("sourcedId")
    role = users["role"]
    agents = elements(users, "agentSourcedIds")
    assert not agents.empty
    pairs = set(agents.items())
    assert pairs == {(b, a) for a, b in pairs}
    of_students = agents[agents.index.map(role) == "student"]
    assert set(of_students.index) == set(role.index[role == "student"])
    assert of_students.map(role).isin(["parent", "guardian", "relative"]).all()
    guardians = role.isin(["parent", "guardian", "relative"]).sum()
    assert 1.2 < guardians / STUDENTS < 1.6
    assert of_students.duplicated().any()


def test_guardians_belong_to_the_schools_of_their_children(district: Frames) -> None:
    users = district["users"].set_index("sourcedId")
    first = first_of(users["orgSourcedIds"])
    guardians = users[users["role"].isin(["parent", "guardian", "relative"])]
    schools = elements(guardians, "agentSourcedIds").map(first)
    for guardian, orgs in guardians["orgSourcedIds"].items():
        assert set(orgs.split(",")) == set(schools.loc[[guardian]])


def test_every_school_has_an_administrator_and_some_people_belong_to_two_schools() -> None:
    district = make_district(4000)
    users, orgs = district["users"], district["orgs"]
    admins = users[users["role"] == "administrator"]
    assert set(admins["orgSourcedIds"]) == set(orgs["sourcedId"])
    several = users[users["orgSourcedIds"].str.contains(",", regex=False)]
    assert {"student", "teacher"} <= set(several["role"])
    assert (users["role"] == "aide").any()


def test_birth_dates_fit_the_grade_and_races_add_up(district: Frames) -> None:
    students = students_of(district).set_index("sourcedId")
    demographics = district["demographics"].set_index("sourcedId")
    assert demographics.index.equals(students.index)
    born = pd.to_datetime(demographics["birthDate"])
    age = (pd.Timestamp("2026-09-01") - born).dt.days / 365.25
    grade = students["grades"].replace("KG", "00").astype("int64")
    extra = age - grade - 5
    assert extra.between(-0.01, 2.01).all()
    assert extra.median() < 1
    races = (demographics[list(RACES[:5])] == "true").sum(axis=1)
    assert (races >= 1).all()
    assert ((races > 1) == (demographics["demographicRaceTwoOrMoreRaces"] == "true")).all()
    assert demographics["sex"].value_counts(normalize=True).min() > 0.4


def test_enrollments_number_about_seven_a_student(district: Frames) -> None:
    assert 6 < len(district["enrollments"]) / STUDENTS < 8
