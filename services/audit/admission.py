"""Admission: what the notary rules about a message, from the message and the log before it alone.

Pure, so that ``trail verify`` reaches every ruling again from the sealed bytes. The order of the checks is
part of the format: the first one that fails is the sealed reason.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, Protocol

from services.audit.effects import take
from services.audit.protocol_rules import check_adoption
from services.audit.register import Counter, Register
from services.audit.reviewing import check_asked_about
from services.audit.rights import active_identity, check_delegation, check_role, check_scope, named_site, site_of
from services.audit.signature_rules import Records, check_recommendation, check_signature
from shared.entry import FORMAT_VERSION, PERSONS_SINCE, SAFETY_SINCE, Arrival, Entry, digest_body, signature_bytes
from shared.envelope import MAX_EVENT_BYTES, Envelope, is_token, read_envelope
from shared.events import CATALOGUE, Data, EventType, SiteData, check_dates, read_data, short_type
from shared.events.log import Opened, ProtocolAdopted, Ticked
from shared.events.safety import CohortDecided, SafetyRetracted
from shared.events.screening import Registered, Retracted
from shared.events.signatures import PersonSigned, RecordSigned, ReviewQueryRaised
from shared.identities import ROOT_SOURCE, Identity, founders
from shared.moments import stamp
from shared.words import LogIndex, RefusedError, SourceId, source_name

FUTURE_TOLERANCE: Final = timedelta(minutes=5)
_KEY: Final = re.compile(r"[0-9a-f]{32}")
_REASON_LIMIT: Final = 500

SignatureCheck = Callable[[bytes, bytes, bytes], bool]
"""(public key, signature, payload) -> valid; injected, so that a batch can be checked on both cores."""


Stage = Literal["envelope", "route", "signer", "sequence", "content"]
"""The part of admission that refused: for counting, and no part of what is sealed."""


class History(Records, Protocol):
    """What admission may ask about the log so far."""

    def admitted(self, source: SourceId, event_id: str) -> Entry | None:
        """The admitted entry of this source's event with this id.

        An id is its source's own (CloudEvents 1.0): nobody can use up one that another source will need.
        """


class Reading(NamedTuple):
    """A message read as far as its bytes alone allow.

    ``id_ref`` and ``digest_ref`` are keys of the log's index: by the event's id, and by the payload. ``format`` is
    the entry format whose rules the message is judged by.
    """

    arrival: Arrival
    envelope: Envelope | None
    refusal: str
    id_ref: int | None
    digest_ref: int
    signature: bytes | None
    format: int = FORMAT_VERSION

    def ref(self, ruling: "Ruling") -> int:
        """The key under which the log's index finds the entry again.

        Only what its own source has signed is found by its id: an id that anybody claims in any number of
        messages would make each look-up of it read all of them.
        """
        return self.id_ref if ruling.counted and self.id_ref is not None else self.digest_ref


class Ruling(NamedTuple):
    """Admitted when ``reason`` is empty. ``counted``: the source's sequence number is used up.

    ``stage``: which part of admission refused; None when admitted.
    """

    reason: str
    envelope: Envelope | None = None
    data: Data | None = None
    counted: bool = False
    gap: tuple[int, int] | None = None
    stage: Stage | None = None


def arrival_of(intake: int, subject: str, key: str, signature: str, payload: bytes) -> Arrival:
    """A message with its headers reduced to what they can mean, so that a header cannot blow up an entry."""
    return Arrival(
        intake=intake,
        subject=subject if len(subject) <= 512 else subject[:512],
        key=key if _KEY.fullmatch(key) else "?"[: len(key)],
        signature=signature if signature_bytes(signature) else "?"[: len(signature)],
        payload=payload,
    )


def ref_of(event_id: str) -> int:
    """The 64-bit (signed) index key of an event id."""
    return int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:8], "big", signed=True)


def digest_ref(digest: bytes) -> int:
    """The 64-bit (signed) index key of a payload, by its SHA-256."""
    return int.from_bytes(digest[:8], "big", signed=True)


def too_large(length: int) -> str:
    """The reason sealed for a payload of this many bytes, of which only the digest is kept."""
    return f"the event is {length} bytes long; at most {MAX_EVENT_BYTES} are allowed: send it in parts"


def kept_body(payload: bytes) -> bytes:
    """What is sealed of a payload: all of it, or its digest where it is too large."""
    return payload if len(payload) <= MAX_EVENT_BYTES else digest_body(payload)


def read_arrival(arrival: Arrival) -> Reading:
    """Read a message's envelope; never raises."""
    digest = digest_ref(hashlib.sha256(arrival.payload).digest())
    try:
        envelope = read_envelope(arrival.payload)
    except RefusedError as error:
        return Reading(arrival, None, str(error), None, digest, None)
    return Reading(arrival, envelope, "", ref_of(envelope.id), digest, signature_bytes(arrival.signature))


