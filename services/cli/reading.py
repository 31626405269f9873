"""Opening a data directory to read it, with the stack up or down."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.verify import Report, Verifier
from services.cli.installation import Installation

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


def verify(source: Reading, progress: Callable[[int], None] | None = None) -> Report:
    """Verify what is sealed at this moment; a running notary may add more meanwhile."""
    size = source.log.size()
    saved: dict[str, Any] | None = source.log.register_rows()
    signed = source.checkpoints.all()
    deadline = time.monotonic() + _SEALING_PATIENCE
    while (signed[-1][1] if signed else 0) < size and time.monotonic() < deadline:
        time.sleep(0.05)  # committed a moment ago, about to be signed
        signed = source.checkpoints.all()
    grown = source.log.size()
    if grown > size:
        saved = None  # the register may be that of the longer log
        signed = [head for head in signed if head[1] <= size or head[1] > grown]
    verifier = Verifier(source.home.trial, source.home.log_key, lambda index: source.log.entry(index).raw)
    return verifier.run(source.log.rows(0, size), signed, saved=saved, progress=progress)
