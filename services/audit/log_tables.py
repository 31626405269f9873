"""The tables of a log's own database, and who may do what with them."""

from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, MetaData, String, Table, Text

from services.audit.subtrees import subtrees_table
from shared.database import append_only
from shared.migrations import ADDED, CHANGED, Stored

_METADATA: Final = MetaData()
_INDEX: Final = BigInteger().with_variant(Integer, "sqlite")  # only an INTEGER is SQLite's own row id

ENTRIES: Final = Table(
    "entries",
    _METADATA,
    Column("idx", _INDEX, primary_key=True, autoincrement=False),
    Column("ref", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),
)
Index("entries_by_ref", ENTRIES.c.ref)
SUBTREES: Final = subtrees_table(_METADATA)
REGISTER: Final = Table(
    "register",
    _METADATA,
    Column("key", String(160), primary_key=True),
    Column("value", Text, nullable=False),
)
# Who may write, where several machines could. Beside a SQLite file a lock says so, and this stays empty.
LEASE: Final = Table(
    "lease",
    _METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("token", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("expires", DateTime(timezone=True), nullable=False),
)
for _table in (ENTRIES, SUBTREES):
    append_only(_table, "the log is append-only")

PART: Final = 1 << 24
"""Entries in a partition of PostgreSQL's table; the function ``extend_entries`` makes them."""

LOG_STORE: Final = Stored(
    "log",
    _METADATA,
    Path(__file__).parent / "migrations" / "log",
    "0002",
    {"entries": ADDED, "subtrees": ADDED, "register": CHANGED, "lease": CHANGED},
    ("extend_entries(bigint)",),
)
