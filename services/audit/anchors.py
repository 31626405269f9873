"""Moments that outsiders vouch for, against the times the log itself states.

``sealed_at`` is the notary's own word. Whoever stamped or cosigned a checkpoint says, by a clock that is not
the notary's, that the first ``size`` entries existed then and that the log had not yet grown beyond them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.moments import stamp

TOLERANCE: Final = timedelta(minutes=5)
"""How far two honest clocks may be apart; also how old a checkpoint may be when somebody is asked to stamp it."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """``who`` saw, at ``time`` (aware), a checkpoint over the log's first ``size`` entries; already verified."""

    size: int
    time: datetime
    who: str


def faults_of_times(
    anchors: Iterable[Anchor], sealed_at_of: Callable[[int], datetime | None]
) -> Iterator[tuple[int, str]]:
    """What the anchors contradict: (entry index, sentence).

    ``sealed_at_of`` gives an entry's time, None past the log's end. It must never decrease: then the last
    entry that an anchor covers and the first one it does not cover speak for all the others.
    """
    for anchor in anchors:
        last = anchor.size - 1
        covered = sealed_at_of(last) if anchor.size else None
        following = sealed_at_of(anchor.size)
        at = stamp(anchor.time)
        seen = f"{anchor.who} stamped a checkpoint over {anchor.size} entries at {at}"
        if anchor.size and covered is None:
            yield last, f"entry {last} is missing, but {seen}: the log was cut"
        if covered is not None and covered - anchor.time > TOLERANCE:
            yield last, f"entry {last} says it was sealed at {stamp(covered)}, but {seen}: it was postdated"
        if following is not None and anchor.time - following > TOLERANCE:
            what = f"entry {anchor.size} says it was sealed at {stamp(following)}"
            yield anchor.size, f"{what}, but {anchor.who} stamped a checkpoint without it at {at}: it was backdated"
