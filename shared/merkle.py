"""The Merkle tree of RFC 9162 section 2.1, from its right edge: the frontier.

The frontier (the roots of the perfect subtrees that a tree of size n splits into, largest first) is all that
appending, the root, and inclusion proofs for the newest leaves need; it is never longer than 64 hashes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shared.words import EvidenceError, LeafHash

EMPTY_ROOT = hashlib.sha256(b"").digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 section 2.1.1: SHA-256 over 0x01 and both children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree of ``size`` leaves by the roots of its perfect subtrees, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: LeafHash) -> "Frontier":
        """The tree with one more leaf."""
        peaks = list(self.peaks)
        node: bytes = leaf
        size = self.size
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        peaks.append(node)
        return Frontier(self.size + 1, tuple(peaks))

    def extend(self, leaves: Sequence[LeafHash]) -> "Frontier":
        """The tree with more leaves, in order."""
        tree = self
        for leaf in leaves:
            tree = tree.append(leaf)
        return tree

    def root(self) -> bytes:
        """The Merkle tree hash, 32 bytes."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def to_bytes(self) -> bytes:
        """The peaks, joined; the size is stored beside it."""
        return b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, size: int, joined: bytes) -> "Frontier":
        """Read peaks back.

        Raises EvidenceError when their number does not fit the size.
        """
        if len(joined) != 32 * size.bit_count():
            raise EvidenceError(f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(joined) / 32}")
        return cls(size, tuple(joined[at : at + 32] for at in range(0, len(joined), 32)))


def newest_inclusion_proofs(before: Frontier, leaves: Sequence[LeafHash]) -> list[list[bytes]]:
    """Inclusion proofs (RFC 9162 section 2.1.3.1) of the newest leaves in the tree that they complete.

    ``before`` is the tree they were appended to; each proof runs from its leaf up to the root of the tree of
    ``before.size + len(leaves)``. Every sibling is a node inside the new leaves or under a peak of
    ``before``, so no stored tree is needed: O(len(leaves)) for all of them together.
    """
    size = before.size + len(leaves)
    # nodes[level] maps a node's position on its level to its hash, as far as it is known from here.
    nodes: list[dict[int, bytes]] = [{before.size + at: leaf for at, leaf in enumerate(leaves)}]
    peak, position = iter(before.peaks), 0
    placed: dict[int, dict[int, bytes]] = {}
    for level in range(before.size.bit_length() - 1, -1, -1):
        if before.size >> level & 1:
            placed.setdefault(level, {})[position >> level] = next(peak)
            position += 1 << level
    level = 0
    while size >> level:
        here = nodes[level] | placed.get(level, {})
        nodes[level] = here
        above: dict[int, bytes] = {}
        for at, right in here.items():
            if at & 1 and at - 1 in here:
                above[at >> 1] = node_hash(here[at - 1], right)
        nodes.append(above)
        level += 1
    ragged = _ragged_right_edge(nodes, size)
    return [_path(nodes, ragged, before.size + at, size) for at in range(len(leaves))]


def _ragged_right_edge(nodes: list[dict[int, bytes]], size: int) -> dict[tuple[int, int], bytes]:
    """The right-most node of each level where it covers fewer leaves than a perfect subtree would."""
    edge: dict[tuple[int, int], bytes] = {}
    carried: bytes | None = None
    for level in range(size.bit_length() + 1):
        last = size >> level  # the position of the incomplete node on this level, if there is one
        if size & ((1 << level) - 1) and carried is not None:
            edge[level, last] = carried
        if size >> level & 1:
            full = nodes[level][last - 1]
            carried = full if carried is None else node_hash(full, carried)
    return edge


def _path(
    nodes: list[dict[int, bytes]], ragged: dict[tuple[int, int], bytes], index: int, size: int
) -> list[bytes]:
    path = []
    last = size - 1
    level = 0
    while last:
        sibling = index ^ 1
        if sibling <= last:
            known = nodes[level].get(sibling)
            path.append(known if known is not None else ragged[level, sibling])
        index >>= 1
        last >>= 1
        level += 1
    return path


def root_from_inclusion(leaf: LeafHash, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2); compare it with a signed one.

    Raises EvidenceError when the proof's length does not fit index and size.
    """
    if not 0 <= index < size:
        raise EvidenceError(f"index {index} lies outside a tree of {size} entries")
    node: bytes = leaf
    last = size - 1
    hashes = iter(path)
    try:
        while last:
            if index & 1:
                node = node_hash(next(hashes), node)
            elif index < last:
                node = node_hash(node, next(hashes))
            index >>= 1
            last >>= 1
    except StopIteration:
        raise EvidenceError("the inclusion proof is too short") from None
    if next(hashes, None) is not None:
        raise EvidenceError("the inclusion proof is too long")
    return node
