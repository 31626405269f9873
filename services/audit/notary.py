"""The notary: seals batches, signs checkpoints, hands out receipts. One writer a log.

The order is DESIGN.md section 7's, and each step may be the last one before a power cut:

1. the database transaction commits entries, tree, and the intake cursor;
2. the checkpoint is signed and recorded, apart from the database (compare and swap);
3. the caller publishes to LOG, sends receipts, and acknowledges the intake.

If we die between 1 and 2, the start signs what the database holds beyond the last checkpoint; between 2 and
3, the start publishes what LOG lacks, and the intake's redelivery is recognised as repeats and answered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from sqlalchemy import Connection

from services.audit.admission import read_arrival
from services.audit.checkpoints import Checkpoints
from services.audit.log import Log, LogHistory
from services.audit.places import Places
from services.audit.register import Counter, Register
from services.audit.sealing import Batch, Sealing, Tail
from services.audit.signatures import SignatureChecker
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.entry import Arrival
from shared.merkle import newest_inclusion_proofs, root_from_inclusion
from shared.moments import instant
from shared.receipt import write_receipt
from shared.signing import Keyring
from shared.words import EvidenceError, LogIndex, SourceId


class Sealed:
    """What sealing a batch led to: the new entries, and the checkpoint over them.

    ``refused``: the part of admission that refused, for each of them that was; ``repeats``: how many messages were
    sealed before.
    """

    def __init__(self, batch: Batch, note: str, receipts: Callable[[], list[tuple[Arrival, str]]]) -> None:
        self.entries = batch.entries
        self.refused = batch.refused
        self.repeats = len(batch.repeats)
        self.note = note
        self._make_receipts = receipts

    @cached_property
    def receipts(self) -> list[tuple[Arrival, str]]:
        """(message, its event's receipt) for every message of the batch, repeats included; made when asked for."""
        return self._make_receipts()


class Notary:
    """The single writer of a log.

    Raises TrailError at the start when another notary holds the log, and EvidenceError when the database
    contradicts what was signed; it never signs over a contradiction.
    """

    def __init__(
        self,
        directory: Path,
        trial: str,
        keyring: Keyring,
        *,
        places: Places | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.trial = trial
        places = places or Places.in_files(directory)
        self._keyring = keyring
        self._clock = clock
        with ExitStack() as held:  # a start that fails gives back what it took
            self.lease = places.lease()
            held.callback(self.lease.close)
            self.log = Log.at(places.log)
            held.callback(self.log.close)
            self.checkpoints = Checkpoints.at(places.checkpoints)
            held.callback(self.checkpoints.close)
            self._checker = SignatureChecker()
            held.callback(self._checker.close)
            self._tail = Tail()
            self._register = Register(trial)
            self._signed = 0
            self._note = ""
            self._in_doubt = False
            files = [place for place in (places.log, places.checkpoints) if isinstance(place, Path)]
            self._files = {path: _file_at(path) for path in files}
            self._load()
            self._recover()
            self._held = held.pop_all()

    def close(self) -> None:
        """Give the log back."""
        self._held.close()

    @property
    def size(self) -> int:
        """Entries sealed so far."""
        return self._tail.tree.size

    @property
    def intake(self) -> int:
        """The INTAKE sequence up to which everything is dealt with."""
        return self._register.intake

    @property
    def signed(self) -> int:
        """Entries that the newest signed checkpoint covers."""
        return self._signed

    @property
    def sealed_at(self) -> datetime | None:
        """When the newest entry was sealed; None while the log is empty."""
        return instant(self._tail.sealed_at) if self._tail.sealed_at else None

    @property
    def ticked(self) -> datetime | None:
        """When time was last sealed for its own sake; None while the log is empty."""
        return self._register.ticked

    @property
    def sources(self) -> Mapping[SourceId, Counter]:
        """How far each source has counted, and what is missing; as of the last batch, and never changed after."""
        return self._register.sources

    @property
    def tick_due(self) -> datetime | None:
        """When sealed time must next be stated; None while the log is empty or its clock is simulated."""
        opened, ticked = self._register.opened, self._register.ticked
        if opened is None or ticked is None or self._register.simulated_now is not None:
            return None
        return ticked + timedelta(seconds=opened.tick_seconds)

    def seal(self, arrivals: Sequence[Arrival], *, tick: bool = False) -> Sealed:
        """Seal messages, in intake order, and if asked a tick before them.

        When the database fails, nothing is sealed, and the error goes to the caller, who will be given the same
        messages again. Raises EvidenceError when somebody else has written to the log or taken it away.
        """
        self._check_files()
        if self._in_doubt:
            self._look_again()
        if self.size > self._signed:
            self._sign()  # signing the last batch failed; nothing is added before it is made good
        # So that the other core has something to do while this one reads.
        register = self._register.copy()
        signature_holds = self._checker.begin(register, arrivals)
        readings = [read_arrival(arrival) for arrival in arrivals]
        history = LogHistory(self.log, readings)
        sealing = Sealing(
            self._tail,
            register,
            history,
            keyring=self._keyring,
            now=self._clock(),
            signature_holds=signature_holds,
            seen=history.seen,
        )
        try:
            if tick:
                sealing.tick()
            sealing.add(readings)
            register.remember_signed(self._signed)
            self.log.append(sealing.batch, register, self._may_write)
        except BaseException:
            self._in_doubt = True  # a database whose commit failed may have committed all the same
            raise
        self._tail, self._register = sealing.batch.tail, register
        if self.size > self._signed:
            self._sign()
        note, batch = self._note, sealing.batch
        return Sealed(batch, note, lambda: self._receipts(batch, note, arrivals))

    def receipts_of(self, indices: Iterable[LogIndex]) -> dict[LogIndex, str]:
        """Receipts of any sealed entries, each proven in the first checkpoint that covers it.

        Raises EvidenceError when the stored tree is not the one that was signed.
        """
        made: dict[LogIndex, str] = {}
        tree, note, root = self.log.tree(0), "", b""
        for index in sorted(indices):
            if index >= tree.size:
                size, note = self.checkpoints.covering(index)
                tree = self.log.tree(size)
                root = open_checkpoint(note, self._register.log_keys()).root
            entry, path = self.log.entry(index), tree.inclusion(index)
            if root_from_inclusion(entry.leaf, index, tree.size, path) != root:
                raise EvidenceError(
                    f"the stored tree of {tree.size} entries is not the one that was signed; `trail fsck` says "
                    "what was changed"
                )
            made[index] = write_receipt(entry, path, note)
        return made

    def _receipts(self, batch: Batch, note: str, arrivals: Sequence[Arrival]) -> list[tuple[Arrival, str]]:
        proofs = newest_inclusion_proofs(batch.before, [entry.leaf for entry in batch.entries])
        by_intake = {arrival.intake: arrival for arrival in arrivals}
        receipts = []
        for entry, proof in zip(batch.entries, proofs, strict=True):
            if entry.header.intake:
                receipt = write_receipt(entry, proof, note)
                receipts.append((by_intake[entry.header.intake], receipt))
        # A repeat may repeat a message of this very batch, which is signed by now.
        again = self.receipts_of({index for _, index in batch.repeats})
        return receipts + [(arrival, again[index]) for arrival, index in batch.repeats]

    def _load(self) -> None:
        self._tail = self.log.tail()
        self._register = self.log.register(self.trial)

    def _look_again(self) -> None:
        """See what a failed batch has left in the database."""
        self._load()
        if (self.checkpoints.latest() or (0, "")) != (self._signed, self._note):
            raise EvidenceError(
                "a checkpoint was signed that is not this notary's: another notary writes this log. Stop both, and "
                "compare them with `trail verify`"
            )
        self._recover()
        self._in_doubt = False

    def _may_write(self, connection: Connection) -> None:
        """Within the transaction that writes: the lease is still ours, and the log ends where we left it."""
        self.lease.check(connection)
        if not self._files:
            self.log.check_end(connection, self._tail)

    def _check_files(self) -> None:
        """A database that was deleted can still be written to, and is gone when we stop."""
        for path, known in self._files.items():
            if _file_at(path) != known:
                raise EvidenceError(
                    f"{path} was deleted or replaced while the notary was running. Stop everything and put back "
                    "the newest copy; LOG and the published bundles hold the entries to compare it with"
                )

    def _recover(self) -> None:
        """Compare the database with the last signed checkpoint, and sign what a crash left unsigned."""
        size = self._tail.tree.size
        latest = self.checkpoints.latest()
        if latest is not None:
            signed, note = latest
            checkpoint = open_checkpoint(note, self._register.log_keys())
            if signed > size:
                raise EvidenceError(
                    f"the database ends at entry {size - 1}, but a checkpoint over {signed} entries was signed: a "
                    "back-up was restored or entries were cut. Put back the newest database; signing on would "
                    "fork the log"
                )
            if self.log.tree(signed).root() != checkpoint.root:
                raise EvidenceError(
                    f"the database's first {signed} entries are not those that were signed; find the first "
                    "changed one with `trail verify`"
                )
            self._signed, self._note = signed, note
        if size:  # rather now than after a batch was committed that could not be signed
            self._keyring.get(self._register.log_keys().current.public)
        if self._signed < self._register.signed:  # a crash leaves the last batch unsigned, and no other
            raise EvidenceError(
                f"a checkpoint over {self._register.signed} entries was signed, and the newest one found is over "
                f"{self._signed}: put back the newest checkpoints directory"
            )
        if size > self._signed:
            self._sign()

    def _sign(self) -> None:
        tree, log = self._tail.tree, self._register.log_keys().current
        note = Checkpoint(log.name, tree.size, tree.root()).sign(self._keyring.get(log.public))
        self.checkpoints.add(self._signed, tree.size, note)
        self._signed, self._note = tree.size, note


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path, whatever it is called."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