def rule(
    register: Register,
    reading: Reading,
    index: LogIndex,
    sealed_at: datetime,
    history: History,
    signature_holds: SignatureCheck,
) -> Ruling:
    """Rule on a message and take it into the register. Deterministic; raises nothing."""
    ruling = _rule(register, reading, index, sealed_at, history, signature_holds)
    if reading.arrival.intake:
        register.intake = reading.arrival.intake
        register.touched.add(("log", ""))
    if isinstance(ruling.data, Opened | Ticked):
        register.ticked = sealed_at
        if isinstance(ruling.data, Opened):
            register.clock = sealed_at  # a simulated log's time begins where sealed time does, never before
        register.touched.add(("log", ""))
    if ruling.counted and ruling.envelope is not None:
        source = ruling.envelope.source
        register.sources[source] = register.sources.get(source, Counter()).take(ruling.envelope.sequence)
        register.touched.add(("source", source))
    if len(ruling.reason) > _REASON_LIMIT:
        return ruling._replace(reason=ruling.reason[:_REASON_LIMIT])
    return ruling


def _rule(
    register: Register,
    reading: Reading,
    index: LogIndex,
    sealed_at: datetime,
    history: History,
    signature_holds: SignatureCheck,
) -> Ruling:
    envelope = reading.envelope
    if envelope is None:
        return Ruling(reading.refusal, stage="envelope")
    stage: Stage = "route"
    try:
        event = _route(register, reading, envelope)
        stage = "signer"
        identity = _signer(register, reading, envelope, event, index, sealed_at, signature_holds)
    except RefusedError as error:
        return Ruling(str(error), envelope, stage=stage)
    # From here on the source itself has spoken, so its sequence number counts even if the event is refused.
    counter = register.sources.get(envelope.source, Counter())
    if counter.holds(envelope.sequence):
        return Ruling(
            f"equivocation: {envelope.source} has used sequence {envelope.sequence} before, "
            "for an event with other bytes",
            envelope,
            stage="sequence",
        )
    gap = (counter.last + 1, envelope.sequence - 1) if envelope.sequence > counter.last + 1 else None
    try:
        data = _content(register, reading, envelope, event, identity, sealed_at, history)
        take(register, envelope, data, identity, index, sealed_at, reading.format)
    except RefusedError as error:
        return Ruling(str(error), envelope, counted=True, gap=gap, stage="content")
    return Ruling("", envelope, data, counted=True, gap=gap)


def _route(register: Register, reading: Reading, envelope: Envelope) -> EventType:
    """The message came in where its envelope says it should."""
    if envelope.trial != register.trial:
        raise RefusedError(f"the event belongs to trial {envelope.trial}; this log is of {register.trial}")
    event = CATALOGUE.get(envelope.type)
    if event is None or event.since > reading.format:
        raise RefusedError(f"type {envelope.type} is not in the catalogue of events")
    expected = f"intake.{register.trial}.{envelope.source.replace('/', '.')}.{envelope.route}"
    if reading.arrival.subject != expected:
        raise RefusedError(f"the event was published on another subject than its own, {expected}")
    return event


def _signer(
    register: Register,
    reading: Reading,
    envelope: Envelope,
    event: EventType,
    index: LogIndex,
    sealed_at: datetime,
    signature_holds: SignatureCheck,
) -> Identity:
    """The identity whose signature holds and whose role allows this event type here."""
    arrival, signature = reading.arrival, reading.signature
    if not arrival.key or not arrival.signature:
        raise RefusedError("the event is not signed: Trail-Key and Trail-Signature are both needed")
    if not _KEY.fullmatch(arrival.key) or signature is None:
        raise RefusedError("Trail-Key or Trail-Signature is malformed")
    if index == 0:
        for founder in founders(_genesis(envelope, event)):
            register.accept(founder)
    identity = active_identity(register, arrival.key, sealed_at)
    if not signature_holds(identity.public, signature, arrival.payload):
        raise RefusedError(f"the signature is not that of key {arrival.key} over these bytes")
    if identity.source != envelope.source:
        raise RefusedError(f"the key {arrival.key} speaks for {identity.source}, not for {envelope.source}")
    if ("log" in identity.roles) != (arrival.intake == 0) and index != 0:
        raise RefusedError("the log's own statements do not come through the intake")
    check_role(identity, event, reading.format)
    return identity


def _genesis(envelope: Envelope, event: EventType) -> Opened:
    data = read_data(event, envelope.data)
    if not isinstance(data, Opened) or envelope.source != ROOT_SOURCE:
        raise RefusedError("the first entry of a log must be log.opened by admin/root")
    return data


