"""The commands that need the stack: up, demo, submit."""

import asyncio
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from services.audit.log import Log
from services.cli import checking, show
from services.cli.access import opened
from services.cli.beginning import begin_log, opened_to_begin
from services.cli.broker_access import write_configuration
from services.cli.delivery import Post, line
from services.cli.demo import Player
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, as_json, called, complain, out, progress, safe, say
from services.cli.reading import reading
from services.cli.stack import Stack, broker_url
from services.cli.study import synthetic_study
from services.console.replay import as_of
from services.console.signatures import signed
from shared.drafts import Draft, read_draft
from shared.outbox import Outcome
from shared.words import RefusedError, SourceId, TrailError


def keep_up(directory: Path, *, guarded: bool = False, practice: bool = False, database: str = "") -> None:
    """Run the stack in the foreground until interrupted; ``guarded``: its broker tells its users apart.

    ``practice``: a log that begins here is one to practise with; ``database``: and is kept in this database.
    """
    home = (
        opened_to_begin(directory, practice=practice)
        if (directory / "trial.json").exists()
        else begin_log(directory, practice=practice, database=database)
    )
    if guarded:
        write_configuration(home)
    with _stopping() as stopped, running_stack(home) as stack:
        asyncio.run(_introduce(home, stack.url))
        say(f"[green]Trialtrail is up[/] for {home.trial}. Broker: {stack.url}. Data: {home.directory}")
        say(f"Log key (give it to sites and auditors): {safe(home.log_key.vkey())}")
        if home.local_witness() is not None:
            say(
                "[yellow]The only witness runs on this machine[/], to show how it works. A real one belongs to "
                "another organisation: docs/witness.md."
            )
        if home.practice:
            say(
                "[yellow]A log to practise with[/]: the keys of persons are made for you, without passphrases. "
                "Begin a trial's without --practice."
            )
        say("Post events with `trail submit FILE.ndjson --wait`; stop with Ctrl-C.")
        stopped.wait()
    say("All processes have ended; the data stays where it is.")


def run_demo(directory: Path, seed: int) -> int:
    """Play the synthetic study into a new data directory, then verify, replay and say where to look next."""
    if (directory / "trial.json").exists() and Installation.open(directory).clock == "simulated":
        shutil.rmtree(directory)  # an earlier demo; a log that keeps real time is never removed
    days = synthetic_study(seed)
    home = begin_log(directory, clock="simulated", start=days[0].at, tick_seconds=86_400)
    say("[yellow]Synthetic study: no data of any person; its clock is simulated.[/]")
    began = time.monotonic()
    with running_stack(home) as stack, progress("playing twelve months", len(days)) as advance:
        log = Log.at(home.places.log, read_only=True)

        async def play() -> Player:
            async with line(home, stack.url) as connected:
                player = Player(home, connected, log)
                await player.play(days, advance)
                return player

        player = asyncio.run(play())
        log.close()
    with reading(home) as source:
        out.print(show.verdicts_table(as_of(source.log.entries(), None), signed(source.log.entries())))
    for missed in player.missed:
        say(f"[yellow]{safe(missed)}[/]")
    say(f"Played {len(days)} days in {time.monotonic() - began:.0f} s. Now anyone can check it:")
    verified = checking.verify_directory(directory)
    replayed = checking.replay_directory(directory, check=True)
    say("Where to look next:")
    for command, why in (
        ("show participant 101-007", "why this participant could not be treated"),
        ("show participant 102-001", "who had a dose-limiting toxicity, and what followed"),
        ("outcomes", "adverse events, toxicities by dose level, chimerism, as of now"),
        ("replay --as-of 2026-04-01T00:00:00Z", "what was known on 1 April"),
        ("show entry 0", "the genesis entry"),
        ("verify", "every hash, link, signature and ruling again"),
        (
            "export bundle evidence.zip",
            "evidence for somebody who trusts nobody: verify.py in it needs nothing of ours",
        ),
    ):
        say(f"  {called()} {command} --data {directory}   [dim]{why}[/]")
    return max(verified, replayed)


