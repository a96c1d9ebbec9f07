"""What is kept for how long: landing zones and their log, the archive, artifacts, reports.

What is older than its days goes, as a whole or not at all (a delivery, an effective set, an
artifact), unless something needs it: the state the roster has and those an undo can give back need
their effective sets, the last accepted import and one that waits need their deliveries, and what
no import has taken stays in its landing zone. Nothing of a district is touched while an import of
it runs. Links are not followed.

What is told stays: the warehouse's books and the outcomes hold no records. A report is written anew
when somebody asks for it, and may hold names; it goes when its delivery does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, delete, func, select

from roster_pipeline.districts.settings import is_district_id
from roster_pipeline.findings import DeliveryRefused
from roster_pipeline.landing import intake
from roster_pipeline.landing.store import Disk, Store, Thing, store_at
from roster_pipeline.settings import KeepDays, Settings
from roster_pipeline.warehouse import bulk, ledger
from roster_pipeline.warehouse.database import reading
from roster_pipeline.warehouse.lock import DistrictBusy, district_lock
from roster_pipeline.warehouse.tables import import_files, landing_log

Kind = Literal["landing", "archive", "refused", "artifacts", "reports"]
KINDS: dict[Kind, str] = {
    "landing": "landing zone",
    "archive": "archive",
    "refused": "refused deliveries",
    "artifacts": "artifacts",
    "reports": "reports",
}
LOG = "the landing zones' log"

GOES = "gone"
STATE = "needed: the roster's state, or one that an undo gives back"
LAST = "needed: the last accepted delivery"
WAITS = "needed: its import waits for a person"
LEFT = "no import has taken it"
NO_BOOKS = "unknown to this warehouse (ROSTER_WAREHOUSE_URL?)"
BUSY = "an import of the district is running"


@dataclass(frozen=True)
class Item:
    """What goes as a whole or not at all.

    paths: its files; of a thing in a store, where in the store. files, size: how many files, and
    their bytes. since: when it arrived, or was last used. needed: why it stays, however old; None
    where nothing needs it. store: what it is a thing in, if it is one.
    """

    kind: Kind
    district_id: str
    paths: tuple[str, ...]
    files: int
    size: int
    since: datetime
    needed: str | None = None
    store: Store | None = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of an item. why: GOES, or why it stays."""

    item: Item
    why: str


@dataclass(frozen=True)
class Needed:
    """What the books say about a district's part of the archive.

    used: by path in the archive, when an import last stood on it. why: by path, what needs it.
    taken: the deliveries that an import has done its work upon. files: the same as pairs of a
    file's name and the sha256 of its content. known: whether there are books.
    """

    used: dict[str, datetime]
    why: dict[str, str]
    taken: frozenset[str]
    files: frozenset[tuple[str, str]]
    known: bool


@dataclass(frozen=True)
class Purge:
    """What a purge did, or a dry run would do. troubles: what the system refused, as sentences."""

    verdicts: tuple[Verdict, ...]
    troubles: tuple[str, ...]
    log_lines: int
    keep: KeepDays
    dry_run: bool

    def lines(self) -> list[dict[str, Any]]:
        """By kind and outcome: what, kept_days, outcome, districts, files, bytes."""
        groups: dict[tuple[Kind, str], list[Item]] = defaultdict(list)
        for verdict in self.verdicts:
            groups[verdict.item.kind, verdict.why].append(verdict.item)
        told = [
            {
                "what": KINDS[kind],
                "kept_days": days_of(kind, self.keep),
                "outcome": why,
                "districts": sorted({item.district_id for item in groups[kind, why]}),
                "files": sum(item.files for item in groups[kind, why]),
                "bytes": sum(item.size for item in groups[kind, why]),
            }
            for kind, why in sorted(groups, key=lambda k: (list(KINDS).index(k[0]), k[1] != GOES))
        ]
        if self.log_lines:
            log = {"what": LOG, "kept_days": self.keep.archive, "outcome": GOES, "districts": []}
            told.append({**log, "files": self.log_lines, "bytes": 0})
        return told

    def gone(self, count: Literal["files", "size"]) -> int:
        """How many files went, or how many bytes."""
        return sum(getattr(v.item, count) for v in self.verdicts if v.why == GOES)


