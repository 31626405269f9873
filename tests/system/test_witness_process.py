"""A witness as a process: it says when it is ready, stops when told, and forgets nothing when it is killed."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.witnessing import Witnessing
from services.witness.witness import Witness
from shared.policy import Policy
from tests.witness import LOG_KEY, ORIGIN, Chain, leaves

ROOT = Path(__file__).parents[2]
CHAIN = Chain(leaves(1000))
FORK = CHAIN.forked(0)
LIVES = 4


class Process:
    """A running witness: what it said when it was ready, and the process."""

    def __init__(self, data: Path, **changes: str) -> None:
        given = {"DATA": str(data), "LOGS": LOG_KEY.vkey(), "LISTEN": "127.0.0.1:0"} | changes
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.witness.app"],
            cwd=ROOT,
            env=os.environ | {f"TRAIL_WITNESS_{name}": value for name, value in given.items()},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = json.loads(self.process.stderr.readline())

    def post(self, body: bytes) -> httpx.Response:
        return httpx.post(f"{self.said['url']}/add-checkpoint", content=body, trust_env=False)

    def end(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, list[str]]:
        """Tell it to stop; its exit code, and what it told after it was ready."""
        self.process.send_signal(sign)
        _, rest = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line)["event"] for line in rest.splitlines()]


@contextmanager
def running(data: Path, **changes: str) -> Iterator[Process]:
    one = Process(data, **changes)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_witness_says_when_it_is_ready_and_stops_when_told(tmp_path: Path, sign: signal.Signals) -> None:
    with running(tmp_path, NAME="example.org/w1") as witness:
        said = witness.said
        assert (said["event"], said["logs"]) == ("ready", [ORIGIN])
        assert said["vkey"].startswith("example.org/w1+")
        assert witness.post(CHAIN.body(0, 20)).status_code == 200
        with httpx.Client(base_url=said["url"], trust_env=False) as idle:  # an open connection holds up no stop
            assert idle.get("/health").json()["logs"] == {ORIGIN: 20}
            assert witness.end(sign) == (0, [])
    with running(tmp_path, LOGS="") as witness:
        assert (witness.said["vkey"], witness.said["logs"]) == (said["vkey"], [ORIGIN])
        assert witness.post(FORK.body(20, 30)).status_code == 422
        assert witness.post(CHAIN.body(20, 30)).status_code == 200
        assert witness.end() == (0, ["refused and kept"])


def test_a_witness_that_is_killed_remembers_all_it_has_answered(tmp_path: Path) -> None:
    cosigned = 0
    for life in range(LIVES):
        with running(tmp_path) as witness:
            before = witness.post(CHAIN.body(0, 1000) if cosigned else CHAIN.body(0, 1))
            if cosigned:
                assert (before.status_code, int(before.text) >= cosigned) == (409, True), "it has rolled back"
                assert witness.post(FORK.body(0, int(before.text))).status_code == 409
                cosigned = int(before.text)
            else:
                cosigned = 1
            answered = [cosigned]
            enough = threading.Event()

            def submit(witness: Process, answered: list[int], enough: threading.Event) -> None:
                try:
                    while True:
                        if witness.post(CHAIN.body(answered[-1], answered[-1] + 1)).status_code == 200:
                            answered.append(answered[-1] + 1)
                        if len(answered) > 5:
                            enough.set()
                except httpx.HTTPError:
                    enough.set()  # it is dead

            thread = threading.Thread(target=submit, args=(witness, answered, enough))
            thread.start()
            assert enough.wait(60)
            witness.process.kill()
            witness.process.wait()
            thread.join()
            cosigned = answered[-1]
        assert cosigned > 5 * (life + 1)
    with running(tmp_path) as witness:
        kept = httpx.get(f"{witness.said['url']}/forks", trust_env=False).json()["forks"]
        assert [one["kind"] for one in kept] == ["fork"] * (LIVES - 1)


def test_the_notary_goes_on_where_it_was_when_a_killed_witness_is_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints.at(tmp_path / "checkpoints.sqlite")
    cosignatures = Cosignatures(checkpoints.engine)
    checkpoints.add(0, 20, CHAIN.note(20))
    with httpx.Client(trust_env=False) as client, running(tmp_path / "w") as witness:
        url = witness.said["url"]
        policy = Policy.parse(f"witness w {witness.said['vkey']} {url}\nquorum w\n")
        now = [0.0]
        witnessing = Witnessing(policy, checkpoints, cosignatures, CHAIN.tree, client, monotonic=lambda: now[0])
        witnessing.collect()
        assert cosignatures.latest(policy) == 20
        witness.process.kill()
        witness.process.wait()
        checkpoints.add(20, 30, CHAIN.note(30))
        witnessing.collect()
        assert (cosignatures.latest(policy), list(witnessing.troubles)) == (20, ["w"])
        with running(tmp_path / "w", LISTEN=url.removeprefix("http://")):
            now[0] += 60
            witnessing.collect()
        assert (cosignatures.latest(policy), witnessing.troubles) == (30, {})
    checkpoints.close()


def test_the_command_shows_a_line_for_the_policy_that_works(tmp_path: Path) -> None:
    options = {"--data": str(tmp_path), "--log": LOG_KEY.vkey(), "--name": "example.org/w1", "--listen": "[::1]:0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli.app", "witness", *itertools.chain(*options.items())],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "ready"
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    (line,) = (line.strip() for line in told.splitlines() if line.startswith("  witness "))
    policy = Policy.parse(f"{line}\nquorum example.org/w1\n")
    witness = policy.witnesses["example.org/w1"]
    assert witness.key.name == "example.org/w1"
    assert re.fullmatch(r"http://\[::1\]:[0-9]+", witness.url)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"NAME": "example.org/w2"}, "is example.org/w1 and cannot become example.org/w2"),
        ({"LOGS": "nonsense"}, "a verifier key must read"),
        ({"LISTEN": "nowhere"}, "cannot listen at nowhere"),
        ({"LISTEN": "127.0.0.1:99999"}, "cannot listen at 127.0.0.1:99999"),
    ],
)
def test_a_witness_that_cannot_run_says_why(tmp_path: Path, changes: dict[str, str], sentence: str) -> None:
    Witness.at(tmp_path, "example.org/w1", [LOG_KEY]).close()
    with running(tmp_path, **changes) as witness:
        assert sentence in witness.said["error"]
        assert witness.process.wait(60) == 2


def test_a_taken_port_and_a_missing_setting_are_told(tmp_path: Path) -> None:
    with (
        running(tmp_path / "a") as first,
        running(tmp_path / "b", LISTEN=first.said["url"].removeprefix("http://")) as second,
    ):
        assert "cannot listen at" in second.said["error"]
        assert second.process.wait(60) == 2
    without = {name: value for name, value in os.environ.items() if not name.startswith("TRAIL_")}
    command = [sys.executable, "-m", "services.witness.app"]
    ended = subprocess.run(command, cwd=ROOT, env=without, capture_output=True, text=True, check=False)
    assert (ended.returncode, "TRAIL_WITNESS_DATA" in ended.stderr) == (2, True)
