"""A log published as static files (c2sp.org/tlog-tiles), in a directory or a bucket that anyone may read.

Everything published is made from the database and never the other way round. A tile is written once; the file
``checkpoint`` is written last, and again and again, and says how far the log is published. So a crash at any
point leaves a log that can be read, and the next publication goes on where that file says.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, zip_longest
from typing import Final

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.tile_store import CHECKPOINT, TileStore
from services.audit.tiles import WIDTH, Tile, tiles_of, write_bundle
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.entry import leaf_hash
from shared.merkle import Tree
from shared.note import LogKey
from shared.words import EvidenceError, TrailError

TILES: Final = "tile"
_PATH: Final = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?")


class Publisher:
    """Publishes one log at one place. One publisher a place: it is the notary that runs it.

    ``keys`` gives the log's keys as they are now. ``note_of`` may add witnesses' lines to a signed checkpoint of
    a size before it is published.
    """

    def __init__(
        self,
        store: TileStore,
        log: Log,
        checkpoints: Checkpoints,
        keys: Callable[[], LogKey],
        note_of: Callable[[int, str], str] = lambda _size, note: note,
    ) -> None:
        self._store = store
        self._log = log
        self._checkpoints = checkpoints
        self._keys = keys
        self._note_of = note_of
        self._tidy = False  # whether no partial tiles are left that a full one has replaced, as far as we know

    def publish(self) -> int:
        """Bring the place up to the latest signed checkpoint; returns that checkpoint's tree size, 0 for none.

        Raises TrailError when the place cannot be reached or holds something else than this log: nothing there is
        overwritten, and whoever can write there must not be able to stop the notary. Raises EvidenceError when
        there is another log under our key: a published checkpoint that this log has signed and that contradicts
        it, or a database that is not what was signed.
        """
        latest = self._checkpoints.latest()
        if latest is None:
            return 0
        signed, before = self._signed(*latest), self._store.read(CHECKPOINT)
        since = 0 if before is None else self._open(before, signed).size
        self._check_new(since, signed)
        for path, content in files_of(self._log, self._sizes(since, signed), since):
            if not self._store.create(path, content) and self._store.read(path) != content:
                raise TrailError(
                    f"{path} at {self._store.name} is not the one of this log: it was damaged, or another log is "
                    "published there. Nothing was overwritten; stop the notary and run `trail fsck --repair-tiles`"
                )
        # If we die before this, the same files are found to be equal next time.
        self._publish_checkpoint(before, *latest)
        # If we die before this, the next publication of a new process deletes what is left.
        if since // WIDTH < signed.size // WIDTH or not self._tidy:
            self._prune(signed.size)
        return signed.size

    def rebuild(self) -> list[str]:
        """Make everything published again from the database; returns the paths that were changed or removed.

        Raises EvidenceError, and changes nothing, when the entries are not those that were signed, or when a
        checkpoint is published that the log's key has signed and that contradicts them: that is evidence.
        """
        latest = self._checkpoints.latest()
        if latest is None:
            return []
        signed, before = self._signed(*latest), self._store.read(CHECKPOINT)
        self._check_new(0, signed)
        if before is not None and self._is_signed(before):
            self._open(before, signed)
        changed, needed = [], set[str]()
        for path, content in files_of(self._log, self._sizes(0, signed)):
            needed.add(path)
            if self._store.read(path) != content:
                self._store.write(path, content)
                changed.append(path)
        self._publish_checkpoint(before, *latest)
        stray = [path for path in self._store.paths(TILES) if path not in needed]
        self._store.remove(stray)
        return changed + stray

    def _signed(self, size: int, note: str) -> Checkpoint:
        signed = open_checkpoint(note, self._keys())
        if signed.size != size:
            raise EvidenceError(f"what is kept as the checkpoint over {size} entries is over {signed.size}")
        return signed

    def _is_signed(self, published: bytes) -> bool:
        try:
            open_checkpoint(_text(published), self._keys())
        except EvidenceError:
            return False
        return True

    def _open(self, published: bytes, signed: Checkpoint) -> Checkpoint:
        """The published checkpoint: never go back from it, and never go on from another history."""
        try:
            checkpoint = open_checkpoint(_text(published), self._keys())
        except EvidenceError as error:
            raise TrailError(
                f"the checkpoint published at {self._store.name} is not one of this log ({error}). Publish "
                "elsewhere, or if only this log belongs there, stop the notary and run `trail fsck --repair-tiles`"
            ) from None
        what = f"the checkpoint published at {self._store.name} is over {checkpoint.size} entries"
        if checkpoint.size > signed.size:
            raise EvidenceError(
                f"{what} and the newest one here over {signed.size}: a back-up was restored. Put back the newest "
                "database and checkpoints; what is published stays as it is"
            )
        if self._tree(checkpoint.size).root() != checkpoint.root:
            raise EvidenceError(
                f"{what} that are not those of this database, and this log's key has signed it. Keep both; "
                "`trail fsck` says what else differs"
            )
        return checkpoint

    def _check_new(self, since: int, signed: Checkpoint) -> None:
        """The entries about to be published must lead from what is published to what is signed."""
        tree = self._tree(since).frontier()
        for start in range(since, signed.size, WIDTH):
            entries = _entries(self._log, start, min(start + WIDTH, signed.size))
            tree = tree.extend([leaf_hash(raw) for raw in entries])
        if tree.root() != signed.root:
            raise EvidenceError(
                f"the database's first {signed.size} entries are not those that were signed, so they are not "
                "published; `trail fsck` says what was changed"
            )

    def _sizes(self, since: int, signed: Checkpoint) -> list[int]:
        # A notary that goes on sealing meanwhile may have signed another one.
        return [size for _, size, _ in self._checkpoints.all(after=since) if size <= signed.size]

    def _publish_checkpoint(self, before: bytes | None, size: int, note: str) -> None:
        text = self._note_of(size, note).encode()
        if text != before:
            self._store.write(CHECKPOINT, text)

    def _prune(self, size: int) -> None:
        """Delete partial tiles whose full tile is published; kept, they would outgrow the log by far.

        The specification allows it. A place that deletes nothing keeps them, which does no harm.
        """
        try:
            stale = [path for path in self._store.paths(TILES) if is_superseded(path, size)]
            self._store.remove(stale)
        except TrailError:
            self._tidy = False
        else:
            self._tidy = True

    def _tree(self, size: int) -> Tree:
        _entries(self._log, size - size % WIDTH, size)  # the stored tree needs them, and this says what is missing
        return self._log.tree(size)


def files_of(log: Log, sizes: Sequence[int], since: int = 0) -> Iterator[tuple[str, bytes]]:
    """(path, content) of what a publication of ``sizes`` entries adds to one of ``since`` entries.

    ``sizes`` are those of the signed checkpoints beyond ``since``, ascending: each needs its partial tiles, except
    where the full tile is there in the end. Made from the entries, a bundle of them in memory at a time.
    Raises EvidenceError when one is missing.
    """
    edge = log.subtrees.edge(since)
    bundle = _entries(log, since - since % WIDTH, since)
    for before, size in pairwise([since, *sizes]):
        while edge.size < size:
            entries = _entries(log, edge.size, min(size, edge.size - edge.size % WIDTH + WIDTH))
            bundle += entries
            for tile, _, hashes in edge.grow(map(leaf_hash, entries)):
                yield tile.path, hashes
                if tile.level == 0:
                    yield tile.bundle_path, write_bundle(bundle)
                    bundle = []
        for tile in _partial(size, before, sizes[-1]):
            yield tile.path, b"".join(edge.levels[tile.level])
            if tile.level == 0:
                yield tile.bundle_path, write_bundle(bundle)


def paths_of(sizes: Sequence[int]) -> Iterator[str]:
    """The paths of everything that :func:`files_of` makes for these checkpoints, from nothing."""
    if not sizes:
        return
    tiles = [tile for tile in tiles_of(sizes[-1]) if tile.width == WIDTH]
    for before, size in pairwise([0, *sizes]):
        tiles += _partial(size, before, sizes[-1])
    for tile in tiles:
        yield tile.path
        if tile.level == 0:
            yield tile.bundle_path


def tile_at(path: str) -> Tile | None:
    """The tile whose hashes or entries belong at a path; None when none do."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    kind, place, width = match.groups()
    n = int(place.replace("x", "").replace("/", ""))
    tile = Tile(0 if kind == "entries" else int(kind), n, WIDTH if width is None else int(width))
    return tile if tile.width and path in {tile.path, tile.bundle_path} else None


def is_superseded(path: str, size: int) -> bool:
    """Whether a path is a partial tile's or bundle's, and a tree of ``size`` leaves has the full one."""
    tile = tile_at(path)
    return tile is not None and tile.width < WIDTH and _is_full(tile, size)


def _is_full(tile: Tile, size: int) -> bool:
    return tile.n < (size >> (8 * tile.level)) // WIDTH


def _partial(size: int, before: int, last: int) -> Iterator[Tile]:
    """Partial tiles that a tree of ``size`` leaves needs anew and that are not full in one of ``last``."""
    for tile in tiles_of(size, before):
        if tile.width < WIDTH and not _is_full(tile, last):
            yield tile


def _entries(log: Log, start: int, stop: int) -> list[bytes]:
    rows = list(log.rows(start, stop))
    for index, row in zip_longest(range(start, stop), rows):
        if row is None or row.idx != index:
            raise EvidenceError(f"entry {index} is missing, so what is made of it cannot be published")
    return [row.raw for row in rows]


def _text(published: bytes) -> str:
    return published.decode(errors="replace")