def purge(
    settings: Settings, engine: Engine, keep: KeepDays, now: datetime, *, dry_run: bool = False
) -> Purge:
    """Take away what has had its days and nothing needs. Doing it again changes nothing."""
    verdicts: list[Verdict] = []
    troubles: list[str] = []
    for district_id in _districts(settings):
        try:
            verdicts += _purge_district(settings, engine, district_id, keep, now, dry_run)
        except FileNotFoundError:
            continue  # taken away by its owner in this very moment; the next purge sees the rest
        except OSError as error:
            troubles.append(f"{error.filename}: {error.strerror}")
    lines = _purge_log(engine, keep, now, dry_run)
    if not dry_run:
        bulk.clear_away(engine)
    return Purge(tuple(verdicts), tuple(troubles), lines, keep, dry_run)


def decide(items: Iterable[Item], keep: KeepDays, now: datetime) -> list[Verdict]:
    """What becomes of each item."""
    return [Verdict(item, _why(item, keep, now)) for item in items]


def days_of(kind: Kind, keep: KeepDays) -> int:
    """For how many days a kind is kept."""
    days: int = keep.archive if kind == "reports" else getattr(keep, kind)
    return days


def _why(item: Item, keep: KeepDays, now: datetime) -> str:
    days = days_of(item.kind, keep)
    if item.since > now - timedelta(days=days):
        return f"not older than {days} days"
    return item.needed or GOES


def needed_of(conn: Connection, district_id: str) -> Needed:
    """What a district's imports need of its archive."""
    imports = ledger.imports(conn, district_id, limit=None)
    states = ledger.returnable_states(conn, district_id)
    last = ledger.last_accepted(conn, district_id)
    used: dict[str, datetime] = {}
    why: dict[str, str] = {}
    for imported in reversed(imports):
        effective = f"effective/{imported.effective_hash}"
        delivery = _shelf_and_name(imported.delivery)
        for path in (effective, delivery):
            used[path] = imported.started_at
        if imported.id in states:
            why[effective] = STATE
        if imported.status in ledger.WAITING:
            why[delivery] = WAITS
    if last is not None:
        why[_shelf_and_name(ledger.stands_on(conn, last).delivery)] = LAST
    done = {i.id: _shelf_and_name(i.delivery) for i in imports if _has_taken(i)}
    files = select(import_files.c.file, import_files.c.sha256).distinct()
    mine = files.where(import_files.c.import_id.in_(done))
    return Needed(
        used=used,
        why=why,
        taken=frozenset(done.values()),
        files=frozenset((file, sha256) for file, sha256 in conn.execute(mine)),
        known=bool(imports),
    )


def _has_taken(imported: ledger.Import) -> bool:
    """Whether an import has done its work upon its delivery. One that is superseded may have found
    another than it was to take."""
    if imported.status == "superseded":
        return imported.effective_hash is not None
    return imported.status not in ("running", "failed", "previewed")


def _shelf_and_name(delivery: str | None) -> str:
    """`deliveries/<sha256>`, of the path the books have of a delivery."""
    return (delivery or "").partition("/")[2]


def folders_of_districts(settings: Settings) -> list[Path]:
    """The folders in which each district has one of its own with its data."""
    return [settings.landing, settings.fetched, settings.reports]


def stores_of_districts(settings: Settings) -> list[Store]:
    """The stores that keep each district's data under its id."""
    return [store_at(settings.archive_url), store_at(settings.artifacts_url)]


def _districts(settings: Settings) -> list[str]:
    """The districts that have something anywhere, also those whose file is gone."""
    folders = [Disk(root) for root in folders_of_districts(settings)]
    places = [*folders, *stores_of_districts(settings)]
    return sorted({d for place in places for d in place.districts() if is_district_id(d)})


def _purge_district(
    settings: Settings,
    engine: Engine,
    district_id: str,
    keep: KeepDays,
    now: datetime,
    dry_run: bool,
) -> list[Verdict]:
    verdicts = decide(_survey(settings, engine, district_id, keep, now), keep, now)
    if dry_run or all(v.why != GOES for v in verdicts):
        return verdicts
    try:
        # An import that wants to begin meanwhile would fail: the lock is held for moments only.
        with district_lock(engine, district_id):
            verdicts = decide(_survey(settings, engine, district_id, keep, now), keep, now)
            for verdict in verdicts:
                if verdict.why == GOES:
                    _take_away(verdict.item)
    except DistrictBusy:
        return [replace(v, why=BUSY) if v.why == GOES else v for v in verdicts]
    return verdicts


