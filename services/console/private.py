"""What people see where a private text is sealed: the one rule for every view. Pure, given how to find a key."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.audit.register import Erasure
from shared.decider import SealedEvent
from shared.events import CATALOGUE, read_data
from shared.free_text import free_texts, with_texts
from shared.private_text import PrivacyKey, PrivateText, decrypt, is_private
from shared.words import EvidenceError, LogIndex, ParticipantId, RefusedError

FindKey = Callable[[ParticipantId, str], PrivacyKey | None]
"""A participant's key by its id, if it is at hand."""

Destroyed = Mapping[tuple[ParticipantId, str], LogIndex]
"""The entry that says that a participant's key is destroyed."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: which keys are at hand, and which the log says are destroyed.

    A key that is sealed as destroyed is not used even where a copy of it lies: the erasure counts.
    """

    destroyed: Destroyed = field(default_factory=dict)
    find: FindKey = lambda _participant, _key: None

    def shown(self, event: SealedEvent) -> SealedEvent:
        """The event with every private text as this reader may see it."""
        envelope, row = event.envelope, CATALOGUE[event.envelope.type]
        participant, format_ = envelope.subject, event.entry.header.format
        sealed = {
            path: text
            for path, text in free_texts(row.model_at(format_), envelope.data).items()
            if is_private(text)
        }
        if not sealed or participant is None:
            return event
        texts = {path: self.text(value, envelope.trial, participant) for path, value in sealed.items()}
        data = with_texts(envelope.data, texts)
        return replace(event, envelope=envelope._replace(data=data), data=read_data(row, data, format_))

    def text(self, value: str, trial: str, participant: ParticipantId) -> str:
        """What stands in the place of one private text."""
        try:
            sealed = PrivateText.parse(value)
            entry = self.destroyed.get((participant, sealed.key))
            if entry is not None:
                return f"(erased by entry {entry})"
            key = self.find(participant, sealed.key)
            return "(private; no key here)" if key is None else decrypt(sealed, key, trial, participant).text
        except RefusedError:
            return "(private; not of a form that can be read)"
        except EvidenceError:
            return "(private; it does not open with its key: it was changed, or encrypted for somebody else)"


def destroyed_keys(erasures: Iterable[Erasure]) -> Destroyed:
    """The destroyed keys of all participants, each with the first entry that says so."""
    known: dict[tuple[ParticipantId, str], LogIndex] = {}
    for erasure in erasures:
        for key, entry in erasure.keys:
            known.setdefault((erasure.participant, key), entry)
    return known
