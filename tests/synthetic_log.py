"""Large logs in little time: entries of the real form, sealed into a real log's files without being admitted.

Chain, tree, stored subtrees, index keys and checkpoints are real, and a notary goes on with such a log. The
events' signatures are not: a full verification would refuse the first synthetic entry, a hash verification holds.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.sealing import Batch, Tail
from shared.checkpoint import Checkpoint
from shared.entry import ADMITTED, Entry, Header, LeafHash, seal
from shared.words import LogIndex
from tests.notary import LOG, ORIGIN, SITE, TRIAL, Office

_SIGNATURE = "A" * 86 + "=="
_SUBJECT = f"intake.{TRIAL}.site.701.screening.attested"
_EVENT = (
    '{"specversion":"1.0","id":"0195f1a0-0000-7000-8000-%012x","source":"site/701","trial":"NCT06027853",'
    '"sequence":"%d","subject":"701-001","type":"trialtrail.screening.attested.v1",'
    '"time":"2026-03-04T09:00:00+08:00","data":{"topic":"copd","answer":"no","on":"2026-01-01","detail":"%s"}}'
)


def found(directory: Path) -> None:
    """A log in this directory whose first entries are real ones."""
    Office.founded(directory).notary.close()


def grow(
    directory: Path,
    to: int,
    *,
    batch: int = 500,
    entry_bytes: int = 1024,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Add entries of about ``entry_bytes`` until there are ``to``, each batch signed."""
    log = Log.at(directory / "audit" / "log.sqlite")
    checkpoints = Checkpoints.at(directory / "checkpoints" / "checkpoints.sqlite")
    register = log.register(TRIAL)
    tail = log.tail()
    detail = "x" * max(entry_bytes - len(_EVENT) - 420, 0)
    while tail.tree.size < to:
        grown = Batch(tail.tree, tail)
        signed = tail.tree.size
        for index in range(signed, min(signed + batch, to)):
            entry = _entry(index, tail, detail)
            grown.entries.append(entry)
            grown.refs.append(int.from_bytes(hashlib.sha256(b"%d" % index).digest()[:8], "big", signed=True))
            tail = Tail(tail.tree.append(entry.leaf), entry.leaf, tail.sealed_at)
        register.remember_signed(signed)
        log.append(grown, register)
        checkpoints.add(signed, tail.tree.size, Checkpoint(ORIGIN, tail.tree.size, tail.tree.root()).sign(LOG))
        if progress is not None:
            progress(tail.tree.size)
    log.close()
    checkpoints.close()


def _entry(index: int, tail: Tail, detail: str) -> Entry:
    header = Header(
        index=LogIndex(index),
        intake=index,
        key=SITE.id,
        prev=LeafHash(tail.leaf),
        reason="",
        sealed_at=tail.sealed_at,
        signature=_SIGNATURE,
        subject=_SUBJECT,
        verdict=ADMITTED,
    )
    return seal(header, (_EVENT % (index, index, detail)).encode())
