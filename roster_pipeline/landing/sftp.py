"""What a logged-in client of the landing zone may ask for: SFTP version 3, in a flat folder.

Each layer lets through what is listed and refuses the rest, so that what a newer asyncssh may know
more is refused too:

- `Channel` and `Session`: the subsystem sftp; no shell, no command, no SCP, no environment.
- `Protocol`: the requests that are served; no locks, no copying on the server, nothing sparse.
- `Operations`: what they do, all by `Folder`; no links, no folders. It does not inherit asyncssh's
  own, which would reach the file system.

Clients differ in what they do around an upload, and all of it is answered: modes and times they set
are taken and forgotten (the time of arrival is what counts here), a rename replaces what has the
name, a file may be written on. An upload is published when the client closes its file. What
asyncssh closes by itself, since the connection is gone, is not (`Operations.close`).
"""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast
from typing import Protocol as Interface

import asyncssh
from asyncssh.channel import SSHServerChannel
from asyncssh.constants import (
    FXF_APPEND,
    FXF_CREAT,
    FXF_EXCL,
    FXF_TRUNC,
    FXF_WRITE,
    FXP_CLOSE,
    FXP_FSETSTAT,
    FXP_FSTAT,
    FXP_LINK,
    FXP_LSTAT,
    FXP_MKDIR,
    FXP_OPEN,
    FXP_OPENDIR,
    FXP_READ,
    FXP_READDIR,
    FXP_READLINK,
    FXP_REALPATH,
    FXP_REMOVE,
    FXP_RENAME,
    FXP_RMDIR,
    FXP_SETSTAT,
    FXP_STAT,
    FXP_SYMLINK,
    FXP_WRITE,
)
from asyncssh.packet import SSHPacket
from asyncssh.sftp import SFTPLimits, SFTPServerHandler
from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

from roster_pipeline.landing.folder import (
    Download,
    Entry,
    Folder,
    Refused,
    Upload,
    plain_name,
)
from roster_pipeline.landing.log import Action, shown

_WINDOW = 4 << 20
_LARGEST_PACKET = 128 << 10
_LARGEST_READ = 256 << 10
_LARGEST_REQUEST = 256 << 10
_FILE = stat.S_IFREG | 0o600
_DIRECTORY = stat.S_IFDIR | 0o700
_HALF_A_YEAR = 182 * 86400.0


class Visit(Interface):
    """What a session needs of the server.

    folder: the district's. handles: how many files and listings may be open at once.
    """

    folder: Folder
    handles: int

    def note(self, action: Action, detail: str | None = None, **of_file: Any) -> None:
        """Tell the log what happened, of which file (file, size)."""

    def uploaded(self, entry: Entry, descriptor: int) -> None:
        """Tell the log of an upload, with the hash of what the descriptor leads to; closes it."""

    async def in_thread(self, work: Callable[[], None]) -> None:
        """Do what takes long, off the loop."""

    async def may_answer(self) -> None:
        """Wait until the client has taken enough of what was answered."""

    def leave(self) -> None:
        """The session is over."""


class Channel(SSHServerChannel[bytes]):
    """A channel on which nothing can be asked for but a subsystem."""

    _tell: Callable[[str], None]

    @classmethod
    def of(cls, conn: asyncssh.SSHServerConnection, tell: Callable[[str], None]) -> Channel:
        """A channel of a connection. tell: is told of each request that is refused."""
        conn._update_recv_pktlen(_LARGEST_PACKET)
        channel = cls(
            conn,
            asyncio.get_running_loop(),
            allow_pty=False,
            line_editor=False,
            line_echo=False,
            line_history=0,
            max_line_length=0,
            encoding=None,
            errors="strict",
            window=_WINDOW,
            max_pktsize=_LARGEST_PACKET,
        )
        channel._tell = tell
        return channel

    def _service_next_request(self) -> None:
        request = self._request_queue[0][0]
        if request == "subsystem":
            super()._service_next_request()
        else:
            # OpenSSH offers the language of its user unasked; nothing is wrong with who does.
            if request != "env":
                self._tell(f"a session is for SFTP only, not for {shown(request)}")
            self._report_response(False)


class Session(SSHServerStreamSession[bytes]):
    """What a channel is used for: the subsystem sftp."""

    def __init__(self, visit: Callable[[], Visit | None], left: Callable[[], None]) -> None:
        """visit: begins what the session does; None when it cannot. left: called when the channel
        is closed."""
        super().__init__(None)
        self._visit = visit
        self._left = left

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        super().connection_lost(exc)

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        assert self._chan is not None and self._conn is not None
        reader, writer = SSHReader[bytes](self, self._chan), SSHWriter[bytes](self, self._chan)
        if visit := self._visit():
            protocol = Protocol(Operations(visit), reader, writer)
            self._conn.create_task(protocol.run(), reader.logger)


