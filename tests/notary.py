"""A real notary over real files, for tests that post messages to it by hand."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.audit.admission import arrival_of
from services.audit.notary import Notary, Sealed
from services.audit.places import Places
from services.audit.register import Counter
from services.audit.verify import Report, Verifier
from services.cli.installation import user_of
from shared.entry import Arrival, Entry
from shared.envelope import write_envelope
from shared.moments import instant, stamp
from shared.note import NoteKey
from shared.outbox import uuid7
from shared.signing import Keyring, SigningKey
from shared.words import SourceId

TRIAL = "NCT06027853"
ORIGIN = f"trialtrail.example/{TRIAL}"
START = instant("2026-03-04T09:00:00Z")
PERSON = "701-001"


def seeded_key(name: str) -> SigningKey:
    """A key that guards nothing."""
    return SigningKey.from_seed(hashlib.sha256(f"trialtrail notary test {name}".encode()).digest())


ROOT, LOG, STRANGER = seeded_key("root"), seeded_key("log"), seeded_key("stranger")
SITE, INVESTIGATOR, OTHER_SITE = seeded_key("site/701"), seeded_key("investigator"), seeded_key("site/702")
ADMINISTRATOR, SCREENING = seeded_key("administrator"), seeded_key("screening")
LOG_KEY = NoteKey(ORIGIN, LOG.public)
_SOURCES = {
    ROOT.id: "admin/root",
    SITE.id: "site/701",
    INVESTIGATOR.id: "site/701",
    OTHER_SITE.id: "site/702",
    ADMINISTRATOR.id: "admin/office",
    SCREENING.id: "service/screening",
    LOG.id: "service/audit",
}

REGISTERED = {"sex": "female", "birth_date": "1980-05"}
OBSERVED = {"item": "weight", "collected": "2026-03-03", "value": 70, "unit": "kg"}


def text_key(key: SigningKey) -> str:
    """A public key as it stands in events."""
    return base64.b64encode(key.public).decode()


def grant(key: SigningKey, source: str, *roles: str) -> dict[str, Any]:
    """The data of an identity.granted event."""
    data = {"public_key": text_key(key), "holder": f"holder of {source}", "source": source, "roles": list(roles)}
    user = next(filter(None, (user_of(SourceId(source), role) for role in roles)), None)  # type: ignore[arg-type]
    return data if user is None else data | {"user": user}


def signature(entry: Entry, **changes: Any) -> dict[str, Any]:
    """The data of the investigator's signature over an entry."""
    return {
        "meaning": "eligibility",
        "name": "holder of site/701",
        "user": "investigator.701",
        "role": "investigator",
        "records": [{"index": entry.index, "leaf": entry.leaf.hex()}],
    } | changes


def opened(clock: str = "system", tick_seconds: int = 900) -> dict[str, Any]:
    """The data of a genesis entry."""
    return {
        "origin": ORIGIN,
        "protocol_digest": "0" * 64,
        "log_key": text_key(LOG),
        "root_key": text_key(ROOT),
        "clock": clock,
        "tick_seconds": tick_seconds,
    }


