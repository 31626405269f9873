"""Signed checkpoints, and what witnesses and timestamping authorities gave for them."""

import sqlalchemy as sa
from alembic import op

from shared.migrations.rules import REFUSE_CHANGE, append_only, on_postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables; in a SQLite file from before migrations some are there."""
    size = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    if on_postgresql():
        op.execute(REFUSE_CHANGE)
    op.create_table(
        "checkpoints",
        sa.Column("size", size, primary_key=True, autoincrement=False),
        sa.Column("follows", size, nullable=False, unique=True),
        sa.Column("note", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "cosignatures",
        sa.Column("size", size, primary_key=True, autoincrement=False),
        sa.Column("witness", sa.String(300), primary_key=True),
        sa.Column("time", size, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "timestamps",
        sa.Column("authority", sa.String(64), primary_key=True),
        sa.Column("size", size, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("time", sa.String(27), nullable=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    for table in ("checkpoints", "cosignatures", "timestamps"):
        append_only(table, f"{table} are only ever added")
