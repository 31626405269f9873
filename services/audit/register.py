"""What admission remembers: a fold over the log, saved beside it so that a start needs no replay."""

import base64
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from shared.events.log import Opened
from shared.identities import Identity, Person
from shared.log_keys import LogKeys
from shared.protocol.activations import Activation
from shared.words import EvidenceError, KeyId, LogIndex, ParticipantId, SourceId


@dataclass(frozen=True, slots=True)
class Counter:
    """A source's sequence: the highest number seen and the numbers below it that have not arrived."""

    last: int = 0
    missing: tuple[tuple[int, int], ...] = ()

    def holds(self, sequence: int) -> bool:
        """Whether this number was used already."""
        return sequence <= self.last and not any(low <= sequence <= high for low, high in self.missing)

    def take(self, sequence: int) -> "Counter":
        """The counter after this number has arrived."""
        if sequence > self.last:
            skipped = ((self.last + 1, sequence - 1),) if sequence > self.last + 1 else ()
            return Counter(sequence, self.missing + skipped)
        rest: list[tuple[int, int]] = []
        for low, high in self.missing:
            if low <= sequence <= high:
                rest += [(a, b) for a, b in ((low, sequence - 1), (sequence + 1, high)) if a <= b]
            else:
                rest.append((low, high))
        return Counter(self.last, tuple(rest))


@dataclass(frozen=True, slots=True)
class ProtocolVersion:
    """A version of the protocol: the entry that brought it, and who has signed it so far, by user id."""

    entry: LogIndex
    signed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReviewQuery:
    """A monitor's question to a site: the entry that asks it, about whom, and whether it was closed."""

    entry: LogIndex
    site: str
    subject: str | None
    closed: bool = False


Statement = tuple[str, str]
"""An event by its source and id: an id is its source's own."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """An order to erase a participant's personal detail.

    ``said`` is the order itself, ``withdrawn`` whether it was taken back or corrected; ``signed_by`` each signature
    over it with the signer's user id; ``keys`` the keys that are destroyed, each with the entry that says so.
    """

    participant: ParticipantId
    said: Statement
    withdrawn: bool = False
    signed_by: tuple[tuple[str, Statement], ...] = ()
    keys: tuple[tuple[str, LogIndex], ...] = ()

    @property
    def signers(self) -> tuple[str, ...]:
        """The persons who have signed it, by user id, each once."""
        return tuple(dict.fromkeys(user for user, _ in self.signed_by))


Kind = Literal["source", "participant", "identity", "person", "protocol", "activations", "query", "erasure", "log"]


@dataclass(slots=True)
class Register:
    """Everything admission remembers of one log.

    ``clock`` is a simulated log's present; ``ticked`` when time was last sealed for its own sake; ``intake``
    the last INTAKE sequence that was dealt with; ``signed`` the size of the last checkpoint signed before.
    ``protocols`` are the versions by digest, each with the entry that brought it and the user ids of who signed it;
    ``activations`` are by site, in the order of their days.
    ``touched`` collects what changed since it was last cleared: ("source", id), ("participant", code),
    ("identity", key), ("person", user id), ("protocol", digest), ("activations", site), ("query", name),
    ("erasure", index of the order),
    ("log", "").
    """

    trial: str
    opened: Opened | None = None
    clock: datetime | None = None
    ticked: datetime | None = None
    intake: int = 0
    signed: int = 0
    identities: dict[KeyId, Identity] = field(default_factory=dict)
    sources: dict[SourceId, Counter] = field(default_factory=dict)
    participants: dict[ParticipantId, SourceId] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    protocols: dict[str, ProtocolVersion] = field(default_factory=dict)
    activations: dict[str, tuple[Activation, ...]] = field(default_factory=dict)
    queries: dict[str, ReviewQuery] = field(default_factory=dict)
    erasures: dict[LogIndex, Erasure] = field(default_factory=dict)
    touched: set[tuple[Kind, str]] = field(default_factory=set)

    @property
    def simulated_now(self) -> datetime | None:
        """A simulated log's present; None where the log goes by the system's clock."""
        return self.clock if self.opened is not None and self.opened.clock == "simulated" else None

    def touch_all(self) -> None:
        """Count everything as changed, so that all of it is written."""
        self.touched = {("log", "")}
        self.touched.update(("source", name) for name in self.sources)
        self.touched.update(("participant", name) for name in self.participants)
        self.touched.update(("identity", name) for name in self.identities)
        self.touched.update(("person", name) for name in self.people)
        self.touched.update(("protocol", name) for name in self.protocols)
        self.touched.update(("activations", name) for name in self.activations)
        self.touched.update(("query", name) for name in self.queries)
        self.touched.update(("erasure", str(order)) for order in self.erasures)

    def copy(self) -> "Register":
        """A register to change, with nothing touched yet; this one stays as it is."""
        return replace(
            self,
            identities=dict(self.identities),
            sources=dict(self.sources),
            participants=dict(self.participants),
            people=dict(self.people),
            protocols=dict(self.protocols),
            activations=dict(self.activations),
            queries=dict(self.queries),
            erasures=dict(self.erasures),
            touched=set(),
        )

    def log_keys(self) -> LogKeys:
        """The keys that have signed and now sign this log's checkpoints.

        Raises EvidenceError when the log is empty.
        """
        if self.opened is None:
            raise EvidenceError("checkpoints are signed but the log is empty; restore its database")
        own = sorted((one for one in self.identities.values() if "log" in one.roles), key=lambda one: one.granted)
        keys = tuple((one.granted + 1 if one.granted else 0, one.public) for one in own)
        return LogKeys(self.opened.origin, keys, self.trial, base64.b64decode(self.opened.root_key))

    def remember_signed(self, size: int) -> None:
        """Note the last signed checkpoint, so that the checkpoints' store cannot be put back unseen."""
        if size != self.signed:
            self.signed = size
            self.touched.add(("log", ""))

    def accept(self, identity: Identity) -> None:
        """Add or replace an identity."""
        self.identities[identity.key] = identity
        self.touched.add(("identity", identity.key))
        if identity.user is not None and identity.revoked is None:
            known = self.people.get(identity.user, Person(identity.user, identity.key))
            self.remember(replace(known, key=identity.key))

    def remember(self, person: Person) -> None:
        """Add or replace a person."""
        self.people[person.user] = person
        self.touched.add(("person", person.user))

    def keep_query(self, name: str, query: ReviewQuery) -> None:
        """Add or replace a monitor's question."""
        self.queries[name] = query
        self.touched.add(("query", name))

    def keep_protocol(self, digest: str, version: ProtocolVersion) -> None:
        """Add or replace a version of the protocol."""
        self.protocols[digest] = version
        self.touched.add(("protocol", digest))

    def keep_activations(self, site: str, activations: tuple[Activation, ...]) -> None:
        """Replace a site's activations."""
        self.activations[site] = activations
        self.touched.add(("activations", site))

    def keep_erasure(self, order: LogIndex, erasure: Erasure) -> None:
        """Add or replace an order to erase, by the entry that gives it."""
        self.erasures[order] = erasure
        self.touched.add(("erasure", str(order)))
