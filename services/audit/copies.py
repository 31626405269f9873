"""What others hold of the log (the LOG stream, receipts, witnesses), compared with the database by `trail fsck`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from services.audit.cosignatures import witnessed
from services.audit.findings import Findings, Kind
from services.audit.fsck import stored_entries
from services.audit.heads import Head, Heads
from services.audit.log import Log
from shared.broker import decode_note
from shared.checkpoint import open_checkpoint
from shared.database import sqlite
from shared.note import LogKey
from shared.outbox import OUTBOX
from shared.policy import Policy
from shared.receipt import open_receipt, receipt_note
from shared.words import EvidenceError

_RECEIPTS = select(OUTBOX.c.payload, OUTBOX.c.receipt).where(OUTBOX.c.receipt.is_not(None)).order_by(OUTBOX.c.idx)


class Message(NamedTuple):
    """A message of the LOG stream; ``checkpoint`` is its ``Trail-Checkpoint`` header."""

    sequence: int
    payload: bytes
    checkpoint: str | None


class Stream:
    """Compares the LOG stream's messages, given in order, with the first ``size`` entries of the database.

    ``notes`` are the kept checkpoints by size. What the notary adds meanwhile is not looked at.
    """

    def __init__(self, log: Log, size: int, notes: Mapping[int, str], findings: Findings) -> None:
        self.following = 1  # the sequence of the message that must come next
        self._log = log
        self._size = size
        self._notes = notes
        self._findings = findings
        self._covered = True  # whether the last message carries a checkpoint

    def take(self, messages: Sequence[Message]) -> None:
        """Compare the next messages."""
        compared = [one for one in messages if self.following <= one.sequence <= self._size]
        if not compared:
            return
        stored = stored_entries(self._log, compared[0].sequence - 1, compared[-1].sequence)
        for message in compared:
            self._skip_to(message.sequence)
            self.following += 1
            entry = stored.get(message.sequence - 1)
            if entry is not None and entry != message.payload:
                self._differs(message.sequence, f"is not entry {message.sequence - 1} of the database")
            self._covered = message.checkpoint is not None
            if message.checkpoint is not None:
                self._compare_checkpoint(message.sequence, message.checkpoint)

    def end(self, last: int, entries: int) -> None:
        """Compare the ends: the stream's last sequence, and how many entries the database has by now."""
        self._skip_to(min(last, self._size) + 1)
        signed = max(self._notes, default=0)
        if last > entries:
            what = f"holds {last} entries and the database {entries}: an older one was put back, or it was cut"
            self._findings.add(Kind.ENTRIES_CUT, "LOG", what)
        if last < signed:
            what = f"holds {last} of {signed} signed entries"
            self._findings.add(Kind.STREAM_BEHIND, "LOG", what)
        elif last <= self._size and not self._covered:
            what = "carries no checkpoint, so readers wait for one"
            self._findings.add(Kind.STREAM_BEHIND, f"LOG message {last}", what)
        self._findings.looked.append(f"{min(last, self._size)} messages of LOG")

    def _skip_to(self, sequence: int) -> None:
        while self.following < sequence:
            self._differs(self.following, "is missing")
            self.following += 1

    def _compare_checkpoint(self, size: int, header: str) -> None:
        try:
            if decode_note(header) != self._notes.get(size):
                self._differs(size, f"carries another checkpoint than the one kept over {size} entries")
        except EvidenceError as error:
            self._differs(size, f"carries no readable checkpoint: {error}")

    def _differs(self, sequence: int, what: str) -> None:
        self._findings.add(Kind.MESSAGE, f"LOG message {sequence}", what)


def receipts(outboxes: Iterable[Path], log: Log, keys: LogKey, heads: Heads, findings: Findings) -> None:
    """Check the receipts in these files against the database, and have the roots that they lead to compared.

    A log and its checkpoints may both be put back to an older state; receipts that were given out remember.
    """
    count, boxes = 0, 0
    for path in outboxes:
        try:
            for payload, receipt in _held(path):
                _receipt(path.stem, payload, receipt, log, keys, heads, findings)
                count += 1
            boxes += 1
        except DatabaseError as error:
            findings.not_looked.append(f"the receipts in {path}: {error.orig}")
    findings.looked.append(f"{count} receipts in {boxes} outboxes")


def cosignatures(
    policy: Policy, signed: Sequence[tuple[int, int, str]], lines: Mapping[int, Sequence[str]], findings: Findings
) -> None:
    """Check the kept cosignatures of the policy's witnesses against the kept checkpoints."""
    result = witnessed(policy, signed, lines)
    for _, what in result.faults:
        findings.add(Kind.COSIGNATURE, "cosignatures", what)
    count = len(result.anchors)
    findings.looked.append(f"{count} cosignatures; by the policy, {result.size} entries are witnessed")


def _held(path: Path) -> Iterable[tuple[object, object]]:
    engine = sqlite(path, read_only=True)
    try:
        with engine.connect() as connection:
            yield from ((row.payload, row.receipt) for row in connection.execute(_RECEIPTS))
    finally:
        engine.dispose()


def _receipt(
    outbox: str, payload: object, text: object, log: Log, keys: LogKey, heads: Heads, findings: Findings
) -> None:
    try:
        if not isinstance(payload, bytes) or not isinstance(text, str):
            raise EvidenceError("it is not stored as one")
        entry = open_receipt(text, payload, keys).entry
        checkpoint = open_checkpoint(receipt_note(text), keys)
    except EvidenceError as error:
        findings.add(Kind.RECEIPT, f"a receipt of {outbox}", f"does not hold: {error}")
        return
    of = f"the checkpoint over {checkpoint.size} entries in the receipts of {outbox}"
    heads.add(checkpoint.size, Head(checkpoint.root, Kind.RECEIPT, of))
    if stored_entries(log, entry.index, entry.index + 1).get(entry.index) != entry.raw:
        what = "proves another entry than the database has"
        findings.add(Kind.RECEIPT, f"the receipt of {outbox} for entry {entry.index}", what)
