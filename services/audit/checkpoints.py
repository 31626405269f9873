"""Signed checkpoints, kept apart from the log's database so that a restored or cut database cannot hide.

Each row names the checkpoint it follows, and that name is unique: of two writers that extend the same
checkpoint one fails here, before its signature leaves the house.
"""

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from services.audit.checkpoint_tables import CHECKPOINT_STORE, CHECKPOINTS
from shared.database import Place, engine_at, is_there
from shared.migrations import open_for_writing
from shared.words import EvidenceError, TrailError


class Checkpoints:
    """All checkpoints the notary has signed, by tree size."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def at(cls, place: Place, *, read_only: bool = False) -> "Checkpoints":
        """Open the store; a file is made if it is not there (unless read only).

        Raises TrailError when there is nothing to read.
        """
        if not read_only:
            return cls(open_for_writing(place, CHECKPOINT_STORE))
        if not is_there(place, CHECKPOINTS):
            raise TrailError(
                f"there are no signed checkpoints at {place}; restore them: without them nothing says how long the "
                "log was"
            )
        return cls(engine_at(place, read_only=True))

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def latest(self) -> tuple[int, str] | None:
        """Size and note of the last signed checkpoint."""
        with self.engine.connect() as connection:
            row = connection.execute(
                select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1)
            ).one_or_none()
        return None if row is None else (row.size, row.note)

    def add(self, follows: int, size: int, note: str) -> None:
        """Record a signed checkpoint that extends the one of size ``follows`` (0: the first).

        Raises EvidenceError when another one already follows that.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(CHECKPOINTS), {"size": size, "follows": follows, "note": note})
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
                select(CHECKPOINTS).where(CHECKPOINTS.c.size > index).order_by(CHECKPOINTS.c.size).limit(1)
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
                    select(CHECKPOINTS).where(CHECKPOINTS.c.size > after).order_by(CHECKPOINTS.c.size)
                ).all()
        except DatabaseError as error:
            raise EvidenceError(f"the checkpoints cannot be read: {error.orig}") from error
        if not all(isinstance(row.note, str) for row in rows):
            raise EvidenceError("a checkpoint is not stored as text: the checkpoints were changed")
        return [(row.follows, row.size, row.note) for row in rows]
