"""An event before its source has numbered and signed it: what ``trail submit`` reads, one JSON object a line."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.entry import FORMAT_VERSION
from shared.envelope import TYPE_PREFIX, read_envelope, read_json, write_envelope, write_json
from shared.events import CATALOGUE, EventType, Role, check_dates, read_data, short_type
from shared.events.identity import KINDS_OF_ROLE, SourceText
from shared.free_text import free_texts, normal, value_at
from shared.words import RefusedError, source_kind


class Draft(BaseModel):
    """One event as a person or an importer writes it.

    ``type`` may be short (``screening.observed``). ``role`` says whose key signs it, when the source has more
    than one. ``id`` is given only to keep an id that another system has already given (a UUID).
    ``private`` marks free texts as personal, by their paths in ``data``: they are encrypted before the event is
    numbered. False: nothing in here is personal, and every text is to stay readable for good.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourceText
    type: Annotated[str, StringConstraints(max_length=80)]
    subject: Annotated[str, StringConstraints(max_length=64)] | None = None
    time: str
    data: dict[str, Any]
    role: Role | None = None
    id: Annotated[str, Field(min_length=36, max_length=36)] | None = None
    private: Annotated[list[str], Field(max_length=50)] | Literal[False] = []

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
        kind = source_kind(self.source)
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
        self.marked()

    def marked(self) -> list[str]:
        """The paths in ``private``, each in its one spelling.

        Raises RefusedError when one is not of a free text, or there is no participant whose key could guard it.
        """
        event = self.event_type
        if self.private and (self.subject is None or short_type(event.name).startswith("privacy.")):
            about = "about the erasure itself" if self.subject is not None else "not about a participant"
            raise RefusedError(f"private: a {short_type(event.name)} is {about}: its texts stay readable for all")
        texts = free_texts(event.model, self.data)
        paths = [normal(path) for path in self.private or []]
        for path in paths:
            if path not in texts:
                raise RefusedError(_not_a_text(path, value_at(self.data, path) is not None, sorted(texts)))
        return paths

    def content(self) -> bytes:
        """All that the draft says, in one spelling; how it is to be said (``private``) is no part of that."""
        return write_json(self.model_dump(exclude={"private"}))

    def digest(self) -> str:
        """The SHA-256 of the content, 64 hexadecimal digits."""
        return hashlib.sha256(self.content()).hexdigest()

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


def _not_a_text(path: str, there: bool, texts: list[str]) -> str:  # noqa: FBT001 - a finding
    could = f"what can be here: {', '.join(texts)}" if texts else "this event has none here"
    if not there:
        return f"private: there is no data.{path}; it names free texts, {could}"
    return (
        f"private: data.{path} is not free text, and the trial's rules must read it: only free text can be "
        f"encrypted ({could})"
    )


def read_draft(line: bytes) -> Draft:
    """Read one line of a draft file; numbers stay exact.

    Raises RefusedError with a sentence, or pydantic's ValidationError naming the field.
    """
    document = read_json(line)
    if not isinstance(document, dict):
        raise RefusedError("a draft is one JSON object a line")
    return Draft.model_validate(document)