class Protocol(SFTPServerHandler):
    """The requests that are served. What is not among them is refused before anything is done."""

    _extensions = [  # noqa: RUF012
        (b"posix-rename@openssh.com", b"1"),
        (b"fsync@openssh.com", b"1"),
        (b"lsetstat@openssh.com", b"1"),
        (b"limits@openssh.com", b"1"),
    ]

    def __init__(
        self, operations: Operations, reader: SSHReader[bytes], writer: SSHWriter[bytes]
    ) -> None:
        super().__init__(operations, reader, writer, sftp_version=3)  # type: ignore[arg-type]
        self._operations = operations

    async def _process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        await super()._process_packet(pkttype, pktid, packet)
        # Not to be asked for more than is taken: what is answered would pile up here.
        if self._writer is not None:
            await self._writer.drain()
            await self._operations.visit.may_answer()

    async def _process_open(self, packet: SSHPacket) -> bytes:
        self._check_handles()
        return await super()._process_open(packet)

    async def _process_opendir(self, packet: SSHPacket) -> bytes:
        self._check_handles()
        return await super()._process_opendir(packet)

    async def _process_close(self, packet: SSHPacket) -> None:
        # The client itself says that the file is complete.
        handle = packet.get_string()
        packet.check_end()
        file = self._file_handles.pop(handle, None)
        if file is not None:
            await self._operations.complete(cast(Download | Upload, file))
        elif self._dir_handles.pop(handle, None) is None:
            raise asyncssh.SFTPInvalidHandle("Invalid file handle")

    async def _process_limits(self, packet: SSHPacket) -> SFTPLimits:
        packet.check_end()
        handles = self._operations.visit.handles
        return SFTPLimits(_LARGEST_REQUEST + 1024, _LARGEST_READ, _LARGEST_REQUEST, handles)

    def _check_handles(self) -> None:
        if len(self._file_handles) + len(self._dir_handles) >= self._operations.visit.handles:
            raise asyncssh.SFTPFailure("Too many files are open at once")

    _packet_handlers: dict[int | bytes, Any] = {  # noqa: RUF012
        FXP_OPEN: _process_open,
        FXP_CLOSE: _process_close,
        FXP_OPENDIR: _process_opendir,
        b"limits@openssh.com": _process_limits,
        **{
            request: SFTPServerHandler._packet_handlers[request]
            for request in (
                FXP_READ,
                FXP_WRITE,
                FXP_LSTAT,
                FXP_FSTAT,
                FXP_SETSTAT,
                FXP_FSETSTAT,
                FXP_READDIR,
                FXP_REMOVE,
                FXP_MKDIR,
                FXP_RMDIR,
                FXP_REALPATH,
                FXP_STAT,
                FXP_RENAME,
                FXP_READLINK,
                FXP_SYMLINK,
                FXP_LINK,
                b"posix-rename@openssh.com",
                b"hardlink@openssh.com",
                b"fsync@openssh.com",
                b"lsetstat@openssh.com",
            )
        },
    }


