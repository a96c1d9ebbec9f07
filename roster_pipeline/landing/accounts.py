"""Who may log in to the landing zone: one account a district, with a password, public keys or both.

Kept in the warehouse, so that the server sees a change at once. A password is kept as its argon2id
hash only. Of a public key we keep the key; its comment, which often names a person, and its options
are not taken. What may be a credential, and what is too weak for one, is decided here; which
algorithms a login may use is the server's matter. Each change is an entry in the audit log, with
the key's fingerprint or the user name, never a secret.

`roster landing test` logs in to an account whose secrets we do not have. For that there are keys
that live half a minute and count from this machine only: `ephemeral_key`.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import PublicFormat as Public
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from roster_pipeline.settings import Settings
from roster_pipeline.warehouse import audit
from roster_pipeline.warehouse.tables import landing_accounts as TABLE

USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256
FEWEST_OWN_CHARACTERS = 8
"""What a password must have beside the user name and the district's id."""
FEWEST_DIFFERENT = 5
"""How many different characters a password must have: `aaaaaaaaaaaa` is long, too."""
WEAKEST_RSA = 2048
"""Bits. NIST SP 800-57 allows 2048 until 2030, and PuTTYgen still makes them so."""
LARGEST_RSA = 16384
"""Bits. What OpenSSL verifies; more only costs the server time."""
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
EPHEMERAL_LIFETIME = timedelta(seconds=30)

# Without what is mistaken for another when read aloud or from paper: 0 o, 1 l i.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP = 5, 5  # 25 of 31 characters: 123 bits

# What OWASP asks for: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_DUMMY = _HASHER.hash(secrets.token_urlsafe())
"""Checked where there is no password to check, so that it takes the same time."""


class AccountError(ValueError):
    """An account cannot be as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """Who may log in for a district.

    public_keys: lines as in authorized_keys, without options and comment. changed_at: when a
    credential last changed; a session that began before is to end.
    """

    district_id: str
    username: str
    password_hash: str | None = field(repr=False)
    public_keys: tuple[str, ...]
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True)
class PublicKey:
    """A public key: its line for authorized_keys, its type there, its size in bits, its fingerprint
    as OpenSSH shows it (`SHA256:…`)."""

    line: str
    type: str
    bits: int
    fingerprint: str


def find_account(conn: Connection, username: str) -> Account | None:
    """The account of a user name, whatever a client sent as one."""
    if USERNAME.fullmatch(username) is None:  # a database may refuse what it is, such as a NUL
        return None
    return _one(conn, TABLE.c.username == username)


def account_of(conn: Connection, district_id: str) -> Account | None:
    """The account of a district."""
    return _one(conn, TABLE.c.district_id == district_id)


def accounts(conn: Connection) -> list[Account]:
    """All accounts, by district."""
    return [_account(row) for row in conn.execute(select(TABLE).order_by(TABLE.c.district_id))]


def verify_password(account: Account | None, password: str) -> bool:
    """Whether it is the account's password; takes as long when there is no account or it has none.

    Some 25 ms of a core and 19 MiB, so not to be called on an event loop.
    """
    known = account.password_hash if account else None
    try:
        _HASHER.verify(known or _DUMMY, _normal(password))
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return known is not None


def open_account(
    conn: Connection, district_id: str, username: str | None, who: str, now: datetime
) -> Account:
    """The district's account, made if there is none; with a user name, it has that one from now on.

    Without one a new account takes the district's id. Raises AccountError for a name that cannot
    be one or is another district's.
    """
    account = account_of(conn, district_id)
    wanted = username if username is not None else account.username if account else district_id
    if account is not None and account.username == wanted:
        return account
    if USERNAME.fullmatch(wanted) is None:
        raise AccountError(
            f"{wanted!r} cannot be a user name; it must be 2 to 63 small letters, digits, dots, "
            "hyphens and underscores, beginning with a letter or digit."
        )
    taken = AccountError(
        f"The user name {wanted!r} is another district's; choose one with --username."
    )
    if find_account(conn, wanted) is not None:
        raise taken
    try:
        if account is None:
            conn.execute(
                insert(TABLE).values(
                    district_id=district_id,
                    username=wanted,
                    public_keys=[],
                    created_at=now,
                    changed_at=now,
                )
            )
            audit.record(conn, now, who, "landing_account_made", district_id, detail=wanted)
        else:
            _change(conn, district_id, now, username=wanted)
            audit.record(conn, now, who, "landing_username_set", district_id, detail=wanted)
    except IntegrityError as error:  # another district took it in this moment
        raise taken from error
    return _existing(conn, district_id)


def generate_password() -> str:
    """A password nobody can guess and everybody can copy from paper. To be shown once."""
    return "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)
    )


def set_password(
    conn: Connection, district_id: str, password: str, who: str, now: datetime
) -> None:
    """Give the district's account a password, in the place of the one it had.

    Raises AccountError when it is too easily guessed or cannot be typed.
    """
    account = _existing(conn, district_id)
    password = _normal(password)
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccountError(
            f"The password has {len(password)} characters; it must have {SHORTEST_PASSWORD} to "
            f"{LONGEST_PASSWORD}. --generate makes a good one."
        )
    if any(unicodedata.category(char).startswith("C") for char in password):
        raise AccountError("The password has control characters, which no client can type.")
    beside_names = password.casefold().replace(account.username, "").replace(district_id, "")
    if len(beside_names) < FEWEST_OWN_CHARACTERS:
        raise AccountError(
            "The password is little more than the user name or the district's id, which is what "
            "is tried first. --generate makes a good one."
        )
    if len(set(password)) < FEWEST_DIFFERENT:
        raise AccountError(
            f"The password has only {len(set(password))} different characters. --generate makes a "
            "good one."
        )
    _change(conn, district_id, now, password_hash=_HASHER.hash(password))
    audit.record(conn, now, who, "landing_password_set", district_id, detail=account.username)


def remove_password(conn: Connection, district_id: str, who: str, now: datetime) -> None:
    """Let the district's account log in by key only. Raises AccountError if it has no password."""
    account = _existing(conn, district_id)
    if account.password_hash is None:
        raise AccountError(f"The account of {district_id} has no password.")
    _change(conn, district_id, now, password_hash=None)
    audit.record(conn, now, who, "landing_password_removed", district_id, detail=account.username)


