"""Verification: every hash, link, tree head, signature, ruling and sequence, recomputed from the bytes alone.

Nothing that the notary remembers is believed: admission is run again over each entry with a register built
on the way, and must come to the same ruling, down to the sealed reason.
"""

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from services.audit.admission import Reading, SignatureCheck, digest_ref, read_arrival, rule, too_large
from services.audit.log import Row
from services.audit.register import Register
from services.audit.register_rows import complete_rows, register_rows
from services.audit.sealing import ticks_between
from services.audit.signatures import SignatureChecker
from shared.checkpoint import open_checkpoint
from shared.entry import ADMITTED, NO_LEAF, REFUSED, Entry, read_entry
from shared.envelope import MAX_EVENT_BYTES, Envelope, read_json
from shared.events import Data
from shared.events.log import ClockMoved, GapDetected, Ticked
from shared.log_keys import LogKeys
from shared.merkle import Frontier
from shared.moments import instant
from shared.note import NoteKey
from shared.words import EvidenceError, LeafHash, RefusedError, SourceId

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that does not hold: at which entry, and what."""

    index: int
    what: str


@dataclass(slots=True)
class Report:
    """What verification found. Good when ``faults`` is empty.

    ``cosigned``: entries under a checkpoint that a policy's quorum has cosigned, None where no policy was asked;
    ``notes``: what could not be looked at.
    """

    entries: int = 0
    admitted: int = 0
    refused: int = 0
    checkpoints: int = 0
    signatures: int = 0
    gaps: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    clock: str = "system"
    last_sealed_at: str = ""
    root: str = ""
    cosigned: int | None = None
    timestamps: int = 0
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything holds."""
        return not self.faults


class _Past:
    """The entries verified so far, as admission asks for them: ids in memory, bodies from the log."""

    def __init__(self, entry_at: Callable[[int], bytes]) -> None:
        self._entry_at = entry_at
        self._ids: dict[tuple[SourceId, bytes], int] = {}
        self.size = 0

    def add(self, entry: Entry, envelope: Envelope | None) -> None:
        if entry.admitted and envelope is not None:
            self._ids[envelope.source, bytes.fromhex(envelope.id.replace("-", ""))] = entry.index
        self.size = entry.index + 1

    def admitted(self, source: SourceId, event_id: str) -> Entry | None:
        index = self._ids.get((source, bytes.fromhex(event_id.replace("-", ""))))
        return None if index is None else read_entry(self._entry_at(index))

    def at(self, index: int) -> Entry | None:
        return read_entry(self._entry_at(index)) if index < self.size else None


@dataclass(frozen=True, slots=True)
class _Read:
    """A stored row read as far as its bytes allow; ``problem`` says why there is no entry."""

    row: Row
    entry: Entry | None
    reading: Reading | None
    problem: str = ""


