"""Whether a delivery that has been left alone is whole: read through once, without keeping it.

Only what shows that an upload broke off is a fault here. Whatever else is wrong with a delivery is
for the import to refuse and to tell; one that is refused has arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.landing.arrival import Content
from roster_pipeline.landing.intake import ZIP_NAME, delivery_name
from roster_pipeline.oneroster.delivery import MANIFEST
from roster_pipeline.oneroster.manifest import FILE as MANIFEST_FILE
from roster_pipeline.oneroster.manifest import read_manifest
from roster_pipeline.oneroster.package import Limits, read_through
from roster_pipeline.oneroster.standard import VERSIONS

_BROKEN_OFF = {"zip_damaged", "zip_empty"}
_MAY_BE_EMPTY = {MANIFEST, "demographics"}
_BLANK = b"\r\n\t \x00"
_CHUNK = 1 << 20


def examine(
    folder: Path,
    names: Sequence[str],
    limits: Limits = Limits(),  # noqa: B008
    going_on: Callable[[], None] = lambda: None,
) -> Content:
    """What reading the delivery of these files shows.

    going_on: is called often, and may raise to end it. Raises OSError.
    """
    records = _Records(going_on)
    try:
        if ZIP_NAME in names:
            read_through(folder / ZIP_NAME, records.see, limits)
        else:
            if missing := _missing(folder, names):
                return Content(None, missing)
            for name in names:
                with (folder / name).open("rb") as stream:
                    while records.more(name) and (chunk := stream.read(_CHUNK)):
                        records.see(name.removesuffix(".csv"), chunk)
    except DeliveryRefused as refusal:
        if {f.code for f in refusal.findings} <= _BROKEN_OFF:
            return Content(None, f"{ZIP_NAME} is not whole yet")
    return Content(delivery_name([folder / name for name in names]), "", records.none())


def _missing(folder: Path, names: Sequence[str]) -> str:
    """Which loose file the manifest names that is not there, in words."""
    if MANIFEST_FILE not in names:
        return ""
    manifest = read_manifest((folder / MANIFEST_FILE).read_bytes())
    there = {name.removesuffix(".csv") for name in names}
    files = VERSIONS[manifest.version].files
    missing = [
        f"{name}.csv"
        for name, mode in manifest.modes.items()
        if mode != "absent" and name in files and name not in there
    ]
    if not missing:
        return ""
    is_not_there = "which is not there yet" if len(missing) == 1 else "which are not there yet"
    return f"{MANIFEST_FILE} names {', '.join(missing)}, {is_not_there}"


class _Records:
    """Which files hold more than a header: something after the end of the first line."""

    def __init__(self, going_on: Callable[[], None]) -> None:
        self._going_on = going_on
        self._headers: dict[str, bool] = {}
        self._found: set[str] = set()

    def see(self, name: str, chunk: bytes) -> None:
        """A piece of a file."""
        self._going_on()
        if name in self._found:
            return
        if not self._headers.setdefault(name, False):
            _, newline, chunk = chunk.replace(b"\r", b"\n").partition(b"\n")
            self._headers[name] = bool(newline)
        if self._headers[name] and chunk.strip(_BLANK):
            self._found.add(name)

    def more(self, file: str) -> bool:
        """Whether it is still open if a file holds a record."""
        return file.removesuffix(".csv") not in self._found

    def none(self) -> tuple[str, ...]:
        """The files without a record that should have some."""
        without = self._headers.keys() - self._found - _MAY_BE_EMPTY
        return tuple(f"{name}.csv" for name in sorted(without))
