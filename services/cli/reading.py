"""Opening a data directory to read it, with the stack up or down."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from services.audit.authorities import read_authorities
from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.log import Log
from services.audit.timestamps import Timestamps
from services.audit.verify import Fault, Report, Verifier
from services.audit.vouched import Attestations, vouch
from services.cli.installation import Installation
from services.console.private import Reader, destroyed_keys
from shared.database import sqlite
from shared.log_keys import LogKeys
from shared.moments import instant
from shared.note import NoteKey
from shared.outbox import OUTBOX
from shared.policy import NONE, Policy
from shared.receipt import open_receipt
from shared.words import EvidenceError

_SEALING_PATIENCE = 2.0
_COSIGNING_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A log and its checkpoints, open for reading only."""

    home: Installation
    log: Log
    checkpoints: Checkpoints

    @property
    def cosignatures(self) -> Cosignatures:
        """What witnesses gave."""
        return Cosignatures(self.checkpoints.engine)

    def reader(self) -> Reader:
        """What private texts whoever reads here may see."""
        erasures = self.log.register(self.home.trial).erasures
        return Reader(destroyed_keys(erasures.values()), self.home.privacy_keys.find)

    def attestations(self) -> Attestations:
        """What outsiders gave; read before the checkpoints, which then hold all that it is about."""
        return Attestations(self.cosignatures.all(), Timestamps(self.checkpoints.engine).all())


@contextmanager
def reading(home: Installation) -> Iterator[Reading]:
    """Open a data directory's log for reading.

    Raises TrailError when something that belongs to it is missing.
    """
    log = Log.at(home.places.log, read_only=True)
    checkpoints = Checkpoints.at(home.places.checkpoints, read_only=True)
    try:
        yield Reading(home, log, checkpoints)
    finally:
        log.close()
        checkpoints.close()


def verify(
    source: Reading,
    progress: Callable[[int], None] | None = None,
    *,
    log_key: NoteKey | None = None,
    policy: Policy | None = None,
) -> Report:
    """Verify what is sealed at this moment; a running notary may add more meanwhile.

    ``log_key``: the log's first or present key as the reader knows it; ``policy``: whose cosignatures the reader
    asks for. The data directory's own when left out.
    """
    saved = source.log.register_rows()
    asked = policy or source.home.policy()
    size = settled_size(source, asked)
    given = source.attestations()
    grown = source.log.size()  # what came meanwhile is for the next time; what goes beyond even this was cut off
    given = Attestations(
        {at: lines for at, lines in given.cosignatures.items() if not size < at <= grown},
        [one for one in given.timestamps if not size < one.size <= grown],
    )
    signed = [one for one in source.checkpoints.all() if one[1] <= size]
    compared = saved if source.log.register_rows() == saved and source.log.size() == size else None
    verifier = Verifier(
        source.home.trial, log_key or source.home.log_key, lambda index: source.log.entry(index).raw
    )
    report = verifier.run(source.log.rows(0, size), signed, saved=compared, progress=progress)
    if report.good:
        report.faults += _receipts_that_disagree(source, verifier.log)
        _ask_outsiders(source, report, signed, given, asked)
    return report


def settled_size(source: Reading, policy: Policy | None = None) -> int:
    """How many entries to verify: all there are now, once they are signed and cosigned, which takes a moment.

    More than there are, if more were signed: then they are missing, and verification says so.
    """
    before = _signed(source)  # read first: entries are there before they are signed
    size = source.log.size()
    if before > size:
        return before
    _wait(lambda: _signed(source) >= size, _SEALING_PATIENCE)
    if policy is not None and policy.quorum != NONE:
        _wait(lambda: source.cosignatures.latest(policy) >= size, _COSIGNING_PATIENCE)
        cosigned = source.cosignatures.latest(policy)
        if cosigned >= size:
            return cosigned  # what came while we waited is for the next time
    return max(size, _signed(source))


def _wait(done: Callable[[], bool], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)


def _signed(source: Reading) -> int:
    latest = source.checkpoints.latest()
    return 0 if latest is None else latest[0]


def _ask_outsiders(
    source: Reading,
    report: Report,
    signed: list[tuple[int, int, str]],
    given: Attestations,
    policy: Policy | None,
) -> None:
    def sealed_at(index: int) -> datetime | None:
        return instant(source.log.entry(index).header.sealed_at) if index < report.entries else None

    authorities = read_authorities(source.home.timestamping_path)
    real = report.clock == "system"
    vouched = vouch(report.entries, signed, given, policy, authorities, sealed_at, real_time=real)
    report.cosigned = None if policy is None else vouched.cosigned
    report.timestamps = len(given.timestamps)
    report.notes += vouched.notes
    report.faults += vouched.faults


def _receipts_that_disagree(source: Reading, log: LogKeys) -> Iterator[Fault]:
    """The first receipt of each outbox at hand that the log does not bear out.

    A log and its checkpoints may both be put back to an older state; receipts that were given out remember.
    """
    for path in sorted((source.home.directory / "outbox").glob("*.sqlite")):
        engine = sqlite(path, read_only=True)
        with engine.connect() as connection:
            held = connection.execute(
                select(OUTBOX.c.idx, OUTBOX.c.payload, OUTBOX.c.receipt)
                .where(OUTBOX.c.receipt.is_not(None))
                .order_by(OUTBOX.c.idx)
            ).all()
        engine.dispose()
        for row in held:
            try:
                receipt = open_receipt(row.receipt, row.payload, log)
                if row.idx >= source.log.size() or receipt.entry.raw != source.log.entry(row.idx).raw:
                    yield Fault(
                        row.idx, f"{path.stem} holds a receipt for another entry {row.idx} than the log has"
                    )
                    break
            except EvidenceError as error:
                yield Fault(row.idx, f"a receipt of {path.stem}: {error}")
                break
