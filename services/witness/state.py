"""What a witness goes by: the submissions it gets, the checkpoint it last cosigned, and how it rules.

The rules are those of c2sp.org/tlog-witness. Pure: the same head and submission always get the same ruling.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from shared.checkpoint import Checkpoint, read_checkpoint
from shared.merkle import EMPTY_ROOT, check_consistency
from shared.note import NoteKey, signatures_of, split_note
from shared.signing import base64_bytes
from shared.words import EvidenceError, RefusedError

MAX_PROOF: Final = 63
"""Hashes in the longest consistency proof that a client may send."""
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,17})")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to cosign a checkpoint, as its sender wrote it; nothing in it is verified.

    ``proof`` (hashes of 32 bytes) is to show that its tree begins with the tree of ``old`` entries; ``text`` is
    the signed part of ``note``, and ``checkpoint`` what the text says.
    """

    old: int
    proof: tuple[bytes, ...]
    note: str
    text: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Head:
    """The largest checkpoint that was cosigned for a log, and when last (POSIX seconds)."""

    size: int
    root: bytes
    note: str
    time: int


NOTHING_YET: Final = Head(0, EMPTY_ROOT, "", 0)
"""The head of a log that was never cosigned."""


class Evidence(StrEnum):
    """What a refused checkpoint shows, given that its log signed it."""

    FORK = "fork"
    """The log signed another tree of the size that was cosigned: the two notes prove it to anyone."""
    UNPROVEN = "unproven"
    """A larger tree came without a proof that it continues the cosigned one: a fork, or a sender's mistake."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The HTTP status that a submission deserves, why, and what it is evidence of."""

    status: Literal[200, 400, 409, 422]
    why: str = ""
    evidence: Evidence | None = None


def read_submission(body: bytes) -> Submission:
    """Read the body of an add-checkpoint request.

    Raises RefusedError with a sentence when it is none.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise RefusedError("the request is not UTF-8 text") from None
    if _CONTROL.search(text):  # others could not read the note that we cosign (c2sp.org/signed-note)
        raise RefusedError("the request holds a control character other than line feed")
    head, separator, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    match = _OLD.fullmatch(first)
    if match is None or not separator:
        raise RefusedError(
            "the request must read `old SIZE`, then a consistency proof with a hash a line, an empty line, and "
            "the checkpoint"
        )
    if len(lines) > MAX_PROOF:
        raise RefusedError(f"the consistency proof has {len(lines)} lines; it may have {MAX_PROOF}")
    try:
        proof = tuple(base64_bytes(line) for line in lines)
    except ValueError:
        raise RefusedError("the consistency proof holds a line that is not base64") from None
    if any(len(one) != 32 for one in proof):
        raise RefusedError("the consistency proof holds a hash that is not 32 bytes long")
    try:
        signed, _ = split_note(note)
        return Submission(int(match[1]), proof, note, signed, read_checkpoint(signed))
    except EvidenceError as error:
        raise RefusedError(str(error)) from None


def signed_note(submission: Submission, keys: Sequence[NoteKey]) -> str:
    """The submitted checkpoint with the signatures of the log's trusted keys, and no others.

    Raises EvidenceError when there is none, or one of them is broken.
    """
    lines: dict[str, None] = {}
    for key in keys:
        for signature in signatures_of(submission.note, key):
            if not key.holds(signature, submission.text.encode()):
                raise EvidenceError(f"the signature of {key.name} on the checkpoint is broken")
            lines[key.line(signature)] = None
    if not lines:
        raise EvidenceError(f"the checkpoint is not signed by {submission.checkpoint.origin} with a trusted key")
    return f"{submission.text}\n{''.join(lines)}"


def judge(head: Head, submission: Submission) -> Ruling:
    """Rule on a submission whose log's signature holds: 200 means that it may be cosigned."""
    old, new = submission.old, submission.checkpoint
    # Whatever else is wrong with the request: no log may ever have signed both.
    fork = Evidence.FORK if new.size == head.size and new.root != head.root else None
    if old > new.size:
        return Ruling(400, f"old {old} is more than the {new.size} entries of the checkpoint", fork)
    if fork is not None:
        return Ruling(409, f"another tree of {head.size} entries was cosigned", fork)
    if old != head.size:
        return Ruling(409, f"the checkpoint that was last cosigned has {head.size} entries, not {old}")
    try:
        check_consistency(head.size, head.root, new.size, new.root, submission.proof)
    except EvidenceError as error:
        # Any tree continues the empty one, and the same tree again is no fork: then only the proof is wrong.
        return Ruling(422, str(error), Evidence.UNPROVEN if 0 < head.size < new.size else None)
    return Ruling(200)
