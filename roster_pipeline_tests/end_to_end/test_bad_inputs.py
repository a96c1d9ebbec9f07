"""Whatever arrives ends in an outcome that its sender can act on, and a refusal changes nothing.

Cases 1 to 36 are those of the project's list of bad inputs, under its numbers; the unnumbered ones
are of the same kinds. All go through `roster import`. Guards above all against the three ways in
which importers lose data: a success of nothing, an error without a row, and a deletion out of half
a file.
"""

from __future__ import annotations

import codecs
import io
import json
import sqlite3
import struct
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

from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes
from roster_pipeline.reports.spreadsheet import spreadsheet_csv
from roster_pipeline.warehouse.database import open_warehouse, reading
from roster_pipeline.warehouse.merge import content_hash
from roster_pipeline_tests.conftest import VARIABLES, Said
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
    lines_of,
    small_district,
    without,
)

OAK, ELM = "oak", "elm"
NAMES = ("Alder", "Birch", "Cedar", "Thorn")
BOMB_BYTES = 100 << 20


@dataclass(frozen=True)
class House:
    """A home with two districts: oak, which has imported the small district once, and elm, which
    has imported nothing."""

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

    def value(self, table: str, source_id: str, column: str) -> object:
        with sqlite3.connect(self.home / "warehouse.db") as conn:
            row = conn.execute(
                f"SELECT {column} FROM {table} WHERE source_id = ? AND active", [source_id]
            ).fetchone()
        assert row, f"{table} has no active {source_id}"
        return row[0]

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
    home = tmp_path_factory.mktemp("house") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROSTER_HOME", str(home))
        for variable in VARIABLES[1:]:
            patch.setenv(variable, "")
        (home / "districts").mkdir(parents=True, mode=0o700)
        (home / "districts" / f"{OAK}.yaml").write_text("name: Oak County\n")
        (home / "districts" / f"{ELM}.yaml").write_text("name: Elm County\n")
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


def manifest(*lines: str) -> bytes:
    return as_file(["propertyName,value", "manifest.version,1.0", *lines])


SEVEN = "file.users"
CASES = [
    Case("1 a zip cut short", then(packed(), lambda z: z[:-10]), "zip_damaged", "OneRoster.zip"),
    Case("2 a zip of 0 bytes", file_named("OneRoster.zip", b""), "zip_empty", "OneRoster.zip"),
    Case(
        "2 a text called zip", file_named("OneRoster.zip", b"hello\n"), "zip_damaged",
        "OneRoster.zip",
    ),
    Case("3 100 MB of zeros", bomb, "zip_ratio", "users.csv", more=("100 times",)),
    Case("4 a zip in the zip", packed(("more.zip", zip_bytes(contents()))), "zip_in_zip",
         "more.zip"),
    *(
        Case(f"5 an entry called {name}", packed((name, b"x")), "zip_entry_path", "OneRoster.zip")
        for name in ("../../x.csv", "..\\..\\users.csv", "/abs/users.csv", "C:\\users.csv")
    ),
    Case("6 a symbolic link", packed(link("users.csv", "/etc/passwd"), users=None),
         "zip_entry_link", "OneRoster.zip"),
    Case("7 users.csv twice", packed(("users.csv", b"sourcedId\n")), "file_twice"),
    Case("7 users.csv beside Users.CSV", packed(("Users.CSV", b"sourcedId\n")), "file_twice"),
    Case("8 a password", lambda p: encrypted(packed()(p)), "zip_encrypted", "OneRoster.zip",
         more=("Remove the password",)),
    Case("11 a program in front of the archive", then(packed(), lambda z: b"MZ" + bytes(99) + z),
         "zip_prefixed", "OneRoster.zip"),
    Case("16 announced as bulk and not there", loose(demographics=None), "file_announced",
         "demographics.csv", app="sftp", more=("as bulk",)),
    Case("20 a NUL byte", loose(users=line(4, replaced(b"Ben", b"B\0n"))) if False else
         loose(users=line(3, replaced(b"Ben", b"B\0n"))), "nul_byte", "users.csv", 3),
    Case("21 a quote that is never closed", loose(users=line(3, replaced(b"Ben", b'"Ben'))),
         "quote_unclosed", "users.csv", 3),
    Case("23 most rows too short", loose(enrollments=replaced(b",2026-12-20\n", b"\n"))
         if False else loose(classes=replaced(b",,\n", b"\n")), "file_mostly_ragged",
         "classes.csv"),
    Case("25 a file of 0 bytes", loose(users=b""), "file_empty", "users.csv"),
    Case("26 cut in the middle of a record", loose(enrollments=lambda c: c[:-30]),
         "record_incomplete", "enrollments.csv", 7, more=("the last record is incomplete",)),
    Case("28 email twice in the header", loose(users=replaced(b",sms,", b",email,", 1)),
         "header_doubled", "users.csv", 1, more=("email",)),
    Case("35 a file of another standard",
         loose(users=b"student_id,school_id,last_name\n1,2,Alder\n"), "header_missing",
         "users.csv", 1, more=("sourcedId", "givenName", "student_id")),
]