class Verifier:
    """Verifies one log from entry 0 on.

    ``entry_at`` reads an earlier entry's bytes again; ``log_key`` is the log's public key, its first or its
    present one, as the verifier knows it from outside the log. ``taken`` is told each entry that holds, with the
    key under which the log's index finds it.
    """

    def __init__(
        self,
        trial: str,
        log_key: NoteKey,
        entry_at: Callable[[int], bytes],
        taken: Callable[[Entry, int], None] = lambda _entry, _ref: None,
    ) -> None:
        self.report = Report()
        self._given = log_key
        self.log = LogKeys.of(log_key)
        self._covered = 0  # by the last checkpoint that was checked
        self.register = Register(trial)
        self._taken = taken
        self._ref = 0  # of the entry that was ruled on last
        self._past = _Past(entry_at)
        self._tree = Frontier()
        self._leaf: LeafHash = NO_LEAF
        self._sealed_at = ""
        self._format = 1
        self._owed: deque[Data] = deque()  # statements that the notary must make next
        self._owed_at: deque[datetime] = deque()

    def run(
        self,
        rows: Iterable[Row],
        checkpoints: Sequence[tuple[int, int, str]],
        *,
        saved: dict[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Report:
        """Verify rows (in index order) against the signed checkpoints and the notary's saved register."""
        heads = self._heads(checkpoints)
        checker = SignatureChecker()
        try:
            chunks = self._read_chunks(rows, checker)
            chunk, holds = next(chunks, _NOTHING)
            while chunk and not self.report.faults:
                # The next chunk's signatures are checked on the other core while this one is ruled on.
                upcoming, holds_ahead = next(chunks, _NOTHING)
                for one, following in zip(chunk, [*chunk[1:], *upcoming[:1], None], strict=False):
                    fault = self._one(one, following.entry if following else None, heads, holds)
                    if fault is not None:
                        self._fault(*fault)
                        break
                if progress is not None:
                    progress(self._tree.size)
                chunk, holds = upcoming, holds_ahead
        except EvidenceError as error:
            self._fault(self._tree.size, str(error))
        finally:
            checker.close()
        if not self.report.faults:
            self._end(heads)
        if not self.report.faults and saved is not None:
            self._compare(saved)
        self._sum_up()
        return self.report

    def _heads(self, checkpoints: Sequence[tuple[int, int, str]]) -> dict[int, tuple[int, str]]:
        """Predecessor and note by tree size; signatures are checked once the entries that name the keys are."""
        heads: dict[int, tuple[int, str]] = {}
        before = 0
        for follows, size, note in checkpoints:
            if follows != before or size <= before:
                self._fault(
                    max(before, 0),
                    f"the checkpoint over {size} entries does not follow the one over {before}: one is missing",
                )
                break
            heads[size] = (follows, note)
            before = size
        self.report.checkpoints = len(heads)
        return heads

    def _read_chunks(
        self, rows: Iterable[Row], checker: SignatureChecker
    ) -> Iterator[tuple[list[_Read], SignatureCheck]]:
        """Rows read as far as their bytes allow, a chunk at a time, with their signatures under way."""
        stored = iter(rows)
        while chunk := list(islice(stored, _CHUNK)):
            parsed = [_entry_of(row) for row in chunk]
            holds = checker.begin(self.register, [entry.arrival for _, entry, _ in parsed if entry is not None])
            yield (
                [
                    _Read(row, entry, None if entry is None else _reading_again(entry), problem)
                    for row, entry, problem in parsed
                ],
                holds,
            )

    def _one(
        self,
        one: _Read,
        following: Entry | None,
        heads: dict[int, tuple[int, str]],
        holds: SignatureCheck,
    ) -> tuple[int, str] | None:
        row, entry, reading = one.row, one.entry, one.reading
        index = self._tree.size
        if row.idx != index:
            return index, f"entry {index} is missing; the next one stored is {row.idx}"
        if entry is None or reading is None:
            return index, one.problem
        if entry.index != index:
            return index, f"what is stored as entry {index} says it is entry {entry.index}"
        if entry.header.format < self._format:
            return index, f"entry {index} is of format {entry.header.format}, after one of format {self._format}"
        if entry.header.prev != self._leaf:
            # Either this entry's link was changed or the entry before it; the next link tells which.
            if following is not None and following.header.prev == entry.leaf and index:
                return index - 1, f"entry {index - 1} is not the one that entry {index} links to"
            return index, f"the link of entry {index} is not the hash of entry {index - 1}"
        fault = self._time(entry, reading)
        if fault is None:
            fault = self._ruling(row, entry, reading, holds)
        if fault is not None:
            return index, fault
        self.log = self.log.after(entry, self._covered)
        self._tree = self._tree.append(entry.leaf)
        self._leaf = entry.leaf
        self._sealed_at = entry.header.sealed_at
        self._format = entry.header.format
        self._taken(entry, self._ref)
        return self._head(heads, following)

    def _time(self, entry: Entry, reading: Reading) -> str | None:
        sealed_at = entry.header.sealed_at
        if sealed_at < self._sealed_at:
            return f"sealed_at {sealed_at} lies before the entry before it, {self._sealed_at}"
        simulated = self.register.simulated_now
        if simulated is None:
            return None
        expected = self._owed_at[0] if self._owed_at and reading.envelope is not None else simulated
        return None if instant(sealed_at) == expected else "sealed_at is not the simulated clock's time"

    def _ruling(self, row: Row, entry: Entry, reading: Reading, holds: SignatureCheck) -> str | None:
        clock = self.register.clock
        ruling = rule(self.register, reading, entry.index, instant(entry.header.sealed_at), self._past, holds)
        verdict = REFUSED if ruling.reason else ADMITTED
        if (verdict, ruling.reason) != (entry.header.verdict, entry.header.reason):
            recorded = f"{entry.header.verdict}" + (f" ({entry.header.reason})" if entry.header.reason else "")
            return f"recorded as {recorded}, but it must be {verdict}" + (
                f": {ruling.reason}" if ruling.reason else ""
            )
        self._ref = reading.ref(ruling)
        if row.ref is not None and row.ref != self._ref:
            return f"the index key stored with entry {entry.index} is not that of its event"
        if self._owed:
            owed = self._owed.popleft()
            if self._owed_at:
                self._owed_at.popleft()
            if ruling.data != owed:
                return f"the notary had to state {type(owed).__name__} here and did not"
        if ruling.gap is not None and ruling.envelope is not None:
            self._owed.append(
                GapDetected(
                    source=ruling.envelope.source,
                    first_missing=ruling.gap[0],
                    last_missing=ruling.gap[1],
                    noticed_at=entry.index,
                )
            )
        if isinstance(ruling.data, ClockMoved) and clock is not None:
            due = ticks_between(self.register, instant(ruling.data.to))
            self._owed.extend(Ticked() for _ in due)
            self._owed_at.extend(due)
        if entry.index == 0:
            opened = self.register.opened
            if opened is None:
                return "the log does not begin with an admitted log.opened"
            if opened.origin != self._given.name:
                return f"entry 0 is that of {opened.origin}, not of {self._given.name}"
            self.log = LogKeys.of(NoteKey(opened.origin, base64.b64decode(opened.log_key)))
        self._past.add(entry, ruling.envelope)
        self.report.admitted += entry.admitted
        self.report.refused += not entry.admitted
        self.report.signatures += entry.admitted
        return None

    def _head(self, heads: dict[int, tuple[int, str]], following: Entry | None) -> tuple[int, str] | None:
        head, last = heads.get(self._tree.size), self._tree.size - 1
        if head is None:
            return None
        try:
            checkpoint = open_checkpoint(head[1], self.log)
        except EvidenceError as error:
            return last, f"the checkpoint over {last + 1} entries: {error}"
        if checkpoint.size == self._tree.size and checkpoint.root == self._tree.root():
            self._covered = checkpoint.size
            return None
        if following is not None and following.header.prev == self._leaf:
            what = f"entries {head[0]} to {last} are not those that the checkpoint over {last + 1} signed"
            return head[0], f"{what}: they were rewritten together"
        return last, (
            f"the checkpoint over {last + 1} entries signed another entry {last} "
            f"(or, if links were recomputed, another one since {head[0]})"
        )

    def _end(self, heads: dict[int, tuple[int, str]]) -> None:
        size, signed = self._tree.size, max(heads, default=0)
        if size == 0:
            self._fault(0, "the log is empty")
        elif signed > size:
            self._fault(size, f"entry {size} is missing: a checkpoint over {signed} entries was signed")
        elif signed < size:
            self._fault(signed, f"entries {signed} to {size - 1} are not covered by a signed checkpoint")
        elif self._given not in {self.log.at(0), self.log.current}:
            self._fault(0, "entry 0 names another log key than the one given to verify with, and none follows it")
        elif self._owed:
            self._fault(size, f"the notary owes a {type(self._owed[0]).__name__} after the last entry")

    def _compare(self, saved: dict[str, Any]) -> None:
        """The register the notary goes on with must be the one its own log leads to."""
        register = self.register
        register.touch_all()
        rebuilt, saved = register_rows(register), complete_rows(saved)
        for moved in ("intake", "signed"):  # by repeats, and by signing: neither adds an entry
            rebuilt["log"][moved] = saved.get("log", {}).get(moved)
        for key in sorted(rebuilt.keys() | saved.keys()):
            if rebuilt.get(key) != saved.get(key):
                self._fault(self._tree.size - 1, f"the notary's saved register differs from its log at {key}")
                return

    def _sum_up(self) -> None:
        register, report = self.register, self.report
        report.entries = self._tree.size
        report.root = self._tree.root().hex()
        report.last_sealed_at = self._sealed_at
        report.clock = register.opened.clock if register.opened is not None else "system"
        report.gaps = {name: list(one.missing) for name, one in sorted(register.sources.items()) if one.missing}

    def _fault(self, index: int, what: str) -> None:
        self.report.faults.append(Fault(index, what))


_NOTHING: tuple[list[_Read], SignatureCheck] = ([], lambda *_: False)


def _entry_of(row: Row) -> tuple[Row, Entry | None, str]:
    try:
        return row, read_entry(row.raw), ""
    except EvidenceError as error:
        return row, None, str(error)


def _reading_again(entry: Entry) -> Reading:
    """What admission read when the entry was sealed; of a payload too large to keep, only length and digest."""
    if entry.header.verdict == REFUSED and entry.header.reason.startswith("the event is "):
        try:
            kept = read_json(entry.body)
            length, digest = kept["length"], bytes.fromhex(kept["sha256"])
        except (RefusedError, KeyError, TypeError, ValueError):
            return read_arrival(entry.arrival)._replace(format=entry.header.format)
        if isinstance(length, int) and length > MAX_EVENT_BYTES and entry.header.reason == too_large(length):
            return Reading(entry.arrival, None, too_large(length), None, digest_ref(digest), None)
    return read_arrival(entry.arrival)._replace(format=entry.header.format)
