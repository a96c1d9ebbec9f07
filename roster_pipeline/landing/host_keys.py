"""The landing zone's host keys, by which clients know the server: made once, then kept.

Each is a file of its own in `keys/`, private to its owner, with the public half beside it. Two
servers that start at once agree on the same keys.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import asyncssh

ALGORITHMS = {"ed25519": "ssh-ed25519", "ecdsa": "ecdsa-sha2-nistp256"}
"""The keys, by the name in their file's. The second is for clients bound to NIST's curves."""


def host_keys(folder: Path) -> list[asyncssh.SSHKey]:
    """The host keys in `folder`, made if they are not there."""
    return [_host_key(folder / f"landing_{name}", kind) for name, kind in ALGORITHMS.items()]


def public_line(key: asyncssh.SSHKey) -> str:
    """A host key's public half as in known_hosts, without the host."""
    return key.export_public_key("openssh").decode("ascii").strip()


def fingerprint(line: str) -> str:
    """A host key's fingerprint, as clients show it when they ask whether it is the right one."""
    return asyncssh.import_public_key(line).get_fingerprint("sha256")


def _host_key(path: Path, kind: str) -> asyncssh.SSHKey:
    if not path.exists():
        _make_key(path, kind)
    key = asyncssh.read_private_key(path)
    public = path.with_suffix(".pub")
    if not public.exists():
        public.write_text(f"{public_line(key)}\n", encoding="ascii")
    return key


def _make_key(path: Path, kind: str) -> None:
    """Make a key. It gets its name when it is complete; who comes second takes the first one's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(asyncssh.generate_private_key(kind).export_private_key("openssh"))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(beside)
    finally:
        beside.unlink()
