"""What a version of the protocol, and its activation at a site, must be to be admitted. Pure; part of admission.

A document is not read here: what counts as a readable protocol changes with the program, and a ruling never may. A
version that no decider can use is sealed, and the screening service says so.
"""

import hashlib
from datetime import date, datetime, timedelta
from typing import Final

from services.audit.register import ProtocolVersion, Register
from shared.entry import PERSONS_SINCE
from shared.events.authority import authority
from shared.events.log import ProtocolActivated, ProtocolAdopted, ProtocolAmended
from shared.events.signatures import PersonSigned
from shared.moments import stamp
from shared.protocol.activations import Activation, begun, begun_somewhere, followed, over_everywhere
from shared.words import LogIndex, RefusedError

_AHEAD: Final = timedelta(days=366)


def check_adoption(register: Register, began_in: int) -> None:
    """Raise RefusedError unless the log still waits for its first version.

    ``began_in`` is the entry format of the genesis: a log from before format 4 did not keep what was adopted in it,
    and no log is begun without a protocol.
    """
    if register.protocols or began_in < PERSONS_SINCE:
        raise RefusedError(
            "a protocol is in force: send protocol.amended, have it signed, and activate it at each site"
        )


def take_protocol(
    register: Register,
    data: ProtocolAdopted | ProtocolAmended | ProtocolActivated,
    index: LogIndex,
    sealed_at: datetime,
    format_: int,
) -> None:
    """Remember a version of the protocol, or from when it is in force at a site.

    Raises RefusedError when it cannot be what it says: see below.
    """
    if isinstance(data, ProtocolActivated):
        _take_activation(register, data, index, sealed_at)
    else:
        _take_version(register, data, index, format_)


def _take_version(
    register: Register, data: ProtocolAdopted | ProtocolAmended, index: LogIndex, format_: int
) -> None:
    """A version's digest is its own, and an amendment is of a version that is sealed."""
    known = register.protocols
    if hashlib.sha256(data.document.encode()).hexdigest() != data.digest:
        raise RefusedError("data.digest is not the SHA-256 of data.document")
    if isinstance(data, ProtocolAmended):
        # A log that was begun in an older format has not kept which version it began with.
        if known and data.replaces not in known:
            raise RefusedError(f"data.replaces: no version {data.replaces} of the protocol is sealed")
        if data.digest in known:
            raise RefusedError(f"data.digest: this version is sealed already, by entry {known[data.digest].entry}")
    if format_ >= PERSONS_SINCE and data.digest not in known:
        register.keep_protocol(data.digest, ProtocolVersion(index))


def _take_activation(register: Register, data: ProtocolActivated, index: LogIndex, sealed_at: datetime) -> None:
    """A version is signed, approved before, named for a day to come, and newer than the one in force there."""
    version = _signed_version(register, data.digest)
    if not _known_site(register, data.site):
        raise RefusedError(f"data.site: nobody was granted for site {data.site} in this log; check its name")
    effective, approved = date.fromisoformat(data.effective), date.fromisoformat(data.approved)
    if not begun_somewhere(approved, sealed_at):
        raise RefusedError(f"data.approved: {data.approved} lies in the future")
    if effective < approved:
        raise RefusedError(
            f"data.effective: {data.effective} lies before {data.approved}: nothing is in force before the ethics "
            "committee has approved it"
        )
    if over_everywhere(effective, sealed_at):
        raise RefusedError(
            f"data.effective: {data.effective} was over at {stamp(sealed_at)}, when this arrived: a version is in "
            "force from its activation on and never before; name today or a later day"
        )
    if effective - sealed_at.date() > _AHEAD:
        raise RefusedError(f"data.effective: {data.effective} lies more than a year ahead; check the year")
    known = register.activations.get(data.site, ())
    new = Activation(entry=index, digest=data.digest, effective=data.effective)
    _check_order(register, data.site, version, new, known, begun(known, sealed_at))
    register.keep_activations(data.site, followed(known, new, sealed_at))


def _signed_version(register: Register, digest: str) -> ProtocolVersion:
    version = register.protocols.get(digest)
    if version is None:
        raise RefusedError(f"data.digest: no version {digest} of the protocol is sealed")
    needed = authority().signatures["protocol"].persons
    if len(version.signed_by) < needed:
        raise RefusedError(
            f"the version of entry {version.entry} is signed by {len(version.signed_by)} of {needed} persons: "
            "`trail sign` first"
        )
    return version


def _known_site(register: Register, site: str) -> bool:
    return any(
        one.source == f"site/{site}" or (one.sites is not None and site in one.sites)
        for one in register.identities.values()
    )


def _check_order(
    register: Register,
    site: str,
    version: ProtocolVersion,
    new: Activation,
    known: tuple[Activation, ...],
    standing: tuple[Activation, ...],
) -> None:
    """Raise RefusedError unless the activation comes after what is in force at the site, by day and by version."""
    for one in known:
        if one.effective == new.effective:
            raise RefusedError(
                f"data.effective: entry {one.entry} activates a version at site {site} from {one.effective} on "
                "already; name another day"
            )
    if not standing:
        return
    last = standing[-1]
    if new.day < last.day:
        raise RefusedError(
            f"data.effective: {new.effective} lies before {last.effective}, from when on entry {last.entry} has a "
            f"version in force at site {site}"
        )
    if new.digest == last.digest:
        raise RefusedError(
            f"data.digest: this version is in force at site {site} since {last.effective}, by entry {last.entry}"
        )
    before = register.protocols[last.digest]
    if version.entry < before.entry:
        raise RefusedError(
            f"data.digest: the version of entry {version.entry} is older than that of entry {before.entry}, which "
            f"is in force at site {site}; to go back, send the older text as a new version"
        )


def take_protocol_signature(register: Register, data: PersonSigned) -> None:
    """Remember who has signed a version of the protocol."""
    signed = {record.index for record in data.records}
    for digest, version in sorted(register.protocols.items()):
        if version.entry in signed and data.user not in version.signed_by:
            signers = (*version.signed_by, data.user)
            register.keep_protocol(digest, ProtocolVersion(version.entry, signers))
