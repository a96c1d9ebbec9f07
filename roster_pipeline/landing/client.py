"""The client side of SFTP, by paramiko: our own landing zone's, and servers of the districts' own.

A server is known by its pinned host key, and nothing is said to one that is not it. Whatever goes
wrong is a RemoteError whose text is a sentence for people; `transient` says whether it may be gone
at the next try. A failed read is never an empty landing zone.

Nothing of the machine is looked at: no agent, no known_hosts, no keys in a home.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import posixpath
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from paramiko.ssh_exception import BadAuthenticationType, IncompatiblePeer

from roster_pipeline.districts.sections import ForeignServer
from roster_pipeline.landing.arrival import SeenFile

LOGIN_S = 20.0
"""From the first packet to a session that can be asked."""
ANSWER_S = 30.0
"""How long a session may be silent when it was asked something."""
STEP = 2 << 20
"""Bytes that are asked for at once: as many as paramiko's window holds; more is slower."""
LARGEST_FILE = 4 << 30
"""Bytes: no delivery may be larger, and a disk is not to be filled by one."""

_FAMILIES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""Algorithms by which a server proves who it is, by the type of its key."""

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_DIGESTS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
"""Of what paramiko can, what is safe (no CBC, no SHA-1, no MD5), the fastest first."""

# What it logs as an error it raises too; we tell that in plain words.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class RemoteError(Exception):
    """Something could not be done on a server. transient: it may be possible at the next try."""

    transient = False


class Unreachable(RemoteError):
    """The server was not there, did not answer in time, or ended the connection."""

    transient = True


class LoginRefused(RemoteError):
    """The server does not let us in."""


class HostKeyChanged(RemoteError):
    """The server proved to be another than the one that was pinned."""


class IncompatibleServer(RemoteError):
    """The server speaks no SSH that we do."""


class RemoteFileMissing(RemoteError):
    """The file or folder is not there."""


class RemoteFileChanged(RemoteError):
    """The file was changed while it was read: its upload is going on."""

    transient = True


class RemoteRefused(RemoteError):
    """The server refused what was asked, or we what it sent."""


class EndpointError(RemoteError):
    """What is configured cannot be used: a variable that is not set, a key that cannot be read."""


@dataclass(frozen=True)
class Endpoint:
    """A server, and as whom we log in there, by password or by private key.

    host_key: an OpenSSH public key, or a fingerprint `SHA256:…`. path: the folder of the files.
    """

    host: str
    port: int
    username: str
    host_key: str
    path: str = "."
    password: str | None = field(default=None, repr=False)
    private_key: paramiko.PKey | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def endpoint_of(server: ForeignServer, env: Mapping[str, str] = os.environ) -> Endpoint:
    """A district's own server, with the secret that its settings name. Raises EndpointError."""
    password = private_key = None
    if server.private_key_file is not None:
        private_key = read_private_key(server.private_key_file)
    else:
        password = env.get(server.password_env or "")
        if not password:
            raise EndpointError(
                f"The variable {server.password_env}, which is to hold the password for "
                f"{server.username} at {server.host}, is not set. Set it for this process, or name "
                "another one in password_env."
            )
    return Endpoint(
        server.host,
        server.port,
        server.username,
        server.host_key,
        server.path,
        password,
        private_key,
    )


