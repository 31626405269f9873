"""A running stack tells how it is: what it serves is what the documents, the alerts and the dashboard speak of."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.stack import Stack
from shared.broker import KEY_HEADER, SIGNATURE_HEADER
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.outbox import uuid7
from shared.words import SourceId
from tests.scenario import SITE, TRIAL, drafts_of
from tests.scrape import PARTS, Scraped, free_address, scrape
from tests.tsa import Certifier, Tsa

ROOT = Path(__file__).parents[2]
OTHER = SourceId("site/702")


@dataclass(frozen=True, slots=True)
class Running:
    """A running stack with everything that can be watched: a witness, tiles, an authority."""

    stack: Stack
    address: str

    def scrape(self, part: str) -> Scraped:
        return scrape(self.address, PARTS.index(part))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("observed")
    address = free_address(len(PARTS))
    home = begin_log(folder / "trial", practice=True)
    certifier = Certifier(folder / "authority")
    with Tsa(certifier) as tsa, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAIL_METRICS", address)
        (home.directory / "tsa-1.pem").write_bytes(certifier.roots.read_bytes())
        authority = {"name": "tsa-1", "url": tsa.url, "roots": "tsa-1.pem"}
        home.timestamping_path.write_text(json.dumps({"every_seconds": 1, "authorities": [authority]}), "utf-8")
        stack = Stack(home)
        try:
            stack.start()
            asyncio.run(post(home, stack.url))
            yield Running(stack, address)
        finally:
            stack.stop()


async def post(home: Installation, url: str) -> None:
    """A whole screening, an event far ahead of its source's sequence, and one that is none."""
    drafts = drafts_of("701-001", datetime.now(UTC).date())
    told = Draft(
        source=OTHER,
        type="screening.registered",
        subject="702-001",
        time=stamp(datetime.now(UTC)),
        data={"sex": "male"},
    )
    async with line(home, url) as connected:
        post = connected.post
        post.put(post.missing_grants([*drafts, told]))
        assert await connected.deliver([ROOT_SOURCE], timeout=60)
        post.put(drafts)
        assert await connected.deliver([SITE], timeout=60)
        key, payload = post.key(OTHER, told.signing_role), told.payload(TRIAL, uuid7(), 5)
        headers = {KEY_HEADER: key.id, SIGNATURE_HEADER: key.sign_event(payload)}
        subject = home.topology.intake_subject(OTHER, "screening.registered")
        await connected.js.publish(subject, payload, stream=home.topology.intake, headers=headers)
        await connected.js.publish(subject, b"no event", stream=home.topology.intake)


def wait_until(running: Running, part: str, name: str, value: float, **labels: str) -> Scraped:
    deadline = time.monotonic() + 40
    while (found := running.scrape(part)).value(name, **labels) != value:
        assert time.monotonic() < deadline, (name, found.value(name, **labels))
        time.sleep(0.2)
    return found


def test_the_notary_tells_what_it_has_sealed_and_how_its_outsiders_stand(running: Running) -> None:
    found = wait_until(running, "audit", "trail_notary_sequence_gaps", 1)
    assert found.by("trail_notary_missing_events", "source") == {OTHER: 4}
    found = wait_until(running, "audit", "trail_notary_refused_entries_total", 1, stage="envelope")
    assert found.value("trail_notary_sealed_entries_total", verdict="refused") == 1
    assert found.value("trail_notary_in_trouble") == 0
    assert found.value("trail_notary_broker_connected") == 1
    assert found.value("trail_metrics_unread_parts") == 0
    assert abs(time.time() - (found.value("trail_notary_last_seal_timestamp_seconds") or 0)) < 120
    assert (found.value("trail_notary_seal_duration_seconds_count") or 0) > 1
    found = wait_until(running, "audit", "trail_notary_intake_lag_messages", 0)
    size = found.value("trail_notary_log_entries")
    assert size is not None
    assert size > 30
    assert (found.value("trail_notary_sealed_entries_total", verdict="admitted") or 0) > 30
    for name in ("log_stream_entries", "signed_entries", "cosigned_entries", "published_entries"):
        wait_until(running, "audit", f"trail_notary_{name}", size)
    found = wait_until(running, "audit", "trail_notary_stamped_entries", size, authority="tsa-1")
    now = time.time()
    assert abs(now - (found.value("trail_notary_cosigned_timestamp_seconds") or 0)) < 120
    assert abs(now - (found.value("trail_notary_stamped_timestamp_seconds", authority="tsa-1") or 0)) < 120
    assert found.value("trail_notary_stamping_interval_seconds") == 1
    assert found.by("trail_notary_errand_troubles", "errand") == {"witnesses": 0, "timestamps": 0, "tiles": 0}
    (offset,) = found.by("trail_notary_witness_clock_offset_seconds", "witness").values()
    assert abs(offset) < 5


@pytest.mark.parametrize("part", ["screening", "safety"])
def test_a_decider_tells_what_it_has_decided_and_that_nothing_waits(running: Running, part: str) -> None:
    if part == "screening":
        found = wait_until(running, part, "trail_decider_decisions_total", 1)
    wait_until(running, part, "trail_decider_behind_entries", 0)
    size = running.scrape("audit").value("trail_notary_log_entries")
    found = wait_until(running, part, "trail_decider_outbox_waiting_events", 0)
    decided = found.value("trail_decider_decided_entries")
    assert decided is not None
    assert size is not None
    assert decided >= size > 30
    assert (found.value("trail_decider_decide_duration_seconds_count") or 0) > 1
    assert found.value("trail_decider_broker_connected") == 1
    assert found.value("trail_metrics_unread_parts") == 0


def test_the_witness_tells_how_far_it_has_cosigned(running: Running) -> None:
    size = running.scrape("audit").value("trail_notary_log_entries")
    assert size is not None
    found = wait_until(running, "witness", "trail_witness_cosigned_entries", size)
    assert set(found.by("trail_witness_refused_checkpoints", "kind").values()) == {0}
