"""Tiles (c2sp.org/tlog-tiles): runs of 256 hashes of one tree level, and bundles of 256 entries. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from shared.words import EvidenceError

WIDTH: Final = 256
HASH: Final = 32


class Tile(NamedTuple):
    """Which tile: hashes ``n * 256`` to before ``n * 256 + width`` of a level; level 0 holds leaf hashes.

    Each hash of level l is the root of ``256 ** l`` leaves. ``width`` below 256: a partial tile.
    """

    level: int
    n: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where the tile is published, below the log's prefix."""
        return f"tile/{self.level}/{_place(self)}"

    @property
    def bundle_path(self) -> str:
        """Where the entries under a tile of level 0 are published."""
        return f"tile/entries/{_place(self)}"


def _place(tile: Tile) -> str:
    groups = []
    n = tile.n
    while True:
        groups.append(f"{n % 1000:03}")
        n //= 1000
        if n == 0:
            break
    place = "/".join([*(f"x{group}" for group in reversed(groups[1:])), groups[0]])
    return place if tile.width == WIDTH else f"{place}.p/{tile.width}"


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """The tiles of a tree of ``size`` leaves that a tree of ``since`` leaves lacks, level by level."""
    level = 0
    while size >> (8 * level):
        before, count = since >> (8 * level), size >> (8 * level)
        for n in range(before // WIDTH, count // WIDTH):
            yield Tile(level, n)
        if count % WIDTH and count > before:
            yield Tile(level, count // WIDTH, count % WIDTH)
        level += 1


def write_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries as one bundle: each behind its length in two bytes, big-endian."""
    return b"".join(len(raw).to_bytes(2, "big") + raw for raw in entries)


def read_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises EvidenceError when it is cut off in the middle of one.
    """
    entries, at = [], 0
    while at < len(bundle):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        if at > len(bundle) or start > len(bundle):
            raise EvidenceError("the entry bundle ends in the middle of an entry")
        entries.append(bundle[start:at])
    return entries


def pyramid(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """All perfect subtrees over a tile's hashes: at [r][i] the root of hashes ``i * 2**r`` on, ``2**r`` of them."""
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = zip(below[::2], below[1::2], strict=False)
        levels.append([sha256(b"\x01" + left + right).digest() for left, right in pairs])
    return levels


class Edge:
    """The tiles that are not full yet: for each level, the hashes behind its last full tile."""

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self.levels = [list(hashes) for hashes in levels]

    def grow(self, leaves: Iterable[bytes]) -> list[tuple[Tile, bytes, bytes]]:
        """Add leaves; returns each tile that became full, its root, and its hashes joined."""
        full = []
        for leaf in leaves:
            node, level = leaf, 0
            self.size += 1
            while True:
                if level == len(self.levels):
                    self.levels.append([])
                hashes = self.levels[level]
                hashes.append(node)
                if len(hashes) < WIDTH:
                    break
                node = pyramid(hashes)[-1][0]
                full.append((Tile(level, (self.size >> (8 * level + 8)) - 1), node, b"".join(hashes)))
                hashes.clear()
                level += 1
        return full

    def copy(self) -> "Edge":
        """This edge as it is now."""
        return Edge(self.size, self.levels)
