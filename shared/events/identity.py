"""Who may speak: keys granted to persons and systems, changed, suspended and revoked; training and delegation.

A person is known by a user id that is never given to anybody else (21 CFR 11.100(a)); a system has none.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.events.base import Data, Hash, Index, KeyIdText, Name, Role, Text, Token
from shared.moments import Day, Instant, instant
from shared.words import source_kind

PublicKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
SourceText = Annotated[
    str, StringConstraints(pattern=r"^(admin|service|site|sponsor)/[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
]
UserId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,31}$")]
"""A person's user id, the first of a signature's two components; in lower case, so that no two look alike."""

BrokerKey = Annotated[str, StringConstraints(pattern=r"^U[A-Z2-7]{55}$")]
"""The public part of a NATS user nkey: what the broker knows the holder by. Never the key that signs events."""

Sites = Annotated[list[Token], Field(min_length=1, max_length=500)]
Roles = Annotated[list[Role], Field(min_length=1, max_length=8)]

Task = Literal[
    "consent",  # obtaining informed consent
    "data_entry",  # registering participants, recording what was observed
    "eligibility",  # judging and signing eligibility, asking for a place
    "treatment",  # giving the study treatment
    "safety",  # assessing and reporting adverse events
]
"""What an investigator may delegate at a site (ICH E6(R3) 2.3; the delegation of authority log)."""

KINDS_OF_ROLE: dict[str, tuple[str, ...]] = {
    "administrator": ("admin",),
    "inspector": ("admin",),
    "screening": ("service",),
    "safety": ("service",),
    "site_system": ("site",),
    "coordinator": ("site",),
    "investigator": ("site",),
    "sub_investigator": ("site",),
    "sponsor": ("sponsor",),
    "medical_monitor": ("sponsor",),
    "safety_physician": ("sponsor",),
    "monitor": ("sponsor",),
    "auditor": ("sponsor",),
    "cohort_committee": ("sponsor", "site"),  # investigators sit on it too
}
"""Which kinds of source a role may speak for."""

SYSTEM_ROLES = frozenset({"site_system", "screening", "safety"})
"""Roles of systems. A sponsor may be either; every other role is a person's."""


def _check_kinds(source: str, roles: Sequence[Role]) -> None:
    kind = source_kind(source)
    for role in roles:
        if kind not in KINDS_OF_ROLE.get(role, ()):
            raise ValueError(f"the role {role} cannot be granted to the source {source}")


def check_roles(source: str, user: str | None, roles: Sequence[Role]) -> None:
    """Raise ValueError when roles do not go with the source, or with being a person or a system."""
    _check_kinds(source, roles)
    persons = sorted(set(roles) - SYSTEM_ROLES - {"sponsor"})
    if user is None and persons:
        raise ValueError(f"the role {persons[0]} is a person's: give user, the id that this person alone has")
    systems = sorted(set(roles) & SYSTEM_ROLES)
    if user is not None and systems:
        raise ValueError(f"the role {systems[0]} is a system's: leave user out, or grant the person another key")


class GrantedToKey(Data):
    """A grant as it was before persons had user ids (entry formats 1 to 3)."""

    public_key: PublicKey
    holder: Name
    source: SourceText
    roles: Roles

    @model_validator(mode="after")
    def _roles_fit_the_source(self) -> Self:
        _check_kinds(self.source, self.roles)
        return self


class Granted(GrantedToKey):
    """A key may speak for a source in these roles. ``holder`` is the accountable person or system, by name.

    ``user``: a person's user id; a system has none. ``sites``: whose participants it is about; its own site where
    a site's source leaves it out, every site for other kinds. ``until``: when the key expires. ``broker_key``: as
    whom the broker lets it in.
    """

    user: UserId | None = None
    sites: Sites | None = None
    until: Instant | None = None
    broker_key: BrokerKey | None = None

    @model_validator(mode="after")
    def _person_or_system(self) -> Self:
        check_roles(self.source, self.user, self.roles)
        return self


_RoleBeforePersons = Literal[
    "root", "administrator", "log", "screening", "site_system", "investigator", "sponsor",
    "safety", "medical_monitor", "cohort_committee",
]  # fmt: skip
_RoleBeforeSafety = Literal["root", "administrator", "log", "screening", "site_system", "investigator", "sponsor"]


class GrantedBeforePersons(GrantedToKey):
    """A grant in an entry of format 3."""

    roles: Annotated[list[_RoleBeforePersons], Field(min_length=1, max_length=8)]  # type: ignore[assignment]

    @model_validator(mode="after")
    def _committee_is_the_sponsors(self) -> Self:
        if "cohort_committee" in self.roles and not self.source.startswith("sponsor/"):
            raise ValueError(f"the role cohort_committee cannot be granted to the source {self.source}")
        return self


class GrantedBeforeSafety(GrantedToKey):
    """A grant in an entry of format 2 or less, when there were fewer roles."""

    roles: Annotated[list[_RoleBeforeSafety], Field(min_length=1, max_length=8)]  # type: ignore[assignment]


class Changed(Data):
    """An identity's rights from here on, whole: what is left out is as in a grant that leaves it out."""

    key: KeyIdText
    roles: Roles
    sites: Sites | None = None
    until: Instant | None = None
    broker_key: BrokerKey | None = None
    why: Text


class Suspended(Data):
    """A key may not speak until it is reinstated."""

    key: KeyIdText
    why: Text


class Reinstated(Data):
    """A suspended key may speak again."""

    key: KeyIdText
    why: Text


class Revoked(Data):
    """A key may speak no longer; what it signed before stays signed."""

    key: KeyIdText
    why: Text


class KeyReplaced(Data):
    """An identity goes on with another key: its user id, name, source, roles and sites stay.

    The old key is revoked for good; a stolen one never comes back. A person's new key speaks when somebody else
    than who sent this has sent ``identity.reinstated``.
    """

    key: KeyIdText
    public_key: PublicKey
    until: Instant | None = None
    broker_key: BrokerKey | None = None
    why: Text


class Trained(Data):
    """A person has been trained for a task (21 CFR 11.10(i)); it counts until ``until``, for good without it."""

    user: UserId
    task: Task
    course: Name
    on: Day
    until: Instant | None = None


class Delegated(Data):
    """An investigator lets a trained person do a task at a site, from ``starts`` until ``ends`` or taken back."""

    user: UserId
    task: Task
    site: Token
    starts: Instant
    ends: Instant | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ends is not None and instant(self.ends) <= instant(self.starts):
            raise ValueError("ends must lie after starts")
        return self


class DelegationEnded(Data):
    """An investigator takes a task at a site back, at once."""

    user: UserId
    task: Task
    site: Token
    why: Text


class AccessFailed(Data):
    """Somebody failed to open a person's key (21 CFR 11.300(d)), told by the system where it happened.

    ``locked``: the limit was reached; the key is suspended until an administrator reinstates it.
    """

    key: KeyIdText
    failures: Annotated[int, Field(ge=1, le=1_000_000)]
    first: Instant
    last: Instant
    locked: bool


class BrokerConfigured(Data):
    """From here on the broker lets in whom the log named up to the entry ``as_of``, and nobody else.

    ``digest``: the SHA-256 of the accounts as nats-server reads them, which anybody can make anew from the log and
    the broker keys of the notary and of the root: those the genesis entry does not name.
    """

    as_of: Index
    digest: Hash
    notary: BrokerKey
    root: BrokerKey
