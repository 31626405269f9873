"""Whatever a notary goes through, its log is the list of what it sealed, and its proofs are those of the RFC."""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.exc import DatabaseError

from services.audit.admission import read_arrival
from services.audit.hashes import VerifiedTo, verify_hashes
from services.audit.log import Log, LogHistory
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.entry import Arrival
from shared.moments import stamp
from shared.receipt import open_receipt
from shared.signing import SigningKey
from tests.notary import LOG_KEY, OBSERVED, OTHER_SITE, PERSON, ROOT, SITE, START, Office

FATES = (
    "it is sealed",
    "the database refuses",
    "it dies before the commit",
    "it cannot sign",
    "it dies before signing",
    "it dies before it answers",
)
"""What happens to a batch. Unless it is sealed at once, the broker brings the same messages again."""
MINUTES = (1, 2, 7, 60, 100, 249, 256, 300)
"""How much time passes at once. Each minute is an entry."""
NUMBERS = st.integers(0, 10_000)


class Model:
    """A tree as RFC 9162 section 2.1 defines it, word for word, over a plain list of leaf hashes."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, stop: int) -> bytes:
        """MTH(D[start:stop])."""
        if stop - start < 2:
            return self.leaves[start] if stop > start else hashlib.sha256(b"").digest()
        if (start, stop) not in self._known:
            k = split(start, stop)
            pair = self.root(start, k) + self.root(k, stop)
            self._known[start, stop] = hashlib.sha256(b"\x01" + pair).digest()
        return self._known[start, stop]

    def path(self, index: int, start: int, stop: int) -> list[bytes]:
        """PATH(index, D[start:stop]), ``index`` counted from the tree's first leaf."""
        if stop - start == 1:
            return []
        k = split(start, stop)
        if index < k:
            return [*self.path(index, start, k), self.root(k, stop)]
        return [*self.path(index, k, stop), self.root(start, k)]

    def proof(self, old: int, start: int, stop: int, *, whole: bool = True) -> list[bytes]:
        """SUBPROOF(old, D[start:stop], whole), ``old`` counted from the tree's first leaf."""
        if old == stop:
            return [] if whole else [self.root(start, stop)]
        k = split(start, stop)
        if old <= k:
            return [*self.proof(old, start, k, whole=whole), self.root(k, stop)]
        return [*self.proof(old, k, stop, whole=False), self.root(start, k)]


def split(start: int, stop: int) -> int:
    """Where a subtree's left half ends: the largest power of two below its size."""
    power = 1
    while power * 2 < stop - start:
        power *= 2
    return start + power


class DiedError(Exception):
    """The power went off."""


