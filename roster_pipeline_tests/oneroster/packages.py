"""Packages for the tests of reading: whole files as bytes, damaged at will, and zips of every sort.

`contents` is a small district as the files of a package; what a test puts in their place is bytes
or a function of the bytes. `zipped` writes what Python's zipfile lets one write, and `patched` what
it does not.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from roster_pipeline.findings import Finding
from roster_pipeline.oneroster.standard import VERSIONS
from roster_pipeline.oneroster.writer import csv_bytes, manifest_bytes
from roster_pipeline_tests.stages.passage import Frames, small_district

Contents = dict[str, bytes]
Change = bytes | Callable[[bytes], bytes] | None
Entry = tuple[str | zipfile.ZipInfo, bytes]


def contents(
    frames: Frames | None = None,
    *,
    version: str = "1.1",
    modes: Mapping[str, str] | None = None,
    **changes: Change,
) -> Contents:
    """The files of a package by name; a change is other bytes, a function of the bytes, or None
    for a file that is not there."""
    frames = small_district() if frames is None else frames
    spec = VERSIONS[version]
    files = {name: csv_bytes(frame, spec, name) for name, frame in frames.items()}
    files["manifest"] = manifest_bytes(spec, {n: (modes or {}).get(n, "bulk") for n in frames})
    for name, change in changes.items():
        if change is None:
            del files[name]
        else:
            files[name] = change if isinstance(change, bytes) else change(files[name])
    return files


def folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """The files as a folder of CSV files."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / f"{name}.csv").write_bytes(content)
    return path


def entries(files: Mapping[str, bytes], before: str = "") -> list[Entry]:
    """The files as entries of a zip, in a folder of it if need be."""
    return [(f"{before}{name}.csv", content) for name, content in files.items()]


def zipped(path: Path, content: Iterable[Entry]) -> Path:
    """A zip of these entries, whatever their names; two of one name too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content:
            archive.writestr(name, data)
    return path


def link(name: str, target: str) -> Entry:
    """A symbolic link as an entry of a zip."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    return info, target.encode()


def patched(path: Path, place: int, local_place: int, form: str, value: int) -> Path:
    """A zip whose first entry's central and local header have another value at a place."""
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into(form, data, central + place, value)
    struct.pack_into(form, data, local_place, value)
    path.write_bytes(data)
    return path


def encrypted(path: Path) -> Path:
    """A zip that says its first entry is encrypted."""
    return patched(path, 8, 6, "<H", 1)


def line(number: int, change: Callable[[bytes], bytes] | bytes) -> Callable[[bytes], bytes]:
    """A change of one row of a file, counted as a spreadsheet does."""

    def apply(content: bytes) -> bytes:
        lines = content.split(b"\n")
        old = lines[number - 1]
        lines[number - 1] = change if isinstance(change, bytes) else change(old)
        return b"\n".join(lines)

    return apply


def replaced(old: bytes, new: bytes, times: int = -1) -> Callable[[bytes], bytes]:
    """A change of some bytes of a file that must be there."""

    def apply(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, times)

    return apply


def codes(findings: Sequence[Finding]) -> list[str]:
    """The codes of findings."""
    return [f.code for f in findings]
