"""What the screening service remembers of a participant, and the day a participant is judged on."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from services.screening.evidence import Record
from services.screening.rules import Reference
from shared.decider import SealedEvent
from shared.envelope import TYPE_PREFIX, read_json, write_json
from shared.events import CATALOGUE, Data, SiteData, read_data
from shared.events.decisions import Basis
from shared.events.screening import Completed, Infused, InfusionPlanned, ScreenFailed, Withdrawn
from shared.moments import instant, span
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


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredRecord(_Document):
    """A live record: a sealed statement that was neither corrected nor retracted. ``data`` is its JSON."""

    index: int
    leaf: str
    event_id: str
    type: str
    sealed_at: str
    data: str


class LastDecision(_Document):
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


class Participant(_Document):
    """Everything the screening service knows about one participant."""

    code: str
    source: str
    records: tuple[StoredRecord, ...] = ()
    decision: LastDecision | None = None
    signature: int | None = None  # the entry whose signature binds the decision as it stands now
    place: int | None = None
    dose_level: str | None = None

    def with_record(self, event: SealedEvent) -> "Participant":
        """The participant after one more statement; a correction takes the corrected record's place."""
        data = event.data
        kept = self.records
        if isinstance(data, SiteData) and data.corrects is not None:
            kept = tuple(record for record in kept if record.event_id != data.corrects)
        if event.type in EVIDENCE_TYPES:
            kept += (
                StoredRecord(
                    index=event.entry.index,
                    leaf=event.entry.leaf.hex(),
                    event_id=event.envelope.id,
                    type=event.type,
                    sealed_at=event.entry.header.sealed_at,
                    data=write_json(dict(event.envelope.data)).decode(),
                ),
            )
        return self.model_copy(update={"records": kept})

    def live(self) -> list[Record]:
        """The live records, typed."""
        return [
            Record(LogIndex(kept.index), kept.leaf, kept.event_id, kept.type, _typed(kept.type, kept.data))
            for kept in self.records
        ]

    def newest(self, type_: str) -> StoredRecord | None:
        """The live record of a type that was sealed last."""
        return next((record for record in reversed(self.records) if record.type == type_), None)

    def first_infusion(self) -> tuple[StoredRecord, Infused] | None:
        """The live record of the first infusion, if there was one."""
        for record in self.records:
            if record.type == "treatment.infused":
                data = _typed(record.type, record.data)
                if isinstance(data, Infused) and data.number == 1:
                    return record, data
        return None


@lru_cache(maxsize=65536)
def _typed(type_: str, data: str) -> Data:
    return read_data(CATALOGUE[f"{TYPE_PREFIX}{type_}.v1"], read_json(data.encode()))


def local_day(sealed_at: str, zone: ZoneInfo) -> date:
    """The calendar day of a sealed time, at the site."""
    return instant(sealed_at).astimezone(zone).date()


def judged_on(participant: Participant, sealed_at: str, zone: ZoneInfo) -> tuple[Reference, Basis]:
    """The day against which everything is judged: the actual first infusion, else the planned one.

    A plan that has passed without an infusion moves on with sealed time, because the infusion can only be
    today or later. Without a plan, the day screening was completed stands in for it in the same way. A plan
    or completion that was reported only after its own day is a record of the past: it is judged as of that
    day for good, and gives no place (see enrolment). For a participant who was closed as a screen failure or
    withdrew, time stands still on that day.
    """
    infusion = participant.first_infusion()
    planned = participant.newest("screening.infusion_planned")
    plan = _typed(planned.type, planned.data) if planned else None
    last = date.fromisoformat(plan.last) if isinstance(plan, InfusionPlanned) and plan.last else None
    if infusion is not None:
        moment = span(infusion[1].at, zone)
        # Of an infusion known by its day alone, only what happened after that day is certainly after it.
        given = moment.first if "T" in infusion[1].at else moment.end - timedelta(microseconds=1)
        return _reference(moment.days(zone)[0], given, zone, last), "actual"
    today = min([local_day(sealed_at, zone), *_ended(participant, zone)])
    if planned is not None and isinstance(plan, InfusionPlanned):
        day = date.fromisoformat(plan.first)
        if day < local_day(planned.sealed_at, zone):
            return _reference(day, None, zone, last), "retrospective"
        return _reference(max(day, today), None, zone, last), "planned" if today <= day else "planned_passed"
    completed = participant.newest("screening.completed")
    if completed is not None:
        data = _typed(completed.type, completed.data)
        assert isinstance(data, Completed)
        day = span(data.on, zone).days(zone)[1]
        if day < local_day(completed.sealed_at, zone):
            return _reference(day, None, zone, last), "retrospective"
        return _reference(max(day, today), None, zone, last), "completed" if today <= day else "today"
    return _reference(today, None, zone, last), "today"


def _ended(participant: Participant, zone: ZoneInfo) -> list[date]:
    """The day on which screening ended without an infusion, if it has."""
    found = []
    for type_ in ("screening.screen_failed", "screening.withdrawn"):
        record = participant.newest(type_)
        if record is not None:
            data = _typed(record.type, record.data)
            assert isinstance(data, ScreenFailed | Withdrawn)
            found.append(span(data.on, zone).days(zone)[1])
    return found


def _reference(day: date, at: datetime | None, zone: ZoneInfo, last: date | None) -> Reference:
    return Reference(day=day, instant=at, zone=zone, last_planned=last)


def cited(records: Sequence[Record], indices: Sequence[int]) -> list[tuple[int, str]]:
    """(index, leaf hash) of the records with these indices, in index order."""
    leaves = {record.index: record.leaf for record in records}
    return [(index, leaves[LogIndex(index)]) for index in sorted(set(indices))]
