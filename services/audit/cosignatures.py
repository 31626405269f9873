"""The cosignatures that witnesses gave to this log's checkpoints: how they are kept, and what they add up to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Engine, Select, func, inspect, select
from sqlalchemy.exc import DatabaseError

from services.audit.anchors import Anchor
from services.audit.checkpoint_tables import COSIGNATURES
from shared.checkpoint import open_cosignature
from shared.database import insert_new
from shared.note import NoteKey
from shared.policy import Policy
from shared.words import EvidenceError


class Cosignatures:
    """The cosignatures of a log, kept beside its checkpoints; ``engine`` is the checkpoints' own.

    A witness is known by its key's name and id, whatever a policy calls it. A file from before there were any holds
    none, and can be read all the same.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, size: int, witness: NoteKey, time: int, line: str) -> None:
        """Keep a witness's verified cosignature line on the checkpoint over ``size`` entries, unless one is kept.

        Raises SQLAlchemy's errors when the database cannot take it.
        """
        row = {"size": size, "witness": _called(witness), "time": time, "line": line}
        with self._engine.begin() as connection:
            connection.execute(insert_new(self._engine, COSIGNATURES), row)

    def last(self, witness: NoteKey) -> int:
        """The size of the largest checkpoint that this witness has cosigned; 0 when none."""
        largest = select(func.max(COSIGNATURES.c.size)).where(COSIGNATURES.c.witness == _called(witness))
        return next((row[0] for row in self._read(largest)), None) or 0

    def of(self, size: int) -> list[str]:
        """The cosignature lines on the checkpoint over ``size`` entries."""
        return self.all(size).get(size, [])

    def note(self, size: int, note: str) -> str:
        """That checkpoint's note with its cosignatures."""
        return note + "".join(self.of(size))

    def all(self, size: int | None = None) -> dict[int, list[str]]:
        """Every cosignature line (or those of one size), by the size of its checkpoint.

        Raises EvidenceError when they cannot be read.
        """
        every = select(COSIGNATURES).order_by(COSIGNATURES.c.size, COSIGNATURES.c.time)
        lines: dict[int, list[str]] = defaultdict(list)
        for row in self._read(every if size is None else every.where(COSIGNATURES.c.size == size)):
            if not isinstance(row.size, int) or not isinstance(row.line, str):
                raise EvidenceError("a cosignature is not stored as one: the cosignatures were changed")
            lines[row.size].append(row.line)
        return dict(lines)

    def latest(self, policy: Policy) -> int:
        """The size of the largest checkpoint whose kept cosignatures are the policy's quorum; 0 when none is.

        They were verified when they were added; :func:`witnessed` verifies them again.
        """
        return self.newest(policy)[0]

    def newest(self, policy: Policy) -> tuple[int, int]:
        """That size, and when the last of its cosignatures was given (POSIX seconds); (0, 0) when there is none."""
        names = {_called(one.key): name for name, one in policy.witnesses.items()}
        columns = (COSIGNATURES.c.size, COSIGNATURES.c.witness, COSIGNATURES.c.time)
        newest_first = select(*columns).order_by(COSIGNATURES.c.size.desc())
        for size, rows in groupby(self._read(newest_first), key=lambda row: int(row.size)):
            times = {names[row.witness]: int(row.time) for row in rows if row.witness in names}
            if policy.is_met(frozenset(times)):
                return size, max(times.values(), default=0)
        return 0, 0

    def _read(self, statement: Select[Any]) -> Iterator[Any]:
        try:
            with self._engine.connect() as connection:
                if inspect(connection).has_table(COSIGNATURES.name):
                    yield from connection.execute(statement)
        except DatabaseError as error:
            raise EvidenceError(f"the cosignatures cannot be read: {error.orig}") from error


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What the witnesses of a policy vouch for.

    ``size``: so many entries its quorum has cosigned, 0 when none; ``anchors``: every cosignature that holds;
    ``faults``: (entry index, sentence) for what does not.
    """

    size: int
    anchors: list[Anchor]
    faults: list[tuple[int, str]]


def witnessed(
    policy: Policy, checkpoints: Iterable[tuple[int, int, str]], cosignatures: Mapping[int, Sequence[str]]
) -> Witnessed:
    """Verify cosignatures again: of (size it follows, size, note) of every checkpoint, and of lines by size.

    That the log signed the notes is for the caller to check. Under a policy whose quorum is none, everything
    that was signed counts as witnessed.
    """
    size, anchors, faults, left = 0, list[Anchor](), dict[tuple[int, str], None](), dict(cosignatures)
    for _, at, note in checkpoints:
        cosigned, names = note + "".join(left.pop(at, ())), set[str]()
        for name, witness in policy.witnesses.items():
            try:
                found = open_cosignature(cosigned, witness.key)
                if found is not None:
                    anchors.append(Anchor(at, _moment(found.time), f"the witness {name}"))
                    names.add(name)
            except EvidenceError as error:
                faults[max(at - 1, 0), f"the checkpoint over {at} entries: {error}"] = None
        if policy.is_met(frozenset(names)):
            size = max(size, at)
    for at in left:
        faults[max(at - 1, 0), f"a checkpoint over {at} entries was cosigned, and it is missing"] = None
    return Witnessed(size, anchors, list(faults))


def _moment(time: int) -> datetime:
    try:
        return datetime.fromtimestamp(time, UTC)
    except (OverflowError, ValueError, OSError):
        raise EvidenceError(f"a cosignature states a time that no calendar has, {time}") from None


def _called(witness: NoteKey) -> str:
    return f"{witness.name}+{witness.id.hex()}"
