"""Electronic signatures as they stand: valid, superseded or taken back, and what still waits for one. Pure.

Whether a signature holds is told by the sealed entries alone, in whatever order they are read, as of any of them:

* taken back: its signer retracted it;
* superseded: what it binds was corrected or retracted; a newer decision answers the same question; or a record that
  the signed decision cites was corrected or retracted after the signature. A committee's decision, a review and a
  version of the protocol are acts of their day: a newer one stands beside them;
* valid otherwise. What has ceased to hold never holds again: it is signed anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal

from services.console.private import Reader
from services.console.questions import anew, question, questions, says
from shared.decider import SealedEvent, read_event
from shared.entry import PERSONS_SINCE, Entry
from shared.envelope import read_envelope
from shared.events import CATALOGUE, short_type
from shared.events import safety_decisions as made
from shared.events.authority import authority
from shared.events.base import Role
from shared.events.decisions import Cited, Decided
from shared.events.identity import Changed, GrantedToKey, KeyReplaced
from shared.events.log import ProtocolAdopted, ProtocolAmended
from shared.events.safety import CohortDecided, EventReported, EventUpdated, names_event
from shared.events.screening import Retracted
from shared.events.signatures import (
    ErasureOrdered,
    Meaning,
    PersonSigned,
    RecordSigned,
    ReviewRecorded,
)
from shared.private_text import is_private
from shared.signing import base64_bytes, key_id
from shared.words import LogIndex, source_name

Status = Literal["valid", "superseded", "taken_back"]

_AT_A_SITE: Final[frozenset[Role]] = frozenset({"investigator", "sub_investigator"})
_RECORDERS: Final[frozenset[Role]] = frozenset({"site_system", "coordinator"})
_SIGNABLE: Final = frozenset(type_ for rule in authority().signatures.values() for type_ in rule.over)
_KEYS: Final = frozenset({"identity.granted", "identity.changed", "identity.key_replaced"})
_READ: Final = _SIGNABLE | _KEYS | {"record.signed", "safety.dispute_settled"}


@dataclass(frozen=True, slots=True)
class Change:
    """What ended a signature's hold on one of its records: the entry ``by``, and why, in words."""

    record: LogIndex
    by: LogIndex
    why: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A sealed signature with its manifestation (21 CFR 11.50) and how it stands.

    ``user`` and ``role`` are None in an entry of format 3 or less. ``again``: the entries to sign in its place;
    empty while it holds, and where nothing is left to sign or enough persons have signed it.
    """

    index: LogIndex
    subject: str | None
    meaning: Meaning
    name: str
    user: str | None
    role: Role | None
    records: tuple[LogIndex, ...]
    assumptions: tuple[str, ...]
    signed_at: str
    sealed_at: str
    status: Status = "valid"
    changes: tuple[Change, ...] = ()
    again: tuple[LogIndex, ...] = ()

    @property
    def signer(self) -> str:
        """Whom it counts for: the user id, or the name from before there were any."""
        return self.user or self.name


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry that has fewer valid signatures of a meaning than it needs.

    ``site`` is the participant's, None where it is about none. ``only``: the one user who can sign it, if one is.
    """

    index: LogIndex
    meaning: Meaning
    subject: str | None
    site: str | None
    roles: frozenset[Role]
    persons: int
    signed_by: tuple[str, ...]
    only: str | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """Whose key sealed an entry, by name, and in which roles."""

    holder: str
    roles: frozenset[Role] = frozenset()
    user: str | None = None


@dataclass(frozen=True, slots=True)
class _Correction:
    """An entry that corrects or retracts another of its source, which it knows by its event's id."""

    by: LogIndex
    of: tuple[str, str]
    reason: str
    retracts: bool


