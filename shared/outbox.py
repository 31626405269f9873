"""A source's outbox: every event it has numbered and signed, kept until the log's receipt for it has verified.

A broker's acknowledgement is not a record. What is in the outbox without a receipt is sent again, with the
same bytes, for as long as it takes; the notary recognises repeats.
"""

import os
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
    update,
)

from shared.database import Place
from shared.drafts import Draft
from shared.envelope import read_envelope
from shared.events import Role
from shared.migrations import CHANGED, Stored, open_for_writing
from shared.note import LogKey
from shared.receipt import open_receipt, receipt_signature
from shared.signing import Signer
from shared.words import EvidenceError, LogIndex, RefusedError, SourceId, TrailError

_METADATA: Final = MetaData()
OUTBOX: Final = Table(
    "outbox",
    _METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False, unique=True),
    Column("content", String(64), nullable=True, unique=True),
    Column("route", String(80), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("key", String(32), nullable=False),
    Column("signature", String(88), nullable=False, index=True),
    Column("idx", Integer, nullable=True, index=True),
    Column("verdict", String(8), nullable=True),
    Column("reason", Text, nullable=True),
    Column("receipt", Text, nullable=True),
)
OUTBOX_STORE: Final = Stored(
    "outbox", _METADATA, Path(__file__).parent / "migrations" / "outbox", "0001", {"outbox": CHANGED}
)
_WAITING: Final = select(OUTBOX).where(OUTBOX.c.receipt.is_(None)).order_by(OUTBOX.c.sequence)
_BY_SIGNATURE: Final = select(OUTBOX.c.sequence, OUTBOX.c.payload, OUTBOX.c.signature).where(
    OUTBOX.c.signature.in_(bindparam("signatures", expanding=True)), OUTBOX.c.receipt.is_(None)
)
_SETTLE: Final = (
    update(OUTBOX)
    .where(OUTBOX.c.sequence == bindparam("of"))
    .values({name: bindparam(name) for name in ("idx", "verdict", "reason", "receipt")})
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signed event as it goes to the broker."""

    sequence: int
    id: str
    route: str
    payload: bytes
    key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event: where it is sealed and how it was ruled."""

    sequence: int
    id: str
    index: LogIndex
    verdict: str
    reason: str


class Privacy(Protocol):
    """How the personal texts of drafts are kept out of everything that is written (``shared.private_drafts``)."""

    def check(self, draft: Draft) -> None:
        """Raise RefusedError when the draft's personal texts cannot be encrypted."""

    def fingerprints(self, draft: Draft) -> Sequence[str]:
        """Under which names (64 hexadecimal digits each) the draft may be known; it is kept under the first."""

    def encrypted(self, draft: Draft) -> Draft:
        """The draft as it may be sealed."""


class NothingPrivate:
    """For sources that speak of no participant: the root, and services."""

    def check(self, draft: Draft) -> None:
        """Raise RefusedError when there is something to encrypt after all."""
        if draft.private:
            raise RefusedError("private: there are no privacy keys here; post the draft with `trail submit`")

    def fingerprints(self, draft: Draft) -> Sequence[str]:
        """See Privacy."""
        return (draft.digest(),)

    def encrypted(self, draft: Draft) -> Draft:
        """See Privacy."""
        return draft


NOTHING_PRIVATE: Final = NothingPrivate()


def uuid7() -> str:
    """A time-ordered UUID (RFC 9562 section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    number = (number & ~(0xF << 76)) | (7 << 76)
    number = (number & ~(0x3 << 62)) | (2 << 62)
    return str(uuid.UUID(int=number))


class Outbox:
    """The outbox of one source, in a database that may also hold the rest of a service's state."""

    def __init__(self, engine: Engine, source: SourceId, trial: str) -> None:
        self.engine = engine
        self.source = source
        self.trial = trial

    @classmethod
    def at(cls, place: Place, source: SourceId, trial: str) -> "Outbox":
        """Open a source's outbox in a place of its own; a file is made if it is not there."""
        return cls(open_for_writing(place, OUTBOX_STORE), source, trial)

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def put(
        self,
        drafts: Sequence[Draft],
        key_of: Callable[[Role], Signer],
        *,
        privacy: Privacy = NOTHING_PRIVATE,
        checked: bool = True,
    ) -> list[int]:
        """Number, sign and keep drafts; returns their sequence numbers, in order.

        A draft that says exactly what an earlier one said is that event, not a second one, so that a file can
        be submitted again after an interruption. Its personal texts never come near this file: ``privacy`` encrypts
        them before the event is numbered. Raises RefusedError (via Draft.check) before anything is kept;
        ``checked=False`` leaves all judgement to the notary.
        """
        if checked:
            for draft in drafts:
                draft.check(self.trial)
                privacy.check(draft)
        numbers = []
        with self.engine.begin() as connection:
            following = self._last(connection) + 1
            for draft in drafts:
                names = privacy.fingerprints(draft)
                known = connection.execute(
                    select(func.min(OUTBOX.c.sequence)).where(OUTBOX.c.content.in_(names))
                ).scalar()
                if known is not None:
                    numbers.append(known)
                    continue
                event_id = draft.id or uuid7()
                if connection.execute(select(OUTBOX.c.id).where(OUTBOX.c.id == event_id)).one_or_none():
                    raise TrailError(f"an event with id {event_id} was already submitted, with other content")
                payload = privacy.encrypted(draft).payload(self.trial, event_id, following)
                self.keep(connection, [(following, payload)], key_of(draft.signing_role), names[0])
                numbers.append(following)
                following += 1
        return numbers

    def keep(
        self,
        connection: Connection,
        events: Iterable[tuple[int, bytes]],
        key: Signer,
        content: str | None = None,
    ) -> None:
        """Sign and keep numbered payloads within the caller's transaction."""
        rows = []
        for sequence, payload in events:
            envelope = read_envelope(payload)
            rows.append(
                {
                    "sequence": sequence,
                    "id": envelope.id,
                    "content": content,
                    "route": envelope.route,
                    "payload": payload,
                    "key": key.id,
                    "signature": key.sign_event(payload),
                }
            )
        if rows:
            connection.execute(insert(OUTBOX), rows)

    def waiting(self, limit: int, *, beyond: int = 0) -> list[Outgoing]:
        """Events without a receipt and with a sequence above ``beyond``, oldest first."""
        with self.engine.connect() as connection:
            rows = connection.execute(_WAITING.where(OUTBOX.c.sequence > beyond).limit(limit)).all()
        return [Outgoing(row.sequence, row.id, row.route, row.payload, row.key, row.signature) for row in rows]

    def count_waiting(self) -> int:
        """How many events have no receipt yet."""
        with self.engine.connect() as connection:
            return connection.execute(
                select(func.count()).select_from(OUTBOX).where(OUTBOX.c.receipt.is_(None))
            ).scalar_one()

    def oldest_waiting(self) -> tuple[int, datetime | None]:
        """How many events have no receipt yet, and the time that the first of them states (aware)."""
        # An event is given its index with its receipt, and that column alone has an index of its own.
        waiting = OUTBOX.c.idx.is_(None)
        with self.engine.connect() as connection:
            count, first = connection.execute(
                select(func.count(), func.min(OUTBOX.c.sequence)).where(waiting)
            ).one()
            payload = connection.execute(select(OUTBOX.c.payload).where(OUTBOX.c.sequence == first)).scalar()
        return count, None if payload is None else read_envelope(payload).time

    def confirm(self, receipts: Iterable[str], log: LogKey) -> tuple[int, list[str]]:
        """Keep the receipts that verify; returns how many events they settled, and what was wrong with others.

        A receipt that does not verify settles nothing: its event stays in the outbox and is sent again.
        """
        texts, faults = defaultdict[str, list[str]](list), list[str]()
        for text in receipts:
            try:
                texts[receipt_signature(text)].append(text)
            except EvidenceError as error:
                faults.append(str(error))
        settled = []
        with self.engine.begin() as connection:
            # A signature without a row was settled before, by an earlier copy of its receipt.
            for row in connection.execute(_BY_SIGNATURE, {"signatures": list(texts)}).all():
                for text in texts[row.signature]:  # a forged one beside it must not displace the genuine one
                    try:
                        entry = open_receipt(text, row.payload, log).entry
                    except EvidenceError as error:
                        faults.append(str(error))
                        continue
                    settled.append(
                        {
                            "of": row.sequence,
                            "idx": entry.index,
                            "verdict": entry.header.verdict,
                            "reason": entry.header.reason,
                            "receipt": text,
                        }
                    )
                    break
            if settled:
                connection.execute(_SETTLE, settled)
        return len(settled), faults

    def outcomes(self, sequences: Sequence[int]) -> list[Outcome]:
        """What became of these events, of those that are settled, in sequence order."""
        wanted = set(sequences)
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(OUTBOX.c.sequence, OUTBOX.c.id, OUTBOX.c.idx, OUTBOX.c.verdict, OUTBOX.c.reason)
                .where(OUTBOX.c.idx.is_not(None))
                .order_by(OUTBOX.c.sequence)
            )
            return [
                Outcome(row.sequence, row.id, row.idx, row.verdict, row.reason)
                for row in rows
                if row.sequence in wanted
            ]

    def next_sequence(self) -> int:
        """The number that the next event will get."""
        with self.engine.connect() as connection:
            return self._last(connection) + 1

    def kept(self, sequence: int) -> tuple[bytes, str] | None:
        """An event's bytes and its verified receipt (C2SP tlog-proof text); None while there is no receipt."""
        with self.engine.connect() as connection:
            row = connection.execute(
                select(OUTBOX.c.payload, OUTBOX.c.receipt).where(OUTBOX.c.sequence == sequence)
            ).one_or_none()
        return None if row is None or row.receipt is None else (row.payload, row.receipt)

    def _last(self, connection: Connection) -> int:
        return connection.execute(select(func.max(OUTBOX.c.sequence))).scalar() or 0
