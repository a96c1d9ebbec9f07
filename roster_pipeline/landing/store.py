"""Where archive and artifacts are kept: on a disk, or in any store that fsspec has a URL for.

A store holds things by their path in it, such as `oak/deliveries/<sha256>`. A thing is a few files
that belong together; it is there whole or not at all, and is replaced or taken away as a whole. On
a disk it is a folder, which a rename puts in its place. An object store cannot rename a folder, but
shows an object only when all of it has arrived: there a thing is one zip (`….zip`). What is in it
is compressed already, so the zip only holds it together. Whichever it is, the files of a thing are
written and read on this machine's disk.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class StoreError(OSError):
    """A store cannot be used, or has not what it must have; the message says which and why."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(errno.EIO, why, address)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


@dataclass(frozen=True)
class Thing:
    """What a listing tells of a thing: path: where in its store. files, size: how many files, and
    their bytes. since: when it was put there."""

    path: str
    files: int
    size: int
    since: datetime


class Store(ABC):
    """Things by their path. All of it may raise OSError."""

    @abstractmethod
    def address(self, path: str) -> str:
        """Where a thing is, for people."""

    @abstractmethod
    def stamp(self, path: str) -> str | None:
        """What is another whenever the thing has been replaced by another; None without it."""

    def has(self, path: str) -> bool:
        """Whether a thing is there."""
        return self.stamp(path) is not None

    @abstractmethod
    def folder(self, path: str) -> Path | None:
        """The folder a thing is in, to whose files others may be linked; None if it is in none."""

    @abstractmethod
    def arriving(self, shelf: str) -> AbstractContextManager[Path]:
        """An empty folder, private, to write the files of a thing of this shelf into; what is not
        put in its place is gone afterwards."""

    @abstractmethod
    def put(self, arriving: Path, path: str) -> None:
        """Put what is in that folder in its place, also in that of another."""

    @abstractmethod
    def open(self, path: str, *names: str) -> AbstractContextManager[Path]:
        """A folder with the files of a thing, or at least those of these names; only for
        reading."""

    @abstractmethod
    def mark(self, path: str) -> None:
        """Mark a thing; the mark goes when the thing goes."""

    @abstractmethod
    def is_marked(self, path: str) -> bool:
        """Whether a thing is marked."""

    @abstractmethod
    def districts(self) -> list[str]:
        """The names under which there is anything."""

    @abstractmethod
    def things(self, shelf: str) -> list[Thing]:
        """What is on a shelf, what a killed process has left there included."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Take a thing away."""

    @abstractmethod
    def clear(self, district_id: str) -> None:
        """Take away all that is under this name."""


def store_at(url: str) -> Store:
    """The store that the settings name: by the absolute path of a folder, or by a URL."""
    return Disk(Path(url)) if url.startswith("/") else ObjectStore(url)


def _mark_of(path: str) -> str:
    shelf, _, name = path.rpartition("/")
    return f"{shelf}/.{name}.kept"


@dataclass(frozen=True)
class Disk(Store):
    """Things as folders. Links are not followed."""

    root: Path

    def address(self, path: str) -> str:
        return str(self.root / path)

    def stamp(self, path: str) -> str | None:
        try:
            status = (self.root / path).stat()
        except FileNotFoundError:
            return None
        return f"{status.st_ino} {status.st_mtime_ns}"

    def folder(self, path: str) -> Path | None:
        return self.root / path

    @contextmanager
    def arriving(self, shelf: str) -> Iterator[Path]:
        folder = self.root / shelf
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        arriving = Path(tempfile.mkdtemp(prefix=".arriving-", dir=folder))
        try:
            yield arriving
        finally:
            shutil.rmtree(arriving, ignore_errors=True)

    def put(self, arriving: Path, path: str) -> None:
        target = self.root / path
        if target.exists():
            with self._out_of_the_way(target):
                arriving.rename(target)
        else:
            arriving.rename(target)

    @contextmanager
    def _out_of_the_way(self, target: Path) -> Iterator[None]:
        """Remove a folder, out of its place at once, so that nobody finds a half of it."""
        leaving = Path(tempfile.mkdtemp(prefix=".leaving-", dir=target.parent))
        target.rename(leaving / target.name)
        yield
        shutil.rmtree(leaving)

    @contextmanager
    def open(self, path: str, *names: str) -> Iterator[Path]:
        yield self.root / path

    def mark(self, path: str) -> None:
        (self.root / _mark_of(path)).touch()

    def is_marked(self, path: str) -> bool:
        return (self.root / _mark_of(path)).exists()

    def districts(self) -> list[str]:
        return [path.name for path in _entries(self.root) if path.is_dir()]

    def things(self, shelf: str) -> list[Thing]:
        entries = _entries(self.root / shelf)
        mark_of = {path: self.root / _mark_of(f"{shelf}/{path.name}") for path in entries}
        marks = {*mark_of.values()} & {*entries}
        return [
            _thing(f"{shelf}/{path.name}", [path, *({mark_of[path]} & marks)])
            for path in entries
            if path not in marks
        ]

    def remove(self, path: str) -> None:
        target = self.root / path
        (self.root / _mark_of(path)).unlink(missing_ok=True)
        if target.is_dir():
            with self._out_of_the_way(target):
                pass
        else:
            target.unlink()

    def clear(self, district_id: str) -> None:
        folder = self.root / district_id
        shutil.rmtree(folder, ignore_errors=not folder.exists())


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none, or a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def _thing(name: str, paths: list[Path]) -> Thing:
    inside = [p for path in paths for p in (path, *path.rglob("*")) if not p.is_symlink()]
    files = [p for p in inside if p.is_file()]
    since = max(path.lstat().st_mtime for path in paths)
    size = sum(p.lstat().st_size for p in files)
    return Thing(name, len(files), size, datetime.fromtimestamp(since, UTC))


