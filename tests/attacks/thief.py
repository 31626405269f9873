"""What can be done with a stolen log key and the rights of the files' owner: a log without a fault of its own."""

import itertools
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from services.audit.cosignatures import Cosignatures
from services.audit.notary import Notary
from services.audit.witnessing import Witnessing
from services.cli.installation import Installation
from shared.entry import Arrival, Entry
from shared.moments import instant
from shared.signing import Keyring
from tests.attacks.owner import CHECKPOINTS, change, taken_away


class Clock:
    """A clock that shows what it is told to."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def notary_at(home: Installation, directory: Path, clock: Clock | None = None) -> Iterator[Notary]:
    """The thief's own notary: our code, the log's true key, any place, any clock."""
    notary = Notary(directory / "audit", home.trial, Keyring(home.key("log")), clock=clock or Clock())
    try:
        yield notary
    finally:
        notary.close()


def asked(home: Installation, notary: Notary, clock: Clock | None = None) -> Witnessing:
    """Have a notary's newest checkpoint cosigned by the witnesses of the home's policy, where they are now."""
    policy = Installation.open(home.directory).policy()
    assert policy is not None
    with httpx.Client() as client:
        lines = Cosignatures(notary.checkpoints.engine)
        tree = notary.log.tree
        witnessing = Witnessing(policy, notary.checkpoints, lines, tree, client, clock=clock or Clock())
        witnessing.collect()
    return witnessing


def resealed(home: Installation, log: Iterable[Entry], directory: Path) -> None:
    """Seal the messages of these entries anew, numbered without a gap, at the times at which they were sealed."""
    clock, numbers = Clock(), itertools.count()
    messages = ((entry, replace(entry.arrival, intake=next(numbers))) for entry in log)
    with notary_at(home, directory, clock) as notary:
        for at, batch in itertools.groupby(messages, key=lambda one: one[0].header.sealed_at):
            clock.now = instant(at)
            notary.seal([arrival for _, arrival in batch])


def garbage(home: Installation, number: int, source: str = "site.703") -> Arrival:
    """A message that nobody signed, to fill a gap with: it is sealed as refused."""
    subject = f"intake.{home.trial}.{source}.screening.observed"
    return Arrival(number, subject, "", "", b"static on the line %d" % number)


def without(log: list[Entry], body: bytes) -> list[Entry]:
    """The log without the entry whose body holds this."""
    (gone,) = (entry for entry in log if body in entry.body)
    return [entry for entry in log if entry is not gone]


def displaced(home: Installation, directory: Path, *, keep_cosignatures: bool) -> None:
    """Put the thief's log and checkpoints in the place of the true ones, with or without the witness's lines."""
    lines = []
    if keep_cosignatures:
        with closing(sqlite3.connect(home.places.checkpoints)) as database:
            lines = database.execute("SELECT * FROM cosignatures").fetchall()
    for part in ("audit", "checkpoints"):
        shutil.rmtree(home.directory / part)
        shutil.copytree(directory / part, home.directory / part)
    rows = [("INSERT INTO cosignatures VALUES (?, ?, ?, ?)", line) for line in lines]
    change(home.directory / CHECKPOINTS, *rows)


def without_receipts(home: Installation) -> None:
    """Take away what sites hold, as an auditor elsewhere would find it."""
    for path in (home.directory / "outbox").glob("*.sqlite"):
        taken_away(path)
