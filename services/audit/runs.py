"""A run of entries, hashed from the database file alone: what each process of the hash verification does.

Imports next to nothing, because every such process begins by importing it.
"""

import pickle
import signal
import sqlite3
import sys
from binascii import hexlify
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from services.audit.tiles import pyramid
from shared.merkle import Frontier, peak_positions

RUN: Final = 8192
"""Entries in a run at most; a power of two."""

_ROWS: Final = "SELECT idx, entry FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
_NEXT: Final = "SELECT min(idx) FROM entries WHERE idx > ?"
_LINK: Final = b'"prev":"'


class Run(NamedTuple):
    """Which entries to hash: ``start`` to before ``stop``, a subtree or the beginning of one.

    ``leaf`` is the leaf hash before ``start``; where it is None, it is made from the entry there. ``heads`` are
    the tree sizes behind ``start``, up to ``stop``, whose roots are wanted, ascending.
    """

    path: Path
    start: int
    stop: int
    leaf: bytes | None
    heads: Sequence[int]


class Hashed(NamedTuple):
    """What a run came to: its first ``tree.size`` entries fit together, and ``fault`` says why not all of them do.

    ``tree`` is over the run's own entries; ``edges`` has the root of the run's own entries up to each head that
    was reached; ``leaf`` is the last leaf hash; ``fault`` is the index of what does not hold, and a sentence.
    """

    tree: Frontier
    leaf: bytes
    edges: list[bytes]
    fault: tuple[int, str] | None


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot change the file.

    Raises sqlite3.DatabaseError when it cannot be opened.
    """
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def hash_run(run: Run) -> Hashed:
    """Recompute a run's leaf hashes, links and subtrees, up to the first entry that does not fit."""
    leaves: list[bytes] = []
    leaf, fault, index = run.leaf or b"", None, run.start
    try:
        with closing(read_only(run.path)) as database:
            if run.leaf is None:
                leaf = _leaf_at(database, index - 1)
            for stored, raw in database.execute(_ROWS, (run.start, run.stop)):
                if stored != index or not isinstance(raw, bytes) or not _fits(raw, leaf):
                    fault = _misfit(database, index, stored, raw)
                    break
                leaf = sha256(b"\x00" + raw).digest()
                leaves.append(leaf)
                index += 1
            else:
                if index < run.stop:
                    fault = _missing(database, index)
    except sqlite3.DatabaseError as error:
        fault = index, f"the database cannot be read: {error}"
    levels = pyramid(leaves)

    def tree(size: int) -> Frontier:
        return Frontier(size, tuple(levels[height][at] for height, at in peak_positions(size)))

    edges = [tree(head - run.start).root() for head in run.heads if head <= index]
    return Hashed(tree(len(leaves)), leaf, edges, fault)


def serve() -> None:
    """Hash the runs that stand pickled in standard input; what each comes to goes pickled to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    for run in pickle.load(sys.stdin.buffer):  # noqa: S301 - from the process that started this one
        pickle.dump(hash_run(run), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def linked(path: Path, index: int) -> bool:
    """Whether there is an entry ``index`` that links to the one before it."""
    with closing(read_only(path)) as database:
        return _is_followed(database, index, _leaf_at(database, index - 1))


def _leaf_at(database: sqlite3.Connection, index: int) -> bytes:
    row = database.execute(_ROWS, (index, index + 1)).fetchone()
    if row is None or not isinstance(row[1], bytes):
        return b""  # nothing fits behind it; the run before this one names it
    return sha256(b"\x00" + row[1]).digest()


def _fits(raw: bytes, leaf: bytes) -> bool:
    """Whether an entry's header links to a leaf hash."""
    # In a header the first "prev":" is the member itself: inside a JSON string its quotes would be escaped.
    at = raw.find(_LINK) + len(_LINK)
    return raw.startswith(hexlify(leaf) + b'"', at)


def _is_followed(database: sqlite3.Connection, index: int, leaf: bytes) -> bool:
    row = database.execute(_ROWS, (index, index + 1)).fetchone()
    return row is not None and isinstance(row[1], bytes) and _fits(row[1], leaf)


def _misfit(database: sqlite3.Connection, index: int, stored: int, raw: object) -> tuple[int, str]:
    """The entry at fault, and why; told as the full verification tells it."""
    if stored != index:
        return _missing(database, index)
    if not isinstance(raw, bytes):
        return index, f"entry {index} is not stored as bytes: the database was changed"
    # Either this entry's link was changed or the entry before it; the next link tells which.
    if index and _is_followed(database, index + 1, sha256(b"\x00" + raw).digest()):
        return index - 1, f"entry {index - 1} is not the one that entry {index} links to"
    return index, f"the link of entry {index} is not the hash of entry {index - 1}"


def _missing(database: sqlite3.Connection, index: int) -> tuple[int, str]:
    (following,) = database.execute(_NEXT, (index,)).fetchone()
    rest = "" if following is None else f"; the next one stored is {following}"
    return index, f"entry {index} is missing{rest}"
