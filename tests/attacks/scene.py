"""The scene of the attacks: a realistic trial on the real stack, and what a person at a terminal sees of it."""

import asyncio
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from services.cli.app import main
from services.cli.beginning import begin_log
from services.cli.delivery import Line, line, settled
from services.cli.installation import Installation
from services.cli.stack import Stack
from shared.broker import KEY_HEADER, SIGNATURE_HEADER
from shared.drafts import Draft, read_draft
from shared.entry import Entry, read_entry
from shared.identities import ROOT_SOURCE
from shared.words import SourceId
from tests.attacks.owner import CHECKPOINTS, LOG, kept

A, B, C = (SourceId(f"site/{number}") for number in (701, 702, 703))
SITES = (A, B, C)
_EXAMPLE = Path(__file__).parents[2] / "examples" / "participant.ndjson"
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Told:
    """What the command said, with its line breaks made spaces, and its exit code."""

    code: int
    text: str


def trail(*arguments: str | Path) -> Told:
    """Run the command ``trail``, in this process: its imports alone would take longer than all the rest."""
    said = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(sys, "argv", ["trail", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            return Told(int(ended.code or 0), " ".join(said.getvalue().split()))
    raise AssertionError("a command ends with an exit code")


def awaited(look: Callable[[], Any], patience: float = _PATIENCE) -> Any:
    """The first true thing that a look brings; the last one when none does in time."""
    deadline = time.monotonic() + patience
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen


def registered(site: SourceId, person: str) -> Draft:
    """A site's first word about somebody; nothing is decided about them yet."""
    subject = f"{site.rpartition('/')[2]}-{person}"
    time_ = "2026-01-17T09:00:00+08:00"
    return Draft(source=site, type="screening.registered", subject=subject, time=time_, data={"sex": "male"})


def weighed(site: SourceId, kilograms: int) -> Draft:
    """A later word about the third person of a site; another weight, another event."""
    data = {"item": "weight", "collected": "2026-01-17", "value": kilograms, "unit": "kg"}
    told = {"type": "screening.observed", "time": "2026-01-17T10:00:00+08:00", "data": data}
    return registered(site, "003").model_copy(update=told)


class Trial:
    """A data directory and the stack that runs on it."""

    def __init__(self, home: Installation) -> None:
        self.home = home
        self.stack = Stack(home)
        parts = ("broker", "witness", "audit", "screening", "safety")
        self._begun = {name: len(self._output(name)) for name in parts}

    def post(self, *drafts: Draft, timeout: float = _PATIENCE) -> bool:
        """Post as sites do; whether every one of their receipts has come in time, and verified."""

        async def play(connected: Line) -> bool:
            connected.post.put(connected.post.missing_grants(drafts))
            await connected.deliver([ROOT_SOURCE], timeout=timeout)
            return await connected.deliver(list(connected.post.put(drafts)), timeout=timeout)

        return bool(self.on_line(play))

    def deliver(self, timeout: float = 60.0) -> bool:
        """Deliver what the sites' outboxes still hold; whether every receipt has come."""
        return bool(self.on_line(lambda connected: connected.deliver(SITES, timeout=timeout)))

    def on_line(self, play: Callable[[Line], Awaitable[Any]]) -> Any:
        """Do something over a connection to the broker."""

        async def run() -> Any:
            async with line(self.home, self.stack.url) as connected:
                return await play(connected)

        return asyncio.run(run())

    def come_to_rest(self, patience: float = _PATIENCE) -> None:
        """Wait until everything sealed is decided on, cosigned and published."""

        async def rest(connected: Line) -> bool:
            return await settled(connected.js, self.home.topology, patience)

        assert self.on_line(rest)
        size = size_of(self.home)
        assert awaited(lambda: size == published(self.home) == cosigned(self.home), patience)

    def said(self, name: str, level: str = "") -> list[dict[str, Any]]:
        """What a service has said since the stack was started; of one level, if one is given."""
        lines = self._output(name)[self._begun[name] :].splitlines()
        told = [json.loads(one) for one in lines if one.startswith("{") and one.endswith("}")]
        return [one for one in told if level in {"", one["level"]}]

    def complaint(self, name: str, level: str = "error") -> str:
        """The first thing of that level that a service complains of; waited for."""
        awaited(lambda: self.said(name, level))
        return next((str(one["error"]) for one in self.said(name, level)), "")

    def last_words(self, name: str) -> str:
        """The sentence with which a service stops; waited for, until it has stopped."""
        awaited(lambda: self.stack._processes[name].poll() is not None)
        return next((str(one["error"]) for one in self.said(name, "critical")), "")

    def _output(self, name: str) -> str:
        path = self.home.directory / "run" / f"{name}.log"
        return path.read_text("utf-8") if path.exists() else ""


async def sent_again(
    connected: Line, entry: Entry, *, subject: str = "", key: str | None = None, signature: str | None = None
) -> None:
    """Send a sealed event's message once more; whatever is not given stays as it was."""
    head = entry.header
    marks = {
        KEY_HEADER: head.key if key is None else key,
        SIGNATURE_HEADER: head.signature if signature is None else signature,
    }
    intake = connected.post.home.topology.intake
    await connected.js.publish(subject or head.subject, entry.body, headers=marks, stream=intake)


@contextmanager
def running(home: Installation) -> Iterator[Trial]:
    """The stack on a data directory."""
    trial = Trial(home)
    try:
        trial.stack.start()
        yield trial
    finally:
        trial.stack.stop()


@contextmanager
def witness_alone(home: Installation) -> Iterator[None]:
    """This machine's witness as a process, and nothing else."""
    stack = Stack(home)
    try:
        stack._spawn("witness")
        stack._wait_ready("witness")
        yield
    finally:
        stack.stop()


def played(directory: Path) -> Installation:
    """A trial of three sites, each with two decided participants and one of whom little is known.

    Everything is sealed, decided, cosigned and published. A back-up of the log and its checkpoints, made before the
    last three entries, lies beside it in ``older``.
    """
    home = begin_log(directory, practice=True)
    rows = [json.loads(row) for row in _EXAMPLE.read_text("utf-8").splitlines()]
    drafts = [
        read_draft(json.dumps(row | {"source": site, "subject": f"{site.rpartition('/')[2]}-{person}"}).encode())
        for site in SITES
        for person in ("001", "002")
        for row in rows
    ]
    with running(home) as trial:
        assert trial.post(*drafts, *(registered(site, "003") for site in SITES))
        trial.come_to_rest()
        kept(home, [LOG, CHECKPOINTS], directory.parent / "older")
        assert trial.post(weighed(B, 60))
        assert trial.post(weighed(B, 61))
        assert trial.post(weighed(C, 62))
        trial.come_to_rest()
    return home


def copied(home: Installation, directory: Path) -> Installation:
    """A copy of everything; what was running there is not."""
    shutil.copytree(home.directory, directory, ignore=shutil.ignore_patterns("run"))
    return Installation.open(directory)


def entries(home: Installation) -> list[Entry]:
    """The log as its database holds it."""
    with closing(sqlite3.connect(f"file:{home.places.log}?mode=ro", uri=True)) as database:
        return [read_entry(raw) for (raw,) in database.execute("SELECT entry FROM entries ORDER BY idx")]


def size_of(home: Installation) -> int:
    """How many entries the log's database holds."""
    with closing(sqlite3.connect(f"file:{home.places.log}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM entries").fetchone()[0])


def published(home: Installation) -> int:
    """How many entries the published checkpoint covers."""
    path = home.tiles_path / "checkpoint"
    return int(path.read_text("utf-8").split("\n")[1]) if path.exists() else 0


def cosigned(home: Installation) -> int:
    """How many entries the newest cosigned checkpoint covers."""
    with closing(sqlite3.connect(f"file:{home.places.checkpoints}?mode=ro", uri=True)) as database:
        try:
            return int(database.execute("SELECT max(size) FROM cosignatures").fetchone()[0] or 0)
        except sqlite3.OperationalError:  # no table: none yet
            return 0
