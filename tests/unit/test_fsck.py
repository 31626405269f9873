"""`trail fsck` names every disagreement between what is kept of a log, and makes again only what is derived."""

import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore

from services.audit.checkpoints import Checkpoints
from services.audit.findings import MOST_NAMED, REMEDIES, Findings, Kind
from services.audit.fsck import Examination
from services.audit.heads import Heads
from services.audit.log import Log
from services.audit.published import Published
from services.audit.publishing import Publisher
from services.audit.tile_store import TileStore, store_at
from services.cli import fsck
from shared.words import TrailError
from tests.damage import DAMAGE, check, copy_to, in_file, in_log, kept, make, told
from tests.notary import LOG_KEY, START, Office


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody changes it."""
    directory = tmp_path_factory.mktemp("original")
    make(directory)
    return directory


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return copy_to(original, tmp_path / "home")


def test_a_log_that_nobody_touched_agrees_with_everything(
    original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = check(original, capsys)
    assert (code, report["disagreements"], report["more"], report["good"]) == (0, [], {}, True)
    assert report["looked"] == [
        "9 receipts in 1 outboxes",
        "24 checkpoints, the last over 1193 entries",
        "1193 entries and what is stored of their tree",
        f"18 files at {original / 'tiles'}; 1193 of 1193 signed entries are published",
    ]
    assert [one.partition(":")[0] for one in report["not_looked"]] == ["LOG", "witnesses"]


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.part11("11.10(c)")
def test_every_kind_of_damage_is_named(
    home: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsck, "_SEALING_PATIENCE", 0.0)
    damage, sentence = DAMAGE[what]
    damage(home)
    code, report = check(home, capsys)
    assert code == 1
    assert sentence.replace("TILES", str(home / "tiles")) in told(report)
    assert not report["good"]


def test_one_disagreement_hides_no_other(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at_once = [
        "an entry's body is changed",
        "an entry is no bytes",
        "an entry is hidden before the first",
        "a stored subtree is deleted",
        "a stored subtree's root is changed",
        "a stored subtree is invented",
        "a checkpoint is deleted",
        "a checkpoint is kept under another size",
        "a published tile is deleted",
        "a published tile is changed",
        "a published bundle is cut short",
        "something is published among the tiles",
        "the published checkpoint is of another history",
        "a receipt is none",
        "a receipt is for an entry that was changed since",
    ]
    for what in at_once:
        DAMAGE[what][0](home)
    _, report = check(home, capsys)
    unlike = {  # one kept checkpoint cannot be deleted and moved, and behind a missing entry there is no tree
        "a checkpoint is kept under another size": "",
        "the published checkpoint is of another history": "another published history: checkpoint at TILES is over "
        "another tree than the checkpoint over 1193 entries kept here",
    }
    for what in at_once:
        assert unlike.get(what, DAMAGE[what][1]).replace("TILES", str(home / "tiles")) in [*told(report), ""]
    assert any("entry 200 is not there to make them of" in one for one in report["not_looked"])


def test_an_entry_is_named_once_however_much_is_wrong_with_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in ("an entry is no entry", "an entry's link is changed"):
        DAMAGE[what][0](home)
    _, report = check(home, capsys)
    assert [one for one in told(report) if one.startswith("changed entry")] == [
        DAMAGE["an entry's link is changed"][1],
        DAMAGE["an entry is no entry"][1],
    ]


def test_what_a_missing_entry_was_part_of_is_not_said_to_differ(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGE["an entry is deleted"][0](home)
    _, report = check(home, capsys)
    assert told(report) == [DAMAGE["an entry is deleted"][1]]
    assert report["not_looked"][:2] == [
        "15 roots of trees of more than 200 entries: entry 200 is not there to make them of",
        f"6 files at {home / 'tiles'}: entries they hold are missing",
    ]


def test_a_publication_that_goes_on_meanwhile_is_no_disagreement(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tiles of the next checkpoint are there, partial ones of this one are gone, and it stands there still."""
    in_file("checkpoint", lambda _: kept(home)[930].encode())(home)
    code, report = check(home, capsys)
    assert (code, told(report)) == (0, [])
    assert f"18 files at {home / 'tiles'}; 930 of 1193 signed entries are published" in report["looked"]


