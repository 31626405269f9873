"""Somebody with access to the broker writes to LOG: nobody acts on it, and both services say so and stop."""

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.delivery import line, settled
from services.cli.installation import Installation
from services.cli.reading import reading, verify
from services.cli.stack import Stack
from services.console.replay import check
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.words import SourceId

SITE = SourceId("site/701")


def said(home: Installation, name: str) -> list[dict[str, str]]:
    text = (home.directory / "run" / f"{name}.log").read_text("utf-8")
    return [json.loads(row) for row in text.splitlines() if row.startswith("{")]


async def forge(home: Installation, url: str) -> None:
    """A copy of the last entry of LOG, as if it had been sealed once more; then an honest event of a site."""
    async with line(home, url) as connected:
        last = (await connected.js.stream_info(home.topology.log)).state.last_seq
        copy = await connected.js.get_msg(home.topology.log, last)
        await connected.js.publish(f"log.{home.trial}.service.audit.log.ticked", copy.data or b"")
        draft = Draft(
            source=SITE,
            type="screening.registered",
            subject="701-001",
            time="2026-03-04T09:00:00+08:00",
            data={"sex": "male"},
        )
        connected.post.put(connected.post.missing_grants([draft]))
        await connected.deliver([ROOT_SOURCE], timeout=5)


@pytest.mark.slow
def test_a_forged_log_message_is_not_acted_on_and_stops_every_service(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial")
    stack = Stack(home)
    try:
        stack.start()
        asyncio.run(forge(home, stack.url))
        deadline = time.monotonic() + 20
        stopped: dict[str, str] = {}
        while len(stopped) < 3 and time.monotonic() < deadline:
            for name in ("audit", "screening", "safety"):
                for row in said(home, name):
                    if row["event"].startswith("stopping"):
                        stopped[name] = row["error"]
            time.sleep(0.1)
    finally:
        stack.stop()
    assert "does not follow entry" in stopped["screening"]
    assert "does not follow entry" in stopped["safety"]
    assert "move the broker's files away" in stopped["audit"]
    with reading(home) as source:
        assert verify(source).faults == [], "the log itself is untouched"
    heal_as_told(home)


def heal_as_told(home: Installation) -> None:
    """Do what the sentence says: everything goes on, on a broker that counts from 1 again."""
    shutil.move(home.directory / "broker", home.directory / "broker-moved-away")
    stack = Stack(home)
    try:
        stack.start()
        sealed, mirrored = asyncio.run(go_on(home, stack.url))
    finally:
        stack.stop()
    with reading(home) as source:
        entries = list(source.log.entries())
        assert verify(source).faults == []
    assert sealed == 2
    assert mirrored == len(entries)
    assert check(entries).decisions == 2  # where slots are open, and eligibility


async def go_on(home: Installation, url: str) -> tuple[int, int]:
    async with line(home, url) as connected:
        drafts = [
            Draft(source=SITE, type=type_, subject="701-001", time="2026-03-04T09:00:00+08:00", data=data)
            for type_, data in (
                ("screening.registered", {"sex": "male"}),
                ("screening.completed", {"on": "2026-03-04"}),
            )
        ]
        assert await connected.deliver([ROOT_SOURCE], timeout=30), "the grant that was cut off is delivered now"
        kept = connected.post.put(drafts)
        assert await connected.deliver([SITE], timeout=30)
        assert await settled(connected.js, home.topology, 30)
        mirrored = (await connected.js.stream_info(home.topology.log)).state.last_seq
        return sum(one.verdict == "admitted" for _, one in connected.post.outcomes(kept)), mirrored
