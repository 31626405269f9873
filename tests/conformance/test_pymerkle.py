"""PyPI's pymerkle builds the same tree over our entries, accepts our proofs and no others, and we accept its."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from services.audit.log import Log
from shared.merkle import check_consistency, node_hash, root_from_inclusion
from shared.words import LeafHash
from tests.conformance.exhibits import Consistency, Inclusion, Published

pymerkle = pytest.importorskip("pymerkle", reason="no pymerkle: install it with `uv sync --group conformance`")

SIZES = (*range(1, 71), 255, 256, 257, 511, 512, 513, 1_000)


@pytest.fixture(scope="module")
def theirs(published: Published) -> Any:
    """Their tree over our entries; its default hashing is RFC 6962's, with SHA-256."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    tree.append_entries(entry.raw for entry in published.entries)
    return tree


@pytest.fixture(scope="module")
def ours(published: Published) -> Log:
    return published.office.notary.log


def directions(index: int, size: int) -> list[int]:
    """On which side the way from a leaf up lies at each step: 0 left, 1 right; their proofs end with one 0 more."""
    if size == 1:
        return []
    half = 1 << ((size - 1).bit_length() - 1)
    return [*directions(index, half), 0] if index < half else [*directions(index - half, size - half), 1]


def inclusion_accepted(claim: Inclusion) -> bool:
    """Whether they accept a claim; they count from 1, and begin a proof with the leaf itself."""
    leaf = pymerkle.InmemoryTree(algorithm="sha256").hash_buff(claim.entry)
    rule = [*directions(claim.index, claim.size), 0] if claim.index < claim.size else [0]
    proof = pymerkle.InclusionProof("sha256", True, claim.size, claim.index + 1, rule, [leaf, *claim.path])
    try:
        pymerkle.verify_inclusion(leaf, claim.root, proof, claim.index + 1, claim.size, "sha256")
    except pymerkle.InvalidProof:
        return False
    return True


def consistency_accepted(claim: Consistency) -> bool:
    """Whether they accept a claim whose old size is odd.

    Their proofs go down to the first new leaf, RFC 9162's only to the last subtree of the old tree. From an odd
    size on both hold the same hashes, these two being neighbours.
    """
    assert claim.old % 2
    path = list(claim.path) if claim.old & (claim.old - 1) else [claim.old_root, *claim.path]
    way = directions(claim.old, claim.new)
    rule = [*way, 0]
    subset = [0, *way]
    proof = pymerkle.ConsistencyProof(
        "sha256", True, claim.new, claim.old, rule, subset, [*path[1:2], *path[:1], *path[2:]]
    )
    try:
        pymerkle.verify_consistency(claim.old_root, claim.new_root, proof, claim.old, claim.new, "sha256")
    except pymerkle.InvalidProof:
        return False
    return True


def as_rfc_9162(old: int, proof: Any) -> list[bytes]:
    """Their consistency proof as RFC 9162 has it: what lies right of the old tree's last subtree as one hash."""
    first = proof.subset.index(1)
    right: bytes = proof.path[0]
    for bit, sibling in zip(proof.rule, proof.path[1:first], strict=False):
        right = node_hash(sibling, right) if bit else node_hash(right, sibling)
    path: Sequence[bytes] = [proof.path[first], right, *proof.path[first + 1 :]]
    return list(path if old & (old - 1) else path[1:])


def test_their_tree_over_our_entries_has_every_root_that_we_signed(theirs: Any, published: Published) -> None:
    assert {size: theirs.get_root(size) for size in published.notes} == published.roots()


def test_they_accept_our_inclusion_proofs_and_refuse_broken_ones(
    published: Published, chance: random.Random
) -> None:
    claims = published.inclusions(chance, 200)
    assert all(map(inclusion_accepted, claims))
    broken = [one for claim in claims for one in claim.broken(chance)]
    assert [what for what, claim in broken if inclusion_accepted(claim)] == []


def test_they_accept_our_consistency_proofs_and_refuse_broken_ones(ours: Log, chance: random.Random) -> None:
    claims = []
    for new in SIZES[1:]:
        tree, old = ours.tree(new), chance.randrange(new) | 1
        if old < new:
            claims.append(Consistency(old, ours.tree(old).root(), new, tree.root(), tuple(tree.consistency(old))))
    assert all(map(consistency_accepted, claims))
    broken = [one for claim in claims for one in claim.broken(chance)]
    assert [what for what, claim in broken if consistency_accepted(claim)] == []


def test_their_proofs_are_ours_to_the_byte_and_we_accept_them(
    theirs: Any, ours: Log, published: Published, chance: random.Random
) -> None:
    for size in SIZES:
        tree, root = ours.tree(size), theirs.get_root(size)
        for index in {0, size - 1, *chance.sample(range(size), min(size, 15))}:
            leaf, *path = theirs.prove_inclusion(index + 1, size).path
            assert path == tree.inclusion(index)
            assert root_from_inclusion(LeafHash(leaf), index, size, path) == root
        for old in chance.sample(range(1, size), min(size - 1, 15)):
            path = as_rfc_9162(old, theirs.prove_consistency(old, size))
            assert path == tree.consistency(old)
            check_consistency(old, theirs.get_root(old), size, root, path)
