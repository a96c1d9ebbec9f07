"""Artifacts: what a stage hands to the next, and the IO manager that keeps it as Parquet.

Each artifact is a folder `artifacts/<district>/<asset>/` with a Parquet file a frame and
`meta.json` for the rest; it is replaced as a whole, so that a reader sees one or the other. What a
run has just written it does not read again, and a frame that a stage did not touch is not written
again: its file is linked.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import dagster as dg
import pandas as pd
from pydantic import PrivateAttr

from roster_pipeline.defs.partitions import checked_district
from roster_pipeline.landing.intake import Delivery
from roster_pipeline.oneroster.effective import Sources
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
    file of the new effective set stands on.
    """

    import_id: int
    delivery: Delivery
    base_hash: str | None
    sources: Sources

    def parts(self) -> Parts:
        """No frames."""
        return {}, {
            "import_id": self.import_id,
            "folder": str(self.delivery.folder),
            "files": list(self.delivery.files),
            "base_hash": self.base_hash,
            "sources": {name: list(chain) for name, chain in self.sources.items()},
        }

    @classmethod
    def from_parts(cls, frames: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]) -> Snapshot:
        """From its JSON."""
        delivery = Delivery(Path(meta["folder"]), tuple(meta["files"]))
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
    """An artifact as it lies in its folder, whose inode another folder in its place has not."""

    folder: Path
    inode: int
    artifact: Artifact


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Stores artifacts under `artifacts/` of ROSTER_HOME, by district and asset."""

    _last: _Written | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Remember what was written last while a run lasts, and no longer."""
        try:
            yield self
        finally:
            self._last = None

    def _folder(self, district_id: str, asset_key: dg.AssetKey) -> Path:
        return load_settings().artifacts / checked_district(district_id) / asset_key.path[-1]

    def _in(self, folder: Path) -> Artifact | None:
        """The artifact in a folder, if it is the one that was written last."""
        last = self._last
        if last is None or (folder, folder.stat().st_ino) != (last.folder, last.inode):
            return None
        return last.artifact

    def handle_output(self, context: dg.OutputContext, obj: Artifact) -> None:
        """Write an artifact beside the old one, then put it in its place."""
        folder = self._folder(context.partition_key, context.asset_key)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        arriving = Path(tempfile.mkdtemp(prefix=".arriving-", dir=folder.parent))
        frames, meta = obj.parts()
        written = self._written_frames(folder.parent)
        for name, frame in frames.items():
            if path := written.get(id(frame)):
                os.link(path, arriving / f"{name}.parquet")
            else:
                frame.to_parquet(arriving / f"{name}.parquet", compression="lz4", index=False)
        (arriving / "meta.json").write_text(json.dumps(meta))
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=".leaving-", dir=folder.parent))
            folder.replace(old / "old")
            arriving.replace(folder)
            shutil.rmtree(old)
        else:
            arriving.replace(folder)
        self._last = _Written(folder, folder.stat().st_ino, obj)

    def _written_frames(self, district: Path) -> dict[int, Path]:
        """By identity, the files of the frames that were written last for a district."""
        last = self._last
        if last is None or last.folder.parent != district or not self._in(last.folder):
            return {}
        frames, _ = last.artifact.parts()
        return {id(frame): last.folder / f"{name}.parquet" for name, frame in frames.items()}

    def load_input(self, context: dg.InputContext) -> Artifact:
        """The artifact a stage handed on, as the type the asset asks for."""
        folder = self._folder(context.partition_key, context.asset_key)
        if not folder.exists():
            raise dg.Failure(
                f"{context.asset_key.to_user_string()} of {context.partition_key} is not there; "
                "materialise it first, or run the job import_roster.",
                allow_retries=False,
            )
        if artifact := self._in(folder):
            return artifact
        frames = {
            path.stem: pd.read_parquet(path, dtype_backend="pyarrow")
            for path in sorted(folder.glob("*.parquet"))
        }
        kind: type[Artifact] = context.dagster_type.typing_type
        return kind.from_parts(frames, json.loads((folder / "meta.json").read_text()))
