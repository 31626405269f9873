"""A run of entries, hashed from the database alone: what each process of the hash verification does.

Imports next to nothing, because every such process begins by importing it.
"""

import pickle
import signal
import sqlite3
import sys
from binascii import hexlify
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from services.audit.tiles import pyramid
from shared.merkle import Frontier, peak_positions

RUN: Final = 8192
"""Entries in a run at most; a power of two."""

_ROWS: Final = "SELECT idx, entry FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
_NEXT: Final = "SELECT min(idx) FROM entries WHERE idx > ?"
_LINK: Final = b'"prev":"'
_CHUNK: Final = 256
_Row = tuple[int, bytes]
Where = Path | tuple[dict[str, Any], str]
"""A SQLite file; or what psycopg connects to a PostgreSQL database with, and a schema."""


class Run(NamedTuple):
    """Which entries to hash: ``start`` to before ``stop``, a subtree or the beginning of one.

    ``leaf`` is the leaf hash before ``start``; where it is None, it is made from the entry there. ``heads`` are
    the tree sizes behind ``start``, up to ``stop``, whose roots are wanted, ascending.
    """

    where: Where
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


class UnreadableError(Exception):
    """The database does not give what is asked of it."""


class Database:
    """A connection that cannot change anything.

    Raises UnreadableError when it cannot be opened.
    """

    def __init__(self, where: Where) -> None:
        self._errors: type[Exception] = sqlite3.DatabaseError
        self._connection: Any
        if isinstance(where, Path):
            self._mark = "?"
            try:
                self._connection = sqlite3.connect(f"{where.absolute().as_uri()}?mode=ro", uri=True)
            except sqlite3.DatabaseError as error:
                raise UnreadableError(str(error)) from None
        else:
            import psycopg  # noqa: PLC0415 - only where it is needed, and installed

            self._mark, self._errors = "%s", psycopg.Error
            to, schema = where
            options = f"-c search_path={schema} -c default_transaction_read_only=on"
            try:
                self._connection = psycopg.connect(**to, options=options, autocommit=True)
            except psycopg.Error as error:
                raise UnreadableError(str(error)) from None

    def rows(self, statement: str, *parameters: int) -> Iterator[Any]:
        """What a statement brings, its parameters marked with question marks.

        Raises UnreadableError when it brings nothing more.
        """
        try:
            yield from self._connection.execute(statement.replace("?", self._mark), parameters)
        except self._errors as error:
            raise UnreadableError(str(error)) from None

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()


def hash_run(run: Run) -> Hashed:
    """Recompute a run's leaf hashes, links and subtrees, up to the first entry that does not fit."""
    leaves: list[bytes] = []
    leaf, fault = run.leaf or b"", None
    try:
        with closing(Database(run.where)) as database:
            if run.leaf is None:
                leaf = _leaf_at(database, run.start - 1)
            rows = database.rows(_ROWS, run.start, run.stop)
            while fault is None and (chunk := list(islice(rows, _CHUNK))):
                fitting = _leaves_of(chunk, run.start + len(leaves), leaf)
                if fitting is None:
                    fitting, fault = _until_fault(database, chunk, run.start + len(leaves), leaf)
                leaves += fitting
                leaf = leaves[-1] if leaves else leaf
            if fault is None and run.start + len(leaves) < run.stop:
                fault = _missing(database, run.start + len(leaves))
    except UnreadableError as error:
        fault = run.start + len(leaves), f"the database cannot be read: {error}"
    levels = pyramid(leaves)

    def tree(size: int) -> Frontier:
        return Frontier(size, tuple(levels[height][at] for height, at in peak_positions(size)))

    sizes = (head - run.start for head in run.heads)
    edges = [tree(size).root() for size in sizes if size <= len(leaves)]
    return Hashed(tree(len(leaves)), leaf, edges, fault)


def serve() -> None:
    """Hash the runs that stand pickled in standard input; what each comes to goes pickled to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    for run in pickle.load(sys.stdin.buffer):  # noqa: S301 - from the process that started this one
        pickle.dump(hash_run(run), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def linked(where: Where, index: int) -> bool:
    """Whether there is an entry ``index`` that links to the one before it."""
    with closing(Database(where)) as database:
        return _is_followed(database, index, _leaf_at(database, index - 1))


def _leaf_at(database: Database, index: int) -> bytes:
    row = next(database.rows(_ROWS, index, index + 1), None)
    if row is None or not isinstance(row[1], bytes):
        return b""  # nothing fits behind it; the run before this one names it
    return sha256(b"\x00" + row[1]).digest()


def _leaves_of(rows: Sequence[_Row], index: int, leaf: bytes) -> list[bytes] | None:
    """The leaf hashes of rows from ``index`` on, behind an entry with this leaf hash; None when they do not fit."""
    try:
        leaves = [sha256(b"\x00" + raw).digest() for _, raw in rows]
    except TypeError:  # an entry that is not bytes
        return None
    # In a header the first "prev":" is the member itself: inside a JSON string its quotes would be escaped.
    links = [raw[(at := raw.find(_LINK) + len(_LINK)) : at + 64] for _, raw in rows]
    if links != [hexlify(one) for one in (leaf, *leaves[:-1])]:
        return None
    return leaves if [stored for stored, _ in rows] == list(range(index, index + len(rows))) else None


def _until_fault(
    database: Database, rows: Sequence[_Row], index: int, leaf: bytes
) -> tuple[list[bytes], tuple[int, str]]:
    """The leaf hashes of those rows that fit, and what is wrong with the next one."""
    leaves: list[bytes] = []
    for row in rows:
        fitting = _leaves_of([row], index + len(leaves), leaf)
        if fitting is None:
            break
        leaves += fitting
        leaf = leaves[-1]
    return leaves, _misfit(database, rows[len(leaves)], index + len(leaves))


def _is_followed(database: Database, index: int, leaf: bytes) -> bool:
    rows = list(database.rows(_ROWS, index, index + 1))
    return bool(rows) and _leaves_of(rows, index, leaf) is not None


def _misfit(database: Database, row: _Row, index: int) -> tuple[int, str]:
    """The entry at fault, and why; told as the full verification tells it."""
    stored, raw = row
    if stored != index:
        return _missing(database, index)
    if not isinstance(raw, bytes):
        return index, f"entry {index} is not stored as bytes: the database was changed"
    # Either this entry's link was changed or the entry before it; the next link tells which.
    if index and _is_followed(database, index + 1, sha256(b"\x00" + raw).digest()):
        return index - 1, f"entry {index - 1} is not the one that entry {index} links to"
    return index, f"the link of entry {index} is not the hash of entry {index - 1}"


def _missing(database: Database, index: int) -> tuple[int, str]:
    (following,) = next(database.rows(_NEXT, index))
    rest = "" if following is None else f"; the next one stored is {following}"
    return index, f"entry {index} is missing{rest}"
