"""An event before its source has numbered and signed it: what ``trail submit`` reads, one JSON object a line."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.entry import FORMAT_VERSION
from shared.envelope import TYPE_PREFIX, read_envelope, read_json, write_envelope
from shared.events import CATALOGUE, EventType, Role, check_dates, read_data, short_type
from shared.events.identity import KINDS_OF_ROLE, SourceText
from shared.words import RefusedError


class Draft(BaseModel):
    """One event as a person or an importer writes it.

    ``type`` may be short (``screening.observed``). ``role`` says whose key signs it, when the source has more
    than one. ``id`` is given only to keep an id that another system has already given (a UUID).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourceText
    type: Annotated[str, StringConstraints(max_length=80)]
    subject: Annotated[str, StringConstraints(max_length=64)] | None = None
    time: str
    data: dict[str, Any]
    role: Role | None = None
    id: Annotated[str, Field(min_length=36, max_length=36)] | None = None

    @property
    def event_type(self) -> EventType:
        """The catalogue's row for this draft.

        Raises RefusedError when there is none.
        """
        name = self.type if self.type.startswith(TYPE_PREFIX) else f"{TYPE_PREFIX}{self.type}.v1"
        if name not in CATALOGUE:
            raise RefusedError(f"type {self.type!r} is not in the catalogue of events")
        return CATALOGUE[name]

    @property
    def signing_role(self) -> Role:
        """The role whose key signs: the one asked for, else the first that may submit this type."""
        if self.role is not None:
            return self.role
        kind = self.source.partition("/")[0]
        usual: dict[str, Role] = {"site": "site_system", "sponsor": "sponsor", "admin": "root"}
        roles = self.event_type.roles
        preferred = usual.get(kind)
        if preferred in roles:
            return preferred
        fitting = (role for role in self.event_type.allowed if kind in KINDS_OF_ROLE.get(role, ()))
        return next(fitting, min(roles))

    def check(self, trial: str) -> None:
        """Judge the draft as admission will, as far as the draft alone can tell.

        Raises RefusedError with the sentence for the sender.
        """
        event = self.event_type
        if self.subject is None and not event.may_be_about_the_trial(FORMAT_VERSION):
            raise RefusedError(f"{short_type(event.name)} needs subject: the participant's code")
        payload = self.payload(trial, "00000000-0000-7000-8000-000000000000", 1)
        envelope = read_envelope(payload)
        data = read_data(event, envelope.data)
        check_dates(data, envelope.time)

    def payload(self, trial: str, event_id: str, sequence: int) -> bytes:
        """The event's bytes with this id and sequence."""
        return write_envelope(
            event_id=self.id or event_id,
            source=self.source,
            type_=self.event_type.name,
            subject=self.subject,
            time=self.time,
            sequence=sequence,
            trial=trial,
            data=self.data,
        )


def read_draft(line: bytes) -> Draft:
    """Read one line of a draft file; numbers stay exact.

    Raises RefusedError with a sentence, or pydantic's ValidationError naming the field.
    """
    document = read_json(line)
    if not isinstance(document, dict):
        raise RefusedError("a draft is one JSON object a line")
    return Draft.model_validate(document)
