"""Whether the signer of an event may submit it here and now (21 CFR 11.10(d), (g)). Pure; part of admission."""

from datetime import datetime

from services.audit.register import Register
from shared.entry import PERSONS_SINCE
from shared.events import Data, EventType, short_type
from shared.events.authority import DELEGATED
from shared.events.identity import Task
from shared.identities import Identity
from shared.moments import stamp
from shared.words import KeyId, ParticipantId, RefusedError, source_name


def active_identity(register: Register, key: str, sealed_at: datetime) -> Identity:
    """The identity that a key belongs to.

    Raises RefusedError when it was never granted, or is revoked, suspended or expired at this time.
    """
    identity = register.identities.get(KeyId(key))
    if identity is None:
        raise RefusedError(f"the key {key} has not been granted in this log")
    if identity.revoked is not None:
        raise RefusedError(f"the key {key} was revoked by entry {identity.revoked}")
    if identity.given_by is not None:
        raise RefusedError(
            f"the key {key} was given to {identity.user} by entry {identity.granted}, and waits until somebody "
            "else than who gave it confirms that with identity.reinstated"
        )
    if identity.suspended is not None:
        raise RefusedError(
            f"the key {key} is suspended since entry {identity.suspended}: an administrator must reinstate it"
        )
    if identity.until is not None and identity.until <= sealed_at:
        raise RefusedError(f"the key {key} expired at {stamp(identity.until)}: an administrator must replace it")
    return identity


def check_role(identity: Identity, event: EventType, format_: int) -> None:
    """Raise RefusedError unless one of the identity's roles may submit this type of event."""
    if not any(event.may_come_from(role, format_) for role in identity.roles):
        raise RefusedError(
            f"{short_type(event.name)} may be submitted by {' or '.join(sorted(event.roles_at(format_)))}, "
            f"not by {' and '.join(sorted(identity.roles))}"
        )


def check_scope(identity: Identity, site: str) -> None:
    """Raise RefusedError unless this site is in the identity's scope."""
    if not identity.may_act_at(site):
        theirs = ", ".join(sorted(identity.sites or ())) or "none"
        raise RefusedError(f"the key {identity.key} is for site {theirs}, not for site {site}")


def check_delegation(
    register: Register, identity: Identity, event: EventType, site: str, sealed_at: datetime, format_: int
) -> None:
    """Raise RefusedError unless what is done needs no delegation, or is delegated to the person at this site."""
    if event.task is None or format_ < PERSONS_SINCE:
        return
    if all(role in DELEGATED for role in identity.roles if event.may_come_from(role, format_)):
        check_task(register, identity, event.task, site, sealed_at)


def check_task(register: Register, identity: Identity, task: Task, site: str, sealed_at: datetime) -> None:
    """Raise RefusedError unless a task at a site is delegated to the identity's person at this time."""
    person = register.people.get(identity.user or "")
    if person is None or not person.may(task, site, sealed_at):
        raise RefusedError(
            f"{task} at site {site} is not delegated to {identity.user} at {stamp(sealed_at)}: an investigator of "
            "the site must send identity.delegated first"
        )


def site_of(register: Register, participant: str | None) -> str | None:
    """The site a participant is registered at; None for what is not about a participant."""
    home = None if participant is None else register.participants.get(ParticipantId(participant))
    return None if home is None else source_name(home)


def named_site(data: Data) -> str | None:
    """The site that an event names which is about no participant."""
    return getattr(data, "site", None)
