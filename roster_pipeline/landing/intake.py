"""Takes a delivery in: finds its files, copies them once into the archive, and says what it is.

The archive is named by content and never changed; everything after this reads only from there, so
that an upload during an import cannot disturb it (design rule 4.1).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roster_pipeline.findings import DeliveryRefused, finding
from roster_pipeline.oneroster.package import Package, open_package

ZIP_NAME = "OneRoster.zip"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Delivery:
    """A delivery in the archive: its folder, and the files in it as they arrived."""

    folder: Path
    files: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """The archived files."""
        return [self.folder / name for name in self.files]


def landed_files(landing: Path, district_id: str) -> list[Path]:
    """What lies in a district's landing zone. Raises DeliveryRefused when nothing does."""
    folder = landing / district_id
    files = sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))
    if not files:
        raise DeliveryRefused([finding("delivery_empty")])
    return files


def archive_delivery(archive: Path, district_id: str, paths: Sequence[Path]) -> Delivery:
    """Copy the files of a delivery into `archive/<district>/<sha256 of names and content>/`.

    Each file is read once and hashed while it is copied; the copies are read-only. A folder
    stands for the files in it. A delivery that is there already is not copied again. Raises
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
    shelf = archive / district_id
    shelf.mkdir(mode=0o700, parents=True, exist_ok=True)
    arriving = Path(tempfile.mkdtemp(prefix=".arriving-", dir=shelf))
    try:
        whole = hashlib.sha256()
        for source in sources:
            digest = _copy(source, arriving / source.name)
            whole.update(f"{source.name}\x00{digest}\n".encode())
        folder = shelf / whole.hexdigest()
        if not folder.exists():
            arriving.rename(folder)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    return Delivery(folder, tuple(source.name for source in sources))


def _copy(source: Path, target: Path) -> str:
    """Copy one file to a read-only one; the sha256 of what was copied."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()


def open_delivery(delivery: Delivery) -> Package:
    """The package in an archived delivery. Raises DeliveryRefused."""
    return open_package(delivery.paths)


def file_hashes(package: Package) -> dict[str, str]:
    """The sha256 of each file's unpacked content by name, so that the same files loose or in a
    zip are the same delivery."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in package.files.items()}


def effective_hash(hashes: Mapping[str, str]) -> str:
    """What an import's identity takes from its files: one hash over their names and contents."""
    lines = "".join(f"{name}\x00{digest}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
