"""Checkpoints and their cosignatures (c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature)."""

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from shared.note import COSIGNATURE, LogKey, NoteKey, open_note, sign_note, signatures_of, split_note
from shared.signing import Signer, base64_bytes
from shared.words import EvidenceError

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's statement: my first ``size`` entries have this Merkle ``root``."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def sign(self, key: Signer) -> str:
        """The signed note, under the origin as key name."""
        return sign_note(self.text(), self.origin, key)


def read_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text, whoever signed it.

    Raises EvidenceError when it is none.
    """
    lines = text.split("\n")
    try:
        root = base64_bytes(lines[2])
    except (ValueError, IndexError):
        root = b""
    if len(lines) < 4 or "" in lines[:-1] or _SIZE.fullmatch(lines[1]) is None or len(root) != 32:
        raise EvidenceError("the checkpoint's origin, size or root cannot be read")
    return Checkpoint(lines[0], int(lines[1]), root)


@lru_cache(maxsize=256)
def open_checkpoint(note: str, log: LogKey) -> Checkpoint:
    """Verify and read a checkpoint of the log whose origin is the key's name.

    Cached, because a batch's receipts all carry the same checkpoint.
    Raises EvidenceError naming what does not hold.
    """
    checkpoint = read_checkpoint(split_note(note)[0])
    open_note(note, log.at(checkpoint.size))
    if checkpoint.origin != log.name:
        raise EvidenceError(f"the checkpoint is not one of {log.name}")
    return checkpoint


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's statement: at ``time`` (POSIX seconds) this was the largest consistent tree it knew."""

    witness: NoteKey
    time: int

    def line_on(self, note: str) -> str:
        """Its line on the note that it was opened from, and none of the others that a witness may have sent."""
        begins = self.time.to_bytes(8, "big")
        return next(self.witness.line(one) for one in signatures_of(note, self.witness) if one.startswith(begins))


def cosign(text: str, name: str, key: Signer, time: int) -> str:
    """The cosignature line of a witness over a checkpoint's text, at ``time`` (POSIX seconds)."""
    signature = time.to_bytes(8, "big") + key.sign(_cosigned(text, time))
    return NoteKey(name, key.public, COSIGNATURE).line(signature)


def open_cosignature(note: str, witness: NoteKey) -> Cosignature | None:
    """The witness's newest cosignature on a checkpoint's note; None when it has none there.

    Raises EvidenceError when one that claims to be of this witness is broken.
    """
    text, _ = split_note(note)
    times = []
    for signature in signatures_of(note, witness):
        time = int.from_bytes(signature[:8], "big")
        if len(signature) != 72 or time >= 1 << 63 or not witness.holds(signature[8:], _cosigned(text, time)):
            raise EvidenceError(f"the cosignature of {witness.name} on the checkpoint is broken")
        times.append(time)
    return Cosignature(witness, max(times)) if times else None


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
