"""The protocol's versions as sealed: who signed each, where it is in force since when, what it assumes. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from shared.decider import SealedEvent, read_event
from shared.entry import Entry
from shared.events.log import ProtocolActivated, ProtocolAdopted, ProtocolAmended
from shared.events.signatures import PersonSigned
from shared.moments import instant
from shared.protocol.activations import Activation, followed
from shared.protocol.model import Assumption, Protocol
from shared.protocol.versions import checked
from shared.words import LogIndex, TrailError


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature as it is shown: whose, in which role, when, and its entry (21 CFR 11.50)."""

    entry: LogIndex
    name: str
    user: str
    role: str
    time: str

    def told(self) -> str:
        """The manifestation in words."""
        return f"{self.name}, {self.role.replace('_', ' ')}, {self.time} (entry {self.entry})"


@dataclass(frozen=True, slots=True)
class Approved:
    """An activation of a version at a site. ``replaced_by`` is the entry that named another before its day."""

    site: str
    effective: str
    entry: LogIndex
    committee: str
    reference: str
    approved: str
    replaced_by: LogIndex | None = None


@dataclass(slots=True)
class SealedVersion:
    """A version of the protocol. ``protocol`` is None where the document cannot be used; ``problem`` says why."""

    digest: str
    entry: LogIndex
    sealed_at: str
    document: str
    replaces: str | None = None
    summary: str = ""
    reconsent: bool = False
    protocol: Protocol | None = None
    problem: str = ""
    signed: list[Signed] = field(default_factory=list)
    confirmed: dict[str, Signed] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call it."""
        return f"entry {self.entry}" if self.protocol is None else self.protocol.version


@dataclass(frozen=True, slots=True)
class Standing:
    """An assumption of a version: confirmed by a signature, or open whatever its document says."""

    assumption: Assumption
    by: Signed | None

    @property
    def status(self) -> Literal["open", "confirmed"]:
        """What holds by signature."""
        return "open" if self.by is None else "confirmed"

    def told(self) -> str:
        """The status in words."""
        if self.by is not None:
            return f"confirmed by {self.by.told()}"
        return (
            "open" if self.assumption.status == "open" else "open: its document says confirmed, nobody has signed"
        )


@dataclass(slots=True)
class Protocols:
    """Every version, in the order in which they were sealed, and every site's activations, replaced ones too.

    ``digests`` says which version an activation's entry is about; ``sealed_at`` is the last sealed moment.
    """

    versions: dict[str, SealedVersion] = field(default_factory=dict)
    activations: dict[str, list[Approved]] = field(default_factory=dict)
    began_with: str = ""
    sealed_at: str = ""
    digests: dict[LogIndex, str] = field(default_factory=dict)

    def version(self, digest: str) -> SealedVersion:
        """A version by its digest, or the only one whose digest begins so.

        Raises TrailError when there is none, or more than one.
        """
        found = [one for name, one in self.versions.items() if name.startswith(digest)]
        if len(found) != 1:
            many = "more than one version" if found else "no version"
            raise TrailError(f"{many} of the protocol begins with {digest}; `trail protocol list` lists them")
        return found[0]

    def at(self, version: SealedVersion, site: str) -> Approved | None:
        """The activation of a version that counts at a site; None: there is none."""
        mine = [one for one in self.activations.get(site, ()) if one.entry in self._of(version.digest)]
        return next((one for one in reversed(mine) if one.replaced_by is None), None)

    def in_force_at(self, site: str) -> SealedVersion | None:
        """The version in force at a site at the last sealed moment; None: none was ever sealed."""
        found = self.versions.get(self.began_with)
        for one in self.activations.get(site, ()):
            version = self.versions[self.digests[one.entry]]
            if one.replaced_by is None and self.begun(version, one):
                found = version
        return found

    def begun(self, version: SealedVersion, activation: Approved) -> bool:
        """Whether the day of an activation has begun at its site, at the last sealed moment."""
        if version.protocol is None:
            return False
        zone = version.protocol.zone(f"site/{activation.site}")
        return instant(self.sealed_at).astimezone(zone).date().isoformat() >= activation.effective

    def newest(self) -> SealedVersion:
        """The newest version in force anywhere.

        Raises TrailError when no protocol was in force.
        """
        found = {one.entry: one for site in self.activations if (one := self.in_force_at(site)) is not None}
        first = self.versions.get(self.began_with)
        if first is not None:
            found[first.entry] = first
        if not found:
            raise TrailError("no protocol was in force at that moment")
        return found[max(found)]

    def assumptions(self, version: SealedVersion) -> list[Standing]:
        """A version's assumptions: confirmed for it, or for an earlier version that said exactly the same."""
        assumed = () if version.protocol is None else version.protocol.assumptions
        return [Standing(one, self._confirmed(version, one)) for one in assumed]

    def statuses(self, digest: str) -> dict[str, str]:
        """Whether each assumption of a version is open or confirmed, by id."""
        version = self.versions.get(digest)
        return {} if version is None else {one.assumption.id: one.status for one in self.assumptions(version)}

    def _confirmed(self, version: SealedVersion, said: Assumption) -> Signed | None:
        seen: SealedVersion | None = version
        while seen is not None and _says(seen, said):
            if said.id in seen.confirmed:
                return seen.confirmed[said.id]
            seen = self._before(seen)
        return None

    def _before(self, version: SealedVersion) -> SealedVersion | None:
        """The version that one amends; a log of an older format may hold others between them."""
        earlier = [one for one in self.versions.values() if one.entry < version.entry]
        named = self.versions.get(version.replaces or "")
        return named or (earlier[-1] if earlier else None)

    def _of(self, digest: str) -> set[int]:
        return {entry for entry, one in self.digests.items() if one == digest}


