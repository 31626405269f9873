"""A cluster of three brokers, streams on all of them: nodes are killed, paused and damaged while sites post."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from services.audit.log import Log
from services.cli.beginning import begin_log
from services.cli.installation import Installation
from shared.broker import Topology
from shared.drafts import Draft
from shared.envelope import read_envelope
from tests.cluster import BrokerCluster, cluster
from tests.scenario import REGISTERED, SITE, Local, all_holds, write_drafts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SEED = 6027853
PER_WAVE = 20
KEYS = {"audit": "log", "screening": "service-screening", "safety": "service-safety"}


class Services:
    """The notary and the deciders, each a process of its own, started again when it ends as a supervisor would."""

    def __init__(self, home: Installation, url: str) -> None:
        self._home = home
        self._url = url
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts = Counter[str]()

    def keep_up(self) -> None:
        for name, key in KEYS.items():
            process = self._running.get(name)
            if process is not None and process.poll() is None:
                continue
            self.restarts[name] += process is not None
            settings = {
                "TRAIL_HOME": str(self._home.directory),
                "TRAIL_BROKER": self._url,
                "TRAIL_DATA": str(self._home.directory / name),
                "TRAIL_KEY": str(self._home.directory / "keys" / f"{key}.pem"),
                "TRAIL_REPLICAS": "3",
            }
            with (self._home.directory / f"{name}.log").open("ab") as log:
                command = [sys.executable, "-m", f"services.{name}.app"]
                self._running[name] = subprocess.Popen(command, env=dict(os.environ) | settings, stderr=log)

    def stop(self) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        for process in self._running.values():
            process.wait(20)


class Posting:
    """Waves of events that a site posts, each by a process of its own, until every receipt has come."""

    def __init__(self, home: Installation, url: str) -> None:
        self._home = home
        self._url = url
        self.waves = 0

    def begin(self) -> subprocess.Popen[bytes]:
        self.waves += 1
        first = self.waves * PER_WAVE
        drafts = [weight(number) for number in range(first, first + PER_WAVE)]
        if self.waves == 1:
            drafts = [REGISTERED, *drafts[1:]]
        file = write_drafts(self._home.directory.parent / f"wave-{self.waves}.ndjson", drafts)
        where = ["--data", str(self._home.directory), "--broker", self._url]
        command = [sys.executable, "-m", "services.cli.app", "submit", str(file), "--wait", *where]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def weight(number: int) -> Draft:
    data = {
        "item": "weight",
        "collected": f"2026-03-03T{number // 60 % 24:02}:{number % 60:02}",
        "value": 60,
        "unit": "kg",
    }
    return REGISTERED.model_copy(update={"type": "screening.observed", "data": data})


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[BrokerCluster]:
    with cluster(tmp_path / "brokers") as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    home = begin_log(tmp_path / "trial")
    home.policy_path.unlink()  # no witness runs here, so none may be asked for
    return home


@pytest.fixture
def services(home: Installation, brokers: BrokerCluster) -> Iterator[Services]:
    running = Services(home, brokers.url)
    running.keep_up()
    yield running
    running.stop()


def finished(posting: subprocess.Popen[bytes], services: Services, patience: float = 240.0) -> None:
    deadline = time.monotonic() + patience
    while posting.poll() is None:
        assert time.monotonic() < deadline, "the receipts do not come"
        services.keep_up()
        time.sleep(0.05)
    assert posting.returncode == 0


def nothing_is_lost(home: Installation, brokers: BrokerCluster, waves: int) -> None:
    """Nothing is lost, nothing twice, and what the broker holds is what the database holds."""
    log = Log.at(home.places.log, read_only=True)
    ours = [one for one in log.entries() if ".site.701." in one.header.subject]
    log.close()
    assert all(one.admitted for one in ours)
    assert Counter(read_envelope(one.body).id for one in ours).most_common(1)[0][1] == 1
    assert len(ours) == waves * PER_WAVE
    system = Local(home, brokers.url)
    assert system.check_receipts(SITE) == waves * PER_WAVE
    all_holds(system)


def test_nodes_that_are_killed_or_paused_under_load_lose_nothing_and_the_rest_goes_on(
    home: Installation, brokers: BrokerCluster, services: Services
) -> None:
    chance, topology, done = random.Random(SEED), Topology(home.trial), Counter[str]()
    posting, waits = Posting(home, brokers.url), list[float]()
    finished(posting.begin(), services)
    for turn in range(8):
        stream = (topology.intake, topology.log)[turn % 2]
        victim = brokers.leader(stream)
        wave = posting.begin()
        time.sleep(chance.uniform(0.3, 2.0))
        began = time.monotonic()
        if turn % 4 < 2:
            done[f"the leader of {stream} killed"] += 1
            victim.kill()
            finished(wave, services)
            waits.append(time.monotonic() - began)
            victim.start()
        else:
            done[f"the leader of {stream} paused"] += 1
            victim.signal(signal.SIGSTOP)
            time.sleep(chance.uniform(3.0, 8.0))
            victim.signal(signal.SIGCONT)
            finished(wave, services)
            waits.append(time.monotonic() - began)
        brokers.wait_until_well()
    print(
        f"\n{dict(done)}; {posting.waves * PER_WAVE} events, each wave sealed within {max(waits):.1f} s of the "
        f"fault (median {sorted(waits)[len(waits) // 2]:.1f} s); services started again: {dict(services.restarts)}"
    )
    nothing_is_lost(home, brokers, posting.waves)


def test_what_a_node_with_damaged_files_lacks_is_named_and_it_takes_all_from_the_others_when_they_are_gone(
    home: Installation, brokers: BrokerCluster, services: Services
) -> None:
    """nats-server mends a block from the others, or counts its messages as gone, and leads all the same."""
    posting, topology = Posting(home, brokers.url), Topology(home.trial)
    for _ in range(3):
        finished(posting.begin(), services)
    leader = brokers.leader(topology.log)
    victim = next(node for node in brokers.nodes if node is not leader)
    victim.stop()
    blocks = [one for one in victim.directory.rglob("*.blk") if f"LOG_{home.trial}" in str(one)]
    assert blocks
    for block in blocks:
        raw = bytearray(block.read_bytes())
        for at in range(len(raw) // 3, len(raw) // 3 + 200):
            raw[at] ^= 0xFF
        block.write_bytes(raw)
    finished(posting.begin(), services)
    victim.start()
    brokers.wait_until_well()
    system = Local(home, brokers.url)
    while not victim.leads(topology.log):  # until the damaged one is asked
        brokers.leader(topology.log).kill()
        finished(posting.begin(), services)
        for node in brokers.nodes:
            if not node.is_well():
                node.stop()
                node.start()
        brokers.wait_until_well()
    _, told = system.trail("fsck")
    assert {one["kind"] for one in told["disagreements"]} <= {"changed LOG message"}, told
    print(f"\nof the damaged node's messages, fsck names {len(told['disagreements'])}")
    for one in told["disagreements"]:
        assert "move its files away: it takes them from the others" in one["remedy"]
    assert system.trail("verify")[1]["good"], "the record is the database"
    victim.stop()
    shutil.rmtree(victim.directory / "jetstream")
    finished(posting.begin(), services)
    victim.start()
    brokers.wait_until_well()
    nothing_is_lost(home, brokers, posting.waves)


def test_with_two_of_three_nodes_gone_nothing_is_sealed_that_says_why_and_it_goes_on_when_one_is_back(
    home: Installation, brokers: BrokerCluster, services: Services
) -> None:
    posting = Posting(home, brokers.url)
    finished(posting.begin(), services)
    log = Log.at(home.places.log, read_only=True)
    first, second, _ = brokers.nodes
    size, said = log.size(), home.directory / "audit.log"
    first.kill()
    second.kill()
    told = len(said.read_bytes())
    wave = posting.begin()
    time.sleep(10)
    assert b"will be tried again" in said.read_bytes()[told:], "it says why"
    services.keep_up()
    assert (wave.poll(), log.size()) == (None, size), "no receipt comes, and nothing is sealed"
    first.start()
    finished(wave, services)
    second.start()
    brokers.wait_until_well()
    log.close()
    nothing_is_lost(home, brokers, posting.waves)
