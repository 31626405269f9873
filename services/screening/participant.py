"""What the screening service remembers of a participant, and the day a participant is judged on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.screening.evidence import Record
from services.screening.rules import Reference
from shared.decider import SealedEvent
from shared.events.decisions import Basis
from shared.events.screening import Completed, Infused, InfusionPlanned, ScreenFailed, Withdrawn
from shared.moments import instant, span
from shared.records import Document, StoredRecord, corrected_id
from shared.words import LogIndex

# Events that are a site's statements about a participant, and so may be evidence.
EVIDENCE_TYPES: Final = frozenset(
    f"screening.{verb}"
    for verb in (
        "registered",
        "consented",
        "withdrawn",
        "started",
        "observed",
        "attested",
        "history_listed",
        "infusion_planned",
        "completed",
        "screen_failed",
        "judged",
    )
) | {"treatment.infused"}


CLOSINGS: Final = {"screen_failed": "closed as a screen failure", "withdrawn": "withdrawn from the trial"}
"""What ends a participant's way into the trial, as decisions name it among what failed, and in words."""


class LastDecision(Document):
    """The newest decision about a participant. ``entry`` and ``leaf`` are known once it is sealed itself."""

    cause: int
    judged_on: str
    basis: Basis
    standing: str
    failed: tuple[str, ...]
    fingerprint: str
    verdicts: dict[str, str]
    entry: int | None = None
    leaf: str | None = None
    digest: str = ""  # of the protocol version; of what was decided before there were several, the only one


class Signature(Document):
    """An admitted signature, by position, content and the id under which it can be corrected or retracted."""

    entry: int
    leaf: str
    event_id: str


class Participant(Document):
    """Everything the screening service knows about one participant.

    ``settled`` is the entry by which the infusion became known that is live, else the closing; of what was stored
    before there were amendments, it is not known and earlier than any of them.
    """

    code: str
    source: str
    records: tuple[StoredRecord, ...] = ()
    decision: LastDecision | None = None
    signature: Signature | None = None  # the one that binds the decision as it stands now
    place: int | None = None
    request: str | None = None  # the id of the enrolment request that gave the place
    dose_level: str | None = None
    settled: int | None = None

    def with_record(self, event: SealedEvent) -> "Participant":
        """The participant after one more statement; a correction takes the corrected record's place."""
        gone = corrected_id(event.data)
        kept = self.records
        if gone is not None:
            kept = tuple(record for record in kept if record.event_id != gone)
        if event.type in EVIDENCE_TYPES:
            kept += (StoredRecord.of(event),)
        after = self.model_copy(update={"records": kept})
        if after._ended() and after._ended() != self._ended():
            return after.model_copy(update={"settled": event.entry.index})
        return after

    def settled_before(self, index: int) -> bool:
        """Whether the participant was infused, or else closed, before an entry."""
        return bool(self._ended()) and (self.settled or 0) < index

    def _ended(self) -> str:
        """What makes it matter no more that the protocol changes: an infusion, else a closing; empty: nothing."""
        infused = next(self.infusions(), None) is not None
        return "infused" if infused else "closed" if self.closed() else ""

    def live(self) -> list[Record]:
        """The live records, typed."""
        return [
            Record(LogIndex(kept.index), kept.leaf, kept.event_id, kept.type, kept.said) for kept in self.records
        ]

    def newest(self, type_: str) -> StoredRecord | None:
        """The live record of a type that was sealed last."""
        return next((record for record in reversed(self.records) if record.type == type_), None)

    def without_signature(self, event_id: str | None) -> "Participant":
        """The participant after a correction or retraction of an event: a signature taken back binds nothing."""
        if self.signature is None or self.signature.event_id != event_id:
            return self
        return self.model_copy(update={"signature": None})

    def closed(self) -> dict[str, StoredRecord]:
        """The live records that ended the participant's way into the trial, by what decisions call it."""
        found = {name: self.newest(f"screening.{name}") for name in CLOSINGS}
        return {name: record for name, record in found.items() if record is not None}

    def infusions(self) -> Iterator[tuple[StoredRecord, Infused]]:
        """The live records of infusions, in log order."""
        for record in self.records:
            data = record.said if record.type == "treatment.infused" else None
            if isinstance(data, Infused):
                yield record, data

    def first_infusions(self) -> int:
        """How many live records claim to be of the first infusion."""
        return sum(data.number == 1 for _, data in self.infusions())

    def first_infusion(self, zone: ZoneInfo) -> tuple[StoredRecord, Infused] | None:
        """The live record of the first infusion, if there was one; of several the earliest by its moment."""
        firsts = [(record, data) for record, data in self.infusions() if data.number == 1]
        return min(firsts, key=lambda one: (span(one[1].at, zone).first, one[0].index), default=None)


