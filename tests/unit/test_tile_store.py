"""Tiles can be published at any place of the kinds that are named; a place that fails is told in a sentence."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from services.audit import tile_store
from services.audit.tile_store import CHECKPOINT, TileStore, store_at
from shared.words import EvidenceError, TrailError
from tests.bucket import bucket, point_to

TILE = "tile/0/x001/000"


@pytest.fixture(params=["directory", "memory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TileStore]:
    if request.param == "bucket":
        with bucket(monkeypatch) as url:
            yield store_at(url)
    elif request.param == "directory":
        yield store_at(str(tmp_path / "a" / "new" / "directory"))
    else:
        yield TileStore(MemoryStore(), "memory")


def test_a_tile_is_written_once(store: TileStore) -> None:
    assert store.create(TILE, b"first") is True
    assert store.create(TILE, b"second") is False
    assert store.read(TILE) == b"first"


def test_what_is_not_there_reads_as_nothing(store: TileStore) -> None:
    assert store.read(TILE) is None
    assert store.paths("tile") == []


def test_the_checkpoint_is_written_again_and_again(store: TileStore) -> None:
    for text in (b"one", b"two"):
        store.write(CHECKPOINT, text)
        assert store.read(CHECKPOINT) == text


def test_files_are_listed_below_a_prefix_and_deleted(store: TileStore) -> None:
    paths = ["tile/0/000.p/7", "tile/0/000", "tile/entries/000"]
    for path in [*paths, CHECKPOINT]:
        store.write(path, b"x")
    assert sorted(store.paths("tile")) == sorted(paths)
    assert store.paths("tile/0/000.p") == ["tile/0/000.p/7"]
    store.remove(["tile/0/000.p/7"])
    store.remove(["tile/0/000.p/7"])
    store.remove([])
    assert sorted(store.paths("")) == [CHECKPOINT, "tile/0/000", "tile/entries/000"]


def test_a_bucket_serves_each_file_as_the_specification_wants() -> None:
    memory = MemoryStore()
    store = TileStore(memory, "memory")
    store.create(TILE, b"x")
    store.write(CHECKPOINT, b"x")
    assert memory.get(TILE).attributes["Content-Type"] == "application/octet-stream"
    assert "immutable" in memory.get(TILE).attributes["Cache-Control"]
    assert memory.get(CHECKPOINT).attributes["Content-Type"] == "text/plain; charset=utf-8"
    assert memory.get(CHECKPOINT).attributes["Cache-Control"] == "max-age=5"


def test_what_is_written_to_a_directory_is_on_its_disk_with_every_directory_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = tile_store._sync

    def watched(path: Path) -> None:
        sync(path)
        synced.append(path)

    monkeypatch.setattr(tile_store, "_sync", watched)
    store = store_at(str(tmp_path))
    store.create("tile/0/000", b"x")
    assert synced == [tmp_path / one for one in ("tile/0/000", "tile/0", "tile", ".")]
    synced.clear()
    store.create("tile/0/001", b"x")
    assert synced == [tmp_path / one for one in ("tile/0/001", "tile/0")]
    synced.clear()
    store.create("tile/0/001", b"x")  # a try before this one may have been cut off before it synced
    store.write(CHECKPOINT, b"x")
    assert synced == [tmp_path / one for one in ("tile/0/001", "tile/0", CHECKPOINT, ".")]


def test_what_a_killed_process_had_begun_to_write_is_not_listed(tmp_path: Path) -> None:
    store = store_at(str(tmp_path))
    store.create("tile/0/000", b"x")
    (tmp_path / "tile" / "0" / "001#1").write_bytes(b"half of")
    assert store.paths("tile") == ["tile/0/000"]
    assert store.create("tile/0/001", b"whole")


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("ftp://somewhere/else", "name a directory, s3://, gs:// or az://"),
        ("az://container/prefix", "tiles cannot be published at az://container/prefix: .*Account"),
        ("FILE", "tiles cannot be published at .*file: .*exists"),
    ],
)
def test_a_place_that_cannot_be_opened_is_told_in_a_sentence(tmp_path: Path, target: str, sentence: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrailError, match=sentence) as told:
        store_at(target.replace("FILE", str(tmp_path / "file")))
    assert "\n" not in str(told.value)


def test_a_directory_that_is_only_read_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match="there is no directory"):
        store_at(str(tmp_path / "tiles"), read_only=True)
    assert list(tmp_path.iterdir()) == []


CALLS: list[tuple[Callable[[TileStore], object], str]] = [
    (lambda store: store.read(TILE), f"^{TILE} at PLACE cannot be read: "),
    (lambda store: store.create(TILE, b"x"), f"^{TILE} cannot be published at PLACE: "),
    (lambda store: store.write(TILE, b"x"), f"^{TILE} cannot be published at PLACE: "),
    (lambda store: store.paths("tile"), "^PLACE cannot be listed: "),
    (lambda store: store.remove([TILE]), "^PLACE deletes nothing: "),
]


@pytest.mark.parametrize(("call", "sentence"), CALLS)
def test_a_bucket_that_cannot_be_reached_is_trouble_and_no_evidence(
    call: Callable[[TileStore], object], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_to(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(TrailError, match=sentence.replace("PLACE", "s3://trail/log")) as told:
            call(store_at("s3://trail/log"))
    assert not isinstance(told.value, EvidenceError)
    assert "\n" not in str(told.value)


def test_a_directory_that_cannot_be_written_is_trouble_and_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "tile").write_text("in the way")
    with pytest.raises(TrailError, match=f"^{TILE} cannot be published at {tmp_path}: ") as told:
        store_at(str(tmp_path)).create(TILE, b"x")
    assert not isinstance(told.value, EvidenceError)
