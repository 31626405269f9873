"""The keys that sign a log's checkpoints, one after the other, as the log itself says under its root's signature.

Whoever knows a log's first key follows it through every rotation: entry 0, which a checkpoint of the first key
covers, names the root; the root signs each rotation; checkpoints beyond a rotation are the next key's alone.
"""

import base64
from dataclasses import dataclass, replace

from shared.entry import Entry, signature_bytes
from shared.envelope import read_envelope
from shared.events.catalogue import CATALOGUE, read_data
from shared.events.log import KeyRotated, Opened
from shared.note import NoteKey
from shared.signing import key_id, verify_event
from shared.words import EvidenceError, RefusedError

ROTATION = ".log.key_rotated"


@dataclass(frozen=True, slots=True)
class LogKeys:
    """A log's keys: ``keys`` holds (size of the smallest tree it may sign, raw public key), oldest first.

    ``trial`` and ``root`` are entry 0's; empty until it was seen.
    """

    name: str
    keys: tuple[tuple[int, bytes], ...]
    trial: str = ""
    root: bytes = b""

    @classmethod
    def of(cls, first: NoteKey) -> "LogKeys":
        """The keys of a log of which only its first key is known yet."""
        return cls(first.name, ((0, first.public),))

    def at(self, size: int) -> NoteKey:
        """The key that a checkpoint over ``size`` entries must be signed with."""
        return NoteKey(self.name, next(public for start, public in reversed(self.keys) if start <= size))

    @property
    def current(self) -> NoteKey:
        """The key that signs from here on."""
        return NoteKey(self.name, self.keys[-1][1])

    def all(self) -> list[NoteKey]:
        """Every key, oldest first."""
        return [NoteKey(self.name, public) for _, public in self.keys]

    def after(self, entry: Entry, covered: int) -> "LogKeys":
        """The keys once this entry stands in the log; ``covered`` entries are under a checkpoint already checked.

        Raises EvidenceError when the entry claims to rotate the key and may not.
        """
        if entry.index and not (entry.admitted and entry.header.subject.endswith(ROTATION)):
            return self
        try:
            envelope = read_envelope(entry.body)
            data = read_data(CATALOGUE[envelope.type], envelope.data)
        except (RefusedError, KeyError):
            raise EvidenceError(f"entry {entry.index} cannot be read as what its subject says") from None
        if isinstance(data, Opened) and entry.index == 0:
            return replace(self, trial=envelope.trial, root=base64.b64decode(data.root_key))
        if not isinstance(data, KeyRotated):
            raise EvidenceError(f"entry {entry.index} is not the event that its subject names")
        if not self.root:
            raise EvidenceError(
                f"entry {entry.index} rotates the log's key, and this reader's state is from before it could "
                "follow: move its database away, and it reads LOG from the beginning"
            )
        if not covered:
            raise EvidenceError(f"entry {entry.index} rotates the log's key before the first one signed anything")
        signature = signature_bytes(entry.header.signature) or b""
        root_signed = entry.header.key == key_id(self.root) and verify_event(self.root, signature, entry.body)
        if envelope.trial != self.trial or not root_signed:
            raise EvidenceError(f"entry {entry.index} rotates the log's key, and this log's root has not signed it")
        return self.rotated(entry.index, base64.b64decode(data.public_key))

    def rotated(self, index: int, public: bytes) -> "LogKeys":
        """The keys after the rotation in entry ``index``.

        Raises EvidenceError when the key was one of the log's before: a stolen key must never come back.
        """
        if any(public == known for _, known in self.keys):
            raise EvidenceError(f"entry {index} rotates the log's key to one that it had before")
        return replace(self, keys=(*self.keys, (index + 1, public)))
