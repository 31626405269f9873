"""A source whose receipts do not come keeps its events, sends them again, and says so aloud."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.cli.beginning import begin_log
from services.cli.stack import Stack
from shared import courier
from shared.broker import connect, provision
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE


@pytest.mark.part11("E6(R3) 4.3.6")
def test_overdue_receipts_are_alarmed_and_their_events_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real broker that nobody seals from."""
    monkeypatch.setattr(courier, "RESEND_AFTER", 0.2)
    monkeypatch.setattr(courier, "ALARM_AFTER", 0.5)
    home = begin_log(tmp_path / "trial")
    stack = Stack(home)
    outbox = home.outbox(ROOT_SOURCE)
    sponsor = {"public_key": "A" * 43 + "=", "holder": "Sponsor", "source": "sponsor/1", "roles": ["sponsor"]}
    outbox.put(
        [Draft(source=ROOT_SOURCE, type="identity.granted", time="2026-03-04T09:00:00Z", data=sponsor)],
        lambda _role: home.key("root"),
    )
    waiting = outbox.count_waiting()

    async def wait_in_vain() -> tuple[int, int]:
        client = await connect(stack.url, "test")
        await provision(client.jetstream(), home.topology, {})
        carrier = courier.Courier(client, outbox, home.topology, home.log)
        await carrier.start()
        assert not await carrier.deliver(timeout=2.5)
        sent = (await client.jetstream().stream_info(home.topology.intake)).state.messages
        await carrier.stop()
        await client.close()
        return sent, carrier.overdue

    try:
        stack._spawn("broker")
        stack._wait_ready("broker")
        with capture_logs() as said:
            sent, overdue = asyncio.run(wait_in_vain())
    finally:
        stack.stop()
        kept = outbox.count_waiting()
        outbox.close()
    assert kept == waiting > 0
    assert sent > waiting
    assert overdue == waiting
    alarms = [one for one in said if one["log_level"] == "error"]
    assert {(one["source"], one["events"]) for one in alarms} == {(ROOT_SOURCE, waiting)}
    assert "`trail doctor` says what is down" in alarms[0]["event"]
