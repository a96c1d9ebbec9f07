"""The whole content of the roster tables as one hash, so that tests can tell whether it is as it
was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Text, cast, select

from roster_pipeline.warehouse import bulk
from roster_pipeline.warehouse.tables import ROSTER_TABLES

CHANGED_BY_UNDO = ("last_import_id", "updated_at")
"""Columns that tell when a row was last written, and so differ when an undo has written it."""


def content_hash(
    conn: Connection, district_id: str | None = None, without: Sequence[str] = ()
) -> str:
    """A hash over every column of every row of the roster tables, of one district or of all.

    without: columns that do not count. It does not depend on the order in which rows were written.
    Two states that are equal in one database hash the same; those of a SQLite and a PostgreSQL
    warehouse do not.
    """
    digest = hashlib.sha256()
    for name, table in ROSTER_TABLES.items():
        hashed = [column for column in table.c if column.name not in without]
        statement = select(*(cast(column, Text) for column in hashed))
        if district_id is not None:
            statement = statement.where(table.c.district_id == district_id)
        rows = bulk.fetch(conn, statement, {column.name: pa.string() for column in hashed})
        columns: list[Any] = rows.columns
        parts: Any = [pc.fill_null(column, "\x00") for column in columns]
        texts = pc.binary_join_element_wise(*parts, "\x1f").to_numpy(zero_copy_only=False)
        digest.update(f"{name} {len(texts)}\n".encode())
        digest.update(np.sort(pd.util.hash_array(texts, categorize=False)).tobytes())
    return digest.hexdigest()
