"""One data file: which rows are records, what is told of the others, and nothing besides."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.oneroster.package import Limits
from roster_pipeline.oneroster.reader import REJECTED_COLUMNS, TOLD_COLUMNS, FileReading, read_file
from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.roster import DTYPES
from roster_pipeline_tests.oneroster.packages import codes

SESSIONS = (
    "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear"
)
ENROLLMENTS = (
    "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,"
    "primary,beginDate,endDate"
)
ORGS = "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId"
ORG = "o1,,,One,school,,"


def read(
    name: str, header: str, *rows: str, mode: str = "bulk", version: str = "1.1"
) -> FileReading:
    content = "\n".join([header, *rows, ""]).encode()
    reading = read_file(name, content, VERSIONS[version], mode, Limits())  # type: ignore[arg-type]
    assert tuple(reading.rejected.columns) == REJECTED_COLUMNS
    assert tuple(reading.told.columns) == TOLD_COLUMNS
    return reading


def refusal(name: str, header: str, *rows: str, version: str = "1.1") -> tuple[str, str]:
    with pytest.raises(DeliveryRefused) as refused:
        read(name, header, *rows, version=version)
    (finding,) = refused.value.findings
    return finding.code, finding.message


def told(reading: FileReading) -> list[tuple[str, int, str | None]]:
    """Code, row and field of what was told of rows."""
    rows = reading.told[["code", "row", "field"]].astype(object)
    return [(c, r, None if pd.isna(f) else f) for c, r, f in rows.itertuples(index=False)]


def ended(reading: FileReading) -> list[tuple[int, str]]:
    return sorted(zip(reading.rejected["row"], reading.rejected["outcome"], strict=True))


def ids(reading: FileReading) -> list[str]:
    return reading.frame["sourcedId"].tolist()


def test_values_have_the_type_of_their_column_also_where_the_column_is_missing() -> None:
    """A date column of texts once met one of dates when a delta was applied."""
    whole = read("enrollments", ENROLLMENTS, "e1,,,c,s,u,student,false,2026-08-01,2026-12-01")
    few = read(
        "enrollments",
        "sourcedId,classSourcedId,schoolSourcedId,userSourcedId,role",
        "e1,c,s,u,student",
    )
    assert whole.frame["beginDate"].tolist() == [date(2026, 8, 1)]
    assert whole.frame["primary"].tolist() == [False]
    assert codes(few.findings) == ["column_missing"]
    assert whole.frame.dtypes.to_dict() == few.frame.dtypes.to_dict()
    assert few.frame["primary"].dtype == DTYPES["boolean"]


def test_order_spelling_and_capitals_of_headers_do_not_matter_and_are_told() -> None:
    reading = read(
        "orgs",
        "TYPE,sourcedId,Name,parentSourcedId,identifier,status,dateLastModified",
        "school,o1,One,,7,,",
    )
    assert reading.frame.loc[0, ["sourcedId", "name", "type", "identifier"]].tolist() == [
        *("o1", "One", "school", "7"),
    ]
    assert codes(reading.findings) == ["header_spelling", "header_order"]
    assert "TYPE for type, Name for name" in reading.findings[0].message


def test_missing_optional_columns_are_one_notice() -> None:
    reading = read("orgs", "sourcedId,name,type", "o1,One,school")
    assert codes(reading.findings) == ["column_missing"]
    assert "status, dateLastModified, identifier, parentSourcedId" in reading.findings[0].message


def test_missing_required_columns_refuse_the_file_and_are_named() -> None:
    code, message = refusal("orgs", "sourcedId,status,identifier", "o1,,")
    assert code == "header_missing"
    assert "name, type" in message and "identifier" in message


def test_a_file_without_a_header_is_refused_without_repeating_its_first_row() -> None:
    code, message = refusal("users", "u1,,,true,s,student,ann,,Ann,Alder,,,ann@s.example,,,,,")
    assert code == "header_missing"
    assert "Alder" not in message and "example" not in message


@pytest.mark.parametrize("second", ["name", "Name", " name "])
def test_a_header_twice_is_refused_in_any_spelling(second: str) -> None:
    assert refusal("orgs", f"{ORGS},{second}", f"{ORG},x")[0] == "header_doubled"


def test_an_old_and_a_new_name_of_one_column_are_a_header_twice() -> None:
    header = (
        "sourcedId,title,courseSourcedId,classType,schoolSourcedId,termSourcedId,termSourcedIds"
    )
    assert refusal("classes", header, "c,T,x,homeroom,s,a,b")[0] == "header_doubled"


def test_columns_without_a_name_are_left_out_and_told() -> None:
    reading = read("orgs", f"{ORGS},,", f"{ORG},,", f"{ORG.replace('o1', 'o2')},x,y")
    assert ids(reading) == ["o1", "o2"]
    assert codes(reading.findings) == ["column_unnamed"]
    assert "" not in reading.frame.columns


@pytest.mark.parametrize("name", ["row", "file", "enrollment_type"])
def test_a_column_that_is_called_like_one_of_ours_harms_nothing(name: str) -> None:
    reading = read("orgs", f"{name},{ORGS}", f"x,{ORG}")
    assert reading.frame["row"].tolist() == [2]
    assert ids(reading) == ["o1"]


def test_other_columns_are_kept_as_text_and_passwords_are_not() -> None:
    reading = read("orgs", f"{ORGS},metadata.region,Password,more", f"{ORG},West,secret,1")
    assert reading.frame["metadata.region"].tolist() == ["West"]
    assert reading.frame["more"].tolist() == ["1"]
    users = (
        "sourcedId,enabledUser,orgSourcedIds,role,username,givenName,familyName,PASSWORD",
        "u,true,o,student,u,U,U,secret",
    )
    for version in VERSIONS:
        assert not any(
            "secret" in frame.astype(str).to_numpy()
            for frame in (read("users", *users, version=version).frame,)
        )


def test_a_repeated_header_is_no_record_and_told() -> None:
    reading = read("orgs", ORGS, ORG, ORGS, ORG.replace("o1", "o2"), ORGS.upper())
    assert (ids(reading), reading.rows) == (["o1", "o2"], 2)
    assert reading.frame["row"].tolist() == [2, 4]
    (finding,) = reading.findings
    assert finding.code == "header_repeated" and "2 rows" in finding.message


def test_an_old_header_that_is_repeated_is_known_by_its_own_name() -> None:
    header = "userSourcedId,status,dateLastModified,birthdate,sex"
    reading = read("demographics", header, "u1,,,,Male", header, version="1.0")
    assert (ids(reading), reading.frame["sex"].tolist()) == (["u1"], ["male"])
    assert "header_repeated" in codes(reading.findings)


def test_a_header_only_is_told() -> None:
    reading = read("orgs", ORGS)
    assert (reading.rows, codes(reading.findings)) == (0, ["file_without_rows"])


def test_half_of_the_rows_may_be_ragged_and_not_more() -> None:
    assert ended(read("orgs", ORGS, ORG, "o2,x")) == [(3, "invalid")]
    code, message = refusal("orgs", ORGS, ORG, "o2,x", "o3,y")
    assert code == "file_mostly_ragged" and "2 of 3 rows" in message


def test_a_required_value_that_is_none_makes_the_record_invalid() -> None:
    reading = read("academicSessions", SESSIONS, "t,,,T,term,2026-02-30,2026-12-01,,2027")
    assert told(reading) == [("value_unreadable", 2, "startDate")]
    assert ended(reading) == [(2, "invalid")]


def test_an_optional_value_that_is_none_is_left_out_and_told() -> None:
    reading = read("enrollments", ENROLLMENTS, "e1,,,c,s,u,student,maybe,08/01/2026,")
    assert told(reading) == [("value_dropped", 2, "primary"), ("value_dropped", 2, "beginDate")]
    assert reading.frame[["primary", "beginDate"]].isna().all().all()
    assert ended(reading) == []


def test_a_school_year_as_a_span_is_the_later_year_and_counted() -> None:
    reading = read("academicSessions", SESSIONS, "t,,,T,term,2026-08-01,2026-12-01,,2026-2027")
    assert reading.frame["schoolYear"].tolist() == ["2027"]
    (finding,) = reading.findings
    assert (finding.code, finding.field) == ("values_normalised", "schoolYear")


def test_normalisations_are_counted_by_column() -> None:
    rows = [
        f"e{n},,,c,s,u,{role},TRUE,," for n, role in enumerate(["Student", "student", "TEACHER"])
    ]
    reading = read("enrollments", ENROLLMENTS, *rows)
    assert [f.code for f in reading.findings] == ["values_normalised"] * 2
    counts = {f.field: int("".join(filter(str.isdigit, f.message))) for f in reading.findings}
    assert counts == {"role": 2, "primary": 3}


def test_a_session_that_ends_before_it_begins_is_invalid_and_an_enrollment_loses_its_end() -> None:
    sessions = read("academicSessions", SESSIONS, "t,,,T,term,2026-08-01,2026-07-31,,2027")
    assert (told(sessions), ended(sessions)) == ([("dates_reversed", 2, None)], [(2, "invalid")])
    enrollments = read("enrollments", ENROLLMENTS, "e,,,c,s,u,student,,2026-08-01,2026-07-31")
    assert told(enrollments) == [("dates_dropped", 2, None)]
    assert enrollments.frame["endDate"].isna().tolist() == [True]
    assert enrollments.frame["beginDate"].tolist() == [date(2026, 8, 1)]


def test_a_day_may_be_beginning_and_end() -> None:
    reading = read("enrollments", ENROLLMENTS, "e,,,c,s,u,student,,2026-08-01,2026-08-01")
    assert told(reading) == []


def test_the_same_class_user_and_role_at_another_time_is_another_enrollment() -> None:
    rows = ("e1,,,c,s,u,student,,2026-08-01,2026-10-01", "e2,,,c,s,u,student,,2026-11-01,")
    assert ids(read("enrollments", ENROLLMENTS, *rows)) == ["e1", "e2"]


def test_equal_rows_are_one_record_and_different_ones_of_one_id_none() -> None:
    equal = read("orgs", ORGS, ORG, ORG)
    assert (ids(equal), ended(equal), told(equal)) == (
        ["o1"],
        [(3, "duplicate")],
        [("record_repeated", 3, None)],
    )
    unlike = read("orgs", ORGS, ORG, ORG.replace("One", "Uno"), ORG)
    assert ids(unlike) == []
    assert ended(unlike) == [(2, "duplicate"), (3, "duplicate"), (4, "duplicate")]
    assert {t[0] for t in told(unlike)} == {"source_id_repeated"}


def test_ids_are_told_apart_by_their_capitals() -> None:
    assert ids(read("orgs", ORGS, ORG, ORG.replace("o1", "O1"))) == ["o1", "O1"]


# Bulk and delta


def test_a_status_in_a_bulk_file_is_told_and_active_means_nothing() -> None:
    reading = read("orgs", ORGS, "o1,active,2026-01-01,One,school,,", "o2,,,Two,school,,")
    assert ids(reading) == ["o1", "o2"]
    (finding,) = reading.findings
    assert finding.code == "status_in_bulk" and "1 times" in finding.message


def test_a_removal_in_a_bulk_file_is_honoured_and_told() -> None:
    reading = read("orgs", ORGS, "o1,ToBeDeleted,,One,school,,", ORG.replace("o1", "o2"))
    assert (ids(reading), ended(reading)) == (["o2"], [(2, "removed")])
    assert told(reading) == [("removed_in_bulk", 2, "status")]


def test_in_a_bulk_file_a_status_that_is_none_does_not_cost_the_record() -> None:
    reading = read("orgs", ORGS, "o1,gone,,One,school,,")
    assert (ids(reading), told(reading)) == (["o1"], [("value_dropped", 2, "status")])


def test_in_a_delta_a_removal_is_plain_and_needs_nothing_but_the_id() -> None:
    reading = read("orgs", ORGS, "o1,tobedeleted,,,,,", mode="delta")
    assert (ids(reading), ended(reading), told(reading)) == ([], [(2, "removed")], [])


def test_in_a_delta_a_status_that_is_none_makes_the_row_invalid() -> None:
    """Whether the record is to stay or to go cannot be known."""
    reading = read("orgs", ORGS, "o1,deleted,,One,school,,", mode="delta")
    assert (ended(reading), told(reading)) == (
        [(2, "invalid")],
        [("value_unreadable", 2, "status")],
    )


def test_in_a_delta_a_blank_status_is_active_and_told() -> None:
    reading = read("orgs", ORGS, ORG, mode="delta")
    assert (ids(reading), codes(reading.findings)) == (["o1"], ["status_missing"])


@pytest.mark.parametrize("mode", ["bulk", "delta"])
def test_a_record_that_is_active_and_removed_in_one_file_is_neither(mode: str) -> None:
    rows = ("o1,active,,One,school,,", "o1,tobedeleted,,One,school,,", "o2,active,,Two,school,,")
    reading = read("orgs", ORGS, *rows, mode=mode)
    assert ids(reading) == ["o2"]
    assert ended(reading) == [(2, "duplicate"), (3, "duplicate")]
    assert told(reading) == [
        ("source_id_repeated", 2, "sourcedId"),
        ("source_id_repeated", 3, "sourcedId"),
    ]


def test_inactive_is_a_removal_in_1_0_only() -> None:
    header = "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId"
    row = "o1,inactive,,One,school,,"
    assert ended(read("orgs", header, row, version="1.0")) == [(2, "removed")]
    assert ids(read("orgs", header, row, version="1.1")) == ["o1"]


# Kinds


@pytest.mark.parametrize(("word", "code"), [("", "value_missing"), ("shool", "value_unreadable")])
def test_a_row_that_does_not_say_what_it_is_is_invalid(word: str, code: str) -> None:
    reading = read("orgs", ORGS, ORG.replace("school", word))
    assert (ended(reading), told(reading)) == ([(2, "invalid")], [(code, 2, "type")])


def test_terms_of_ones_own_are_allowed_from_1_2_on_where_the_standard_says_so() -> None:
    row = ORG.replace("school", "ext:campus")
    assert ids(read("orgs", ORGS, row, version="1.2")) == ["o1"]
    assert ended(read("orgs", ORGS, row, version="1.1")) == [(2, "invalid")]


def test_rejected_rows_say_what_they_were_as_far_as_it_can_be_read() -> None:
    header = "sourcedId,orgSourcedIds,role,username,givenName,familyName"
    reading = read(
        "users", header, 'u1,"a,b",Student,u,U,U', "u 2,b,teacher,u,U,U", "u3,b,aide", version="1.0"
    )
    rejected = reading.rejected.sort_values("row").astype(object)
    assert rejected[["row", "kind", "org"]].to_numpy().tolist() == [
        [3, "teacher", "b"],
        [4, "aide", "b"],
    ]
    assert pd.isna(rejected["sourcedId"].iloc[0])
    assert rejected["sourcedId"].iloc[1] == "u3"
