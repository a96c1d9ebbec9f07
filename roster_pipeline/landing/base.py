"""The effective set of each import, kept as read, so that the next delivery can stand on it.

`archive/<district>/effective/<effective hash>/` holds for each file its records, its rejected rows
and what was told of its rows (Parquet), and `sources.json`: which archived files it stands on.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from roster_pipeline.oneroster.effective import EffectiveFile, Sources
from roster_pipeline.oneroster.reader import FileReading

_FRAMES = ("frame", "rejected", "told")


def _folder(archive: Path, district_id: str, effective_hash: str) -> Path:
    return archive / district_id / "effective" / effective_hash


def save_base(
    archive: Path,
    district_id: str,
    effective_hash: str,
    files: Mapping[str, EffectiveFile],
    sources: Sources,
) -> None:
    """Keep an effective set under its hash. One that is there already is the same."""
    folder = _folder(archive, district_id, effective_hash)
    if folder.exists():
        return
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arriving = Path(tempfile.mkdtemp(prefix=".arriving-", dir=folder.parent))
    try:
        for name, file in files.items():
            for part in _FRAMES:
                frame: pd.DataFrame = getattr(file.reading, part)
                frame.to_parquet(arriving / f"{name}.{part}.parquet", compression="zstd")
        (arriving / "sources.json").write_text(json.dumps({n: list(c) for n, c in sources.items()}))
        if not folder.exists():
            arriving.rename(folder)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def load_sources(archive: Path, district_id: str, effective_hash: str | None) -> Sources:
    """What the files of an effective set stand on; nothing before the first import."""
    if effective_hash is None:
        return {}
    path = _folder(archive, district_id, effective_hash) / "sources.json"
    sources: dict[str, list[str]] = json.loads(path.read_text())
    return sources


def load_base(
    archive: Path, district_id: str, effective_hash: str | None
) -> dict[str, FileReading]:
    """The readings of an effective set by file name; nothing before the first import."""
    if effective_hash is None:
        return {}
    folder = _folder(archive, district_id, effective_hash)

    def read(name: str, part: str) -> pd.DataFrame:
        return pd.read_parquet(folder / f"{name}.{part}.parquet", dtype_backend="pyarrow")

    return {
        name: FileReading(name, read(name, "frame"), read(name, "rejected"), read(name, "told"))
        for name in load_sources(archive, district_id, effective_hash)
    }
