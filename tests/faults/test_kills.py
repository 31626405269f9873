"""Fifty kills during an import: nothing is lost, nothing happens twice, the replay is equal."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.delivery import settled
from services.cli.installation import Installation
from services.cli.reading import reading, verify
from services.cli.stack import Stack
from services.cli.study import Post, synthetic_study
from services.console.replay import check
from shared.broker import connect
from shared.envelope import read_envelope
from shared.words import SourceId, TrailError

KILLS = 50
SEED = 6027853


def write_waves(directory: Path) -> list[Path]:
    """The synthetic study's posts as draft files, a participant's events never split over two."""
    posts = [act.draft for day in synthetic_study() for act in day.acts if isinstance(act, Post)]
    drafts = [draft for draft in posts if draft.source.startswith("site/")]  # a sponsor's word waits for the site's
    by_participant: dict[str, list[str]] = {}
    for draft in drafts:
        line = draft.model_dump(mode="json", exclude_none=True)
        for value in (line["data"], line["data"].get("reference", {})):
            for name in ("value", "low", "high", "half_life_hours"):
                if isinstance(value.get(name), str):
                    value[name] = float(value[name])
        by_participant.setdefault(draft.subject or "", []).append(json.dumps(line))
    waves = []
    codes = sorted(by_participant)
    for at in range(0, len(codes), 4):
        path = directory / f"wave-{at:02}.ndjson"
        path.write_text("\n".join(line for code in codes[at : at + 4] for line in by_participant[code]) + "\n")
        waves.append(path)
    return waves


class Importer:
    """A site's client as a process of its own, started again wherever it was killed."""

    def __init__(self, home: Installation, waves: list[Path]) -> None:
        self._home = home
        self._waves = waves
        self._process: subprocess.Popen[bytes] | None = None
        self.done = 0

    def keep_going(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                return
            if self._process.returncode == 0:
                self.done += 1
        self._process = None
        if self.done < len(self._waves):
            command = [
                sys.executable,
                "-m",
                "services.cli.app",
                "submit",
                "--wait",
                "--data",
                str(self._home.directory),
            ]
            with (self._home.directory / "run" / "importer.log").open("ab") as log:
                self._process = subprocess.Popen([*command, str(self._waves[self.done])], stdout=log, stderr=log)

    def kill(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.kill()
        self._process.wait()
        return True

    @property
    def finished(self) -> bool:
        return self.done == len(self._waves) and self._process is None


def watch(stack: Stack) -> None:
    """Start again what has died; a start that was itself killed is tried once more."""
    for _ in range(10):
        try:
            stack.watch_once()
        except TrailError:
            time.sleep(0.2)
        else:
            return


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.part11("11.10(a)", "E6(R3) 4.3.6")
def test_fifty_kills_during_an_import_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial", practice=True)
    waves = write_waves(tmp_path)
    stack = Stack(home)
    stack.patience = KILLS * 2  # a process that is killed on purpose is not one that cannot stay up
    chance, killed = random.Random(SEED), Counter[str]()
    importer = Importer(home, waves)
    try:
        stack.start()
        importer.keep_going()
        while not importer.finished:
            deadline = time.monotonic() + chance.uniform(0.1, 2.0)
            while time.monotonic() < deadline and not importer.finished:
                watch(stack)
                importer.keep_going()
                time.sleep(0.02)
            victim = chance.choice(["broker", "audit", "screening", "safety", "importer"])
            if sum(killed.values()) < KILLS:
                if victim == "importer":
                    killed[victim] += importer.kill()
                else:
                    os.kill(stack.pid(victim), signal.SIGKILL)
                    killed[victim] += 1
        assert sum(killed.values()) == KILLS, "the import was over before all kills were done: make it longer"
        watch(stack)
        posted, mirrored = asyncio.run(at_rest(home, stack))
    finally:
        importer.kill()
        stack.stop()
    with reading(home) as source:
        entries = list(source.log.entries())
        report = verify(source)
    sealed = Counter(
        read_envelope(entry.body).id for entry in entries if entry.admitted and ".site." in entry.header.subject
    )
    result = check(entries)
    print(
        f"\n{sum(killed.values())} kills ({dict(killed)}); {len(posted)} events posted, {len(sealed)} sealed, "
        f"{sum(sealed.values()) - len(sealed)} twice; LOG {len(mirrored)} = database {len(entries)}; "
        f"{result.decisions} decisions replayed, {len(result.differences)} differ, {result.pending} pending"
    )
    assert set(sealed) == posted
    assert set(sealed.values()) == {1}
    assert mirrored == [entry.raw for entry in entries]
    assert report.faults == []
    assert report.gaps == {}
    assert result.decisions > 0
    assert (result.differences, result.pending) == ([], 0)


async def at_rest(home: Installation, stack: Stack) -> tuple[set[str], list[bytes]]:
    """The ids that sites have posted, and all of LOG, when everything has come to rest."""
    client = await connect(stack.url, "test")
    js = client.jetstream()
    assert await settled(js, home.topology, 120)
    posted: set[str] = set()
    for site in ("101", "102", "103"):
        outbox = home.outbox(SourceId(f"site/{site}"))
        assert outbox.count_waiting() == 0
        with outbox.engine.connect() as connection:
            posted |= {row[0] for row in connection.exec_driver_sql("SELECT id FROM outbox")}
        outbox.close()
    size = (await js.stream_info(home.topology.log)).state.last_seq
    mirrored = [(await js.get_msg(home.topology.log, at)).data or b"" for at in range(1, size + 1)]
    await client.close()
    return posted, mirrored
