"""What is said of the log's trees: kept checkpoints, published ones, and those that receipts lead to."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from services.audit.findings import Findings, Kind
from shared.checkpoint import open_checkpoint
from shared.note import LogKey
from shared.words import EvidenceError


class Head(NamedTuple):
    """What somebody says the root of a tree of some size is; a contradiction is noted under kind and where."""

    root: bytes
    kind: Kind
    where: str


class Heads:
    """Roots to compare, by tree size; each once however many say the same, the kept checkpoint before others."""

    def __init__(self) -> None:
        self._heads: dict[int, dict[bytes, Head]] = defaultdict(dict)

    def add(self, size: int, head: Head) -> None:
        """Compare this root when the tree has come to ``size`` entries."""
        heads = self._heads[size]
        if head.kind is Kind.CHECKPOINT or head.root not in heads:
            heads[head.root] = head

    def at(self, size: int) -> Iterable[Head]:
        """What is said of the tree of ``size`` entries."""
        return self._heads[size].values() if size in self._heads else ()

    def unknown(self, size: int, findings: Findings) -> int:
        """How many are over more entries than are known; they are compared with the kept checkpoints instead."""
        count = 0
        for at in sorted(self._heads):
            heads = list(self.at(at)) if at > size else []
            kept = next((head for head in heads if head.kind is Kind.CHECKPOINT), None)
            for head in heads:
                if kept is not None and head.root != kept.root:
                    findings.add(head.kind, head.where, f"is over another tree than the {kept.where} kept here")
            count += len(heads)
        return count


def checkpoints(signed: Iterable[tuple[int, int, str]], keys: LogKey, heads: Heads, findings: Findings) -> None:
    """Check that the kept checkpoints are signed and follow one another, and have their roots compared."""
    before, count = 0, 0
    for follows, size, note in signed:
        where = f"checkpoint over {size} entries"
        if follows != before:
            gap = f"follows one over {follows} entries, and the one kept before it is over {before}"
            findings.add(Kind.CHECKPOINT_MISSING, where, gap)
        try:
            checkpoint = open_checkpoint(note, keys)
            if checkpoint.size != size:
                raise EvidenceError(f"it is signed over {checkpoint.size} entries")
            heads.add(size, Head(checkpoint.root, Kind.CHECKPOINT, where))
        except EvidenceError as error:
            findings.add(Kind.CHECKPOINT, where, f"does not hold: {error}")
        before, count = size, count + 1
    findings.looked.append(f"{count} checkpoints, the last over {before} entries")


def reach(size: int, signed: int, remembered: int, findings: Findings) -> None:
    """Compare how far the database reaches, how far it is signed, and how far its register says it was signed."""
    if size < signed:
        what = f"is the first that is missing; a checkpoint over {signed} entries was signed"
        findings.add(Kind.ENTRIES_CUT, f"entry {size}", what)
    if size > signed:
        findings.add(
            Kind.ENTRIES_UNSIGNED, f"entries {signed} to {size - 1}", "are not covered by a signed checkpoint"
        )
    if remembered > signed:
        what = f"was signed, as the register remembers; the last one kept is over {signed}"
        findings.add(Kind.CHECKPOINT_MISSING, f"checkpoint over {remembered} entries", what)
