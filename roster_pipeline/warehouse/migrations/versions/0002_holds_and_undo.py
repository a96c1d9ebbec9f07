"""Holds, decisions and undo: their books, complete history, and the views of all versions.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)

TYPES = {
    "school": (
        "schools",
        "name identifier parent_id",
    ),
    "academic_session": (
        "academic_sessions",
        "title session_type start_date:date end_date:date parent_id school_year",
    ),
    "course": (
        "courses",
        "title course_code grades:list org_id school_year_id subjects:list subject_codes:list",
    ),
    "student": (
        "students",
        "sis_id user_type primary_school school_ids:list username first_name middle_name "
        "last_name email identifier enabled:boolean grades:list birth_date:date gender "
        "contact_ids:list",
    ),
    "teacher": (
        "teachers",
        "sis_id user_type primary_school school_ids:list username first_name middle_name "
        "last_name email identifier enabled:boolean",
    ),
    "admin": (
        "admins",
        "sis_id user_type primary_school school_ids:list username first_name middle_name "
        "last_name email identifier enabled:boolean",
    ),
    "contact": (
        "contacts",
        "sis_id user_type primary_school school_ids:list username first_name middle_name "
        "last_name email identifier enabled:boolean student_ids:list",
    ),
    "class": (
        "classes",
        "sis_id class_name class_code class_type school_id course_id session_ids:list "
        "grades:list subjects:list subject_codes:list periods:list location",
    ),
    "enrollment": (
        "enrollments",
        "school_id class_id person_id role is_primary:boolean begin_date:date end_date:date",
    ),
}
"""By enrollment type: its table, and its attributes with their kind where it is not text."""


def upgrade() -> None:
    """Add them; history learns what only the roster tables knew."""
    _add_columns()
    _make_books()
    for name, (table, attributes) in TYPES.items():
        _complete_history(name, table)
        words = [word.partition(":") for word in attributes.split()]
        op.execute(_view(name, table, {name: kind or "text" for name, _, kind in words}))


def _add_columns() -> None:
    op.add_column("imports", sa.Column("delivery", sa.Text()))
    op.add_column("imports", sa.Column("state_of", sa.Integer()))
    op.add_column("findings", sa.Column("cause", sa.Text()))
    op.add_column("school_mappings", sa.Column("org_name", sa.Text()))
    op.add_column("school_mappings", sa.Column("org_identifier", sa.Text()))
    op.add_column("record_history", sa.Column("first_import_id", sa.Integer()))
    op.add_column("record_history", sa.Column("created_at", MOMENT))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE record_history ALTER COLUMN record TYPE json USING record::json")


def _make_books() -> None:
    op.create_table(
        "import_changes",
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("enrollment_type", sa.Text(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name="fk_import_changes_import_id"),
        sa.PrimaryKeyConstraint(
            "import_id", "enrollment_type", "attribute", name="pk_import_changes"
        ),
    )
    op.create_table(
        "holds",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("held_at", MOMENT, nullable=False),
        sa.Column("decision", sa.Text()),
        sa.Column("part", sa.Text()),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decided_at", MOMENT),
        sa.Column("decided_because", sa.Text()),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name="fk_holds_import_id"),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
    )
    op.create_index("ix_holds_import_id", "holds", ["import_id"])
    op.create_table(
        "audit_log",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("import_id", sa.Integer()),
        sa.Column("detail", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )


def _complete_history(name: str, table: str) -> None:
    """Until now no record left its table, so that its row there knows when it first came."""
    known = (
        f"FROM {table} AS r WHERE r.district_id = record_history.district_id "
        "AND r.source_id = record_history.source_id"
    )
    op.execute(
        f"UPDATE record_history SET first_import_id = (SELECT r.first_import_id {known}), "
        f"created_at = (SELECT r.created_at {known}) WHERE enrollment_type = '{name}'"
    )


def _view(name: str, table: str, kinds: dict[str, str]) -> str:
    attributes = ", ".join(kinds)
    kept = ", ".join(f"{_kept(a, kind)} AS {a}" for a, kind in kinds.items())
    return (
        f"CREATE VIEW {table}_versions AS "
        f"SELECT district_id, source_id, {attributes}, extra, record_hash, active, stale_since, "
        "first_import_id, created_at, last_import_id AS valid_from_import_id, "
        f"CAST(NULL AS INTEGER) AS valid_until_import_id FROM {table} UNION ALL "
        f"SELECT district_id, source_id, {kept}, {_kept('extra', 'object')} AS extra, "
        "record_hash, was_active, was_stale_since, first_import_id, created_at, "
        "valid_from_import_id, replaced_by_import_id FROM record_history "
        f"WHERE enrollment_type = '{name}'"
    )


def _kept(attribute: str, kind: str) -> str:
    """The SQL of an attribute in a version's JSON, in the type its column has in the table."""
    if op.get_bind().dialect.name != "postgresql":
        return f"json_extract(record, '$.{attribute}')"
    types = {"list": "jsonb", "object": "json", "boolean": "boolean", "date": "date"}
    text = f"(record->>'{attribute}')"
    return f"{text}::{types[kind]}" if kind in types else text