class Operations:
    """What the requests of one SFTP session do; called by asyncssh in the place of its SFTPServer.

    Every operation that asyncssh knows is here, to be done by the district's folder or refused.
    """

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self._folder = visit.folder

    def exit(self) -> None:
        """The session is over; asyncssh has closed what was open."""
        self.visit.leave()

    # One file

    async def open(self, path: bytes, pflags: int, attrs: object) -> Download | Upload:
        """Open a file: to read, to write anew, or to write on."""
        with self._answering(path):
            name = self._name(path)
            if not pflags & FXF_WRITE:
                if pflags & (FXF_CREAT | FXF_TRUNC | FXF_APPEND):
                    raise Refused("a file that is made or cut must be opened for writing")
                return self._folder.download(name)
            upload = self._folder.upload(
                name,
                create=bool(pflags & FXF_CREAT),
                empty=bool(pflags & FXF_TRUNC),
                new=bool(pflags & FXF_EXCL),
                append=bool(pflags & FXF_APPEND),
            )
            try:
                await self.visit.in_thread(upload.copy)
            except BaseException:
                upload.abandon()
                raise
            return upload

    async def complete(self, file: Download | Upload) -> None:
        """The client itself closes a file."""
        if isinstance(file, Download):
            file.close()
            return
        with self._answering(file.name):
            descriptor = file.publish()
            if descriptor is not None:
                self.visit.uploaded(self._folder.entry(file.name), descriptor)

    def close(self, file: Download | Upload) -> None:
        """The connection is gone, and asyncssh closes a file by itself."""
        if isinstance(file, Upload):
            file.abandon()
        else:
            file.close()

    def read(self, file: Download | Upload, offset: int, size: int) -> bytes:
        """A piece of a file, which may be shorter than asked for."""
        return file.read(offset, min(size, _LARGEST_READ))

    def write(self, file: Download | Upload, offset: int, data: bytes) -> int:
        """Write a piece of a file."""
        with self._answering(_upload(file).name):
            _upload(file).write(offset, data)
        return len(data)

    def fstat(self, file: Download | Upload) -> asyncssh.SFTPAttrs:
        """The size and time of an open file."""
        return _attributes(file.entry())

    def fsetstat(self, file: Download | Upload, attrs: asyncssh.SFTPAttrs) -> None:
        """Cut an open file; whatever else is to be set is taken and forgotten."""
        if attrs.size is not None:
            with self._answering(_upload(file).name):
                _upload(file).cut(attrs.size)

    async def fsync(self, file: Download | Upload) -> None:
        """Have the disk hold what was written."""
        await self.visit.in_thread(_upload(file).sync)

    # The folder

    def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """The folder's files."""
        with self._answering(path):
            if plain_name(path) is not None:
                raise Refused("there are no folders here")
            return _listing(self._folder.entries())

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """The size and time of a file, or the folder."""
        with self._answering(path):
            name = plain_name(path)
            if name is not None:
                return _attributes(self._folder.entry(name))
            moment = int(self._folder.modified())
            return asyncssh.SFTPAttrs(size=0, permissions=_DIRECTORY, atime=moment, mtime=moment)

    lstat = stat

    def realpath(self, path: bytes) -> bytes:
        """A path as we show it."""
        with self._answering(path):
            return f"/{plain_name(path) or ''}".encode("ascii")

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Taken and forgotten: modes and times mean nothing here."""
        with self._answering(path):
            plain_name(path)
            if attrs.size is not None:
                raise Refused("a file is cut only while it is open")

    lsetstat = setstat

    def remove(self, path: bytes) -> None:
        """Delete a file."""
        with self._answering(path):
            entry = self._folder.remove(self._name(path))
            self.visit.note(Action.deletion, file=entry.name, size=entry.size)

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Give a file another name. One that has it is replaced: clients that upload under a name
        of their own first expect it."""
        with self._answering(oldpath):
            old, new = self._name(oldpath), self._name(newpath)
            entry = self._folder.rename(old, new)
            self.visit.note(Action.rename, f"was {old}", file=entry.name, size=entry.size)

    posix_rename = rename

    # What there is not

    def mkdir(self, path: bytes, attrs: object) -> None:
        """Refused."""
        self._refuse(path, "there are no folders here")

    def rmdir(self, path: bytes) -> None:
        """Refused."""
        self._refuse(path, "there are no folders here")

    def readlink(self, path: bytes) -> bytes:
        """Refused."""
        self._refuse(path, "there are no links here")

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """Refused."""
        self._refuse(newpath, "there are no links here")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        """Refused."""
        self._refuse(newpath, "there are no links here")

    def __getattr__(self, name: str) -> Any:
        """Refused: whatever else a version of asyncssh may call."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_: self._refuse(name, "there is no such operation here")

    def _name(self, path: bytes) -> str:
        name = plain_name(path)
        if name is None:
            raise Refused("that is the folder itself")
        return name

    def _refuse(self, name: str | bytes, reason: str) -> NoReturn:
        with self._answering(name):
            raise Refused(reason)
        raise AssertionError

    @contextmanager
    def _answering(self, name: str | bytes) -> Iterator[None]:
        """Answer in SFTP's terms, and tell the log of what was refused."""
        try:
            yield
        except Refused as refused:
            self.visit.note(Action.refused, str(refused), file=shown(name))
            raise asyncssh.SFTPPermissionDenied(f"Refused: {refused}") from None
        except FileNotFoundError:
            raise asyncssh.SFTPNoSuchFile("No such file") from None
        except OSError as error:
            reason = error.strerror or "the server cannot do that now"
            self.visit.note(Action.refused, reason, file=shown(name))
            raise asyncssh.SFTPFailure(reason) from None


async def _listing(entries: list[Entry]) -> AsyncIterator[asyncssh.SFTPName]:
    for entry in entries:
        # As `ls -l` prints it, which some clients read: old files without the time of day.
        shape = "%b %d %H:%M" if time.time() - entry.modified < _HALF_A_YEAR else "%b %d  %Y"
        moment = time.strftime(shape, time.gmtime(entry.modified))
        longname = (
            f"{stat.filemode(_FILE)} 1 district district {entry.size:>12} {moment} {entry.name}"
        )
        yield asyncssh.SFTPName(entry.name.encode(), longname.encode(), attrs=_attributes(entry))


def _attributes(entry: Entry) -> asyncssh.SFTPAttrs:
    moment = int(entry.modified)
    return asyncssh.SFTPAttrs(size=entry.size, permissions=_FILE, atime=moment, mtime=moment)


def _upload(file: Download | Upload) -> Upload:
    if isinstance(file, Upload):
        return file
    raise asyncssh.SFTPPermissionDenied("Not open for writing")