@dataclass
class Book:
    """Every signature of a log, and all that signatures rest on.

    :func:`signed` makes it; what is asked of it first is remembered, so it takes in nothing after that.
    """

    reader: Reader
    _entries: dict[LogIndex, Entry] = field(default_factory=dict)
    _events: dict[LogIndex, SealedEvent] = field(default_factory=dict)
    _places: dict[tuple[str, str], LogIndex] = field(default_factory=dict)
    _said: list[_Correction] = field(default_factory=list)
    _homes: dict[str, str] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Take in an entry; in any order, each once."""
        if not entry.admitted:
            return
        envelope = read_envelope(entry.body)
        type_ = short_type(envelope.type)
        self._places[envelope.source, envelope.id] = entry.index
        corrects = envelope.data.get("corrects")
        if isinstance(corrects, str):
            retracts = issubclass(CATALOGUE[envelope.type].model, Retracted)
            reason = str(envelope.data["reason"])
            if is_private(reason) and envelope.subject is not None:
                reason = self.reader.text(reason, envelope.trial, envelope.subject)
            self._said.append(_Correction(entry.index, (envelope.source, corrects), reason, retracts))
        elif type_ == "screening.registered" and envelope.subject is not None:
            self._homes[envelope.subject] = source_name(envelope.source)
        if type_ in _READ or corrects is not None:
            self._entries[entry.index] = entry
        if type_ in _READ:
            event = read_event(entry)
            assert event is not None  # it is admitted
            self._events[entry.index] = event

    @cached_property
    def _corrections(self) -> dict[LogIndex, list[_Correction]]:
        """What was said anew of an entry, by the entry, in the log's order."""
        found: dict[LogIndex, list[_Correction]] = defaultdict(list)
        for one in sorted(self._said, key=lambda one: one.by):
            place = self._places.get(one.of)
            if place is not None and place < one.by:
                found[place].append(one)
        return found

    @cached_property
    def _answers(self) -> dict[tuple[str, ...], list[LogIndex]]:
        """The entries that answer a question, in the log's order, by the question."""
        found: dict[tuple[str, ...], list[LogIndex]] = defaultdict(list)
        for index, event in sorted(self._events.items()):
            for asked in questions(event):
                found[asked].append(index)
        return found

    @cached_property
    def _authors(self) -> dict[LogIndex, Author]:
        """Who sealed each entry that could be signed, as granted then."""
        keys: dict[str, Author] = {}
        found = {}
        for index, entry in sorted(self._entries.items()):
            match self._events[index].data if index in self._events else None:
                case GrantedToKey() as data:
                    user = getattr(data, "user", None)
                    keys[_named(data.public_key)] = Author(data.holder, frozenset(data.roles), user)
                case Changed() as data if data.key in keys:
                    keys[data.key] = replace(keys[data.key], roles=frozenset(data.roles))
                case KeyReplaced() as data if data.key in keys:
                    keys[_named(data.public_key)] = keys[data.key]
            found[index] = keys.get(entry.header.key, Author("nobody known here"))
        return found

    @cached_property
    def signatures(self) -> dict[LogIndex, Signature]:
        """Every signature by its entry, in the log's order."""
        judged = {}
        for index, event in sorted(self._events.items()):
            if isinstance(event.data, RecordSigned):
                judged[index] = self._judged(event, event.data)
        standing = _by_record(judged.values())
        return {index: self._to_sign_again(one, standing) for index, one in judged.items()}

    @cached_property
    def _standing(self) -> dict[tuple[LogIndex, Meaning], list[Signature]]:
        return _by_record(self.signatures.values())

    @cached_property
    def _over(self) -> dict[LogIndex, list[Signature]]:
        found = defaultdict(list)
        for one in self.signatures.values():
            for record in dict.fromkeys(one.records):
                found[record].append(one)
        return found

    def on(self, index: int) -> list[Signature]:
        """The signatures over an entry, in the log's order."""
        return self._over.get(LogIndex(index), [])

    def at(self, index: int) -> list[Signature]:
        """The signature that an entry is; nothing for any other entry."""
        return [self.signatures[LogIndex(index)]] if index in self.signatures else []

    def about(self, subject: str | None) -> list[Signature]:
        """The signatures about a participant, or about the trial, in the log's order."""
        return [one for one in self.signatures.values() if one.subject == subject]

    def on_event(self, subject: str, ae: str) -> list[Signature]:
        """The signatures over what was said of a participant's adverse event, in the log's order."""
        said = {index for index, event in self._events.items() if names_event(event.data) == ae}
        return [one for one in self.about(subject) if not said.isdisjoint(one.records)]

    def event(self, index: int) -> SealedEvent | None:
        """What an entry that could be signed says; None for any other."""
        entry = self._entries.get(LogIndex(index))
        return None if entry is None else self._events.get(entry.index) or read_event(entry)

    def author(self, index: int) -> Author:
        """Whose key sealed an entry that could be signed."""
        return self._authors[LogIndex(index)]

    def waiting(self) -> list[Waiting]:
        """What still waits for a signature, in the log's order."""
        wanted = [(index, meaning) for index, event in self._events.items() for meaning in self._wanted(event)]
        wanted += [(one.by, "correction") for one in self._said if self._is_recorders(one)]
        found = []
        for index, meaning in sorted(wanted):
            rule = authority().signatures[meaning]
            signers = sorted({one.signer for one in self._standing.get((index, meaning), [])})
            if len(signers) >= rule.persons or self.current(index, meaning) != index:
                continue
            envelope = read_envelope(self._entries[index].body)
            theirs = frozenset(rule.roles)
            if envelope.source.startswith("site/") and meaning in {"causality", "grade", "correction"}:
                theirs &= _AT_A_SITE  # what a site says is its own investigator's to sign
            only = self.author(index).user if meaning == "review" else None
            site = self._homes.get(envelope.subject or "")
            found.append(
                Waiting(index, meaning, envelope.subject, site, theirs, rule.persons, tuple(signers), only)
            )
        return found

    def current(self, index: LogIndex, meaning: Meaning) -> LogIndex | None:
        """The entry that now says what an entry said; None when it was taken back, or there is nothing to sign."""
        while True:
            corrections = self._corrections.get(index, [])
            newest = self._newest(index, meaning)
            if corrections:
                if corrections[-1].retracts:
                    return None
                index = corrections[-1].by
            elif newest is not None:
                index = newest
            else:
                return index if meaning == "correction" or says(self._events.get(index), meaning) else None

    def _newest(self, index: LogIndex, meaning: Meaning) -> LogIndex | None:
        """The newest live answer to the question that an entry answered; None when that is the entry itself."""
        later = self._later(index, meaning)
        return next((one for one in reversed(later) if not self._corrections.get(one)), None)

    def _later(self, index: LogIndex, meaning: Meaning) -> list[LogIndex]:
        event = self._events.get(index)
        asked = None if event is None else question(event, meaning)
        return [] if asked is None else [one for one in self._answers[asked] if one > index]

    def _judged(self, event: SealedEvent, data: RecordSigned) -> Signature:
        """A signature, and what became of it."""
        person = data if isinstance(data, PersonSigned) else None
        records = tuple(LogIndex(one.index) for one in data.records)
        one = Signature(
            index=event.entry.index,
            subject=event.envelope.subject,
            meaning=data.meaning,
            name=data.name,
            user=None if person is None else person.user,
            role=None if person is None else person.role,
            records=records,
            assumptions=tuple((person.assumptions or ()) if person is not None else ()),
            signed_at=event.envelope.time_text,
            sealed_at=event.entry.header.sealed_at,
        )
        taken = self._corrections.get(one.index, [])
        if taken:
            by = Change(one.index, taken[-1].by, taken[-1].reason)
            return replace(one, status="taken_back", changes=(by,))
        found = [change for record in dict.fromkeys(records) for change in self._changes(one, record)]
        found.sort(key=lambda change: (change.by, change.record))
        return replace(one, status="superseded", changes=tuple(found)) if found else one

    def _changes(self, one: Signature, record: LogIndex) -> Iterator[Change]:
        corrections = self._corrections.get(record, [])
        for said in corrections:
            yield Change(record, said.by, f"entry {record} was {_verb(said)} by entry {said.by}: {said.reason}")
        event = self._events.get(record)
        if event is None:
            return
        later = [each for each in self._later(record, one.meaning) if each not in {said.by for said in corrections}]
        for newer in later[:1]:
            yield Change(record, newer, anew(self._events[newer], record))
        cited: list[Cited] = getattr(event.data, "evidence", [])
        for evidence in cited:
            for said in self._corrections.get(LogIndex(evidence.index), []):
                if said.by > one.index:
                    told = f"entry {evidence.index}, on which entry {record} rests, was {_verb(said)}"
                    yield Change(record, said.by, f"{told} by entry {said.by}: {said.reason}")

    def _to_sign_again(
        self, one: Signature, standing: dict[tuple[LogIndex, Meaning], list[Signature]]
    ) -> Signature:
        if one.status != "superseded":
            return one
        needed = authority().signatures[one.meaning].persons
        again = []
        for record in dict.fromkeys(one.records):
            current = self.current(record, one.meaning)
            signers = (
                {each.signer for each in standing.get((current, one.meaning), [])} if current is not None else {}
            )
            if current is not None and one.signer not in signers and len(signers) < needed:
                again.append(current)
        return replace(one, again=tuple(dict.fromkeys(again)))

    def _wanted(self, event: SealedEvent) -> Iterator[Meaning]:
        """The meanings that an entry is to be signed with."""
        data, new = event.data, event.entry.header.format >= PERSONS_SINCE
        match data:
            case Decided():
                yield "eligibility"
            case EventReported() | EventUpdated():
                yield from ("causality", "grade")
            case made.WindowDecided():
                yield "dlt"
            case CohortDecided() if new:
                yield "cohort"
            case ProtocolAdopted() | ProtocolAmended() if (
                new and self._answers["protocol", data.digest][0] == event.entry.index
            ):
                yield "protocol"
            case ReviewRecorded():
                yield "review"
            case ErasureOrdered():
                yield "erasure"

    def _is_recorders(self, one: _Correction) -> bool:
        """Whether a site's system or coordinator set something right: the investigator answers for that."""
        corrected = self._events.get(self._places.get(one.of, one.by))
        if corrected is not None and isinstance(corrected.data, RecordSigned):
            return False  # a signature is its signer's own to take back
        return bool(self.author(one.by).roles & _RECORDERS)


def signed(entries: Iterable[Entry], reader: Reader | None = None) -> Book:
    """The signatures of a log, or of its beginning as of a moment; reasons as the reader may see them."""
    book = Book(reader or Reader())
    for entry in entries:
        book.take(entry)
    return book


def _by_record(signatures: Iterable[Signature]) -> dict[tuple[LogIndex, Meaning], list[Signature]]:
    """Valid signatures by what they bind and mean."""
    found = defaultdict(list)
    for one in signatures:
        for record in one.records if one.status == "valid" else ():
            found[record, one.meaning].append(one)
    return found


def _named(public_key: str) -> str:
    return key_id(base64_bytes(public_key))


def _verb(said: _Correction) -> str:
    return "retracted" if said.retracts else "corrected"
