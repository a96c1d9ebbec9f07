"""The plan: what an import would change in the warehouse, record by record and in sum.

Compares the roster with the warehouse's state and decides for each received record whether it is
added, updated, unchanged or restored, and for each record that was not received whether it is
deleted, or kept because it was received but rejected (design rules 4.9 and 4.11). Nothing is
written here; the warehouse merges what this says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES
from roster_pipeline.roster import INTEGER, TEXT, Roster, one_array, school_of

UNIT_SEPARATOR = "\x1f"
COUNT_COLUMNS = ("enrollment_type", "school", "outcome", "records")
CHANGE_COLUMNS = ("enrollment_type", "attribute", "records")

_PAIRS_OF_DIGITS = np.frombuffer(bytes(range(256)).hex().encode(), np.uint16)
"""Each byte as two hexadecimal digits."""


@dataclass(frozen=True)
class SyncPlan:
    """What the merge is to do.

    changes: by enrollment type, the received records with source_id, all attributes, `extra` (a
        JSON object of the district's own attributes, or null), file, row, `record_hash` (16
        hexadecimal digits over `source_id`, all attributes and `extra`) and `outcome` (added,
        updated, unchanged, restored).
    deleted: active records that were not received; columns enrollment_type, source_id, school.
    kept: active records that were received but rejected and stay in their last good version;
        columns as `deleted`.
    counts: long form, columns enrollment_type, school (null where a type has none), outcome
        (all received outcomes and deleted, kept), records (int).
    """

    changes: Mapping[str, pd.DataFrame]
    deleted: pd.DataFrame
    kept: pd.DataFrame
    counts: pd.DataFrame


def record_hash(enrollment_type: str, frame: pd.DataFrame) -> pd.Series[str]:
    """A content hash of each record: 16 hexadecimal digits over all that the warehouse stores.

    Two rows that say the same hash the same whatever file or row they come from.
    """
    columns = [
        "source_id",
        *(a.name for a in ENROLLMENT_TYPES[enrollment_type].attributes),
        "extra",
    ]
    table = pa.Table.from_pandas(frame[columns], preserve_index=False)
    parts = [pc.fill_null(pc.cast(table[column], pa.string()), "\x00") for column in columns]
    joined = pc.binary_join_element_wise(*parts, UNIT_SEPARATOR).to_numpy()
    hashes = pd.util.hash_array(joined, categorize=False)
    digits = _PAIRS_OF_DIGITS[hashes.astype(">u8").view(np.uint8)]
    texts = pa.Array.from_buffers(pa.binary(16), len(hashes), [None, pa.py_buffer(digits)]).cast(
        pa.binary()
    )
    return _series(texts.cast(pa.string()), frame.index)


def stored_records(roster: Roster) -> dict[str, pd.DataFrame]:
    """The records of a roster as the warehouse would keep them, by enrollment type: as
    SyncPlan.changes, yet without `outcome`. Raises ValueError when a type has two records of one
    source id."""
    return {name: _stored(name, roster) for name in ENROLLMENT_TYPES}


def make_plan(
    roster: Roster, records: Mapping[str, pd.DataFrame], warehouse: Mapping[str, pd.DataFrame]
) -> SyncPlan:
    """Compare a roster with the warehouse's state.

    records: the roster's, as `stored_records` returns them. warehouse: by enrollment type, all
    records of the district with columns source_id, record_hash, active, school; a source id once.
    """
    changes, missing_by_type = {}, []
    for name, frame in records.items():
        known = warehouse[name]
        places = pc.index_in(one_array(frame["source_id"]), one_array(known["source_id"]))
        changes[name] = frame.assign(outcome=_outcomes(frame, known, places))
        missing_by_type.append(_not_received(name, known, places))
    missing = pd.concat(missing_by_type, ignore_index=True)
    is_kept = _keys(missing).isin(_keys(roster.kept))
    deleted = missing.loc[~is_kept].reset_index(drop=True)
    kept = missing.loc[is_kept].reset_index(drop=True)
    return SyncPlan(changes, deleted, kept, _counts(changes, roster.ended, deleted, kept))


def _stored(name: str, roster: Roster) -> pd.DataFrame:
    frame = roster.frames[name]
    if not frame["source_id"].is_unique:
        raise ValueError(f"Two records of type {name} have one source id.")
    known_names = {a.name for a in ENROLLMENT_TYPES[name].attributes}
    own = [a for a in roster.sources.get(name, ()) if a not in known_names]
    frame = frame.drop(columns=own).assign(extra=_json({a: frame[a] for a in own}, frame.index))
    return frame.assign(record_hash=record_hash(name, frame))


def _outcomes(frame: pd.DataFrame, known: pd.DataFrame, places: pa.Array) -> pd.Series[str]:
    """What becomes of each record. places: where in `known` it is, null for one that is new."""
    was_active = one_array(known["active"]).take(places)
    same = pc.equal(one_array(frame["record_hash"]), one_array(known["record_hash"]).take(places))
    outcomes = pc.case_when(
        pc.make_struct(pc.is_null(was_active), pc.invert(was_active), same),
        *("added", "restored", "unchanged", "updated"),
    )
    return _series(outcomes, frame.index)


def _json(extra: Mapping[str, pd.Series], index: pd.Index) -> pd.Series[str]:
    """The district's own attributes as one JSON object a record, null where all are blank."""
    if not extra:
        return pd.Series(pd.NA, index, dtype=TEXT)
    members = [_json_member(name, pa.array(values, pa.string())) for name, values in extra.items()]
    joined = pc.binary_join_element_wise(*members, "")
    whole = pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(joined, 1), "}", "")
    blank = pc.equal(joined, "")
    return _series(pc.if_else(blank, pa.scalar(None, pa.string()), whole), index)


