"""The landing zones' accounts, log and state, and the outbox.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
LIST = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the four tables."""
    op.create_table(
        "landing_accounts",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("public_keys", LIST, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("district_id", name="pk_landing_accounts"),
        sa.UniqueConstraint("username", name="uq_landing_accounts_username"),
    )
    op.create_table(
        "landing_log",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("district_id", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("file", sa.Text()),
        sa.Column("size", sa.BigInteger()),
        sa.Column("sha256", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_landing_log"),
    )
    op.create_index("ix_landing_log_district_id_at", "landing_log", ["district_id", "at"])
    op.create_table(
        "landing_zones",
        sa.Column("district_id", sa.Text(), nullable=False),
        sa.Column("files", sa.JSON()),
        sa.Column("looked_at", MOMENT),
        sa.Column("content", sa.Text()),
        sa.Column("fault", sa.Text()),
        sa.Column("header_only", sa.JSON()),
        sa.Column("arrived_at", MOMENT),
        sa.Column("trouble", sa.Text()),
        sa.Column("trouble_says", sa.Text()),
        sa.Column("trouble_since", MOMENT),
        sa.Column("settled_until", MOMENT),
        sa.Column("settled_schedule", sa.Text()),
        sa.Column("settled_by", MOMENT),
        sa.Column("taken", sa.Text()),
        sa.Column("taken_import_id", sa.Integer()),
        sa.Column("taken_at", MOMENT),
        sa.PrimaryKeyConstraint("district_id", name="pk_landing_zones"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("district_id", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipients", LIST, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("next_attempt_at", MOMENT, nullable=False),
        sa.Column("sent_at", MOMENT),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("key", name="uq_outbox_key"),
    )
    op.create_index("ix_outbox_status_next_attempt_at", "outbox", ["status", "next_attempt_at"])
