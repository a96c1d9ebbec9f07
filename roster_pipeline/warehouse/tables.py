"""The warehouse's tables, as SQLAlchemy knows them; `migrations` says how a database gets them.

The roster tables are made from the enrollment types, so that an attribute is named once. Views for
analysts (`active_students` and so on: the rows of a roster table that are active) exist in the
database only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from roster_pipeline.roster import ENROLLMENT_TYPES, EnrollmentType, Kind


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: stored in UTC, returned timezone-aware, on both dialects (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; a moment in the warehouse needs one.")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

LIST = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A list attribute: an array of strings that both dialects can query."""

OBJECT = JSON(none_as_null=True)
"""A JSON object that comes back as the text that went in (JSONB would reorder its keys)."""

SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""A key the database counts up; SQLite does so for INTEGER only."""

_TYPES: dict[Kind, TypeEngine[Any]] = {
    "text": Text(),
    "list": LIST,
    "date": Date(),
    "boolean": Boolean(),
}

_INDEXED_ATTRIBUTES = {
    "students": ("primary_school",),
    "teachers": ("primary_school",),
    "admins": ("primary_school",),
    "contacts": ("primary_school",),
    "classes": ("school_id",),
    "enrollments": ("class_id", "person_id"),
}


def _roster_table(enrollment_type: EnrollmentType) -> Table:
    # No foreign key to imports: checking it for each of a million rows would cost more than
    # writing them, and import ids come from the merge, not from people.
    table = Table(
        enrollment_type.table,
        metadata,
        Column("district_id", Text, primary_key=True),
        Column("source_id", Text, primary_key=True),
        *(Column(a.name, _TYPES[a.kind]) for a in enrollment_type.attributes),
        Column("extra", OBJECT),
        Column("record_hash", Text, nullable=False),
        Column("active", Boolean, nullable=False),
        Column("first_import_id", Integer, nullable=False),
        Column("last_import_id", Integer, nullable=False),
        Column("stale_since", UtcDateTime),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
        # Kept in the order of its key: a district is read in one sweep, not row by row.
        sqlite_with_rowid=False,
    )
    for attribute in _INDEXED_ATTRIBUTES.get(enrollment_type.table, ()):
        Index(None, table.c.district_id, table.c[attribute])
    return table


ROSTER_TABLES: dict[str, Table] = {t.name: _roster_table(t) for t in ENROLLMENT_TYPES.values()}
"""By enrollment type. `last_import_id` is the import that last changed the row in any way;
`stale_since` is when a record first came in rejected and was kept in its last good version."""

record_history = Table(
    "record_history",
    metadata,
    Column("district_id", Text, primary_key=True),
    Column("enrollment_type", Text, primary_key=True),
    Column("source_id", Text, primary_key=True),
    Column("replaced_by_import_id", Integer, primary_key=True, autoincrement=False),
    Column("valid_from_import_id", Integer, nullable=False),
    Column("change", Text, nullable=False),
    Column("record", JSON().with_variant(JSONB(), "postgresql"), nullable=False),
    Column("record_hash", Text, nullable=False),
    Column("was_active", Boolean, nullable=False),
    Column("was_stale_since", UtcDateTime),
    Column("replaced_at", UtcDateTime, nullable=False),
)
"""Every version a record had before its present one. A version holds from `valid_from_import_id`
until `replaced_by_import_id`, without gaps, so that any past state can be read. `record` is an
object of source_id, the attributes and extra. change: what ended the version (updated, deleted,
restored, stale, refreshed)."""
Index(None, record_history.c.district_id, record_history.c.replaced_by_import_id)

school_mappings = Table(
    "school_mappings",
    metadata,
    Column("district_id", Text, primary_key=True),
    Column("org_id", Text, primary_key=True),
    Column("school_id", Text),
    Column("how", Text, nullable=False),
    Column("first_import_id", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
"""Which of the warehouse's schools an organisation of a delivery is. how: known, identifier, name,
new, manual or ignored (then `school_id` is null)."""

imports = Table(
    "imports",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("district_id", Text, nullable=False),
    Column("app", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("run_id", Text),
    Column("preview", Boolean, nullable=False),
    Column("host", Text, nullable=False),
    Column("process_id", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("effective_hash", Text),
    Column("settings_hash", Text, nullable=False),
    Column("message", Text),
    sqlite_autoincrement=True,
)
Index(None, imports.c.district_id, imports.c.status)

import_counts = Table(
    "import_counts",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("import_id", Integer, ForeignKey(imports.c.id), nullable=False, index=True),
    Column("enrollment_type", Text, nullable=False),
    Column("school", Text),
    Column("outcome", Text, nullable=False),
    Column("records", Integer, nullable=False),
)

import_files = Table(
    "import_files",
    metadata,
    Column("import_id", Integer, ForeignKey(imports.c.id), primary_key=True),
    Column("file", Text, primary_key=True),
    Column("mode", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("import_id", Integer, ForeignKey(imports.c.id), nullable=False, index=True),
    Column("file", Text),
    Column("row", Integer),
    Column("field", Text),
    Column("source_id", Text),
    Column("school", Text),
    Column("enrollment_type", Text),
    Column("attribute", Text),
    Column("stage", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("how_to_fix", Text, nullable=False),
)
