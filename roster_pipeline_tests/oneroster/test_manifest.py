"""manifest.csv: bulk and delta are never mistaken for each other, whatever the spelling."""

from __future__ import annotations

import codecs

import pytest

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.oneroster.manifest import Manifest, read_manifest
from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import manifest_bytes
from roster_pipeline_tests.oneroster.packages import codes

HEAD = ("propertyName,value", "manifest.version,1.0", "oneroster.version,1.1")


def read(*lines: str, end: str = "\n", head: tuple[str, ...] = HEAD) -> Manifest:
    return read_manifest((end.join((*head, *lines)) + end).encode())


def refusal(*lines: str, head: tuple[str, ...] = HEAD) -> tuple[str, int | None, str]:
    with pytest.raises(DeliveryRefused) as refused:
        read(*lines, head=head)
    (finding,) = refused.value.findings
    assert finding.file == "manifest.csv"
    return finding.code, finding.row, finding.message


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_written_manifest_is_read_without_a_word(version: str) -> None:
    modes = {"users": "bulk", "enrollments": "delta"}
    manifest = read_manifest(manifest_bytes(VERSIONS[version], modes))
    assert (manifest.version, manifest.findings) == (version, ())
    assert {n: m for n, m in manifest.modes.items() if m != "absent"} == modes
    assert (manifest.mode("users"), manifest.mode("enrollments")) == ("bulk", "delta")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_will_do(end: str) -> None:
    assert read("file.users,delta", end=end).mode("users") == "delta"


@pytest.mark.parametrize(
    "line",
    [
        "file.users,delta",
        '"file.users","delta"',
        " file.users , delta ",
        "file.users,Delta",
        "FILE.USERS,DELTA",
        "file.Users,delta",
        "file.users,delta,,",
    ],
)
def test_a_delta_is_a_delta_in_any_spelling(line: str) -> None:
    """Taken for bulk it would delete all records it does not name."""
    assert read(line).mode("users") == "delta"


def test_files_in_other_capitals_are_known_by_their_right_names() -> None:
    assert read("file.academicsessions,delta").modes == {"academicSessions": "delta"}


@pytest.mark.parametrize(
    "head",
    [
        ("propertyName,propertyValue", *HEAD[1:]),
        ("propertyName, value", "manifest.version, 1.0", "oneroster.version, 1.1"),
        (HEAD[0], "source.systemName,SIS", HEAD[2], HEAD[1]),
        (HEAD[0], "", *HEAD[1:]),
        HEAD[1:],
        (codecs.BOM_UTF8.decode() + HEAD[0], *HEAD[1:]),
    ],
    ids=["other header", "blanks", "other order", "an empty line", "no header", "a mark"],
)
def test_what_does_not_matter(head: tuple[str, ...]) -> None:
    manifest = read("file.users,bulk", head=head)
    assert (manifest.version, manifest.modes) == ("1.1", {"users": "bulk"})
    assert manifest.findings == ()


def test_a_spreadsheet_makes_1_of_1_0_and_that_is_told() -> None:
    manifest = read(head=(HEAD[0], "manifest.version,1", HEAD[2]))
    assert codes(manifest.findings) == ["manifest_version"]


def test_1_2_1_is_1_2() -> None:
    assert read(head=(*HEAD[:2], "oneroster.version,1.2.1")).version == "1.2"


@pytest.mark.parametrize("version", ["2.0", "one", "1", "11"])
def test_other_versions_are_refused(version: str) -> None:
    code, row, message = refusal(head=(*HEAD[:2], f"oneroster.version,{version}"))
    assert (code, row) == ("version_unknown", 3)
    assert version in message and "1.2" in message


@pytest.mark.parametrize("head", [HEAD[:2], (*HEAD[:2], "oneroster.version,"), ("x",)])
def test_without_a_version_it_cannot_be_read(head: tuple[str, ...]) -> None:
    assert refusal(head=head)[0] == "manifest_unreadable"


def test_a_mode_that_is_none_is_refused_with_its_row() -> None:
    code, row, message = refusal("file.orgs,bulk", "file.users,full")
    assert (code, row) == ("mode_unknown", 5)
    assert "full" in message and "file.users" in message


def test_a_blank_mode_is_not_taken_for_bulk() -> None:
    assert refusal("file.users,")[0] == "mode_unknown"


def test_the_mode_of_a_file_we_leave_alone_does_not_matter() -> None:
    assert read("file.results,", "file.unheard,of", "file.users,bulk").mode("users") == "bulk"


def test_two_modes_of_one_file_are_a_contradiction_and_one_said_twice_is_not() -> None:
    assert refusal("file.users,bulk", "file.Users,delta")[:2] == ("manifest_contradicts", 5)
    assert read("file.users,delta", "file.users,Delta").mode("users") == "delta"


def test_a_file_that_is_not_named_is_bulk_when_it_comes() -> None:
    assert read().mode("users") == "bulk"
