"""Whatever arrives ends in an outcome that its sender can act on, and a refusal changes nothing.

Cases 1 to 36 are those of the project's list of bad inputs, under its numbers; they go through
`roster import`, and so does one of each place at which an import may refuse. Of the others, which
are of the same kinds, `roster inspect` says what is wrong, as it reads as an import does. Guards
above all against the three ways in which importers lose data: a success of nothing, an error
without a row, and a deletion out of half a file.
"""

from __future__ import annotations

import codecs
import io
import json
import sqlite3
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from roster_pipeline.cli.running import run_import
from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes
from roster_pipeline.reports.spreadsheet import spreadsheet_csv
from roster_pipeline.settings import load_settings
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline_tests.conftest import Said, live_in, require_nothing
from roster_pipeline_tests.oneroster.packages import (
    Contents,
    Entry,
    contents,
    encrypted,
    entries,
    folder,
    line,
    link,
    patched,
    replaced,
    zipped,
)
from roster_pipeline_tests.stages.passage import (
    added,
    as_file,
    changed,
    small_district,
    without,
)
from roster_pipeline_tests.warehouse.content import content_hash

OAK, ELM, ASH, FIR = "oak", "elm", "ash", "fir"
NAMES = ("Alder", "Birch", "Cedar", "Thorn")
BOMB_BYTES = 100 << 20


@dataclass(frozen=True)
class House:
    """A home with several districts: oak has imported the small district once, the others nothing.

    No district has thresholds, so that nothing but what would empty a table is held, and nothing is
    required of the records but by the standard.
    """

    home: Path

    def run(self, *arguments: object) -> Said:
        from roster_pipeline.cli.main import app

        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def take(self, *paths: Path, district: str = OAK, app: str | None = None) -> Imported:
        """Import what lies at these paths, or in the landing zone when none is given."""
        chosen = ("--app", app) if app else ()
        said = self.run("import", district, *paths, *chosen, "--force", "--format", "json")
        shown = said.json()
        found = self.run("findings", shown["import_id"], "--format", "json").json()
        return Imported(said.code, shown["status"], shown["counts"], found, said)

    def warehouse(self) -> str:
        with reading(open_warehouse(f"sqlite:///{self.home / 'warehouse.db'}")) as conn:
            return content_hash(conn)

    def value(self, district: str, table: str, source_id: str, column: str) -> object:
        """A value of an active record; None also where there is no such record."""
        with sqlite3.connect(self.home / "warehouse.db") as conn:
            row = conn.execute(
                f"SELECT {column} FROM {table} WHERE district_id = ? AND source_id = ? AND active",
                [district, source_id],
            ).fetchone()
        return row[0] if row else None

    def refused(self, district: str = OAK) -> set[Path]:
        return set((self.home / "archive" / district / "refused").glob("*"))


@dataclass(frozen=True)
class Imported:
    """How an import ended, and what was told of it."""

    exit_code: int
    status: str
    counts: dict[str, dict[str, int]]
    findings: list[dict[str, object]]
    said: Said

    def told(self, code: str) -> list[tuple[object, object]]:
        """File and row of each finding of a code."""
        return [(f["file"], f["row"]) for f in self.findings if f["code"] == code]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    place = tmp_path_factory.mktemp("house")
    home = place / "home"
    with pytest.MonkeyPatch.context() as patch:
        live_in(home, patch)
        require_nothing(place, patch)
        (home / "districts").mkdir(parents=True, mode=0o700)
        for district in (OAK, ELM, ASH, FIR):
            (home / "districts" / f"{district}.yaml").write_text(f"name: {district}\n")
        house = House(home)
        first = house.take(folder(tmp_path_factory.mktemp("first") / "files", contents()))
        assert (first.exit_code, first.status, first.findings) == (0, "imported", [])
        yield house


@dataclass(frozen=True)
class Case:
    """A delivery that must be refused: how it is made, and the finding it must get."""

    title: str
    make: Callable[[Path], Path]
    code: str
    file: str | None = None
    row: int | None = None
    app: str | None = None
    more: tuple[str, ...] = ()
    """Words that must stand in the finding's message or remedy."""


def loose(**changes: object) -> Callable[[Path], Path]:
    return lambda path: folder(path / "files", contents(**changes))  # type: ignore[arg-type]


