"""The commands `trail key passphrase` and `trail key unlock`: a person's own key."""

from datetime import UTC, datetime
from pathlib import Path

import typer

from services.cli.output import GOOD, safe, say
from shared.person_keys import PersonKey


def change_passphrase(path: Path) -> int:
    """Ask for both components and another passphrase, twice, and encrypt the key with it."""
    key = PersonKey(path)
    key.about()  # nobody types a passphrase for a file that is none
    user = typer.prompt("User id", err=True)
    old = typer.prompt("Passphrase", hide_input=True, err=True)
    new = typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    changed = key.change_passphrase(user, old, new, datetime.now(UTC))
    say(f"[green]The passphrase of {safe(changed.user)} is changed[/]; it is good until {changed.expires}.")
    say("Copies of the old file still open with the old passphrase: destroy them.")
    return GOOD


def unlock(path: Path) -> int:
    """Let a locked key be tried again; say what is on record of those who tried."""
    key = PersonKey(path)
    known, record = key.about(), key.unlock(datetime.now(UTC))
    say(f"[green]The key of {safe(known.user)} can be tried again.[/]")
    say(f"On record: {record.failures} failed attempts, unlocked {len(record.unlocks)} times.")
    if record.unreported:
        say(f"Not sealed yet: {len(record.unreported)}, from {record.first} to {record.last}.")
    return GOOD
