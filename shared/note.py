"""Signed notes and their keys, exactly as C2SP specifies them (c2sp.org/signed-note).

Kept exact, because tools that were not written here read them.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.signing import Signer, base64_bytes
from shared.words import EvidenceError

ED25519: Final = 0x01
"""A plain signature over a note's text: what a log signs its checkpoints with."""
COSIGNATURE: Final = 0x04
"""A timestamped cosignature/v1 of a checkpoint (c2sp.org/tlog-cosignature): what a witness signs with."""

_SIGNATURE_LINE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME: Final = re.compile(r"[^\s+]+")


class LogKey(Protocol):
    """What a log's checkpoints are checked with: one key, or its keys in their order (shared.log_keys)."""

    @property
    def name(self) -> str:
        """The log's origin."""

    def at(self, size: int) -> "NoteKey":
        """The key that signs checkpoints over ``size`` entries."""

    def __hash__(self) -> int:
        """By its keys: what was verified once is remembered."""


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key that may sign notes under ``name``; for a log the name is its origin.

    ``kind`` is the signature type, :data:`ED25519` or :data:`COSIGNATURE`: the same key material of another
    kind has another id, and is another key.
    """

    name: str
    public: bytes
    kind: int = ED25519

    @property
    def id(self) -> bytes:
        """The four bytes that hint at the key; always matched together with the name."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def vkey(self) -> str:
        """The verifier key in its text form, ``name+hexid+base64``."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str, kind: int = ED25519) -> "NoteKey":
        """Read a vkey of one kind.

        Raises EvidenceError when it is none, is of another kind, or its id does not fit its key.
        """
        parts = text.strip().split("+", 2)
        try:
            name, hex_id, encoded = parts
            raw = base64_bytes(encoded)
        except ValueError:
            raise EvidenceError("a verifier key must read name+hexid+base64") from None
        key = cls(name, raw[1:], kind)
        if len(raw) != 33 or not _NAME.fullmatch(name):
            raise EvidenceError(f"the verifier key {name!r} is not a consistent Ed25519 key")
        if raw[0] != kind:
            wanted = "a log's" if kind == ED25519 else "a witness's"
            raise EvidenceError(f"the verifier key {name!r} is of type {raw[0]:02x}; {wanted} is {kind:02x}")
        if key.id.hex() != hex_id:
            raise EvidenceError(f"the verifier key {name!r} is not a consistent Ed25519 key")
        return key

    def at(self, size: int) -> "NoteKey":  # noqa: ARG002
        """This key: that of a log which never rotated its key."""
        return self

    def line(self, signature: bytes) -> str:
        """A signature line of this key, with its line feed."""
        return f"— {self.name} {base64.b64encode(self.id + signature).decode()}\n"

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether an Ed25519 signature (64 bytes) over a message is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def sign_note(text: str, name: str, key: Signer) -> str:
    """Sign a note's text (ending in a line feed) with one Ed25519 signature line."""
    return f"{text}\n{NoteKey(name, key.public).line(key.sign(text.encode()))}"


def split_note(note: str) -> tuple[str, list[tuple[str, str]]]:
    """A note's text, and (key name, whole line with its line feed) of each signature; nothing is verified.

    Raises EvidenceError when it is no note.
    """
    # The last empty line separates: a text may itself hold empty lines.
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise EvidenceError("the note has no signature block")
    if _CONTROL.search(note):
        raise EvidenceError("the note holds a control character other than line feeds")
    lines = []
    for line in signatures[:-1].split("\n"):
        match = _SIGNATURE_LINE.fullmatch(line)
        if match is None or len(_decoded(match[2])) < 5:
            raise EvidenceError("the note has a malformed signature line")
        lines.append((match[1], line + "\n"))
    return text + "\n", lines


def signatures_of(note: str, key: NoteKey) -> Iterator[bytes]:
    """What stands behind the key's id in each line of a note that is said to be this key's."""
    for name, line in split_note(note)[1]:
        raw = _decoded(line.rstrip("\n").rpartition(" ")[2])
        if name == key.name and raw[:4] == key.id:
            yield raw[4:]


def open_note(note: str, trusted: NoteKey) -> str:
    """Return the text that ``trusted`` has signed.

    Raises EvidenceError when the note is malformed, lacks that signature, or carries it broken.
    """
    text, _ = split_note(note)
    found = False
    for signature in signatures_of(note, trusted):
        if not trusted.holds(signature, text.encode()):
            raise EvidenceError(f"the signature of {trusted.name} on the note is broken")
        found = True
    if not found:
        raise EvidenceError(f"the note is not signed by {trusted.name} with the expected key")
    return text


def _decoded(text: str) -> bytes:
    try:
        return base64_bytes(text)
    except ValueError:
        return b""
