"""What is derived from the entries is damaged: in public, and in the database."""

import sqlite3
from contextlib import closing

from services.cli.installation import Installation
from tests.attacks.owner import change
from tests.attacks.scene import A, awaited, entries, published, running, sent_again, trail, weighed


def test_a_corrupted_published_tile(home: Installation) -> None:
    tile = home.tiles_path / "tile" / "0" / "000"
    true = tile.read_bytes()
    tile.write_bytes(bytes([true[0] ^ 1]) + true[1:])
    examined = trail("fsck", "--data", home.directory)
    assert examined.code == 1
    assert "is not what entries 0 to 255 make" in examined.text
    repaired = trail("fsck", "--repair-tiles", "--data", home.directory)
    assert repaired.code == 0, repaired.text
    assert "Everything that was compared agrees." in repaired.text
    assert tile.read_bytes() == true


def test_something_else_where_the_next_tile_belongs(home: Installation) -> None:
    size = len(entries(home))
    taken = home.tiles_path / "tile" / "0" / f"001.p/{size + 1 - 256}"
    taken.write_bytes(b"squatter")
    with running(home) as trial:
        assert trial.post(weighed(A, 70)), "publication never holds up sealing"
        sentence = "is not the one of this log: it was damaged, or another log is published there"
        assert awaited(lambda: sentence in trail("doctor", "--data", home.directory).text)
        assert taken.read_bytes() == b"squatter", "nothing published is overwritten"
        assert published(home) == size
    assert trail("fsck", "--repair-tiles", "--data", home.directory).code == 0
    assert published(home) == size + 1


def test_a_corrupted_subtree_in_the_database(home: Installation) -> None:
    last = entries(home)[255]  # of the first full tile
    with closing(sqlite3.connect(home.places.log)) as database:
        (true,) = database.execute("SELECT hashes FROM subtrees WHERE level = 0 AND n = 0").fetchone()
    change(home.places.log, ("UPDATE subtrees SET hashes = ? WHERE n = 0", (true[:32] + bytes(32) + true[64:],)))
    assert "has another hash for entry 1" in trail("fsck", "--data", home.directory).text
    with running(home) as trial:
        trial.on_line(lambda connected: sent_again(connected, last))
        assert "is not the one that was signed" in trial.last_words("audit"), "no receipt that does not hold"
    assert trail("fsck", "--repair-tiles", "--data", home.directory).code == 0
    with running(home) as trial:
        assert trial.post(weighed(A, 70))
    assert trail("verify", home.directory).code == 0
