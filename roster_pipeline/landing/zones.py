"""What is known of each landing zone from look to look, as the warehouse's database keeps it.

Three write it, each its own columns: a look what it saw, an import what it took, the schedule which
slots are settled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from roster_pipeline.landing.arrival import Content, WatchedFile, delivery_of
from roster_pipeline.warehouse.tables import landing_zones

TroubleKind = Literal["unreachable", "login_refused", "host_key_changed"]


@dataclass(frozen=True)
class Trouble:
    """Why a landing zone cannot be looked at, in a sentence, and since when."""

    kind: TroubleKind
    says: str
    since: datetime


@dataclass(frozen=True)
class Zone:
    """A district's landing zone.

    looked_at: the last look that is on record (one that found all as it was is not kept of a hosted
    zone). content: what reading the delivery among the files showed. arrived_at: when a file last
    came. settled_until: up to which slot the schedule is settled, settled_schedule: which one that
    was, settled_by: the evaluation that did. taken: what an import last took, and which one.
    """

    district_id: str
    files: tuple[WatchedFile, ...] = ()
    looked_at: datetime | None = None
    content: Content | None = None
    header_only: tuple[str, ...] = ()
    arrived_at: datetime | None = None
    trouble: Trouble | None = None
    settled_until: datetime | None = None
    settled_schedule: str | None = None
    settled_by: datetime | None = None
    taken: str | None = None
    taken_import_id: int | None = None
    taken_at: datetime | None = None

    def seen(
        self, files: tuple[WatchedFile, ...], now: datetime, *, our_clock: bool = True
    ) -> Zone:
        """The zone with the files of a look; what was read of a delivery that changed since is
        forgotten, but for which files held no record."""
        delivery = delivery_of(files)
        same = delivery == delivery_of(self.files)
        came = [datetime.fromtimestamp(f.left_alone(our_clock), UTC) for f in delivery]
        return replace(
            self,
            files=files,
            looked_at=now,
            content=self.content if same else None,
            arrived_at=max([*came, *filter(None, [self.arrived_at])], default=None),
            trouble=None,
        )

    def troubled(self, kind: TroubleKind, says: str, now: datetime) -> Zone:
        """The zone after a look that failed; what was seen before stays as it was."""
        since = self.trouble.since if self.trouble and self.trouble.kind == kind else now
        return replace(self, looked_at=now, trouble=Trouble(kind, says, since))

    def after(self, looked: Zone) -> Zone:
        """The zone with what a look saw that began at an earlier state of it."""
        names = ("files", "looked_at", "content", "header_only", "arrived_at", "trouble")
        return replace(self, **{name: getattr(looked, name) for name in names})

    def read(self, content: Content) -> Zone:
        """The zone, its delivery having been read."""
        without = content.header_only if content.key else self.header_only
        return replace(self, content=content, header_only=without)


def read_zones(conn: Connection) -> dict[str, Zone]:
    """All landing zones that were ever looked at, by district."""
    return {row.district_id: _zone(row) for row in conn.execute(select(landing_zones))}


def save_looks(conn: Connection, zones: Iterable[Zone]) -> None:
    """Keep what looks saw."""
    rows = [
        {
            "district_id": zone.district_id,
            "files": [list(asdict(file).values()) for file in zone.files],
            "looked_at": zone.looked_at,
            "content": zone.content.key if zone.content else None,
            "fault": zone.content.fault if zone.content else None,
            "header_only": list(zone.header_only),
            "arrived_at": zone.arrived_at,
            "trouble": zone.trouble.kind if zone.trouble else None,
            "trouble_says": zone.trouble.says if zone.trouble else None,
            "trouble_since": zone.trouble.since if zone.trouble else None,
        }
        for zone in zones
    ]
    _save(conn, rows)


def save_slots(conn: Connection, zones: Iterable[Zone]) -> None:
    """Keep which slots are settled."""
    names = ("district_id", "settled_until", "settled_schedule", "settled_by")
    _save(conn, [{name: getattr(zone, name) for name in names} for zone in zones])


def record_taken(
    conn: Connection, district_id: str, content: str, import_id: int, now: datetime
) -> None:
    """Note which content of a landing zone an import takes."""
    taken = {"taken": content, "taken_import_id": import_id, "taken_at": now}
    _save(conn, [{"district_id": district_id, **taken}])


def _save(conn: Connection, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    statement = insert(landing_zones)
    changed = {name: statement.excluded[name] for name in rows[0] if name != "district_id"}
    conn.execute(
        statement.on_conflict_do_update(index_elements=[landing_zones.c.district_id], set_=changed),
        rows,
    )


def _zone(row: Any) -> Zone:
    values = dict(row._mapping)
    key, fault = values.pop("content"), values.pop("fault")
    kind, says = values.pop("trouble"), values.pop("trouble_says")
    since = values.pop("trouble_since")
    values["header_only"] = tuple(values["header_only"] or ())
    values["files"] = tuple(WatchedFile(*file) for file in values["files"] or ())
    if key is not None or fault is not None:
        values["content"] = Content(key, fault or "", values["header_only"])
    if kind is not None:
        values["trouble"] = Trouble(kind, says, since)
    return Zone(**values)
