"""What outsiders vouch for, held against the log: cosignatures under a policy, timestamps, and the times of both.

The log verifies by itself before this is asked (verify.py); here it is compared with what is out of its
operator's hands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.audit.anchors import Anchor, faults_of_times
from services.audit.authorities import Timestamping
from services.audit.cosignatures import witnessed
from services.audit.timestamps import Timestamp, check
from services.audit.verify import Fault
from shared.checkpoint import read_checkpoint
from shared.note import split_note
from shared.policy import NONE, Policy
from shared.words import EvidenceError


@dataclass(frozen=True, slots=True)
class Attestations:
    """What outsiders have given to a log's checkpoints, unchecked: cosignature lines by tree size, timestamps."""

    cosignatures: Mapping[int, Sequence[str]] = field(default_factory=dict)
    timestamps: Sequence[Timestamp] = ()


@dataclass(slots=True)
class Vouched:
    """``cosigned``: so many entries a quorum has cosigned; ``notes`` say what could not be looked at."""

    cosigned: int = 0
    anchors: list[Anchor] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def vouch(
    size: int,
    checkpoints: Sequence[tuple[int, int, str]],
    given: Attestations,
    policy: Policy | None,
    timestamping: Timestamping,
    sealed_at_of: Callable[[int], datetime | None],
    *,
    real_time: bool,
) -> Vouched:
    """Check attestations of a log of ``size`` entries whose ``checkpoints`` (follows, size, note) are verified.

    ``sealed_at_of`` gives an entry's time, None past the end; with ``real_time`` it is compared with the times
    that outsiders state, which say nothing of a simulated clock.
    """
    found = Vouched()
    if policy is not None:
        _cosigned(found, size, checkpoints, given, policy)
    _stamped(found, checkpoints, given, timestamping)
    if real_time:
        found.faults += [Fault(*one) for one in faults_of_times(found.anchors, sealed_at_of)]
    return found


def _cosigned(
    found: Vouched, size: int, checkpoints: Sequence[tuple[int, int, str]], given: Attestations, policy: Policy
) -> None:
    known = witnessed(policy, checkpoints, given.cosignatures)
    found.cosigned = known.size
    found.anchors += known.anchors
    found.faults += [Fault(*one) for one in known.faults]
    if known.size < size and policy.quorum != NONE:
        found.faults.append(
            Fault(
                known.size,
                f"entries {known.size} to {size - 1} are under no checkpoint that the policy's quorum, "
                f"{policy.quorum}, has cosigned. Where the log is running, `trail doctor` says which witness is "
                "away, and cosignatures come when it is back; else nobody outside has seen these entries",
            )
        )


def _stamped(
    found: Vouched, checkpoints: Sequence[tuple[int, int, str]], given: Attestations, timestamping: Timestamping
) -> None:
    texts = {size: read_checkpoint(split_note(note)[0]).text() for _, size, note in checkpoints}
    roots = {authority.name: authority.roots for authority in timestamping.authorities}
    unknown = sorted({one.authority for one in given.timestamps} - roots.keys())
    found.notes += [
        f"timestamps of {name} were not checked: timestamping.json does not name it" for name in unknown
    ]
    for one in given.timestamps:
        last = max(one.size - 1, 0)
        if texts.get(one.size) != one.text:
            found.faults.append(
                Fault(
                    last, f"{one.authority} stamped another checkpoint over {one.size} entries than is signed here"
                )
            )
        elif one.authority in roots:
            try:
                found.anchors.append(Anchor(one.size, check(one, roots[one.authority]), one.authority))
            except EvidenceError as error:
                found.faults.append(Fault(last, str(error)))
