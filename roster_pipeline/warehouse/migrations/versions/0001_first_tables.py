"""The first tables: roster, history, school mappings, books, and the analysts' views.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

JSONB = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "schools",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("identifier", sa.Text()),
        sa.Column("parent_id", sa.Text()),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_schools"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "academic_sessions",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text()),
        sa.Column("session_type", sa.Text()),
        sa.Column("start_date", sa.Date()),
        sa.Column("end_date", sa.Date()),
        sa.Column("parent_id", sa.Text()),
        sa.Column("school_year", sa.Text()),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_academic_sessions"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "courses",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text()),
        sa.Column("course_code", sa.Text()),
        sa.Column("grades", JSONB),
        sa.Column("org_id", sa.Text()),
        sa.Column("school_year_id", sa.Text()),
        sa.Column("subjects", JSONB),
        sa.Column("subject_codes", JSONB),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_courses"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "students",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("sis_id", sa.Text()),
        sa.Column("user_type", sa.Text()),
        sa.Column("primary_school", sa.Text()),
        sa.Column("school_ids", JSONB),
        sa.Column("username", sa.Text()),
        sa.Column("first_name", sa.Text()),
        sa.Column("middle_name", sa.Text()),
        sa.Column("last_name", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("identifier", sa.Text()),
        sa.Column("enabled", sa.Boolean()),
        sa.Column("grades", JSONB),
        sa.Column("birth_date", sa.Date()),
        sa.Column("gender", sa.Text()),
        sa.Column("contact_ids", JSONB),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_students"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_students_district_id_primary_school", "students", ["district_id", "primary_school"]
    )
    op.create_table(
        "teachers",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("sis_id", sa.Text()),
        sa.Column("user_type", sa.Text()),
        sa.Column("primary_school", sa.Text()),
        sa.Column("school_ids", JSONB),
        sa.Column("username", sa.Text()),
        sa.Column("first_name", sa.Text()),
        sa.Column("middle_name", sa.Text()),
        sa.Column("last_name", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("identifier", sa.Text()),
        sa.Column("enabled", sa.Boolean()),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_teachers"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_teachers_district_id_primary_school", "teachers", ["district_id", "primary_school"]
    )
    op.create_table(
        "admins",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("sis_id", sa.Text()),
        sa.Column("user_type", sa.Text()),
        sa.Column("primary_school", sa.Text()),
        sa.Column("school_ids", JSONB),
        sa.Column("username", sa.Text()),
        sa.Column("first_name", sa.Text()),
        sa.Column("middle_name", sa.Text()),
        sa.Column("last_name", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("identifier", sa.Text()),
        sa.Column("enabled", sa.Boolean()),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_admins"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_admins_district_id_primary_school", "admins", ["district_id", "primary_school"]
    )
    op.create_table(
        "contacts",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("sis_id", sa.Text()),
        sa.Column("user_type", sa.Text()),
        sa.Column("primary_school", sa.Text()),
        sa.Column("school_ids", JSONB),
        sa.Column("username", sa.Text()),
        sa.Column("first_name", sa.Text()),
        sa.Column("middle_name", sa.Text()),
        sa.Column("last_name", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("identifier", sa.Text()),
        sa.Column("enabled", sa.Boolean()),
        sa.Column("student_ids", JSONB),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_contacts"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_contacts_district_id_primary_school", "contacts", ["district_id", "primary_school"]
    )
    op.create_table(
        "classes",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("sis_id", sa.Text()),
        sa.Column("class_name", sa.Text()),
        sa.Column("class_code", sa.Text()),
        sa.Column("class_type", sa.Text()),
        sa.Column("school_id", sa.Text()),
        sa.Column("course_id", sa.Text()),
        sa.Column("session_ids", JSONB),
        sa.Column("grades", JSONB),
        sa.Column("subjects", JSONB),
        sa.Column("subject_codes", JSONB),
        sa.Column("periods", JSONB),
        sa.Column("location", sa.Text()),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_classes"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_classes_district_id_school_id", "classes", ["district_id", "school_id"])
    op.create_table(
        "enrollments",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("school_id", sa.Text()),
        sa.Column("class_id", sa.Text()),
        sa.Column("person_id", sa.Text()),
        sa.Column("role", sa.Text()),
        sa.Column("is_primary", sa.Boolean()),
        sa.Column("begin_date", sa.Date()),
        sa.Column("end_date", sa.Date()),
        sa.Column("extra", sa.JSON()),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("last_import_id", sa.Integer(), nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "source_id", name="pk_enrollments"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_enrollments_district_id_class_id", "enrollments", ["district_id", "class_id"]
    )
    op.create_index(
        "ix_enrollments_district_id_person_id", "enrollments", ["district_id", "person_id"]
    )
    op.create_table(
        "record_history",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("enrollment_type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("replaced_by_import_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("valid_from_import_id", sa.Integer(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("record", JSONB, nullable=False),
        sa.Column("record_hash", sa.Text(), nullable=False),
        sa.Column("was_active", sa.Boolean(), nullable=False),
        sa.Column("was_stale_since", sa.DateTime(timezone=True)),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "district_id",
            "enrollment_type",
            "source_id",
            "replaced_by_import_id",
            name="pk_record_history",
        ),
    )
    op.create_index(
        "ix_record_history_district_id_replaced_by_import_id",
        "record_history",
        ["district_id", "replaced_by_import_id"],
    )
    op.create_table(
        "school_mappings",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("school_id", sa.Text()),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("first_import_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("district_id", "org_id", name="pk_school_mappings"),
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("preview", sa.Boolean(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("effective_hash", sa.Text()),
        sa.Column("settings_hash", sa.Text(), nullable=False),
        sa.Column("message", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_imports_district_id_status", "imports", ["district_id", "status"])
    op.create_table(
        "import_counts",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("enrollment_type", sa.Text(), nullable=False),
        sa.Column("school", sa.Text()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name="fk_import_counts_import_id"),
        sa.PrimaryKeyConstraint("id", name="pk_import_counts"),
    )
    op.create_index("ix_import_counts_import_id", "import_counts", ["import_id"])
    op.create_table(
        "import_files",
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name="fk_import_files_import_id"),
        sa.PrimaryKeyConstraint("import_id", "file", name="pk_import_files"),
    )
    op.create_table(
        "findings",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text()),
        sa.Column("row", sa.Integer()),
        sa.Column("field", sa.Text()),
        sa.Column("source_id", sa.Text()),
        sa.Column("school", sa.Text()),
        sa.Column("enrollment_type", sa.Text()),
        sa.Column("attribute", sa.Text()),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("how_to_fix", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name="fk_findings_import_id"),
        sa.PrimaryKeyConstraint("id", name="pk_findings"),
    )
    op.create_index("ix_findings_import_id", "findings", ["import_id"])
    op.execute("CREATE VIEW active_schools AS SELECT * FROM schools WHERE active")
    op.execute(
        "CREATE VIEW active_academic_sessions AS SELECT * FROM academic_sessions WHERE active"
    )
    op.execute("CREATE VIEW active_courses AS SELECT * FROM courses WHERE active")
    op.execute("CREATE VIEW active_students AS SELECT * FROM students WHERE active")
    op.execute("CREATE VIEW active_teachers AS SELECT * FROM teachers WHERE active")
    op.execute("CREATE VIEW active_admins AS SELECT * FROM admins WHERE active")
    op.execute("CREATE VIEW active_contacts AS SELECT * FROM contacts WHERE active")
    op.execute("CREATE VIEW active_classes AS SELECT * FROM classes WHERE active")
    op.execute("CREATE VIEW active_enrollments AS SELECT * FROM enrollments WHERE active")