def packed(*more: Entry, before: str = "", **changes: object) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        files = contents(**changes)  # type: ignore[arg-type]
        return zipped(path / "OneRoster.zip", [*entries(files, before), *more])

    return make


def then(make: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A delivery made and then damaged as a whole."""

    def made(path: Path) -> Path:
        file = make(path)
        file.write_bytes(change(file.read_bytes()))
        return file

    return made


def file_named(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / name).write_bytes(content)
        return path / name

    return make


def zip_bytes(files: Contents) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries(files):
            archive.writestr(name, content)
    return stream.getvalue()


def bomb(path: Path) -> Path:
    return packed(users=bytes(BOMB_BYTES))(path)


def overlapping(path: Path) -> Path:
    """Two names for the same bytes of the archive, as bombs are made of."""
    file = packed()(path)
    data = bytearray(file.read_bytes())
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    file.write_bytes(data)
    return file


def understated(path: Path) -> Path:
    """An entry that says it is 10 bytes long and is not."""
    file = packed()(path)
    return patched(file, 24, 22, "<I", 10)


def with_method(method: int) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.mkdir(exist_ok=True)
        with zipfile.ZipFile(path / "OneRoster.zip", "w", method) as archive:
            for name, content in entries(contents()):
                archive.writestr(name, content)
        return path / "OneRoster.zip"

    return make


def wide(content: bytes) -> bytes:
    header, _, rows = content.partition(b"\n")
    names = b"".join(b",metadata.x%d" % n for n in range(200))
    return header + names + b"\n" + rows


def flipped(data: bytes) -> bytes:
    """One bit of the first entry's compressed data turned over."""
    at = 60
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def utf16(content: bytes) -> bytes:
    return content.decode().encode("utf-16-le")


U3 = ("users.csv", 3)
V11 = "oneroster.version,1.1"
MODES = [f"file.{n},bulk" for n in contents() if n not in ("manifest", "demographics")]


def manifest(*lines: str) -> bytes:
    return as_file(["propertyName,value", "manifest.version,1.0", *lines])


def narrow(content: bytes) -> bytes:
    """Each row without its last field, the header as it was."""
    header, *rows = content.decode().splitlines()
    return as_file([header, *(row.rpartition(",")[0] for row in rows)])


REFUSED = [
    Case("1 a zip cut short", then(packed(), lambda z: z[:-10]), "zip_damaged", "OneRoster.zip"),
    Case("2 a zip of 0 bytes", file_named("OneRoster.zip", b""), "zip_empty", "OneRoster.zip"),
    Case("2 a text called zip", file_named("a.zip", b"hello\n"), "zip_damaged", "a.zip"),
    Case("3 100 MB of zeros", bomb, "zip_ratio", "users.csv", more=("100 times",)),
    Case("4 a zip in the zip", packed(("more.zip", zip_bytes(contents()))), "zip_in_zip"),
    Case("5 an entry outside", packed(("../../x.csv", b"x")), "zip_entry_path", "OneRoster.zip"),
    Case(
        "6 a symbolic link",
        packed(link("users.csv", "/etc/passwd"), users=None),
        "zip_entry_link",
        "OneRoster.zip",
    ),
    Case("7 users.csv twice", packed(("users.csv", b"sourcedId\n")), "file_twice", "users.csv"),
    Case("7 users.csv beside Users.CSV", packed(("Users.CSV", b"sourcedId\n")), "file_twice"),
    Case(
        "8 a password",
        lambda path: encrypted(packed()(path)),
        "zip_encrypted",
        "OneRoster.zip",
        more=("Remove the password",),
    ),
    Case("11 a program in front", then(packed(), lambda z: b"MZ" + bytes(99) + z), "zip_prefixed"),
    Case(
        "16 announced as bulk and not there",
        loose(demographics=None),
        "file_announced",
        "demographics.csv",
        app="sftp",
        more=("as bulk",),
    ),
    Case("20 a NUL byte", loose(users=line(3, replaced(b"Ben", b"B\0n"))), "nul_byte", *U3),
    Case(
        "21 a quote never closed",
        loose(users=line(3, replaced(b"Ben", b'"Ben'))),
        "quote_unclosed",
        *U3,
    ),
    Case("23 most rows too narrow", loose(users=narrow), "file_mostly_ragged", "users.csv"),
    Case("25 a file of 0 bytes", loose(users=b""), "file_empty", "users.csv"),
    Case(
        "26 cut in the middle of a record",
        loose(enrollments=lambda c: c[:-30]),
        "record_incomplete",
        "enrollments.csv",
        7,
        more=("the last record is incomplete",),
    ),
    Case(
        "28 email twice in the header",
        loose(users=replaced(b",sms,", b",email,", 1)),
        "header_doubled",
        "users.csv",
        1,
        more=("email",),
    ),
    Case(
        "35 a file of another standard",
        loose(users=b"student_id,school_id,last_name\n1,2,Alder\n"),
        "header_missing",
        "users.csv",
        1,
        more=("sourcedId", "givenName", "none of the standard's"),
    ),
    # Of other places.
    Case("a flipped bit in the data", then(packed(), flipped), "zip_damaged"),
    Case(
        "a zip of a folder",
        lambda p: zipped(p / "a.zip", [("users/", b"")]),
        "delivery_without_files",
    ),
    Case(
        "a manifest with a mode that is none",
        loose(manifest=manifest(V11, "file.users,Full")),
        "mode_unknown",
        "manifest.csv",
        4,
        more=("full", "file.users"),
    ),
]
UNREADABLE = [
    *(
        Case(f"5 an entry called {name}", packed((name, b"x")), "zip_entry_path", "OneRoster.zip")
        for name in ("..\\..\\users.csv", "/abs/users.csv", "C:\\users.csv")
    ),
    Case("a zip called users.csv", loose(users=zip_bytes(contents())), "zip_in_zip", "users.csv"),
    Case("a zip in a zip's users.csv", packed(users=zip_bytes(contents())), "zip_in_zip"),
    Case("a zip in another folder", packed(("old/more.zip", zip_bytes(contents()))), "zip_in_zip"),
    Case("bytes behind the archive", then(packed(), lambda z: z + b"more"), "zip_damaged"),
    Case("two names of the same bytes", overlapping, "zip_damaged"),
    Case("an entry that understates its size", understated, "zip_damaged"),
    Case("bzip2", with_method(zipfile.ZIP_BZIP2), "zip_compression"),
    Case("lzma", with_method(zipfile.ZIP_LZMA), "zip_compression"),
    Case("a zip of nothing", lambda p: zipped(p / "OneRoster.zip", []), "zip_empty"),
    Case(
        "too many entries", packed(*((f"{n}.txt", b"") for n in range(60))), "zip_too_many_entries"
    ),
    Case("files in two folders", packed(("b/users.csv", b""), before="a/"), "zip_several_folders"),
    Case("UTF-16 without a mark", loose(users=utf16), "nul_byte", "users.csv", 1, more=("UTF-16",)),
    Case("no text in any encoding", loose(users=line(3, b"\x81\x8d\x8f")), "encoding_unknown", *U3),
    Case("a mark and nothing else", loose(users=codecs.BOM_UTF8), "file_empty", "users.csv"),
    Case("blank lines only", loose(users=b"\r\n\r\n\n"), "file_empty", "users.csv"),
    Case(
        "no header", loose(users=lambda c: c.partition(b"\n")[2]), "header_missing", "users.csv", 1
    ),
    Case("a blank first row", loose(users=lambda c: b"\n" + c), "header_missing", "users.csv", 1),
    Case(
        "a header twice in other capitals",
        loose(users=replaced(b",sms,", b",EMail,", 1)),
        "header_doubled",
        "users.csv",
        1,
    ),
    Case("more than 200 columns", loose(users=wide), "columns_too_many", "users.csv", 1),
    Case(
        "a cut in a quoted value",
        loose(users=lambda c: c + b'x,"'),
        "record_incomplete",
        "users.csv",
        11,
    ),
    Case("a manifest of nothing", loose(manifest=b""), "manifest_unreadable", "manifest.csv"),
    Case("a manifest without version", loose(manifest=manifest()), "manifest_unreadable"),
    Case(
        "a manifest of version 3",
        loose(manifest=manifest("oneroster.version,3.0")),
        "version_unknown",
        "manifest.csv",
        3,
        more=("3.0", "1.0, 1.1, 1.2"),
    ),
    Case(
        "a manifest with a blank mode",
        loose(manifest=manifest(V11, "file.users,")),
        "mode_unknown",
        "manifest.csv",
        4,
        more=("nothing for file.users",),
    ),
    Case(
        "a manifest that says bulk and delta",
        loose(manifest=manifest(V11, "file.users,bulk", "file.users,delta")),
        "manifest_contradicts",
        "manifest.csv",
        5,
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.title)
def test_refused_and_nothing_is_changed(house: House, tmp_path: Path, case: Case) -> None:
    delivery = case.make(tmp_path)
    before, aside = house.warehouse(), house.refused()

    imported = house.take(delivery, app=case.app)

    assert (imported.exit_code, imported.status) == (4, "refused")
    assert_told(case, imported.findings, imported.said)
    assert house.warehouse() == before
    assert_kept_aside(house.refused() - aside, delivery, case.code)


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: case.title)
def test_others_of_these_kinds_are_refused_too(house: House, tmp_path: Path, case: Case) -> None:
    said = house.run("inspect", case.make(tmp_path), "--format", "json")

    assert (said.code, said.json()["accepted"]) == (4, False)
    assert_told(case, said.json()["findings"], said)


def assert_told(case: Case, findings: list[dict[str, object]], said: Said) -> None:
    """The finding says what is wrong, where, and what to do, and nobody is named."""
    (found,) = (f for f in findings if f["code"] == case.code)
    assert found["severity"] == "fatal"
    assert case.file in (None, found["file"])
    assert found["row"] == case.row
    words = f"{found['message']} {found['how_to_fix']}"
    assert all(word in words for word in case.more)
    assert found["how_to_fix"]
    assert not any(name in said.out for name in NAMES)


def assert_kept_aside(folders: set[Path], delivery: Path, code: str) -> None:
    (kept,) = folders
    reason = json.loads((kept / "reason.json").read_text())
    assert code in {f["code"] for f in reason}
    sources = list(delivery.iterdir()) if delivery.is_dir() else [delivery]
    for source in sources:
        assert (kept / source.name).read_bytes() == source.read_bytes()
    assert {p.name for p in kept.iterdir()} == {"reason.json", *(s.name for s in sources)}
    assert not (kept.parents[1] / "deliveries" / kept.name).exists()


def test_3_a_bomb_is_stopped_while_memory_stays_flat(tmp_path: Path) -> None:
    file = bomb(tmp_path)
    script = """
        import resource, sys, tracemalloc
        from pathlib import Path
        from roster_pipeline.findings import DeliveryRefused
        from roster_pipeline.oneroster.package import open_package
        tracemalloc.start()
        try:
            open_package([Path(sys.argv[1])])
        except DeliveryRefused as refusal:
            print(refusal.findings[0].code, tracemalloc.get_traced_memory()[1])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(file)]
    code, peak = subprocess.run(command, capture_output=True, check=True).stdout.split()
    assert code == b"zip_ratio"
    assert int(peak) < 40 << 20


def test_a_required_file_that_is_not_there_is_told_before_anything_runs(
    house: House, tmp_path: Path
) -> None:
    before, aside = house.warehouse(), house.refused()
    said = house.run("upload", OAK, loose(orgs=None)(tmp_path))
    assert said.code == 4
    assert "orgs.csv is missing." in said.out and "Send orgs.csv with the others" in said.out
    assert (house.warehouse(), house.refused()) == (before, aside)


def test_several_faults_are_told_in_one_refusal(house: House, tmp_path: Path) -> None:
    users = line(3, replaced(b"Ben", b'"Ben'))
    imported = house.take(loose(users=users, orgs=b"", classes=b"x,y\n1,2\n")(tmp_path))
    assert {(f["file"], f["code"]) for f in imported.findings} == {
        *(("users.csv", "quote_unclosed"), ("orgs.csv", "file_empty")),
        ("classes.csv", "header_missing"),
    }


def test_13_a_first_delivery_by_sftp_needs_a_manifest_and_an_upload_does_not(
    house: House, tmp_path: Path
) -> None:
    delivery = loose(manifest=None)(tmp_path)
    landing = folder(house.home / "landing" / ELM, contents(manifest=None))

    by_sftp = house.take(district=ELM)

    assert (by_sftp.exit_code, by_sftp.status) == (4, "refused")
    assert by_sftp.told("file_missing") == [("manifest.csv", None)]
    assert by_sftp.findings[0]["message"] == "manifest.csv is missing."
    uploaded = house.take(delivery)
    assert (uploaded.exit_code, uploaded.status, uploaded.findings) == (0, "imported", [])
    for file in landing.iterdir():
        file.unlink()


def test_14_a_zip_whose_name_is_nearly_right_is_not_taken_and_told(
    house: House, tmp_path: Path
) -> None:
    near = house.home / "landing" / ELM / "oneroster.zip"
    zipped(near, entries(contents()))

    imported = house.take(district=ELM)

    assert (imported.exit_code, imported.status) == (4, "refused")
    (notice,) = (f for f in imported.findings if f["code"] == "file_near_miss")
    assert notice["file"] == "oneroster.zip"
    assert "OneRoster.zip" in str(notice["message"])
    near.unlink()


def test_15_the_zip_counts_and_the_loose_files_beside_it_are_listed(
    house: House, tmp_path: Path
) -> None:
    landing = house.home / "landing" / OAK
    landing.mkdir(parents=True)
    zipped(landing / "OneRoster.zip", entries(contents()))
    (landing / "users.csv").write_bytes(b"not even a header")

    imported = house.take()

    assert (imported.exit_code, imported.status) == (0, "imported")
    assert imported.told("file_ignored_beside_zip") == [("users.csv", None)]
    assert house.value(OAK, "students", "ann", "last_name") == "Alder"


def accepted(house: House, make: Callable[[Path], Path], path: Path, district: str) -> Imported:
    """Import a delivery that must be accepted."""
    imported = house.take(make(path), district=district)
    assert (imported.exit_code, imported.status) == (0, "imported")
    return imported


def mixed_line_ends(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(row[:-1] + b"\r\n" if n % 2 else row for n, row in enumerate(lines))


def as_utf16(content: bytes) -> bytes:
    return codecs.BOM_UTF16_BE + content.decode().encode("utf-16-be")


LEFTOVERS = ("__MACOSX/._users.csv", ".DS_Store", "export/Thumbs.db", "users.csv:Zone.Identifier")


@pytest.fixture(scope="module")
def odd(house: House, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A first delivery with an oddity of form in its zip and in each of its files."""
    frames = small_district()
    old = csv_bytes(frames["academicSessions"], VERSIONS["1.0"], "academicSessions")
    title = changed(frames, "classes", "m1", title="<script>alert(1)</script>")["classes"]
    make = packed(
        *((name, b"x") for name in (*LEFTOVERS, "export/readme.txt")),
        before="export/",
        manifest=replaced(b"file.demographics,bulk", b"file.demographics,absent"),
        orgs=lambda c: codecs.BOM_UTF8 + c,
        courses=as_utf16,
        academicSessions=old,
        classes=csv_bytes(title, VERSIONS["1.0"], "classes"),
        users=lambda c: line(4, replaced(b"Cy", b"C" * 200_000))(
            replaced(b"Alder", b"B\xe9chard\x92s")(c)
        ),
        enrollments=lambda c: mixed_line_ends(line(6, lambda row: row.rpartition(b",")[0])(c)),
    )
    return accepted(house, make, tmp_path_factory.mktemp("odd"), ASH)


def test_9_files_inside_a_folder_of_the_zip_are_read(odd: Imported) -> None:
    assert odd.told("zip_folder") == [("OneRoster.zip", None)]
    assert odd.counts["school"]["added"] == 2


def test_10_and_12_a_readme_is_told_of_and_leftovers_of_mac_and_windows_are_not(
    odd: Imported,
) -> None:
    assert odd.told("file_ignored") == [("readme.txt", None)]


def test_16_said_to_be_absent_and_there_is_read_and_told(house: House, odd: Imported) -> None:
    assert odd.told("file_not_announced") == [("demographics.csv", None)]
    assert house.value(ASH, "students", "ann", "gender") == "female"


def test_17_a_byte_order_mark_is_no_part_of_the_first_header(odd: Imported) -> None:
    assert not [f for f in odd.findings if f["file"] == "orgs.csv"]
    assert odd.counts["school"]["added"] == 2


def test_18_utf16_with_its_mark_is_read_and_told(odd: Imported) -> None:
    assert odd.told("encoding_utf16") == [("courses.csv", None)]
    assert odd.counts["course"]["added"] == 2


def test_19_windows_1252_is_read_as_such_with_the_right_names(house: House, odd: Imported) -> None:
    assert odd.told("encoding_cp1252") == [("users.csv", None)]
    assert house.value(ASH, "students", "ann", "last_name") == "Béchard’s"


def test_22_a_value_of_200_kb_costs_its_record_only(house: House, odd: Imported) -> None:
    assert odd.told("field_too_long") == [("users.csv", 4)]
    assert odd.counts["student"]["invalid"] == 1
    assert odd.counts["student"]["added"] == 2
    assert house.value(ASH, "students", "cy", "first_name") is None


def test_23_a_row_too_narrow_is_invalid_and_the_others_go_on(house: House, odd: Imported) -> None:
    assert odd.told("row_ragged") == [("enrollments.csv", 6)]
    assert house.value(ASH, "enrollments", "e5", "role") is None
    assert house.value(ASH, "enrollments", "e4", "role") == "teacher"


def test_29_lines_may_end_in_lf_and_crlf(house: House, odd: Imported) -> None:
    assert house.value(ASH, "enrollments", "e1", "end_date") == "2027-06-10"
    assert house.value(ASH, "enrollments", "e2", "end_date") == "2027-06-10"


def test_31_markup_is_stored_as_text(house: House, odd: Imported) -> None:
    assert house.value(ASH, "classes", "m1", "class_name") == "<script>alert(1)</script>"


def test_36_headers_of_1_0_under_a_1_1_manifest_are_read_and_told(
    house: House, odd: Imported
) -> None:
    assert odd.told("header_of_other_version") == [("academicSessions.csv", 1)]
    assert odd.told("header_spelling") == [("classes.csv", 1)]
    assert house.value(ASH, "classes", "m1", "grades") == '["03"]'
    assert house.value(ASH, "academic_sessions", "y26", "title") == "2026-27"


FORMULAS = {
    "ann": '=HYPERLINK("http://x","y")',
    "ben": "@SUM(1)",
    "cy": "+1",
    "tess": "-1",
}
NO_IDS = ("x" * 300, "'; DROP TABLE students; --")


@pytest.fixture(scope="module")
def wrong(house: House, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A second delivery with values that are wrong, or were harmed by a spreadsheet."""
    accepted(house, loose(), tmp_path_factory.mktemp("right"), FIR)
    frames = small_district()
    for person, formula in FORMULAS.items():
        frames = changed(frames, "users", person, familyName=formula)
    for person, grade in {"ann": "3", "ben": "4", "cy": "9"}.items():
        frames = changed(frames, "users", person, grades=grade, enabledUser="TRUE")
    for place, source_id in enumerate(NO_IDS):
        frames = added(frames, "users", "ann", sourcedId=source_id, email=f"{place}@s.example")
    courses = frames["courses"]
    frames["courses"] = courses.assign(sourcedId=courses["sourcedId"].replace("art", "007"))
    frames = changed(frames, "classes", "a1", courseSourcedId="7")
    frames = changed(frames, "demographics", "ann", birthDate="2026-02-30")
    frames = changed(frames, "enrollments", "e2", endDate="08/01/2026")
    frames = changed(frames, "academicSessions", "fall", endDate="12/20/2026")
    return accepted(house, loose(frames=frames), tmp_path_factory.mktemp("wrong"), FIR)


def test_30_formulas_are_stored_as_they_are_and_disarmed_in_what_we_write(
    house: House, wrong: Imported
) -> None:
    tables = {"tess": "teachers"}
    stored = [house.value(FIR, tables.get(p, "students"), p, "last_name") for p in FORMULAS]
    assert stored == list(FORMULAS.values())
    written = pd.read_csv(io.StringIO(spreadsheet_csv(pd.DataFrame({"last_name": stored}))))
    assert written["last_name"].tolist() == ["'" + formula for formula in stored]


def test_32_ids_that_are_none_are_invalid_and_have_no_other_effect(
    house: House, wrong: Imported
) -> None:
    assert [t for t in wrong.told("value_unreadable") if t[0] == "users.csv"] == [
        ("users.csv", 11),
        ("users.csv", 12),
    ]
    assert wrong.counts["student"]["invalid"] == 2
    assert house.value(FIR, "students", "ann", "email") == "ann@s.example"


def test_33_a_date_that_is_none_is_dropped_where_it_may_be_blank_and_else_invalid(
    house: House, wrong: Imported
) -> None:
    assert sorted(wrong.told("value_dropped"), key=str) == [
        ("demographics.csv", 2),
        ("enrollments.csv", 3),
    ]
    assert ("academicSessions.csv", 3) in wrong.told("value_unreadable")
    assert wrong.counts["academic_session"]["invalid"] == 1
    assert house.value(FIR, "students", "ann", "birth_date") is None
    assert house.value(FIR, "enrollments", "e2", "end_date") is None
    assert house.value(FIR, "academic_sessions", "fall", "end_date") == "2026-12-20"


def test_34_what_excel_does_to_values_is_undone_and_lost_zeros_are_told(
    house: House, wrong: Imported
) -> None:
    normalised = [f for f in wrong.findings if f["code"] == "values_normalised"]
    assert {(f["file"], f["field"]) for f in normalised} == {
        ("users.csv", "grades"),
        ("users.csv", "enabledUser"),
    }
    assert house.value(FIR, "students", "cy", "grades") == '["09"]'
    assert wrong.told("course_id_unknown") == [("classes.csv", 4)]


def header_only(content: bytes) -> bytes:
    return content.partition(b"\n")[0] + b"\n"


def test_24_demographics_may_have_a_header_only(house: House, tmp_path: Path) -> None:
    imported = accepted(house, loose(demographics=header_only), tmp_path, OAK)
    assert imported.told("file_without_rows") == [("demographics.csv", None)]


def test_a_delivery_refused_after_it_was_imported_stays_in_the_archive(
    house: House, tmp_path: Path
) -> None:
    delivery = loose(demographics=None, manifest=manifest(V11, *MODES))(tmp_path)
    accepted = house.take(delivery, app="sftp")
    import_id = run_import(load_settings(), OAK, "csv_upload", [delivery], force=True)
    refused = house.run("show", import_id)
    assert accepted.status == "imported" and "refused" in refused.out
    assert "demographics.csv is missing." in refused.out
    shelves = house.home / "archive" / OAK
    aside = {p.name for p in (shelves / "refused").iterdir()}
    kept = {p.name for p in (shelves / "deliveries").iterdir()}
    assert len(aside & kept) == 1


def test_a_row_of_a_delta_can_be_followed_into_the_warehouse(house: House, tmp_path: Path) -> None:
    frames = without(small_district(), "users", *("ben", "cy", "tess", "tom", "ada", "gina"))
    frames = {
        "users": changed(frames, "users", "ann", familyName="Aspen", status="active")["users"]
    }
    frames = changed(frames, "users", "gale", status="tobedeleted")
    frames = changed(frames, "users", "gus", status="gone")
    delta = loose(frames=frames, modes={"users": "delta"})(tmp_path)

    imported = house.take(delta, app="sftp")

    assert (imported.exit_code, imported.status) == (0, "imported")
    assert imported.told("value_unreadable") == [("users.csv", 3)]
    assert imported.counts["contact"]["removed"] == 1
    assert house.value(OAK, "students", "ann", "last_name") == "Aspen"
    assert house.value(OAK, "contacts", "gus", "last_name") == "Alder"


@pytest.fixture(scope="module")
def held(house: House, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A district with a threshold that has imported the small district."""
    district = "gum"
    path = house.home / "districts" / f"{district}.yaml"
    path.write_text("name: Gum County\nhold: {delete_percent: 10, minimum_records: 1}\n")
    imported = house.take(loose()(tmp_path_factory.mktemp("whole")), district=district)
    assert imported.status == "imported"
    return district


def test_24_users_with_a_header_only_are_held_since_all_would_go(
    house: House, held: str, tmp_path: Path
) -> None:
    before = house.warehouse()
    imported = house.take(loose(users=header_only)(tmp_path), district=held)
    assert (imported.exit_code, imported.status) == (3, "held")
    assert imported.told("file_without_rows") == [("users.csv", None)]
    assert house.warehouse() == before


def test_27_a_file_cut_at_the_end_of_a_record_is_held_by_the_threshold(
    house: House, held: str, tmp_path: Path
) -> None:
    before = house.warehouse()
    cut = loose(enrollments=lambda c: b"".join(c.splitlines(keepends=True)[:4]))
    imported = house.take(cut(tmp_path), district=held)
    assert (imported.exit_code, imported.status) == (3, "held")
    assert house.warehouse() == before
