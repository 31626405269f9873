"""What `trail fsck` has to say: each disagreement by name, what was looked at, and what could not be."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_NAMED: Final = 20


class Kind(StrEnum):
    """What does not agree with what. Its value is what a program reads."""

    DATABASE = "unreadable database"
    ENTRY_MISSING = "missing entry"
    ENTRY_CHANGED = "changed entry"
    ENTRY_STRAY = "stray entry"
    ENTRIES_CUT = "entries cut off"
    ENTRIES_UNSIGNED = "unsigned entries"
    SUBTREE = "stored subtree"
    CHECKPOINT_MISSING = "missing checkpoint"
    CHECKPOINT = "contradicting checkpoint"
    TILE_MISSING = "missing tile"
    TILE_CHANGED = "changed tile"
    TILE_STRAY = "stray tile"
    PUBLISHED_CHECKPOINT = "published checkpoint"
    PUBLISHED_HISTORY = "another published history"
    MESSAGE = "changed LOG message"
    STREAM_BEHIND = "LOG behind the database"
    COSIGNATURE = "cosignature"
    FORK = "fork seen by a witness"
    RECEIPT = "receipt"


_RESTORE: Final = (
    "Stop the notary and put back a back-up of the database that reaches to the last signed checkpoint; the LOG "
    "stream and the published bundles hold copies of the entries to compare it with."
)
_REPAIR: Final = (
    "Stop the notary and run `trail fsck --repair-tiles`: it is made again from the entries. Where the entries "
    "themselves disagree with what was signed, put those right first."
)
_KEEP: Final = (
    "Stop the notary and keep everything as it is: entries were changed after they were signed, an older state was "
    "put back, or two histories were signed with this log's key. Put back the newest database and checkpoints; if "
    "these are the newest, ask who else holds the key, and tell those who rely on the log."
)
REMEDIES: Final[Mapping[Kind, str]] = {
    Kind.DATABASE: _RESTORE,
    Kind.ENTRY_MISSING: _RESTORE,
    Kind.ENTRY_CHANGED: _RESTORE,
    Kind.ENTRY_STRAY: _RESTORE,
    Kind.ENTRIES_CUT: _RESTORE,
    Kind.ENTRIES_UNSIGNED: "Start the notary: it signs what a crash left unsigned.",
    Kind.SUBTREE: _REPAIR,
    Kind.CHECKPOINT_MISSING: "Stop the notary and put back the newest checkpoints directory.",
    Kind.CHECKPOINT: _KEEP,
    Kind.TILE_MISSING: _REPAIR,
    Kind.TILE_CHANGED: _REPAIR,
    Kind.TILE_STRAY: _REPAIR,
    Kind.PUBLISHED_CHECKPOINT: _REPAIR,
    Kind.PUBLISHED_HISTORY: _KEEP,
    Kind.MESSAGE: (
        "Somebody else has written to the broker, or its disk was damaged. Of a cluster, stop the node that leads "
        "LOG and move its files away: it takes them from the others. Otherwise stop everything and move the "
        "broker's files away: LOG is then rebuilt from the database, and sources send again what was not sealed."
    ),
    Kind.STREAM_BEHIND: "Start the notary: it publishes to LOG what LOG lacks.",
    Kind.COSIGNATURE: "Put back the newest checkpoints directory; witnesses are asked again for what it lacks.",
    Kind.FORK: _KEEP,
    Kind.RECEIPT: _KEEP,
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that does not agree: where, and what about it."""

    kind: Kind
    where: str
    what: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.kind]


class Findings:
    """Collects disagreements; of each kind the first :data:`MOST_NAMED` are named, and the rest counted.

    ``looked`` and ``not_looked`` are sentences: what was compared, and what could not be and why.
    """

    def __init__(self) -> None:
        self.named: list[Disagreement] = []
        self.counts: Counter[Kind] = Counter()
        self.looked: list[str] = []
        self.not_looked: list[str] = []

    @property
    def good(self) -> bool:
        """Whether everything that could be looked at agrees."""
        return not self.counts

    def add(self, kind: Kind, where: str, what: str) -> None:
        """Note a disagreement."""
        self.counts[kind] += 1
        if self.counts[kind] <= MOST_NAMED:
            self.named.append(Disagreement(kind, where, what))

    def more(self) -> dict[Kind, int]:
        """How many of each kind are not named."""
        return {kind: count - MOST_NAMED for kind, count in self.counts.items() if count > MOST_NAMED}
