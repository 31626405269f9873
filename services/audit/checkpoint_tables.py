"""The tables of what was signed and given about a log, kept apart from its entries on purpose."""

from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

from shared.database import append_only
from shared.migrations import ADDED, Stored

_METADATA: Final = MetaData()
_SIZE: Final = BigInteger().with_variant(Integer, "sqlite")
CHECKPOINTS: Final = Table(
    "checkpoints",
    _METADATA,
    Column("size", _SIZE, primary_key=True, autoincrement=False),
    Column("follows", _SIZE, nullable=False, unique=True),
    Column("note", Text, nullable=False),
)
COSIGNATURES: Final = Table(
    "cosignatures",
    _METADATA,
    Column("size", _SIZE, primary_key=True, autoincrement=False),
    Column("witness", String(300), primary_key=True),
    Column("time", _SIZE, nullable=False),
    Column("line", Text, nullable=False),
)
TIMESTAMPS: Final = Table(
    "timestamps",
    _METADATA,
    Column("authority", String(64), primary_key=True),
    Column("size", _SIZE, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("time", String(27), nullable=False),
    Column("token", LargeBinary, nullable=False),
)
for _table in (CHECKPOINTS, COSIGNATURES, TIMESTAMPS):
    append_only(_table, f"{_table.name} are only ever added")

CHECKPOINT_STORE: Final = Stored(
    "checkpoints",
    _METADATA,
    Path(__file__).parent / "migrations" / "checkpoints",
    "0001",
    dict.fromkeys(_METADATA.tables, ADDED),
)
