"""PyPI's aics-tlog reads our notes, cosignatures, proofs and tiles, refuses them broken, and we read its own."""

import random
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.log import Log
from services.audit.tiles import tiles_of
from shared.checkpoint import Checkpoint, Cosignature, open_checkpoint, open_cosignature
from shared.merkle import check_consistency, root_from_inclusion
from shared.note import COSIGNATURE, NoteKey
from shared.signing import SigningKey
from shared.words import EvidenceError
from tests.conformance.exhibits import (
    WITNESSED_AT,
    WITNESSES,
    Consistency,
    Inclusion,
    Published,
    Receipt,
    broken_notes,
    flipped,
    witness_key,
)
from tests.notary import LOG, LOG_KEY, ORIGIN, seeded_key

aics = pytest.importorskip(
    "aics_tlog", reason="no aics-tlog: it needs Python 3.12 or newer; there, `pip install aics-tlog`"
)

SIZES = (*range(1, 71), 255, 256, 257, 511, 512, 513, 1_000)


def checkpoint_accepted(note: str, quorum: int = len(WITNESSES)) -> bool:
    """Whether they accept a checkpoint with the cosignatures of so many of our witnesses."""
    try:
        read = aics.parse_note(note)
    except ValueError:
        return False
    witnesses = [aics.parse_vkey(witness_key(name).vkey()) for name in WITNESSES]
    return bool(aics.verify_checkpoint(read, aics.parse_vkey(LOG_KEY.vkey()), witnesses, quorum).ok)


def inclusion_accepted(claim: Inclusion) -> bool:
    return bool(aics.verify_leaf_inclusion(claim.entry, claim.index, claim.size, claim.path, claim.root))


def consistency_accepted(claim: Consistency) -> bool:
    return bool(aics.verify_consistency(claim.old, claim.new, claim.old_root, claim.new_root, claim.path))


def receipt_accepted(receipt: Receipt) -> bool:
    return checkpoint_accepted(receipt.note, 0) and inclusion_accepted(receipt.inclusion())


def test_they_accept_our_checkpoints_and_cosignatures_and_refuse_broken_ones(
    published: Published, chance: random.Random
) -> None:
    notes = [published.witnessed(0, note) for note in published.notes.values()]
    assert all(map(checkpoint_accepted, notes))
    assert not any(map(checkpoint_accepted, published.notes.values()))  # nobody has witnessed these
    for note in chance.sample(notes, 20):
        assert [what for what, broken in broken_notes(note, chance) if checkpoint_accepted(broken, 0)] == []
        line = chance.choice(note.splitlines()[-len(WITNESSES) :])
        at = chance.randrange(len(line) - 90, len(line) - 4)
        other = chance.choice([one for one in "Az09" if one != line[at]])
        assert not checkpoint_accepted(note.replace(line, line[:at] + other + line[at + 1 :]))


def test_they_accept_our_receipts_and_refuse_broken_ones(published: Published, chance: random.Random) -> None:
    receipts = published.receipts(chance, 60)
    assert all(map(receipt_accepted, receipts))
    broken = [one for receipt in receipts for one in receipt.broken(chance)]
    assert [what for what, receipt in broken if receipt_accepted(receipt)] == []


def test_they_accept_our_proofs_and_refuse_broken_ones(published: Published, chance: random.Random) -> None:
    inclusions, consistencies = published.inclusions(chance, 200), published.consistencies(chance, 200)
    assert all(map(inclusion_accepted, inclusions))
    assert all(map(consistency_accepted, consistencies))
    broken = [one for claim in inclusions for one in claim.broken(chance)]
    assert [what for what, claim in broken if inclusion_accepted(claim)] == []
    changed = [one for claim in consistencies for one in claim.broken(chance)]
    assert [what for what, claim in changed if consistency_accepted(claim)] == []


def audited(directory: Path, published: Published) -> int:
    """Entries in a published log whose every tile and bundle they find to be right."""
    reader, root = aics.FileSystemTileReader(directory), published.roots()[published.size]
    return int(aics.audit_tiles(reader, published.size, root).size)


def test_they_find_every_published_tile_and_entry_right_and_any_changed_one_wrong(
    published: Published, chance: random.Random, tmp_path: Path
) -> None:
    assert audited(published.tiles, published) == published.size
    tiles = list(tiles_of(published.size))
    for path in [tile.path for tile in tiles] + [tile.bundle_path for tile in tiles if tile.level == 0]:
        copy = tmp_path / path.replace("/", " ")
        shutil.copytree(published.tiles, copy)
        (copy / path).write_bytes(flipped((copy / path).read_bytes(), chance))
        with pytest.raises((aics.TileVerificationError, ValueError)):
            audited(copy, published)


def test_the_tiles_they_write_over_our_entries_are_ours_to_the_byte(published: Published) -> None:
    store = aics.MemoryTileStore()
    aics.IncrementalTileWriter(store).append(entry.raw for entry in published.entries)
    for tile in tiles_of(published.size):
        assert store.read(tile.path) == (published.tiles / tile.path).read_bytes()
        if tile.level == 0:
            assert store.read(tile.bundle_path) == (published.tiles / tile.bundle_path).read_bytes()


def test_their_proofs_are_ours_to_the_byte_and_we_accept_them(published: Published, chance: random.Random) -> None:
    ours: Log = published.office.notary.log
    theirs = aics.MerkleTree(entry.raw for entry in published.entries)
    for size in SIZES:
        tree, root = ours.tree(size), theirs.root(size)
        for index in {0, size - 1, *chance.sample(range(size), min(size, 15))}:
            path = theirs.inclusion_proof(index, size)
            assert path == tree.inclusion(index)
            assert root_from_inclusion(published.entries[index].leaf, index, size, path) == root
        for old in chance.sample(range(1, size), min(size - 1, 15)):
            path = theirs.consistency_proof(old, size)
            assert path == tree.consistency(old)
            check_consistency(old, theirs.root(old), size, root, path)


def theirs(key: SigningKey) -> Ed25519PrivateKey:
    """Our key as their library takes it."""
    return Ed25519PrivateKey.from_private_bytes(key.seed)


def test_we_open_the_checkpoints_and_cosignatures_they_write(chance: random.Random) -> None:
    witness = NoteKey(WITNESSES[0], seeded_key("their witness").public, COSIGNATURE)
    for size in (0, 1, 255, 65_537, 10**15):
        root = chance.randbytes(32)
        note = aics.sign_checkpoint(aics.Checkpoint(ORIGIN, size, root), theirs(LOG), ORIGIN).serialise()
        assert open_checkpoint(note, LOG_KEY) == Checkpoint(ORIGIN, size, root)
        blob, _ = aics.sign_cosignature(
            theirs(seeded_key("their witness")), witness.name, WITNESSED_AT, ORIGIN, size, root
        )
        assert open_cosignature(note + witness.line(blob), witness) == Cosignature(witness, WITNESSED_AT)
        with pytest.raises(EvidenceError):
            open_cosignature(note + witness.line(blob[:8] + flipped(blob[8:], chance)), witness)