def test_a_flood_of_one_kind_is_named_in_part_and_counted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(MOST_NAMED + 30):
        in_file(f"tile/stray{n:03}", lambda _: b"x")(home)
    in_file("tile/0/001", None)(home)
    code, report = check(home, capsys)
    assert code == 1
    assert report["more"] == {"stray tile": 30}
    assert len(told(report)) == MOST_NAMED + 1
    fsck.check(home)
    printed = capsys.readouterr()
    assert "and 30 more: stray tile" in printed.err
    assert f"{MOST_NAMED + 31} disagreements." in printed.out


def test_every_kind_has_a_remedy_and_it_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert REMEDIES.keys() == set(Kind)
    in_file("tile/0/001", None)(home)
    fsck.check(home)
    assert REMEDIES[Kind.TILE_MISSING] in " ".join(capsys.readouterr().err.split())


def test_what_could_not_be_looked_at_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(home / "tiles")
    (home / "outbox" / "site-999.sqlite").write_bytes(b"no database at all, and longer than one would think" * 20)
    code, report = check(home, capsys)
    assert code == 0
    assert f"what is published: there is no directory {home / 'tiles'}" in report["not_looked"]
    assert "LOG: the stack is down" in report["not_looked"]
    assert "site-999.sqlite: file is not a database" in " ".join(report["not_looked"])
    assert "witnesses: this installation has no policy that names any" in report["not_looked"]
    assert not (home / "tiles").exists()


def test_a_place_that_fails_half_way_is_said_and_hides_nothing_else(original: Path) -> None:
    class Failing(TileStore):
        def read(self, path: str) -> bytes | None:
            if path == "tile/0/002":
                raise TrailError("the bucket is on fire")
            return super().read(path)

    findings = Findings()
    log = Log.at(original / "audit" / "log.sqlite", read_only=True)
    place = Failing(LocalStore(original / "tiles"), "here")
    published = Published(place, LOG_KEY, findings)
    published.expect(list(kept(original)), Heads())
    Examination(log, 1193, Heads(), findings, published).run()
    log.close()
    assert findings.good
    assert findings.not_looked == ["the rest of what is published: the bucket is on fire"]
    assert findings.looked == ["1193 entries and what is stored of their tree"]


def test_a_partial_tile_that_goes_while_it_is_looked_at_was_replaced_and_a_full_one_was_not(original: Path) -> None:
    class Going(TileStore):
        def read(self, path: str) -> bytes | None:
            return None if path in {"tile/1/000.p/3", "tile/0/002"} else super().read(path)

    findings = Findings()
    published = Published(Going(LocalStore(original / "tiles"), "here"), LOG_KEY, findings)
    published.expect(list(kept(original)), Heads())
    with closing(Log.at(original / "audit" / "log.sqlite", read_only=True)) as log:
        Examination(log, 1193, Heads(), findings, published).run()
    assert [one.where for one in findings.named] == ["tile/0/002 at here"]


def test_the_receipts_of_the_deciding_service_are_looked_at_too(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "screening").mkdir()
    shutil.copy(home / "outbox" / "site-701.sqlite", home / "screening" / "screening.sqlite")
    assert "18 receipts in 2 outboxes" in check(home, capsys)[1]["looked"]


def test_looking_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def files() -> dict[Path, bytes]:
        kept = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
        return {path: path.read_bytes() for path in kept}

    before = files()
    check(home, capsys)
    assert files() == before


def test_a_directory_without_a_log_cannot_be_looked_at(home: Path) -> None:
    (home / "audit" / "log.sqlite").unlink()
    with pytest.raises(TrailError, match="there is no log at"):
        fsck.check(home)


