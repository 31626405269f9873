"""Persons at this machine: who they are in the log, and where their keys are kept."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from services.audit.log import Log
from services.audit.register import Register
from services.cli.installation import Installation
from shared.identities import Identity
from shared.person_keys import PersonKey
from shared.words import TrailError


def register_of(home: Installation) -> Register:
    """What the log knows of identities and people, as of now."""
    log = Log.at(home.places.log, read_only=True)
    try:
        return log.register(home.trial)
    finally:
        log.close()


def present(register: Register) -> datetime:
    """What time it is in a log: its own time where it is simulated."""
    return register.simulated_now or datetime.now(UTC)


def person_key(home: Installation, identity: Identity) -> PersonKey:
    """The key file of an identity on this machine.

    Raises TrailError when it is not here.
    """
    folder = _folder(home)
    for path in [folder / f"{identity.user}.key", *sorted(folder.glob(f"{identity.user}~*.key"))]:
        if path.exists() and PersonKey(path).about().id == identity.key:
            return PersonKey(path)
    raise TrailError(
        f"the key {identity.key} of {identity.user} is not here: put its file into {folder} as {identity.user}.key "
        "or have an administrator replace it with `trail identity replace-key`"
    )


def new_person_key(home: Installation, user: str) -> PersonKey:
    """Where a person's next key is to be kept; earlier ones stay, they may open what is archived."""
    folder = _folder(home)
    names = [f"{user}.key", *(f"{user}~{number}.key" for number in range(2, 1000))]
    return PersonKey(next(folder / name for name in names if not (folder / name).exists()))


def _folder(home: Installation) -> Path:
    return home.directory / "keys"


def identity_of(register: Register, user: str) -> Identity:
    """The identity that a user id has now.

    Raises TrailError when nobody has it.
    """
    person = register.people.get(user)
    if person is None:
        raise TrailError(f"nobody has the user id {user} in this log; `trail identity list` lists everybody")
    return register.identities[person.key]


def ask_new_passphrase(user: str, file: Path | None) -> str:
    """The passphrase that a person chooses: twice at the terminal, or from a file; never from the command line.

    Raises TrailError where there is neither.
    """
    if file is not None:
        return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise TrailError(
            "nobody is at a terminal to be asked: give the passphrase in a file, --new-passphrase-file"
        )
    words = f"New passphrase of {user}"
    return str(typer.prompt(words, hide_input=True, confirmation_prompt=True, err=True))