def local_day(sealed_at: str, zone: ZoneInfo) -> date:
    """The calendar day of a sealed time, at the site."""
    return instant(sealed_at).astimezone(zone).date()


@dataclass(frozen=True, slots=True)
class JudgedOn:
    """The day that counts, why it does, and the index of the record that says so (None: nobody has)."""

    reference: Reference
    basis: Basis
    record: int | None


def judged_on(participant: Participant, sealed_at: str, zone: ZoneInfo) -> JudgedOn:
    """The day against which everything is judged: the actual first infusion, else the planned one.

    A plan that has passed without an infusion moves on with sealed time, because the infusion can only be
    today or later. Without a plan, the day screening was completed stands in for it in the same way, however
    late the completion was reported. A plan that was reported only after its own day is a record of the past:
    it is judged as of that day for good, and gives no place (see enrolment). For a participant who was closed
    as a screen failure or withdrew, time stands still on that day.
    """
    planned = participant.newest("screening.infusion_planned")
    plan = planned.said if planned else None
    # No further infusion is planned before one that was given: the last planned one is never earlier.
    after = [span(data.at, zone).days(zone)[1] for _, data in participant.infusions()]
    if isinstance(plan, InfusionPlanned) and plan.last:
        after.append(date.fromisoformat(plan.last))

    def judged(day: date, basis: Basis, record: StoredRecord | None, given: datetime | None = None) -> JudgedOn:
        reference = Reference(day=day, instant=given, zone=zone, last_planned=max([day, *after]))
        return JudgedOn(reference, basis, None if record is None else record.index)

    infusion = participant.first_infusion(zone)
    if infusion is not None:
        moment = span(infusion[1].at, zone)
        # Of an infusion known by its day alone, only what happened after that day is certainly after it.
        given = moment.first if "T" in infusion[1].at else moment.end - timedelta(microseconds=1)
        return judged(moment.days(zone)[0], "actual", infusion[0], given)
    today = min([local_day(sealed_at, zone), *_ended(participant, zone)])
    if planned is not None and isinstance(plan, InfusionPlanned):
        day = date.fromisoformat(plan.first)
        if day < local_day(planned.sealed_at, zone):
            return judged(day, "retrospective", planned)
        return judged(max(day, today), "planned" if today <= day else "planned_passed", planned)
    completed = participant.newest("screening.completed")
    if completed is None:
        return judged(today, "today", None)
    data = completed.said
    assert isinstance(data, Completed)
    day = span(data.on, zone).days(zone)[1]
    return judged(max(day, today), "completed" if today <= day else "today", completed)


def _ended(participant: Participant, zone: ZoneInfo) -> list[date]:
    """The day on which screening ended without an infusion, if it has."""
    found = []
    for record in participant.closed().values():
        data = record.said
        assert isinstance(data, ScreenFailed | Withdrawn)
        found.append(span(data.on, zone).days(zone)[1])
    return found


def cited(records: Sequence[Record], indices: Sequence[int]) -> list[tuple[int, str]]:
    """(index, leaf hash) of the records with these indices, in index order."""
    leaves = {record.index: record.leaf for record in records}
    return [(index, leaves[LogIndex(index)]) for index in sorted(set(indices))]