@dataclass(frozen=True)
class ObjectStore(Store):
    """Things as zips in a store that fsspec reaches; who may, the environment says."""

    url: str

    def address(self, path: str) -> str:
        return f"{self.url}/{path}.zip"

    @contextmanager
    def _reached(self) -> Iterator[tuple[AbstractFileSystem, str]]:
        """The store, and the path of its beginning in it. Raises StoreError."""
        from fsspec.core import url_to_fs

        try:
            # Another process may have written since the last listing.
            yield url_to_fs(self.url, use_listings_cache=False)
        except Exception as error:
            raise StoreError(self.url, f"{type(error).__name__}: {error}") from error

    def stamp(self, path: str) -> str | None:
        with self._reached() as (fs, root), suppress(FileNotFoundError):
            return str(fs.ukey(f"{root}/{path}.zip"))
        return None

    def folder(self, path: str) -> Path | None:
        return None

    @contextmanager
    def arriving(self, shelf: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="roster-") as folder:
            yield Path(folder)

    def put(self, arriving: Path, path: str) -> None:
        # The smallest last, beside the zip's own list: they are read alone.
        files = sorted(arriving.iterdir(), key=lambda file: -file.stat().st_size)
        with tempfile.NamedTemporaryFile(prefix="roster-") as zipped:
            with zipfile.ZipFile(zipped, "w", zipfile.ZIP_STORED) as archive:
                for file in files:
                    archive.write(file, file.name)
            zipped.flush()
            # In a transaction, stores that are no object stores show the file when it is whole too.
            with self._reached() as (fs, root), fs.transaction:
                fs.put_file(zipped.name, f"{root}/{path}.zip")

    @contextmanager
    def open(self, path: str, *names: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="roster-") as folder:
            with (
                self._reached() as (fs, root),
                fs.open(f"{root}/{path}.zip") as stream,
                zipfile.ZipFile(stream) as archive,
            ):
                archive.extractall(folder, names or None)
            yield Path(folder)

    def mark(self, path: str) -> None:
        with self._reached() as (fs, root):
            fs.pipe_file(f"{root}/{_mark_of(path)}", b"")

    def is_marked(self, path: str) -> bool:
        with self._reached() as (fs, root):
            return bool(fs.exists(f"{root}/{_mark_of(path)}"))

    def districts(self) -> list[str]:
        with self._reached() as (fs, root):
            return [_name(entry) for entry in _listed(fs, root) if entry["type"] == "directory"]

    def things(self, shelf: str) -> list[Thing]:
        with self._reached() as (fs, root):
            return [
                Thing(
                    f"{shelf}/{_name(entry).removesuffix('.zip')}",
                    1,
                    entry["size"],
                    entry.get("LastModified") or fs.modified(entry["name"]),
                )
                for entry in _listed(fs, f"{root}/{shelf}")
                if entry["name"].endswith(".zip")
            ]

    def remove(self, path: str) -> None:
        with self._reached() as (fs, root):
            for name in (_mark_of(path), f"{path}.zip"):
                with suppress(FileNotFoundError):
                    fs.rm_file(f"{root}/{name}")

    def clear(self, district_id: str) -> None:
        with self._reached() as (fs, root), suppress(FileNotFoundError):
            fs.rm(f"{root}/{district_id}", recursive=True)


def _listed(fs: AbstractFileSystem, path: str) -> list[dict[str, Any]]:
    try:
        return sorted(fs.ls(path, detail=True), key=lambda entry: str(entry["name"]))
    except FileNotFoundError:
        return []


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]
