"""The warehouse's tables, as SQLAlchemy knows them; `migrations` says how a database gets them.

The roster tables are made from the enrollment types, so that an attribute is named once. Beside
each there are two views for analysts: `active_students` and so on, the rows that are active, exist
in the database only; `students_versions` and so on, every version a record has or had, are
VERSION_VIEWS here, since reading a past state reads them too.
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

from roster_pipeline.enrollment_types import ENROLLMENT_TYPES, EnrollmentType, Kind


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
        "uq": "uq_%(table_name)s_%(column_0_name)s",
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
    # By it a school's records are found, and counted without being read. (Courses are few.)
    if (school := enrollment_type.school_attribute) in ("primary_school", "school_id"):
        Index(None, table.c.district_id, table.c[school], table.c.active)
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
    Column("record", JSON(), nullable=False),
    Column("record_hash", Text, nullable=False),
    Column("was_active", Boolean, nullable=False),
    Column("was_stale_since", UtcDateTime),
    Column("replaced_at", UtcDateTime, nullable=False),
    Column("first_import_id", Integer),
    Column("created_at", UtcDateTime),
)
"""Every version a record had before its present one. A version holds from `valid_from_import_id`
until `replaced_by_import_id`, without gaps while the record is in its table, so that any past state
can be read. `record` is an object of source_id, the attributes and extra (JSON, not JSONB, which
would reorder the keys of extra). change: what ended the version (updated, deleted, restored, stale,
refreshed, undone). An undone import's additions are in history only."""
Index(None, record_history.c.district_id, record_history.c.replaced_by_import_id)


def _version_view(enrollment_type: EnrollmentType) -> Table:
    return Table(
        f"{enrollment_type.table}_versions",
        MetaData(),
        Column("district_id", Text),
        Column("source_id", Text),
        *(Column(a.name, _TYPES[a.kind]) for a in enrollment_type.attributes),
        Column("extra", OBJECT),
        Column("record_hash", Text),
        Column("active", Boolean),
        Column("stale_since", UtcDateTime),
        Column("first_import_id", Integer),
        Column("created_at", UtcDateTime),
        Column("valid_from_import_id", Integer),
        Column("valid_until_import_id", Integer),
    )


VERSION_VIEWS: dict[str, Table] = {t.name: _version_view(t) for t in ENROLLMENT_TYPES.values()}
"""By enrollment type, the view of all versions. A version holds from the import
`valid_from_import_id` until `valid_until_import_id`, which is null for the present one."""

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
    Column("org_name", Text),
    Column("org_identifier", Text),
)
"""Which of the warehouse's schools an organisation of a delivery is. how: known, identifier, name,
new, manual, ignored or pending (in these two `school_id` is null). org_name and org_identifier are
what the delivery says of one that was pending."""

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
    Column("delivery", Text),
    Column("state_of", Integer),
    sqlite_autoincrement=True,
)
"""delivery: the folder of the delivery in the archive, from which it can be taken again when a
person has decided. state_of: of an undo, the import whose state it gave back, never itself an undo;
null when there was none before."""
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
    Column("cause", Text),
)

import_changes = Table(
    "import_changes",
    metadata,
    Column("import_id", Integer, ForeignKey(imports.c.id), primary_key=True),
    Column("enrollment_type", Text, primary_key=True),
    Column("attribute", Text, primary_key=True),
    Column("records", Integer, nullable=False),
)
"""In how many of an import's updated records each attribute changed."""

holds = Table(
    "holds",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("import_id", Integer, ForeignKey(imports.c.id), nullable=False, index=True),
    Column("plan_hash", Text, nullable=False),
    Column("reasons", OBJECT, nullable=False),
    Column("held_at", UtcDateTime, nullable=False),
    Column("decision", Text),
    Column("part", Text),
    Column("decided_by", Text),
    Column("decided_at", UtcDateTime),
    Column("decided_because", Text),
)
"""Each time an import was held: why (`reasons`, sentences and figures without a person's data), the
plan that was shown, and what was decided (approved, rejected, superseded; null while it waits).
part: what an approval was limited to; null for the whole."""

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("district_id", Text, nullable=False),
    Column("import_id", Integer),
    Column("detail", Text),
)
"""What people did, newest last: approve, reject, undo, school mappings, landing accounts."""

landing_accounts = Table(
    "landing_accounts",
    metadata,
    Column("district_id", Text, primary_key=True),
    Column("username", Text, nullable=False, unique=True),
    Column("password_hash", Text),
    Column("public_keys", LIST, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)
"""Who may log in to the landing zone: one account a district. password_hash: argon2id in its own
notation, null for an account that has keys only. public_keys: lines as in authorized_keys.
changed_at: when a credential last changed; a session that began before ends."""

landing_log = Table(
    "landing_log",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("district_id", Text),
    Column("action", Text, nullable=False),
    Column("address", Text),
    Column("file", Text),
    Column("size", BigInteger),
    Column("sha256", Text),
    Column("detail", Text),
)
"""What happened in the landing zone, newest last: logins, uploads, deletions, refusals; of files
their name, size in bytes and hash, nothing of what is in them. district_id: null where nobody was
logged in. A log of its own, so that who knocks a thousand times does not bury what people did."""
Index(None, landing_log.c.district_id, landing_log.c.at)

landing_zones = Table(
    "landing_zones",
    metadata,
    Column("district_id", Text, primary_key=True),
    Column("files", OBJECT),
    Column("looked_at", UtcDateTime),
    Column("content", Text),
    Column("fault", Text),
    Column("header_only", OBJECT),
    Column("arrived_at", UtcDateTime),
    Column("trouble", Text),
    Column("trouble_says", Text),
    Column("trouble_since", UtcDateTime),
    Column("settled_until", UtcDateTime),
    Column("settled_schedule", Text),
    Column("settled_by", UtcDateTime),
    Column("taken", Text),
    Column("taken_import_id", Integer),
    Column("taken_at", UtcDateTime),
)
"""What was seen in each landing zone, so that the next look can tell what is new: `files` and since
when, `content` (bound to it; or the `fault` for which it is not whole) and `header_only` of the
delivery, when a file last came (`arrived_at`), and the `trouble` there is with the server, such as
unreachable. settled_until, settled_schedule, settled_by: up to which slot of which schedule is
decided, and by which evaluation. taken: the content that an import last took, whatever became of
it."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("district_id", Text),
    Column("kind", Text, nullable=False),
    Column("recipients", LIST, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("last_error", Text),
)
"""Mails, written before they are sent. key: what the mail is about, so that the same is told once.
status: waiting, sent, or failed (given up)."""
Index(None, outbox.c.status, outbox.c.next_attempt_at)