def _content(
    register: Register,
    reading: Reading,
    envelope: Envelope,
    event: EventType,
    identity: Identity,
    sealed_at: datetime,
    history: History,
) -> Data:
    """What the event says is possible, and fits what is already sealed."""
    if envelope.time > sealed_at + FUTURE_TOLERANCE:
        raise RefusedError(
            f"time {envelope.time_text} lies after {stamp(sealed_at)}, when it arrived: check the sender's clock"
        )
    data = read_data(event, envelope.data, reading.format)
    check_dates(data, sealed_at)
    earlier = history.admitted(envelope.source, envelope.id)
    if earlier is not None:
        raise RefusedError(f"the id {envelope.id} was already used by entry {earlier.index}")
    if envelope.subject is None and event.may_be_about_the_trial(reading.format):
        _check_site(register, event, data, identity, sealed_at, reading.format)
    elif not event.about_participant:
        raise RefusedError(f"{short_type(event.name)} is not about a participant: leave subject out")
    else:
        _check_participant(register, reading, envelope, event, data, identity, sealed_at)
    if isinstance(data, SiteData) and data.corrects is not None:
        _check_correction(reading, envelope, data, identity, history)
    if isinstance(data, ProtocolAdopted) and reading.format >= PERSONS_SINCE:
        genesis = history.at(0)
        check_adoption(register, reading.format if genesis is None else genesis.header.format)
    if isinstance(data, RecordSigned):
        check_signature(register, envelope, data, identity, sealed_at, history)
    if isinstance(data, CohortDecided) and reading.format >= PERSONS_SINCE:
        check_recommendation(data, history)
    if isinstance(data, ReviewQueryRaised):
        check_asked_about(envelope, data, history)
    return data


def _check_site(
    register: Register, event: EventType, data: Data, identity: Identity, sealed_at: datetime, format_: int
) -> None:
    """An event that names a site is that site's, or of somebody who may act there."""
    site = named_site(data)
    if site is not None:
        check_scope(identity, site)
        check_delegation(register, identity, event, site, sealed_at, format_)


def _check_participant(
    register: Register,
    reading: Reading,
    envelope: Envelope,
    event: EventType,
    data: Data,
    identity: Identity,
    sealed_at: datetime,
) -> None:
    participant = envelope.subject
    if participant is None or not is_token(participant):
        raise RefusedError("subject must name the participant this event is about")
    home = register.participants.get(participant)
    if isinstance(data, Registered) and data.corrects is None:
        if home is not None:
            raise RefusedError(f"participant {participant} was already registered, by {home}")
        if reading.format >= PERSONS_SINCE:
            _check_registrar(identity)
    elif home is None:
        raise RefusedError(f"participant {participant} is not known: send screening.registered first")
    elif identity.source.startswith("site/") and not identity.may_act_at(source_name(home)):
        raise RefusedError(f"participant {participant} belongs to another site")
    site = site_of(register, participant) or source_name(envelope.source)
    check_scope(identity, site)
    check_delegation(register, identity, event, site, sealed_at, reading.format)


def _check_registrar(identity: Identity) -> None:
    """A participant's site is the source that registers it, so that source must be a site's own."""
    own = source_name(identity.source)
    if identity.sites is not None and own not in identity.sites:
        raise RefusedError(f"{identity.source} is a person's source: a participant is registered by the site's own")


def _check_correction(
    reading: Reading, envelope: Envelope, data: SiteData, identity: Identity, history: History
) -> None:
    assert data.corrects is not None
    entry = history.admitted(envelope.source, data.corrects)
    if entry is None:
        raise RefusedError(f"data.corrects: there is no admitted event {data.corrects} of {envelope.source}")
    old = read_envelope(entry.body)
    if old.subject != envelope.subject:
        raise RefusedError(f"data.corrects: event {data.corrects} is about another participant")
    if isinstance(data, PersonSigned):
        raise RefusedError("data.corrects: a signature is not corrected: take it back, and sign again")
    if isinstance(data, Retracted):
        if reading.format >= SAFETY_SINCE and issubclass(CATALOGUE[old.type].model, Retracted):
            raise RefusedError("data.corrects: a retraction is not taken back: say again what it took back")
        if isinstance(data, SafetyRetracted) and not short_type(old.type).startswith("safety."):
            raise RefusedError(f"data.corrects: a {short_type(old.type)} is taken back by screening.retracted")
        if short_type(old.type) == "screening.registered":
            raise RefusedError("data.corrects: a screening.registered event cannot be retracted")
        signer = old.data.get("user") if short_type(old.type) == "record.signed" else None
        if signer is not None and signer != identity.user:
            raise RefusedError(f"data.corrects: only {signer} may take back their own signature")
        # What an investigator answers for in person, a coordinator's key cannot take back.
        roles = CATALOGUE[old.type].roles_at(reading.format)
        if "site_system" not in roles and not identity.roles & roles:
            raise RefusedError(
                f"data.corrects: only {' or '.join(sorted(roles))} may retract a {short_type(old.type)}"
            )
    elif old.type != envelope.type:
        raise RefusedError(
            f"data.corrects: event {data.corrects} is a {short_type(old.type)}, not a {short_type(envelope.type)}"
        )
