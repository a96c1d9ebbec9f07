"""From bytes to rows: what a row is, where it stands, and which files are refused as a whole."""

from __future__ import annotations

import codecs
import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.oneroster.package import Limits
from roster_pipeline.oneroster.text import Rows, header_of, read_rows
from roster_pipeline_tests.oneroster.packages import codes

Record = dict[str, object]


def rows_of(content: bytes, **limits: int) -> Rows:
    return read_rows("f.csv", content, Limits(**limits))


def records(content: bytes) -> list[tuple[object, ...]]:
    """The rows with their numbers first."""
    table = rows_of(content).table
    values = [tuple(row.values()) for row in table.to_pylist()]
    return [(row[-1], *row[:-1]) for row in values]


def refusal(content: bytes, **limits: int) -> tuple[str, int | None]:
    with pytest.raises(DeliveryRefused) as refused:
        rows_of(content, **limits)
    (finding,) = refused.value.findings
    assert finding.severity == "fatal" and finding.file == "f.csv" and finding.how_to_fix
    return finding.code, finding.row


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"a,b\n1,2\n3,4\n", [(2, "1", "2"), (3, "3", "4")], id="the plain case"),
        pytest.param(b"a,b\n1,2\n3,4", [(2, "1", "2"), (3, "3", "4")], id="no line end at the end"),
        pytest.param(b"a,b\n", [], id="a header only"),
        pytest.param(b"a,b", [], id="a header without line end"),
        pytest.param(b"a,b\r\n1,2\n3,4\r\n", [(2, "1", "2"), (3, "3", "4")], id="CRLF and LF"),
        pytest.param(b"a,b\r1,2\r3,4\r", [(2, "1", "2"), (3, "3", "4")], id="CR only"),
        pytest.param(b"a,b\r1,2\n3,4\n", [(2, "1", "2"), (3, "3", "4")], id="CR after the header"),
        pytest.param(b"a,b\n1,2\r3,4\n", [(2, "1", "2"), (3, "3", "4")], id="a CR in between"),
        pytest.param(b"a,b\n1,2\n\n3,4\n", [(2, "1", "2"), (4, "3", "4")], id="an empty line"),
        pytest.param(b"a,b\n1,2\n   \n3,4\n", [(2, "1", "2"), (4, "3", "4")], id="blanks only"),
        pytest.param(b"a,b\n1,2\n,\n3,4\n,\n", [(2, "1", "2"), (4, "3", "4")], id="commas only"),
        pytest.param(b"a,b\n1,2\n,,,\n3,4\n", [(2, "1", "2"), (4, "3", "4")], id="many commas"),
        pytest.param(b"a\n1\n\n2\n", [(2, "1"), (4, "2")], id="one column"),
        pytest.param(b'a,b\n" 1 ",\t2\n', [(2, "1", "2")], id="blanks around values"),
        pytest.param("a,b\n\u00a01\u3000,2\n".encode(), [(2, "1", "2")], id="other blanks"),
        pytest.param(b'a,b\n"1,1",2\n', [(2, "1,1", "2")], id="a comma in quotes"),
        pytest.param(b'a,b\n"x""y",2\n', [(2, 'x"y', "2")], id="a doubled quote"),
        pytest.param(b'a,b\n5" pipe,2\n3,4\n', [(2, '5" pipe', "2"), (3, "3", "4")], id="inches"),
        pytest.param(b'a,b\n"x\ny",2\n3,4\n', [(2, "x\ny", "2"), (3, "3", "4")], id="a line break"),
        pytest.param(
            b'a,b\n"x\r\ny",2\n3\n5,6\n', [(2, "x\r\ny", "2"), (4, "5", "6")], id="and CR"
        ),
        pytest.param(
            "a,b\nx\u2028y,\x85z\n".encode(), [(2, "x\u2028y", "z")], id="odd line breaks"
        ),
        pytest.param(b'a,b\n"",2\n', [(2, None, "2")], id="empty quotes are blank"),
    ],
)
def test_rows_keep_the_number_a_spreadsheet_shows(
    content: bytes, expected: list[tuple[object, ...]]
) -> None:
    assert records(content) == expected


def test_old_macintosh_line_ends_are_told() -> None:
    assert codes(rows_of(b"a,b\r1,2\r").findings) == ["line_ends_cr"]


@pytest.mark.parametrize("header", [b'"a","b"\n', b" a , b\n", codecs.BOM_UTF8 + b'"a","b"\r\n'])
def test_a_header_may_be_quoted_marked_and_blank_padded(header: bytes) -> None:
    rows = rows_of(header + b"1,2\n")
    assert rows.header == ["a", "b"]
    assert rows.findings == []


@pytest.mark.parametrize(
    ("encoding", "mark", "code"),
    [
        ("utf-8", b"", None),
        ("utf-8", codecs.BOM_UTF8, None),
        ("utf-16-le", codecs.BOM_UTF16_LE, "encoding_utf16"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "encoding_utf16"),
        ("cp1252", b"", "encoding_cp1252"),
        ("cp1252", codecs.BOM_UTF8, "encoding_cp1252"),
    ],
)
def test_text_is_read_in_its_encoding(encoding: str, mark: bytes, code: str | None) -> None:
    content = mark + "a,b\nZoë,O’Hara\n".encode(encoding)
    rows = rows_of(content)
    assert rows.header == ["a", "b"] == header_of(content)
    assert rows.table.to_pylist() == [{"0": "Zoë", "1": "O’Hara", "row": 2}]
    assert codes(rows.findings) == ([code] if code else [])


