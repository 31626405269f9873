"""verify.py shares no code with the project, and reads notes, policies, proofs and tiles as the project does."""

import hashlib
import random
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.tiles import Edge, Tile, tiles_of
from services.console.bundle import verify
from shared.checkpoint import Checkpoint, cosign
from shared.merkle import Frontier, Tree, check_consistency, perfect_root, root_from_inclusion
from shared.note import COSIGNATURE, NoteKey
from shared.policy import Policy
from shared.signing import SigningKey
from shared.words import EvidenceError, LeafHash, TrailError

ORIGIN = "trialtrail.example/NCT06027853"
LOG = SigningKey.from_seed(b"l" * 32)
LOG_KEY = NoteKey(ORIGIN, LOG.public)
NAMES = ("X1", "X2", "Y1")
KEYS = {name: SigningKey.from_seed(name.encode() * 16) for name in NAMES}
VKEYS = {name: NoteKey(f"{name}.example", key.public, COSIGNATURE).vkey() for name, key in KEYS.items()}
LOG_LINE = f"log {LOG_KEY.vkey()}\n"
WITNESSES = "".join(f"witness {name} {vkey}\n" for name, vkey in VKEYS.items())
GOOD = f"# for tests\n\n{LOG_LINE}{WITNESSES}group X 2 X1 X2\n\tgroup both all X  Y1 \nquorum both\n"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
NOTE = CHECKPOINT.sign(LOG) + "".join(
    cosign(CHECKPOINT.text(), f"{one}.example", KEYS[one], 1_700_000_000) for one in NAMES
)


# ---- Policies ----


def ours(text: str) -> Policy | None:
    try:
        return Policy.parse(text)
    except TrailError:
        return None


def theirs(text: str) -> verify.Policy | None:
    try:
        return verify.Policy(text)
    except verify.Broken:
        return None


@pytest.mark.parametrize(
    "text",
    [
        "",
        LOG_LINE,
        "quorum none\n",
        f"{LOG_LINE}quorum none",
        "quorum X1\n",
        "quorum none\nquorum none\n",
        "quorum none none\n",
        "quorum\n",
        "witness\n",
        f"witness X1 {VKEYS['X1']} http://x extra\nquorum none\n",
        f"witness X1 {VKEYS['X1']} http://x\nquorum X1\n",
        f"witness X1 {VKEYS['X2']}\nwitness X1 {VKEYS['X1']}\nquorum X1\n",
        f"witness none {VKEYS['X1']}\nquorum none\n",
        f"witness X1 {VKEYS['X1']}\nwitness X2 {VKEYS['X1']}\nquorum X1\n",
        f"{LOG_LINE}{LOG_LINE}quorum none\n",
        f"log {VKEYS['X1']}\nquorum none\n",
        f"log {LOG_KEY.vkey()} http://x\nquorum none\n",
        f"log {LOG_KEY.vkey()}x\nquorum none\n",
        f"log {LOG_KEY.vkey()[1:]}\nquorum none\n",
        f"witness X1 {LOG_KEY.vkey()}\nquorum X1\n",
        f"log {NoteKey('', LOG.public).vkey()}\nquorum none\n",
        f"log {NoteKey(ORIGIN, LOG.public[:31]).vkey()}\nquorum none\n",
        f"log +{LOG_KEY.vkey().partition('+')[2]}\nquorum none\n",
        *(
            f"{WITNESSES}group X {k} X1 X2\nquorum X\n"
            for k in ("0", "1", "2", "3", "any", "all", "+2", "02", "1_0", "x")
        ),
        f"{WITNESSES}group X any\nquorum none\n",
        f"{WITNESSES}group X all\nquorum X\n",
        f"{WITNESSES}group X 1 X1 X1\nquorum X\n",
        f"{WITNESSES}group X any X1\ngroup Z any X1\nquorum Z\n",
        f"{WITNESSES}group X any X1\ngroup Z any X\nquorum Z\n",
        f"{WITNESSES}group X any X\nquorum X\n",
        f"{WITNESSES}group X any none\nquorum X\n",
        f"{WITNESSES}group X1 any X2\nquorum X1\n",
        f"{WITNESSES}quorum X\ngroup X any X1\n",
        "QUORUM none\n",
        "quorum none\r\n",
        "quorum\x0bnone\n",
        "# bell: \x07\nquorum none\n",
        "quorum\u2003none\n",
        "  #quorum X\n\t\n quorum\t none \n",
        GOOD,
    ],
)
def test_a_policy_is_one_for_both_or_for_neither(text: str) -> None:
    assert (ours(text) is None) == (theirs(text) is None)


