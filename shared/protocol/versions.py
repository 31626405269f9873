"""The versions of the protocol as deciders know them: amendments, and where each is in force from when. Pure."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from shared.decider import SealedEvent
from shared.events.log import ProtocolActivated, ProtocolAmended
from shared.moments import instant
from shared.protocol.activations import Activation, followed
from shared.protocol.model import Protocol, load_protocol
from shared.records import Document
from shared.words import TrailError, source_name

_KEY: Final = "protocol:"


class VersionText(Document):
    """The document of a version, in a place of its own: the state around it changes often, and it never does."""

    document: str


class Version(Document):
    """What is known of an amended version beside its document. ``entry`` is the amendment's."""

    entry: int
    name: str
    reconsent: bool


class Versions(Document):
    """The amended versions by digest, and every site's activations in the order of their days."""

    known: dict[str, Version] = {}
    sites: dict[str, tuple[Activation, ...]] = {}

    def at(self, source: str) -> tuple[Activation, ...]:
        """The activations of a source's site."""
        return self.sites.get(source_name(source), ())

    def amended(self, event: SealedEvent, adopted: str) -> "Versions":
        """With one more version; ``adopted`` is the document that the log began with, empty where there is none.

        Raises TrailError when it cannot be used: no protocol that can be read, another trial's, or of a name that
        another version has, so that a decision's protocol would be two.
        """
        said = event.data
        assert isinstance(said, ProtocolAmended)
        protocol = checked(said.document, event.envelope.trial)
        names = {one.name for one in self.known.values()}
        if adopted:
            names.add(load_protocol(adopted).version)
        if protocol.version in names:
            raise TrailError(f"there is another protocol {protocol.version}: give each version a name of its own")
        new = Version(entry=event.entry.index, name=protocol.version, reconsent=said.reconsent)
        return self.model_copy(update={"known": self.known | {said.digest: new}})

    def activated(self, event: SealedEvent, adopted: str) -> "Versions":
        """With one more activation; ``adopted`` is the digest of the version that the log began with.

        Raises TrailError when the version it is about cannot be used.
        """
        said = event.data
        assert isinstance(said, ProtocolActivated)
        if said.digest not in self.known and said.digest != adopted:
            raise TrailError(f"version {said.digest} cannot be used, as was said when it was sealed")
        one = Activation(entry=event.entry.index, digest=said.digest, effective=said.effective)
        theirs = followed(self.sites.get(said.site, ()), one, instant(event.entry.header.sealed_at))
        return self.model_copy(update={"sites": self.sites | {said.site: theirs}})

    def reconsents(self, activation: Activation) -> bool:
        """Whether who consented before its day has to consent again."""
        version = self.known.get(activation.digest)
        return version is not None and version.reconsent


def checked(document: str, trial: str) -> Protocol:
    """A protocol document of a trial. Raises TrailError when it is none."""
    protocol = load_protocol(document)
    if protocol.trial != trial:
        raise TrailError(f"the protocol document is of trial {protocol.trial}, and the log is of {trial}")
    return protocol


def text_key(digest: str) -> str:
    """Under which key of a decider's state a version's document is."""
    return f"{_KEY}{digest}"


def is_text(key: str) -> bool:
    """Whether a key of a decider's state is that of a version's document."""
    return key.startswith(_KEY)


def text_of(state: Mapping[str, BaseModel], digest: str) -> str:
    """A version's document, out of a decider's state; empty where it is not there."""
    found = state.get(text_key(digest))
    return found.document if isinstance(found, VersionText) else ""
