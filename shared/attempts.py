"""How often a person's key was tried with a wrong passphrase, and when that locks it (21 CFR 11.300(d)).

Pure: values in, values out. shared.person_keys keeps them on disk, and says when.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from shared.moments import instant, stamp
from shared.words import KeyId, TrailError

MOST: Final = 5
"""So many wrong passphrases in a row lock a key."""


class AccessError(TrailError):
    """A key was not opened because its passphrase is wrong, or because it is locked."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of the failed attempts to open one key.

    ``in_a_row`` counts those since the passphrase was last right, or the key unlocked. ``unreported`` are the times
    (RFC 3339, UTC) of those that no sealed event tells of yet, the oldest first; ``reported`` counts the others.
    ``locks`` are the times at which the key was locked, ``unlocks`` those at which an administrator unlocked it.
    """

    in_a_row: int = 0
    unreported: tuple[str, ...] = ()
    reported: int = 0
    locks: tuple[str, ...] = ()
    unlocks: tuple[str, ...] = ()

    @property
    def failures(self) -> int:
        """How many failed since the key file was made."""
        return self.reported + len(self.unreported)

    @property
    def left(self) -> int:
        """How many more may fail before the key is locked."""
        return max(0, MOST - self.in_a_row)

    @property
    def locked(self) -> bool:
        """Whether nothing opens the key any more."""
        return self.left == 0

    @property
    def first(self) -> str | None:
        """When the first failed that is not reported; None when all are."""
        return self.unreported[0] if self.unreported else None

    @property
    def last(self) -> str | None:
        """When the last failed that is not reported; None when all are."""
        return self.unreported[-1] if self.unreported else None

    def failed(self, now: datetime) -> "Attempts":
        """One more that failed."""
        in_a_row, time = self.in_a_row + 1, stamp(now)
        locks = (*self.locks, time) if in_a_row == MOST else self.locks
        return replace(self, in_a_row=in_a_row, unreported=(*self.unreported, time), locks=locks)

    def succeeded(self) -> "Attempts":
        """The passphrase was right. Those that failed before it stay, to be reported."""
        return replace(self, in_a_row=0)

    def unlock(self, now: datetime) -> "Attempts":
        """An administrator lets it be tried again. What failed stays on record."""
        return replace(self, in_a_row=0, unlocks=(*self.unlocks, stamp(now)))

    def after_report(self, told: "Attempts") -> "Attempts":
        """An event with ``told.event_data`` is kept: what it tells of is reported, what failed since is not."""
        news = max(0, told.failures - self.reported)
        return replace(self, reported=self.reported + news, unreported=self.unreported[news:])

    def event_data(self, key: KeyId) -> dict[str, Any]:
        """The data of the event ``identity.access_failed`` that tells of what is not reported yet.

        ``locked`` says that one of them locked the key, whether it was unlocked since or not. Raises ValueError
        when everything is reported.
        """
        if not self.unreported:
            raise ValueError("every failed attempt is reported")
        return {
            "key": key,
            "failures": len(self.unreported),
            "first": self.first,
            "last": self.last,
            "locked": any(time in self.unreported for time in self.locks),
        }

    def text(self) -> str:
        """As it is kept: JSON."""
        kept = {
            "in_a_row": self.in_a_row,
            "unreported": self.unreported,
            "reported": self.reported,
            "locks": self.locks,
            "unlocks": self.unlocks,
        }
        return json.dumps(kept, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Attempts":
        """Read what :meth:`text` wrote.

        Raises ValueError when it is anything else: an unreadable count must not count as none.
        """
        try:
            known = json.loads(text)
            times = [tuple(known[name]) for name in ("unreported", "locks", "unlocks")]
            self = cls(known["in_a_row"], times[0], known["reported"], times[1], times[2])
            for time in (*self.unreported, *self.locks, *self.unlocks):
                instant(time)
        except (KeyError, TypeError):
            raise ValueError("not a record of attempts") from None
        if not all(type(count) is int and count >= 0 for count in (self.in_a_row, self.reported)):
            raise ValueError("not a record of attempts")
        return self
