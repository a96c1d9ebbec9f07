"""Writes OneRoster packages: exact headers in the standard's order, quoting, manifest."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from roster_pipeline.oneroster.standard import VERSIONS, Version

ZIP_TIMESTAMP = (2000, 1, 1, 0, 0, 0)


def csv_bytes(frame: pd.DataFrame, version: Version, file: str) -> bytes:
    """One data file. `frame` has any of the file's columns, by name, as texts or as read, and may
    have `metadata.*` columns; a missing column is written blank."""
    spec = version.files[file]
    blank = pa.nulls(len(frame), pa.string())
    arrays = {
        column.written: _texts(frame[column.name]) if column.name in frame else blank
        for column in spec.columns
    }
    arrays |= {
        name: _texts(frame[name])
        for name in frame.columns
        if name.startswith("metadata.") and name not in arrays
    }
    sink = pa.BufferOutputStream()
    options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
    sink.write((",".join(arrays) + "\n").encode())
    pacsv.write_csv(pa.table(arrays), sink, options)
    return bytes(sink.getvalue())


def _texts(column: pd.Series[Any]) -> pa.Array | pa.ChunkedArray:
    """A column as the standard writes it: dates as YYYY-MM-DD, booleans as true and false."""
    if isinstance(column.dtype, pd.ArrowDtype):
        return pa.array(column, from_pandas=True).cast(pa.string())
    return pa.array(column, pa.string(), from_pandas=True)


def manifest_bytes(version: Version, modes: Mapping[str, str]) -> bytes:
    """manifest.csv with a `file.X` row for every file the version knows (absent unless in
    `modes`, whose values are `bulk` or `delta`)."""
    names = sorted([*version.files, *version.left_alone])
    rows = [
        ("manifest.version", "1.0"),
        ("oneroster.version", version.name),
        *((f"file.{name}", modes.get(name, "absent")) for name in names),
    ]
    return "".join(f"{key},{value}\n" for key, value in [("propertyName", "value"), *rows]).encode()


def write_package(
    path: Path,
    frames: Mapping[str, pd.DataFrame],
    *,
    version: str = "1.1",
    modes: Mapping[str, str] | None = None,
    replaced: Mapping[str, bytes] | None = None,
) -> None:
    """Write a package to `path`: a zip when it ends in `.zip`, else a folder of CSV files.

    frames: by file name. modes: by file name, `bulk` where not told. replaced: whole files, by
    name without `.csv`, that stand in for what would be written (to plant faults no frame holds).
    """
    spec = VERSIONS[version]
    files = {file: csv_bytes(frame, spec, file) for file, frame in frames.items()}
    files["manifest"] = manifest_bytes(spec, {f: (modes or {}).get(f, "bulk") for f in frames})
    files |= replaced or {}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                info = zipfile.ZipInfo(f"{name}.csv", ZIP_TIMESTAMP)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / f"{name}.csv").write_bytes(content)
