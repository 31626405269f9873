"""What the commands ``trail identity`` do: draft, sign as the root or a person, have it sealed, tell the ruling."""

import asyncio
import base64
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.table import Table

from services.audit.effects import register_as_of
from services.audit.register import Register
from services.cli.access import Access
from services.cli.delivery import Post, line
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, as_json, complain, err, out, safe, say
from services.cli.persons import ask_new_passphrase, identity_of, new_person_key, register_of
from services.cli.reading import reading
from services.cli.stack import broker_url
from services.console.replay import until as entries_until
from shared.drafts import Draft
from shared.events.identity import KINDS_OF_ROLE
from shared.identities import ROOT_SOURCE, Identity
from shared.moments import instant, stamp
from shared.outbox import Outcome
from shared.signing import Signer
from shared.words import SourceId, TrailError

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Office:
    """Where identities are kept: whoever speaks here is the root, or the person ``by`` with a passphrase."""

    data: Path
    by: str | None = None
    passphrase_file: Path | None = None
    broker: str | None = None

    @property
    def home(self) -> Installation:
        """The trial's data directory."""
        return Installation.open(self.data)

    def grant(
        self,
        user: str,
        name: str,
        roles: list[str],
        sites: list[str] | None,
        until: str | None,
        source: str | None,
        public_key: str | None,
        broker_key: str | None,
        new_passphrase_file: Path | None,
    ) -> int:
        """Grant a person a key, made here unless its public part is given; the exit code."""
        unknown = sorted(set(roles) - KINDS_OF_ROLE.keys())
        if unknown:
            raise TrailError(f"there is no role {unknown[0]}; there are {', '.join(sorted(KINDS_OF_ROLE))}")
        if user in register_of(self.home).people:
            raise TrailError(f"the user id {user} was given before; ids are never given again: choose another")
        source = source or f"{KINDS_OF_ROLE[roles[0]][0]}/{user.replace('.', '-')}"
        apart = source.replace("/", "-")
        # Where others speak for the source from here, the outbox that they share has its broker key already.
        if broker_key is None and public_key is None and not self.home.broker_key_path(apart).exists():
            broker_key = self.home.broker_key(apart)
        said = {
            "public_key": public_key or self._new_key(user, name, new_passphrase_file),
            "holder": name,
            "source": source,
            "roles": roles,
            "user": user,
            "sites": sites,
            "broker_key": broker_key,
        }
        return self.seal("granted", until=until, **said)

    def replace_key(
        self,
        user: str,
        why: str,
        until: str | None,
        public_key: str | None,
        broker_key: str | None,
        new_passphrase_file: Path | None,
    ) -> int:
        """Give a person another key, made here unless its public part is given; the exit code."""
        known = identity_of(register_of(self.home), user)
        public = public_key or self._new_key(user, known.holder, new_passphrase_file)
        said = {"key": known.key, "public_key": public, "broker_key": broker_key or known.broker}
        return self.seal("key_replaced", until=until, why=why, **said)

    def change(
        self,
        user: str,
        roles: list[str],
        sites: list[str] | None,
        until: str | None,
        broker_key: str | None,
        why: str,
    ) -> int:
        """Give a person other rights, whole, but for the broker key, which stays; the exit code."""
        known = identity_of(register_of(self.home), user)
        said = {"roles": roles, "sites": sites, "broker_key": broker_key or known.broker, "why": why}
        return self.seal("changed", until=until, key=known.key, **said)

    def delegate(self, user: str, task: str, site: str, until: str | None) -> int:
        """Delegate a task from now on; the exit code."""
        now = stamp(datetime.now(UTC))
        return self.seal("delegated", user=user, task=task, site=site, starts=now, ends=_time(until))

    def about(self, user: str, verb: str, *, until: str | None = None, **said: Any) -> int:
        """Have something sealed about the key that a person has now; the exit code."""
        known = identity_of(register_of(self.home), user)
        return self.seal(verb, until=until, key=known.key, **said)

    def seal(self, verb: str, *, until: str | None = None, **said: Any) -> int:
        """Have an event sealed, and say how it was ruled; the exit code. What is None is left out."""
        home = self.home
        source, signer = self._speaker(home)
        given = {name: value for name, value in (said | {"until": _time(until)}).items() if value is not None}
        draft = Draft(source=source, type=f"identity.{verb}", time=stamp(datetime.now(UTC)), data=given)
        post = Post(home)
        try:
            numbers = post.outbox(source).put([draft], lambda _role: signer)
        finally:
            post.close()
        outcome = asyncio.run(_sealed(home, self.broker or broker_url(home.directory), source, numbers))
        if outcome.verdict == "refused":
            complain(f"entry {outcome.index}: refused: {outcome.reason}")
            return WRONG
        say(f"[green]Sealed[/] as entry {outcome.index}: {draft.type}")
        return GOOD

    def _speaker(self, home: Installation) -> tuple[SourceId, Signer]:
        if self.by is None:
            return ROOT_SOURCE, home.key("root")
        register = register_of(home)
        me = identity_of(register, self.by)
        access = Access(home, self.broker or broker_url(home.directory), register, me, self.passphrase_file)
        access.check()
        return me.source, access.open()

    def _new_key(self, user: str, holder: str, passphrase_file: Path | None) -> str:
        """Make a person a key on this machine; its public part, base64."""
        err.print(f"A key for {safe(holder)}, kept encrypted on this machine: {safe(user)} chooses the passphrase.")
        first = ask_new_passphrase(user, passphrase_file)
        key = new_person_key(self.home, user).create(user, holder, first, datetime.now(UTC))
        return base64.b64encode(key.public).decode()


