"""Receipts: a C2SP tlog-proof that an event is sealed, which a source checks with the log's key alone.

The proof's ``extra`` line carries the entry's header; with the source's own bytes as the body, that is the
entry, so the receipt says not only *that* something was sealed but *what was ruled*: admitted or refused.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.checkpoint import open_checkpoint
from shared.entry import Entry, digest_body, read_entry
from shared.merkle import root_from_inclusion
from shared.note import LogKey
from shared.signing import base64_bytes
from shared.words import EvidenceError

_FIRST: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,17})")


def write_receipt(entry: Entry, path: Sequence[bytes], note: str) -> str:
    """The receipt of an entry: its header, its inclusion proof, the checkpoint the proof leads to."""
    lines = [
        _FIRST,
        f"extra {base64.b64encode(entry.header.line()).decode()}",
        f"index {entry.index}",
        *(base64.b64encode(node).decode() for node in path),
    ]
    return "\n".join(lines) + "\n\n" + note


def receipt_signature(text: str) -> str:
    """The event signature that a receipt speaks of; tells a source which of its events is meant.

    Raises EvidenceError when the text is no receipt. Proves nothing: see :func:`open_receipt`.
    """
    return read_entry(_parts(text)[0] + b"\n").header.signature


def receipt_note(text: str) -> str:
    """The checkpoint that a receipt leads to, as a signed note.

    Raises EvidenceError when the text is no receipt. Proves nothing: see :func:`open_receipt`.
    """
    return _parts(text)[3]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A verified receipt."""

    entry: Entry
    size: int


def open_receipt(text: str, payload: bytes, log: LogKey) -> Receipt:
    """Check a receipt against the event's own bytes and the log's key.

    Raises EvidenceError naming what does not hold.
    """
    header, index, path, note = _parts(text)
    checkpoint = open_checkpoint(note, log)
    for body in (payload, digest_body(payload)):
        entry = read_entry(header + b"\n" + body)
        if entry.index != index:
            raise EvidenceError("the receipt's index is not that of its entry")
        if root_from_inclusion(entry.leaf, entry.index, checkpoint.size, path) == checkpoint.root:
            return Receipt(entry, checkpoint.size)
    raise EvidenceError("the receipt does not prove that this event is in the log")


def _parts(text: str) -> tuple[bytes, int, list[bytes], str]:
    """Header line, index, inclusion path and checkpoint note of a receipt."""
    # The proof's own part ends at the first empty line; everything after it is the checkpoint.
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or len(lines) < 3 or lines[0] != _FIRST or not lines[1].startswith("extra "):
        raise EvidenceError(f"the receipt is not a {_FIRST} with an entry header")
    match = _INDEX.fullmatch(lines[2])
    if match is None:
        raise EvidenceError("the receipt's index cannot be read")
    try:
        header = base64_bytes(lines[1][6:])
        path = [base64_bytes(line) for line in lines[3:]]
    except ValueError:
        raise EvidenceError("the receipt holds something that is not base64") from None
    if b"\n" in header:  # it would take in the first part of another, longer body
        raise EvidenceError("the receipt's entry header is more than one line")
    if any(len(node) != 32 for node in path):
        raise EvidenceError("the receipt holds a hash that is not 32 bytes long")
    return header, int(match[1]), path, note