def _json_member(name: str, text: pa.Array) -> pa.Array:
    """`,"name":"text"` as JSON wants it, empty where the text is null. Without blanks, as SQLite
    writes it too, so that it stays the same text on its way through history."""
    escapes = {"\\": "\\\\", '"': '\\"'}
    if pc.any(pc.match_substring_regex(text, r"[\x00-\x1f]")).as_py():
        escapes |= {chr(code): f"\\u{code:04x}" for code in range(0x20)}
    for plain, escaped in escapes.items():
        text = pc.replace_substring(text, plain, escaped)
    return pc.fill_null(pc.binary_join_element_wise(f',"{name}":"', text, '"', ""), "")


def _series(array: pa.Array, index: pd.Index) -> pd.Series[str]:
    return pd.Series(pd.arrays.ArrowExtensionArray(array), index=index)


def _not_received(name: str, known: pd.DataFrame, places: pa.Array) -> pd.DataFrame:
    received = np.zeros(len(known), bool)
    received[places.drop_null().to_numpy()] = True
    gone = known.loc[known["active"].fillna(False).astype(bool) & ~received]
    return pd.DataFrame(
        {
            "enrollment_type": pd.Series(name, gone.index, dtype=TEXT),
            "source_id": gone["source_id"],
            "school": gone["school"],
        }
    )


def changed_attributes(name: str, after: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """In how many records each attribute differs; columns CHANGE_COLUMNS, attributes that differ
    in none left out.

    after, before: records of a type with source_id, the attributes and `extra`; those that are in
    one of the two only do not count.
    """
    columns = [*(a.name for a in ENROLLMENT_TYPES[name].attributes), "extra"]
    places = pc.index_in(one_array(after["source_id"]), one_array(before["source_id"]))
    new = pa.Table.from_pandas(after[columns], preserve_index=False).filter(pc.is_valid(places))
    old = pa.Table.from_pandas(before[columns], preserve_index=False).take(places.drop_null())
    numbers = {column: _differing(new[column], old[column]) for column in columns}
    told = {c: n for c, n in numbers.items() if n}
    return pd.DataFrame(
        {
            "enrollment_type": pd.Series([name] * len(told), dtype=TEXT),
            "attribute": pd.Series(list(told), dtype=TEXT),
            "records": pd.Series(list(told.values()), dtype=INTEGER),
        }
    )


def _differing(after: pa.ChunkedArray, before: pa.ChunkedArray) -> int:
    texts = [pc.fill_null(pc.cast(values, pa.string()), "\x00") for values in (after, before)]
    return int(pc.sum(pc.not_equal(*texts)).as_py() or 0)


def plan_hash(plan: SyncPlan, decisions: pd.DataFrame) -> str:
    """What an approval is bound to: 64 hexadecimal digits over every change the plan would make
    and the schools it is made for; records that stay as they are do not count."""
    digest = hashlib.sha256()
    sets = [frame.loc[frame["outcome"] != "unchanged"] for frame in plan.changes.values()]
    columns = ["source_id", "outcome", "record_hash"]
    keys = ["enrollment_type", "source_id"]
    for frame in [f[columns] for f in sets] + [plan.deleted[keys], plan.kept[keys]]:
        digest.update(_hash_of(frame))
    digest.update(_hash_of(decisions[["org_id", "school_id"]]))
    return digest.hexdigest()


def _hash_of(frame: pd.DataFrame) -> bytes:
    """A hash over the rows of a frame of texts, in whatever order."""
    parts = [pc.fill_null(pa.array(frame[c], pa.string()), "\x00") for c in frame.columns]
    rows = pc.binary_join_element_wise(*parts, UNIT_SEPARATOR).to_numpy(zero_copy_only=False)
    hashes = np.sort(pd.util.hash_array(rows, categorize=False)) if len(rows) else np.array([])
    return hashlib.sha256(hashes.tobytes()).digest()


def without_deletions(plan: SyncPlan) -> SyncPlan:
    """The plan with its additions and updates only. (Not the other way round: what is updated may
    lean on what is added, and what is deleted may be leant on by what is not updated.)"""
    counts = plan.counts.loc[plan.counts["outcome"] != "deleted"].reset_index(drop=True)
    return replace(plan, deleted=plan.deleted.iloc[:0], counts=counts)


def _keys(records: pd.DataFrame) -> pd.Series[str]:
    return records["enrollment_type"] + UNIT_SEPARATOR + records["source_id"]


def _counts(
    changes: Mapping[str, pd.DataFrame],
    ended: pd.DataFrame,
    deleted: pd.DataFrame,
    kept: pd.DataFrame,
) -> pd.DataFrame:
    keys = list(COUNT_COLUMNS[:3])
    received = [
        pd.DataFrame({"school": school_of(name, frame), "outcome": frame["outcome"]}).assign(
            enrollment_type=name
        )
        for name, frame in changes.items()
    ]
    missing = [deleted.assign(outcome="deleted"), kept.assign(outcome="kept")]
    schema = pa.schema([(key, pa.string()) for key in keys])
    rows = pa.concat_tables(
        pa.Table.from_pandas(frame[keys], schema, preserve_index=False)
        for frame in (*received, ended, *missing)
    )
    counts = rows.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    told: pd.DataFrame = counts.rename_columns(list(COUNT_COLUMNS)).to_pandas(
        types_mapper=pd.ArrowDtype
    )
    return told