def tell_identities(directory: Path, as_of: str | None, *, json_: bool) -> int:
    """List everybody who may or might speak; the exit code."""
    home = Installation.open(directory)
    with reading(home) as source:
        register = register_as_of(home.trial, takewhile(entries_until(as_of), source.log.entries()))
    rows = [_row(register, one) for one in sorted(register.identities.values(), key=lambda one: one.granted)]
    if json_:
        as_json(rows)
        return GOOD
    table = Table("who", "speaks for", "roles", "sites", "key", "standing", "may do")
    for row in rows:
        name = f"{row['holder']} ({row['user']})" if row["user"] else row["holder"]
        sites = ", ".join(row["sites"]) if row["sites"] is not None else "all"
        cells = (name, row["source"], ", ".join(row["roles"]), sites, row["key"][:8], row["standing"])
        table.add_row(*map(safe, cells), safe("; ".join(row["may_do"])))
    out.print(table)
    return GOOD


async def _sealed(home: Installation, url: str, source: SourceId, numbers: list[int]) -> Outcome:
    async with line(home, url) as connected:
        if not await connected.deliver([source], timeout=_PATIENCE):
            raise TrailError("its receipt has not come; it is kept, and `trail deliver --wait` sends it again")
        return connected.post.outbox(source).outcomes(numbers)[0]


def _row(register: Register, identity: Identity) -> dict[str, Any]:
    person = register.people.get(identity.user or "")
    may_do = []
    for one in person.delegations if person is not None and person.key == identity.key else ():
        ends = "" if one.ends is None else f" until {stamp(one.ends)}"
        may_do.append(f"{one.task} at {one.site} since {stamp(one.starts)}{ends}")
    return {
        "user": identity.user,
        "holder": identity.holder,
        "source": identity.source,
        "roles": sorted(identity.roles),
        "sites": None if identity.sites is None else sorted(identity.sites),
        "key": identity.key,
        "granted": identity.granted,
        "standing": _standing(identity),
        "until": None if identity.until is None else stamp(identity.until),
        "may_do": may_do,
    }


def _standing(identity: Identity) -> str:
    if identity.revoked is not None:
        return f"revoked by entry {identity.revoked}"
    if identity.suspended is not None:
        return f"suspended by entry {identity.suspended}"
    return "active" if identity.until is None else f"active until {stamp(identity.until)}"


def _time(text: str | None) -> str | None:
    """The end of a day, or the time itself."""
    if text is None:
        return None
    try:
        if "T" in text:
            return stamp(instant(text))
        day = date.fromisoformat(text) + timedelta(days=1)
    except ValueError:
        told = f"{text} is neither a day, like 2027-03-04, nor a time, like 2027-03-04T12:00:00Z"
        raise TrailError(told) from None
    return stamp(datetime(day.year, day.month, day.day, tzinfo=UTC))
