"""What goes wrong in an installation's life, on the real stack: how it is noticed, and that it goes on."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.delivery import Line, line, settled
from services.cli.installation import Installation
from services.cli.reading import reading, verify
from services.cli.stack import Stack
from services.console.replay import check
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.words import SourceId, TrailError

SITE = SourceId("site/701")
NOW = "2026-03-04T09:00:00+08:00"


def draft(type_: str, **data: object) -> Draft:
    return Draft(source=SITE, type=type_, subject="701-001", time=NOW, data=data)


REGISTERED = draft("screening.registered", sex="male")
COMPLETED = draft("screening.completed", on="2026-03-04")


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return begin_log(tmp_path / "trial", practice=True)


@pytest.fixture
def stack(home: Installation) -> Iterator[Stack]:
    made = Stack(home)
    try:
        made.start()
        yield made
    finally:
        made.stop()


async def post(connected: Line, *drafts: Draft, timeout: float = 60) -> bool:
    connected.post.put(connected.post.missing_grants(drafts))
    await connected.deliver([ROOT_SOURCE], timeout=timeout)
    connected.post.put(drafts)
    return await connected.deliver([SITE], timeout=timeout)


@pytest.mark.slow
def test_two_thousand_entries_under_one_checkpoint_are_decided_on(tmp_path: Path) -> None:
    """More than the broker leaves unacknowledged at once: deciding must not wait for what cannot come."""
    start = datetime(2026, 3, 4, 1, tzinfo=UTC)
    home = begin_log(tmp_path / "trial", clock="simulated", start=start, tick_seconds=1)
    stack = Stack(home)

    async def play() -> None:
        async with line(home, stack.url) as connected:
            to = stamp(start + timedelta(seconds=2000))
            move = Draft(source=ROOT_SOURCE, type="log.clock_moved", time=stamp(start), data={"to": to})
            connected.post.put([move])
            assert await connected.deliver([ROOT_SOURCE], timeout=60)
            assert await post(connected, REGISTERED, COMPLETED)
            assert await settled(connected.js, home.topology, 60)

    try:
        stack.start()
        asyncio.run(play())
    finally:
        stack.stop()
    with reading(home) as source:
        entries = list(source.log.entries())
        assert verify(source).faults == []
    assert len(entries) > 2005
    result = check(entries)
    assert (result.decisions, result.pending) == (2, 0)  # where slots are open, and eligibility


@pytest.mark.slow
@pytest.mark.part11("E6(R3) 4.3.6")
def test_a_site_with_thousands_of_events_outlives_a_broker_outage(home: Installation, stack: Stack) -> None:
    """More than a client may buffer: nothing blocks for good, and all is delivered when the broker is back."""
    note = "x" * 1200
    drafts = [
        draft("screening.attested", topic="copd", answer="no", on="2026-03-01", detail=f"{at} {note}")
        for at in range(2500)
    ]

    async def play() -> None:
        async with line(home, stack.url) as connected:
            assert await post(connected, REGISTERED)
            os.kill(stack.pid("broker"), signal.SIGKILL)
            connected.post.put(drafts)
            assert not await connected.deliver([SITE], timeout=3)
            await asyncio.to_thread(stack.watch_once)
            assert await connected.deliver([SITE], timeout=120)

    asyncio.run(play())
    with reading(home) as source:
        assert sum(b'"copd"' in entry.body for entry in source.log.entries()) == len(drafts)


@pytest.mark.slow
def test_a_log_and_its_checkpoints_put_back_together_are_told_by_receipts_and_refused(home: Installation) -> None:
    stack = Stack(home)

    def run(*drafts: Draft) -> None:
        async def play() -> None:
            async with line(home, stack.url) as connected:
                assert await post(connected, *drafts)
                assert await settled(connected.js, home.topology, 60)

        asyncio.run(play())

    stack.start()
    run(REGISTERED)
    stack.stop()
    older = home.directory.parent / "older"
    for part in ("audit", "checkpoints"):
        shutil.copytree(home.directory / part, older / part)
    stack = Stack(home)
    stack.start()
    run(COMPLETED)
    stack.stop()
    for part in ("audit", "checkpoints"):
        shutil.rmtree(home.directory / part)
        shutil.copytree(older / part, home.directory / part)
    with reading(home) as source:
        (fault, *_) = verify(source).faults
    assert "site-701 holds a receipt for another entry" in fault.what
    stack = Stack(home)
    try:
        with pytest.raises(
            TrailError, match=r"the witness local .* has cosigned [0-9]+ entries .* a back-up was restored"
        ):
            stack.start()
    finally:
        stack.stop()


def test_a_process_that_cannot_stay_up_stops_the_stack_with_its_own_words(home: Installation, stack: Stack) -> None:
    os.kill(stack.pid("audit"), signal.SIGKILL)
    stack.patience = 0
    with pytest.raises(TrailError, match="audit does not stay up"):
        watch(stack, 5)


def watch(stack: Stack, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stack.watch_once()
