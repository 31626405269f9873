"""What does not leave a site, does not arrive, or arrives twice."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest

from services.cli.delivery import Line
from services.cli.installation import Installation
from shared.drafts import Draft
from shared.entry import Entry
from shared.receipt import open_receipt
from shared.words import SourceId
from tests.attacks.owner import change, moved_away
from tests.attacks.scene import A, B, Trial, copied, entries, running, sent_again, trail, weighed
from tests.notary import STRANGER


@pytest.fixture(scope="module")
def busy(original: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A running stack for attacks that only add something."""
    with running(copied(original, tmp_path_factory.mktemp("busy") / "trial")) as made:
        yield made


def put(home: Installation, *drafts: Draft) -> list[int]:
    """Number and sign a site's drafts, and send nothing."""
    site = SourceId(drafts[0].source)
    with closing(home.outbox(site)) as outbox:
        return outbox.put(drafts, lambda _role: home.key(site.replace("/", "-")))


def forgotten(home: Installation, site: SourceId, sequence: int) -> None:
    """Let a site's own system lose an event without a trace."""
    change(home.outbox_path(site), ("DELETE FROM outbox WHERE sequence = ?", (sequence,)))


def sealed(home: Installation, what: bytes) -> list[Entry]:
    """The entries whose body holds this."""
    return [entry for entry in entries(home) if what in entry.body]


def test_an_event_that_its_site_withholds(busy: Trial) -> None:
    withheld, _ = put(busy.home, weighed(A, 80), weighed(A, 81))
    forgotten(busy.home, A, withheld)
    assert trail("deliver", "--wait", "--data", busy.home.directory).code == 0
    busy.come_to_rest()
    (gap,) = sealed(busy.home, b'"type":"trialtrail.log.gap_detected.v1"')
    assert b'"first_missing":%d' % withheld in gap.body
    verified = trail("verify", busy.home.directory)
    assert f"site/701 has not delivered its events {withheld}." in verified.text
    assert verified.code == 0, "the log is as it should be, and says what it lacks"


def test_the_last_event_of_a_site_withheld(busy: Trial) -> None:
    """No later number betrays it: only the site's own outbox does, as long as it keeps it."""
    (withheld,) = put(busy.home, weighed(B, 82))
    assert "1 events of site-702 have no receipt yet" in trail("doctor", "--data", busy.home.directory).text
    forgotten(busy.home, B, withheld)
    for command in ("verify", "doctor", "fsck"):
        assert "site/702 has not" not in trail(command, "--data", busy.home.directory).text


def test_a_message_sent_again_by_a_stranger(busy: Trial) -> None:
    old = sealed(busy.home, b'"value":60')[0]
    size = len(entries(busy.home))

    async def replay(connected: Line) -> str:
        receipts = await connected.client.subscribe(f"receipt.{busy.home.trial}.site.702")
        await connected.client.flush()
        await sent_again(connected, old)
        return (await receipts.next_msg(10)).data.decode()

    receipt = busy.on_line(replay)
    assert open_receipt(receipt, old.body, busy.home.log).entry == old, "the receipt comes again"
    assert len(entries(busy.home)) == size, "and nothing else happens"


@pytest.mark.parametrize("how", ["on another subject", "signed by a stranger", "unsigned"])
def test_a_message_sent_again_in_another_guise(busy: Trial, how: str) -> None:
    old = sealed(busy.home, b'"value":60')[0]
    size = len(entries(busy.home))
    elsewhere = old.header.subject.replace("site.702", "site.701")
    mount, sentence = {
        "on another subject": (
            lambda connected: sent_again(connected, old, subject=elsewhere),
            "the event was published on another subject than its own",
        ),
        "signed by a stranger": (
            lambda connected: sent_again(connected, old, key=STRANGER.id, signature=STRANGER.sign_event(old.body)),
            "has not been granted in this log",
        ),
        "unsigned": (
            lambda connected: sent_again(connected, old, key="", signature=""),
            "the event is not signed",
        ),
    }[how]
    busy.on_line(mount)
    busy.come_to_rest()
    (again,) = entries(busy.home)[size:]
    assert not again.admitted
    assert sentence in again.header.reason


def post_in_vain(trial: Trial, *drafts: Draft) -> None:
    """The notary is dead; the broker takes and acknowledges what sites post."""
    os.kill(trial.stack.pid("audit"), signal.SIGKILL)
    assert not trial.post(*drafts, timeout=1)


def test_messages_dropped_with_the_brokers_files(home: Installation) -> None:
    size = len(entries(home))
    with running(home) as trial:
        post_in_vain(trial, weighed(A, 70), weighed(B, 71))
        assert "1 events of site-701 have no receipt yet" in trail("doctor", "--data", home.directory).text
    moved_away(home.directory / "broker")
    with running(home) as trial:
        delivered = trail("deliver", "--wait", "--data", home.directory)
        trial.come_to_rest()
    assert delivered.code == 0, delivered.text
    assert len(entries(home)) == size + 2, "each is sealed once"
    assert trail("verify", home.directory).code == 0


def test_messages_dropped_from_the_middle(trial: Trial) -> None:
    """The owner of the broker makes the stream anew, as if these messages had never come."""
    topology = trial.home.topology
    post_in_vain(trial, weighed(A, 70), weighed(B, 71))

    async def drop(connected: Line) -> int:
        config = (await connected.js.stream_info(topology.intake)).config
        last = (await connected.js.stream_info(topology.intake)).state.last_seq
        await connected.js.delete_stream(topology.intake)
        await connected.js.add_stream(config.evolve(first_seq=last + 1))
        return int(last)

    last = trial.on_line(drop)
    trial.stack.watch_once()
    delivered = trail("deliver", "--wait", "--data", trial.home.directory)
    trial.come_to_rest()
    assert delivered.code == 0, delivered.text
    (lost,) = sealed(trial.home, b"log.intake_lost")
    assert b'"last_missing":%d' % last in lost.body
    for value in (b'"value":70', b'"value":71'):
        assert len(sealed(trial.home, value)) == 1, "nothing is lost, and nothing comes twice"
    assert trail("verify", trial.home.directory).code == 0
