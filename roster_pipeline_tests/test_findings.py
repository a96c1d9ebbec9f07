"""Findings: every code has words that can be said, and frames of them keep their shape."""

from __future__ import annotations

import string
from typing import Any

import pandas as pd
import pytest

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.findings import (
    CODES,
    FINDING_COLUMNS,
    DeliveryRefused,
    concat_findings,
    finding,
    findings_frame,
    tell,
    tell_records,
)
from roster_pipeline.roster import INTEGER, TEXT
from roster_pipeline_tests.serving import STAGES


def words_in(text: str) -> dict[str, Any]:
    """Something for each word a sentence wants."""
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return {name: 7 if name in ("row", "count", "rows") else f"<{name}>" for name in names}


@pytest.mark.parametrize("code", CODES)
def test_a_code_says_what_happened_and_what_to_do(code: str) -> None:
    spec = CODES[code]
    assert spec.stage in STAGES
    assert spec.severity in ("fatal", "skipped", "reported")
    for sentence in (spec.message, spec.how_to_fix):
        said = sentence.format(**words_in(sentence))
        assert said.endswith(".")
        assert said == " ".join(said.split())
    assert spec.title
    assert not spec.title.endswith(".")


def test_codes_have_titles_that_tell_them_apart() -> None:
    titles = [spec.title for spec in CODES.values()]
    assert len(titles) == len(set(titles))


def test_every_attribute_can_be_missing_and_double_and_every_reference_unknown() -> None:
    for enrollment_type in ENROLLMENT_TYPES.values():
        for attribute in enrollment_type.attributes:
            assert f"{attribute.name}_missing" in CODES
            assert f"{attribute.name}_duplicate" in CODES
        for attribute in enrollment_type.references:
            assert f"{attribute.name}_unknown" in CODES


def test_an_attribute_of_a_districts_own_has_codes_when_they_are_asked_for() -> None:
    assert "state_id_missing" not in CODES
    assert CODES["state_id_missing"].title == "No state_id"
    assert CODES["state_id_missing"].stage == "complete_roster"
    assert CODES["state_id_duplicate"].stage == "unique_roster"


@pytest.mark.parametrize("code", ["no_such_code", "state_id_unknown", "_missing", ""])
def test_an_unknown_code_is_an_error_of_ours(code: str) -> None:
    with pytest.raises(KeyError):
        CODES[code]


def test_the_details_of_a_finding_fill_its_fields_and_its_sentences() -> None:
    made = finding("record_incomplete", file="users.csv", row=7)
    assert (made.stage, made.severity) == ("parsed_roster", "fatal")
    assert (made.file, made.row, made.field) == ("users.csv", 7, None)
    assert made.message == "users.csv ends in the middle of row 7: the last record is incomplete."


def test_findings_become_a_frame_of_texts_and_whole_numbers() -> None:
    frame = findings_frame([finding("file_missing", file="users.csv")])
    assert tuple(frame.columns) == FINDING_COLUMNS
    assert frame["row"].dtype == INTEGER
    assert frame["message"].dtype == TEXT
    assert pd.isna(frame["row"].iloc[0])


def test_a_frame_without_findings_is_new_each_time() -> None:
    frame = findings_frame()
    frame["more"] = 1
    assert findings_frame().empty
    assert tuple(findings_frame().columns) == FINDING_COLUMNS
    assert findings_frame()["row"].dtype == INTEGER


def rows(*ids: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "source_id": pd.Series(ids, dtype=TEXT),
            "file": pd.Series("users.csv", range(len(ids)), dtype=TEXT),
            "row": pd.Series(range(2, 2 + len(ids)), dtype=INTEGER),
        }
    )


def test_one_finding_is_told_for_each_row() -> None:
    told = tell("row_ragged", rows("a", "b"))
    assert told[["code", "source_id", "row", "severity"]].to_numpy().tolist() == [
        ["row_ragged", "a", 2, "skipped"],
        ["row_ragged", "b", 3, "skipped"],
    ]
    assert tuple(told.columns) == FINDING_COLUMNS
    assert told["enrollment_type"].isna().all()


def test_a_finding_may_be_told_with_another_severity_and_its_own_sentence() -> None:
    sentence = pd.Series(["One.", "Two."], dtype=TEXT)
    told = tell(
        *("email_duplicate", rows("a", "b")),
        field="email",
        attribute="email",
        severity="reported",
        message=sentence,
    )
    assert told["severity"].tolist() == ["reported", "reported"]
    assert told["message"].tolist() == ["One.", "Two."]


def test_nothing_is_told_of_no_rows() -> None:
    told = tell("row_ragged", rows())
    assert told.empty
    assert tuple(told.columns) == FINDING_COLUMNS


def student(demographics_row: int | None) -> pd.DataFrame:
    return rows("ann").assign(
        primary_school=pd.Series(["north"], dtype=TEXT),
        demographics_row=pd.Series([demographics_row], dtype=INTEGER),
    )


def test_a_finding_about_a_record_names_its_school_file_header_and_row() -> None:
    told = tell_records("email_missing", "student", student(5), "email", "users.email")
    (row,) = told.to_dict("records")
    assert (row["file"], row["row"], row["field"]) == ("users.csv", 2, "email")
    assert (row["school"], row["enrollment_type"], row["attribute"]) == (
        *("north", "student", "email"),
    )
    assert row["message"] == "The student has no email (email is blank)."


@pytest.mark.parametrize("row", [5, None])
def test_a_finding_about_demographics_points_there(row: int | None) -> None:
    told = tell_records("gender_missing", "student", student(row), "gender", "demographics.sex")
    assert told["file"].tolist() == ["demographics.csv"]
    assert told["field"].tolist() == ["sex"]
    assert (told["row"].iloc[0] == 5) if row else pd.isna(told["row"].iloc[0])


def test_a_metadata_header_keeps_its_dots() -> None:
    told = tell_records("email_missing", "student", student(5), "email", "users.metadata.mail")
    assert told["field"].tolist() == ["metadata.mail"]


def test_findings_are_put_together_in_the_order_given() -> None:
    one, other = tell("row_ragged", rows("a")), tell("row_overwide", rows("b"))
    assert concat_findings([findings_frame(), one, other])["source_id"].tolist() == ["a", "b"]
    assert concat_findings([]).empty
    assert tuple(concat_findings([]).columns) == FINDING_COLUMNS


def test_a_refused_delivery_says_all_that_is_wrong() -> None:
    refused = DeliveryRefused(
        [finding("file_missing", file="users.csv"), finding("file_empty", file="orgs.csv")]
    )
    assert "users.csv is missing." in str(refused)
    assert "orgs.csv is empty, without even a header." in str(refused)
    assert [f.file for f in refused.findings] == ["users.csv", "orgs.csv"]