def read_public_key(content: bytes) -> PublicKey:
    """The one public key in a file: OpenSSH's form, RFC 4716's (SSH2) or PEM (PKCS#1 and #8).

    Raises AccountError for anything else, for a key that is too weak, for one with options (they
    would be dropped: who may do what is not theirs to say), and for a private key.
    """
    import asyncssh

    # PowerShell's > writes UTF-16; editors on Windows put a BOM in front.
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = content.decode(encoding, "replace").strip()
    # asyncssh would take the public half of a private key and say nothing.
    if "PRIVATE KEY" in text or "PuTTY-User-Key-File" in text or _is_private(content):
        raise AccountError(
            "This is a private key, which must never leave its owner. It was not stored. Since "
            "others may have it now, make a new pair (ssh-keygen -t ed25519) and hand in only the "
            "file that ends with .pub."
        )
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    blocks = sum(line.startswith("--") and "BEGIN" in line for line in lines)
    if blocks > 1 or (not blocks and len(lines) > 1):
        raise AccountError("The file holds several lines or keys; hand in one key, in one line.")
    later = [word for word in "".join(lines).split()[1:] if word in KEY_TYPES]
    if later and not blocks:
        raise AccountError(
            f"The key has options or a host name in front of it; hand in the line from "
            f"{later[0]} on."
        )
    try:
        key = asyncssh.import_public_key("\n".join(lines))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise AccountError(
            "This is no public key we can read. It must be a file as ssh-keygen (.pub) or PuTTYgen "
            "(«Save public key») write it, or a PEM file that begins with BEGIN PUBLIC KEY or "
            "BEGIN RSA PUBLIC KEY."
        ) from error
    kind = key.algorithm.decode()
    if kind not in KEY_TYPES:
        raise AccountError(
            f"Keys of type {kind} are too weak or too little known; make one with "
            "ssh-keygen -t ed25519."
        )
    bits: int = getattr(key.pyca_key, "key_size", 256)  # Ed25519's has none
    if kind == "ssh-rsa" and not WEAKEST_RSA <= bits <= LARGEST_RSA:
        raise AccountError(
            f"The RSA key has {bits} bits; it must have {WEAKEST_RSA} to {LARGEST_RSA}. Make one "
            "with ssh-keygen -t ed25519."
        )
    line = f"{kind} {base64.b64encode(key.public_data).decode()}"
    return PublicKey(line, kind, bits, key.get_fingerprint())


def add_key(
    conn: Connection, district_id: str, content: bytes, who: str, now: datetime
) -> PublicKey:
    """Let the district's account log in by the public key in a file, beside what it has.

    Raises AccountError as `read_public_key` does. A key that it has already changes nothing.
    """
    account = _existing(conn, district_id)
    key = read_public_key(content)
    if key.line not in account.public_keys:
        _change(conn, district_id, now, public_keys=[*account.public_keys, key.line])
        audit.record(conn, now, who, "landing_key_added", district_id, detail=key.fingerprint)
    return key


