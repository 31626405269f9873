"""How the command speaks: tables and sentences for people, JSON for programs, exit codes for both."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

GOOD: Final = 0
WRONG: Final = 1
COULD_NOT_RUN: Final = 2

out: Final = Console(highlight=False, soft_wrap=False)
err: Final = Console(stderr=True, highlight=False)

COLOURS: Final = {
    "eligible": "green",
    "ineligible": "red",
    "undetermined": "yellow",
    "met": "green",
    "not_met": "red",
    "admitted": "green",
    "refused": "red",
}


def called() -> str:
    """How this command was called, so that a suggestion can be copied: ``.venv/bin/trail``, or ``trail``."""
    return sys.argv[0] if sys.argv[0].endswith("/trail") else "trail"


def coloured(word: str) -> str:
    """A verdict in its colour."""
    return f"[{COLOURS[word]}]{word}[/]" if word in COLOURS else safe(word)


def safe(text: object) -> str:
    """Somebody's text, with nothing in it that the terminal or rich would obey."""
    return escape("".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in str(text)))


def say(text: str) -> None:
    """A line to the person at the terminal, in rich's markup."""
    out.print(text, soft_wrap=True)


def complain(text: str) -> None:
    """A line about something that is wrong, to standard error."""
    err.print(f"[red]{safe(text)}[/]", soft_wrap=True)


def as_json(value: Any) -> None:
    """A value for a program."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar over something that may take more than a second; yields the function to call with what is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
