"""A safety decider fed with admitted entries that nobody signed: for laws over many short histories."""

import json
import uuid
from typing import Any

from services.console.safety import knowledge
from services.safety.assess import Assessed
from services.safety.decide import SafetyDecider
from services.safety.participant import Participant
from shared.decider import Machine
from shared.drafts import Draft
from shared.entry import ADMITTED, FORMAT_VERSION, NO_LEAF, Entry, Header, seal
from shared.envelope import read_envelope
from shared.protocol.model import protocol_digest
from shared.words import LogIndex
from tests.study import DOCUMENT

_IDS = uuid.UUID("7a3f9a52-3c37-5a54-8d0b-0a2f6c1f9d11")
SEALED = "2026-04-20T04:00:00.000000Z"
"""When everything is sealed, unless told otherwise: after the window of an infusion in early March."""


class Feed:
    """One decider over one growing log; its own decisions come back sealed, as they do through the notary."""

    def __init__(
        self, document: str = DOCUMENT, trial: str = "NCT06027853", *, format_: int = FORMAT_VERSION
    ) -> None:
        self.format = format_
        self.machine = Machine(SafetyDecider())
        self.trial = trial
        self.decisions: list[dict[str, Any]] = []
        self._next = 0
        self._leaf = NO_LEAF
        self._sequences: dict[str, int] = {}
        adopted = {"document": document, "digest": protocol_digest(document)}
        self.say("protocol.adopted", adopted, of=None, source="admin/root")

    def say(
        self,
        type_: str,
        data: dict[str, Any],
        *,
        of: str | None = "701-001",
        source: str = "site/701",
        sealed_at: str = SEALED,
    ) -> str:
        """Seal a statement and feed it, and the decisions that follow; its event id."""
        name = json.dumps([type_, data, of, source], default=str, sort_keys=True)
        event_id = str(uuid.uuid5(_IDS, name))  # the same statement has the same id in every order
        self._sequences[source] = self._sequences.get(source, 0) + 1
        draft = Draft(source=source, type=type_, subject=of, time=sealed_at, data=data)
        self._seal(draft.payload(self.trial, event_id, self._sequences[source]), source, sealed_at)
        return event_id

    def reload(self) -> None:
        """Go on from the state as it is stored, as a service does after a restart."""
        machine = self.machine
        stored = {
            key: machine.decider.document_type(key).model_validate(json.loads(value.model_dump_json()))
            for key, value in machine.state.items()
        }
        self.machine = Machine(machine.decider, stored, machine.sequence)

    def assessed(self, code: str = "701-001") -> Assessed:
        """Everything there is to say of a participant now."""
        known = knowledge(self.machine, code)
        assert known is not None
        return known[1]

    def participant(self, code: str = "701-001") -> Participant:
        """The participant as the decider knows them."""
        found = self.machine.state[f"participant:{code}"]
        assert isinstance(found, Participant)
        return found

    def _seal(self, payload: bytes, source: str, sealed_at: str) -> None:
        header = Header(
            index=LogIndex(self._next),
            intake=self._next + 1,
            key="0" * 32,
            prev=self._leaf,
            reason="",
            sealed_at=sealed_at,
            signature="A" * 86 + "==",
            subject=f"intake.{self.trial}.{source.replace('/', '.')}.told",
            verdict=ADMITTED,
            format=self.format,
        )
        entry = seal(header, payload)
        self._next, self._leaf = self._next + 1, entry.leaf
        for decision in self._feed(entry):
            self.decisions.append(dict(read_envelope(decision).data) | {"type": read_envelope(decision).type})
            self._seal(decision, "service/safety", sealed_at)

    def _feed(self, entry: Entry) -> list[bytes]:
        return self.machine.feed(entry)