def remove_key(
    conn: Connection, district_id: str, fingerprint: str, who: str, now: datetime
) -> None:
    """Take a key away from the district's account. Raises AccountError if it has no such key."""
    keys = keys_of(_existing(conn, district_id))
    kept = [key.line for key in keys if key.fingerprint != fingerprint]
    if len(kept) == len(keys):
        has = ", ".join(key.fingerprint for key in keys) or "none"
        raise AccountError(
            f"The account of {district_id} has no key {fingerprint}; its keys: {has}."
        )
    _change(conn, district_id, now, public_keys=kept)
    audit.record(conn, now, who, "landing_key_removed", district_id, detail=fingerprint)


def remove_account(conn: Connection, district_id: str, who: str, now: datetime) -> None:
    """Let nobody log in for the district any more. Raises AccountError if nobody could."""
    account = _existing(conn, district_id)
    conn.execute(delete(TABLE).where(TABLE.c.district_id == district_id))
    audit.record(conn, now, who, "landing_account_removed", district_id, detail=account.username)


def keys_of(account: Account) -> list[PublicKey]:
    """The account's public keys, as they are shown to people."""
    return [read_public_key(line.encode()) for line in account.public_keys]


@contextmanager
def ephemeral_key(settings: Settings, district_id: str, now: datetime) -> Iterator[str]:
    """A private key (OpenSSH's form) that logs in to the district's account for half a minute at
    most, until the block ends, and from this machine only; see `is_ephemeral`.

    Only its public half's hash is written, to `keys/ephemeral/`. Who can write there can log in.
    """
    folder = settings.keys / "ephemeral"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left_over in folder.glob(f"{district_id}.*"):
        if not _is_alive(left_over, now):
            left_over.unlink(missing_ok=True)
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.OpenSSH, Public.OpenSSH).decode()
    path = _ephemeral_path(folder, district_id, public)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text((now + EPHEMERAL_LIFETIME).isoformat())
    try:
        yield private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    finally:
        path.unlink(missing_ok=True)


def is_ephemeral(
    settings: Settings, district_id: str, public_key: str, address: str, now: datetime
) -> bool:
    """Whether a public key (a line as in authorized_keys) logs in to the district's account right
    now, from that address, because `ephemeral_key` made it."""
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not (getattr(peer, "ipv4_mapped", None) or peer).is_loopback:
        return False
    return _is_alive(_ephemeral_path(settings.keys / "ephemeral", district_id, public_key), now)


def _ephemeral_path(folder: Path, district_id: str, public_key: str) -> Path:
    # The key itself, without a comment.
    digest = hashlib.sha256(" ".join(public_key.split()[:2]).encode()).hexdigest()
    return folder / f"{district_id}.{digest}"


def _is_alive(path: Path, now: datetime) -> bool:
    with suppress(OSError, ValueError):
        left = datetime.fromisoformat(path.read_text()) - now
        return timedelta(0) < left <= EPHEMERAL_LIFETIME
    return False


def _normal(password: str) -> str:
    """A password as it is hashed (RFC 8265): a client may send é as one character or as two."""
    return unicodedata.normalize("NFC", password)


def _is_private(content: bytes) -> bool:
    """Whether it is a private key in binary (DER)."""
    import asyncssh

    try:
        asyncssh.import_private_key(content)
    except ValueError:
        return False
    return True


def _one(conn: Connection, condition: Any) -> Account | None:
    row = conn.execute(select(TABLE).where(condition)).one_or_none()
    return None if row is None else _account(row)


def _account(row: Any) -> Account:
    return Account(**{**row._mapping, "public_keys": tuple(row.public_keys)})


def _existing(conn: Connection, district_id: str) -> Account:
    """The district's account, locked against changes by others. Raises AccountError."""
    statement = select(TABLE).where(TABLE.c.district_id == district_id).with_for_update()
    row = conn.execute(statement).one_or_none()
    if row is None:
        raise AccountError(
            f"{district_id} has no account in the landing zone; give it one with "
            f"`roster landing account {district_id} --generate` or --public-key FILE."
        )
    return _account(row)


def _change(conn: Connection, district_id: str, now: datetime, **values: Any) -> None:
    conn.execute(
        update(TABLE).where(TABLE.c.district_id == district_id).values(changed_at=now, **values)
    )