def test_a_log_that_is_sealed_and_published_meanwhile_agrees(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    office = Office(home)
    office.now = START + timedelta(days=2)
    checkpoints = Checkpoints.at(home / "checkpoints" / "checkpoints.sqlite")
    publisher = Publisher(store_at(str(home / "tiles")), office.notary.log, checkpoints, lambda: LOG_KEY)

    def seal() -> None:
        for minute in range(40):
            office.move_clock(office.now + timedelta(minutes=minute))
            publisher.publish()

    sealing = threading.Thread(target=seal)
    sealing.start()
    looks = 0
    while sealing.is_alive():
        code, report = check(home, capsys)
        assert (code, told(report)) == (0, [])
        looks += 1
    sealing.join()
    office.notary.close()
    checkpoints.close()
    print(f"{looks} looks while {office.notary.size} entries were sealed")
    assert looks > 3


# Making it again.


def stored(directory: Path) -> list[object]:
    with closing(sqlite3.connect(directory / "audit" / "log.sqlite")) as database:
        return database.execute("SELECT * FROM subtrees ORDER BY level, n").fetchall()


def published(directory: Path) -> dict[str, bytes]:
    tiles = directory / "tiles"
    return {str(path.relative_to(tiles)): path.read_bytes() for path in tiles.rglob("*") if path.is_file()}


DERIVED = [
    "a stored subtree is deleted",
    "a stored subtree's root is changed",
    "a stored subtree is invented",
    "a published tile is deleted",
    "a published tile is changed",
    "a published bundle is cut short",
    "a tile is published that nobody signed",
    "something is published among the tiles",
    "the published checkpoint is none",
]


def test_what_is_derived_is_made_again_from_the_entries(
    original: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in DERIVED:
        DAMAGE[what][0](home)
    code, report = check(home, capsys, repair_tiles=True)
    assert (code, report["disagreements"], report["refused"]) == (0, [], "")
    assert len(report["repaired"]) == 5
    assert stored(home) == stored(original)
    assert published(home) == published(original)
    with pytest.raises(sqlite3.IntegrityError, match="the log is append-only"):
        in_log("DELETE FROM subtrees")(home)


@pytest.mark.parametrize("what", ["the table of subtrees is dropped", "the published checkpoint is deleted"])
def test_what_is_lost_as_a_whole_is_made_again(
    original: Path, home: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGE[what][0](home)
    assert check(home, capsys, repair_tiles=True)[0] == 0
    assert (stored(home), published(home)) == (stored(original), published(original))


def test_a_log_is_published_anew_elsewhere(original: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = home / "a" / "new" / "place"
    code, report = check(home, capsys, repair_tiles=True, tiles=str(elsewhere))
    assert (code, len(report["repaired"])) == (0, 18)
    assert published(original) == {
        str(path.relative_to(elsewhere)): path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()
    }


NOT_SIGNED = [
    "an entry's body is changed",
    "the last entry is changed",
    "an entry is no entry",
    "an entry is deleted",
    "an entry is hidden before the first",
    "the last entries are cut off",
    "an older file of checkpoints is put back",
    "the checkpoints make no sense",
]
CONTRADICTED = ["the published checkpoint is ahead", "the published checkpoint is of another history"]


@pytest.mark.parametrize("what", [*NOT_SIGNED, *CONTRADICTED])
def test_nothing_is_made_again_from_what_does_not_verify(
    home: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsck, "_SEALING_PATIENCE", 0.0)
    for damage in (what, "a published tile is changed", "a stored subtree's root is changed"):
        DAMAGE[damage][0](home)
    before, subtrees = published(home), stored(home)
    code, report = check(home, capsys, repair_tiles=True)
    assert (code, report["repaired"], published(home)) == (1, None, before)
    assert (stored(home) == subtrees) == (what in NOT_SIGNED)
    assert report["refused"]
    assert DAMAGE["a published tile is changed"][1].replace("TILES", str(home / "tiles")) in told(report)
    assert fsck.check(home, repair_tiles=True) == 1
    assert " ".join(report["refused"].split()) in " ".join(capsys.readouterr().err.split())


def test_nothing_is_made_again_while_a_notary_is_at_work(home: Path) -> None:
    office = Office(home)
    with pytest.raises(TrailError, match="another notary is writing the log"):
        fsck.check(home, repair_tiles=True)
    office.notary.close()


def test_a_notary_goes_on_with_what_was_made_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DAMAGE["a stored subtree is deleted"][0](home)
    assert check(home, capsys, repair_tiles=True)[0] == 0
    office = Office(home)
    office.now = START + timedelta(days=2)
    office.move_clock(office.now + timedelta(minutes=400))
    assert check(home, capsys)[0] == 0
    office.notary.close()
