"""The effective set of each import, kept as read, so that the next delivery can stand on it.

In the archive, `<district>/effective/<effective hash>` holds for each file its records, its
rejected rows and what was told of its rows (Parquet), and `sources.json`: which archived files it
stands on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from roster_pipeline.landing.parquet import write_frames
from roster_pipeline.landing.store import Store, StoreError
from roster_pipeline.oneroster.effective import EffectiveFile, Sources
from roster_pipeline.oneroster.reader import FileReading

_FRAMES = ("frame", "rejected", "told")


def _path(district_id: str, effective_hash: str) -> str:
    return f"{district_id}/effective/{effective_hash}"


def save_base(
    archive: Store,
    district_id: str,
    effective_hash: str,
    files: Mapping[str, EffectiveFile],
    sources: Sources,
) -> None:
    """Keep an effective set under its hash. One that is there already is the same."""
    path = _path(district_id, effective_hash)
    if archive.has(path):
        return
    with archive.arriving(f"{district_id}/effective") as arriving:
        frames = {
            f"{name}.{part}": getattr(file.reading, part)
            for name, file in files.items()
            for part in _FRAMES
        }
        write_frames(arriving, frames)
        (arriving / "sources.json").write_text(json.dumps({n: list(c) for n, c in sources.items()}))
        archive.put(arriving, path)


def _kept(archive: Store, district_id: str, effective_hash: str) -> str:
    path = _path(district_id, effective_hash)
    if not archive.has(path):
        why = (
            "the effective set that the next delivery stands on is not there (ROSTER_ARCHIVE_URL?)"
        )
        raise StoreError(archive.address(path), why)
    return path


def load_sources(archive: Store, district_id: str, effective_hash: str | None) -> Sources:
    """What the files of an effective set stand on; nothing before the first import. Raises
    StoreError when it is not in the archive."""
    if effective_hash is None:
        return {}
    with archive.open(_kept(archive, district_id, effective_hash), "sources.json") as folder:
        return _sources(folder)


def _sources(folder: Path) -> Sources:
    sources: dict[str, list[str]] = json.loads((folder / "sources.json").read_text())
    return sources


def load_base(
    archive: Store,
    district_id: str,
    effective_hash: str | None,
    *,
    without: Collection[str] = (),
) -> dict[str, FileReading]:
    """The readings of an effective set by file name; nothing before the first import.

    without: files that are not asked for, since a delivery replaces them as a whole. Raises
    StoreError when the set is not in the archive.
    """
    if effective_hash is None:
        return {}
    with archive.open(_kept(archive, district_id, effective_hash)) as folder:

        def read(name: str, part: str) -> pd.DataFrame:
            return pd.read_parquet(folder / f"{name}.{part}.parquet", dtype_backend="pyarrow")

        return {
            name: FileReading(name, read(name, "frame"), read(name, "rejected"), read(name, "told"))
            for name in _sources(folder)
            if name not in without
        }
