"""CSV for a spreadsheet: no cell of it can run."""

from __future__ import annotations

import csv
import io
from datetime import date

import pandas as pd
import pytest

from roster_pipeline.reports.spreadsheet import spreadsheet_csv
from roster_pipeline.roster import DTYPES, INTEGER, TEXT


def cells(frame: pd.DataFrame) -> list[list[str]]:
    return list(csv.reader(io.StringIO(spreadsheet_csv(frame))))


def column(*values: object) -> pd.DataFrame:
    return pd.DataFrame({"source_id": pd.Series(list(values), dtype=TEXT)})


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        '=HYPERLINK("http://x","y")',
        "=cmd|'/C calc'!A0",
    ],
)
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert cells(column(text)) == [["source_id"], [f"'{text}"]]


@pytest.mark.parametrize("text", ["\r=1", "a\r=1"])
def test_a_carriage_return_does_not_begin_a_row_of_its_own(text: str) -> None:
    assert len(cells(column(text))) == 2


@pytest.mark.parametrize("text", ["a=1", "1-2", "x@y.example", "'=1", "Zoë", 'a "b", c', "a\nb"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert cells(column(text)) == [["source_id"], [text]]


def test_blanks_stay_blank_and_numbers_numbers() -> None:
    frame = pd.DataFrame(
        {
            "row": pd.Series([2, None, -3], dtype=INTEGER),
            "code": pd.Series(["a", None, "-b"], dtype=TEXT),
        }
    )
    assert cells(frame) == [["row", "code"], ["2", "a"], ["", ""], ["-3", "'-b"]]


def test_dates_and_booleans_can_be_written_too() -> None:
    frame = pd.DataFrame(
        {
            "day": pd.Series([date(2026, 10, 1), None], dtype=DTYPES["date"]),
            "yes": pd.Series([True, None], dtype=DTYPES["boolean"]),
        }
    )
    assert cells(frame) == [["day", "yes"], ["2026-10-01", "true"], ["", ""]]


def test_a_frame_without_rows_is_its_header() -> None:
    assert spreadsheet_csv(column()) == "source_id\n"


def test_columns_keep_their_order() -> None:
    frame = pd.DataFrame({name: pd.Series(["x"], dtype=TEXT) for name in ("c", "a", "b")})
    assert cells(frame)[0] == ["c", "a", "b"]
