"""Whether what lies in a landing zone is a delivery that has wholly arrived. Pure: it is told what
was seen at which moment, and decides.

That a client has closed a file proves nothing: a broken-off upload ends so too. So a delivery is
ready when its files were the same at two looks, have been left alone for a while, and what is in
them is whole (`wholeness`); until then it is waited for, if need be for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from roster_pipeline.landing.intake import TAKEN_NAMES, UNFINISHED, UPLOADING, ZIP_NAME, right_name

ZIP_QUIET_S = 60
LOOSE_QUIET_S = 300
"""How long files are left alone before they are taken. A zip shows whether it is whole; of loose
files the next one may still be on its way."""


UNREAD = "unread-"


@dataclass(frozen=True)
class SeenFile:
    """A file as a look finds it: its name, its size in bytes, when it was modified (seconds since
    1970, by the clock of the server that has it)."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True)
class WatchedFile(SeenFile):
    """A file, and since which look (by our clock) it is as it is. grew: at the look before, there
    was a file of that name that was another."""

    since: float
    grew: bool = False

    def left_alone(self, our_clock: bool) -> float:
        """Since when it is as it is. A time by our own clock goes back before the first look,
        another server's clock may be wrong."""
        return min(self.modified, self.since) if our_clock else self.since


_File = TypeVar("_File", bound=SeenFile)


@dataclass(frozen=True)
class Content:
    """What reading a delivery showed.

    key: the name the archive would give it, which is bound to the files' names and content, or
    `unread_key`; None when it is not whole, for the reason that `fault` says. header_only: files
    without any record that should have some.
    """

    key: str | None
    fault: str = ""
    header_only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrival:
    """What the state of a landing zone comes to.

    state: `empty`; `waiting`, for what `why` says; `settled`, so that the content can be looked at;
    `ready`. files: those of the delivery, by name. since: when one of them last changed. near: of
    files that are not taken for their name, the name they should have. uploading: an upload is
    going on; broken_off: one has ended in the middle. key: what is bound to the content, of a ready
    one.
    """

    state: Literal["empty", "waiting", "settled", "ready"]
    files: tuple[str, ...] = ()
    why: str = ""
    since: float | None = None
    near: Mapping[str, str] = field(default_factory=dict)
    uploading: bool = False
    broken_off: bool = False
    key: str | None = None


def watch(
    before: Sequence[WatchedFile], seen: Sequence[SeenFile], at: float
) -> tuple[WatchedFile, ...]:
    """The files of a look, by name, each with the first look at which it was as it is."""
    known = {file.name: file for file in before}

    def follow(file: SeenFile) -> WatchedFile:
        old = known.get(file.name)
        if old and (old.size, old.modified) == (file.size, file.modified):
            return old
        return WatchedFile(file.name, file.size, file.modified, at, grew=old is not None)

    return tuple(follow(file) for file in sorted(seen, key=lambda f: f.name))


def unread_key(files: Sequence[SeenFile]) -> str:
    """What stands for the content of a delivery that is too large to be read in a look."""
    told = repr([(f.name, f.size, f.modified) for f in delivery_of(files)])
    return UNREAD + hashlib.sha256(told.encode()).hexdigest()


def is_what_was_seen(key: str, seen: str | None) -> bool:
    """Whether a delivery is the one that was seen, as far as that was read."""
    return seen is None or seen.startswith(UNREAD) or key == seen


def delivery_of(files: Sequence[_File]) -> tuple[_File, ...]:
    """The files that would be imported: the zip, or else the loose ones by their exact names."""
    zips = tuple(f for f in files if f.name == ZIP_NAME)
    return zips or tuple(f for f in files if f.name in TAKEN_NAMES)


def decide(
    files: Sequence[WatchedFile], at: float, content: Content | None, *, our_clock: bool = True
) -> Arrival:
    """What has arrived, by a look at the moment `at` (seconds since 1970).

    content: what reading these very files showed; None when nobody has read them. our_clock: the
    files' times are by our own clock.
    """
    delivery = delivery_of(files)
    unfinished = [f for f in files if UNFINISHED.search(f.name) or UPLOADING.match(f.name)]
    uploading = [f for f in unfinished if at - f.left_alone(our_clock) < LOOSE_QUIET_S]
    names = tuple(f.name for f in delivery)
    last = max((f.left_alone(our_clock) for f in delivery or unfinished), default=None)
    near = {f.name: right for f in files if (right := right_name(f.name))}

    def arrival(
        state: Literal["empty", "waiting", "settled", "ready"], why: str = "", **more: Any
    ) -> Arrival:
        return Arrival(state, names, why, last, near, bool(uploading), **more)

    if last is None:
        return arrival("empty")
    if not delivery and not uploading:
        why = f"an upload has ended in the middle{_named(unfinished[0].name)}"
        return arrival("waiting", why, broken_off=True)
    for file in delivery:
        if file.since >= at:
            has = "is still growing" if file.grew else "has just arrived"
            return arrival("waiting", f"{file.name} {has}")
    is_zip = names == (ZIP_NAME,)
    if uploading and not is_zip:
        return arrival("waiting", "an upload is going on")
    needed = ZIP_QUIET_S if is_zip else LOOSE_QUIET_S
    quiet = at - last
    if quiet < needed:
        return arrival("waiting", f"quiet for {max(quiet, 0):.0f} s of {needed} s")
    if content is None:
        return arrival("settled", "what is in it is being looked at")
    if content.key is None:
        return arrival("waiting", content.fault, broken_off=True)
    return arrival("ready", key=content.key)


def _named(name: str) -> str:
    """A file in brackets, unless its name is the server's own for an upload."""
    return "" if UPLOADING.match(name) else f" ({name})"
