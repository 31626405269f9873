"""What an admitted event changes in what admission knows. Pure; part of admission."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from services.audit.erasure import take_erasure
from services.audit.protocol_rules import take_protocol, take_protocol_signature
from services.audit.register import Register
from services.audit.reviewing import take_review
from shared.entry import Entry
from shared.envelope import Envelope, read_envelope
from shared.events import CATALOGUE, Data, SiteData, read_data
from shared.events import identity as ids
from shared.events.log import (
    ClockMoved,
    IntakeLost,
    KeyRotated,
    Opened,
    ProtocolActivated,
    ProtocolAdopted,
    ProtocolAmended,
)
from shared.events.screening import Registered
from shared.events.signatures import (
    PersonSigned,
    ReviewQueryAnswered,
    ReviewQueryClosed,
    ReviewQueryRaised,
    ReviewRecorded,
)
from shared.identities import (
    Identity,
    Person,
    active,
    changed,
    check_revocation,
    founders,
    granted,
    reinstated,
    replaced,
    rotated,
    suspended,
)
from shared.moments import instant, stamp
from shared.words import KeyId, LogIndex, RefusedError

MAX_TICKS_AT_ONCE: Final = 2000


def register_as_of(trial: str, entries: Iterable[Entry]) -> Register:
    """What admission knew of identities and people after these entries, from the first on; believed as sealed."""
    register = Register(trial)
    for entry in entries:
        envelope = read_envelope(entry.body) if entry.admitted else None
        if envelope is None or not envelope.route.startswith(("identity.", "log.", "protocol.", "record.")):
            continue
        format_ = entry.header.format
        data = read_data(CATALOGUE[envelope.type], envelope.data, format_)
        if isinstance(data, Opened):
            register.clock = register.ticked = instant(entry.header.sealed_at)
            for founder in founders(data):
                register.accept(founder)
        by = register.identities[KeyId(entry.header.key)]
        take(register, envelope, data, by, entry.index, instant(entry.header.sealed_at), format_)
    return register


def take(
    register: Register,
    envelope: Envelope,
    data: Data,
    identity: Identity,
    index: LogIndex,
    sealed_at: datetime,
    format_: int,
) -> None:
    """Let an admitted event change what admission knows. Raises RefusedError before it changes anything."""
    match data:
        case Opened():
            if index != 0:
                raise RefusedError("the log is already open")
            register.opened = data
            register.touched.add(("log", ""))
        case KeyRotated():
            for one in rotated(data, register.identities.values(), index):
                register.accept(one)
        case ClockMoved():
            _check_clock(register, data)
            register.clock = instant(data.to)
            register.touched.add(("log", ""))
        case IntakeLost():
            register.intake = data.last_missing
            register.touched.add(("log", ""))
        case ProtocolAdopted() | ProtocolAmended() | ProtocolActivated():
            take_protocol(register, data, index, sealed_at, format_)
        case Registered() if envelope.subject is not None and data.corrects is None:
            register.participants[envelope.subject] = envelope.source
            register.touched.add(("participant", envelope.subject))
        case ReviewRecorded() | ReviewQueryRaised() | ReviewQueryAnswered() | ReviewQueryClosed():
            take_review(register, envelope, data, identity, index)
        case PersonSigned() if data.meaning == "protocol":
            take_protocol_signature(register, data)
        case SiteData():
            take_erasure(register, envelope, data, index)
        case _:
            _take_identity(register, data, identity, index, sealed_at)


def _take_identity(register: Register, data: Data, by: Identity, index: LogIndex, sealed_at: datetime) -> None:
    known = register.identities
    match data:
        case ids.GrantedToKey():
            taken = known.get(_key_of(data.public_key))
            user = data.user if isinstance(data, ids.Granted) else None
            register.accept(granted(data, by, taken, register.people.get(user or ""), index))
        case ids.Changed():
            register.accept(changed(data, by, known.get(KeyId(data.key))))
        case ids.Suspended():
            register.accept(suspended(KeyId(data.key), by, known.get(KeyId(data.key)), index))
        case ids.Reinstated():
            register.accept(reinstated(KeyId(data.key), by, known.get(KeyId(data.key))))
        case ids.Revoked():
            register.accept(replace(check_revocation(data, by, known.get(KeyId(data.key))), revoked=index))
        case ids.KeyReplaced():
            taken = known.get(_key_of(data.public_key))
            for one in replaced(data, by, known.get(KeyId(data.key)), taken, index):
                register.accept(one)
        case ids.Trained():
            register.remember(_person(register, data.user, by).trained(data))
        case ids.Delegated():
            register.remember(_person(register, data.user, by, data.site).delegated(data))
        case ids.DelegationEnded():
            person = _person(register, data.user, by, data.site)
            register.remember(person.undelegated(data.task, data.site, sealed_at))
        case ids.AccessFailed():
            _take_access_failed(register, data, by, index)
        case _:
            pass


def _person(register: Register, user: str, by: Identity, site: str | None = None) -> Person:
    """The person of a user id, who must be in the scope of whoever says something of them."""
    person = register.people.get(user)
    if person is None:
        raise RefusedError(f"data.user: nobody has the user id {user}")
    if user == by.user:
        raise RefusedError("data.user: nobody records or delegates for themselves")
    identity = register.identities[person.key]
    if by.sites is not None and (identity.sites is None or not identity.sites & by.sites):
        raise RefusedError(f"data.user: {user} belongs to none of your sites")
    if site is not None and not identity.may_act_at(site):
        raise RefusedError(f"data.user: {user} is not granted for site {site}")
    return person


def _take_access_failed(register: Register, data: ids.AccessFailed, by: Identity, index: LogIndex) -> None:
    identity = active(data.key, register.identities.get(KeyId(data.key)))
    if identity.user is None:
        raise RefusedError(f"data.key: {data.key} is not a person's key")
    if by.sites is not None and (identity.sites is None or not identity.sites <= by.sites):
        raise RefusedError(f"data.key: {data.key} belongs to none of your sites alone")
    if data.locked and identity.suspended is None:
        register.accept(replace(identity, suspended=index))


def _check_clock(register: Register, data: ClockMoved) -> None:
    assert register.opened is not None
    assert register.clock is not None
    if register.opened.clock != "simulated":
        raise RefusedError("this log keeps real time; only a simulated log's clock can be moved")
    ahead = (instant(data.to) - register.clock).total_seconds()
    if ahead <= 0:
        raise RefusedError(f"the clock stands at {stamp(register.clock)} and moves only forward")
    if ahead / register.opened.tick_seconds > MAX_TICKS_AT_ONCE:
        raise RefusedError(f"the clock moves by at most {MAX_TICKS_AT_ONCE} ticks at once")


def _key_of(public_key: str) -> KeyId:
    return KeyId(hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:32])
