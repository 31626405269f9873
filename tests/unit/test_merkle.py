"""The tree is RFC 9162's: known vectors, and every proof against the RFC's own recursive definition."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.merkle import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    check_consistency,
    newest_inclusion_proofs,
    node_hash,
    root_from_inclusion,
)
from shared.words import EvidenceError, LeafHash

# The test data of RFC 6962's and 9162's implementations (google/certificate-transparency, transparency-dev/merkle).
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaf(data: bytes) -> LeafHash:
    return LeafHash(hashlib.sha256(b"\x00" + data).digest())


LEAVES = [leaf(b"%d" % at) for at in range(80)]


def split(count: int) -> int:
    """RFC 9162 section 2.1.1: the largest power of two smaller than ``count``."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def model_root(leaves: list[LeafHash]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(model_root(leaves[:k]), model_root(leaves[k:]))


def model_path(index: int, leaves: list[LeafHash]) -> list[bytes]:
    """RFC 9162 section 2.1.3.1, word for word."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*model_path(index, leaves[:k]), model_root(leaves[k:])]
    return [*model_path(index - k, leaves[k:]), model_root(leaves[:k])]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_known_vectors(size: int) -> None:
    assert Frontier().extend([leaf(data) for data in INPUTS[:size]]).root().hex() == ROOTS[size]


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT == model_root([])


def test_leaves_and_nodes_are_hashed_apart() -> None:
    left, right = LEAVES[:2]
    assert node_hash(left, right) == hashlib.sha256(b"\x01" + left + right).digest() != leaf(left + right)


def test_the_frontier_holds_one_peak_a_bit_of_the_size() -> None:
    tree = Frontier()
    for size, one in enumerate(LEAVES, 1):
        tree = tree.append(one)
        assert (tree.size, len(tree.peaks)) == (size, size.bit_count())
        assert tree.root() == model_root(LEAVES[:size])


def test_the_known_vectors_inclusion_proofs_are_the_rfcs() -> None:
    leaves = [leaf(data) for data in INPUTS]
    proofs = newest_inclusion_proofs(Frontier(), leaves)
    assert [node.hex() for node in proofs[0]] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [node.hex() for node in proofs[5]] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@pytest.mark.parametrize("before", range(70))
def test_proofs_of_the_newest_leaves_are_the_models_for_every_number_of_them(before: int) -> None:
    tree = Frontier().extend(LEAVES[:before])
    for new in range(1, 71 - before):
        leaves = LEAVES[: before + new]
        proofs = newest_inclusion_proofs(tree, leaves[before:])
        assert proofs == [model_path(index, leaves) for index in range(before, before + new)]


def test_no_new_leaves_need_no_proofs() -> None:
    assert newest_inclusion_proofs(Frontier().extend(LEAVES[:5]), []) == []


@given(st.integers(1, 80), st.data())
def test_a_proof_leads_to_the_root_and_only_with_its_own_leaf_index_and_size(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1))
    path = model_path(index, LEAVES[:size])
    root = model_root(LEAVES[:size])
    assert root_from_inclusion(LEAVES[index], index, size, path) == root
    if other != index:
        assert leads_elsewhere(LEAVES[other], index, size, path, root)
        assert leads_elsewhere(LEAVES[index], other, size, path, root)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        broken = [*path[:at], bytes([path[at][0] ^ 1]) + path[at][1:], *path[at + 1 :]]
        assert leads_elsewhere(LEAVES[index], index, size, broken, root)
    assert leads_elsewhere(LEAVES[index], index, size, [*path, bytes(32)], root)
    assert leads_elsewhere(LEAVES[index], index, size, path[:-1], root) or not path
    assert leads_elsewhere(LEAVES[index], index, size + len(LEAVES), path, root)


def leads_elsewhere(one: LeafHash, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    try:
        return root_from_inclusion(one, index, size, path) != root
    except EvidenceError:
        return True


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (6, 5), (0, 0)])
def test_an_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(EvidenceError, match=f"index {index} lies outside a tree of {size} entries"):
        root_from_inclusion(LEAVES[0], index, size, [])


def test_a_proof_of_the_wrong_length_is_refused_and_says_which_way() -> None:
    path = model_path(3, LEAVES[:7])
    with pytest.raises(EvidenceError, match="too short"):
        root_from_inclusion(LEAVES[3], 3, 7, path[:-1])
    with pytest.raises(EvidenceError, match="too long"):
        root_from_inclusion(LEAVES[3], 3, 7, [*path, path[0]])


def test_the_frontier_survives_being_stored() -> None:
    for size in range(len(LEAVES)):
        tree = Frontier().extend(LEAVES[:size])
        assert Frontier.from_bytes(size, tree.to_bytes()) == tree


@pytest.mark.parametrize(("size", "stored"), [(1, b""), (2, bytes(64)), (3, bytes(32)), (7, bytes(95)), (0, b"x")])
def test_stored_peaks_that_do_not_fit_their_size_are_refused(size: int, stored: bytes) -> None:
    with pytest.raises(EvidenceError, match=f"a tree of {size} leaves has"):
        Frontier.from_bytes(size, stored)


@given(st.lists(st.integers(0, 12), max_size=8))
def test_however_leaves_are_batched_the_tree_is_the_same(batches: list[int]) -> None:
    ends = [sum(batches[:at]) for at in range(len(batches) + 1)]
    tree = Frontier()
    for start, end in pairwise(ends):
        tree = tree.extend(LEAVES[start:end])
    assert tree == Frontier().extend(LEAVES[: ends[-1]])
    assert tree.root() == model_root(LEAVES[: ends[-1]])


def model_consistency(old: int, leaves: list[LeafHash], *, whole: bool = True) -> list[bytes]:
    """RFC 9162 section 2.1.4.1, word for word: SUBPROOF(old, D, whole)."""
    if old == len(leaves):
        return [] if whole else [model_root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*model_consistency(old, leaves[:k], whole=whole), model_root(leaves[k:])]
    return [*model_consistency(old - k, leaves[k:], whole=False), model_root(leaves[:k])]


def tree(leaves: list[LeafHash]) -> Tree:
    """A tree that knows its perfect subtrees from the leaves alone."""
    return Tree(len(leaves), lambda height, at: model_root(leaves[at << height : (at + 1) << height]))


@pytest.mark.parametrize("size", [*range(40), 64, 65, 80])
def test_a_tree_of_subtrees_makes_the_rfcs_proofs_of_every_leaf_and_every_older_tree(size: int) -> None:
    leaves, made = LEAVES[:size], tree(LEAVES[:size])
    assert made.root() == model_root(leaves)
    assert made.frontier() == Frontier().extend(leaves)
    for index in range(size):
        assert made.inclusion(index) == model_path(index, leaves)
    for old in range(1, size + 1):
        path = made.consistency(old)
        assert path == model_consistency(old, leaves)
        check_consistency(old, model_root(leaves[:old]), size, model_root(leaves), path)
    check_consistency(0, EMPTY_ROOT, size, model_root(leaves), made.consistency(0))


@given(st.integers(1, 80), st.integers(1, 80), st.data())
def test_no_other_tree_passes_as_the_beginning_or_the_continuation(one: int, two: int, data: st.DataObject) -> None:
    old, new = sorted((one, two))
    path = tree(LEAVES[:new]).consistency(old)
    old_root, new_root = model_root(LEAVES[:old]), model_root(LEAVES[:new])
    at = data.draw(st.integers(0, len(path)))
    for broken in (
        (old, leaf(b"x"), new, new_root, path),
        (old, old_root, new, leaf(b"x"), path),
        (old, old_root, new, new_root, [*path[:at], leaf(b"x"), *path[at:]]),
        (new + 1, old_root, new, new_root, path),
        *([(old, old_root, new, new_root, [*path[:at], *path[at + 1 :]])] if at < len(path) else []),
        *([(old, old_root, new, new_root, [*path[:at], leaf(b"x"), *path[at + 1 :]])] if at < len(path) else []),
    ):
        with pytest.raises(EvidenceError):
            check_consistency(*broken)


def test_a_proof_outside_the_tree_is_refused_in_a_sentence() -> None:
    with pytest.raises(EvidenceError, match="index 5 lies outside a tree of 5 entries"):
        tree(LEAVES[:5]).inclusion(5)
    with pytest.raises(EvidenceError, match="a tree of 5 entries cannot be consistent with a larger one of 6"):
        tree(LEAVES[:5]).consistency(6)
