"""How frames are kept as Parquet files, in the archive and among the artifacts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd


def write_frames(folder: Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write each frame as `<name>.parquet` into the folder, as many at a time as there are
    processors: Arrow works outside of Python's lock."""

    def write(name: str) -> None:
        # Most columns are ids; to look for what repeats in them takes half the time.
        frames[name].to_parquet(
            folder / f"{name}.parquet", compression="zstd", use_dictionary=False, index=False
        )

    largest_first = sorted(frames, key=lambda name: -len(frames[name]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, largest_first))
