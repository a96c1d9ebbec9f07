"""Single values: strict about meaning, tolerant about form, and nothing is guessed."""

from __future__ import annotations

import re
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roster_pipeline.oneroster.standard import GRADES, VERSIONS, Column
from roster_pipeline.oneroster.values import ReadColumn, arrow_type, read_column


def read(kind: str, *values: str | None, **more: object) -> ReadColumn:
    column = Column(str(more.pop("name", "x")), kind, **more)  # type: ignore[arg-type]
    return read_column(column, pa.array(values, pa.string()))


def one(kind: str, value: str, **more: object) -> object:
    """A value as read; ValueError when it is unreadable."""
    column = read(kind, value, **more)
    if column.unreadable[0].as_py():
        assert column.values[0].as_py() is None
        raise ValueError(value)
    return column.values[0].as_py()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-08-01", date(2026, 8, 1)),
        ("2024-02-29", date(2024, 2, 29)),
        ("2022-03-15T01:30:00.0000000+00:00", date(2022, 3, 15)),
        ("2017-05-06 08:01:05", date(2017, 5, 6)),
    ],
)
def test_dates_are_days_of_the_calendar(written: str, expected: date) -> None:
    assert one("date", written) == expected


@pytest.mark.parametrize(
    "written",
    ["2026-02-30", "2026-13-01", "08/01/2026", "1/8/26", "2026", "20260801", "0000-01-01", "x"],
)
def test_a_date_that_could_be_two_or_none_is_not_guessed(written: str) -> None:
    with pytest.raises(ValueError, match=written):
        one("date", written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("2027", "2027"), ("2026-2027", "2027"), ("2026-27", "2027"), ("2026/2027", "2027")],
)
def test_a_school_year_is_the_year_it_ends_in(written: str, expected: str) -> None:
    assert one("year", written) == expected


@pytest.mark.parametrize("written", ["27", "2026-2028", "2027-2026", "26-27", "Fall 2026"])
def test_a_school_year_that_is_none_is_unreadable(written: str) -> None:
    with pytest.raises(ValueError, match=written):
        one("year", written)


@pytest.mark.parametrize("written", ["true", "TRUE", "True", "yes", "1"])
def test_what_is_true(written: str) -> None:
    assert one("boolean", written) is True


@pytest.mark.parametrize("written", ["false", "FALSE", "no", "0"])
def test_what_is_false(written: str) -> None:
    assert one("boolean", written) is False


@pytest.mark.parametrize("written", ["maybe", "2", "-1"])
def test_what_is_neither_is_unreadable(written: str) -> None:
    with pytest.raises(ValueError, match=written):
        one("boolean", written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        *((grade, grade) for grade in GRADES),
        *((str(n), f"{n:02d}") for n in range(1, 14)),
        *((word, "KG") for word in ("K", "k", "0", "00", "Kindergarten", "kg")),
        *((word, "PK") for word in ("-1", "-2", "PreK", "pre-k", "prekindergarten")),
        ("9,10, 11", "09,10,11"),
        ("9,09", "09"),
        (",9,", "09"),
        ("other", "Other"),
    ],
)
def test_grades_are_put_into_the_standards_form(written: str, expected: str) -> None:
    assert one("list", written, name="grades") == expected


@pytest.mark.parametrize("written", ["99", "9th", "9;10", "9,Freshman", ","])
def test_an_unknown_grade_is_not_guessed(written: str) -> None:
    with pytest.raises(ValueError, match=written):
        one("list", written, name="grades")


def test_words_of_a_vocabulary_are_known_in_any_capitals() -> None:
    words = ("homeroom", "scheduled")
    assert one("enum", "Scheduled", vocabulary=words) == "scheduled"
    with pytest.raises(ValueError, match="ext:lab"):
        one("enum", "ext:lab", vocabulary=words)
    assert one("enum", "ext:Lab", vocabulary=words, extensible=True) == "ext:Lab"


@pytest.mark.parametrize("written", ["0", "a.b/c@d_e-f", "x" * 255])
def test_ids_of_the_standards_characters_are_ids(written: str) -> None:
    assert one("guid", written) == written


@pytest.mark.parametrize("written", ["x" * 256, "a b", "a:b", "é", "'; DROP TABLE x; --", "a,b"])
def test_other_ids_are_none(written: str) -> None:
    with pytest.raises(ValueError, match=re.escape(written)):
        one("guid", written)


def test_lists_are_tidied() -> None:
    assert one("list", "a , b,,c ,") == "a,b,c"
    assert one("list", ",,") is None
    assert one("list", "north,north,south", name="orgSourcedIds") == "north,south"


def test_blank_is_neither_unreadable_nor_normalised() -> None:
    for kind in ("date", "boolean", "year", "list", "guid", "text", "datetime"):
        column = read(kind, None, None)
        assert column.values.null_count == 2
        assert not any(column.unreadable.to_pylist())
        assert column.normalised == 0


def test_normalised_values_are_counted_and_right_ones_are_not() -> None:
    assert read("boolean", "TRUE", "true", None, "No").normalised == 2
    assert read("list", "9", "09", "K", name="grades").normalised == 2
    assert read("list", "a, b", "a,b").normalised == 1
    assert read("date", "2026-01-01", "2026-01-01T00:00").normalised == 1
    assert read("year", "2026-2027", "2027").normalised == 1


@given(st.data())
def test_every_text_in_every_column_of_every_version_has_an_outcome(data: st.DataObject) -> None:
    columns = [c for v in VERSIONS.values() for spec in v.files.values() for c in spec.columns]
    column = data.draw(st.sampled_from(columns))
    texts = data.draw(st.lists(st.none() | st.text(min_size=1), max_size=8))
    read = read_column(column, pa.array(texts, pa.string()))
    assert len(read.values) == len(read.unreadable) == len(texts)
    assert read.values.type == arrow_type(column)
    for text, value, bad in zip(
        texts, read.values.to_pylist(), read.unreadable.to_pylist(), strict=True
    ):
        assert not bad or (text is not None and value is None)
        assert text is not None or value is None
