"""Artifacts: what a stage hands to the next, and the IO manager that keeps it as Parquet.

Each artifact is a thing `<district>/<asset>` in the artifacts' store, with a Parquet file a frame
and `meta.json` for the rest; it is replaced as a whole, so that a reader sees one or the other.
What a run has just written it does not read again, and on a disk a frame that a stage did not touch
is not written again: its file is linked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr

from roster_pipeline.defs.partitions import checked_district
from roster_pipeline.landing.intake import Delivery
from roster_pipeline.landing.parquet import write_frames
from roster_pipeline.landing.store import Store, store_at
from roster_pipeline.oneroster.effective import Sources
from roster_pipeline.oneroster.package import Package
from roster_pipeline.roster import Roster
from roster_pipeline.settings import load_settings
from roster_pipeline.stages.plan import SyncPlan

Parts = tuple[Mapping[str, pd.DataFrame], dict[str, Any]]


class Artifact(Protocol):
    """What can be stored: frames by name, and whatever else fits in JSON."""

    def parts(self) -> Parts:
        """The artifact taken apart."""
        ...

    @classmethod
    def from_parts(cls, frames: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]) -> Self:
        """The artifact put together."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """What arrived: the import it belongs to, and the archived delivery.

    base_hash: the effective set it is applied to, None before the first import. sources: what each
    file of the new effective set stands on. package: the delivery as it was opened, for the next
    step of the same run; it is not stored.
    """

    import_id: int
    delivery: Delivery
    base_hash: str | None
    sources: Sources
    package: Package | None = None

    def parts(self) -> Parts:
        """No frames."""
        return {}, {
            "import_id": self.import_id,
            "delivery": asdict(self.delivery),
            "base_hash": self.base_hash,
            "sources": {name: list(chain) for name, chain in self.sources.items()},
        }

    @classmethod
    def from_parts(cls, frames: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]) -> Snapshot:
        """From its JSON."""
        delivery = Delivery(**meta["delivery"])
        return cls(meta["import_id"], delivery, meta["base_hash"], meta["sources"])


@dataclass(frozen=True)
class StagedRoster:
    """A roster between two stages, and the import it belongs to."""

    import_id: int
    roster: Roster

    def parts(self) -> Parts:
        """Frames by enrollment type (or file), and the roster's own frames with a leading `_`."""
        roster = self.roster
        own = {
            "_organizations": roster.organizations,
            "_ended": roster.ended,
            "_kept": roster.kept,
            "_school_decisions": roster.school_decisions,
        }
        return {**roster.frames, **own}, {
            "import_id": self.import_id,
            "sources": {name: dict(s) for name, s in roster.sources.items()},
            "absent_files": list(roster.absent_files),
        }

    @classmethod
    def from_parts(
        cls, frames: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]
    ) -> StagedRoster:
        """The roster as it was stored."""
        roster = Roster(
            frames={name: f for name, f in frames.items() if not name.startswith("_")},
            organizations=frames["_organizations"],
            ended=frames["_ended"],
            kept=frames["_kept"],
            school_decisions=frames["_school_decisions"],
            sources=meta["sources"],
            absent_files=tuple(meta["absent_files"]),
        )
        return cls(meta["import_id"], roster)


@dataclass(frozen=True)
class StagedPlan:
    """A plan, the import it belongs to, and the last accepted import it was computed upon."""

    import_id: int
    base_import_id: int | None
    plan: SyncPlan
    school_decisions: pd.DataFrame

    def parts(self) -> Parts:
        """The changes by enrollment type, and the plan's other frames with a leading `_`."""
        plan = self.plan
        own = {
            "_deleted": plan.deleted,
            "_kept": plan.kept,
            "_counts": plan.counts,
            "_school_decisions": self.school_decisions,
        }
        meta = {"import_id": self.import_id, "base_import_id": self.base_import_id}
        return {**plan.changes, **own}, meta

    @classmethod
    def from_parts(cls, frames: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]) -> StagedPlan:
        """The plan as it was stored."""
        changes = {name: f for name, f in frames.items() if not name.startswith("_")}
        plan = SyncPlan(changes, frames["_deleted"], frames["_kept"], frames["_counts"])
        return cls(meta["import_id"], meta["base_import_id"], plan, frames["_school_decisions"])


@dataclass(frozen=True)
class _Written:
    """An artifact as it lies at its path, with the stamp that another in its place has not."""

    path: str
    stamp: str | None
    artifact: Artifact


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Stores artifacts where ROSTER_ARTIFACTS_URL says, by district and asset."""

    _last: _Written | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Remember what was written last while a run lasts, and no longer."""
        try:
            yield self
        finally:
            self._last = None

    def _in(self, store: Store, path: str) -> Artifact | None:
        """The artifact at a path, if it is the one that was written last."""
        last = self._last
        if last is None or last.path != path or last.stamp != store.stamp(path):
            return None
        return last.artifact

    def handle_output(self, context: dg.OutputContext, obj: Artifact) -> None:
        """Write an artifact beside the old one, then put it in its place."""
        district_id = checked_district(context.partition_key)
        store, path = _store(), f"{district_id}/{context.asset_key.path[-1]}"
        frames, meta = obj.parts()
        with store.arriving(district_id) as arriving:
            written = self._written_frames(store, district_id)
            for name, frame in frames.items():
                if same := written.get(id(frame)):
                    (arriving / f"{name}.parquet").hardlink_to(same)
            write_frames(arriving, {n: f for n, f in frames.items() if id(f) not in written})
            (arriving / "meta.json").write_text(json.dumps(meta))
            store.put(arriving, path)
        self._last = _Written(path, store.stamp(path), obj)

    def _written_frames(self, store: Store, district_id: str) -> dict[int, Path]:
        """By identity, the files of the frames that were written last for a district."""
        last = self._last
        if last is None or not last.path.startswith(f"{district_id}/"):
            return {}
        folder = store.folder(last.path)
        if folder is None or not self._in(store, last.path):
            return {}
        frames, _ = last.artifact.parts()
        return {id(frame): folder / f"{name}.parquet" for name, frame in frames.items()}

    def load_input(self, context: dg.InputContext) -> Artifact:
        """The artifact a stage handed on, as the type the asset asks for."""
        district_id = checked_district(context.partition_key)
        store, path = _store(), f"{district_id}/{context.asset_key.path[-1]}"
        if artifact := self._in(store, path):
            return artifact
        if not store.has(path):
            raise dg.Failure(
                f"{context.asset_key.to_user_string()} of {context.partition_key} is not there; "
                "materialise it first, or run the job import_roster.",
                allow_retries=False,
            )
        with store.open(path) as folder:
            frames = {
                file.stem: pd.read_parquet(file, dtype_backend="pyarrow")
                for file in sorted(folder.glob("*.parquet"))
            }
            meta = json.loads((folder / "meta.json").read_text())
        kind: type[Artifact] = context.dagster_type.typing_type
        return kind.from_parts(frames, meta)


def _store() -> Store:
    return store_at(load_settings().artifacts_url)