class Office:
    """A notary, and the pen that writes to it."""

    def __init__(self, directory: Path, places: Places | None = None) -> None:
        self.directory = directory
        self.places = places
        self.now = START
        self.intake = 0
        self.keyring = Keyring(LOG)
        self.notary = self.open()

    @classmethod
    def founded(
        cls,
        directory: Path,
        clock: str = "system",
        tick_seconds: int = 900,
        *,
        people: bool = True,
        places: Places | None = None,
    ) -> "Office":
        """An office whose log is open and knows the root, two sites and the screening service.

        And, with ``people``, an investigator and an administrator.
        """
        office = cls(directory, places)
        office.seal(
            [office.arrival(office.event("log.opened", opened(clock, tick_seconds), key=ROOT), ROOT, intake=0)]
        )
        for key, role in (
            (SITE, "site_system"),
            (INVESTIGATOR, "investigator"),
            (OTHER_SITE, "site_system"),
            (ADMINISTRATOR, "administrator"),
            (SCREENING, "screening"),
        ):
            if people or key not in {INVESTIGATOR, ADMINISTRATOR}:
                assert office.post("identity.granted", grant(key, _SOURCES[key.id], role), key=ROOT).admitted
        return office

    def open(self) -> Notary:
        """A notary on this office's files."""
        files = self.directory / "audit"
        return Notary(files, TRIAL, self.keyring, places=self.places, clock=lambda: self.now)

    def reopen(self) -> None:
        """Stop and start the notary."""
        self.notary.close()
        self.notary = self.open()

    def counter(self, source: str) -> Counter:
        """A source's sequence as the log has saved it."""
        return self.notary.log.register(TRIAL).sources.get(SourceId(source), Counter())

    def event(self, type_: str, data: Mapping[str, Any], *, key: SigningKey = SITE, **changes: Any) -> bytes:
        """An event's bytes, with the source's next sequence and about nobody unless said otherwise."""
        source = changes.pop("source", _SOURCES.get(key.id, "site/701"))
        fields = {
            "event_id": uuid7(),
            "source": source,
            "type_": f"trialtrail.{type_}.v1",
            "subject": None,
            "time": stamp(self.now),
            "sequence": self.counter(source).last + 1,
            "trial": TRIAL,
        }
        return write_envelope(**(fields | changes), data=data)

    def arrival(
        self,
        payload: bytes,
        key: SigningKey = SITE,
        *,
        source: str | None = None,
        route: str | None = None,
        trail_key: str | None = None,
        signature: str | None = None,
        intake: int | None = None,
    ) -> Arrival:
        """A message as the broker would bring it: signed by ``key``, on the subject the event asks for."""
        if intake is None:
            self.intake += 1
            intake = self.intake
        place, kind = _address(payload)
        return arrival_of(
            intake,
            f"intake.{TRIAL}.{(source or place).replace('/', '.')}.{route or kind}",
            key.id if trail_key is None else trail_key,
            key.sign_event(payload) if signature is None else signature,
            payload,
        )

    def seal(self, arrivals: Sequence[Arrival]) -> Sealed:
        """Seal a batch, half a second after the last one."""
        self.now += timedelta(milliseconds=500)
        return self.notary.seal(arrivals)

    def send(self, payload: bytes, key: SigningKey = SITE, **headers: Any) -> Entry:
        """Send one message and return the entry that seals it."""
        return self.seal([self.arrival(payload, key, **headers)]).entries[0]

    def post(self, type_: str, data: Mapping[str, Any], *, key: SigningKey = SITE, **changes: Any) -> Entry:
        """Write, sign and send one event; the entry that seals it."""
        return self.send(self.event(type_, data, key=key, **changes), key)

    def register(self, subject: str = PERSON, key: SigningKey = SITE) -> Entry:
        """Register a participant."""
        entry = self.post("screening.registered", REGISTERED, key=key, subject=subject)
        assert entry.admitted
        return entry

    def move_clock(self, to: datetime) -> Sealed:
        """Move a simulated log's clock."""
        payload = self.event("log.clock_moved", {"to": stamp(to)}, key=ROOT)
        return self.seal([self.arrival(payload, ROOT)])

    def entries(self) -> list[Entry]:
        """The whole log as it is stored."""
        return list(self.notary.log.entries())

    def verify(self) -> Report:
        """Verify everything from the stored bytes, saved register included."""
        log = self.notary.log
        verifier = Verifier(TRIAL, LOG_KEY, lambda index: log.entry(index).raw)
        return verifier.run(log.rows(), self.notary.checkpoints.all(), saved=log.register_rows())


def _address(payload: bytes) -> tuple[str, str]:
    """Source and route as the event itself says; the first site's observation where it says nothing usable."""
    try:
        document = json.loads(payload)
        kind, _, name = document["source"].partition("/")
        _, domain, verb, _ = document["type"].split(".")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "site/701", "screening.observed"
    return f"{kind}/{name}", f"{domain}.{verb}"
