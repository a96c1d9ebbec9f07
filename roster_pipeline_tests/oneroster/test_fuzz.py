"""Anything may arrive: a damaged package is read or refused, and never an error of ours.

Packages of every version are damaged in their bytes and in their rows; each ends in an outcome, and
where it is read, every row of every file that was read is a record or has ended. ROSTER_FUZZ=50 in
the environment tries fifty times as many.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roster_pipeline.findings import CODES, DeliveryRefused
from roster_pipeline.oneroster.delivery import delivered_modes, open_manifest, read_delivery
from roster_pipeline.oneroster.effective import EffectiveSet, apply_delivery, missing_files
from roster_pipeline.oneroster.package import Package, open_package
from roster_pipeline.oneroster.standard import DATA_FILES
from roster_pipeline.stages.parse import ParseSettings, parse
from roster_pipeline_tests.oneroster.packages import Contents, contents, entries
from roster_pipeline_tests.oneroster.test_delivery import district_1_2
from roster_pipeline_tests.stages.passage import small_district

PACKAGES = {
    "1.0": contents(version="1.0", manifest=None),
    "1.1": contents(),
    "1.2": contents(district_1_2(), version="1.2"),
}
_STREAM = io.BytesIO()
with zipfile.ZipFile(_STREAM, "w", zipfile.ZIP_DEFLATED) as _archive:
    for _name, _content in entries(PACKAGES["1.1"]):
        _archive.writestr(_name, _content)
ZIP = _STREAM.getvalue()

Damage = Callable[[bytes], bytes]
TIMES = int(os.environ.get("ROSTER_FUZZ", "1"))
SOME_BYTES = (
    b"\0",
    b'"',
    b",",
    b"\r",
    b"\n",
    b"\r\n",
    b"\xe9",
    b"\x81",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b",,,,",
    b'""',
    b" ",
    b"active",
    b"tobedeleted",
    b"sourcedId",
    b"2026-02-30",
    b"x" * 300,
)


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Bytes flipped, cut, inserted or doubled at some place."""
    kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "double", "end"]))
    place = draw(st.floats(0, 1))
    length = draw(st.integers(1, 60))
    more = draw(st.sampled_from(SOME_BYTES) | st.binary(max_size=8))

    def damage(content: bytes) -> bytes:
        at = int(place * len(content))
        before, there, behind = content[:at], content[at : at + length], content[at + length :]
        return {
            "flip": before + bytes(b ^ (1 << length % 8) for b in there[:1]) + content[at + 1 :],
            "cut": before,
            "drop": before + behind,
            "insert": before + more + content[at:],
            "double": before + there + there + behind,
            "end": content + more,
        }[kind]

    return damage


@st.composite
def swaps(draw: st.DrawFn) -> Damage:
    """Rows or fields that change places, columns and all."""
    first, second = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    in_row = draw(st.none() | st.integers(0, 9))

    def swap(content: bytes) -> bytes:
        end = b"\n"
        rows = content.split(end)
        if in_row is None:
            _swap(rows, first, second)
            return end.join(rows)
        fields = rows[in_row % len(rows)].split(b",")
        _swap(fields, first, second)
        rows[in_row % len(rows)] = b",".join(fields)
        return end.join(rows)

    return swap


def _swap(parts: list[bytes], first: int, second: int) -> None:
    first, second = first % len(parts), second % len(parts)
    parts[first], parts[second] = parts[second], parts[first]


def told_well(refusal: DeliveryRefused) -> str:
    assert {f.severity for f in refusal.findings} == {"fatal"}
    assert all(f.message and f.how_to_fix for f in refusal.findings)
    return "refused"


def outcome(package: Package, base: EffectiveSet | None = None) -> str:
    """How a package ends. Whatever is told is well formed; whatever is read adds up."""
    try:
        missing_files(package, DATA_FILES, first=True, manifest_first=True)
        modes = delivered_modes(package, open_manifest(package))
        delivery = read_delivery(package)
        assert set(delivery.readings) == set(modes)
        before = {n: f.reading for n, f in base.files.items()} if base else {}
        effective = apply_delivery(delivery, before)
    except DeliveryRefused as refusal:
        return told_well(refusal)
    parsed = parse(effective, ParseSettings())
    for name, file in effective.files.items():
        reading = file.reading
        assert reading.frame["sourcedId"].notna().all()
        assert not reading.frame["sourcedId"].duplicated().any()
        ended = set(parsed.roster.ended.query(f"file == '{name}.csv'")["row"])
        travelling = set(parsed.roster.frames[name]["row"])
        counted = parsed.roster.ended["file"] == f"{name}.csv"
        if name not in ("demographics", "roles", "orgs") and file.mode == "bulk":
            rows = set(reading.frame["row"]) | set(reading.rejected["row"])
            assert travelling | ended == rows
            assert len(rows) == reading.rows
            many = len(parsed.roster.frames[name]) + counted.sum()
            assert many >= reading.rows
            assert many == reading.rows or "roles" in effective.files
    assert set(parsed.findings["code"]) <= set(CODES)
    assert parsed.findings[["message", "how_to_fix", "severity"]].notna().all().all()
    return "read"


def test_the_packages_are_sound() -> None:
    for files in PACKAGES.values():
        assert outcome(Package(files)) == "read"


@pytest.mark.parametrize("version", list(PACKAGES))
@settings(max_examples=30 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(version: str, data: st.DataObject) -> None:
    files: Contents = dict(PACKAGES[version])
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(files)))
        files[name] = data.draw(damages() | swaps())(files[name])
    assert outcome(Package(files)) in ("read", "refused")


@settings(max_examples=20 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_files_that_change_names_and_places_are_read_or_refused(data: st.DataObject) -> None:
    files: Contents = {}
    for name, content in PACKAGES[data.draw(st.sampled_from(sorted(PACKAGES)))].items():
        files[data.draw(st.sampled_from([name, name, name, "users", "roles", "orgs"]))] = content
    for version in data.draw(st.lists(st.sampled_from(sorted(PACKAGES)), max_size=2)):
        name = data.draw(st.sampled_from(sorted(PACKAGES[version])))
        files[name] = PACKAGES[version][name]
    assert outcome(Package(files)) in ("read", "refused")


@settings(max_examples=20 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_delta_upon_a_sound_base_is_read_or_refused(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(["1.1", "1.2"]))
    base = apply_delivery(read_delivery(Package(PACKAGES[version])), {})
    newer = data.draw(st.sampled_from(["1.1", "1.2"]))
    frames = district_1_2() if newer == "1.2" else small_district()
    chosen = data.draw(st.lists(st.sampled_from(sorted(frames)), min_size=1, unique=True))
    modes = {n: data.draw(st.sampled_from(["bulk", "delta"])) for n in chosen}
    files = contents({n: frames[n] for n in chosen}, version=newer, modes=modes)
    for name in chosen:
        files[name] = data.draw(damages() | swaps() | st.just(lambda content: content))(files[name])
    assert outcome(Package(files), base) in ("read", "refused")


@settings(max_examples=150 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(damaged=st.lists(damages(), min_size=1, max_size=3))
def test_a_damaged_zip_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damaged: list[Damage]
) -> None:
    content = ZIP
    for damage in damaged:
        content = damage(content)
    path: Path = tmp_path_factory.getbasetemp() / "OneRoster.zip"
    path.write_bytes(content)
    try:
        package = open_package([path])
    except DeliveryRefused:
        return
    assert outcome(package) in ("read", "refused")
