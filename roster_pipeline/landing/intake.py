"""Takes a delivery in: finds its files, copies them once into the archive, and says what it is.

The archive is named by content and never changed; everything after this reads only from there, so
that an upload during an import cannot disturb it (design rule 4.1).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from roster_pipeline.findings import DeliveryRefused, Finding, finding
from roster_pipeline.landing.store import Store
from roster_pipeline.oneroster.package import KNOWN_FILES, Package, open_package
from roster_pipeline.warehouse.ledger import Import

ZIP_NAME = "OneRoster.zip"
UNFINISHED = re.compile(r"\.(filepart|part|partial|tmp|crdownload)$", re.IGNORECASE)
"""Endings clients give a file while they are still writing it."""
UPLOADING = re.compile(r"\.upload-")
"""How the name begins that our server gives a file while it is being uploaded."""
TAKEN_NAMES = frozenset({ZIP_NAME, *(f"{name}.csv" for name in KNOWN_FILES)})
"""The names by which a landing zone's files are taken."""
REASON = "reason.json"
"""Where a refused delivery that lies aside says why."""
_CHUNK = 1 << 20


class NotArchived(LookupError):
    """The delivery of an import is not in the archive; the message says why."""


@dataclass(frozen=True)
class Delivery:
    """A delivery in the archive. path: where in it. size: the bytes of its files."""

    path: str
    size: int

    @property
    def name(self) -> str:
        """What it is called by: the sha256 of its files' names and content."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Landed:
    """What lies in a landing zone.

    paths: the files of the delivery. findings: near misses and what else was not taken.
    """

    paths: list[Path]
    findings: tuple[Finding, ...]


def landed_files(landing: Path, district_id: str) -> Landed:
    """What lies in a district's landing zone: OneRoster.zip, or the CSV files by their exact names.

    Loose files beside the zip are not taken, nor is a name that is nearly right; both are told.
    Raises DeliveryRefused when nothing can be taken.
    """
    folder = landing / district_id
    files = sorted(p for p in folder.glob("*") if _is_plain(p) and not p.name.startswith("."))
    taken = [p for p in files if p.name in TAKEN_NAMES]
    told = [
        finding("file_near_miss", file=p.name, right=right)
        for p in files
        if (right := right_name(p.name))
    ]
    told += [
        finding("file_ignored", file=p.name)
        for p in files
        if p not in taken and not right_name(p.name) and not UNFINISHED.search(p.name)
    ]
    if not taken:
        raise DeliveryRefused([finding("delivery_empty"), *told])
    if zips := [p for p in taken if p.name == ZIP_NAME]:
        told += [finding("file_ignored_beside_zip", file=p.name) for p in taken if p not in zips]
        taken = zips
    return Landed(taken, tuple(told))


def _is_plain(path: Path) -> bool:
    """Whether it is a file itself; a link could lead out of the landing zone."""
    return path.is_file() and not path.is_symlink()


def right_name(name: str) -> str | None:
    """The right name of a file whose name is nearly one: other capitals, a copy's number. None for
    a right name, and for another."""
    if name in TAKEN_NAMES:
        return None
    plain = re.sub(r"[\s_-]*(\(\d+\)|copy|\d+)?(\.[^.]+)$", r"\2", name, flags=re.I).lower()
    return {right.lower(): right for right in TAKEN_NAMES}.get(plain)


def archive_delivery(archive: Store, district_id: str, paths: Sequence[Path]) -> Delivery:
    """Copy the files of a delivery to `<district>/deliveries/<sha256>` in the archive.

    Each file is read once and hashed while it is copied; the copies are read-only. A folder
    stands for the files in it. A delivery that is there already is not put there again. Raises
    DeliveryRefused when a file is not there.
    """
    sources = [
        inside
        for path in paths
        for inside in (sorted(path.iterdir()) if path.is_dir() else [path])
        if not inside.is_dir()
    ]
    if not sources:
        raise DeliveryRefused([finding("delivery_empty")])
    for source in sources:
        if not source.is_file():
            raise DeliveryRefused([finding("file_not_found", file=str(source))])
    names = Counter(source.name for source in sources)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise DeliveryRefused([finding("file_twice", file=n, other=n) for n in twice])
    shelf = f"{district_id}/deliveries"
    with archive.arriving(shelf) as arriving:
        digests = {source.name: _copy(source, arriving / source.name) for source in sources}
        size = sum(file.stat().st_size for file in arriving.iterdir())
        delivery = Delivery(f"{shelf}/{_name(digests)}", size)
        if not archive.has(delivery.path):
            archive.put(arriving, delivery.path)
    return delivery


def archived_at(archive: Store, imported: Import) -> str:
    """Where in the archive the delivery of an import is. Raises NotArchived."""
    if imported.delivery is None:
        raise NotArchived(f"Import {imported.id} brought no delivery into the archive.")
    aside = f"{imported.district_id}/refused/{imported.delivery.rpartition('/')[2]}"
    path = next((path for path in (imported.delivery, aside) if archive.has(path)), None)
    if path is None:
        raise NotArchived(
            f"The delivery of import {imported.id} is not in the archive any more: its days are "
            "over (ROSTER_KEEP_ARCHIVE_DAYS, and ROSTER_KEEP_REFUSED_DAYS for a refused one). "
            "It must be delivered again."
        )
    return path


def archive_again(archive: Store, imported: Import) -> Delivery:
    """Take the delivery of an import in once more, as if it had arrived now. Raises NotArchived."""
    with archive.open(archived_at(archive, imported)) as folder:
        files = sorted(path for path in folder.iterdir() if path.name != REASON)
        return archive_delivery(archive, imported.district_id, files)


def delivery_name(paths: Sequence[Path]) -> str:
    """The name of the folder in which the archive keeps, or would keep, these files of a landing
    zone."""
    return _name({path.name: digest_of(path) for path in paths})


def digest_of(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _name(digests: Mapping[str, str]) -> str:
    """What a delivery is called by: the names and the content of its files."""
    lines = "".join(f"{name}\x00{digest}\n" for name, digest in digests.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _copy(source: Path, target: Path) -> str:
    """Copy one file to a read-only one; the sha256 of what was copied."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()


def set_aside(
    archive: Store, district_id: str, delivery: Delivery, refusal: DeliveryRefused
) -> None:
    """Move a refused delivery to `<district>/refused/<sha256>` in the archive, with its reason.

    One that an import could use before (it was delivered otherwise, or the settings were others)
    stays where that import finds it too.
    """
    shelf = f"{district_id}/refused"
    with archive.open(delivery.path) as folder, archive.arriving(shelf) as aside:
        for file in folder.iterdir():
            if file.name != REASON:
                (aside / file.name).hardlink_to(file)
        (aside / REASON).write_text(json.dumps([asdict(f) for f in refusal.findings], indent=2))
        archive.put(aside, f"{shelf}/{delivery.name}")
    if not archive.is_marked(delivery.path):
        archive.remove(delivery.path)


def keep(archive: Store, delivery: Delivery) -> None:
    """Remember that an import could use a delivery, so that no refusal moves it away."""
    archive.mark(delivery.path)


def open_delivery(archive: Store, delivery: Delivery) -> Package:
    """The package in an archived delivery. Raises DeliveryRefused."""
    with archive.open(delivery.path) as folder:
        return open_package([folder])


def file_hashes(package: Package) -> dict[str, str]:
    """The sha256 of each file's unpacked content by name, so that the same files loose or in a
    zip are the same delivery."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in package.files.items()}
