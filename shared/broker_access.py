"""Who may do what at the broker: nats-server's accounts and users, made from the identities in the log. Pure.

Every user has an account to itself, and only the notary's, ``RECORD``, has the streams. What a user may do
beyond its own account is imported from there subject by subject. Permissions within one shared account would not be
enough: whoever may send the broker any request names the subject of the answer, and the broker publishes the answer
there with its own rights. A site could so have an acknowledgement stored in LOG, and the notary stops at a LOG that
holds what it did not write. Between accounts the server replaces the subject of the answer by one of its own.

An identity's broker key is never the key that signs events. The broker chooses the nonce that a user signs to get
in: a broker that gave the encoding of an event as the nonce would get that event signed. So the broker key is
granted beside the signing key, as ``broker_key``, and no event is admitted by it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from shared.broker import API, DEFAULT_PREFIX, Topology
from shared.broker_keys import is_user_key
from shared.events.authority import authority
from shared.events.base import Role
from shared.identities import NOTARY_SOURCE, ROOT_SOURCE, Identity
from shared.words import SourceId

RECORD: Final = "RECORD"
"""The account that has the streams. The notary alone is in it."""

INBOX: Final = "_INBOX.>"
"""Where answers arrive: in a user's own account, so nobody else hears them, and any client's default will do."""

DECIDING: Final[frozenset[Role]] = frozenset({"screening", "safety"})
"""Roles that read LOG through a durable consumer of their own, named like the role."""

READING: Final[frozenset[Role]] = frozenset(
    {"auditor", "inspector", "monitor", "medical_monitor", "safety_physician"}
)
"""Roles that read LOG: all of it, or what the sites in their scope say."""

AT_SITE: Final[frozenset[Role]] = frozenset({"coordinator", "investigator", "sub_investigator"})
"""Persons at a site: they read what is sealed of their own sites."""


@dataclass(frozen=True, slots=True)
class Service:
    """A subject of the account RECORD that somebody may send to. ``stream``: it is answered more than once."""

    subject: str
    stream: bool = False

    @property
    def local(self) -> str:
        """The subject under which another account has it.

        An account without streams answers $JS.API itself, and only to say that it has none.
        """
        return self.subject.replace(DEFAULT_PREFIX, API, 1)


@dataclass(frozen=True, slots=True)
class User:
    """One user. ``key``: its public nkey; ``services``: what it may send; ``streams``: what it may hear.

    ``in_record``: it is in the account that has the streams.
    """

    key: str
    source: SourceId
    holder: str
    services: tuple[Service, ...]
    streams: tuple[str, ...]
    in_record: bool = False

    @property
    def publish(self) -> tuple[str, ...]:
        """Every subject it may publish on."""
        return tuple(one.subject if self.in_record else one.local for one in self.services)

    @property
    def subscribe(self) -> tuple[str, ...]:
        """Every subject it may subscribe to."""
        return (INBOX, *self.streams)


@dataclass(frozen=True, slots=True)
class Access:
    """All users as of one moment, and why others with a broker key are none. ``notary``: the one in RECORD."""

    trial: str
    notary: User
    users: tuple[User, ...]
    left_out: tuple[str, ...] = ()


def access(trial: str, identities: Iterable[Identity], *, at: datetime, notary: str, root: str) -> Access:
    """Everybody whom the broker lets in at ``at`` (aware).

    ``notary`` and ``root``: the public nkeys of the two identities that the genesis entry makes, which names no
    broker keys; the installation that runs the broker does, and has it sealed (``broker.configured``).
    """
    topology = Topology(trial)
    named = {NOTARY_SOURCE: notary, ROOT_SOURCE: root}
    known = [
        replace(one, broker=named[one.source]) if one.roles & {"log", "root"} else one
        for one in sorted(identities, key=lambda one: (one.granted, one.key))
        # The log's earlier keys are identities too; the notary's user is the same under every key.
        if "log" not in one.roles or one.revoked is None
    ]
    owners: dict[str, SourceId] = {}
    users: dict[str, User] = {}
    left_out: list[str] = []
    for one in known:
        if one.broker is None:
            continue
        # For good: who had a key first has it, revoked or not, or a stolen key came back under another name.
        owner = owners.setdefault(one.broker, one.source)
        reason = _reason(one, at)
        if reason is None and (owner != one.source or one.broker in users):
            reason = f"its broker key was granted to {owner} before"
        if reason is not None:
            left_out.append(f"{one.source} {_quoted(one.holder)}, {one.broker}: {reason}")
        else:
            users[one.broker] = _user(topology, one, one.broker)
    made = users.pop(notary)
    return Access(
        trial, made, tuple(sorted(users.values(), key=lambda one: (one.source, one.key))), tuple(left_out)
    )


def write_access(access: Access, as_of: int) -> str:
    """The accounts as nats-server reads them; the same bytes for the same log. ``as_of``: its last entry used."""
    topology = Topology(access.trial)
    lines = [
        f"# Who may do what at the broker of {access.trial}, made from the log as of entry {as_of}. Do not edit:",
        "# `trail broker config` makes it anew, and its digest is sealed.",
        *(f"# left out: {one}" for one in access.left_out),
        "accounts {",
        f"  {RECORD} {{",
        "    jetstream: enabled",
        *_users(access.notary),
        "    exports: [",
        *(f"      {_export(one)}" for one in _exported(topology)),
        *(f"      {{ stream: {_quoted(one)} }}" for one in (topology.receipts, topology.log_subjects)),
        "    ]",
        "  }",
    ]
    for user in access.users:
        lines += [
            f"  # {user.source}: {_quoted(user.holder)}",
            f"  {user.key} {{",
            *_users(user),
            "    imports: [",
            *(f"      {_import(one)}" for one in user.services),
            *(f"      {{ stream: {{ account: {RECORD}, subject: {_quoted(one)} }} }}" for one in user.streams),
            "    ]",
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def _reason(identity: Identity, at: datetime) -> str | None:
    """Why an identity is nobody at the broker; None if it is somebody."""
    if identity.broker is None or not is_user_key(identity.broker):
        return "its broker key is no user's nkey"
    if identity.revoked is not None:
        return f"revoked by entry {identity.revoked}"
    if identity.suspended is not None:
        return f"suspended by entry {identity.suspended}"
    if identity.until is not None and identity.until <= at:
        return "expired"
    return None


def _user(topology: Topology, identity: Identity, key: str) -> User:
    if "log" in identity.roles:
        return User(key, identity.source, identity.holder, _notary_services(topology), (), in_record=True)
    services: list[Service] = []
    streams: list[str] = []
    if any(identity.roles & set(allowed) for allowed in authority().events.values()):
        services.append(Service(f"{topology.intake_prefix(identity.source)}.>"))
        streams.append(topology.receipt_subject(identity.source))
    for role in sorted(identity.roles & DECIDING):
        services += _deciding_services(topology, role)
    if identity.roles & READING and identity.sites is None:
        services += _reading_services(topology)
        streams.append(topology.log_subjects)
    elif identity.roles & (READING | AT_SITE):
        # Live only: the broker's requests for what is stored name no subject that a permission could hold to.
        streams += [f"log.{topology.trial}.site.{site}.>" for site in sorted(identity.sites or ())]
    return User(key, identity.source, identity.holder, tuple(dict.fromkeys(services)), tuple(streams))


def _deciding_services(topology: Topology, role: Role) -> list[Service]:
    return [
        Service(f"{DEFAULT_PREFIX}.CONSUMER.INFO.{topology.log}.{role}"),
        Service(f"{DEFAULT_PREFIX}.CONSUMER.MSG.NEXT.{topology.log}.{role}", stream=True),
        Service(f"$JS.ACK.{topology.log}.{role}.>"),
        Service(f"{DEFAULT_PREFIX}.STREAM.MSG.GET.{topology.log}"),
    ]


def _reading_services(topology: Topology) -> list[Service]:
    # By number, and the answer comes to the asker's account: a consumer could be told to deliver anywhere.
    return [
        Service(f"{DEFAULT_PREFIX}.STREAM.INFO.{topology.log}"),
        Service(f"{DEFAULT_PREFIX}.STREAM.MSG.GET.{topology.log}"),
    ]


def _notary_services(topology: Topology) -> tuple[Service, ...]:
    """What provisions, seals and mirrors; reading LOG for `trail fsck` and `trail doctor` besides."""
    subjects = [topology.log_subjects, topology.receipts]
    for stream in (topology.intake, topology.log):
        subjects += [f"{DEFAULT_PREFIX}.STREAM.{what}.{stream}" for what in ("INFO", "CREATE", "UPDATE", "MSG.GET")]
        subjects += [
            f"{DEFAULT_PREFIX}.CONSUMER.{what}.{stream}.*" for what in ("INFO", "CREATE", "MSG.NEXT", "DELETE")
        ]
        subjects += [f"{DEFAULT_PREFIX}.CONSUMER.CREATE.{stream}.*.>", f"{DEFAULT_PREFIX}.CONSUMER.CREATE.{stream}"]
        subjects += [f"{DEFAULT_PREFIX}.CONSUMER.DURABLE.CREATE.{stream}.*"]
    subjects.append(f"$JS.ACK.{topology.intake}.notary.>")
    return tuple(map(Service, subjects))


def _exported(topology: Topology) -> list[Service]:
    """What other accounts may import at all, whoever is granted: a reload leaves the notary's account as it is.

    Only what is written beside it can import anything, so this gives nobody anything yet.
    """
    deciding = [one for role in sorted(DECIDING) for one in _deciding_services(topology, role)]
    return list(dict.fromkeys([Service(topology.intake_subjects), *deciding, *_reading_services(topology)]))


def _export(service: Service) -> str:
    answered = ", response: stream" if service.stream else ""
    return f"{{ service: {_quoted(service.subject)}{answered} }}"


def _import(service: Service) -> str:
    renamed = f", to: {_quoted(service.local)}" if service.local != service.subject else ""
    return f"{{ service: {{ account: {RECORD}, subject: {_quoted(service.subject)} }}{renamed} }}"


def _users(user: User) -> list[str]:
    # A name for every list, empty ones too: a user without a list may do everything.
    publish = "allow" if user.publish else "deny"
    return [
        "    users: [ {",
        f"      nkey: {user.key}",
        "      permissions: {",
        f"        publish: {{ {publish}: [{', '.join(map(_quoted, user.publish or ('>',)))}] }}",
        f"        subscribe: {{ allow: [{', '.join(map(_quoted, user.subscribe))}] }}",
        "      }",
        "    } ]",
    ]


def _quoted(text: str) -> str:
    # A holder's name may hold a line feed: escaped, or it would end the comment and add to the configuration.
    return json.dumps(text)
