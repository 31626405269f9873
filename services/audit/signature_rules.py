"""What an electronic signature must be to be admitted (21 CFR 11.50, 11.70, 11.200). Pure; part of admission."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from services.audit.register import Register
from services.audit.rights import check_task, site_of
from shared.entry import Entry
from shared.envelope import Envelope, read_envelope
from shared.events import short_type
from shared.events.authority import CORRECTIONS, DELEGATED, authority
from shared.events.safety import CohortDecided
from shared.events.signatures import PersonSigned, RecordSigned, SignedRecord
from shared.identities import Identity
from shared.moments import instant, stamp
from shared.words import RefusedError

CLOCKS_DIFFER: Final = timedelta(minutes=5)
SIGNED_WITHIN: Final = timedelta(hours=24)
"""A signature that is sealed later than this after its own time says another time than that of signing."""


class Records(Protocol):
    """The entries that may be signed."""

    def at(self, index: int) -> Entry | None:
        """An entry; None beyond the end."""


def named_entries(named: Sequence[SignedRecord], records: Records, field: str = "records") -> list[Entry]:
    """The entries that are named.

    Raises RefusedError unless each is there, with the leaf hash that is named.
    """
    found = []
    for record in named:
        entry = records.at(record.index)
        if entry is None or entry.leaf.hex() != record.leaf:
            raise RefusedError(f"data.{field}: entry {record.index} does not have leaf hash {record.leaf}")
        found.append(entry)
    return found


def check_recommendation(data: CohortDecided, records: Records) -> None:
    """Raise RefusedError unless what the committee says it had before it is a sealed recommendation."""
    if data.recommendation is None or data.recommendation_leaf is None:
        return
    named = SignedRecord(index=data.recommendation, leaf=data.recommendation_leaf)
    (entry,) = named_entries([named], records, "recommendation")
    if not entry.admitted or short_type(read_envelope(entry.body).type) != "safety.cohort_recommended":
        raise RefusedError(f"data.recommendation: entry {data.recommendation} is no safety.cohort_recommended")


def check_signature(
    register: Register,
    envelope: Envelope,
    data: RecordSigned,
    identity: Identity,
    sealed_at: datetime,
    records: Records,
) -> None:
    """Raise RefusedError unless the signature is the signer's own to give, over these very entries, now."""
    entries = named_entries(data.records, records)
    if not isinstance(data, PersonSigned):
        return
    if identity.user is None:
        raise RefusedError(f"a signature is a person's, and the key {identity.key} is a system's")
    if (data.user, data.name) != (identity.user, identity.holder):
        raise RefusedError(
            f"data.name: the key {identity.key} is that of {identity.user}, {identity.holder}: a signature shows "
            "the signer's own user id and name, as granted"
        )
    if data.role not in identity.roles:
        raise RefusedError(f"data.role: {data.user} does not have the role {data.role}")
    rule = authority().signatures[data.meaning]
    if data.role not in rule.roles:
        raise RefusedError(
            f"data.role: {data.meaning} may be signed by {' or '.join(sorted(rule.roles))}, not by {data.role}"
        )
    if rule.task is not None and data.role in DELEGATED:
        check_task(register, identity, rule.task, site_of(register, envelope.subject) or "", sealed_at)
    for entry in entries:
        _check_record(entry, envelope, rule.over, data, sealed_at)


def _check_record(
    entry: Entry, envelope: Envelope, over: tuple[str, ...], data: RecordSigned, sealed_at: datetime
) -> None:
    if not entry.admitted:
        raise RefusedError(f"data.records: entry {entry.index} was refused; nothing is to be signed there")
    signed = read_envelope(entry.body)
    type_ = short_type(signed.type)
    corrects = CORRECTIONS in over and "corrects" in signed.data
    if type_ not in over and not corrects:
        raise RefusedError(
            f"data.records: entry {entry.index} is a {type_}, which is not signed for {data.meaning}"
        )
    if signed.subject != envelope.subject:
        about = "nobody" if signed.subject is None else f"participant {signed.subject}"
        raise RefusedError(f"data.records: entry {entry.index} is about {about}, not about whom the signature is")
    if envelope.time < instant(entry.header.sealed_at) - CLOCKS_DIFFER:
        raise RefusedError(
            f"time {envelope.time_text} lies before entry {entry.index} was sealed, at {entry.header.sealed_at}: "
            "nothing is signed before it exists"
        )
    if sealed_at - envelope.time > SIGNED_WITHIN:
        raise RefusedError(
            f"time {envelope.time_text} lies more than 24 hours before {stamp(sealed_at)}, when it arrived: "
            "sign again"
        )