def _take_away(item: Item) -> None:
    for path in item.paths:
        if item.store is not None:
            item.store.remove(path)
        elif _modified(Path(path)) <= item.since:  # else an upload has just put a new file there
            Path(path).unlink()


def _survey(
    settings: Settings, engine: Engine, district_id: str, keep: KeepDays, now: datetime
) -> list[Item]:
    """All that is kept of a district and can go."""
    with reading(engine) as conn:
        needed = needed_of(conn, district_id)
    horizon = now - timedelta(days=keep.landing)
    archive, artifacts = stores_of_districts(settings)
    reports = [p for p in _files(settings.reports / district_id) if p.suffix == ".html"]
    return [
        *_in_landing(settings.landing, district_id, needed, horizon),
        *_in_landing(settings.fetched, district_id, needed, horizon),
        *_in_archive(archive, district_id, needed),
        *(_thing("artifacts", district_id, artifacts, t) for t in artifacts.things(district_id)),
        *(_item("reports", district_id, [path]) for path in reports),
    ]


def _in_archive(archive: Store, district_id: str, needed: Needed) -> list[Item]:
    items = []
    for shelf in ("deliveries", "effective", "refused"):
        kind: Kind = "refused" if shelf == "refused" else "archive"
        for thing in archive.things(f"{district_id}/{shelf}"):
            item = _thing(kind, district_id, archive, thing)
            name = thing.path.partition("/")[2]
            items.append(
                replace(
                    item,
                    since=max(item.since, needed.used.get(name, item.since)),
                    needed=needed.why.get(name) if needed.known or kind == "refused" else NO_BOOKS,
                )
            )
    return items


def _in_landing(landing: Path, district_id: str, needed: Needed, horizon: datetime) -> list[Item]:
    """The delivery that lies in a landing zone as one, for its files belong together, and each
    other file by itself."""
    try:
        delivery = intake.landed_files(landing, district_id).paths
    except DeliveryRefused:
        delivery = []
    others = [path for path in _files(landing / district_id) if path not in delivery]
    groups = [*([delivery] if delivery else []), *([path] for path in others)]
    items = [(group, _item("landing", district_id, group)) for group in groups]
    return [
        item if item.since > horizon or _is_done(group, needed) else replace(item, needed=LEFT)
        for group, item in items
    ]


def _is_done(paths: Sequence[Path], needed: Needed) -> bool:
    """Whether an import has taken these files, together or each at its time. An upload that was
    given up will never be taken."""
    return f"deliveries/{intake.delivery_name(paths)}" in needed.taken or all(
        path.name.startswith(".")
        or intake.UNFINISHED.search(path.name)
        or (path.name, intake.digest_of(path)) in needed.files
        for path in paths
    )


def _item(kind: Kind, district_id: str, files: Sequence[Path]) -> Item:
    paths = tuple(str(path) for path in files)
    size = sum(path.lstat().st_size for path in files)
    since = max(_modified(path) for path in files)
    return Item(kind, district_id, paths, len(files), size, since)


def _thing(kind: Kind, district_id: str, store: Store, thing: Thing) -> Item:
    size, since = thing.size, thing.since
    return Item(kind, district_id, (thing.path,), thing.files, size, since, store=store)


def _files(folder: Path) -> list[Path]:
    """The files in a folder; none where there is none, or a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink())


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.lstat().st_mtime, UTC)


def _purge_log(engine: Engine, keep: KeepDays, now: datetime, dry_run: bool) -> int:
    """Take old lines out of the landing zones' log; how many."""
    old = landing_log.c.at <= now - timedelta(days=keep.archive)
    if dry_run:
        with reading(engine) as conn:
            return conn.scalar(select(func.count()).select_from(landing_log).where(old)) or 0
    with engine.begin() as conn:
        return conn.execute(delete(landing_log).where(old)).rowcount
