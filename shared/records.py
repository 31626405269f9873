"""What a decider keeps of the log: statements that were neither corrected nor retracted."""

from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from shared.decider import SealedEvent
from shared.envelope import TYPE_PREFIX, read_json, write_json
from shared.events import CATALOGUE, Data, SiteData, read_data


class Document(BaseModel):
    """A part of a decider's state: never changed in place, and nothing in it that nobody declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredRecord(Document):
    """A live record: a sealed statement that was neither corrected nor retracted. ``data`` is its JSON."""

    index: int
    leaf: str
    event_id: str
    type: str
    sealed_at: str
    data: str

    @classmethod
    def of(cls, event: SealedEvent, **more: Any) -> Self:
        """A sealed event as it is kept; ``more`` are a subclass's own fields."""
        record = cls(
            index=event.entry.index,
            leaf=event.entry.leaf.hex(),
            event_id=event.envelope.id,
            type=event.type,
            sealed_at=event.entry.header.sealed_at,
            data=write_json(dict(event.envelope.data)).decode(),
            **more,
        )
        record.__dict__["said"] = event.data  # which is what reading it back would give
        return record

    @cached_property
    def said(self) -> Data:
        """What the statement says, typed; read once."""
        return read_data(CATALOGUE[f"{TYPE_PREFIX}{self.type}.v1"], read_json(self.data.encode()))


def corrected_id(data: Data) -> str | None:
    """The id of the event whose place a statement takes, or that it takes back."""
    return data.corrects if isinstance(data, SiteData) else None
