"""What the commands ``trail identity`` do: draft, sign as the root or a person, have it sealed, tell the ruling."""

import base64
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.table import Table

from services.audit.effects import register_as_of
from services.audit.register import Register
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, as_json, err, out, safe
from services.cli.persons import ask_new_passphrase, identity_of, new_person_key, register_of
from services.cli.reading import reading
from services.cli.speaking import Speaker
from services.console.replay import until as entries_until
from shared.events.identity import KINDS_OF_ROLE
from shared.identities import Identity
from shared.moments import instant, stamp
from shared.words import TrailError


class Office(Speaker):
    """Where identities are kept: the root speaks, or a person."""

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
        return self.say("granted", until=until, **said)

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
        code = self.say("key_replaced", until=until, why=why, **said)
        if code == GOOD and "administrator" not in known.roles:
            err.print(
                f"The key waits until somebody else has made sure that it is {safe(known.holder)}'s: "
                f"`trail identity reinstate {safe(user)}`, by another administrator or with the root's key."
            )
        return code

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
        return self.say("changed", until=until, key=known.key, **said)

    def delegate(self, user: str, task: str, site: str, until: str | None) -> int:
        """Delegate a task from now on; the exit code."""
        now = stamp(datetime.now(UTC))
        return self.say("delegated", user=user, task=task, site=site, starts=now, ends=_time(until))

    def about(self, user: str, verb: str, *, until: str | None = None, **said: Any) -> int:
        """Have something sealed about the key that a person has now; the exit code."""
        known = identity_of(register_of(self.home), user)
        return self.say(verb, until=until, key=known.key, **said)

    def say(self, verb: str, *, until: str | None = None, **said: Any) -> int:
        """Have something about identities sealed; the exit code."""
        outcome = self.seal(f"identity.{verb}", said | {"until": _time(until)})
        return WRONG if outcome.verdict == "refused" else GOOD

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
    if identity.given_by is not None:
        return f"given by {identity.given_by}, to be confirmed by somebody else"
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
