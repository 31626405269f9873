"""What every installation of Trialtrail must do, whichever broker it runs on and whoever starts its parts.

One conformance suite: the embedded stack, a broker in a container and Docker Compose all play :func:`play`.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

import nats
from sqlalchemy import select

from services.cli.installation import Installation
from shared.broker import Topology
from shared.drafts import Draft
from shared.envelope import write_json
from shared.moments import stamp
from shared.outbox import OUTBOX
from shared.receipt import open_receipt
from shared.words import SourceId
from tests.study import eligible, sealed

SITE = SourceId("site/701")
TRIAL = "NCT06027853"
_PATIENCE = 60.0


class System(Protocol):
    """A running installation, as a person at a terminal meets it. ``url`` is where its broker can be reached."""

    url: str

    def trail(self, *arguments: str, file: Path | None = None) -> tuple[int, Any]:
        """Run the command with ``--json`` and perhaps a file; its exit code and what it printed."""


@dataclass(frozen=True, slots=True)
class Local:
    """An installation whose data directory is on this machine."""

    home: Installation
    url: str

    def trail(self, *arguments: str, file: Path | None = None) -> tuple[int, Any]:
        command = [sys.executable, "-m", "services.cli.app", *arguments, *([str(file)] if file else []), "--json"]
        where = {"TRAIL_HOME": str(self.home.directory), "TRAIL_BROKER": self.url}
        done = subprocess.run(command, env=dict(os.environ) | where, capture_output=True, timeout=120, check=False)
        return done.returncode, read_output(done)

    def check_receipts(self, source: SourceId) -> int:
        """Open every receipt of a source with the log's key alone; how many there are."""
        outbox = self.home.outbox(source)
        with outbox.engine.connect() as connection:
            rows = connection.execute(select(OUTBOX.c.payload, OUTBOX.c.receipt)).all()
        outbox.close()
        for payload, receipt in rows:
            assert open_receipt(receipt, payload, self.home.log_key).entry.admitted
        return len(rows)


def read_output(done: subprocess.CompletedProcess[bytes]) -> Any:
    """The JSON that a command printed; its complaint instead where it printed none."""
    try:
        return json.loads(done.stdout)
    except ValueError:
        return (done.stdout + done.stderr).decode(errors="replace")


def drafts_of(participant: str, today: date) -> list[Draft]:
    """All that a site says about a participant who meets every criterion, screening completed."""
    now = stamp(datetime.now(UTC))
    said = [(record.type, record.data.model_dump(exclude_unset=True)) for record in sealed(eligible(today))]
    said.append(("screening.completed", {"on": today.isoformat()}))
    return [Draft(source=SITE, type=type_, subject=participant, time=now, data=data) for type_, data in said]


def safety_drafts() -> list[Draft]:
    """An infusion of today, and a serious adverse event right after it."""
    now = datetime.now(UTC)
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {"ae": "1", "term": "Cytokine release syndrome", "grade": 3, "onset": at, "causality": "probable"}
    said: list[tuple[str, dict[str, Any]]] = [
        ("treatment.infused", {"at": at, "dose_level": "DL1", "number": 1}),
        ("safety.event_reported", event | {"serious": ["hospitalisation"], "aware": at}),
    ]
    return [Draft(source=SITE, type=type_, subject="701-001", time=stamp(now), data=data) for type_, data in said]


def write_drafts(path: Path, drafts: Sequence[Draft]) -> Path:
    """Write a file as `trail submit` reads it."""
    path.write_bytes(b"\n".join(write_json(draft.model_dump(exclude_none=True)) for draft in drafts) + b"\n")
    return path


def play(system: System, folder: Path) -> None:
    """Post, decide, repeat, break, verify, replay. Raises AssertionError where a promise is not kept."""
    file = write_drafts(folder / "drafts.ndjson", drafts_of("701-001", datetime.now(UTC).date()))

    # Every event gets a receipt, in the order in which the site said it.
    code, posted = system.trail("submit", "--wait", file=file)
    assert code == 0, posted
    assert {one["verdict"] for one in posted} == {"admitted"}
    assert [one["sequence"] for one in posted] == list(range(1, len(posted) + 1))
    indices = [one["index"] for one in posted]
    assert indices == sorted(indices)

    # The decision is sealed, and it is the right one.
    decided = wait_for_decisions(system)
    _, told = system.trail("show", "participant", "701-001")
    assert told["decision"]["standing"] == "eligible", told["now"]["blockers"]

    # The second half: an infusion, and a serious adverse event that nobody expected starts its clocks.
    more = write_drafts(folder / "safety.ndjson", safety_drafts())
    code, posted_too = system.trail("submit", "--wait", file=more)
    assert code == 0, posted_too
    decided = wait_for_decisions(system)
    _, clocks = system.trail("show", "clocks")
    assert {clock["profile"] for clock in clocks} == {"us_fda", "cn_nmpa"}, clocks
    _, board = system.trail("show", "cohorts")
    assert [one["state"] for one in board["levels"][0]["participants"]] == ["dlt"], board
    code, counted = system.trail("outcomes")
    assert code == 0, counted

    # Nothing happens twice.
    code, again = system.trail("submit", "--wait", file=file)
    assert code == 0, again
    assert again == posted

    # Nothing is lost: even what cannot be read is sealed, refused, and decides nothing.
    asyncio.run(_post_garbage(system.url))
    verified = _wait_for_refusal(system)
    assert verified["good"], verified["faults"]
    assert verified["gaps"] == {}
    code, replayed = system.trail("replay", "--check")
    assert code == 0, replayed
    assert replayed["good"]
    assert (replayed["decisions"], replayed["entries"]) == (decided, verified["entries"])


def wait_for_decisions(system: System) -> int:
    """Wait until everything that is due is decided and sealed; how many decisions there are then."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        code, replayed = system.trail("replay", "--check")
        assert code == 0, replayed
        if replayed["decisions"] and not replayed["pending"]:
            return int(replayed["decisions"])
        assert time.monotonic() < deadline, f"no decision within {_PATIENCE:.0f} s: {replayed}"


def _wait_for_refusal(system: System) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while True:
        code, verified = system.trail("verify")
        assert code == 0, verified
        if verified["refused"] == 1:
            return verified
        assert time.monotonic() < deadline, f"what was posted is not sealed: {verified}"


async def _post_garbage(url: str) -> None:
    topology = Topology(TRIAL)
    client = await nats.connect(url)
    subject = topology.intake_subject(SITE, "screening.observed")
    await client.jetstream().publish(subject, b"{ this is no event", stream=topology.intake)
    await client.close()


REGISTERED = Draft(
    source=SITE,
    type="screening.registered",
    subject="701-001",
    time="2026-03-04T09:00:00+08:00",
    data={"sex": "female", "birth_date": "1961-05-06"},
)


def weight(number: int) -> Draft:
    data = {"item": "weight", "collected": "2026-03-03", "value": number, "unit": "kg"}
    told = {"type": "screening.observed", "subject": "701-001", "time": "2026-03-04T09:00:00+08:00", "data": data}
    return Draft(source=SITE, **told)


def drafts_file(home: Installation, *drafts: Draft) -> Path:
    return write_drafts(home.directory.parent / "drafts.ndjson", drafts)


def post(system: Local, *drafts: Draft) -> tuple[int, object]:
    return system.trail("submit", "--wait", file=drafts_file(system.home, *drafts))


def all_holds(system: Local) -> None:
    assert system.trail("verify")[1]["good"]
    assert system.trail("replay", "--check")[0] == 0
    code, told = system.trail("fsck")
    assert code == 0, told