def test_both_take_good_policies() -> None:
    assert theirs(GOOD) is not None
    assert theirs("quorum none\n") is not None


def test_a_quorum_is_met_for_both_or_for_neither() -> None:
    one, other = ours(GOOD), theirs(GOOD)
    assert one is not None
    assert other is not None
    verdicts = set()
    for count in range(len(NAMES) + 1):
        for names in combinations(NAMES, count):
            met = other.is_met(other.quorum, set(names))
            assert met == one.is_met(frozenset(names))
            verdicts.add(met)
    assert verdicts == {True, False}


# ---- Notes ----


def opened_by_us(note: bytes) -> tuple[int, bytes] | None:
    policy = Policy.parse(GOOD)
    try:
        checkpoint = policy.open(note.decode())
    except (EvidenceError, UnicodeDecodeError):
        return None
    return checkpoint.size, checkpoint.root


def opened_by_them(note: bytes) -> tuple[int, bytes] | None:
    policy = verify.Policy(GOOD)
    try:
        checkpoint = policy.open(note, "the note", policy.logs)
    except verify.Broken:
        return None
    met = policy.is_met(policy.quorum, {name for name, _ in checkpoint.cosigned})
    return (checkpoint.size, checkpoint.root) if met else None


def test_a_cosigned_checkpoint_is_read_alike() -> None:
    assert opened_by_us(NOTE.encode()) == opened_by_them(NOTE.encode()) == (7, CHECKPOINT.root)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_note_is_one_for_both_or_for_neither(data: st.DataObject) -> None:
    note = bytearray(NOTE.encode())
    at = data.draw(st.integers(0, len(note) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "insert", "delete", "move a line", "repeat a line"])):
        case "flip":
            note[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del note[at:]
        case "insert":
            note[at:at] = data.draw(
                st.sampled_from([b"\n", b"\n\n", b" ", b"\t", b"\x00", b"\xff", b"=", b"\xe2\x80\x94 a b\n"])
            )
        case "delete":
            del note[at]
        case kind:
            lines = bytes(note).splitlines(keepends=True)
            line = data.draw(st.integers(0, len(lines) - 1))
            moved = lines[line] if kind == "repeat a line" else lines.pop(line)
            lines.insert(data.draw(st.integers(0, len(lines))), moved)
            note = bytearray(b"".join(lines))
    assert opened_by_us(bytes(note)) == opened_by_them(bytes(note))


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n7\nAAAA\n",
        f"{ORIGIN}\n07\n{'A' * 43}=\n",
        f"{ORIGIN}\n-7\n{'A' * 43}=\n",
        f"{ORIGIN}\n\u0667\n{'A' * 43}=\n",
        f"{ORIGIN}\n",
        f"example.org/other\n7\n{'A' * 43}=\n",
        f"{ORIGIN}\n7\n{'A' * 42}B=\n",
        f"{ORIGIN}\n7\n{'A' * 43}=\n\x07\n",
    ],
)
def test_what_the_log_signed_that_is_no_checkpoint_of_it_is_refused(text: str) -> None:
    policy = verify.Policy(f"{LOG_LINE}quorum none")
    signature = LOG_KEY.line(LOG.sign(text.encode()))
    try:
        checkpoint = policy.open(f"{text}\n{signature}".encode(), "the note", policy.logs)
    except verify.Broken:
        return
    assert len(checkpoint.root) != 32  # a root that no tree has


def test_a_key_is_matched_by_name_and_by_id() -> None:
    policy = verify.Policy(f"{LOG_LINE}quorum none")
    text = CHECKPOINT.text()
    for key in (NoteKey("example.org/other", LOG.public), NoteKey(ORIGIN, LOG.public, COSIGNATURE)):
        with pytest.raises(verify.Broken, match="is not signed with a log key"):
            policy.open(f"{text}\n{key.line(LOG.sign(text.encode()))}".encode(), "the note", policy.logs)


