"""What every deciding service is: a pure decider, fed with sealed entries, whose decisions become events.

:class:`Machine` is the pure part, used by the running service and by replay alike; that is why a replay gives
the same bytes. :class:`DeciderStore` keeps state, cursor and outbox in one transaction.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from pydantic import BaseModel
from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, String, Table, Text, insert, select, update

from shared.checkpoint import open_checkpoint
from shared.database import Place, upsert
from shared.entry import NO_LEAF, Entry
from shared.envelope import Envelope, read_envelope, write_envelope
from shared.events import CATALOGUE, Data, read_data, short_type
from shared.log_keys import LogKeys
from shared.merkle import Frontier
from shared.migrations import CHANGED, Stored, open_for_writing
from shared.note import NoteKey
from shared.outbox import OUTBOX_STORE, Outbox
from shared.signing import Signer
from shared.words import EvidenceError, LeafHash, ParticipantId, SourceId

_NAMESPACE: Final = uuid.UUID("0f3d6a52-8f0e-5d0a-9b57-6f6f4e0f7c21")


@dataclass(frozen=True, slots=True)
class SealedEvent:
    """An admitted entry with its event, as deciders meet it."""

    entry: Entry
    envelope: Envelope
    data: Data

    @property
    def type(self) -> str:
        """The event's short type, like ``screening.observed``."""
        return short_type(self.envelope.type)


@dataclass(frozen=True, slots=True)
class DecisionDraft:
    """A decision before it is an event: its type, whom it is about, what it says."""

    type: str
    subject: ParticipantId | None  # None: about no participant
    data: Data


@dataclass(frozen=True, slots=True)
class Step:
    """What one entry leads to: documents of the state that change, and decisions, in order."""

    documents: Mapping[str, BaseModel] = field(default_factory=dict)
    decisions: Sequence[DecisionDraft] = ()


class Decider(Protocol):
    """A pure function from (state, sealed event) to a step. MUST NOT read a clock or draw random numbers."""

    source: SourceId

    def decide(self, state: Mapping[str, BaseModel], event: SealedEvent) -> Step:
        """Decide on one sealed event; MUST NOT change ``state``."""

    def document_type(self, key: str) -> type[BaseModel]:
        """The model of the document stored under this key."""


def read_event(entry: Entry) -> SealedEvent | None:
    """The event of an admitted entry; None for a refused one, which is evidence of nothing."""
    if not entry.admitted:
        return None
    envelope = read_envelope(entry.body)
    data = read_data(CATALOGUE[envelope.type], envelope.data, entry.header.format)
    return SealedEvent(entry, envelope, data)


class Machine:
    """A decider with its state, fed entry by entry in the log's order."""

    def __init__(self, decider: Decider, state: Mapping[str, BaseModel] | None = None, sequence: int = 0) -> None:
        self.decider = decider
        self.state: dict[str, BaseModel] = dict(state or {})
        self.sequence = sequence
        self.touched: set[str] = set()

    def feed(self, entry: Entry) -> list[bytes]:
        """Take the next entry; returns the decision events it causes, as the bytes that get signed."""
        event = read_event(entry)
        if event is None:
            return []
        step = self.decider.decide(self.state, event)
        self.state.update(step.documents)
        self.touched |= step.documents.keys()
        return [self._event(entry, event.envelope.trial, at, draft) for at, draft in enumerate(step.decisions)]

    def _event(self, cause: Entry, trial: str, at: int, draft: DecisionDraft) -> bytes:
        self.sequence += 1
        name = f"{trial}/{self.decider.source}/{cause.index}/{draft.type}/{draft.subject}/{at}"
        return write_envelope(
            event_id=str(uuid.uuid5(_NAMESPACE, name)),
            source=self.decider.source,
            type_=f"trialtrail.{draft.type}.v1",
            subject=draft.subject,
            time=cause.header.sealed_at,
            sequence=self.sequence,
            trial=trial,
            data=draft.data.model_dump(mode="json", exclude_none=True),
        )


