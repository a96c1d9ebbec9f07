"""Indexes that tell how many active records a school has without reading the records.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"

_SCHOOL_OF = {
    "students": "primary_school",
    "teachers": "primary_school",
    "admins": "primary_school",
    "contacts": "primary_school",
    "classes": "school_id",
}


def upgrade() -> None:
    """Widen the indexes over schools by `active`, and give the enrollments one."""
    for table, school in _SCHOOL_OF.items():
        op.drop_index(f"ix_{table}_district_id_{school}", table)
    for table, school in {**_SCHOOL_OF, "enrollments": "school_id"}.items():
        columns = ["district_id", school, "active"]
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)
