"""One source takes all the time, or something takes all the disk: others are served, and nothing is lost."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.cli.delivery import Line
from services.cli.installation import Installation
from shared.broker import KEY_HEADER, SIGNATURE_HEADER
from shared.drafts import Draft
from shared.outbox import uuid7
from tests.attacks.scene import (
    A,
    B,
    Trial,
    awaited,
    cosigned,
    entries,
    registered,
    running,
    size_of,
    trail,
    weighed,
)

FLOOD = b'"detail":"flood '
LONGEST_WAIT = 60.0  # seconds; generous on purpose


async def flood(connected: Line, first: int, events: int, garbage: int) -> None:
    """Well-formed events and garbage of one site, as fast as the broker takes them."""
    home = connected.post.home
    key, stream = home.key("site-701"), home.topology.intake
    window = connected.client.jetstream(publish_async_max_pending=2000)
    for number in range(max(events, garbage)):
        if number < garbage:
            subject = f"intake.{home.trial}.site.701.screening.observed"
            await window.publish_async(subject, b"garbage %d" % (first + number), stream=stream)
        if number < events:
            data = {"topic": "copd", "answer": "no", "on": "2026-01-15", "detail": f"flood {number}"}
            told = {"type": "screening.attested", "data": data}
            draft: Draft = registered(A, "003").model_copy(update=told)
            payload = draft.payload(home.trial, uuid7(), first + number)
            marks = {KEY_HEADER: key.id, SIGNATURE_HEADER: key.sign_event(payload)}
            subject = f"intake.{home.trial}.site.701.screening.attested"
            await window.publish_async(subject, payload, headers=marks, stream=stream)
    await window.publish_async_completed()


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.timeout(900))])
def test_a_flood_from_one_site(trial: Trial, count: int) -> None:
    home, before = trial.home, size_of(trial.home)
    notary, waits = trial.stack.pid("audit"), list[float]()

    async def post(connected: Line) -> None:
        began = time.monotonic()
        connected.post.put([weighed(B, 100 + len(waits))])
        assert await connected.deliver([B], timeout=2 * LONGEST_WAIT), "the other site's event is sealed"
        waits.append(time.monotonic() - began)

    async def play(connected: Line) -> float:
        first = connected.post.outbox(A).next_sequence()
        flooding = asyncio.create_task(flood(connected, first, count, count))
        while not flooding.done():
            await asyncio.sleep(0.2)
            await post(connected)
        await flooding
        os.kill(notary, signal.SIGSTOP)  # and once more, all before the other site says a word
        await flood(connected, first + count, 0, count)
        waiting = asyncio.create_task(post(connected))
        await asyncio.sleep(0.5)
        os.kill(notary, signal.SIGCONT)
        await waiting
        return waits.pop()

    behind = trial.on_line(play)
    awaited(lambda: size_of(home) == before + 3 * count + len(waits) + 1, LONGEST_WAIT)
    awaited(lambda: cosigned(home) == size_of(home), LONGEST_WAIT)
    verified = trail("verify", home.directory)
    print(
        f"\n{count} events and {count} messages of garbage from one site: meanwhile another site waited at most "
        f"{max(waits):.1f} s for each of {len(waits)} receipts; behind {count} messages that were there before, "
        f"{behind:.1f} s"
    )
    assert max(waits) < LONGEST_WAIT
    log = entries(home)
    assert sum(FLOOD in entry.body and entry.admitted for entry in log) == count, "the flood itself is sealed too"
    assert sum(entry.body.startswith(b"garbage ") for entry in log) == 2 * count
    assert len(log) == before + 3 * count + len(waits) + 1, "nothing is lost, and nothing comes twice"
    assert verified.code == 0, verified.text


@contextmanager
def small_disk(directory: Path, megabytes: int = 48) -> Iterator[None]:
    """A disk of its own for a directory and what is in it."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    aside = directory.with_name(f"{directory.name}-aside")
    shutil.copytree(directory, aside, symlinks=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mounts, as in an unprivileged container")
    try:
        shutil.copytree(aside, directory, symlinks=True, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """No byte left on the disk of a directory, for a while."""
    ballast = directory / "ballast"
    descriptor = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError:
        os.close(descriptor)
    try:
        yield
    finally:
        ballast.unlink()


def all_is_delivered(trial: Trial, before: int, *values: int) -> None:
    """Everything is sealed once, and the log is as it should be."""
    assert trial.deliver()
    trial.come_to_rest()
    new = entries(trial.home)[before:]
    assert all(entry.admitted for entry in new)
    assert sorted(entry.body.partition(b'"value":')[2][:2] for entry in new) == [b"%d" % one for one in values]
    assert trail("verify", trial.home.directory).code == 0


@pytest.mark.parametrize("part", ["audit", "checkpoints"])
def test_the_notarys_disk_is_full(home: Installation, part: str) -> None:
    before = size_of(home)
    with small_disk(home.directory / part), running(home) as trial:
        assert trial.post(weighed(A, 70))
        with filled(home.directory / part):
            assert not trial.post(weighed(A, 71), weighed(B, 72), timeout=3), "no receipt for what cannot be kept"
            assert "database or disk is full" in trial.complaint("audit")
        all_is_delivered(trial, before, 70, 71, 72)


@pytest.mark.parametrize("part", ["broker", "."])
def test_the_disk_of_the_broker_or_of_everything_is_full(home: Installation, tmp_path: Path, part: str) -> None:
    """A site's outbox is at the site, so it keeps what the broker does not take."""
    before = size_of(home)
    shutil.move(home.directory / "outbox", tmp_path / "outbox")
    (home.directory / "outbox").symlink_to(tmp_path / "outbox")
    with small_disk(home.directory / part), running(home) as trial:
        assert trial.post(weighed(A, 70))
        with filled(home.directory / part):
            assert not trial.post(weighed(A, 71), weighed(B, 72), timeout=3)
            if part == "broker":
                assert "no space left on device" in trial.complaint("audit", "warning")
            else:
                assert "sick 0 MB free on the disk" in trail("doctor", "--data", home.directory).text
        # The broker does not forget a write that has failed until it is started again.
        os.kill(trial.stack.pid("broker"), signal.SIGTERM)
        awaited(lambda: trial.stack._processes["broker"].poll() is not None)
        trial.stack.watch_once()
        all_is_delivered(trial, before, 70, 71, 72)
