"""From messages to entries: rule on each, chain it, and state what the log itself has noticed. Pure.

A batch is sealed in the order of the intake. What the notary has to say about a message (a gap in its
source's sequence, ticks that a moved clock has passed) follows directly behind that message's entry.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.audit.admission import (
    History,
    Reading,
    Ruling,
    SignatureCheck,
    Stage,
    arrival_of,
    kept_body,
    read_arrival,
    rule,
)
from services.audit.register import Counter, Register
from shared.entry import ADMITTED, NO_LEAF, REFUSED, Arrival, Entry, Header, seal
from shared.envelope import write_envelope
from shared.events.base import Data
from shared.events.log import ClockMoved, GapDetected, IntakeLost, KeyRotated, Ticked
from shared.identities import NOTARY_SOURCE
from shared.merkle import Frontier
from shared.moments import instant, stamp
from shared.signing import Keyring
from shared.words import EvidenceError, LeafHash, LogIndex, SourceId

_NAMESPACE: Final = uuid.UUID("6f1d3c0e-5a1b-5c8e-9d57-2b9d0b7f5a10")


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the log ends: its tree, its last leaf, and the time last sealed."""

    tree: Frontier = field(default_factory=Frontier)
    leaf: LeafHash = NO_LEAF
    sealed_at: str = ""


@dataclass(slots=True)
class Batch:
    """What one batch adds to the log. ``repeats`` are messages that were sealed before, with their index.

    ``refused``: for each entry that was refused, the part of admission that did.
    """

    before: Frontier
    tail: Tail
    entries: list[Entry] = field(default_factory=list)
    refs: list[int] = field(default_factory=list)
    repeats: list[tuple[Arrival, LogIndex]] = field(default_factory=list)
    refused: list[Stage] = field(default_factory=list)


class _Overlay:
    """The log so far plus the batch in the making."""

    def __init__(self, base: History, batch: Batch) -> None:
        self._base = base
        self._batch = batch
        self.new: dict[tuple[SourceId, str], Entry] = {}

    def admitted(self, source: SourceId, event_id: str) -> Entry | None:
        return self.new.get((source, event_id)) or self._base.admitted(source, event_id)

    def at(self, index: int) -> Entry | None:
        at = index - self._batch.before.size
        if at < 0:
            return self._base.at(index)
        return self._batch.entries[at] if at < len(self._batch.entries) else None


