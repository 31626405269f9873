"""What a bundle is made from: a log with its checkpoints, timestamps and policy, and which part of it is meant."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from cryptography.x509 import Certificate

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.timestamps import Timestamp
from services.console.bundle.selection import Selection
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.entry import Entry
from shared.moments import instant
from shared.policy import Policy
from shared.words import TrailError


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything at hand about one log, open for reading.

    ``policy`` is the one that goes into the bundle; its logs are made to be all keys of this log. ``note_of`` adds
    to a signed checkpoint of a size the witnesses' lines, where they are kept elsewhere; ``until`` is the largest
    size of which it is known that enough have cosigned it, None where each has to be looked at. ``roots`` are the
    certificates that each time-stamping authority's tokens are checked against, by its name.
    """

    trial: str
    log: Log
    checkpoints: Checkpoints
    policy: Policy
    timestamps: Sequence[Timestamp] = ()
    roots: Mapping[str, Sequence[Certificate]] = field(default_factory=dict)
    note_of: Callable[[int, str], str] = lambda _size, note: note
    until: int | None = None


class Signed:
    """The log's signed checkpoints, up to the newest one that is valid under the policy: the bundle's head.

    Raises TrailError when there is none, EvidenceError when a checkpoint or a cosignature is broken.
    """

    def __init__(self, evidence: Evidence) -> None:
        keys = evidence.log.register(evidence.trial).log_keys()
        self.keys = keys
        # Where a witness is asked is of no use to whoever gets a bundle.
        witnesses = {name: replace(one, url="") for name, one in evidence.policy.witnesses.items()}
        self.policy = replace(evidence.policy, logs=tuple(keys.all()), witnesses=witnesses)
        self._note_of = evidence.note_of
        until = evidence.until
        self._notes = {size: note for _, size, note in evidence.checkpoints.all() if until is None or size <= until}
        self._sizes = sorted(self._notes)
        while self._sizes and not self._is_valid(self._sizes[-1]):
            self._sizes.pop()
        if not self._sizes:
            raise TrailError(
                f"no checkpoint of this log is cosigned as the policy asks (quorum {self.policy.quorum}): wait for "
                "the witnesses, or see what they say with `trail doctor`"
            )
        self.head = self.checkpoint(self._sizes[-1])

    def note(self, size: int) -> str:
        """The note of the checkpoint over so many entries, with its cosignatures."""
        return self._note_of(size, self._notes[size])

    def checkpoint(self, size: int) -> Checkpoint:
        """The checkpoint over so many entries.

        Raises EvidenceError when the log's key of its time did not sign it.
        """
        return open_checkpoint(self._notes[size], self.keys)

    def __contains__(self, size: int) -> bool:
        return size in self._notes and size <= self._sizes[-1]

    def at_most(self, size: int) -> int:
        """The size of the last checkpoint over at most so many entries; 0 when there is none."""
        at = bisect_right(self._sizes, size)
        return self._sizes[at - 1] if at else 0

    def at_least(self, size: int) -> int:
        """The size of the first checkpoint over at least so many entries; the head's beyond that."""
        at = bisect_left(self._sizes, size)
        return self._sizes[min(at, len(self._sizes) - 1)]

    def _is_valid(self, size: int) -> bool:
        note = self.note(size)
        return self.policy.is_met(frozenset(self.policy.cosigned(note)))


def select(
    evidence: Evidence,
    signed: Signed,
    site: str | None,
    participant: str | None,
    first: str | None,
    last: str | None,
) -> Selection:
    """What ``trail export bundle`` is asked for; ``first`` and ``last``: each an index or an RFC 3339 time.

    Both ends go outward to the nearest signed checkpoint. Raises TrailError when they make no sense.
    """
    if site is not None and participant is not None:
        raise TrailError("a bundle is about a site or about a participant: leave --site or --participant out")
    size = signed.head.size
    start = 0 if first is None else signed.at_most(_index(evidence.log, size, first, "--from", after=False))
    stop = size if last is None else signed.at_least(_index(evidence.log, size, last, "--to", after=True))
    if start >= stop:
        raise TrailError(f"there is nothing between --from {first or 0} and --to {last or 'the end'}")
    if site is not None:
        return Selection("site", site if "/" in site else f"site/{site}", start, stop)
    if participant is not None:
        return Selection("participant", participant, start, stop)
    return Selection("all" if first is None and last is None else "range", None, start, stop)


def entries_at(log: Log, indices: Sequence[int]) -> Iterator[Entry]:
    """Entries by ascending index, neighbours read together and never all at once."""
    for _, run in groupby(enumerate(indices), lambda one: one[1] - one[0]):
        near = [index for _, index in run]
        yield from log.entries(near[0], near[-1] + 1)


def _index(log: Log, size: int, moment: str, option: str, *, after: bool) -> int:
    """The first entry at or after a moment; with ``after``, the first one behind all that are at it."""
    if moment.isdecimal():
        index = int(moment) + after
        if index > size:
            raise TrailError(
                f"{option} {moment}: the newest checkpoint that can be exported ends at entry {size - 1}"
            )
        return index
    try:
        limit = instant(moment)
    except ValueError as error:
        raise TrailError(f"{option} takes an entry index or a time; {moment!r} {error}") from None
    cut = bisect_right if after else bisect_left
    return cut(range(size), limit, key=lambda index: instant(log.entry(index).header.sealed_at))
