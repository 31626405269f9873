"""Signed checkpoints, kept apart from the log's database so that a restored or cut database cannot hide.

Each row names the checkpoint it follows, and that name is unique: of two writers that extend the same
checkpoint one fails here, before its signature leaves the house.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, insert, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from shared.database import append_only, sqlite
from shared.words import EvidenceError, TrailError

_METADATA: Final = MetaData()
_CHECKPOINTS: Final = Table(
    "checkpoints",
    _METADATA,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("follows", Integer, nullable=False, unique=True),
    Column("note", Text, nullable=False),
)
append_only(_CHECKPOINTS, "checkpoints are only ever added")


class Checkpoints:
    """All checkpoints the notary has signed, by tree size."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def at(cls, path: Path, *, read_only: bool = False) -> "Checkpoints":
        """Open the store, made if it is not there (unless read only).

        Raises TrailError when there is nothing to read.
        """
        if read_only and not path.exists():
            raise TrailError(
                f"there are no signed checkpoints at {path}; restore that file: without it nothing says how "
                "long the log was"
            )
        store = cls(sqlite(path, read_only=read_only))
        if not read_only:
            _METADATA.create_all(store.engine)
        return store

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def latest(self) -> tuple[int, str] | None:
        """Size and note of the last signed checkpoint."""
        with self.engine.connect() as connection:
            row = connection.execute(
                select(_CHECKPOINTS.c.size, _CHECKPOINTS.c.note).order_by(_CHECKPOINTS.c.size.desc()).limit(1)
            ).one_or_none()
        return None if row is None else (row.size, row.note)

    def add(self, follows: int, size: int, note: str) -> None:
        """Record a signed checkpoint that extends the one of size ``follows`` (0: the first).

        Raises EvidenceError when another one already follows that.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(_CHECKPOINTS), {"size": size, "follows": follows, "note": note})
        except IntegrityError:
            raise EvidenceError(
                f"a checkpoint after size {follows} was already signed: another notary writes this log, or a "
                "back-up was restored. Stop both, and compare them with `trail verify`"
            ) from None

    def covering(self, index: int) -> tuple[int, str]:
        """(size, note) of the first checkpoint that covers this entry.

        Raises EvidenceError when none does.
        """
        with self.engine.connect() as connection:
            row = connection.execute(
                select(_CHECKPOINTS).where(_CHECKPOINTS.c.size > index).order_by(_CHECKPOINTS.c.size).limit(1)
            ).one_or_none()
        if row is None:
            raise EvidenceError(f"no signed checkpoint covers entry {index}")
        return row.size, row.note

    def all(self, *, after: int = 0) -> list[tuple[int, int, str]]:
        """(size it follows, size, note) of every checkpoint over more than ``after`` entries, by size.

        Raises EvidenceError when the store cannot be read.
        """
        try:
            with self.engine.connect() as connection:
                rows = connection.execute(
                    select(_CHECKPOINTS).where(_CHECKPOINTS.c.size > after).order_by(_CHECKPOINTS.c.size)
                ).all()
        except DatabaseError as error:
            raise EvidenceError(f"the checkpoints cannot be read: {error.orig}") from error
        if not all(isinstance(row.note, str) for row in rows):
            raise EvidenceError("a checkpoint is not stored as text: the checkpoints were changed")
        return [(row.follows, row.size, row.note) for row in rows]