class LogMachine(RuleBasedStateMachine):
    """A notary on real files, a reader beside it, and the model."""

    def __init__(self, founded: Path, directory: Path) -> None:
        super().__init__()
        shutil.copytree(founded, directory)
        self.path = directory / "audit" / "log.sqlite"
        self.office = Office(directory)
        self.office.intake = self.office.notary.intake
        self.clock = START
        self.reader = Log.at(self.path, read_only=True)
        self.model = Model()
        self.where: dict[Arrival, int] = {}  # every message that was sealed, its intake number set to 0
        self.verified = VerifiedTo()
        self.ids = count()
        self.learn()

    def teardown(self) -> None:
        try:
            assert self.office.verify().faults == []
        finally:
            self.reader.close()
            self.office.notary.close()
            shutil.rmtree(self.office.directory)

    def learn(self) -> None:
        """Add what was committed since to the model, read from the file without any code of ours."""
        with closing(sqlite3.connect(self.path)) as database:
            rows = database.execute(
                "SELECT entry FROM entries WHERE idx >= ? ORDER BY idx", (len(self.model.leaves),)
            ).fetchall()
        self.model.leaves += [hashlib.sha256(b"\x00" + raw).digest() for (raw,) in rows]

    # What comes in.

    @rule(
        events=st.integers(1, 6),
        skipped=st.sampled_from([0, 0, 0, 2]),
        site=st.sampled_from([("site/701", SITE), ("site/702", OTHER_SITE)]),
        fate=st.sampled_from(FATES),
    )
    def post(self, events: int, skipped: int, site: tuple[str, SigningKey], fate: str) -> None:
        source, key = site
        first = self.office.counter(source).last + 1 + skipped
        sequences = range(first, first + events)
        self.deliver([self.event("screening.observed", OBSERVED, key, PERSON, one) for one in sequences], fate)

    @rule(payloads=st.lists(st.binary(max_size=2), min_size=1, max_size=3), fate=st.sampled_from(FATES))
    def post_garbage(self, payloads: list[bytes], fate: str) -> None:
        self.deliver([self.office.arrival(payload) for payload in payloads], fate)

    @precondition(lambda self: self.where)
    @rule(data=st.data(), fate=st.sampled_from(FATES))
    def send_again(self, data: st.DataObject, fate: str) -> None:
        chosen = data.draw(st.lists(st.sampled_from(list(self.where)), min_size=1, max_size=3))
        again = []
        for arrival in chosen:
            self.office.intake += 1
            again.append(replace(arrival, intake=self.office.intake))
        self.deliver(again, fate)

    @rule(minutes=st.sampled_from(MINUTES), fate=st.sampled_from(FATES))
    def let_time_pass(self, minutes: int, fate: str) -> None:
        to = self.clock + timedelta(minutes=minutes)
        sequence = self.office.counter("admin/root").last + 1
        self.deliver([self.event("log.clock_moved", {"to": stamp(to)}, ROOT, None, sequence)], fate)
        self.clock = to

    @rule()
    def restart(self) -> None:
        self.office.reopen()

    def event(
        self, type_: str, data: dict[str, object], key: SigningKey, subject: str | None, sequence: int
    ) -> Arrival:
        event_id = f"0195f1a0-0000-7000-8000-{next(self.ids):012x}"  # not a random one: a failure must come again
        fields = {"event_id": event_id, "subject": subject, "sequence": sequence, "time": stamp(self.clock)}
        return self.office.arrival(self.office.event(type_, data, key=key, **fields), key)

    def deliver(self, arrivals: Sequence[Arrival], fate: str) -> None:
        """Bring messages to the notary until it answers, and hold it to what it answered before."""
        log, before = self.office.notary.log, len(self.model.leaves)
        if fate in {"the database refuses", "it dies before the commit"}:
            with self.refusing_database(), pytest.raises(DatabaseError):
                self.office.notary.seal(arrivals)
            assert log.size() == before
        if fate in {"it cannot sign", "it dies before signing"}:
            with self.failing_signature(), suppress(DiedError):  # repeats alone leave nothing to sign
                self.office.notary.seal(arrivals)
        if fate == "it dies before it answers":
            self.office.notary.seal(arrivals)
        committed = log.size()
        if fate.startswith("it dies"):
            self.office.reopen()
            assert self.signed().size == committed
        sealed = self.office.notary.seal(arrivals)
        self.learn()
        assert committed in {before, len(self.model.leaves)}
        assert len(sealed.entries) == len(self.model.leaves) - committed
        assert len(sealed.receipts) == len(arrivals)
        for arrival, receipt in sealed.receipts:
            entry = open_receipt(receipt, arrival.payload, LOG_KEY).entry
            assert entry.leaf == self.model.leaves[entry.index]
            assert self.where.setdefault(replace(arrival, intake=0), entry.index) == entry.index

    @contextmanager
    def refusing_database(self) -> Iterator[None]:
        """The last statement of a batch's transaction fails."""
        with closing(sqlite3.connect(self.path)) as database:
            database.execute("CREATE TRIGGER full BEFORE INSERT ON register BEGIN SELECT RAISE(ABORT, 'full'); END")
            try:
                yield
            finally:
                database.execute("DROP TRIGGER full")

    @contextmanager
    def failing_signature(self) -> Iterator[None]:
        """A batch is committed, and its checkpoint is never recorded."""

        def die(*_: object) -> NoReturn:
            raise DiedError

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self.office.notary.checkpoints, "add", die)
            yield

    # What is asked of it.

    @rule(chosen=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=6))
    def prove(self, chosen: list[tuple[int, int, int]]) -> None:
        for first, second, third in chosen:
            size = 1 + first % len(self.model.leaves)
            index, old = second % size, 1 + third % size
            for log in (self.office.notary.log, self.reader):
                tree = log.tree(size)
                assert tree.root() == self.model.root(0, size)
                assert tree.inclusion(index) == self.model.path(index, 0, size)
                assert tree.consistency(old) == self.model.proof(old, 0, size)

    @rule(chosen=st.lists(NUMBERS, min_size=1, max_size=5))
    def ask_for_receipts(self, chosen: list[int]) -> None:
        wanted = {number % len(self.model.leaves) for number in chosen}
        receipts = self.office.notary.receipts_of(wanted)
        assert receipts.keys() == wanted
        for index, receipt in receipts.items():
            opened = open_receipt(receipt, self.reader.entry(index).body, LOG_KEY)
            assert (opened.entry.index, opened.entry.leaf) == (index, self.model.leaves[index])

    @precondition(lambda self: self.where)
    @rule(data=st.data())
    def look_for_a_message(self, data: st.DataObject) -> None:
        arrival = data.draw(st.sampled_from(list(self.where)))
        never = self.office.arrival(b"never sent " + arrival.payload, intake=0)
        readings = [read_arrival(arrival), read_arrival(never)]
        for log in (self.office.notary.log, self.reader):
            history = LogHistory(log, readings)
            assert [history.seen(reading) for reading in readings] == [self.where[arrival], None]
            refs = {ref for reading in readings for ref in (reading.id_ref, reading.digest_ref) if ref is not None}
            found = [entry for entries in log.by_ref(refs).values() for entry in entries]
            assert self.where[arrival] in {entry.index for entry in found}
            assert all(entry.leaf == self.model.leaves[entry.index] for entry in found)

    @rule()
    def go_on_verifying(self) -> None:
        checkpoints = self.office.notary.checkpoints.all()
        roots = {size: open_checkpoint(note, LOG_KEY).root for _, size, note in checkpoints}
        report = verify_hashes(self.path, roots, since=self.verified)
        assert report.fault is None
        assert report.verified.leaf == self.model.leaves[-1]
        self.verified = report.verified

    def signed(self) -> Checkpoint:
        """What was signed last."""
        latest = self.office.notary.checkpoints.latest()
        assert latest is not None
        return open_checkpoint(latest[1], LOG_KEY)

    @invariant()
    def everything_is_signed(self) -> None:
        size, signed = len(self.model.leaves), self.signed()
        assert (signed.size, signed.root) == (size, self.model.root(0, size))
        assert self.office.notary.size == self.office.notary.log.size() == self.reader.size() == size


def test_any_mix_of_appends_crashes_proofs_and_queries_agrees_with_the_model(tmp_path: Path) -> None:
    founded, numbers = tmp_path / "founded", count()
    office = Office.founded(founded, clock="simulated", tick_seconds=60)
    office.register()
    office.notary.close()
    run_state_machine_as_test(
        lambda: LogMachine(founded, tmp_path / f"run {next(numbers)}"),
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            derandomize=True,
            deadline=None,
            phases=[Phase.generate],  # a shorter way to a failure is looked for in minutes: add Phase.shrink
            suppress_health_check=list(HealthCheck),
        ),
    )
