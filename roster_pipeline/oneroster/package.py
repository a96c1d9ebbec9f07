"""Opens a delivery: a OneRoster zip, a folder, or loose CSV files, within stated limits.

What the files say is the business of `reader`; here it is settled which files there are, under
which name, and that the container is whole, harmless and within bounds (nothing is extracted to
disk; what a zip claims about sizes is not believed but counted).
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.oneroster.standard import FILE_NAMES

KNOWN_FILES = tuple(FILE_NAMES.values())
_ZIP_BEGINS = b"PK\x03\x04"
_LEFTOVERS = re.compile(
    r"(^|/)(__MACOSX(/|$)|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)|:Zone\.Identifier$", re.I
)
_CHUNK = 1 << 20
_ROOT = PurePosixPath(".")


@dataclass(frozen=True)
class Limits:
    """How large a delivery may be (bytes, counts); the defaults are those of a state-sized one."""

    zip_bytes: int = 512 << 20
    entries: int = 64
    unpacked_bytes: int = 4 << 30
    file_bytes: int = 2 << 30
    ratio: int = 100
    ratio_from_bytes: int = 10 << 20
    field_bytes: int = 64 << 10
    row_bytes: int = 1 << 20
    columns: int = 200
    rows: int = 20_000_000


@dataclass(frozen=True)
class Package:
    """The files of one delivery.

    files: content by the standard's name without `.csv` (`users`, `manifest`), decompressed.
    ignored: names that arrived and are not part of the delivery.
    findings: what is to be told about the container.
    """

    files: dict[str, bytes]
    ignored: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


def open_package(
    paths: Sequence[Path], limits: Limits = Limits(), *, beginnings: bool = False
) -> Package:
    """Open a delivery given as one zip, one folder, or CSV files.

    beginnings: of each file only the first megabyte, for who asks for its header. Raises
    DeliveryRefused with findings that name the file and the remedy.
    """
    if len(paths) == 1 and paths[0].is_dir():
        inside = sorted(p for p in paths[0].iterdir() if p.is_file())
        if not inside:
            _refuse("delivery_empty")
        return open_package(inside, limits, beginnings=beginnings)
    if not paths:
        _refuse("delivery_empty")
    for path in paths:
        if not path.is_file():
            _refuse("file_not_found", file=str(path))
    zips = [p for p in paths if p.suffix.lower() == ".zip"]
    loose = [p for p in paths if p.suffix.lower() != ".zip"]
    if len(zips) > 1:
        _refuse("zip_several", file=zips[1].name)
    if zips:
        package = _open_zip(zips[0], limits, beginnings=beginnings)
        told = tuple(finding("file_ignored_beside_zip", file=p.name) for p in loose)
        return Package(
            package.files,
            (*package.ignored, *(p.name for p in loose)),
            (*package.findings, *told),
        )
    names = _sort_out([p.name for p in loose])
    by_name = {p.name: p for p in loose}
    total = 0
    for written in names.data.values():
        size = by_name[written].stat().st_size
        total += size
        if size > limits.file_bytes:
            _refuse("file_too_large", file=written, limit=_size(limits.file_bytes))
        if total > limits.unpacked_bytes:
            _refuse("delivery_too_large", file="the delivery", limit=_size(limits.unpacked_bytes))
    files = {}
    for name, written in names.data.items():
        with by_name[written].open("rb") as stream:
            files[name] = stream.read(_CHUNK if beginnings else -1)
    _check_no_zip(files)
    return Package(files, names.ignored, names.findings)


def read_through(path: Path, seen: Callable[[str, bytes], None], limits: Limits = Limits()) -> None:
    """Read a zip to its end, checksums included, without keeping what is in it.

    seen: is given each piece of the files of the standard, with the file's name without `.csv`,
    and may raise to end it. Raises DeliveryRefused as `open_package` does.
    """
    with _opened(path, limits) as (archive, size):
        _, inside, names = _look_inside(path, archive, size, limits)
        budget = _Budget(limits.unpacked_bytes, path.name)
        for name, written in names.data.items():
            for chunk in _unpack(archive, inside[written], limits, budget):
                seen(name, chunk)


def _check_no_zip(files: Mapping[str, bytes]) -> None:
    """A zip is not opened because it is called .csv."""
    for name, content in files.items():
        if content.startswith(_ZIP_BEGINS):
            _refuse("zip_in_zip", file=f"{name}.csv")


def _refuse(code: str, **details: object) -> Package:
    raise DeliveryRefused([finding(code, **details)])


def _size(count: int) -> str:
    return f"{count >> 30} GiB" if count >= 1 << 30 else f"{count >> 20} MB"


@dataclass(frozen=True)
class _Names:
    data: dict[str, str]
    ignored: tuple[str, ...]
    findings: tuple[Finding, ...]


def _sort_out(names: Sequence[str]) -> _Names:
    """Which of the names is which file of the standard; the others are ignored and told."""
    kept = [n for n in names if not _LEFTOVERS.search(n)]
    data: dict[str, str] = {}
    ignored = [n for n in names if _LEFTOVERS.search(n)]
    told: list[Finding] = []
    for name in kept:
        stem, _, ending = name.rpartition(".")
        known = FILE_NAMES.get(stem.lower()) if ending.lower() == "csv" else None
        if known is None:
            if ending.lower() == "zip":
                _refuse("zip_in_zip", file=name)
            ignored.append(name)
            told.append(finding("file_ignored", file=name))
        elif known in data:
            _refuse("file_twice", file=name, other=data[known])
        else:
            data[known] = name
            if name != f"{known}.csv":
                told.append(finding("file_name_case", file=name, right=f"{known}.csv"))
    if not data:
        _refuse("delivery_without_files", found=", ".join(kept[:8]) or "nothing")
    return _Names(data, tuple(ignored), tuple(told))


_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError),
)
"""What Python's zipfile raises at archives that are none (a name that is no UTF-8, an offset
before the beginning, …)."""


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """A zip and its size in bytes; what shows it to be damaged refuses it."""
    size = path.stat().st_size
    if size == 0:
        _refuse("zip_empty", file=path.name)
    if size > limits.zip_bytes:
        _refuse("zip_too_large", file=path.name, limit=_size(limits.zip_bytes))
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, size
    except _DAMAGE as error:
        raise DeliveryRefused([finding("zip_damaged", file=path.name)]) from error


def _open_zip(path: Path, limits: Limits, *, beginnings: bool) -> Package:
    with _opened(path, limits) as (archive, size):
        told, inside, names = _look_inside(path, archive, size, limits)
        budget = _Budget(limits.unpacked_bytes, path.name)

        def unpack(written: str) -> bytes:
            pieces = _unpack(archive, inside[written], limits, budget)
            return next(pieces, b"") if beginnings else b"".join(pieces)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            files = dict(zip(names.data, pool.map(unpack, names.data.values()), strict=True))
        leftovers = tuple(n for n in archive.namelist() if _LEFTOVERS.search(n))
    _check_no_zip(files)
    return Package(files, (*names.ignored, *leftovers), (*told, *names.findings))


def _look_inside(
    path: Path, archive: zipfile.ZipFile, size: int, limits: Limits
) -> tuple[list[Finding], dict[str, zipfile.ZipInfo], _Names]:
    """What is to be told of a zip's layout, its entries by their name in the folder of the
    delivery, and which of them is which file; nothing is unpacked."""
    entries = archive.infolist()
    if not entries:
        _refuse("zip_empty", file=path.name)
    if len(entries) > limits.entries:
        _refuse("zip_too_many_entries", file=path.name, limit=limits.entries)
    _check_layout(path, archive, entries, size)
    for entry in entries:
        _check_entry(path, entry)
    repeated = [n for n, times in Counter(e.filename for e in entries).items() if times > 1]
    if repeated:
        _refuse("file_twice", file=repeated[0], other=repeated[0])
    documents = [e for e in entries if not e.is_dir() and not _LEFTOVERS.search(e.filename)]
    folder = _common_folder(path, documents)
    inside = {_in_folder(e, folder): e for e in documents}
    told = [] if folder == _ROOT else [finding("zip_folder", file=path.name)]
    return told, inside, _sort_out(list(inside))


def _common_folder(path: Path, documents: Sequence[zipfile.ZipInfo]) -> PurePosixPath:
    """The folder in which the files of the standard lie. Raises DeliveryRefused when there are
    several."""
    places = [PurePosixPath(e.filename) for e in documents]
    folders = {p.parent for p in places if _is_known(p.name)}
    if len(folders) > 1:
        _refuse("zip_several_folders", file=path.name)
    return next(iter(folders), _ROOT)


def _is_known(name: str) -> bool:
    stem, _, ending = name.lower().rpartition(".")
    return ending == "csv" and stem in FILE_NAMES


def _in_folder(entry: zipfile.ZipInfo, folder: PurePosixPath) -> str:
    """An entry's name in the folder of the delivery; its whole path when it lies elsewhere."""
    place = PurePosixPath(entry.filename)
    return place.name if place.parent == folder else str(place)


