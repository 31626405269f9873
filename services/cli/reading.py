"""Opening a data directory to read it, with the stack up or down."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import select

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.verify import Fault, Report, Verifier
from services.cli.installation import Installation
from shared.database import sqlite
from shared.log_keys import LogKeys
from shared.note import NoteKey
from shared.outbox import OUTBOX
from shared.receipt import open_receipt
from shared.words import EvidenceError

_SEALING_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A log and its checkpoints, open for reading only."""

    home: Installation
    log: Log
    checkpoints: Checkpoints


@contextmanager
def reading(home: Installation) -> Iterator[Reading]:
    """Open a data directory's log for reading.

    Raises TrailError when something that belongs to it is missing.
    """
    log = Log.at(home.log_path, read_only=True)
    checkpoints = Checkpoints.at(home.checkpoints_path, read_only=True)
    try:
        yield Reading(home, log, checkpoints)
    finally:
        log.close()
        checkpoints.close()


def verify(
    source: Reading, progress: Callable[[int], None] | None = None, *, log_key: NoteKey | None = None
) -> Report:
    """Verify what is sealed at this moment; a running notary may add more meanwhile.

    ``log_key``: the log's first or present key as the reader knows it; the data directory's own when left out.
    """
    size, saved = source.log.size(), source.log.register_rows()
    signed = source.checkpoints.all()
    deadline = time.monotonic() + _SEALING_PATIENCE
    while (signed[-1][1] if signed else 0) < size and time.monotonic() < deadline:
        time.sleep(0.05)  # committed a moment ago, about to be signed
        signed = source.checkpoints.all()
    latest = signed[-1][1] if signed else 0
    if size < latest <= source.log.size():
        size = latest  # the log has grown meanwhile, and is signed that far
    compared = saved if source.log.register_rows() == saved and source.log.size() == size else None
    given = log_key or source.home.log_key
    verifier = Verifier(source.home.trial, given, lambda index: source.log.entry(index).raw)
    report = verifier.run(source.log.rows(0, size), signed, saved=compared, progress=progress)
    if report.good:
        report.faults += _receipts_that_disagree(source, size, verifier.log)
    return report


def _receipts_that_disagree(source: Reading, size: int, log: LogKeys) -> Iterator[Fault]:
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
                if row.idx >= size or receipt.entry.raw != source.log.entry(row.idx).raw:
                    yield Fault(
                        row.idx, f"{path.stem} holds a receipt for another entry {row.idx} than the log has"
                    )
                    break
            except EvidenceError as error:
                yield Fault(row.idx, f"a receipt of {path.stem}: {error}")
                break