class SealChecker:
    """Lets through only entries that a signed checkpoint covers: no seal, no decision.

    Entries are held until the checkpoint that covers them has come and its root is the one they hash to.
    """

    def __init__(self, log: LogKeys, tree: Frontier = Frontier(), leaf: LeafHash = NO_LEAF) -> None:  # noqa: B008
        self.log = log
        self.tree = tree
        self.leaf = leaf
        self._held: list[Entry] = []

    @property
    def next(self) -> int:
        """The index that must come next."""
        return self.tree.size + len(self._held)

    def add(self, entry: Entry, note: str | None) -> list[Entry]:
        """Take the next entry with the checkpoint that came with it, if any; returns what is now sealed.

        Raises EvidenceError when the entry does not follow the last one or the checkpoint does not cover it.
        """
        before = self._held[-1].leaf if self._held else self.leaf
        if entry.index != self.next or entry.header.prev != before:
            raise EvidenceError(f"entry {entry.index} of LOG does not follow entry {self.next - 1}")
        self._held.append(entry)
        if note is None:
            return []
        log = self.log
        for held in self._held:
            log = log.after(held, self.tree.size)
        checkpoint = open_checkpoint(note, log)
        tree = self.tree.extend([held.leaf for held in self._held])
        if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
            raise EvidenceError(f"the checkpoint with entry {entry.index} does not cover LOG's entries")
        sealed, self._held = self._held, []
        self.tree, self.leaf, self.log = tree, entry.leaf, log
        return sealed


_METADATA: Final = MetaData()
_CURSOR: Final = Table(
    "cursor",
    _METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("size", Integer, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("sequence", Integer, nullable=False),
)
_LOG: Final = Table(
    "log",
    _METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("trial", String(64), nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("keys", Text, nullable=False),
)
_DOCUMENTS: Final = Table(
    "documents",
    _METADATA,
    Column("key", String(160), primary_key=True),
    Column("value", Text, nullable=False),
)

DECIDER_STORE: Final = Stored(
    "decider",
    _METADATA,
    Path(__file__).parent / "migrations" / "decider",
    "0001",
    dict.fromkeys(_METADATA.tables, CHANGED),
)


class DeciderStore:
    """A deciding service's database: its state, how far it has read, and its outbox."""

    def __init__(self, engine: Engine, decider: Decider, trial: str) -> None:
        self.engine = engine
        self.decider = decider
        self.outbox = Outbox(engine, decider.source, trial)
        self._put_document, self._put_log = upsert(engine, _DOCUMENTS, "key"), upsert(engine, _LOG, "one")
        with engine.begin() as connection:
            if connection.execute(select(_CURSOR)).one_or_none() is None:
                start = {"one": 1, "size": 0, "peaks": b"", "leaf": bytes(NO_LEAF), "sequence": 0}
                connection.execute(insert(_CURSOR), start)

    @classmethod
    def at(cls, place: Place, decider: Decider, trial: str) -> "DeciderStore":
        """Open the store; a file is made if it is not there."""
        return cls(open_for_writing(place, OUTBOX_STORE, DECIDER_STORE), decider, trial)

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def load(self, first: NoteKey) -> tuple[Machine, SealChecker]:
        """State and cursor as of the last commit; ``first`` is the log's first key."""
        with self.engine.connect() as connection:
            cursor = connection.execute(select(_CURSOR)).one()
            known = connection.execute(select(_LOG)).one_or_none()
            state = {
                row.key: self.decider.document_type(row.key).model_validate(json.loads(row.value))
                for row in connection.execute(select(_DOCUMENTS))
            }
        log = LogKeys.of(first)
        if known is not None:
            keys = tuple((start, bytes.fromhex(public)) for start, public in json.loads(known.keys))
            log = LogKeys(first.name, keys, known.trial, known.root)
        tree = Frontier.from_bytes(cursor.size, cursor.peaks)
        return Machine(self.decider, state, cursor.sequence), SealChecker(log, tree, LeafHash(cursor.leaf))

    def commit(
        self, machine: Machine, seals: SealChecker, events: Sequence[tuple[int, bytes]], key: Signer
    ) -> None:
        """Keep state, cursor and the new decisions in one transaction.

        If we die before the commit, the same entries come again and lead to the same events; if we die after
        it, the events wait in the outbox.
        """
        rows = [{"key": name, "value": machine.state[name].model_dump_json()} for name in sorted(machine.touched)]
        with self.engine.begin() as connection:
            if rows:
                connection.execute(self._put_document, rows)
            self.outbox.keep(connection, events, key)
            keys = json.dumps([(start, public.hex()) for start, public in seals.log.keys])
            known = {"one": 1, "trial": seals.log.trial, "root": seals.log.root, "keys": keys}
            connection.execute(self._put_log, known)
            connection.execute(
                update(_CURSOR).values(
                    size=seals.tree.size,
                    peaks=seals.tree.to_bytes(),
                    leaf=bytes(seals.leaf),
                    sequence=machine.sequence,
                )
            )
        machine.touched.clear()