def read_private_key(file: str | Path) -> paramiko.PKey:
    """The private key in a file, as ssh-keygen, PuTTYgen («Export OpenSSH key») or openssl writes
    it, without a passphrase. Raises EndpointError."""
    path = Path(file).expanduser()
    if not path.is_absolute():
        raise EndpointError(f"The private key file {path} must be given by its absolute path.")
    try:
        return parse_private_key(path.read_bytes())
    except OSError as error:
        raise EndpointError(
            f"The private key file {path} cannot be read: {error.strerror or error}."
        ) from error
    except TypeError as error:
        raise EndpointError(
            f"The private key in {path} has a passphrase, and nobody is there to type it. Use one "
            "without: ssh-keygen -p -N '' -f FILE"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EndpointError(
            f"The file {path} holds no private key we can use; make one with ssh-keygen -t ed25519."
        ) from error


def parse_private_key(content: bytes) -> paramiko.PKey:
    """A private key in OpenSSH's form or PEM. Raises TypeError when it has a passphrase, ValueError
    or UnsupportedAlgorithm when it is none that we can use."""
    try:
        key = load_ssh_private_key(content, None)
    except ValueError:
        key = load_pem_private_key(content, None)  # type: ignore[assignment]
    for kind, made in (
        (RSAPrivateKey, paramiko.RSAKey),
        (EllipticCurvePrivateKey, paramiko.ECDSAKey),
        (Ed25519PrivateKey, paramiko.Ed25519Key),
    ):
        if isinstance(key, kind):
            # Of the forms there are, paramiko itself reads this one, whoever wrote it.
            text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
            return made.from_private_key(io.StringIO(text))
    raise ValueError("not a type of key that we can use")


@contextmanager
def connect(
    endpoint: Endpoint, *, login_s: float = LOGIN_S, answer_s: float = ANSWER_S
) -> Iterator[Remote]:
    """A session in a server's folder. Raises RemoteError, `login_s` seconds from now at the latest
    (but for the name's look-up, which takes the system's own time)."""
    deadline = time.monotonic() + login_s
    transport = _verified(endpoint, deadline)
    try:
        with _in_time(endpoint, transport, deadline):
            _authenticate(endpoint, transport)
            client = _sftp(endpoint, transport, answer_s)
        yield Remote(endpoint, transport, client)
    finally:
        transport.close()


class Remote:
    """A session in a server's folder. Files are named as they are in it."""

    def __init__(
        self, endpoint: Endpoint, transport: paramiko.Transport, client: paramiko.SFTPClient
    ) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._client = client

    def list_files(self) -> list[SeenFile]:
        """The plain files in the folder, by name; no links, no folders, nothing hidden. A size or
        time that the server does not tell is 0. Raises RemoteError."""
        with self._asking("list the folder", self._endpoint.path):
            entries = self._client.listdir_attr(self._endpoint.path)
        seen = []
        for entry in entries:
            name = entry.filename
            if name.startswith(".") or "/" in name:
                continue
            told = entry
            if None in (entry.st_mode, entry.st_size, entry.st_mtime):
                with self._asking("look at", name):
                    told = self._client.lstat(self._path(name))
            if told.st_mode is None:
                plain = not (entry.longname or "-").startswith(("d", "l"))
            else:
                plain = stat.S_ISREG(told.st_mode)
            if plain:
                seen.append(SeenFile(name, told.st_size or 0, float(told.st_mtime or 0)))
        return sorted(seen, key=lambda file: file.name)

    def fetch(self, name: str, target: Path) -> str:
        """Copy a file to `target`, private to its owner, and return its sha256. A copy that is not
        complete has another name and is removed. Raises RemoteError."""
        size, modified = self._size_and_time(name)
        digest = hashlib.sha256()
        descriptor, beside = tempfile.mkstemp(prefix=".arriving-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for block in self._blocks(name, size):
                    digest.update(block)
                    file.write(block)
            if self._size_and_time(name) != (size, modified) or Path(beside).stat().st_size != size:
                raise RemoteFileChanged(
                    f"{name} on {self._endpoint} was changed while it was read: its upload is "
                    "going on. It is taken when it is complete."
                )
            Path(beside).replace(target)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
        return digest.hexdigest()

    def put(self, source: Path, name: str) -> None:
        """Copy a file to the server. Raises RemoteError."""
        with source.open("rb") as file, self._asking("write", name):
            self._client.putfo(file, self._path(name))

    def remove(self, name: str) -> None:
        """Delete a file on the server. Raises RemoteError."""
        with self._asking("delete", name):
            self._client.remove(self._path(name))

    def _path(self, name: str) -> str:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"{name!r} is no name of a file in a folder")
        return posixpath.join(self._endpoint.path, name)

    def _size_and_time(self, name: str) -> tuple[int, int | None]:
        with self._asking("look at", name):
            told = self._client.stat(self._path(name))
        if told.st_size is None or told.st_size > LARGEST_FILE:
            raise RemoteRefused(
                f"{name} on {self._endpoint} has {told.st_size or 'an unknown number of'} bytes; "
                f"at most {LARGEST_FILE} are taken."
            )
        return told.st_size, told.st_mtime

    def _blocks(self, name: str, size: int) -> Iterator[bytes]:
        """The first `size` bytes of a file, or fewer if it has fewer by now. Never more than a
        step is under way, whatever size the server claims."""
        with self._asking("read", name), self._client.open(self._path(name), "rb") as file:
            for start in range(0, size, STEP):
                length = min(STEP, size - start)
                (block,) = file.readv([(start, length)])
                yield block
                if len(block) < length:
                    return

    @contextmanager
    def _asking(self, what: str, name: str) -> Iterator[None]:
        """Tell in plain words why something could not be done."""
        try:
            yield
        except FileNotFoundError as error:
            raise RemoteFileMissing(
                f"{name} is not on {self._endpoint}. Has it been moved, or is `path` wrong?"
            ) from error
        except PermissionError as error:
            raise RemoteRefused(
                f"{self._endpoint} does not let {self._endpoint.username} {what} {name}. Ask its "
                "administrator for the right."
            ) from error
        except UnicodeDecodeError as error:
            raise RemoteRefused(
                f"The folder {self._endpoint.path} on {self._endpoint} holds a file whose name is "
                "not in UTF-8. Rename it."
            ) from error
        except TimeoutError as error:
            raise Unreachable(
                f"{self._endpoint} stopped answering. It is tried again later."
            ) from error
        except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError) as error:
            if isinstance(error, OSError) and self._transport.is_active():
                raise RemoteRefused(
                    f"{self._endpoint} does not {what} {name}; it says {str(error)!r}."
                ) from error
            raise Unreachable(
                f"{self._endpoint} ended the connection. It is tried again later."
            ) from error