# ---- Trees ----

LEAVES = [LeafHash(hashlib.sha256(b"%d" % at).digest()) for at in range(300)]


def tree_of(size: int) -> Tree:
    return Tree(size, lambda height, at: perfect_root(LEAVES[at << height : (at + 1) << height]))


def damaged(path: list[bytes], data: st.DataObject) -> list[bytes]:
    """The path, or one that is nearly the same."""
    kind = data.draw(st.sampled_from(["whole", "shorter", "longer", "other", "swapped"]))
    at = data.draw(st.integers(0, max(len(path) - 1, 0)))
    if kind == "longer":
        return [*path[:at], bytes(32), *path[at:]]
    if not path or kind == "whole":
        return path
    if kind == "shorter":
        return path[:at] + path[at + 1 :]
    if kind == "other":
        return [*path[:at], bytes(32), *path[at + 1 :]]
    return path[::-1]


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 300), st.data())
def test_an_inclusion_proof_is_one_for_both_or_for_neither(size: int, data: st.DataObject) -> None:
    index, claimed = data.draw(st.integers(0, size - 1)), data.draw(st.integers(-1, size + 1))
    index_claimed = data.draw(st.sampled_from([index, claimed]))
    tree = tree_of(size)
    path = damaged(tree.inclusion(index), data)
    try:
        good = root_from_inclusion(LEAVES[index], index_claimed, size, path) == tree.root()
    except EvidenceError:
        good = False
    assert verify.is_included(LEAVES[index], index_claimed, size, tree.root(), path) == good
    if path == tree.inclusion(index) and index_claimed == index:
        assert good


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_consistency_proof_is_one_for_both_or_for_neither(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    claimed = data.draw(st.sampled_from([old, min(old + 1, new - 1), max(old - 1, 1)]))
    larger, smaller = tree_of(new), tree_of(old)
    path = damaged(larger.consistency(old), data)
    try:
        check_consistency(claimed, smaller.root(), new, larger.root(), path)
        good = True
    except EvidenceError:
        good = False
    assert verify.is_consistent(claimed, smaller.root(), new, larger.root(), path) == good
    if path == larger.consistency(old) and claimed == old:
        assert good


def test_trees_of_no_or_the_same_size_need_no_proof_and_get_none() -> None:
    for size in (4, 5):
        root = tree_of(size).root()
        for old in (0, size, size + 1):
            assert not verify.is_consistent(old, root, size, root, [])


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 70_000])
def test_tiles_and_root_are_those_of_the_tree(size: int) -> None:
    leaves = [LeafHash(hashlib.sha256(b"leaf %d" % at).digest()) for at in range(size)]
    tree, edge = verify.Tree(), Edge()
    full = {tile.path: hashes for tile, _, hashes in edge.grow(leaves)}
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == Frontier().extend(leaves).root()
    tiles = dict(tree.tiles())
    assert set(tiles) == {tile.path for tile in tiles_of(size)}
    assert {path: hashes for path, hashes in tiles.items() if ".p/" not in path} == full
    partial = {path: hashes for path, hashes in tiles.items() if ".p/" in path}
    assert sorted(partial.values()) == sorted(b"".join(hashes) for hashes in edge.levels if hashes)


def test_tiles_are_where_tlog_tiles_has_them() -> None:
    draw = random.Random(1)
    for n in [0, 999, 1000, 1_234_067, *(draw.randrange(10**9) for _ in range(50))]:
        assert verify.tile_name("0", 256 * n, 256 * n + 256) == Tile(0, n).path
        assert verify.tile_name("3", 256 * n, 256 * n + 17) == Tile(3, n, 17).path
        assert verify.tile_name("entries", 256 * n, 256 * n + 1) == Tile(0, n, 1).bundle_path


def test_the_readme_of_the_formats_names_the_bundle() -> None:
    text = (Path(verify.__file__).parents[3] / "docs" / "bundles.md").read_text("utf-8")
    assert verify.FORMAT in text
    for name in verify.MANIFEST:
        assert f"`{name}`" in text
