"""Who may speak: the identities that the log itself holds, folded from its own entries (DESIGN.md section 9)."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from shared.events.base import Role
from shared.events.identity import (
    Changed,
    Delegated,
    Granted,
    GrantedToKey,
    KeyReplaced,
    Revoked,
    Task,
    Trained,
    check_roles,
)
from shared.events.log import KeyRotated, Opened
from shared.moments import instant
from shared.signing import key_id
from shared.words import KeyId, LogIndex, RefusedError, SourceId

ROOT_SOURCE = SourceId("admin/root")
NOTARY_SOURCE = SourceId("service/audit")


@dataclass(frozen=True, slots=True)
class Identity:
    """A key with its holder, source and rights, granted by the entry ``granted``; ended by another or not.

    ``user``: the person's user id, None for a system. ``sites``: whose participants it is about, None for every
    site. ``until``: when the key expires (aware UTC). ``broker``: the public nkey that the broker knows it by.
    ``given_by``: who gave the person this key in place of another, as long as nobody else has confirmed that.
    """

    key: KeyId
    public: bytes
    holder: str
    source: SourceId
    roles: frozenset[Role]
    granted: LogIndex
    revoked: LogIndex | None = None
    user: str | None = None
    sites: frozenset[str] | None = None
    until: datetime | None = None
    broker: str | None = None
    suspended: LogIndex | None = None
    given_by: str | None = None

    @property
    def speaker(self) -> str:
        """Who it is that acts: a person, whatever the key, else the key."""
        return self.user or self.key

    def may_act_at(self, site: str) -> bool:
        """Whether a site's participants are in its scope."""
        return self.sites is None or site in self.sites


@dataclass(frozen=True, slots=True)
class Training:
    """A person is trained for a task until then, for good where ``until`` is None."""

    task: Task
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Delegation:
    """A person may do a task at a site from ``starts`` until before ``ends``."""

    task: Task
    site: str
    starts: datetime
    ends: datetime | None


@dataclass(frozen=True, slots=True)
class Person:
    """A user id that was given to one person for good, and what that person was trained for and may do."""

    user: str
    key: KeyId
    trainings: tuple[Training, ...] = ()
    delegations: tuple[Delegation, ...] = ()

    def may(self, task: Task, site: str, at: datetime) -> bool:
        """Whether a task at a site is delegated to the person at this instant."""
        return any(
            one.task == task and one.site == site and one.starts <= at and (one.ends is None or at < one.ends)
            for one in self.delegations
        )

    def trained(self, data: Trained) -> "Person":
        """The person after one more training."""
        one = Training(data.task, None if data.until is None else instant(data.until))
        return replace(self, trainings=(*self.trainings, one))

    def delegated(self, data: Delegated) -> "Person":
        """The person after one more delegation.

        Raises RefusedError when no training for the task covers the whole of it.
        """
        starts, ends = instant(data.starts), None if data.ends is None else instant(data.ends)
        fitting = [one for one in self.trainings if one.task == data.task]
        if not fitting:
            raise RefusedError(f"{self.user} is not trained for {data.task}: send identity.trained first")
        if not any(one.until is None or (ends is not None and ends <= one.until) for one in fitting):
            raise RefusedError(f"{self.user}'s training for {data.task} ends before the delegation would")
        return replace(self, delegations=(*self.delegations, Delegation(data.task, data.site, starts, ends)))

    def undelegated(self, task: Task, site: str, at: datetime) -> "Person":
        """The person after a task at a site was taken back.

        Raises RefusedError when it was not delegated.
        """
        kept = tuple(one for one in self.delegations if (one.task, one.site) != (task, site))
        live = [one for one in self.delegations if one not in kept and (one.ends is None or at < one.ends)]
        if not live:
            raise RefusedError(f"{task} at site {site} is not delegated to {self.user}")
        return replace(self, delegations=kept)


def founders(opened: Opened) -> list[Identity]:
    """The two identities that the genesis entry makes: the root and the log itself."""
    root, log = base64.b64decode(opened.root_key), base64.b64decode(opened.log_key)
    first = LogIndex(0)
    return [
        Identity(key_id(root), root, "root", ROOT_SOURCE, frozenset({"root"}), first),
        Identity(key_id(log), log, "log", NOTARY_SOURCE, frozenset({"log"}), first),
    ]


def granted(
    data: GrantedToKey, by: Identity, known: Identity | None, person: Person | None, index: LogIndex
) -> Identity:
    """The identity a grant makes. ``known`` has the key already, ``person`` the user id.

    Raises RefusedError when the key or the user id is taken, or the granter gives what is not theirs to give.
    """
    public = base64.b64decode(data.public_key)
    if known is not None:
        raise RefusedError(f"the key {known.key} was already granted by entry {known.granted}")
    if person is not None:
        raise RefusedError(
            f"the user id {person.user} was given before and is never given again: use identity.changed or "
            "identity.key_replaced for the same person, another id for another"
        )
    _check_rights(frozenset(data.roles), by)
    source = SourceId(data.source)
    made = Identity(key_id(public), public, data.holder, source, frozenset(data.roles), index, sites=_own(source))
    if not isinstance(data, Granted):
        return made
    return replace(
        made,
        user=data.user,
        sites=made.sites if data.sites is None else frozenset(data.sites),
        until=None if data.until is None else instant(data.until),
        broker=data.broker_key,
    )