@pytest.mark.parametrize(
    ("content", "code", "row"),
    [
        pytest.param(b"", "file_empty", None, id="nothing"),
        pytest.param(b" \r\n\n", "file_empty", None, id="blank lines"),
        pytest.param(codecs.BOM_UTF8, "file_empty", None, id="a mark only"),
        pytest.param(codecs.BOM_UTF16_LE + b"\n\0", "file_empty", None, id="UTF-16 of nothing"),
        pytest.param(b"a,b\n1,2\n3,\x004\n", "nul_byte", 3, id="a NUL"),
        pytest.param("a,b\n1,2\n".encode("utf-16-le"), "nul_byte", 1, id="UTF-16 without a mark"),
        pytest.param(b"a,b\n1,2\n\x81,\xff\n", "encoding_unknown", 3, id="no text"),
        pytest.param(b'a,b\n1,2\n"3,4\n5,6\n', "quote_unclosed", 3, id="an open quote"),
        pytest.param(b'a,b\n1,2\n"3,4\n"5",6\n', "quote_unclosed", 3, id="closed too late"),
        pytest.param(b'a,b\n1,2\n3,"4', "record_incomplete", 3, id="cut in quotes"),
        pytest.param(b"a,b\n1,2\n3", "record_incomplete", 3, id="cut in a record"),
        pytest.param(b"a,b\n1", "record_incomplete", 2, id="cut in the first record"),
    ],
)
def test_a_doubtful_file_is_refused_with_the_row(content: bytes, code: str, row: int) -> None:
    assert refusal(content) == (code, row)


def test_limits_are_kept() -> None:
    assert refusal(b"a,b,c\n", columns=2) == ("columns_too_many", 1)
    assert refusal(b"a\n1\n2\n3\n", rows=2) == ("rows_too_many", None)


def test_a_row_longer_than_the_reader_can_take_is_refused() -> None:
    assert refusal(b"a,b\n1," + b"x" * (17 << 20) + b"\n") == ("row_too_long", None)


def test_rows_that_do_not_fit_are_kept_apart_with_their_fields() -> None:
    rows = rows_of(b'a,b\n1\n1,2,3\n"x\ny",2\n"p,q"\n5,6\n')
    assert rows.ragged == [(2, ["1"]), (3, ["1", "2", "3"]), (5, ["p,q"])]
    assert rows.table["row"].to_pylist() == [4, 6]


def test_blank_fields_beyond_the_header_are_cut_off() -> None:
    rows = rows_of(b"a,b\n1,2\n3,4,, \n5,6\n")
    assert rows.table["row"].to_pylist() == [2, 3, 4]
    assert (rows.overwide, rows.ragged) == ([3], [])


def test_one_file_does_not_change_how_the_next_is_read() -> None:
    """A limit that was set for a small file once made a long row of the next one vanish."""
    rows_of(b'a,b\n"x\ny",1\n')
    long = b"z" * 200_000
    rows = rows_of(b"a,b\n1,2\n" + long + b"\n3,4\n")
    assert rows.table["row"].to_pylist() == [2, 4]
    assert rows.ragged == [(3, [long.decode()])]


def test_a_large_file_is_numbered_through_to_its_end() -> None:
    lines = [b"%d,%s" % (n, b"x" * 90) for n in range(200_000)]
    lines[150_000] = b"150000"
    rows = rows_of(b"a,b\n" + b"\n".join(lines) + b"\n")
    assert rows.ragged == [(150_002, ["150000"])]
    numbers = rows.table["row"].to_pylist()
    assert (numbers[0], numbers[-1], len(numbers)) == (2, 200_001, 199_999)
    assert rows.table["0"].to_pylist()[-1] == "199999"


def test_rows_are_those_of_pythons_own_reader() -> None:
    content = 'a,b\n"x, y","q""r"\n,2\nü,"mehr\nzeilig"\n'
    expected = [[v or None for v in row] for row in csv.reader(content.splitlines(keepends=True))]
    read = [list(row.values())[:-1] for row in rows_of(content.encode()).table.to_pylist()]
    assert read == expected[1:]


@pytest.mark.parametrize("content", [b"", b"\n", b'"a', b"\xff\xfea", b"\xffa,b\r1,2", b"\0"])
def test_a_first_look_at_a_header_never_fails(content: bytes) -> None:
    assert header_of(content)


def expected(text: str) -> tuple[list[tuple[object, ...]], list[int]]:
    """Records and ragged rows of a CSV text as Python's own reader has them."""
    header, *rows = [
        [field.strip() for field in row]
        for row in csv.reader(io.StringIO(text, newline=""), strict=True)
    ]
    width = len(header)
    full = [(n, row) for n, row in enumerate(rows, start=2) if any(row)]
    fits = [(n, row) for n, row in full if len(row) >= width and not any(row[width:])]
    ragged = [n for n, row in full if (n, row) not in fits]
    return [(n, *(v or None for v in row[:width])) for n, row in fits], ragged


@settings(max_examples=300, deadline=None)
@given(st.text('ab, \n\r"', max_size=40), st.sampled_from(["a,b\n", '"a",b\n', "a\n"]))
def test_any_text_is_read_as_pythons_strict_reader_reads_it_or_refused(
    body: str, header: str
) -> None:
    text = header + body
    try:
        records_, ragged = expected(text)
    except csv.Error:
        return
    try:
        rows = rows_of(text.encode())
    except DeliveryRefused as refused:
        # Too short, and without a line end: for Python a row, for us a cut.
        told = codes(refused.findings)
        if ragged and not text.endswith(("\n", "\r")) and told == ["record_incomplete"]:
            return
        raise
    values = [tuple(row.values()) for row in rows.table.to_pylist()]
    assert [(row[-1], *row[:-1]) for row in values] == records_
    assert [row for row, _ in rows.ragged] == ragged
