"""Having one event sealed as the root, as a system of this machine, or as a person with a passphrase."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.cli.access import opened
from services.cli.delivery import Post, line
from services.cli.installation import Installation
from services.cli.output import complain, say
from services.cli.persons import present, register_of
from services.cli.stack import broker_url
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.outbox import Outcome
from shared.signing import Signer
from shared.words import SourceId, TrailError

_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whoever speaks in a command: the person ``by``, or else what this machine has the key of."""

    data: Path
    by: str | None = None
    passphrase_file: Path | None = None
    broker: str | None = None

    @property
    def home(self) -> Installation:
        """The trial's data directory."""
        return Installation.open(self.data)

    def seal(
        self, type_: str, said: Mapping[str, Any], subject: str | None = None, system: SourceId = ROOT_SOURCE
    ) -> Outcome:
        """Have an event sealed, and say how it was ruled; what is None in it is left out.

        ``system`` speaks where nobody does in person. Raises TrailError when it cannot be posted.
        """
        home = self.home
        source, signer = self._signer(home, system)
        given = {name: value for name, value in said.items() if value is not None}
        now = stamp(present(register_of(home)))
        draft = Draft(source=source, type=type_, subject=subject, time=now, data=given)
        post = Post(home)
        try:
            numbers = post.outbox(source).put([draft], lambda _role: signer)
        finally:
            post.close()
        outcome = asyncio.run(_sealed(home, self.broker or broker_url(home.directory), source, numbers))
        if outcome.verdict == "refused":
            complain(f"entry {outcome.index}: refused: {outcome.reason}")
        else:
            say(f"[green]Sealed[/] as entry {outcome.index}: {type_}")
        return outcome

    def _signer(self, home: Installation, system: SourceId) -> tuple[SourceId, Signer]:
        if self.by is None:
            return system, home.key(home.key_name(system, "root" if system == ROOT_SOURCE else "site_system"))
        return opened(home, self.by, self.passphrase_file, self.broker or broker_url(home.directory))


async def _sealed(home: Installation, url: str, source: SourceId, numbers: list[int]) -> Outcome:
    async with line(home, url) as connected:
        if not await connected.deliver([source], timeout=_PATIENCE):
            raise TrailError("its receipt has not come; it is kept, and `trail deliver --wait` sends it again")
        return connected.post.outbox(source).outcomes(numbers)[0]
