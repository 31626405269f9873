"""Which entries belong in a bundle: those asked for, and those it takes to judge their signatures. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from shared.entry import Entry, signature_bytes
from shared.envelope import Envelope, read_envelope
from shared.events import short_type
from shared.signing import base64_bytes, key_id, verify_event
from shared.words import KeyId, RefusedError, SourceId, TrailError

Kind = Literal["all", "range", "site", "participant"]
_ALWAYS: Final = {"log.opened", "protocol.adopted", "protocol.amended", "protocol.activated"}
"""What a bundle needs whoever it is about: the log's keys, and what the decisions were made by."""

_ABOUT_A_KEY: Final = {
    f"identity.{verb}"
    for verb in ("changed", "suspended", "reinstated", "revoked", "key_replaced", "access_failed")
}
"""What tells whether a key could speak when it did."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for: entries ``start`` to before ``stop``; ``of`` names the site (``site/<id>``) or person.

    Both ends are sizes of trees with a signed checkpoint (or 0), so that "between two checkpoints" is a statement
    about what the log has signed.
    """

    kind: Kind
    of: str | None
    start: int
    stop: int


@dataclass(slots=True)
class _Granted:
    """A key as the log knows it: who speaks with it, and the entries that say so."""

    source: SourceId
    public: bytes
    entries: list[int]
    signers: set[str]


@dataclass(slots=True)
class _Reader:
    """What choosing has to remember of the entries read so far; never their bodies."""

    selection: Selection
    chosen: set[int] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    keys: dict[str, _Granted] = field(default_factory=dict)
    participants: set[str] = field(default_factory=set)
    leading: set[int] = field(default_factory=set)
    reached: int = 0
    known: bool = False

    def take(self, entry: Entry) -> None:
        envelope = _envelope(entry)
        if envelope is None:
            return
        type_ = short_type(envelope.type) if entry.admitted else ""
        if type_ in _ALWAYS:
            self._choose(entry)
        self._learn_keys(entry, envelope, type_)
        signer = self.keys.get(entry.header.key)
        if signer is None or signer.source != envelope.source:
            return
        if not entry.admitted and not _signed(entry, signer.public):
            return  # in another's name; it claims nothing
        if type_ == "screening.registered" and envelope.source == self.selection.of:
            self.participants.add(envelope.subject or "")
        if entry.index >= self.selection.start:
            if self._is_asked_for(entry, envelope):
                self._choose(entry)
        elif self.selection.kind == "site" and envelope.source == self.selection.of:
            self._lead(entry, envelope.sequence)
        if type_ == "log.gap_detected" and envelope.data["source"] == self.selection.of:
            self._choose(entry)

    def _is_asked_for(self, entry: Entry, envelope: Envelope) -> bool:
        match self.selection.kind:
            case "site":
                theirs = entry.admitted and envelope.subject in self.participants
                return envelope.source == self.selection.of or theirs
            case "participant":
                self.known = self.known or (entry.admitted and envelope.subject == self.selection.of)
                return envelope.subject == self.selection.of
            case _:
                return False

    def _lead(self, entry: Entry, sequence: int) -> None:
        """Keep the entries before the beginning that show how far the site's numbers had come."""
        if sequence > self.reached:
            if entry.admitted:
                self.reached = sequence
                self.leading.clear()
            self.leading.add(entry.index)

    def _learn_keys(self, entry: Entry, envelope: Envelope, type_: str) -> None:
        data, signer = envelope.data, entry.header.key
        if type_ == "log.opened":
            self._grant(entry, SourceId("admin/root"), data["root_key"])
            self._grant(entry, SourceId("service/audit"), data["log_key"])
        elif type_ == "log.key_rotated":
            self._grant(entry, SourceId("service/audit"), data["public_key"])
        elif type_ == "identity.granted":
            self._grant(entry, SourceId(data["source"]), data["public_key"])
        elif type_ in _ABOUT_A_KEY:
            known = self.keys[data["key"]]
            if self.selection.kind == "range" and entry.index >= self.selection.start:
                self.needed.add(data["key"])  # what is said of a key makes no sense without its grant
            known.entries.append(entry.index)
            known.signers.add(signer)
            if type_ == "identity.key_replaced":
                self._grant(entry, known.source, data["public_key"])

    def _grant(self, entry: Entry, source: SourceId, text: str) -> None:
        public = base64_bytes(text)
        key = key_id(public)
        self.keys[key] = _Granted(source, public, [entry.index], {entry.header.key})
        if source == self.selection.of:
            self.known = True
            self.needed.add(key)

    def _choose(self, entry: Entry) -> None:
        self.chosen.add(entry.index)
        self.needed.add(entry.header.key)

    def finish(self) -> None:
        """Add what the chosen entries' signatures rest on, down to the root."""
        self.chosen |= self.leading
        waiting, seen = set(self.needed), set[str]()
        while waiting:
            key = waiting.pop()
            seen.add(key)
            granted = self.keys.get(KeyId(key))
            if granted is not None:
                self.chosen.update(granted.entries)
                waiting |= granted.signers - seen


def choose(selection: Selection, entries: Iterable[Entry], rotations: Iterable[int]) -> Iterator[int]:
    """The indices of a bundle's entries, in order; ``entries`` are the log's, from 0 to before ``stop``.

    ``rotations`` are the entries that changed the log's key, up to the end of the log: its newest checkpoint, that
    the bundle is proven in, is signed with the last key.
    Raises TrailError when there is no such site or participant.
    """
    reader = _Reader(selection, set(rotations))
    for entry in entries:
        if selection.kind == "range" and entry.index >= selection.start:
            reader.needed.add(entry.header.key)
        reader.take(entry)
    if selection.kind in {"site", "participant"} and not reader.known:
        raise TrailError(
            f"the log knows no {selection.kind} {selection.of} in the entries {selection.start} to "
            f"{selection.stop - 1}; `trail replay` lists participants, `trail show entry` shows one entry"
        )
    reader.finish()
    return _merged(sorted(reader.chosen), selection)


def _merged(chosen: list[int], selection: Selection) -> Iterator[int]:
    if selection.kind != "range":
        yield from chosen
        return
    yield from (index for index in chosen if index < selection.start)
    yield from range(selection.start, selection.stop)
    yield from (index for index in chosen if index >= selection.stop)


def _envelope(entry: Entry) -> Envelope | None:
    try:
        return read_envelope(entry.body)
    except RefusedError:
        return None


def _signed(entry: Entry, public: bytes) -> bool:
    signature = signature_bytes(entry.header.signature)
    return signature is not None and verify_event(public, signature, entry.body)