def _check_layout(
    path: Path, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], size: int
) -> None:
    """No bytes before the first entry, none after the end, no entry inside another.

    Python 3.11.7's zipfile accepts all three.
    """
    if min(e.header_offset for e in entries) != 0:
        _refuse("zip_prefixed", file=path.name)
    ordered = sorted(entries, key=lambda e: e.header_offset)
    ends = [*(e.header_offset for e in ordered[1:]), archive.start_dir]
    for entry, end in zip(ordered, ends, strict=True):
        if entry.header_offset + 30 + len(entry.filename) + entry.compress_size > end:
            _refuse("zip_damaged", file=path.name)
    end_record = 22 + len(archive.comment)
    with path.open("rb") as stream:
        stream.seek(size - end_record)
        if stream.read(4) != b"PK\x05\x06":
            _refuse("zip_damaged", file=path.name)


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = re.split(r"[/\\]", name)
    if (
        ".." in parts
        or name.startswith(("/", "\\"))
        or re.match(r"[A-Za-z]:", name)
        or "\\" in name
        or "\x00" in name
    ):
        _refuse("zip_entry_path", file=path.name, entry=_shown(name))
    if stat.S_ISLNK(entry.external_attr >> 16):
        _refuse("zip_entry_link", file=path.name, entry=_shown(name))
    if entry.flag_bits & 0x1:
        _refuse("zip_encrypted", file=path.name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse("zip_compression", file=path.name, entry=_shown(name))


def _shown(name: str) -> str:
    """A name from outside, fit to print."""
    return name[:80].encode("unicode_escape").decode()


class _Budget:
    """How many bytes a zip may still unpack to, shared by the files in it, which are unpacked side
    by side: which of them goes over it is chance, so the zip is named."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = self._left = limit
        self._name = name
        self._lock = Lock()

    def spend(self, count: int) -> None:
        """Take bytes off. Raises DeliveryRefused when they are too many."""
        with self._lock:
            self._left -= count
            spent = self._left < 0
        if spent:
            _refuse("delivery_too_large", file=self._name, limit=_size(self._limit))


def _unpack(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits, budget: _Budget
) -> Iterator[bytes]:
    """An entry's content, piece by piece, counted while it is produced. The ratio is judged as soon
    as 10 MB came out, so that a bomb is stopped there."""
    produced = 0
    name = _shown(entry.filename)
    with archive.open(entry) as stream:
        while chunk := stream.read(_CHUNK):
            produced += len(chunk)
            if produced > limits.file_bytes:
                _refuse("file_too_large", file=name, limit=_size(limits.file_bytes))
            budget.spend(len(chunk))
            if produced > limits.ratio_from_bytes and produced > limits.ratio * max(
                entry.compress_size, 1
            ):
                _refuse("zip_ratio", file=name, limit=limits.ratio)
            yield chunk
    if produced != entry.file_size:
        raise zipfile.BadZipFile
