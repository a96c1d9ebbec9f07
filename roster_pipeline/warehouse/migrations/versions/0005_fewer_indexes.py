"""Without the indexes over the classes and people of enrollments, which took a part of each first
import and were used by no query of this program.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Drop both."""
    for column in ("class_id", "person_id"):
        op.drop_index(f"ix_enrollments_district_id_{column}", "enrollments")
