"""The whole stack on a real PostgreSQL server: the same play, a server that crashes, a notary that stands still."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from services.audit.log import Log
from services.cli.beginning import begin_log
from services.cli.installation import Installation
from services.cli.stack import Stack
from tests.postgres import GIVEN, Server, database, missing, server
from tests.scenario import REGISTERED, SITE, Local, all_holds, drafts_file, play, post, weight

WHY_NOT = missing() or (GIVEN and "the server that was given is not ours to stop")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture
def home(postgres: Server, tmp_path: Path) -> Installation:
    return begin_log(tmp_path / "trial", practice=True, database=database(postgres.url, f"at{os.urandom(4).hex()}"))


@pytest.fixture
def stack(home: Installation) -> Iterator[Stack]:
    stack = Stack(home)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def awaited(look: Callable[[], object], patience: float = 60.0) -> bool:
    deadline = time.monotonic() + patience
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_the_stack_on_postgresql_seals_decides_and_replays(
    home: Installation, stack: Stack, tmp_path: Path
) -> None:
    system = Local(home, stack.url)
    play(system, tmp_path)
    assert system.check_receipts(SITE) > 30
    assert not list((home.directory / "audit").glob("*.sqlite")), "the log is in the database alone"
    code, told = system.trail("verify", "--hashes-only")
    assert (code, told["good"]) == (0, True), told
    all_holds(system)


def test_a_server_that_crashes_loses_nothing_and_the_services_go_on_by_themselves(
    home: Installation, stack: Stack, postgres: Server
) -> None:
    system = Local(home, stack.url)
    assert post(system, REGISTERED)[0] == 0
    pids = {name: stack.pid(name) for name in ("audit", "screening", "safety")}
    postgres.stop(signal.SIGQUIT)
    more = drafts_file(home, *(weight(number) for number in range(60, 80)))
    command = ["submit", "--wait", "--json", "--data", str(home.directory), str(more)]
    with subprocess.Popen(
        [sys.executable, "-m", "services.cli.app", *command], stdout=subprocess.DEVNULL
    ) as posting:
        said = home.directory / "run" / "audit.log"
        assert awaited(lambda: b"sealing failed and will be tried again" in said.read_bytes(), 10), "it says why"
        postgres.start()
        assert posting.wait(120) == 0
    stack.watch_once()
    assert {name: stack.pid(name) for name in pids} == pids, "nobody had to be started again"
    assert system.check_receipts(SITE) == 21
    all_holds(system)


def test_a_notary_that_is_paused_and_wakes_when_its_lease_has_moved_commits_nothing(
    home: Installation, stack: Stack, tmp_path: Path
) -> None:
    system = Local(home, stack.url)
    assert post(system, REGISTERED)[0] == 0
    own = stack._environment("audit") | {"TRAIL_DATA": str(tmp_path / "second")}
    with (tmp_path / "second.log").open("wb") as log:
        second = subprocess.Popen(
            [sys.executable, "-m", "services.audit.app"], env=own, stdout=log, stderr=log, start_new_session=True
        )
    paused = stack.pid("audit")
    try:
        said = (tmp_path / "second.log").read_text
        assert awaited(lambda: '"standing by"' in said())
        assert post(system, weight(60))[0] == 0
        os.kill(paused, signal.SIGSTOP)
        began = time.monotonic()
        assert awaited(lambda: '"event": "ready"' in said())
        assert post(system, *(weight(number) for number in range(61, 70)))[0] == 0
        print(f"\nthe second notary sealed {time.monotonic() - began:.1f} s after the first was paused")
        sealed = Log.at(home.places.log, read_only=True)
        size = sealed.size()
        os.kill(paused, signal.SIGCONT)
        process = stack._processes["audit"]
        assert awaited(lambda: process.poll() is not None), "the first stops"
        assert "another notary has taken the log over" in stack._last_words("audit")
        assert sealed.size() == size
        sealed.close()
        assert post(system, weight(70))[0] == 0
        assert system.check_receipts(SITE) == 12
        all_holds(system)
        # And the other way round: what has stopped is started again, stands by, and takes over from the second.
        with suppress(ProcessLookupError):
            os.kill(second.pid, signal.SIGKILL)
        second.wait()
        stack.watch_once()
        assert post(system, weight(71))[0] == 0
        all_holds(system)
    finally:
        with suppress(ProcessLookupError):
            os.kill(paused, signal.SIGCONT)
        second.kill()
        second.wait()


def test_when_the_server_is_lost_its_standby_takes_over_and_nothing_that_was_sealed_is_missing(
    tmp_path: Path,
) -> None:
    with ExitStack() as held:
        primary = held.enter_context(server())
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="trail-standby-")))
        folder.chmod(0o755)
        owner = database(primary.url, "trials")
        standby = primary.standby(folder)
        held.callback(standby.stop)
        both = f"host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}&target_session_attrs=read-write"
        where = owner.partition("@")[0] + f"@/trials?{both}"
        home = begin_log(tmp_path / "trial", practice=True, database=where)
        stack = Stack(home)
        held.callback(stack.stop)
        stack.start()
        system = Local(home, stack.url)
        assert post(system, REGISTERED, *(weight(number) for number in range(60, 80)))[0] == 0
        pids = {name: stack.pid(name) for name in ("audit", "screening", "safety")}
        primary.stop(signal.SIGQUIT)
        began = time.monotonic()
        more = drafts_file(home, *(weight(number) for number in range(80, 100)))
        command = ["submit", "--wait", "--data", str(home.directory), str(more)]
        with subprocess.Popen([sys.executable, "-m", "services.cli.app", *command]) as posting:
            time.sleep(3)
            assert posting.poll() is None, "nothing is sealed meanwhile"
            standby.promote()
            assert posting.wait(120) == 0
        waited = time.monotonic() - began
        print(f"\nsealed {waited:.1f} s after the server was lost; its standby led from 3 s on")
        stack.watch_once()
        assert {name: stack.pid(name) for name in pids} == pids, "nobody had to be started again"
        assert system.check_receipts(SITE) == 41
        code, told = system.trail("verify", "--hashes-only")
        assert (code, told["good"]) == (0, True), told
        all_holds(system)
