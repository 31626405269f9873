"""The drill: the server's disk is lost; what is published, the keys, and what sites hold are enough to go on."""

import shutil
import time
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.installation import Installation
from services.cli.stack import Stack
from tests.scenario import REGISTERED, SITE, Local, all_holds, play, post, weight

LOST = ("audit", "checkpoints", "screening", "safety", "broker", "run")


def published(home: Installation) -> int:
    return int((home.tiles_path / "checkpoint").read_text().split("\n")[1])


def at_rest(system: Local) -> int:
    """How many entries there are when all of them are published and cosigned."""
    deadline = time.monotonic() + 60
    while True:
        report = system.trail("verify")[1]
        if published(system.home) == report["entries"] == report["cosigned"]:
            return int(report["entries"])
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.part11("11.10(c)")
def test_from_what_is_published_the_log_is_made_again_and_the_trial_goes_on(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial", practice=True)
    stack = Stack(home)
    try:
        stack.start()
        system = Local(home, stack.url)
        play(system, tmp_path)
        entries = at_rest(system)
        _, story = system.trail("show", "participant", "701-001")
        code, told = system.trail("rebuild")
        assert (code, "the stack is running; stop it first" in told) == (2, True), told
    finally:
        stack.stop()
    for part in LOST:
        shutil.rmtree(home.directory / part)
    assert "there is no log at" in system.trail("verify")[1]

    code, told = system.trail("rebuild")
    assert (code, told["entries"]) == (0, entries), told
    code, told = system.trail("rebuild")
    assert (code, "there is a log at" in told) == (2, True), told

    stack = Stack(home)
    try:
        stack.start()
        system = Local(home, stack.url)
        deadline = time.monotonic() + 60
        while system.trail("replay", "--check")[0] != 0:
            assert time.monotonic() < deadline, "the deciders come to the same decisions from the log alone"
        assert system.trail("show", "participant", "701-001")[1] == story
        again = REGISTERED.model_copy(update={"subject": "701-009"})
        assert post(system, again, weight(61).model_copy(update={"subject": "701-009"}))[0] == 0
        assert system.check_receipts(SITE) > 32, "those of before hold as well"
        at_rest(system)
        all_holds(system)
    finally:
        stack.stop()