def submit_file(
    directory: Path,
    file: Path,
    broker: str | None = None,
    by: str | None = None,
    passphrase_file: Path | None = None,
    *,
    wait: bool,
    json_: bool,
) -> int:
    """Put a file of drafts into the outboxes and deliver them; what is of the source of ``by`` with that key."""
    home = Installation.open(directory)
    drafts = _read_drafts(file, home)
    post = Post(home)
    if by is not None:
        post.person = opened(home, by, passphrase_file, broker or broker_url(home.directory))
    grants = post.missing_grants(drafts)
    post.put(grants)
    kept = post.put(drafts)
    post.close()
    count = sum(map(len, kept.values()))
    for grant in [] if json_ else grants:
        say(
            f"{safe(grant.data['source'])} had no key here: made one, and the root grants it "
            f"({safe(grant.data['holder'])})"
        )

    async def deliver() -> tuple[bool, list[tuple[SourceId, Outcome]]]:
        async with line(home, broker or broker_url(home.directory)) as connected:
            with progress("waiting for receipts", count) as advance:
                done = await connected.deliver(
                    list(kept), timeout=None if wait else 2.0, progress=lambda left: advance(count - left)
                )
            return done, list(connected.post.outcomes(kept))

    try:
        done, outcomes = asyncio.run(deliver())
    except TrailError as error:
        raise TrailError(
            f"{error}. Your {count} events are kept in the outbox; submit the file again later"
        ) from None
    _tell_outcomes(outcomes, count, done=done, json_=json_)
    return WRONG if any(one.verdict == "refused" for _, one in outcomes) else GOOD


def _read_drafts(file: Path, home: Installation) -> list[Draft]:
    """Read and check a draft file; all of it or nothing.

    Raises TrailError naming line and field of everything that is wrong.
    """
    drafts, wrong = [], []
    privacy = home.privacy
    for number, text in enumerate(file.read_bytes().splitlines(), 1):
        if not text.strip():
            continue
        try:
            draft = read_draft(text)
            draft.check(home.trial)
            privacy.check(draft)
            drafts.append(draft)
        except RefusedError as error:
            wrong.append(f"line {number}: {error}")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            wrong.append(f"line {number}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    if wrong:
        told = "\n".join(wrong[:20]) + (f"\n... and {len(wrong) - 20} more" if len(wrong) > 20 else "")
        raise TrailError(f"nothing was sent, because {file} needs mending:\n{told}")
    if not drafts:
        raise TrailError(f"{file} holds no drafts; write one JSON object a line")
    return drafts


def _tell_outcomes(outcomes: Sequence[tuple[SourceId, Outcome]], count: int, *, done: bool, json_: bool) -> None:
    if json_:
        as_json(
            [
                {"source": source, "sequence": one.sequence, "id": one.id, "index": one.index}
                | {"verdict": one.verdict, "reason": one.reason}
                for source, one in outcomes
            ]
        )
        return
    for source, one in outcomes:
        if one.verdict == "refused":
            complain(f"{source} event {one.sequence} (entry {one.index}) was refused: {one.reason}")
    admitted = sum(one.verdict == "admitted" for _, one in outcomes)
    say(
        f"{len(outcomes)} of {count} events are sealed with a verified receipt: {admitted} admitted, "
        f"{len(outcomes) - admitted} refused."
    )
    if not done:
        say("The rest waits in the outbox; run the same command again, with --wait.")


async def _introduce(home: Installation, url: str) -> None:
    """Let the root's first statements be sealed: the protocol, and the screening service's key."""
    async with line(home, url):
        pass


@contextmanager
def running_stack(home: Installation) -> Iterator[Stack]:
    """The stack, watched from a thread; when it cannot stay up, the work in hand is interrupted and told why."""
    stack = Stack(home, lambda text: say(f"[yellow]{safe(text)}[/]"))
    ended = threading.Event()
    failed: list[TrailError] = []

    def watch() -> None:
        while not ended.wait(0.2):
            try:
                stack.watch_once()
            except TrailError as error:
                failed.append(error)
                signal.raise_signal(signal.SIGINT)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        stack.start()
        watcher.start()
        yield stack
    except KeyboardInterrupt:
        if failed:
            raise failed[0] from None
        raise
    finally:
        ended.set()
        if watcher.is_alive():
            watcher.join()
        stack.stop()
    if failed:
        raise failed[0]


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    stopped = threading.Event()
    before = {one: signal.signal(one, lambda *_: stopped.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
