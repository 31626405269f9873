"""`trail fsck`: the entries against themselves, and what was derived from them or signed over them against them.

Everything is recomputed from the bytes of the entries, in one pass and a tile of them at a time. One disagreement
hides no other. What a missing entry makes impossible to compare is said, and is not counted as agreeing.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DatabaseError

from services.audit.findings import Findings, Kind
from services.audit.heads import Heads
from services.audit.log import Log
from services.audit.published import Published
from services.audit.tiles import HASH, WIDTH, pyramid
from shared.entry import MAX_ENTRY_BYTES, NO_LEAF, Entry, leaf_hash, read_entry
from shared.merkle import Frontier
from shared.words import EvidenceError, LeafHash, TrailError

_ROWS: Final = text("SELECT idx, entry FROM entries WHERE idx >= :start AND idx < :stop ORDER BY idx")
_STRAY: Final = text("SELECT idx FROM entries WHERE idx < 0 ORDER BY idx")
_SUBTREE: Final = text("SELECT root, hashes FROM subtrees WHERE level = :level AND n = :n")
_SUBTREES: Final = text("SELECT level, n FROM subtrees ORDER BY level, n")
_MISSING: Final = object()


class _Level:
    """The hashes of one level behind its last full tile, which is its ``n``-th."""

    def __init__(self) -> None:
        self.n = 0
        self.hashes: list[bytes | None] = []


class Examination:
    """One pass over a log's entries, and over what is derived from them.

    ``size``: as many entries should be there. ``agreed`` afterwards: the largest tree whose root is that of a
    checkpoint of this log.
    """

    def __init__(
        self, log: Log, size: int, heads: Heads, findings: Findings, published: Published | None = None
    ) -> None:
        self.agreed = 0
        self._log = log
        self._size = size
        self._heads = heads
        self._findings = findings
        self._published = published
        self._tree: Frontier | None = Frontier()  # None behind a missing entry
        self._before: LeafHash | None = NO_LEAF
        # An entry that does not link to the one before, and its leaf hash; the next one tells which is wrong.
        self._suspect: tuple[int, LeafHash] | None = None
        self._named: set[int] = set()
        self._levels: list[_Level] = []
        self._bundle: list[bytes | None] = []
        self._subtrees: set[tuple[int, int]] | None = None

    def run(self, progress: Callable[[int], None] = lambda _done: None) -> None:
        """Examine everything; ``progress`` is told the number of entries done."""
        try:
            for (index,) in self._read(_STRAY):
                self._findings.add(Kind.ENTRY_STRAY, f"entry {index}", "stands before the first entry")
            self._find_subtrees()
            self._compare_heads()
            for start in range(0, self._size, WIDTH):
                stored = stored_entries(self._log, start, start + WIDTH)
                for index in range(start, min(start + WIDTH, self._size)):
                    self._take(index, stored.get(index, _MISSING))
                progress(min(start + WIDTH, self._size))
            self._end()
        except DatabaseError as error:
            self._findings.add(Kind.DATABASE, "database", f"cannot be read: {error.orig}")

    def _read(self, statement: TextClause, **values: int) -> Sequence[Any]:
        with self._log.engine.connect() as connection:
            return connection.execute(statement, values).all()

    def _take(self, index: int, raw: object) -> None:
        leaf, entry = None, None
        if raw is _MISSING:
            self._blame(Kind.ENTRY_MISSING, index, "is missing")
        elif not isinstance(raw, bytes):
            self._blame(Kind.ENTRY_CHANGED, index, "is not stored as bytes")
        else:
            leaf = leaf_hash(raw)
            entry = self._entry(index, raw)
        self._link(index, entry)
        self._before = leaf
        if leaf is None and self._tree is not None:
            self._lose_the_tree(index)
        if self._tree is not None and leaf is not None:
            self._tree = self._tree.append(leaf)
            self._compare_heads()
        self._bundle.append(raw if isinstance(raw, bytes) and len(raw) <= MAX_ENTRY_BYTES else None)
        self._grow(0, leaf)

    def _entry(self, index: int, raw: bytes) -> Entry | None:
        try:
            entry = read_entry(raw)
        except EvidenceError as error:
            self._blame(Kind.ENTRY_CHANGED, index, f"cannot be read: {error}")
            return None
        if entry.index != index:
            self._blame(Kind.ENTRY_CHANGED, index, f"says it is entry {entry.index}")
        return entry

    def _link(self, index: int, entry: Entry | None) -> None:
        if self._suspect is not None:
            at, leaf = self._suspect
            if at and entry is not None and entry.header.prev == leaf:
                self._blame(Kind.ENTRY_CHANGED, at - 1, f"is not the one that entry {at} links to")
            else:
                self._blame(Kind.ENTRY_CHANGED, at, "does not link to the one before it")
        broken = entry is not None and self._before is not None and entry.header.prev != self._before
        self._suspect = (index, entry.leaf) if entry is not None and broken else None

    def _blame(self, kind: Kind, index: int, what: str) -> None:
        if index not in self._named:
            self._named.add(index)
            self._findings.add(kind, f"entry {index}", what)

    def _lose_the_tree(self, index: int) -> None:
        self._tree = None
        if unknown := self._heads.unknown(index, self._findings):
            self._findings.not_looked.append(
                f"{unknown} roots of trees of more than {index} entries: entry {index} is not there to make them of"
            )

    def _compare_heads(self) -> None:
        assert self._tree is not None
        for head in self._heads.at(self._tree.size):
            if head.root != self._tree.root():
                what = f"is over another tree than the one these {self._tree.size} entries make"
                self._findings.add(head.kind, head.where, what)
            elif head.kind is Kind.CHECKPOINT:
                self.agreed = self._tree.size

    def _grow(self, level: int, node: bytes | None) -> None:
        if level == len(self._levels):
            self._levels.append(_Level())
        edge = self._levels[level]
        edge.hashes.append(node)
        if len(edge.hashes) == WIDTH:
            root = self._compare_subtree(level, edge)
            self._compare_published(level, edge)
            edge.hashes = []
            edge.n += 1
            self._grow(level + 1, root)

    def _find_subtrees(self) -> None:
        try:
            self._subtrees = {(level, n) for level, n in self._read(_SUBTREES)}
        except DatabaseError as error:
            self._findings.add(Kind.SUBTREE, "the stored subtrees", f"cannot be read: {error.orig}")

    def _compare_subtree(self, level: int, edge: _Level) -> bytes | None:
        """Compare a full tile with the stored one; its root, None when not all of its hashes are known."""
        known = [one for one in edge.hashes if one is not None]
        root = pyramid(known)[-1][0] if len(known) == WIDTH else None
        if self._subtrees is None:
            return root
        where = f"stored subtree {level}/{edge.n}"
        if (level, edge.n) not in self._subtrees:
            self._findings.add(Kind.SUBTREE, where, "is missing")
            return root
        self._subtrees.remove((level, edge.n))
        (stored_root, stored), *_ = self._read(_SUBTREE, level=level, n=edge.n)
        if root is not None and stored != b"".join(known):
            self._findings.add(Kind.SUBTREE, where, _first_difference(level, edge.n, known, stored))
        elif root is not None and stored_root != root:
            self._findings.add(Kind.SUBTREE, where, "has another root than its hashes make")
        return root

    def _compare_published(self, level: int, edge: _Level) -> None:
        try:
            if self._published is not None:
                self._published.compare(level, edge.n, edge.hashes, () if level else self._bundle)
        except TrailError as error:
            self._findings.not_looked.append(f"the rest of what is published: {error}")
            self._published = None
        if level == 0:
            self._bundle = []

    def _end(self) -> None:
        self._link(self._size, None)
        for level, edge in enumerate(self._levels):
            self._compare_published(level, edge)
        for level, n in sorted(self._subtrees or ()):
            self._findings.add(Kind.SUBTREE, f"stored subtree {level}/{n}", "is of entries that are not there")
        if self._tree is not None and (unknown := self._heads.unknown(self._size, self._findings)):
            self._findings.not_looked.append(
                f"{unknown} roots of trees of more than {self._size} entries: the database ends there"
            )
        self._findings.looked.append(f"{self._size} entries and what is stored of their tree")


def stored_entries(log: Log, start: int, stop: int) -> dict[int, object]:
    """What the database holds as entries from ``start`` to before ``stop``, of whatever type, by index."""
    with log.engine.connect() as connection:
        return {row.idx: row.entry for row in connection.execute(_ROWS, {"start": start, "stop": stop})}


def _first_difference(level: int, n: int, hashes: Sequence[bytes], stored: object) -> str:
    span = WIDTH**level
    if not isinstance(stored, bytes) or len(stored) != WIDTH * HASH:
        return f"does not hold {WIDTH} hashes"
    at = next(at for at in range(WIDTH) if stored[at * HASH : (at + 1) * HASH] != hashes[at])
    first = (n * WIDTH + at) * span
    return (
        f"has another hash for entry {first}"
        if level == 0
        else f"has another for entries {first} to {first + span - 1}"
    )
