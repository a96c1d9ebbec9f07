"""A state of a district's roster as a OneRoster 1.1 package: attribute mapping, backwards.

What is written and imported into an empty warehouse, under the same settings, gives the same
records again. Organisations that are no schools are not in the warehouse; those that records name
are written as districts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.oneroster.writer import write_package
from roster_pipeline.roster import TEXT, list_elements
from roster_pipeline.stages.attributes import AttributeSettings
from roster_pipeline.warehouse.state import read_records


class CannotExport(Exception):
    """A roster cannot be written as the package; the message says why."""


def export_roster(
    conn: Connection,
    district_id: str,
    settings: AttributeSettings,
    path: Path,
    as_of: int | None = None,
) -> dict[str, int]:
    """Write a district's active records, or those after an import, to a zip.

    Returns the rows by file. Raises CannotExport when one person is in several enrollment types,
    which OneRoster 1.1 cannot say.
    """
    records = {
        name: read_records(conn, district_id, name, as_of=as_of) for name in ENROLLMENT_TYPES
    }
    frames = oneroster_frames(records, settings)
    write_package(path, frames)
    return {f"{name}.csv": len(frame) for name, frame in frames.items()}


def oneroster_frames(
    records: Mapping[str, pd.DataFrame], settings: AttributeSettings
) -> dict[str, pd.DataFrame]:
    """Records by enrollment type (see `read_records`) as the frames of OneRoster 1.1 by file.
    Raises CannotExport."""
    files: dict[str, list[pd.DataFrame]] = {"orgs": [_organizations(records)]}
    for name in ENROLLMENT_TYPES:
        for file, tab in _tabs(name, records[name], settings).items():
            files.setdefault(file, []).append(tab)
    frames = {file: pd.concat(tabs, ignore_index=True) for file, tabs in files.items()}
    several = frames["users"]["sourcedId"].duplicated(keep=False)
    if several.any():
        first = ", ".join(frames["users"].loc[several, "sourcedId"].drop_duplicates().head(5))
        raise CannotExport(
            f"{int(several.sum())} records are of people who are in several enrollment types "
            f"({first}, …); OneRoster 1.1 has one role for each user."
        )
    return frames


def _tabs(name: str, records: pd.DataFrame, settings: AttributeSettings) -> dict[str, pd.DataFrame]:
    """A type's records in the columns of their files, each attribute where it was read from."""
    kinds = {a.name: a.kind for a in ENROLLMENT_TYPES[name].attributes}
    columns: dict[str, dict[str, pd.Series]] = {ENROLLMENT_TYPES[name].file: {}}
    # Lists last: where a value is the first element of a list, the list says both.
    sources = sorted(settings.sources(name).items(), key=lambda s: kinds.get(s[0]) == "list")
    own = _own(records["extra"], [a for a in settings.sources(name) if a not in kinds])
    for attribute, source in sources:
        file, _, header = source.partition(".")
        values = records[attribute] if attribute in kinds else own[attribute]
        columns.setdefault(file, {})[header] = _text(values)
    if name == "school":
        columns["orgs"]["type"] = _constant("school", records.index)
    tabs = {file: pd.DataFrame(c) for file, c in columns.items()}
    if "demographics" in tabs:
        tabs["demographics"] = tabs["demographics"].dropna(how="all")
    return {file: tab.assign(sourcedId=records["source_id"]) for file, tab in tabs.items()}


def _own(extra: pd.Series[str], names: list[str]) -> dict[str, pd.Series[str]]:
    """The district's own attributes, from their JSON."""
    read = extra.astype(object).map(json.loads, na_action="ignore") if names else extra
    return {
        name: read.map(lambda o, n=name: o.get(n), na_action="ignore").astype(TEXT)
        for name in names
    }


def _organizations(records: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The organisations that records name and that are no schools, as rows of orgs.csv."""
    named = [pd.Series([], dtype=TEXT)]
    for name, enrollment_type in ENROLLMENT_TYPES.items():
        for attribute in enrollment_type.references:
            if "organization" in attribute.refers_to:
                values = records[name][attribute.name]
                is_list = attribute.kind == "list"
                named.append(pd.Series(list_elements(values)[1]) if is_list else values)
    ids = pd.concat(named, ignore_index=True).dropna().drop_duplicates()
    ids = ids.loc[~ids.isin(records["school"]["source_id"])].reset_index(drop=True)
    return pd.DataFrame({"sourcedId": ids, "name": ids, "type": _constant("district", ids.index)})


def _text(values: pd.Series) -> pd.Series[str]:
    text = pc.cast(pa.array(values), pa.string())
    return pd.Series(pd.arrays.ArrowExtensionArray(text), index=values.index)


def _constant(value: str, index: pd.Index) -> pd.Series[str]:
    return pd.Series(value, index=index, dtype=TEXT)
