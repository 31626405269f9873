"""A deciding service's state, and how far it has read the log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables; in a SQLite file from before migrations they are there."""
    op.create_table(
        "cursor",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("peaks", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "log",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("trial", sa.String(64), nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("keys", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "documents",
        sa.Column("key", sa.String(160), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        if_not_exists=True,
    )