def changed(data: Changed, by: Identity, known: Identity | None) -> Identity:
    """An identity with other rights.

    Raises RefusedError when there is none to change, the new rights do not fit it, or they are not the changer's to
    give or take.
    """
    old = active(data.key, known)
    _check_ours(old, by, "changed")
    _check_rights(frozenset(data.roles), by)
    try:
        check_roles(old.source, old.user, data.roles)
    except ValueError as error:
        raise RefusedError(f"data: {error}") from None
    return replace(
        old,
        roles=frozenset(data.roles),
        sites=_own(old.source) if data.sites is None else frozenset(data.sites),
        until=None if data.until is None else instant(data.until),
        broker=data.broker_key,
    )


def replaced(
    data: KeyReplaced, by: Identity, known: Identity | None, taken: Identity | None, index: LogIndex
) -> tuple[Identity, Identity]:
    """An identity's old key, revoked, and its new one.

    A person's new key is suspended until somebody else than who gave it reinstates it: else whoever replaces keys
    could sign as anybody, alone (21 CFR 11.200(a)(3)). An administrator signs no records, and only the root can
    replace and reinstate one.

    Raises RefusedError when the new key was ever anybody's, or the old one is not the replacer's to end.
    """
    old = active(data.key, known)
    _check_ours(old, by, "replaced")
    if taken is not None:
        raise RefusedError(f"the key {taken.key} was already granted by entry {taken.granted}")
    public = base64.b64decode(data.public_key)
    waits = old.user is not None and "administrator" not in old.roles
    new = replace(
        old,
        key=key_id(public),
        public=public,
        granted=index,
        suspended=index if waits else None,
        given_by=by.speaker if waits else None,
        until=None if data.until is None else instant(data.until),
        broker=data.broker_key,
    )
    return replace(old, revoked=index), new


def suspended(key: KeyId, by: Identity, known: Identity | None, index: LogIndex) -> Identity:
    """An identity that may not speak for now.

    Raises RefusedError when it is suspended already, not active, or not the suspender's to touch.
    """
    old = active(key, known)
    _check_ours(old, by, "suspended")
    if old.suspended is not None:
        raise RefusedError(f"the key {key} is already suspended, by entry {old.suspended}")
    return replace(old, suspended=index)


def reinstated(key: KeyId, by: Identity, known: Identity | None) -> Identity:
    """An identity that may speak again.

    Raises RefusedError when it is not suspended, not active, or not the reinstater's to touch, as a key is not that
    they gave to the person themselves.
    """
    old = active(key, known)
    _check_ours(old, by, "reinstated")
    if old.suspended is None:
        raise RefusedError(f"the key {key} is not suspended")
    if old.given_by == by.speaker:
        raise RefusedError(
            f"the key {key} was given to {old.user} by you: somebody else must confirm that with "
            "identity.reinstated"
        )
    return replace(old, suspended=None, given_by=None)


def rotated(data: KeyRotated, known: Iterable[Identity], index: LogIndex) -> tuple[Identity, Identity]:
    """The log's old identity, ended, and its new one.

    Raises RefusedError when the new key was ever anybody's: a stolen key must never come back.
    """
    public = base64.b64decode(data.public_key)
    log = None
    for one in known:
        if one.public == public:
            raise RefusedError(f"the key {one.key} was already granted by entry {one.granted}")
        if "log" in one.roles and one.revoked is None:
            log = one
    assert log is not None  # the genesis made it
    return replace(log, revoked=index), replace(log, key=key_id(public), public=public, granted=index)


def check_revocation(data: Revoked, by: Identity, known: Identity | None) -> Identity:
    """The identity that a revocation ends.

    Raises RefusedError when there is none to end, or it is not the revoker's to end.
    """
    if known is None or known.revoked is not None:
        raise RefusedError(f"there is no active key {data.key} to revoke")
    if known.roles & {"root", "log"}:
        raise RefusedError("the root key and the log's key cannot be revoked; they are rotated")
    if "administrator" in known.roles and "root" not in by.roles:
        raise RefusedError("only the root key may revoke an administrator")
    return known


def active(key: str, known: Identity | None) -> Identity:
    """The identity of a key that was granted and not revoked.

    Raises RefusedError when there is none.
    """
    if known is None or known.revoked is not None:
        raise RefusedError(f"there is no active key {key}")
    return known


def _own(source: SourceId) -> frozenset[str] | None:
    """The sites of an identity that names none: a site's own, else every one."""
    kind, _, name = source.partition("/")
    return frozenset({name}) if kind == "site" else None


def _check_rights(roles: frozenset[Role], by: Identity) -> None:
    if "administrator" in roles and "root" not in by.roles:
        raise RefusedError("only the root key may grant the role administrator")


def _check_ours(old: Identity, by: Identity, verb: str) -> None:
    if old.roles & {"root", "log"}:
        raise RefusedError(f"the root key and the log's key cannot be {verb}")
    if "administrator" in old.roles and "root" not in by.roles:
        raise RefusedError(f"an administrator is {verb} by the root key alone")
