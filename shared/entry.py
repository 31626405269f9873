"""The sealed entry: one leaf of the log, ``header LF body`` (DESIGN.md section 5).

The body is the payload exactly as it arrived, so a source's signature can be checked on it for ever; the
header is what the notary adds. The leaf hash of an entry is the chain link in the next one.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from shared.envelope import write_json
from shared.moments import instant, stamp
from shared.signing import base64_bytes
from shared.words import EvidenceError, LeafHash, LogIndex

MAX_ENTRY_BYTES: Final = 65_535  # what a C2SP entry bundle's 16-bit length can hold
FORMAT_VERSION: Final = 1
NO_LEAF: Final = LeafHash(bytes(32))
ADMITTED: Final = "admitted"
REFUSED: Final = "refused"

_FIELDS: Final = frozenset(
    {"index", "intake", "key", "prev", "reason", "sealed_at", "sig", "subject", "v", "verdict"}
)
_STAMP: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)
_HEX32: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came from the broker, before anything is known about it.

    ``intake`` is its sequence in the INTAKE stream, from 1; 0 for what the notary itself states. ``key`` and
    ``signature`` are the ``Trail-Key`` and ``Trail-Signature`` headers, empty when absent.
    """

    intake: int
    subject: str
    key: str
    signature: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What the notary states about a payload. ``reason`` is empty for an admitted one."""

    index: LogIndex
    intake: int
    key: str
    prev: LeafHash
    reason: str
    sealed_at: str
    signature: str
    subject: str
    verdict: str

    def line(self) -> bytes:
        """The header's one line, without the line feed."""
        document: dict[str, object] = {
            "index": self.index,
            "intake": self.intake,
            "key": self.key,
            "prev": self.prev.hex(),
            "sealed_at": self.sealed_at,
            "sig": self.signature,
            "subject": self.subject,
            "v": FORMAT_VERSION,
            "verdict": self.verdict,
        }
        if self.verdict == REFUSED:
            document["reason"] = self.reason
        return write_json(document)


@dataclass(frozen=True, slots=True)
class Entry:
    """One sealed entry: its header, its body, and the bytes both were read from."""

    header: Header
    body: bytes
    raw: bytes
    leaf: LeafHash

    @property
    def index(self) -> LogIndex:
        """Position in the log."""
        return self.header.index

    @property
    def admitted(self) -> bool:
        """Whether the payload was admitted; a refused one is evidence of nothing but its arrival."""
        return self.header.verdict == ADMITTED

    @property
    def arrival(self) -> Arrival:
        """The message this entry seals, as admission saw it."""
        head = self.header
        return Arrival(head.intake, head.subject, head.key, head.signature, self.body)


def leaf_hash(raw: bytes) -> LeafHash:
    """RFC 9162 section 2.1.1: SHA-256 over 0x00 and the leaf's bytes."""
    return LeafHash(hashlib.sha256(b"\x00" + raw).digest())


def seal(header: Header, body: bytes) -> Entry:
    """Join header and body to an entry.

    Raises EvidenceError when they do not fit; admission replaces such a body by its digest beforehand.
    """
    raw = header.line() + b"\n" + body
    if len(raw) > MAX_ENTRY_BYTES:
        raise EvidenceError(f"entry {header.index} would be {len(raw)} bytes, more than {MAX_ENTRY_BYTES}")
    return Entry(header, body, raw, leaf_hash(raw))


def digest_body(payload: bytes) -> bytes:
    """Stand in for a payload that is too large to seal: its length and SHA-256."""
    return write_json({"length": len(payload), "sha256": hashlib.sha256(payload).hexdigest()})


def read_entry(raw: bytes) -> Entry:
    """Read an entry back; only the exact bytes that :func:`seal` writes are one.

    Raises EvidenceError that says what is wrong with the header.
    """
    line, separator, body = raw.partition(b"\n")
    if not separator:
        raise EvidenceError("the entry has no header line")
    try:
        document = json.loads(line.decode())
        if not isinstance(document, dict) or not document.keys() <= _FIELDS:
            raise ValueError("unknown fields")
        header = Header(
            index=LogIndex(_whole(document["index"])),
            intake=_whole(document["intake"]),
            key=_text(document["key"]),
            prev=LeafHash(_digest(document["prev"])),
            reason=_text(document.get("reason", "")),
            sealed_at=_text(document["sealed_at"]),
            signature=_text(document["sig"]),
            subject=_text(document["subject"]),
            verdict=_text(document["verdict"]),
        )
        canonical = header.line() == line
    except (ValueError, KeyError, RecursionError) as error:
        raise EvidenceError(f"the entry's header cannot be read ({type(error).__name__})") from None
    if header.verdict not in {ADMITTED, REFUSED}:
        raise EvidenceError("the entry's verdict is neither admitted nor refused")
    if not _is_stamp(header.sealed_at):
        raise EvidenceError("the entry's sealed_at is not a UTC time with six decimals")
    if not canonical:
        raise EvidenceError("the entry's header is not in its one canonical form")
    return Entry(header, body, raw, leaf_hash(raw))


def signature_bytes(text: str) -> bytes | None:
    """Decode a ``Trail-Signature`` header; None when it is not 64 bytes of canonical base64."""
    try:
        decoded = base64_bytes(text)
    except ValueError:
        return None
    return decoded if len(decoded) == 64 else None


def _is_stamp(text: str) -> bool:
    try:
        return _STAMP.fullmatch(text) is not None and stamp(instant(text)) == text
    except ValueError:
        return False


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004 - one error type for one unreadable header
    return value


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or _HEX32.fullmatch(value) is None:
        raise ValueError("not a SHA-256")
    return bytes.fromhex(value)
