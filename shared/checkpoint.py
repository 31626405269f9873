"""Signed notes and checkpoints, as C2SP specifies them (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

Kept exact, because tools that were not written here read them.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.signing import SigningKey, base64_bytes
from shared.words import EvidenceError

_ED25519: Final = b"\x01"
_SIGNATURE_LINE: Final = re.compile(r"— (\S+) ([A-Za-z0-9+/]+={0,2})")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key that may sign notes under ``name``; for a log the name is its origin."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that hint at the key; always matched together with the name."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def vkey(self) -> str:
        """The verifier key in its text form, ``name+hexid+base64``."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "NoteKey":
        """Read a vkey.

        Raises EvidenceError when it is none, or its id does not fit its key.
        """
        parts = text.strip().split("+", 2)
        try:
            name, hex_id, encoded = parts
            raw = base64_bytes(encoded)
        except ValueError:
            raise EvidenceError("a verifier key must read name+hexid+base64") from None
        key = cls(name, raw[1:])
        if raw[:1] != _ED25519 or len(raw) != 33 or key.id.hex() != hex_id or not name:
            raise EvidenceError(f"the verifier key {name!r} is not a consistent Ed25519 key")
        return key


def sign_note(text: str, name: str, key: SigningKey) -> str:
    """Sign a note's text (ending in a line feed) with one Ed25519 signature line."""
    signature = NoteKey(name, key.public).id + key.private.sign(text.encode())
    return f"{text}\n— {name} {base64.b64encode(signature).decode()}\n"


def open_note(note: str, trusted: NoteKey) -> str:
    """Return the text that ``trusted`` has signed.

    Raises EvidenceError when the note is malformed, lacks that signature, or carries it broken.
    """
    # The last empty line separates: a text may itself hold empty lines.
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise EvidenceError("the note has no signature block")
    text += "\n"
    found = False
    for line in signatures[:-1].split("\n"):
        match = _SIGNATURE_LINE.fullmatch(line)
        if match is None:
            raise EvidenceError("the note has a malformed signature line")
        try:
            raw = base64_bytes(match[2])
        except ValueError:
            raise EvidenceError("the note has a malformed signature line") from None
        if match[1] != trusted.name or raw[:4] != trusted.id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(trusted.public).verify(raw[4:], text.encode())
        except InvalidSignature:
            raise EvidenceError(f"the signature of {trusted.name} on the note is broken") from None
        found = True
    if not found:
        raise EvidenceError(f"the note is not signed by {trusted.name} with the expected key")
    return text


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's statement: my first ``size`` entries have this Merkle ``root``."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def sign(self, key: SigningKey) -> str:
        """The signed note, under the origin as key name."""
        return sign_note(self.text(), self.origin, key)


@lru_cache(maxsize=256)
def open_checkpoint(note: str, log: NoteKey) -> Checkpoint:
    """Verify and read a checkpoint of the log whose origin is the key's name.

    Cached, because a batch's receipts all carry the same checkpoint.
    Raises EvidenceError naming what does not hold.
    """
    lines = open_note(note, log).split("\n")
    if len(lines) < 4 or lines[0] != log.name:
        raise EvidenceError(f"the checkpoint is not one of {log.name}")
    try:
        root = base64_bytes(lines[2])
    except ValueError:
        root = b""
    if _SIZE.fullmatch(lines[1]) is None or len(root) != 32:
        raise EvidenceError("the checkpoint's size or root cannot be read")
    return Checkpoint(lines[0], int(lines[1]), root)
