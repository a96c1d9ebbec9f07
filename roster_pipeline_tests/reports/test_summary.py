"""What is printed or sent of a frame."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd

from roster_pipeline.reports.summary import as_records
from roster_pipeline.roster import INTEGER, TEXT


def test_records_of_a_frame_are_plain_values_with_none_where_there_is_nothing() -> None:
    frame = pd.DataFrame(
        {
            "text": pd.Series(["a", None], dtype=TEXT),
            "number": pd.Series([1, None], dtype=INTEGER),
            "share": [0.5, float("nan")],
            "plain": [3, 4],
            "day": [date(2026, 8, 31), None],
            "flag": pd.Series([True, False]),
        }
    ).loc[[1, 0]]
    nothing, something = as_records(frame)
    assert nothing == {
        **dict.fromkeys(("text", "number", "share", "day")),
        "plain": 4,
        "flag": False,
    }
    assert something == {
        "text": "a",
        "number": 1,
        "share": 0.5,
        "plain": 3,
        "day": date(2026, 8, 31),
        "flag": True,
    }
    assert json.dumps({**something, "day": None})


def test_of_a_frame_without_rows_there_are_no_records() -> None:
    assert as_records(pd.DataFrame({"code": pd.Series([], dtype=TEXT)})) == []