def fingerprint_of(host_key: str) -> str:
    """A pinned host key's fingerprint: `SHA256:…`."""
    if host_key.startswith("SHA256:"):
        return host_key.rstrip("=")
    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _families(host_key: str) -> list[tuple[str, ...]]:
    """By which algorithms to ask a server for the pinned key; in turn, where a fingerprint does
    not tell the type: a server has a key of each."""
    kind = host_key.split()[0].replace("ssh-rsa", "rsa-sha2-512")
    return [f for f in _FAMILIES if kind in f] or list(_FAMILIES)


def _verified(endpoint: Endpoint, deadline: float) -> paramiko.Transport:
    """A connection to the server that the pinned key says it is, nobody logged in yet."""
    expected = fingerprint_of(endpoint.host_key)
    found = []
    for family in _families(endpoint.host_key):
        transport = _open(endpoint, deadline)
        try:
            options = transport.get_security_options()
            options.key_types, options.ciphers, options.digests = family, _CIPHERS, _DIGESTS
            with _in_time(endpoint, transport, deadline):
                transport.start_client()
            found.append(transport.get_remote_server_key().fingerprint)
            if found[-1] == expected:
                return transport
        except IncompatiblePeer as error:
            if "host key" not in str(error):
                raise IncompatibleServer(
                    f"{endpoint} offers no encryption that is safe enough ({error}). Its "
                    "administrator must update it."
                ) from error
        except BaseException:
            transport.close()
            raise
        transport.close()
    raise HostKeyChanged(
        f"{endpoint} is not the server it was: its host key should be {expected}, but it has "
        f"{' and '.join(found) or 'none of that type'}. Nothing was sent. Ask its administrator "
        "whether the key was changed, by telephone, and only then write the new one into host_key."
    )


def _open(endpoint: Endpoint, deadline: float) -> paramiko.Transport:
    try:
        seconds = max(0.1, deadline - time.monotonic())
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout=seconds)
    except socket.gaierror as error:
        raise Unreachable(
            f"There is no server {endpoint.host} (its name has no address). Is it spelt right?"
        ) from error
    except ConnectionRefusedError as error:
        raise Unreachable(
            f"{endpoint} refuses connections. Is the server running, and is the port right?"
        ) from error
    except TimeoutError as error:
        raise _late(endpoint) from error
    except OSError as error:
        raise Unreachable(
            f"{endpoint} cannot be reached: {error.strerror or error}. It is tried again later."
        ) from error
    # Without it each request for data waits for the answer to the one before: a tenth of the speed.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock)
    # The time is kept by `_in_time`, over all of them together.
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = seconds + 1
    return transport


@contextmanager
def _in_time(endpoint: Endpoint, transport: paramiko.Transport, deadline: float) -> Iterator[None]:
    """Close the connection at the deadline, whatever paramiko waits for; what becomes of that, or
    of a connection that broke, is Unreachable."""
    late = threading.Event()

    def close() -> None:
        late.set()
        transport.close()

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), close)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (RemoteError, IncompatiblePeer):
        raise
    except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise _late(endpoint) from error
        if not transport.remote_version:
            raise Unreachable(
                f"{endpoint} does not answer as an SSH server. Is the port right? (One that is "
                "busy or has blocked us may do so, too.)"
            ) from error
        raise Unreachable(
            f"{endpoint} ended the connection before the login was done. It is tried again later."
        ) from error
    finally:
        timer.cancel()


def _late(endpoint: Endpoint) -> Unreachable:
    return Unreachable(
        f"{endpoint} did not answer in time. Is it running, and does a firewall let us through?"
    )


def _sftp(
    endpoint: Endpoint, transport: paramiko.Transport, answer_s: float
) -> paramiko.SFTPClient:
    try:
        channel = transport.open_session()
        channel.settimeout(answer_s)
        channel.invoke_subsystem("sftp")
        return paramiko.SFTPClient(channel)
    except (paramiko.SSHException, paramiko.SFTPError) as error:
        if not transport.is_active():
            raise
        raise RemoteRefused(
            f"{endpoint} lets {endpoint.username} log in, but offers no SFTP. Ask its "
            "administrator for it."
        ) from error


def _authenticate(endpoint: Endpoint, transport: paramiko.Transport) -> None:
    what = "password" if endpoint.private_key is None else "key"
    try:
        if endpoint.private_key is None:
            missing = transport.auth_password(endpoint.username, endpoint.password or "")
        else:
            missing = transport.auth_publickey(endpoint.username, endpoint.private_key)
    except BadAuthenticationType as error:
        raise LoginRefused(
            f"{endpoint} takes no login by {what}, only by {' or '.join(error.allowed_types)}."
        ) from error
    except paramiko.AuthenticationException as error:
        if not transport.is_active():
            raise
        raise LoginRefused(
            f"{endpoint} refuses the user name {endpoint.username} with this {what}. Check both "
            "with its administrator."
        ) from error
    if missing:
        raise LoginRefused(
            f"{endpoint} wants more than the {what}: {' and '.join(missing)}. An account for "
            "programs must do without."
        )
