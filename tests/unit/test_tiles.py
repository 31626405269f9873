"""Tiles are c2sp.org/tlog-tiles', and what is stored of the tree gives the tree's own proofs."""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.log import Log
from services.audit.tiles import WIDTH, Edge, Tile, read_bundle, tiles_of, write_bundle
from shared.entry import leaf_hash
from shared.merkle import Frontier, check_consistency, root_from_inclusion
from shared.words import EvidenceError, LeafHash, LogIndex
from tests.notary import START, Office
from tests.owner import copy_of


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999, 1), "tile/0/999.p/1"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(2, 1234067, 255), "tile/2/x001/x234/067.p/255"),
    ],
)
def test_a_tile_stands_where_the_specification_says(tile: Tile, path: str) -> None:
    assert tile.path == path


def test_a_bundle_of_entries_stands_beside_its_tile() -> None:
    assert Tile(0, 1234067, 7).bundle_path == "tile/entries/x001/x234/067.p/7"


def test_a_tree_of_70000_has_the_tiles_of_the_specifications_example() -> None:
    tiles = list(tiles_of(70_000))
    assert [tile for tile in tiles if tile.width < WIDTH] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert sum(tile.level == 0 for tile in tiles) == 274
    assert sum(tile.level == 1 for tile in tiles) == 2


def test_a_tree_of_256_has_a_full_tile_and_one_hash_above_it() -> None:
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]


@given(st.integers(0, 200_000), st.integers(0, 2_000))
def test_publishing_what_is_new_leaves_nothing_out(since: int, grown: int) -> None:
    size = since + grown
    assert set(tiles_of(since)) | set(tiles_of(size, since)) >= set(tiles_of(size))
    assert all(tile in set(tiles_of(size)) for tile in tiles_of(size, since))


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_reads_back_to_its_entries(entries: list[bytes]) -> None:
    assert read_bundle(write_bundle(entries)) == entries


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5), st.data())
def test_a_bundle_that_is_cut_off_is_refused_or_ends_at_an_entry(entries: list[bytes], data: st.DataObject) -> None:
    whole = write_bundle(entries)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert read_bundle(cut) == entries[: len(read_bundle(cut))]
    except EvidenceError as error:
        assert "middle of an entry" in str(error)  # noqa: PT017


def test_an_edge_that_grows_gives_each_full_tile_once_and_its_root() -> None:
    leaves = [hashlib.sha256(at.to_bytes(4, "big")).digest() for at in range(66_000)]
    edge, full, chance, at = Edge(), [], random.Random(7), 0
    while at < len(leaves):
        step = chance.randrange(1, 900)
        full += edge.grow(leaves[at : at + step])
        at += step
    assert [tile for tile, _, _ in full if tile.level == 0] == [Tile(0, n) for n in range(257)]
    assert [tile for tile, _, _ in full if tile.level == 1] == [Tile(1, 0)]
    for tile, root, joined in full:
        span = WIDTH ** (tile.level + 1)
        covered = [LeafHash(one) for one in leaves[tile.n * span : (tile.n + 1) * span]]
        assert Frontier().extend(covered).root() == root
        if tile.level == 0:
            assert joined == b"".join(covered)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A real log of 1,100 entries, in batches of many sizes."""
    office = Office.founded(tmp_path_factory.mktemp("office"), clock="simulated", tick_seconds=60)
    chance = random.Random(3)
    now = START
    while office.notary.size < 1_100:
        now += timedelta(minutes=chance.choice([1, 2, 60, 250, 251, 255, 300]))
        office.move_clock(now)
    yield office
    office.notary.close()


def test_every_proof_from_stored_subtrees_holds_in_every_signed_tree(office: Office) -> None:
    log = office.notary.log
    leaves = [entry.leaf for entry in log.entries()]
    trees = {size: Frontier().extend(leaves[:size]).root() for _, size, _ in office.notary.checkpoints.all()}
    chance = random.Random(5)
    for size, root in trees.items():
        tree = log.tree(size)
        assert tree.root() == root
        for index in {0, size - 1, *chance.sample(range(size), min(size, 20))}:
            assert root_from_inclusion(leaves[index], index, size, tree.inclusion(index)) == root
        for old, old_root in trees.items():
            if old <= size:
                check_consistency(old, old_root, size, root, tree.consistency(old))


@pytest.fixture
def directory(office: Office, tmp_path: Path) -> Path:
    """A copy of the log, its triggers dropped, as a database's owner can."""
    return copy_of(office.directory, tmp_path)


def test_subtrees_that_are_missing_are_made_again_from_the_entries(office: Office, directory: Path) -> None:
    path = directory / "audit" / "log.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM subtrees WHERE n >= 1")
    log = Log.at(path)
    assert log.tree(1_000).inclusion(3) == office.notary.log.tree(1_000).inclusion(3)
    with sqlite3.connect(path) as healed, sqlite3.connect(office.directory / "audit" / "log.sqlite") as original:
        rows = "SELECT * FROM subtrees ORDER BY level, n"
        assert healed.execute(rows).fetchall() == original.execute(rows).fetchall()
    log.close()


def test_a_missing_subtree_is_named_to_a_reader_who_may_not_heal_it(directory: Path) -> None:
    path = directory / "audit" / "log.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM subtrees WHERE n = 2")
    log = Log.at(path, read_only=True)
    with pytest.raises(EvidenceError, match=r"stored subtree 0/2 is missing.*fsck --repair-tiles"):
        log.tree(1_000).inclusion(600)
    log.close()


def test_a_receipt_is_never_made_from_a_changed_subtree(directory: Path) -> None:
    with sqlite3.connect(directory / "audit" / "log.sqlite") as database:
        database.execute("UPDATE subtrees SET hashes = zeroblob(8192) WHERE level = 0 AND n = 1")
    copy = Office(directory)
    with pytest.raises(EvidenceError, match="is not the one that was signed"):
        copy.notary.receipts_of([LogIndex(300)])
    copy.notary.close()


@pytest.mark.parametrize("statement", ["UPDATE subtrees SET root = x'00'", "DELETE FROM subtrees"])
def test_the_database_itself_rejects_changes_to_the_subtrees(office: Office, statement: str) -> None:
    connection = sqlite3.connect(office.directory / "audit" / "log.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="the log is append-only"):
        connection.execute(statement)
    connection.close()


def test_stored_hashes_are_the_entries_own(office: Office) -> None:
    log = office.notary.log
    stored = log.subtrees.hashes(Tile(0, 2))
    assert list(stored) == [leaf_hash(row.raw) for row in log.rows(2 * WIDTH, 3 * WIDTH)]
