"""The system on the embedded stack: the real broker and the services as processes of this machine."""

from pathlib import Path

from services.cli.beginning import begin_log
from services.cli.stack import Stack
from tests.scenario import SITE, Local, play


def test_the_embedded_stack_seals_decides_and_replays(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial", practice=True)
    stack = Stack(home)
    try:
        stack.start()
        system = Local(home, stack.url)
        play(system, tmp_path)
        assert system.check_receipts(SITE) > 30
    finally:
        stack.stop()
