"""The tree's full tiles, stored beside the entries they are made of, so that a proof reads a few rows of any log.

They are derived from the entries and never the other way round: what is missing is made again when the log is
opened for writing, and `trail fsck` compares all of them with the entries.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Final

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, bindparam, func, insert, select

from services.audit.tiles import HASH, WIDTH, Edge, Tile, pyramid
from shared.merkle import Node, Tree
from shared.words import EvidenceError

_CACHED_TILES: Final = 128


def subtrees_table(metadata: MetaData) -> Table:
    """The table of full tiles. ``root`` stands before the 8 KB of hashes, so that it is read without them."""
    return Table(
        "subtrees",
        metadata,
        Column("level", Integer, primary_key=True, autoincrement=False),
        Column("n", Integer, primary_key=True, autoincrement=False),
        Column("root", LargeBinary, nullable=False),
        Column("hashes", LargeBinary, nullable=False),
    )


class Subtrees:
    """Reads and writes the tiles of one log.

    ``leaves(start, stop)`` gives the leaf hashes of stored entries; behind the last full tile they are made anew.
    """

    def __init__(
        self,
        table: Table,
        connect: Callable[[], AbstractContextManager[Connection]],
        leaves: Callable[[int, int], Sequence[bytes]],
    ) -> None:
        self._connect = connect
        self._leaves = leaves
        self._insert = insert(table)
        place = (table.c.level == bindparam("level")) & (table.c.n == bindparam("tile"))
        self._one = select(table.c.hashes).where(place)
        self._count = select(func.count()).select_from(table).where(table.c.level == bindparam("level"))
        self._roots = (
            select(table.c.n, table.c.root)
            .where(
                table.c.level == bindparam("level"),
                table.c.n >= bindparam("start"),
                table.c.n < bindparam("stop"),
            )
            .order_by(table.c.n)
        )
        self._full = lru_cache(maxsize=_CACHED_TILES)(self._read_full)

    def tree(self, size: int) -> Tree:
        """The tree of the first ``size`` entries; a proof in it reads O(log size) rows."""
        partial: dict[tuple[int, int], list[list[bytes]]] = {}

        def tile(level: int, n: int) -> list[list[bytes]]:
            width = min((size >> (8 * level)) - n * WIDTH, WIDTH)
            if width == WIDTH:
                return self._full(level, n)
            if (level, n) not in partial:
                partial[level, n] = pyramid(self.hashes(Tile(level, n, width)))
            return partial[level, n]

        return Tree(size, _node_in(tile))

    def hashes(self, tile: Tile) -> Sequence[bytes]:
        """The hashes of a tile, full or partial.

        Raises EvidenceError when the database lacks what it is made of.
        """
        if tile.width == WIDTH:
            return self._full(tile.level, tile.n)[0]
        start = tile.n * WIDTH
        if tile.level == 0:
            leaves = self._leaves(start, start + tile.width)
            if len(leaves) != tile.width:
                raise EvidenceError(
                    f"of the entries {start} to {start + tile.width - 1} one is missing; `trail verify` says which"
                )
            return leaves
        with self._connect() as connection:
            where = {"level": tile.level - 1, "start": start, "stop": start + tile.width}
            roots = {row.n: row.root for row in connection.execute(self._roots, where)}
        if len(roots) != tile.width:
            missing = next(n for n in range(start, start + tile.width) if n not in roots)
            raise _missing(Tile(tile.level - 1, missing))
        return list(roots.values())

    def edge(self, size: int) -> Edge:
        """The partial tiles of the tree of ``size`` entries, ready to grow."""
        levels = []
        level = 0
        while size >> (8 * level):
            count = size >> (8 * level)
            levels.append(self.hashes(Tile(level, count // WIDTH, count % WIDTH)) if count % WIDTH else [])
            level += 1
        return Edge(size, levels)

    def stored(self) -> int:
        """How many entries the stored tiles of level 0 cover; those of a level above never run ahead."""
        with self._connect() as connection:
            return WIDTH * connection.execute(self._count, {"level": 0}).scalar_one()

    def add(self, connection: Connection, full: Iterable[tuple[Tile, bytes, bytes]]) -> None:
        """Store tiles that became full, in the transaction that adds their last entry."""
        rows = [{"level": tile.level, "n": tile.n, "root": root, "hashes": hashes} for tile, root, hashes in full]
        if rows:
            connection.execute(self._insert, rows)

    def _read_full(self, level: int, n: int) -> list[list[bytes]]:
        with self._connect() as connection:
            joined = connection.execute(self._one, {"level": level, "tile": n}).scalar()
        if not isinstance(joined, bytes) or len(joined) != WIDTH * HASH:
            raise _missing(Tile(level, n))
        return pyramid([joined[at : at + HASH] for at in range(0, len(joined), HASH)])


def _node_in(tile: Callable[[int, int], list[list[bytes]]]) -> Node:
    def node(height: int, position: int) -> bytes:
        level, rise = divmod(height, 8)
        n, at = divmod(position << rise, WIDTH)
        return tile(level, n)[rise][at >> rise]

    return node


def _missing(tile: Tile) -> EvidenceError:
    return EvidenceError(
        f"the stored subtree {tile.level}/{tile.n} is missing or damaged; make it again from the entries with "
        "`trail fsck --repair-tiles` while the notary is stopped"
    )
