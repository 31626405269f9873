"""The Merkle tree of RFC 9162 section 2.1: appending, roots, inclusion and consistency proofs.

:class:`Frontier` is all that appending needs: the roots of the perfect subtrees that a tree of size n splits into,
largest first, never more than 64 hashes. :class:`Tree` makes proofs, and asks for the perfect subtrees it needs;
a proof in a tree of n leaves asks for at most 2 log n of them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.words import EvidenceError, LeafHash

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Node = Callable[[int, int], bytes]
"""(height, position) -> the root of the perfect subtree over the ``position``-th run of ``2**height`` leaves."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 section 2.1.1: SHA-256 over 0x01 and both children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of sibling hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


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


def peak_positions(size: int) -> list[tuple[int, int]]:
    """(height, position) of the perfect subtrees that a tree of ``size`` leaves splits into, largest first."""
    found, start = [], 0
    for height in range(size.bit_length() - 1, -1, -1):
        if size >> height & 1:
            found.append((height, start >> height))
            start += 1 << height
    return found


class Tree:
    """The tree of the first ``size`` leaves, over subtrees that ``node`` knows."""

    def __init__(self, size: int, node: Node) -> None:
        self.size = size
        self._node = node
        self._edge: dict[int, bytes] = {}  # by first leaf: subtrees that reach the end; shared by all proofs

    def frontier(self) -> Frontier:
        """This tree, ready to be appended to."""
        return Frontier(self.size, tuple(self._node(height, at) for height, at in peak_positions(self.size)))

    def root(self) -> bytes:
        """The Merkle tree hash, 32 bytes."""
        return self._hash(0, self.size) if self.size else EMPTY_ROOT

    def inclusion(self, index: int) -> list[bytes]:
        """PATH(index, D_size) of RFC 9162 section 2.1.3.1: siblings from the leaf up to below the root.

        Raises EvidenceError when there is no such leaf.
        """
        if not 0 <= index < self.size:
            raise EvidenceError(f"index {index} lies outside a tree of {self.size} entries")
        path, start, stop = [], 0, self.size
        while stop - start > 1:
            middle = start + _split(stop - start)
            if index < middle:
                path.append(self._hash(middle, stop))
                stop = middle
            else:
                path.append(self._hash(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int) -> list[bytes]:
        """PROOF(old, D_size) of RFC 9162 section 2.1.4.1: that the first ``old`` leaves are still the same.

        Empty for an old tree without leaves and for the same tree. Raises EvidenceError when ``old`` is larger.
        """
        if not 0 <= old <= self.size:
            raise EvidenceError(f"a tree of {self.size} entries cannot be consistent with a larger one of {old}")
        if old in {0, self.size}:
            return []
        path, start, stop, whole = [], 0, self.size, True
        while old != stop:
            middle = start + _split(stop - start)
            if old <= middle:
                path.append(self._hash(middle, stop))
                stop = middle
            else:
                path.append(self._hash(start, middle))
                start, whole = middle, False
        if not whole:  # else the old tree is itself a subtree here, and its root is known to whoever asks
            path.append(self._hash(start, stop))
        return path[::-1]

    def _hash(self, start: int, stop: int) -> bytes:
        """MTH(D[start:stop]) of a subtree that a split leads to."""
        count = stop - start
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self._node(height, start >> height)
        if stop != self.size:
            raise AssertionError("only the right edge of a tree holds imperfect subtrees")
        if start not in self._edge:
            middle = start + _split(count)
            self._edge[start] = node_hash(self._hash(start, middle), self._hash(middle, stop))
        return self._edge[start]


def _split(count: int) -> int:
    """The largest power of two smaller than ``count`` (RFC 9162's k)."""
    return 1 << ((count - 1).bit_length() - 1)


def newest_inclusion_proofs(before: Frontier, leaves: Sequence[LeafHash]) -> list[list[bytes]]:
    """Inclusion proofs of the newest leaves in the tree that they complete.

    ``before`` is the tree they were appended to. Every sibling is a node inside the new leaves or under a peak
    of ``before``, so no stored tree is needed: O(len(leaves)) for all of them together.
    """
    size = before.size + len(leaves)
    nodes: dict[tuple[int, int], bytes] = dict(zip(peak_positions(before.size), before.peaks, strict=True))
    nodes |= {(0, before.size + at): leaf for at, leaf in enumerate(leaves)}
    first, last = before.size, size
    for height in range(size.bit_length()):
        # Every new right child, with its left sibling: new as well, or the old peak that it completes.
        for at in range(first | 1, last, 2):
            nodes[height + 1, at >> 1] = node_hash(nodes[height, at - 1], nodes[height, at])
        first, last = first >> 1, last >> 1
    tree = Tree(size, lambda height, at: nodes[height, at])
    return [tree.inclusion(before.size + at) for at in range(len(leaves))]


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


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that a tree of ``new`` leaves begins with the tree of ``old`` leaves (RFC 9162 section 2.1.4.2).

    Raises EvidenceError saying what does not hold; a tree of no leaves is the beginning of every tree.
    """
    if not 0 <= old <= new:
        raise EvidenceError(f"a tree of {new} entries cannot be consistent with a larger one of {old}")
    if old in {0, new}:
        if path:
            raise EvidenceError("the consistency proof should be empty")
        if old_root != (new_root if old == new else EMPTY_ROOT):
            raise EvidenceError(f"two trees of {old} entries have different roots")
        return
    # An old tree of a power of two leaves is a subtree of the new one, and itself the proof's first node.
    from_old, from_new = _roots_from_consistency(old, new, path if old & (old - 1) else [old_root, *path])
    if from_old != old_root:
        raise EvidenceError(f"the consistency proof does not lead to the root of {old} entries")
    if from_new != new_root:
        raise EvidenceError(f"the consistency proof does not lead to the root of {new} entries")


def _roots_from_consistency(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of both trees that a proof leads to, its first node being one that both share."""
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    hashes = iter(path)
    try:
        from_old = from_new = next(hashes)
        while last:
            if at & 1 or at == last:
                sibling = next(hashes)
                from_old, from_new = node_hash(sibling, from_old), node_hash(sibling, from_new)
                while at and not at & 1:
                    at, last = at >> 1, last >> 1
            else:
                from_new = node_hash(from_new, next(hashes))
            at, last = at >> 1, last >> 1
    except StopIteration:
        raise EvidenceError("the consistency proof is too short") from None
    if next(hashes, None) is not None:
        raise EvidenceError("the consistency proof is too long")
    return from_old, from_new