def protocols(entries: Iterable[Entry]) -> Protocols:
    """Fold a log's entries into the versions of its protocol."""
    known = Protocols()
    standing: dict[str, tuple[Activation, ...]] = {}
    for entry in entries:
        known.sealed_at = entry.header.sealed_at
        if not entry.admitted or not entry.header.subject.endswith(_ROUTES):
            continue
        event = read_event(entry)
        assert event is not None
        match event.data:
            case ProtocolAdopted():
                _take_adopted(known, event, event.data)
            case ProtocolAmended():
                _take_amended(known, event, event.data)
            case ProtocolActivated() as data:
                _take_activated(known, standing, event, data)
            case PersonSigned() as data:
                _take_signature(known, event, data)
            case _:
                pass
    return known


_ROUTES = (".protocol.adopted", ".protocol.amended", ".protocol.activated", ".record.signed")


def _take_adopted(known: Protocols, event: SealedEvent, data: ProtocolAdopted) -> None:
    version = known.versions.get(data.digest) or _read(event, data.digest, data.document)
    known.versions[data.digest] = version
    if version.protocol is not None:
        known.began_with = data.digest


def _take_amended(known: Protocols, event: SealedEvent, data: ProtocolAmended) -> None:
    version = _read(event, data.digest, data.document)
    version.replaces, version.summary, version.reconsent = data.replaces, data.summary, data.reconsent
    names = {one.name for one in known.versions.values()}
    if version.protocol is not None and version.name in names:
        version.protocol, version.problem = None, f"there is another protocol {version.name}"
    known.versions[data.digest] = version


def _read(event: SealedEvent, digest: str, document: str) -> SealedVersion:
    version = SealedVersion(digest, event.entry.index, event.entry.header.sealed_at, document)
    try:
        version.protocol = checked(document, event.envelope.trial)
    except TrailError as error:
        version.problem = str(error)
    return version


def _take_activated(
    known: Protocols, standing: dict[str, tuple[Activation, ...]], event: SealedEvent, data: ProtocolActivated
) -> None:
    entry = event.entry.index
    before = standing.get(data.site, ())
    one = Activation(entry=entry, digest=data.digest, effective=data.effective)
    standing[data.site] = followed(before, one, instant(event.entry.header.sealed_at))
    gone = {each.entry for each in before} - {each.entry for each in standing[data.site]}
    kept = [_replaced(each, entry) if each.entry in gone else each for each in known.activations.get(data.site, ())]
    approved = Approved(data.site, data.effective, entry, data.committee, data.reference, data.approved)
    known.activations[data.site] = [*kept, approved]
    known.digests[entry] = data.digest


def _replaced(one: Approved, by: LogIndex) -> Approved:
    return Approved(one.site, one.effective, one.entry, one.committee, one.reference, one.approved, by)


def _take_signature(known: Protocols, event: SealedEvent, data: PersonSigned) -> None:
    signed = {record.index for record in data.records}
    shown = Signed(event.entry.index, data.name, data.user, data.role, event.envelope.time_text)
    for version in known.versions.values():
        if version.entry not in signed:
            continue
        if data.meaning == "protocol":
            version.signed.append(shown)
        elif data.meaning == "assumption":
            for name in data.assumptions or ():
                version.confirmed.setdefault(name, shown)


def _says(version: SealedVersion, said: Assumption) -> bool:
    """Whether a version says exactly this of an assumption; its own word on the status is no part of it."""
    theirs = () if version.protocol is None else version.protocol.assumptions
    return any((one.id, one.text, one.value) == (said.id, said.text, said.value) for one in theirs)
