"""Opening a person's key at the terminal: both components; each failure counted, sealed and told (§11.300(d))."""

import asyncio
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path
from typing import Final

import typer

from services.audit.register import Register
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.output import complain, say
from services.cli.persons import identity_of, person_key, register_of
from shared.attempts import AccessError, Attempts
from shared.drafts import Draft
from shared.events import Role
from shared.identities import Identity
from shared.person_keys import PersonKey
from shared.signing import Signer, SigningKey
from shared.words import SourceId, TrailError

_REPORTERS: Final[tuple[Role, ...]] = ("site_system", "sponsor", "administrator", "root")
"""Who tells of failed attempts: the system that is nearest to the person first."""

_PATIENCE: Final = 10.0


@dataclass(slots=True)
class Access:
    """One person's session: at its first signing both components are asked for, at later ones the passphrase.

    ``passphrase_file`` stands in for the terminal, the user id then having been given with the command.
    """

    home: Installation
    broker: str
    register: Register
    me: Identity
    passphrase_file: Path | None = None
    _known: bool = field(default=False, init=False)

    @property
    def key(self) -> PersonKey:
        """The person's key file.

        Raises TrailError when it is not here.
        """
        return person_key(self.home, self.me)

    def check(self) -> None:
        """Raise TrailError unless there is a way to ask, and the key that the log knows is here.

        Before anything is shown: nobody reads a record to learn then that it cannot be signed.
        """
        if self.passphrase_file is None and not sys.stdin.isatty():
            raise TrailError(
                "there is no terminal to ask for your passphrase: run this in one, or let --passphrase-file name a "
                "file or a descriptor (/dev/fd/3) that holds it; it never goes on the command line"
            )
        if self.key.attempts().unreported:
            self._report()

    def open(self) -> Signer:
        """Ask for the components and open the key; a failure is told, and asked again at a terminal.

        Raises AccessError when it stays shut.
        """
        while True:
            user, passphrase = self._asked()
            try:
                signer = self.key.open(user, passphrase, datetime.now(UTC))
            except AccessError as error:
                self._report()
                if self.passphrase_file is not None or self.key.attempts().locked:
                    raise
                complain(str(error))
            else:
                self._known = True
                return signer

    def _asked(self) -> tuple[str, str]:
        assert self.me.user is not None
        if self.passphrase_file is not None:
            text = self.passphrase_file.read_text("utf-8")
            return self.me.user, text.removesuffix("\n").removesuffix("\r")
        user = self.me.user if self._known else str(typer.prompt("User id", err=True))
        # getpass by itself: it turns the echo off before it asks, so that nothing typed early is shown.
        return user, getpass("Passphrase: ")

    def _report(self) -> None:
        """Seal what failed, by a system's key at hand, and say it aloud."""
        told = self.key.attempts()
        if not told.unreported:
            return  # nothing was tried: the key was locked before
        count = len(told.unreported)
        complain(f"ALARM: {count} failed attempts to open the key of {self.me.user}, the last at {told.last}.")
        if told.event_data(self.me.key)["locked"]:
            complain("The key is locked now. An administrator finds out who tried, unlocks and reinstates it.")
        reporter = self._reporter()
        if reporter is None:
            complain("No system's key is here to seal that with: tell an administrator yourself.")
            return
        self._send(reporter, told)
        self.key.mark_reported(told)

    def _send(self, reporter: tuple[Identity, Signer], told: Attempts) -> None:
        identity, signer = reporter
        outbox = self.home.outbox(identity.source)
        data = told.event_data(self.me.key)
        # At the time of the last failure: if we die before it is marked as told, the next run says the same again.
        draft = Draft(source=identity.source, type="identity.access_failed", time=data["last"], data=data)
        outbox.put([draft], lambda _role: signer)
        outbox.close()
        if not deliver(self.home, self.broker, identity.source, _PATIENCE):
            say("[yellow]That is kept in an outbox and not sealed yet[/]; `trail deliver` sends it.")

    def _reporter(self) -> tuple[Identity, Signer] | None:
        """A system that may speak of this person, with its key."""
        found: list[tuple[int, Identity, Signer]] = []
        for path in sorted((self.home.directory / "keys").glob("*.pem")):
            try:
                signer = SigningKey.load(path)
            except TrailError:
                continue  # encrypted, or no key: not one at hand
            identity = self.register.identities.get(signer.id)
            if identity is None or not _may_report(identity, self.me):
                continue
            rank = next((at for at, role in enumerate(_REPORTERS) if role in identity.roles), None)
            if rank is not None:
                found.append((rank, identity, signer))
        best = min(found, key=lambda one: (one[0], one[1].source), default=None)
        return None if best is None else best[1:]


def opened(home: Installation, user: str, passphrase_file: Path | None, broker: str) -> tuple[SourceId, Signer]:
    """A person's source and opened key, for one use.

    Raises TrailError when nobody has this user id, AccessError when the key stays shut.
    """
    register = register_of(home)
    me = identity_of(register, user)
    access = Access(home, broker, register, me, passphrase_file)
    access.check()
    return me.source, access.open()


def deliver(home: Installation, broker: str, source: SourceId, patience: float) -> bool:
    """Deliver a source's outbox; False when receipts did not come in time, or the broker cannot be reached."""

    async def send() -> bool:
        async with line(home, broker) as connected:
            return await connected.deliver([source], timeout=patience)

    try:
        return asyncio.run(send())
    except TrailError as error:
        complain(str(error))
        return False


def _may_report(system: Identity, me: Identity) -> bool:
    """Whether admission would take a system's word on this person's key."""
    if system.user is not None or system.revoked is not None or system.suspended is not None:
        return False
    return system.sites is None or (me.sites is not None and me.sites <= system.sites)
