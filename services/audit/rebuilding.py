"""Making a log's database again from what is published of it, when the database and its back-ups are lost.

The same entries, and nothing else: each is proven by the published checkpoint, which the log's key has signed, and
every ruling is reached again before anything is written. What was sealed behind that checkpoint is not published,
and not in it; a witness that has cosigned more stops the notary from going on there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from typing import Final

from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.log import Log, Row
from services.audit.places import Places
from services.audit.sealing import Batch, Tail
from services.audit.tile_store import CHECKPOINT, TileStore
from services.audit.tiles import WIDTH, Tile, read_bundle
from services.audit.verify import Report, Verifier
from shared.checkpoint import open_cosignature, read_checkpoint
from shared.entry import Entry
from shared.merkle import Frontier
from shared.note import NoteKey, split_note
from shared.policy import Policy
from shared.words import EvidenceError, TrailError

_AT_ONCE: Final = 500
Progress = Callable[[int], None]


class PublishedLog:
    """A log as it stands at a place where it is published; nothing of it is believed yet.

    Raises TrailError when the place cannot be reached or nothing is published there, EvidenceError when its
    checkpoint is none.
    """

    def __init__(self, store: TileStore) -> None:
        self._store = store
        found = store.read(CHECKPOINT)
        if found is None:
            raise TrailError(f"nothing is published at {store.name}: it has no file {CHECKPOINT}")
        self.note = found.decode(errors="replace")
        self.size = read_checkpoint(split_note(self.note)[0]).size
        self._bundle = lru_cache(maxsize=16)(self._read)

    def entry_at(self, index: int) -> bytes:
        """An entry's bytes.

        Raises EvidenceError when its bundle is missing or damaged.
        """
        return self._bundle(index // WIDTH)[index % WIDTH]

    def rows(self) -> Iterator[Row]:
        """Every entry, in order."""
        return (Row(index, None, self.entry_at(index)) for index in range(self.size))

    def _read(self, n: int) -> list[bytes]:
        width = min(WIDTH, self.size - n * WIDTH)
        for tile in (Tile(0, n), Tile(0, n, width)):  # a full one may have come since the checkpoint was read
            found = self._store.read(tile.bundle_path)
            if found is not None:
                entries = read_bundle(found)
                if len(entries) >= width:
                    return entries
        raise EvidenceError(
            f"{Tile(0, n, width).bundle_path} at {self._store.name} is missing or damaged: entries {n * WIDTH} to "
            f"{n * WIDTH + width - 1} are not there"
        )


def rebuild(
    published: PublishedLog,
    places: Places,
    trial: str,
    log_key: NoteKey,
    policy: Policy | None,
    progress: Progress = lambda _done: None,
) -> Report:
    """Make a log's database and checkpoints where there are none.

    ``log_key`` is the log's first key or its present one; ``progress`` is told the entries dealt with, once to
    verify and once more to write. Raises EvidenceError, having made nothing, when what is published does not
    verify; TrailError when there is a log already, or a notary is at work.
    """
    signed = [(0, published.size, published.note)]
    report = Verifier(trial, log_key, published.entry_at).run(published.rows(), signed, progress=progress)
    if not report.good:
        fault = report.faults[0]
        raise EvidenceError(f"nothing was made: entry {fault.index}: {fault.what}")
    with ExitStack() as held:
        held.callback(places.lease().close)
        log = Log.at(places.log)
        held.callback(log.close)
        kept = Checkpoints.at(places.checkpoints)
        held.callback(kept.close)
        if log.size() or kept.latest() is not None:
            raise TrailError(f"there is a log at {places.log} already; nothing was changed. Move it away first")
        writer = _Writer(log)
        verifier = Verifier(trial, log_key, published.entry_at, taken=writer.take)
        writer.verifier = verifier
        again = verifier.run(published.rows(), signed, progress=lambda done: progress(published.size + done))
        if not again.good:  # no checkpoint is kept, so no notary goes on from what was written
            raise EvidenceError(
                f"entry {again.faults[0].index}: {again.faults[0].what}. What is published was changed while it "
                f"was read; take {places.log} away and begin anew"
            )
        writer.write()
        _keep_checkpoint(published, verifier.log.current.name, kept, policy)
    return report


class _Writer:
    """Adds entries as they are verified once more, with what the notary remembers of them."""

    verifier: Verifier

    def __init__(self, log: Log) -> None:
        self._log = log
        self._before = Frontier()
        self._entries: list[Entry] = []
        self._refs: list[int] = []

    def take(self, entry: Entry, ref: int) -> None:
        """One more entry, and the key under which the log's index finds it."""
        self._entries.append(entry)
        self._refs.append(ref)
        if len(self._entries) == _AT_ONCE:
            self.write()

    def write(self) -> None:
        """Commit what was taken."""
        if not self._entries:
            return
        batch = Batch(self._before, Tail(), self._entries, self._refs)
        self._log.append(batch, self.verifier.register)
        self._before = self._before.extend([entry.leaf for entry in self._entries])
        self._entries, self._refs = [], []


def _keep_checkpoint(published: PublishedLog, origin: str, kept: Checkpoints, policy: Policy | None) -> None:
    """The log's own signature as the notary keeps it, and apart from it the witnesses'."""
    text, lines = split_note(published.note)
    own = [line for name, line in lines if name == origin]
    kept.add(0, published.size, f"{text}\n{''.join(own)}")
    given = Cosignatures(kept.engine)
    for witness in {} if policy is None else policy.witnesses.values():
        cosigned = open_cosignature(published.note, witness.key)
        if cosigned is not None:
            given.add(published.size, witness.key, cosigned.time, cosigned.line_on(published.note))
