"""The sealed entry: one leaf of the log, ``header LF body`` (DESIGN.md section 5).

The body is the payload exactly as it arrived, so a source's signature can be checked on it for ever; the
header is what the notary adds. The leaf hash of an entry is the chain link in the next one.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec

from shared.envelope import write_json
from shared.moments import instant, stamp
from shared.signing import base64_bytes
from shared.words import EvidenceError, LeafHash, LogIndex

MAX_ENTRY_BYTES: Final = 65_535  # what a C2SP entry bundle's 16-bit length can hold
FORMAT_VERSION: Final = 4
SAFETY_SINCE: Final = 3
"""The entry format that brought safety events and the dose committee."""
PERSONS_SINCE: Final = 4
"""The entry format from which persons have user ids; what was sealed before waits for no second signature."""
NO_LEAF: Final = LeafHash(bytes(32))
ADMITTED: Final = "admitted"
REFUSED: Final = "refused"

_STAMP: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)


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
    """What the notary states about a payload. ``reason`` is empty for an admitted one.

    ``format`` is the version of the entry format, and with it of admission, that the entry was ruled under.
    """

    index: LogIndex
    intake: int
    key: str
    prev: LeafHash
    reason: str
    sealed_at: str
    signature: str
    subject: str
    verdict: str
    format: int = FORMAT_VERSION

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
            "v": self.format,
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
        wire = _HEADER.decode(line)
        header = Header(
            index=LogIndex(wire.index),
            intake=wire.intake,
            key=wire.key,
            prev=LeafHash(bytes.fromhex(wire.prev)),
            reason=wire.reason,
            sealed_at=wire.sealed_at,
            signature=wire.sig,
            subject=wire.subject,
            verdict=wire.verdict,
            format=wire.v,
        )
        canonical = header.line() == line
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise EvidenceError(f"the entry's header cannot be read ({type(error).__name__})") from None
    if not _is_stamp(header.sealed_at):
        raise EvidenceError("the entry's sealed_at is not a UTC time with six decimals")
    if not 1 <= header.format <= FORMAT_VERSION:
        raise EvidenceError(
            f"the entry is of format {header.format}, and this program knows formats 1 to {FORMAT_VERSION}: "
            "use a newer one"
        )
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


class _WireHeader(msgspec.Struct, forbid_unknown_fields=True):
    """The header's line as JSON; that it is the one canonical line is checked by writing it again."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    intake: Annotated[int, msgspec.Meta(ge=0)]
    key: str
    prev: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    sealed_at: str
    sig: str
    subject: str
    v: int
    verdict: Literal["admitted", "refused"]
    reason: str = ""


_HEADER: Final = msgspec.json.Decoder(_WireHeader)


@lru_cache(maxsize=1024)
def _is_stamp(text: str) -> bool:
    try:
        return _STAMP.fullmatch(text) is not None and stamp(instant(text)) == text
    except ValueError:
        return False
