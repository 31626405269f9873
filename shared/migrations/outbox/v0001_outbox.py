"""A source's outbox: its events, and their receipts when these have come."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table; in a SQLite file from before migrations it is there."""
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("content", sa.String(64), nullable=True, unique=True),
        sa.Column("route", sa.String(80), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("signature", sa.String(88), nullable=False),
        sa.Column("idx", sa.Integer, nullable=True),
        sa.Column("verdict", sa.String(8), nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("receipt", sa.Text, nullable=True),
        if_not_exists=True,
    )
    op.create_index("ix_outbox_signature", "outbox", ["signature"], if_not_exists=True)
    op.create_index("ix_outbox_idx", "outbox", ["idx"], if_not_exists=True)
