"""Persons at this machine: their keys, opened with user id and passphrase, and the outboxes they speak through."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from services.audit.log import Log
from services.audit.register import Register
from services.cli.delivery import Post, line
from services.cli.installation import Installation
from services.cli.output import complain
from services.cli.stack import broker_url
from shared.attempts import AccessError
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE, Identity
from shared.moments import stamp
from shared.person_keys import PersonKey
from shared.signing import Signer
from shared.words import SourceId, TrailError


def register_of(home: Installation) -> Register:
    """What the log knows of identities and people, as of now."""
    log = Log.at(home.log_path, read_only=True)
    try:
        return log.register(home.trial)
    finally:
        log.close()


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
    return home.directory / "keys" / "people"


def identity_of(register: Register, user: str) -> Identity:
    """The identity that a user id has now.

    Raises TrailError when nobody has it.
    """
    person = register.people.get(user)
    if person is None:
        raise TrailError(f"nobody has the user id {user} in this log; `trail identity list` lists everybody")
    return register.identities[person.key]


def ask_user(user: str | None) -> str:
    """The first component, as given or asked for.

    Raises TrailError where there is nobody to ask.
    """
    if user is None and not sys.stdin.isatty():
        raise TrailError("nobody is at a terminal to be asked: give the user id with --user")
    return user if user is not None else str(typer.prompt("User id", err=True))


def ask_passphrase(words: str = "Passphrase", file: Path | None = None, *, new: bool = False) -> str:
    """The second component, from its holder at the terminal, or from a file; never from the command line.

    Raises TrailError where there is neither.
    """
    if file is not None:
        return file.read_text("utf-8").rstrip("\n")
    if not sys.stdin.isatty():
        raise TrailError("nobody is at a terminal to be asked: give the passphrase in a file, --passphrase-file")
    return str(typer.prompt(words, hide_input=True, confirmation_prompt=new, err=True))


def open_key(home: Installation, register: Register, user: str, passphrase: str, broker: str | None) -> Signer:
    """Open a person's key with both components.

    A failed attempt is sealed, told by a system of this machine (21 CFR 11.300(d)). Raises AccessError when it
    failed, TrailError when there is no such key here or it is not the one that the log knows.
    """
    identity = identity_of(register, user)
    key = person_key(home, identity)
    try:
        return key.open(user, passphrase, datetime.now(UTC))
    except AccessError:
        _report(home, identity, key, broker)
        raise


def _report(home: Installation, identity: Identity, key: PersonKey, broker: str | None) -> None:
    """Have the failed attempts sealed; what cannot be sent now waits in the outbox."""
    attempts = key.attempts()
    if not attempts.unreported:
        return
    source = _reporter(home, identity)
    now = stamp(datetime.now(UTC))
    data = attempts.event_data(identity.key)
    post = Post(home)
    post.put([Draft(source=source, type="identity.access_failed", time=now, data=data)])
    post.close()
    key.mark_reported(
        attempts
    )  # after it is in the outbox: if we die in between, it is told twice, never not at all
    complain(f"ALARM: {data['failures']} failed attempts at the key of {identity.user}; the log is told")
    try:
        asyncio.run(_deliver(home, broker, source))
    except TrailError as error:
        complain(f"{error}. The report waits in the outbox; `trail deliver` sends it")


def _reporter(home: Installation, identity: Identity) -> SourceId:
    """A system of this machine that may speak about the identity: its site's, else the root."""
    for site in sorted(identity.sites or ()):
        source = SourceId(f"site/{site}")
        if len(identity.sites or ()) == 1 and home.has_key(source, "site_system"):
            return source
    return ROOT_SOURCE


async def _deliver(home: Installation, broker: str | None, source: SourceId) -> None:
    async with line(home, broker or broker_url(home.directory)) as connected:
        await connected.deliver([source], timeout=5)