class Sealing:
    """Seals one batch; made anew for each, on a register of its own, so that a failed batch leaves nothing."""

    def __init__(
        self,
        tail: Tail,
        register: Register,
        history: History,
        *,
        keyring: Keyring,
        now: datetime,
        signature_holds: SignatureCheck,
        seen: Callable[[Reading], LogIndex | None],
    ) -> None:
        self.batch = Batch(tail.tree, tail)
        self._register = register
        self._history = _Overlay(history, self.batch)
        self._keyring = keyring
        self._now = now
        self._signature_holds = signature_holds
        self._seen = seen
        self._sealed: dict[tuple[str, str, str, bytes], LogIndex] = {}

    def add(self, readings: Sequence[Reading]) -> None:
        """Seal messages, in intake order."""
        for reading in readings:
            arrival = reading.arrival
            # Whether a message was sealed before is told by its bytes alone. Its intake number says nothing: a
            # rebuilt broker starts to count anew.
            same = (arrival.subject, arrival.key, arrival.signature, arrival.payload)
            before = self._sealed.get(same)
            if before is None:
                before = self._seen(reading)
            if arrival.intake > self._register.intake + 1:
                self._state(
                    "log.intake_lost",
                    IntakeLost(first_missing=self._register.intake + 1, last_missing=arrival.intake - 1),
                )
            if before is not None:
                self._register.intake = max(self._register.intake, arrival.intake)
                self._register.touched.add(("log", ""))
                self.batch.repeats.append((arrival, before))
                continue
            self._sealed[same] = LogIndex(self.batch.tail.tree.size)
            clock = self._register.clock
            ruling = self._append(reading, self._time())
            self._remark(ruling, clock)

    def tick(self, clock_offset_ms: int | None = None) -> None:
        """State that time has passed."""
        self._state("log.ticked", Ticked(clock_offset_ms=clock_offset_ms))

    def _time(self) -> datetime:
        simulated = self._register.simulated_now
        if simulated is not None:
            return simulated
        last = self.batch.tail.sealed_at
        # A clock that was set back must not unseal time: stand still until it has caught up.
        return max(self._now, instant(last)) if last else self._now

    def _remark(self, ruling: Ruling, clock: datetime | None) -> None:
        if ruling.gap is not None and ruling.envelope is not None:
            noticed = self.batch.entries[-1].index
            self._state(
                "log.gap_detected",
                GapDetected(
                    source=ruling.envelope.source,
                    first_missing=ruling.gap[0],
                    last_missing=ruling.gap[1],
                    noticed_at=noticed,
                ),
            )
        if isinstance(ruling.data, KeyRotated):  # before anything is committed that could not be signed
            self._keyring.get(self._register.log_keys().current.public)
        if isinstance(ruling.data, ClockMoved) and clock is not None:
            for at in ticks_between(self._register, instant(ruling.data.to)):
                self._state("log.ticked", Ticked(), at)

    def _state(self, verb: str, data: Data, at: datetime | None = None) -> None:
        """Seal a statement of the log itself."""
        sealed_at = at or self._time()
        size = self.batch.tail.tree.size
        payload = write_envelope(
            event_id=str(uuid.uuid5(_NAMESPACE, f"{self._register.trial}/{size}")),
            source=NOTARY_SOURCE,
            type_=f"trialtrail.{verb}.v1",
            subject=None,
            time=stamp(sealed_at),
            sequence=self._register.sources.get(NOTARY_SOURCE, Counter()).last + 1,
            trial=self._register.trial,
            data=data.model_dump(mode="json", exclude_none=True),
        )
        subject = f"intake.{self._register.trial}.{NOTARY_SOURCE.replace('/', '.')}.{verb}"
        key = self._keyring.get(self._register.log_keys().current.public)
        arrival = arrival_of(0, subject, key.id, key.sign_event(payload), payload)
        ruling = self._append(read_arrival(arrival), sealed_at)
        if ruling.reason:
            raise EvidenceError(f"the notary's own statement {verb} was refused: {ruling.reason}")

    def _append(self, reading: Reading, sealed_at: datetime) -> Ruling:
        tail = self.batch.tail
        index = LogIndex(tail.tree.size)
        ruling = rule(self._register, reading, index, sealed_at, self._history, self._signature_holds)
        arrival = reading.arrival
        if index == 0 and ruling.reason:
            raise EvidenceError(f"the log cannot begin with this event: {ruling.reason}")
        entry = seal(
            Header(
                index=index,
                intake=arrival.intake,
                key=arrival.key,
                prev=tail.leaf,
                reason=ruling.reason,
                sealed_at=stamp(sealed_at),
                signature=arrival.signature,
                subject=arrival.subject,
                verdict=REFUSED if ruling.reason else ADMITTED,
            ),
            kept_body(arrival.payload),
        )
        self.batch.entries.append(entry)
        self.batch.refs.append(reading.ref(ruling))
        if ruling.stage is not None:
            self.batch.refused.append(ruling.stage)
        if not ruling.reason and ruling.envelope is not None:
            self._history.new[ruling.envelope.source, ruling.envelope.id] = entry
        self.batch.tail = Tail(tail.tree.append(entry.leaf), entry.leaf, entry.header.sealed_at)
        return ruling


def ticks_between(register: Register, to: datetime) -> list[datetime]:
    """The instants at which a simulated log ticks on its way to ``to``."""
    assert register.opened is not None
    assert register.ticked is not None
    step = timedelta(seconds=register.opened.tick_seconds)
    count = int((to - register.ticked) / step)
    return [register.ticked + step * (at + 1) for at in range(count)]
