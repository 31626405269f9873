"""A witness's memory: the logs it trusts, the head it cosigned for each, and the evidence it refused.

A head is compared and replaced in one transaction that has the write lock from its beginning and is on disk
when it returns. So of two requests that race, the later one is judged by what the earlier one left, and a
witness that is killed has never answered with more than it will remember.
"""

import base64
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, Text, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from services.witness.state import NOTHING_YET, Evidence, Head, Ruling, Submission, judge
from shared.database import sqlite
from shared.note import NoteKey

_log = structlog.get_logger("witness")

MOST_KEPT: Final = 1000
"""Pieces of evidence of a kind that are kept for a log, the earliest ones: the next ones add little."""

_METADATA: Final = MetaData()
_LOGS: Final = Table("logs", _METADATA, Column("vkey", Text, primary_key=True))
_HEADS: Final = Table(
    "heads",
    _METADATA,
    Column("origin", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("time", Integer, nullable=False),
)
_FORKS: Final = Table(
    "forks",
    _METADATA,
    Column("origin", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, primary_key=True),
    Column("note", Text, nullable=False),
    Column("cosigned", Text, nullable=False),
    Column("old", Integer, nullable=False),
    Column("proof", Text, nullable=False),
    Column("time", Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A refused checkpoint of a log, and the cosigned one that it does not go with.

    ``note`` and ``cosigned`` carry the log's own signatures; ``proof`` is base64, a hash a line; ``time`` is
    when it first came (POSIX seconds).
    """

    kind: Evidence
    note: str
    cosigned: str
    old: int
    proof: str
    time: int


class Store:
    """The memory of one witness, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._engine = sqlite(path)
        _METADATA.create_all(self._engine)
        self._reader = sqlite(path, read_only=True)  # takes no lock, so that no stranger's request holds up a log's

    def close(self) -> None:
        """Let go of the file."""
        self._reader.dispose()
        self._engine.dispose()

    def trust(self, keys: Iterable[NoteKey]) -> None:
        """Remember keys of logs to cosign for."""
        rows = [{"vkey": key.vkey()} for key in keys]
        with self._engine.begin() as connection:
            if rows:
                connection.execute(insert(_LOGS).on_conflict_do_nothing(), rows)

    def forget(self, keys: Iterable[NoteKey]) -> None:
        """No longer cosign what these keys sign; what is known of their logs stays."""
        with self._engine.begin() as connection:
            connection.execute(delete(_LOGS).where(_LOGS.c.vkey.in_([key.vkey() for key in keys])))

    def trusted(self) -> dict[str, tuple[NoteKey, ...]]:
        """The keys of every log, by its origin."""
        with self._reader.connect() as connection:
            vkeys = connection.execute(select(_LOGS.c.vkey).order_by(_LOGS.c.vkey)).scalars().all()
        found: dict[str, tuple[NoteKey, ...]] = {}
        for key in map(NoteKey.parse, vkeys):
            found[key.name] = (*found.get(key.name, ()), key)
        return found

    def rule(self, submission: Submission, note: str, now: int) -> tuple[Ruling, Head]:
        """Judge a submission whose log's signature holds, and remember what follows from it.

        ``note`` is the checkpoint with its log's signatures alone, ``now`` the time in POSIX seconds. Returns the
        ruling and the log's head after it: the new one, with the time to cosign at, if the status is 200.
        """
        new = submission.checkpoint
        with self._engine.begin() as connection:
            head = _head(connection, new.origin)
            ruling = judge(head, submission)
            if ruling.status == 200:
                head = Head(new.size, new.root, note, max(now, head.time))
                _put_head(connection, new.origin, head)
                _acquit(connection, submission)
            elif ruling.evidence is not None:
                _keep(connection, ruling.evidence, submission, note, head, now)
        return ruling, head

    def has_cosigned(self) -> bool:
        """Whether any checkpoint was ever cosigned from here."""
        with self._reader.connect() as connection:
            return connection.execute(select(_HEADS.c.origin).limit(1)).first() is not None

    def head(self, origin: str) -> Head:
        """The head that was last cosigned for a log."""
        with self._reader.connect() as connection:
            return _head(connection, origin)

    def counts(self) -> Counter[tuple[str, Evidence]]:
        """How many pieces of evidence of a kind are kept against a log, by its origin and the kind."""
        with self._reader.connect() as connection:
            rows = connection.execute(
                select(_FORKS.c.origin, _FORKS.c.kind, func.count()).group_by(_FORKS.c.origin, _FORKS.c.kind)
            )
            return Counter({(origin, Evidence(kind)): count for origin, kind, count in rows})

    def kept(self, origin: str) -> list[Kept]:
        """The evidence against a log, in the order in which it came."""
        with self._reader.connect() as connection:
            rows = connection.execute(select(_FORKS).where(_FORKS.c.origin == origin).order_by(_FORKS.c.time))
            return [Kept(Evidence(row.kind), row.note, row.cosigned, row.old, row.proof, row.time) for row in rows]


def _head(connection: Connection, origin: str) -> Head:
    row = connection.execute(select(_HEADS).where(_HEADS.c.origin == origin)).one_or_none()
    return NOTHING_YET if row is None else Head(row.size, row.root, row.note, row.time)


def _put_head(connection: Connection, origin: str, head: Head) -> None:
    values = {"size": head.size, "root": head.root, "note": head.note, "time": head.time}
    connection.execute(
        insert(_HEADS).values(origin=origin, **values).on_conflict_do_update(index_elements=["origin"], set_=values)
    )


def _acquit(connection: Connection, submission: Submission) -> None:
    """A tree that came without its proof once, and has it now, was never a fork."""
    new = submission.checkpoint
    connection.execute(
        delete(_FORKS).where(
            _FORKS.c.origin == new.origin,
            _FORKS.c.kind == Evidence.UNPROVEN,
            _FORKS.c.size == new.size,
            _FORKS.c.root == new.root,
        )
    )


def _keep(connection: Connection, kind: Evidence, submission: Submission, note: str, head: Head, now: int) -> None:
    new = submission.checkpoint
    count = connection.execute(
        select(func.count()).select_from(_FORKS).where(_FORKS.c.origin == new.origin, _FORKS.c.kind == kind)
    ).scalar_one()
    if count >= MOST_KEPT:
        return
    row: dict[str, Any] = {
        "origin": new.origin,
        "kind": kind,
        "size": new.size,
        "root": new.root,
        "note": note,
        "cosigned": head.note,
        "old": submission.old,
        "proof": "\n".join(base64.b64encode(one).decode() for one in submission.proof),
        "time": now,
    }
    if connection.execute(insert(_FORKS).values(row).on_conflict_do_nothing()).rowcount:
        _log.critical("refused and kept", kind=kind, log=new.origin, size=new.size, cosigned=head.size)
