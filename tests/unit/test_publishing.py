"""A published log can be read by the specification alone, at every moment and whatever fails."""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore, MemoryStore

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log, Row
from services.audit.publishing import Publisher, is_superseded, paths_of, tile_at
from services.audit.tile_store import TileStore, store_at
from services.audit.tiles import WIDTH, Tile
from shared.checkpoint import Checkpoint
from shared.words import EvidenceError, TrailError
from tests import synthetic_log
from tests.bucket import bucket
from tests.notary import LOG, LOG_KEY, START, STRANGER, Office
from tests.owner import change, copy_of
from tests.tile_reader import fetch, read_published

T = TypeVar("T")
ENTRIES = 1_100
Kind = Callable[[], TileStore]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A real log of 1,100 entries, in batches of many sizes."""
    office = Office.founded(tmp_path_factory.mktemp("office"), clock="simulated", tick_seconds=60)
    chance = random.Random(11)
    now = START
    while office.notary.size < ENTRIES:
        now += timedelta(minutes=chance.choice([1, 2, 3, 40, 251, 255, 300]))
        office.move_clock(now)
    yield office
    office.notary.close()


@pytest.fixture
def copy(office: Office, tmp_path: Path) -> Path:
    """A copy of the log with nothing in it that refuses changes."""
    return copy_of(office.directory, tmp_path / "copy")


@pytest.fixture(params=["directory", "memory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TileStore]:
    if request.param == "bucket":
        with bucket(monkeypatch) as url:
            yield store_at(url)
    elif request.param == "directory":
        yield store_at(str(tmp_path / "tiles"))
    else:
        yield TileStore(MemoryStore(), "memory")


class Until(Checkpoints):
    """The checkpoints as they were when the last one signed was over ``size`` entries."""

    def __init__(self, checkpoints: Checkpoints, size: int) -> None:
        super().__init__(checkpoints.engine)
        self.size = size

    def latest(self) -> tuple[int, str] | None:
        return next(((size, note) for _, size, note in reversed(self.all())), None)

    def all(self, *, after: int = 0) -> list[tuple[int, int, str]]:
        return [one for one in super().all(after=after) if one[1] <= self.size]


def publisher(office: Office, store: TileStore, size: int = ENTRIES * 2) -> Publisher:
    return Publisher(store, office.notary.log, Until(office.notary.checkpoints, size), lambda: LOG_KEY)


def sizes_of(office: Office) -> list[int]:
    return [size for _, size, _ in office.notary.checkpoints.all()]


def stages(office: Office) -> list[int]:
    """Checkpoints to stop at: within the first tile, in the second, beyond several at once, and the last."""
    sizes = sizes_of(office)
    return [sizes[1], next(size for size in sizes if size > 260), sizes[-1]]


def contents(store: TileStore) -> dict[str, bytes]:
    return {path: store.read(path) or b"" for path in store.paths("")}


def in_memory(files: Mapping[str, bytes]) -> TileStore:
    store = TileStore(MemoryStore(), "memory")
    for path, content in files.items():
        store.write(path, content)
    return store


def test_what_is_published_is_read_by_the_specification_alone(office: Office, store: TileStore) -> None:
    entries = [entry.raw for entry in office.entries()]
    for size in stages(office):
        assert publisher(office, store, size).publish() == size
        assert read_published(contents(store)) == entries[:size]


def test_a_log_of_three_levels_is_read_by_the_specification_alone(tmp_path: Path) -> None:
    synthetic_log.found(tmp_path)
    store = in_memory({})
    for size in (65_500, 65_600):
        synthetic_log.grow(tmp_path, size, batch=5_000, entry_bytes=0)
        log = Log.at(tmp_path / "audit" / "log.sqlite", read_only=True)
        checkpoints = Checkpoints.at(tmp_path / "checkpoints" / "checkpoints.sqlite", read_only=True)
        assert Publisher(store, log, checkpoints, lambda: LOG_KEY).publish() == size
        log.close()
        checkpoints.close()
    files = contents(store)
    assert {"tile/1/000", "tile/2/000.p/1", "tile/0/256.p/64", "tile/entries/256.p/64"} <= files.keys()
    assert len(read_published(files)) == 65_600


def test_nothing_is_published_before_something_is_signed(office: Office, store: TileStore) -> None:
    assert publisher(office, store, 0).publish() == 0
    assert contents(store) == {}


def test_a_log_of_one_full_tile_has_no_empty_tile_beside_it(tmp_path: Path, store: TileStore) -> None:
    office = Office.founded(tmp_path / "office", clock="simulated", tick_seconds=60)
    office.move_clock(START + timedelta(minutes=WIDTH - office.notary.size))
    assert office.notary.size == WIDTH
    publisher(office, store).publish()
    last = {"tile/0/000", "tile/entries/000", "tile/1/000.p/1"}
    assert {path for path in contents(store) if ".p/" not in path or path in last} == last | {"checkpoint"}
    assert len(read_published(contents(store))) == WIDTH
    office.notary.close()


def test_every_signed_checkpoint_finds_its_tiles_and_not_the_latest_alone(office: Office) -> None:
    store = in_memory({})
    publisher(office, store).publish()
    files = contents(store)
    for size in sizes_of(office):
        for level in (0, 1):
            count = size >> (8 * level)
            if count % WIDTH:
                fetch(files, str(level), count // WIDTH, count % WIDTH)
        if size % WIDTH:
            fetch(files, "entries", size // WIDTH, size % WIDTH)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_files_are_the_same_whatever_was_published_in_between(office: Office, data: st.DataObject) -> None:
    sizes = sizes_of(office)
    last = data.draw(st.integers(1, len(sizes)))
    at_once = in_memory({})
    publisher(office, at_once, sizes[last - 1]).publish()
    little_by_little = in_memory({})
    for size in sorted(data.draw(st.sets(st.sampled_from(sizes[:last])))):
        publisher(office, little_by_little, size).publish()
    publisher(office, little_by_little, sizes[last - 1]).publish()
    assert contents(little_by_little) == contents(at_once)
    assert contents(at_once).keys() == {*paths_of(sizes[:last]), "checkpoint"}


def test_one_publisher_deletes_partial_tiles_as_the_full_ones_come(office: Office) -> None:
    store = in_memory({})
    checkpoints = Until(office.notary.checkpoints, 0)
    one = Publisher(store, office.notary.log, checkpoints, lambda: LOG_KEY)
    for size in sizes_of(office):
        checkpoints.size = size
        one.publish()
        assert not any(is_superseded(path, size) for path in contents(store))


# Failing at every point.


class PowerCutError(Exception):
    """The machine stops, as far as a publication can tell."""


class Failing(TileStore):
    """A real place that fails at its ``n``-th change: before it is made, or after."""

    def __init__(self, store: LocalStore | MemoryStore, n: int, *, made: bool) -> None:
        super().__init__(store, "here")
        self.left = n
        self.made = made

    def create(self, path: str, content: bytes) -> bool:
        return self._change(lambda: TileStore.create(self, path, content))

    def write(self, path: str, content: bytes) -> None:
        self._change(lambda: TileStore.write(self, path, content))

    def remove(self, paths: list[str]) -> None:
        for path in paths:
            self._change(lambda path=path: TileStore.remove(self, [path]))  # type: ignore[misc]

    def _change(self, change: Callable[[], T]) -> T:
        self.left -= 1
        if self.left < 0 and not self.made:
            raise PowerCutError
        done = change()
        if self.left < 0:
            raise PowerCutError
        return done


@pytest.mark.parametrize("kind", ["directory", "memory"])
@pytest.mark.parametrize("made", [False, True])
def test_a_publication_cut_off_anywhere_leaves_a_readable_log_and_is_completed(
    office: Office, tmp_path: Path, kind: str, made: bool
) -> None:
    entries = [entry.raw for entry in office.entries()]

    def cut_off(n: int, files: Mapping[str, bytes]) -> Failing:
        if kind == "memory":
            memory = MemoryStore()
            for path, content in files.items():
                memory.put(path, content)
            return Failing(memory, n, made=made)
        place = tmp_path / "tiles"
        shutil.rmtree(place, ignore_errors=True)
        for path, content in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        return Failing(LocalStore(place, mkdir=True), n, made=made)

    before: dict[str, bytes] = {}
    since, cuts = 0, 0
    for size in stages(office) if kind == "directory" else sizes_of(office)[::2]:
        undisturbed = cut_off(1_000_000, before)
        publisher(office, undisturbed, size).publish()
        for n in range(1_000_000 - undisturbed.left):
            store = cut_off(n, before)
            with pytest.raises(PowerCutError):
                publisher(office, store, size).publish()
            found = contents(store)
            if "checkpoint" in found:
                assert read_published(found) in (entries[:since], entries[:size])
            else:
                assert since == 0
            store.left = 1_000_000
            publisher(office, store, size).publish()
            assert contents(store) == contents(undisturbed)
            cuts += 1
        before, since = contents(undisturbed), size
    print(f"{cuts} cuts")
    assert cuts > 25


def test_a_place_that_deletes_nothing_keeps_its_partial_tiles_and_is_published_to(office: Office) -> None:
    class Forever(TileStore):
        def remove(self, paths: list[str]) -> None:
            raise TrailError(f"deleting {paths} is forbidden here")

    memory = MemoryStore()
    for size in stages(office):
        publisher(office, Forever(memory, "memory"), size).publish()
    assert len(read_published(contents(TileStore(memory, "memory")))) == sizes_of(office)[-1]
    assert any(is_superseded(path, ENTRIES) for path in contents(TileStore(memory, "memory")))


def test_what_is_signed_while_a_publication_begins_waits_for_the_next(office: Office) -> None:
    class Growing(Until):
        def latest(self) -> tuple[int, str] | None:
            found = super().latest()
            self.size = ENTRIES * 2
            return found

    store = in_memory({})
    size = stages(office)[1]
    one = Publisher(store, office.notary.log, Growing(office.notary.checkpoints, size), lambda: LOG_KEY)
    assert one.publish() == size
    assert contents(store) == published(office, size)
    assert one.publish() == sizes_of(office)[-1]
    assert contents(store) == published(office)


def test_a_checkpoint_kept_under_another_size_is_never_published(office: Office) -> None:
    class Moved(Checkpoints):
        def latest(self) -> tuple[int, str] | None:
            return next((size + 1, note) for _, size, note in self.all())

    store = in_memory({})
    moved = Moved(office.notary.checkpoints.engine)
    with pytest.raises(EvidenceError, match="what is kept as the checkpoint over 2 entries is over 1"):
        Publisher(store, office.notary.log, moved, lambda: LOG_KEY).publish()
    assert contents(store) == {}


def test_publishing_again_writes_nothing(office: Office) -> None:
    memory = MemoryStore()
    publisher(office, TileStore(memory, "memory")).publish()
    publisher(office, Failing(memory, 0, made=False)).publish()


def test_entries_are_read_a_bundle_at_a_time(office: Office) -> None:
    class Watched(Log):
        asked = 0

        def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
            self.asked = max(self.asked, (self.size() if stop is None else stop) - start)
            return super().rows(start, stop)

    log = Watched(office.notary.log.engine)
    store = in_memory({})
    Publisher(store, log, office.notary.checkpoints, lambda: LOG_KEY).publish()
    assert log.asked == WIDTH


# What stands in the way.


def assert_refused(office: Office, files: dict[str, bytes], match: str, size: int = ENTRIES * 2) -> TrailError:
    store = in_memory(files)
    with pytest.raises(TrailError, match=match) as refusal:
        publisher(office, store, size).publish()
    assert {path: contents(store)[path] for path in files} == files
    assert contents(store).get("checkpoint") == files.get("checkpoint")
    return refusal.value


def published(office: Office, size: int = ENTRIES * 2) -> dict[str, bytes]:
    store = in_memory({})
    publisher(office, store, size).publish()
    return contents(store)


@pytest.mark.parametrize("path", ["tile/0/003", "tile/entries/003", "tile/1/000.p/4"])
def test_a_tile_that_is_not_this_logs_is_named_and_not_overwritten(office: Office, path: str) -> None:
    files = published(office, stages(office)[0]) | {path: b"another log's"}
    told = assert_refused(office, files, f"^{path} at memory is not the one of this log.*fsck --repair-tiles")
    assert not isinstance(told, EvidenceError)  # whoever can write there must not be able to stop the notary


def test_nothing_is_published_over_a_larger_checkpoint_of_this_log(office: Office) -> None:
    first, second, _ = stages(office)
    told = assert_refused(office, published(office, second), "back-up was restored", first)
    assert isinstance(told, EvidenceError)


def test_nothing_is_published_over_another_history_of_this_log(office: Office) -> None:
    size = stages(office)[1]
    fork = Checkpoint(LOG_KEY.name, size, b"\x07" * 32).sign(LOG).encode()
    told = assert_refused(office, published(office, size) | {"checkpoint": fork}, "Keep both")
    assert isinstance(told, EvidenceError)


@pytest.mark.parametrize(
    "checkpoint",
    [
        b"",
        b"\xff\x00 no note at all",
        Checkpoint(LOG_KEY.name, 5, b"\x07" * 32).sign(STRANGER).encode(),
        Checkpoint("elsewhere.example/log", 5, b"\x07" * 32).sign(LOG).encode(),
    ],
)
def test_nothing_is_published_over_what_is_no_checkpoint_of_this_log(office: Office, checkpoint: bytes) -> None:
    told = assert_refused(office, {"checkpoint": checkpoint}, "is not one of this log")
    assert not isinstance(told, EvidenceError)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE entries SET entry = CAST(entry || x'20' AS BLOB) WHERE idx = 700", "not those that were signed"),
        ("UPDATE entries SET entry = CAST(entry || x'20' AS BLOB) WHERE idx = 1", "not those of this database"),
        ("DELETE FROM entries WHERE idx = 700", "entry 700 is missing"),
        ("DELETE FROM entries WHERE idx = 1", "entry 1 is missing"),
        ("DELETE FROM entries WHERE idx >= 900", "entry 900 is missing"),
    ],
)
def test_entries_that_are_not_those_that_were_signed_are_never_published(
    office: Office, copy: Path, statement: str, sentence: str
) -> None:
    before = published(office, stages(office)[0])
    store = in_memory(before)
    change(copy, (statement, ()))
    log = Log.at(copy / "audit" / "log.sqlite", read_only=True)
    with pytest.raises(EvidenceError, match=sentence):
        Publisher(store, log, office.notary.checkpoints, lambda: LOG_KEY).publish()
    assert contents(store) == before
    log.close()


@pytest.mark.parametrize("column", ["root", "hashes"])
def test_what_is_stored_of_the_tree_is_not_what_is_published_of_it(office: Office, copy: Path, column: str) -> None:
    change(copy, (f"UPDATE subtrees SET {column} = zeroblob(length({column})) WHERE n > 0", ()))  # noqa: S608
    log = Log.at(copy / "audit" / "log.sqlite", read_only=True)
    store = in_memory({})
    Publisher(store, log, office.notary.checkpoints, lambda: LOG_KEY).publish()
    assert contents(store) == published(office)
    log.close()


def test_cosignatures_are_published_when_they_come(office: Office) -> None:
    store = in_memory({})
    lines: list[str] = []

    def note_of(size: int, note: str) -> str:
        assert size == sizes_of(office)[-1]
        return note + "".join(lines)

    one = Publisher(store, office.notary.log, office.notary.checkpoints, lambda: LOG_KEY, note_of)
    one.publish()
    alone = contents(store)
    lines.append("— witness.example AAAAAAAA\n")
    one.publish()
    assert contents(store) == alone | {"checkpoint": alone["checkpoint"] + lines[0].encode()}


# Making it again.


def damaged(office: Office) -> dict[str, bytes]:
    files = published(office)
    del files["tile/0/001"]
    return files | {
        "checkpoint": b"nonsense",
        "tile/entries/002": files["tile/entries/002"][:-1],
        "tile/1/000.p/4": b"\x00" * 128,
        "tile/0/000.p/6": b"superseded",
        "tile/0/x001/000": b"far beyond",
        "tile/none": b"no tile",
        "index.html": b"not ours",
    }


def test_everything_published_is_made_again_from_the_database(office: Office) -> None:
    store = in_memory(damaged(office))
    changed = publisher(office, store).rebuild()
    assert contents(store) == published(office) | {"index.html": b"not ours"}
    assert sorted(changed) == [
        "tile/0/000.p/6",
        "tile/0/001",
        "tile/0/x001/000",
        "tile/1/000.p/4",
        "tile/entries/002",
        "tile/none",
    ]
    assert publisher(office, store).rebuild() == []


def test_nothing_is_made_again_over_evidence_against_this_log(office: Office) -> None:
    first, second, _ = stages(office)
    fork = Checkpoint(LOG_KEY.name, first, b"\x07" * 32).sign(LOG).encode()
    ahead = published(office, second)["checkpoint"]
    for checkpoint in (fork, ahead):
        files = damaged(office) | {"checkpoint": checkpoint}
        store = in_memory(files)
        with pytest.raises(EvidenceError, match=r"Keep both|back-up was restored"):
            publisher(office, store, first).rebuild()
        assert contents(store) == files


def test_nothing_is_made_again_from_entries_that_are_not_those_that_were_signed(office: Office, copy: Path) -> None:
    change(copy, ("UPDATE entries SET entry = CAST(entry || x'20' AS BLOB) WHERE idx = 3", ()))
    log = Log.at(copy / "audit" / "log.sqlite", read_only=True)
    files = damaged(office)
    store = in_memory(files)
    with pytest.raises(EvidenceError, match="not those that were signed"):
        Publisher(store, log, office.notary.checkpoints, lambda: LOG_KEY).rebuild()
    assert contents(store) == files
    log.close()


# Paths.


@given(
    st.builds(Tile, st.integers(0, 7), st.integers(0, 10**7), st.integers(1, WIDTH)),
)
def test_a_path_names_its_tile(tile: Tile) -> None:
    assert tile_at(tile.path) == tile
    assert tile_at(tile.bundle_path) == Tile(0, tile.n, tile.width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/07",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/1",
        "tile/0/001/002",
        "tile/0",
        "tile/data/000",
        "checkpoint",
    ],
)
def test_a_path_that_the_specification_does_not_have_names_no_tile(path: str) -> None:
    assert tile_at(path) is None
