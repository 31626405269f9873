"""The log's key is rotated under a running stack: everybody goes on, and everything still verifies."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.delivery import line, settled
from services.cli.installation import Installation
from services.cli.reading import reading, verify
from services.cli.stack import Stack
from services.console.replay import check
from services.screening.decide import ScreeningDecider
from shared.broker import connect
from shared.decider import DeciderStore
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.words import SourceId

SITE = SourceId("site/701")


def trail(home: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli.app", *arguments, "--data", str(home.directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


async def post(home: Installation, url: str, type_: str, **data: object) -> None:
    async with line(home, url) as connected:
        time = "2026-03-04T09:00:00+08:00"
        draft = Draft(source=SITE, type=type_, subject="701-001", time=time, data=data)
        connected.post.put(connected.post.missing_grants([draft]))
        assert await connected.deliver([ROOT_SOURCE], timeout=30)
        connected.post.put([draft])
        assert await connected.deliver([SITE], timeout=30), "the site's receipt verified"
        assert await settled(connected.js, home.topology, 30)


@pytest.mark.slow
def test_sites_deciders_and_auditors_follow_a_rotation(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial")
    stack = Stack(home)
    try:
        stack.start()
        asyncio.run(post(home, stack.url, "screening.registered", sex="male"))
        done = trail(home, "key", "rotate", "--why", "the yearly change")
        assert done.returncode == 0, done.stdout + done.stderr
        rotated = Installation.open(home.directory)
        assert rotated.log.current.vkey() in done.stdout.replace("\n", "")
        asyncio.run(post(rotated, stack.url, "screening.completed", on="2026-03-04"))
        again = trail(rotated, "key", "rotate", "--why", "stolen")
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        stack.stop()
    twice = Installation.open(home.directory)
    assert len(twice.log.keys) == 3
    with reading(twice) as source:
        entries = list(source.log.entries())
        for key in (home.log_key, twice.log.current):
            assert verify(source, log_key=key).faults == []
        assert "another log key" in verify(source, log_key=rotated.log.current).faults[0].what
    assert (check(entries).decisions, check(entries).pending) == (2, 0)
    read_again_from_the_beginning(twice, len(entries))


def read_again_from_the_beginning(home: Installation, size: int) -> None:
    """A decider without state reads a LOG that is rebuilt in one go, both rotations within one batch."""
    for part in ("broker", "screening"):
        shutil.move(home.directory / part, home.directory / f"{part}-moved-away")
    stack = Stack(home)
    try:
        stack.start()
        asyncio.run(at_rest(home, stack.url))
    finally:
        stack.stop()
    store = DeciderStore.at(home.directory / "screening" / "screening.sqlite", ScreeningDecider(), home.trial)
    _, seals = store.load(home.log_key)
    store.close()
    assert (seals.tree.size >= size, seals.log.keys) == (True, home.log.keys)


async def at_rest(home: Installation, url: str) -> None:
    client = await connect(url, "test")
    assert await settled(client.jetstream(), home.topology, 60)
    await client.close()


@pytest.mark.slow
def test_an_interrupted_rotation_is_finished_by_the_next(tmp_path: Path) -> None:
    """The command is killed when the rotation is sealed and not yet remembered on this machine."""
    home = begin_log(tmp_path / "trial")
    before = (home.directory / "trial.json").read_text("utf-8")
    stack = Stack(home)
    try:
        stack.start()
        assert trail(home, "key", "rotate", "--why", "the yearly change").returncode == 0
        (home.directory / "trial.json").write_text(before, "utf-8")
        done = trail(home, "key", "rotate", "--why", "the yearly change")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        stack.stop()
    finished = Installation.open(home.directory)
    assert len(finished.log.keys) == 2
    assert len(list((home.directory / "keys").glob("log-*.pem"))) == 1
    with reading(finished) as source:
        assert verify(source).faults == []
