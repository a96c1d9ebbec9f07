"""`Roster`, the frames that travel from stage to stage, and what all stages do with their columns.

What a record is lives in `enrollment_types`; what a stage does to them lives in `stages/`; what is
told about them lives in `findings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, Kind

TEXT = pd.ArrowDtype(pa.string())
INTEGER = pd.ArrowDtype(pa.int64())
DTYPES: dict[Kind, pd.ArrowDtype] = {
    "text": TEXT,
    "list": TEXT,
    "date": pd.ArrowDtype(pa.date32()),
    "boolean": pd.ArrowDtype(pa.bool_()),
}


UNTYPED = "user"
"""Where a row of users.csv is counted whose role cannot be read, so that no row goes uncounted."""

ENDED_COLUMNS = ("enrollment_type", "source_id", "school", "file", "row", "outcome")
RECEIVED_OUTCOMES = (
    "added",
    "updated",
    "unchanged",
    "restored",
    "removed",
    "filtered",
    "skipped",
    "duplicate",
    "invalid",
)
"""What can become of a received record; exactly one of these (design rule 4.13)."""
REJECTED_OUTCOMES = ("skipped", "duplicate", "invalid")


def empty_ended() -> pd.DataFrame:
    """An `ended` frame without rows."""
    return pd.DataFrame(
        {
            column: pd.Series([], dtype=INTEGER if column == "row" else TEXT)
            for column in ENDED_COLUMNS
        }
    )


def empty_texts(*columns: str) -> pd.DataFrame:
    """A frame of these text columns without rows."""
    return pd.DataFrame({column: pd.Series([], dtype=TEXT) for column in columns})


@dataclass(frozen=True)
class Roster:
    """All records of one import on their way through the stages.

    frames: by enrollment type, columns `source_id`, the type's attributes, the district's own
        attributes as text, `file`, `row` (as a spreadsheet counts, the header is 1), and for
        students `demographics_row`. Index: RangeIndex. From parsing to attribute mapping they
        are keyed by OneRoster file instead and have the file's columns.
    organizations: districts and other organisations that are no schools; read for references
        only. Columns source_id, name, org_type, parent_id, file, row.
    ended: the received records that go no further, with ENDED_COLUMNS; `outcome` is one of
        filtered, skipped, duplicate, invalid.
    kept: records of the warehouse that were received but rejected and whose own references will
        stay active, so that they stay in their last good version (design rule 4.9); columns
        enrollment_type, source_id. Known after links.
    school_decisions: which school of the warehouse each received organisation is; columns org_id,
        school_id, how. Known after school mapping.
    sources: by enrollment type, which `file.header` an attribute was read from; its keys are all
        attributes the type has in this district.
    absent_files: data files that are neither required nor in the effective set; references into
        them cannot be checked.
    """

    frames: Mapping[str, pd.DataFrame]
    organizations: pd.DataFrame = field(
        default_factory=lambda: empty_texts("source_id", "name", "org_type", "parent_id", "file")
    )
    ended: pd.DataFrame = field(default_factory=empty_ended)
    kept: pd.DataFrame = field(default_factory=lambda: empty_texts("enrollment_type", "source_id"))
    school_decisions: pd.DataFrame = field(
        default_factory=lambda: empty_texts("org_id", "school_id", "how")
    )
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    absent_files: tuple[str, ...] = ()

    def end(self, enrollment_type: str, mask: pd.Series[bool], outcome: str) -> Roster:
        """The roster with the records under `mask` (aligned with the type's frame) ended."""
        if not mask.any():
            return self
        frame = self.frames[enrollment_type]
        gone = ended_records(enrollment_type, frame.loc[mask], outcome)
        left = frame.loc[~mask].reset_index(drop=True)
        return replace(
            self,
            frames={**self.frames, enrollment_type: left},
            ended=pd.concat([self.ended, gone], ignore_index=True),
        )

    def received(self) -> dict[str, int]:
        """Received records by enrollment type: those that travel on and those that ended."""
        ended = {str(k): int(v) for k, v in self.ended["enrollment_type"].value_counts().items()}
        names = [*self.frames, *(name for name in ended if name not in self.frames)]
        return {name: len(self.frames.get(name, ())) + ended.get(name, 0) for name in names}


def ended_records(enrollment_type: str, frame: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Rows of a type's frame in the shape of `Roster.ended`."""
    return pd.DataFrame(
        {
            "enrollment_type": pd.Series(enrollment_type, index=frame.index, dtype=TEXT),
            "source_id": frame["source_id"],
            "school": school_of(enrollment_type, frame),
            "file": frame["file"],
            "row": frame["row"],
            "outcome": pd.Series(outcome, index=frame.index, dtype=TEXT),
        }
    )


def school_of(enrollment_type: str, frame: pd.DataFrame) -> pd.Series[str]:
    """The school (a source id) each record is counted under; null where it has none."""
    attribute = ENROLLMENT_TYPES[enrollment_type].school_attribute
    if attribute is None:
        return pd.Series(pd.NA, index=frame.index, dtype=TEXT)
    return frame[attribute]


def first_element(lists: pd.Series[str]) -> pd.Series[str]:
    """The first element of each value of a list attribute; null where there is none."""
    texts = pa.array(lists, pa.string(), from_pandas=True)
    first = pc.replace_substring_regex(texts, ",.*", "")
    return pd.Series(pd.arrays.ArrowExtensionArray(first), index=lists.index)


def list_elements(values: pd.Series[str]) -> tuple[np.ndarray, pd.arrays.ArrowExtensionArray]:
    """The elements of a list attribute: for each, the position of its record, and its text."""
    lists = pc.split_pattern(pa.array(values, pa.string()), ",")
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    positions = pc.list_parent_indices(lists).to_numpy()
    return positions, pd.arrays.ArrowExtensionArray(pc.list_flatten(lists))


def joined_elements(
    positions: np.ndarray, elements: pd.arrays.ArrowExtensionArray, index: pd.Index
) -> pd.Series[str]:
    """The list attribute of some `list_elements`: by the positions of records, in ascending order,
    into the records of an index. Null where a record has none."""
    numbers = np.bincount(positions, minlength=len(index))
    offsets = np.concatenate(([0], np.cumsum(numbers))).astype(np.int32)
    lists = pa.ListArray.from_arrays(offsets, one_array(elements), mask=pa.array(numbers == 0))
    return pd.Series(pd.arrays.ArrowExtensionArray(pc.binary_join(lists, ",")), index=index)


def lookup(keys: pd.Series[str], ids: pd.Series[str], values: pd.Series) -> pd.Series:
    """For each key the value beside the equal id, null where no id is equal. `ids` and `values`
    are aligned, and the ids distinct."""
    places = pc.index_in(one_array(keys), one_array(ids))
    found = one_array(values).take(places)
    return pd.Series(pd.arrays.ArrowExtensionArray(found), index=keys.index)


def one_array(values: pd.Series | pd.arrays.ArrowExtensionArray) -> pa.Array:
    """A column as one Arrow array, whatever chunks it is in."""
    array = pa.array(values)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
