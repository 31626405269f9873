"""What stands at a place where a log is published, compared file by file with what its entries make."""

from collections import defaultdict
from collections.abc import Sequence

from services.audit.findings import Findings, Kind
from services.audit.heads import Head, Heads
from services.audit.publishing import TILES, paths_of, tile_at
from services.audit.tile_store import CHECKPOINT, TileStore
from services.audit.tiles import WIDTH, Tile, write_bundle
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.note import LogKey
from shared.words import EvidenceError


class Published:
    """The files at a place, listed when this is made; a notary may publish more meanwhile.

    Made before the signed checkpoints are read, so that all it finds should be covered by them. Raises TrailError
    when the place cannot be reached.
    """

    def __init__(self, store: TileStore, keys: LogKey, findings: Findings) -> None:
        self._store = store
        self._findings = findings
        self._place = f"checkpoint at {store.name}"
        self._checkpoint = self._open(keys)
        self._paths = set(store.paths(TILES))
        self._files: dict[tuple[int, int], list[tuple[str, Tile]]] = defaultdict(list)
        self._unknown = 0

    def expect(self, signed: Sequence[int], heads: Heads) -> None:
        """Name what is missing or does not belong there, the signed checkpoints being over so many entries.

        The published checkpoint's root is added to ``heads``.
        """
        last = max(signed, default=0)
        covered = last if self._checkpoint is None else max(last, self._checkpoint.size)
        for path in sorted(self._paths):
            tile = tile_at(path)
            if tile is None:
                self._findings.add(Kind.TILE_STRAY, self._at(path), "is not where a tile can be")
            elif tile.n * WIDTH + tile.width > covered >> (8 * tile.level):
                beyond = f"lies beyond the last signed checkpoint, over {covered} entries"
                self._findings.add(Kind.TILE_STRAY, self._at(path), beyond)
            else:
                self._files[tile.level, tile.n].append((path, tile))
        if self._checkpoint is None:
            return
        size = self._checkpoint.size
        heads.add(size, Head(self._checkpoint.root, Kind.PUBLISHED_HISTORY, self._place))
        if size > last:
            ahead = f"is over {size} entries and signed by this log; the last one here is over {last}"
            self._findings.add(Kind.PUBLISHED_HISTORY, self._place, ahead)
        for path in paths_of(sorted({one for one in signed if one < size} | {size})):
            # A publication that goes on meanwhile replaces partial tiles by the full one.
            if path not in self._paths and path.partition(".p/")[0] not in self._paths:
                needed = f"is missing; the checkpoint over {size} entries needs it"
                self._findings.add(Kind.TILE_MISSING, self._at(path), needed)

    def compare(
        self, level: int, n: int, hashes: Sequence[bytes | None], entries: Sequence[bytes | None] = ()
    ) -> None:
        """Compare what is published of a tile with its hashes, and at level 0 entries; None for unknown ones."""
        for path, tile in self._files.pop((level, n), ()):
            parts = (entries if path == tile.bundle_path else hashes)[: tile.width]
            known = [part for part in parts if part is not None]
            if len(known) < tile.width:
                self._unknown += 1
                continue
            made = write_bundle(known) if path == tile.bundle_path else b"".join(known)
            found = self._store.read(path)
            if found is not None and found != made:
                self._findings.add(Kind.TILE_CHANGED, self._at(path), f"is not what {_of(tile)} make")
            elif found is None and tile.width == WIDTH:  # partial ones are deleted while the publication goes on
                self._findings.add(Kind.TILE_MISSING, self._at(path), "was there a moment ago and is missing")

    def end(self, last: int) -> None:
        """Say what was looked at; ``last`` entries are signed."""
        unknown = self._unknown + sum(map(len, self._files.values()))
        if unknown:
            self._findings.not_looked.append(
                f"{unknown} files at {self._store.name}: entries they hold are missing"
            )
        covered = 0 if self._checkpoint is None else self._checkpoint.size
        self._findings.looked.append(
            f"{len(self._paths)} files at {self._store.name}; {covered} of {last} signed entries are published"
        )

    def _open(self, keys: LogKey) -> Checkpoint | None:
        text = self._store.read(CHECKPOINT)
        if text is None:
            self._findings.add(Kind.PUBLISHED_CHECKPOINT, self._place, "is missing")
            return None
        try:
            return open_checkpoint(text.decode(errors="replace"), keys)
        except EvidenceError as error:
            self._findings.add(Kind.PUBLISHED_CHECKPOINT, self._place, f"is not one of this log: {error}")
            return None

    def _at(self, path: str) -> str:
        return f"{path} at {self._store.name}"


def _of(tile: Tile) -> str:
    span = WIDTH**tile.level
    return f"entries {tile.n * WIDTH * span} to {(tile.n * WIDTH + tile.width) * span - 1}"
