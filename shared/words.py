"""The project's own types: one word for one thing, so that a leaf hash is never passed where an index belongs."""

from typing import NewType

LogIndex = NewType("LogIndex", int)
"""Position of an entry in the log, from 0."""

LeafHash = NewType("LeafHash", bytes)
"""RFC 9162 leaf hash of an entry, 32 bytes; also the chain link to it."""

KeyId = NewType("KeyId", str)
"""First 16 bytes of the SHA-256 of a raw Ed25519 public key, 32 hexadecimal digits."""

SourceId = NewType("SourceId", str)
"""Who posts: ``<kind>/<id>``, for instance ``site/701``."""

ParticipantId = NewType("ParticipantId", str)
"""A participant's code in the trial; never a name."""


def source_kind(source: str) -> str:
    """What kind of source it is: ``site`` of ``site/701``."""
    return source.partition("/")[0]


def source_name(source: str) -> str:
    """Its own name among those of its kind: ``701`` of ``site/701``."""
    return source.partition("/")[2]


class TrailError(Exception):
    """An error that a person meets: what was wrong, where, and what to do."""


class RefusedError(TrailError):
    """Input that is refused; the sentence is what gets sealed as the reason."""


class EvidenceError(TrailError):
    """Something in the log, a receipt or a checkpoint does not hold; never ignored."""
