"""A person at a terminal: a command on a pseudo-terminal, its questions and what is typed in answer."""

import os
import pty
import select
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PATIENCE = 60.0


def at_terminal(arguments: Sequence[str], *answers: tuple[str, str]) -> tuple[int, str]:
    """Run ``trail`` on a terminal of its own; ``answers`` are (question, what is typed), in order.

    Returns its exit code and all that stood on the screen. Raises AssertionError when a question does not come.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ["COLUMNS"] = "200"
        os.execv(sys.executable, [sys.executable, "-m", "services.cli.app", *arguments])  # noqa: S606
    screen = _Screen(terminal)
    try:
        for question, answer in answers:
            screen.wait_for(question)
            os.write(terminal, f"{answer}\n".encode())
        screen.wait_for(None)
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), screen.text


class _Screen:
    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._seen = 0
        self.text = ""

    def wait_for(self, question: str | None) -> None:
        """Read on until the question stands there, behind the last one; None: until the command ends."""
        deadline = time.monotonic() + _PATIENCE
        while question is None or question not in self.text[self._seen :]:
            assert time.monotonic() < deadline, f"{question!r} does not come:\n{self.text}"
            if select.select([self._terminal], [], [], 0.2)[0] and not self._read():
                assert question is None, f"it ended before {question!r}:\n{self.text}"
                return
        self._seen = self.text.index(question, self._seen) + len(question)

    def _read(self) -> bool:
        data = b""
        with suppress(OSError):  # Linux's way of saying that the other side is closed
            data = os.read(self._terminal, 65_536)
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
