"""A district's folder in the landing zone, as clients may see and change it.

The folder is flat, opened once, and everything in it is reached relative to that descriptor; a
client's path is never handed to the system. It is either the folder or exactly one plain name
(`plain_name`), and what stands under a name counts only if it is a regular file with no other name
(a link, a pipe, a directory is not there, whoever put it there). Knows no SFTP, no network.

An upload is written under a hidden name and takes its own at `publish`, in one step, so that nobody
ever sees half of it and a file that is being read keeps its content. Opening a file to write on
(resume, append) copies it first. An upload that breaks off is thrown away (`abandon`), except under
a name by which clients call what is unfinished (`OneRoster.zip.filepart`): that stays, so that
WinSCP and others can resume; an import never takes such names.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from roster_pipeline.landing.intake import UNFINISHED

LONGEST_NAME = 128
_NAME = re.compile(rb"[A-Za-z0-9_(][A-Za-z0-9 ._()-]*")
_FOLDER = re.compile(rb"/?(\./?)?")
_HIDDEN = ".upload-"
_CHUNK = 1 << 20
_MOST_GAPS = 256
"""How many pieces may have come before what is to stand in front of them."""


@dataclass(frozen=True)
class FolderLimits:
    """How much a district may lay into its folder (bytes, counts). free_bytes: what stays free on
    the disk. ahead_bytes: how far a piece of a file may come before what is in front of it (some
    clients write several at once)."""

    file_bytes: int = 2 << 30
    folder_bytes: int = 10 << 30
    files: int = 200
    free_bytes: int = 1 << 30
    ahead_bytes: int = 8 << 20


@dataclass(frozen=True)
class Entry:
    """A file as a client sees it: its name, its size in bytes, when it was modified (seconds)."""

    name: str
    size: int
    modified: float


class Refused(Exception):
    """What a client asked for is not granted; the message says why, and names nothing but rules."""


def plain_name(path: bytes) -> str | None:
    """The name that a client's path means; None for the folder itself.

    `/name`, `./name`, `/./name` and `name` are the same. Raises Refused for whatever is not surely
    one name: `..`, deeper paths, control characters, hidden names, anything beyond ASCII.
    """
    if _FOLDER.fullmatch(path):
        return None
    name = path.removeprefix(b"/").removeprefix(b"./")
    if b"/" in name or b"\\" in name:
        raise Refused("there are no folders here")
    if len(name) > LONGEST_NAME:
        raise Refused(f"a file's name has at most {LONGEST_NAME} characters")
    if _NAME.fullmatch(name) is None:
        raise Refused(
            "a file's name consists of English letters, digits, blanks and . _ - ( ), and begins "
            "with a letter, a digit, _ or ("
        )
    return name.decode("ascii")


class Folder:
    """A district's open folder. Its methods block as a local disk does; `Upload.copy` takes longer
    and may run in a thread, everything else belongs to one thread."""

    def __init__(self, landing: Path, district_id: str, limits: FolderLimits) -> None:
        """Open the folder of a district, which is made if need be."""
        self.limits = limits
        with suppress(FileExistsError):
            (landing / district_id).mkdir(mode=0o700, parents=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(landing / district_id, flags)
        self._uploads: set[Upload] = set()
        self._remove_left_overs()
        self._measure()

    def close(self) -> None:
        """Give the descriptor back. What is still being uploaded is abandoned."""
        for upload in list(self._uploads):
            upload.abandon()
        os.close(self._descriptor)

    def entries(self) -> list[Entry]:
        """The files, by name."""
        names = sorted(name for name in self._names() if _NAME.fullmatch(os.fsencode(name)))
        found = (self._look(name) for name in names)
        return [entry for entry in found if entry]

    def entry(self, name: str) -> Entry:
        """The file of a name. Raises FileNotFoundError."""
        if entry := self._look(name):
            return entry
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def modified(self) -> float:
        """When a file last came or went."""
        return os.fstat(self._descriptor).st_mtime

    def download(self, name: str) -> Download:
        """Open a file to read. Raises FileNotFoundError."""
        self.entry(name)
        return Download(self._open_file(name))

    def upload(
        self, name: str, *, create: bool, empty: bool, new: bool = False, append: bool = False
    ) -> Upload:
        """Begin to write a file. create: it need not be there. empty: what is there is replaced,
        otherwise written on, and then `Upload.copy` must be called before anything else. new: it
        must not be there. append: every piece goes to the end, whatever offset it names.

        Raises FileNotFoundError, FileExistsError, Refused, OSError (ENOSPC, EDQUOT).
        """
        there = self._look(name)
        if there is None:
            if self._is_taken(name):
                raise Refused("that name is taken")
            if not create:
                self.entry(name)
            names = {e.name for e in self.entries()} | {u.name for u in self._uploads}
            if name not in names and len(names) >= self.limits.files:
                raise Refused(f"there are {self.limits.files} files already, which is the limit")
        elif new:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._measure()
        copied = there if there and not empty else None
        self.admit(copied.size if copied else 0)
        return Upload(self, name, append=append, base=self._open_file(name) if copied else None)

    def remove(self, name: str) -> Entry:
        """Delete a file; returns what it was. Raises FileNotFoundError."""
        entry = self.entry(name)
        os.unlink(name, dir_fd=self._descriptor)
        self._measure()
        return entry

    def rename(self, old: str, new: str) -> Entry:
        """Give a file another name, in the place of a file that has it; returns what it is now.

        Raises FileNotFoundError, and Refused when something else has the name.
        """
        self.entry(old)
        if self._look(new) is None and self._is_taken(new):
            raise Refused("that name is taken")
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        self._measure()
        return self.entry(new)

    def admit(self, more: int) -> None:
        """Raise OSError unless there is room for so many bytes more: in the folder (with what is
        being uploaded now) and on the disk."""
        if self._published + sum(u.size for u in self._uploads) + more > self.limits.folder_bytes:
            raise OSError(errno.EDQUOT, "the folder is full; delete files that are not needed")
        disk = os.fstatvfs(self._descriptor)
        if disk.f_bavail * disk.f_frsize - more < self.limits.free_bytes:
            raise OSError(errno.ENOSPC, "the server's disk is full; tell its operator")

    def _names(self) -> list[str]:
        with os.scandir(self._descriptor) as found:
            return [entry.name for entry in found]

    def _look(self, name: str) -> Entry | None:
        try:
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Entry(name, found.st_size, found.st_mtime) if _is_ours(found) else None

    def _is_taken(self, name: str) -> bool:
        """Whether anything, be it no file of ours, stands under the name."""
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _open_file(self, name: str) -> int:
        # Looked at again when open, since it may be another by then; without waiting for a pipe.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        if _is_ours(os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _measure(self) -> None:
        self._published = sum(entry.size for entry in self.entries())

    def _remove_left_overs(self) -> None:
        """Delete the uploads of a server that was killed: those that nobody holds the lock of."""
        for name in self._names():
            if not name.startswith(_HIDDEN):
                continue
            with suppress(OSError):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(name, dir_fd=self._descriptor)
                finally:
                    os.close(descriptor)


class Download:
    """A file open for reading; it keeps its content when another takes its name."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there; none at the end."""
        return _read(self._descriptor, offset, size)

    def entry(self) -> Entry:
        """Its size and time; the name is not known here."""
        found = os.fstat(self._descriptor)
        return Entry("", found.st_size, found.st_mtime)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class Upload:
    """A file being written. name: what it is to be called. size: bytes so far."""

    def __init__(self, folder: Folder, name: str, *, append: bool, base: int | None) -> None:
        self.name = name
        self.size = 0 if base is None else os.fstat(base).st_size
        self._folder = folder
        self._append = append
        self._base = base
        self._changed = base is None
        self._whole = self.size  # up to here nothing is missing
        self._ahead: dict[int, int] = {}  # what came beyond that: from, to
        self._hidden = f"{_HIDDEN}{secrets.token_hex(8)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._hidden, flags, 0o600, dir_fd=folder._descriptor)
        except OSError:
            if base is not None:
                os.close(base)
            raise
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder._uploads.add(self)

    def copy(self) -> None:
        """Take over what the file holds that is to be written on. Takes as long as its size asks
        for, so not to be called on an event loop."""
        if self._base is None:
            return
        done = 0
        while done < self.size and (chunk := os.pread(self._base, _CHUNK, done)):
            _write(self._descriptor, chunk, done)
            done += len(chunk)
        os.close(self._base)
        self._base = None

    def write(self, offset: int, data: bytes) -> None:
        """Write a piece. Raises Refused for one that leaves a gap or makes the file too large,
        OSError (ENOSPC, EDQUOT) where there is no room."""
        limits = self._folder.limits
        if self._append:
            offset = self.size
        ahead = offset - self._whole
        if ahead > limits.ahead_bytes or (ahead > 0 and len(self._ahead) >= _MOST_GAPS):
            raise Refused("a file is written from its beginning to its end, without gaps")
        end = offset + len(data)
        if end > limits.file_bytes:
            raise Refused(f"a file has at most {limits.file_bytes >> 20} MB")
        if end > self.size:
            self._folder.admit(end - self.size)
        _write(self._descriptor, data, offset)
        self._changed = True
        self.size = max(self.size, end)
        if ahead > 0:
            self._ahead[offset] = max(end, self._ahead.get(offset, 0))
            return
        self._whole = max(self._whole, end)
        while self._ahead and (first := min(self._ahead)) <= self._whole:
            self._whole = max(self._whole, self._ahead.pop(first))

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there; none at the end."""
        return _read(self._descriptor, offset, size)

    def cut(self, size: int) -> None:
        """Shorten it. Raises Refused when that would lengthen it."""
        if size > self.size or self._ahead:
            raise Refused("a file grows by writing only")
        if size < self.size:
            os.ftruncate(self._descriptor, size)
            self.size = self._whole = size
            self._changed = True

    def sync(self) -> None:
        """Have the disk hold what was written. Takes long, so not to be called on an event loop."""
        os.fsync(self._descriptor)

    def entry(self) -> Entry:
        """What there is so far."""
        return Entry(self.name, self.size, os.fstat(self._descriptor).st_mtime)

    def publish(self) -> int | None:
        """End it and give it its name, in the place of a file that has it.

        Returns a descriptor of the new file, to be closed by the caller, None when it was opened to
        be written on and nothing was written. Raises Refused when a piece is missing.
        """
        if not self._changed:
            self.abandon()
            return None
        if self._ahead:
            self.abandon()
            raise Refused("a piece of the file is missing")
        try:
            directory = self._folder._descriptor
            os.rename(self._hidden, self.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            self.abandon()
            raise
        self._folder._uploads.discard(self)
        self._folder._measure()
        return self._descriptor

    def abandon(self) -> None:
        """End it without the client's word that it is complete."""
        if self not in self._folder._uploads:
            return
        self._folder._uploads.discard(self)
        if self._base is not None:
            os.close(self._base)
        directory = self._folder._descriptor
        with suppress(OSError):
            if UNFINISHED.search(self.name) and self._changed and self._base is None:
                os.ftruncate(self._descriptor, self._whole)
                os.rename(self._hidden, self.name, src_dir_fd=directory, dst_dir_fd=directory)
                self._folder._measure()
            else:
                os.unlink(self._hidden, dir_fd=directory)
        os.close(self._descriptor)


def _is_ours(found: os.stat_result) -> bool:
    """A regular file that has no other name, which may lie anywhere."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _read(descriptor: int, offset: int, size: int) -> bytes:
    if offset >= os.fstat(descriptor).st_size:  # also what is no offset for the system
        return b""
    return os.pread(descriptor, size, offset)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
