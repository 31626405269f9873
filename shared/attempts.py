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
    ``unlocked`` are the times at which an administrator unlocked the key. A lock is forgotten by unlocking only.
    """

    in_a_row: int = 0
    unreported: tuple[str, ...] = ()
    reported: int = 0
    unlocked: tuple[str, ...] = ()

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
        return replace(self, in_a_row=self.in_a_row + 1, unreported=(*self.unreported, stamp(now)))

    def succeeded(self) -> "Attempts":
        """The passphrase was right. Those that failed before it stay, to be reported."""
        return replace(self, in_a_row=0)

    def unlock(self, now: datetime) -> "Attempts":
        """An administrator lets it be tried again. What failed stays on record."""
        return replace(self, in_a_row=0, unlocked=(*self.unlocked, stamp(now)))

    def after_report(self, told: "Attempts") -> "Attempts":
        """An event with ``told.event_data`` is kept: what it tells of is reported, what failed since is not."""
        news = max(0, told.failures - self.reported)
        return replace(self, reported=self.reported + news, unreported=self.unreported[news:])

    def event_data(self, key: KeyId) -> dict[str, Any]:
        """The data of the event ``identity.access_failed`` that tells of what is not reported yet.

        Raises ValueError when everything is.
        """
        if not self.unreported:
            raise ValueError("every failed attempt is reported")
        return {
            "key": key,
            "failures": len(self.unreported),
            "first": self.first,
            "last": self.last,
            "locked": self.locked,
        }

    def text(self) -> str:
        """As it is kept: JSON."""
        kept = {
            "in_a_row": self.in_a_row,
            "unreported": self.unreported,
            "reported": self.reported,
            "unlocked": self.unlocked,
        }
        return json.dumps(kept, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Attempts":
        """Read what :meth:`text` wrote.

        Raises ValueError when it is anything else: an unreadable count must not count as none.
        """
        try:
            known = json.loads(text)
            self = cls(known["in_a_row"], tuple(known["unreported"]), known["reported"], tuple(known["unlocked"]))
            for time in (*self.unreported, *self.unlocked):
                instant(time)
        except (KeyError, TypeError):
            raise ValueError("not a record of attempts") from None
        if not all(type(count) is int and count >= 0 for count in (self.in_a_row, self.reported)):
            raise ValueError("not a record of attempts")
        return self
