"""The commands for a stack whose parts something else starts, such as Docker Compose: init and deliver."""

import asyncio
from pathlib import Path

from services.cli.beginning import begin_log, opened_to_begin, trial_file
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, progress, safe, say
from services.cli.stack import broker_url
from shared.words import SourceId

_WITHOUT_WAITING = 2.0


def begin(
    directory: Path,
    witness_url: str = "",
    protocol: str | None = None,
    *,
    practice: bool = False,
    database: str = "",
) -> None:
    """Begin a log in a data directory, unless it holds one; its own witness will be asked at ``witness_url``.

    ``protocol`` names the trial's file; see ``trial_file``.
    """
    if (directory / "trial.json").exists():
        home = opened_to_begin(directory, practice=practice)
        say(f"{safe(home.directory)} holds the log of {home.trial} already; nothing was changed.")
    else:
        text = None if protocol is None else trial_file(protocol)
        home = begin_log(directory, witness_url=witness_url, protocol=text, practice=practice, database=database)
        say(f"[green]A log for {home.trial} has begun[/] in {safe(home.directory)}.")
    say(f"Log key (give it to sites and auditors): {safe(home.log_key.vkey())}")


def deliver_waiting(directory: Path, broker: str | None, *, wait: bool) -> int:
    """Deliver every outbox of a data directory."""
    home = Installation.open(directory)
    paths = sorted((home.directory / "outbox").glob("*.sqlite"))
    sources = [SourceId(path.stem.replace("-", "/", 1)) for path in paths]

    async def deliver() -> bool:
        async with line(home, broker or broker_url(home.directory)) as connected:
            with progress("waiting for receipts", None):
                return await connected.deliver(sources, timeout=None if wait else _WITHOUT_WAITING)

    if asyncio.run(deliver()):
        say("Every event in the outboxes is sealed, with a verified receipt.")
        return GOOD
    say("[yellow]Some events wait in the outboxes still[/]; run the same command again, with --wait.")
    return WRONG
