"""What admission remembers: a fold over the log, saved beside it so that a start needs no replay."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from shared.events.log import Opened
from shared.identities import Identity
from shared.log_keys import LogKeys
from shared.moments import instant, stamp
from shared.words import EvidenceError, KeyId, ParticipantId, SourceId


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


@dataclass(slots=True)
class Register:
    """Everything admission remembers of one log.

    ``clock`` is a simulated log's present; ``ticked`` when time was last sealed for its own sake; ``intake``
    the last INTAKE sequence that was dealt with; ``signed`` the size of the last checkpoint signed before.
    ``touched`` collects what changed since it was last cleared: ("source", id), ("participant", code),
    ("identity", key), ("log", "").
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
    touched: set[tuple[Literal["source", "participant", "identity", "log"], str]] = field(default_factory=set)

    def copy(self) -> "Register":
        """A register to change, with nothing touched yet; this one stays as it is."""
        return replace(
            self,
            identities=dict(self.identities),
            sources=dict(self.sources),
            participants=dict(self.participants),
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


def register_rows(register: Register) -> dict[str, Any]:
    """What changed since the last call, as JSON values by key, for the notary's own tables."""
    rows: dict[str, Any] = {}
    for kind, name in sorted(register.touched):
        match kind:
            case "source":
                counter = register.sources[SourceId(name)]
                rows[f"source:{name}"] = {"last": counter.last, "missing": [list(gap) for gap in counter.missing]}
            case "participant":
                rows[f"participant:{name}"] = register.participants[ParticipantId(name)]
            case "identity":
                identity = register.identities[KeyId(name)]
                rows[f"identity:{name}"] = {
                    "public": base64.b64encode(identity.public).decode(),
                    "holder": identity.holder,
                    "source": identity.source,
                    "roles": sorted(identity.roles),
                    "granted": identity.granted,
                    "revoked": identity.revoked,
                }
            case "log":
                assert register.opened is not None
                assert register.clock is not None
                assert register.ticked is not None
                rows["log"] = {
                    "trial": register.trial,
                    "opened": register.opened.model_dump(mode="json"),
                    "clock": stamp(register.clock),
                    "ticked": stamp(register.ticked),
                    "intake": register.intake,
                    "signed": register.signed,
                }
    register.touched.clear()
    return rows


def read_register(trial: str, rows: Mapping[str, Any]) -> Register:
    """Build the register back from its saved rows."""
    register = Register(trial)
    for key, value in rows.items():
        kind, _, name = key.partition(":")
        match kind:
            case "source":
                missing = tuple((low, high) for low, high in value["missing"])
                register.sources[SourceId(name)] = Counter(value["last"], missing)
            case "participant":
                register.participants[ParticipantId(name)] = SourceId(value)
            case "identity":
                register.identities[KeyId(name)] = Identity(
                    key=KeyId(name),
                    public=base64.b64decode(value["public"]),
                    holder=value["holder"],
                    source=SourceId(value["source"]),
                    roles=frozenset(value["roles"]),
                    granted=value["granted"],
                    revoked=value["revoked"],
                )
            case "log":
                register.trial = value["trial"]
                register.opened = Opened.model_validate(value["opened"])
                register.clock = instant(value["clock"])
                register.ticked = instant(value["ticked"])
                register.intake = value["intake"]
                register.signed = value.get("signed", 0)
    return register
