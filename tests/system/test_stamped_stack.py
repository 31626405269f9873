"""A running stack has its checkpoints stamped by an outside authority, and a dead one never stops sealing."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services.audit.timestamps import Timestamps
from services.cli.beginning import begin_log
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.reading import reading, verify
from services.cli.stack import Stack
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from tests.tsa import Certifier, Tsa, openssl_accepts


def doctor(home: Installation) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "services.cli.app", "doctor", "--json", "--data", str(home.directory)]
    found: list[dict[str, str]] = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    return found


async def seal_something(home: Installation, url: str, number: int) -> None:
    data = {"public_key": f"{number:A>43}=", "holder": "Sponsor", "source": "sponsor/1", "roles": ["sponsor"]}
    draft = Draft(source=ROOT_SOURCE, type="identity.granted", time="2026-03-04T09:00:00Z", data=data)
    async with line(home, url) as connected:
        connected.post.put([draft])
        assert await connected.deliver([ROOT_SOURCE], timeout=30), "sealed, with a receipt"


def wait_for(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 40
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def stamped(home: Installation) -> int:
    with reading(home) as source:
        return len(Timestamps(source.checkpoints.engine).all())


def test_checkpoints_are_stamped_checked_and_a_dead_authority_shows_and_stops_nothing(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial")
    certifier = Certifier(tmp_path / "authority")
    with Tsa(certifier) as tsa:
        (home.directory / "tsa-1.pem").write_bytes(certifier.roots.read_bytes())
        authority = {"name": "tsa-1", "url": tsa.url, "roots": "tsa-1.pem"}
        home.timestamping_path.write_text(json.dumps({"every_seconds": 1, "authorities": [authority]}), "utf-8")
        stack = Stack(home)
        try:
            stack.start()
            asyncio.run(seal_something(home, stack.url, 1))
            wait_for(lambda: stamped(home) > 0, "a timestamp")
            tsa.answer = tsa.broken
            asyncio.run(seal_something(home, stack.url, 2))
            wait_for(
                lambda: any("tsa-1" in one["what"] for one in doctor(home)), "the doctor tells of the dead one"
            )
            (told,) = (one for one in doctor(home) if one["what"].startswith("timestamps: "))
            asyncio.run(seal_something(home, stack.url, 3))
        finally:
            stack.stop()
    assert told["state"] == "sick"
    with reading(home) as source:
        report = verify(source)
        timestamps = Timestamps(source.checkpoints.engine).all()
    assert report.faults == []
    assert report.timestamps == len(timestamps) >= 1
    assert all(openssl_accepts(one.token, one.text, certifier.roots, tmp_path) for one in timestamps)
