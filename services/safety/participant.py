"""What the safety service remembers of a participant."""

from collections.abc import Iterator, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, Statement, adverse_events
from services.safety.clocks import Clock
from shared.decider import SealedEvent
from shared.events import Data
from shared.events.safety import ArmAssigned, Died, DispositionRecorded, Exposed
from shared.events.screening import Infused, Observed, Withdrawn
from shared.moments import Span, span
from shared.records import Document, StoredRecord, corrected_id

MEASUREMENTS: Final = frozenset({"safety.observed", "screening.observed"})
STATEMENTS: Final = frozenset(
    {
        "screening.registered",
        "screening.withdrawn",
        "treatment.infused",
        "treatment.arm_assigned",
        "treatment.exposed",
        "safety.event_reported",
        "safety.event_updated",
        "safety.event_resolved",
        "safety.crs_assessed",
        "safety.icans_assessed",
        "safety.gvhd_assessed",
        "safety.died",
        "safety.medication_given",
        "safety.disposition_recorded",
        "safety.event_assessed",
        "safety.report_sent",
    }
)
"""What is kept of a participant beside measurements."""


class StoredStatement(StoredRecord):
    """A live record with its source: a participant's are their site's and the sponsor's."""

    source: str
    before: "StoredStatement | None" = None  # what it corrects

    @classmethod
    def sealed(cls, event: SealedEvent, before: "StoredStatement | None" = None) -> "StoredStatement":
        """A sealed event as it is kept."""
        return cls.of(event, source=event.envelope.source, before=before)

    def versions(self) -> list["StoredStatement"]:
        """The statement as it was first sealed, and every correction since, the present one last."""
        return [*(self.before.versions() if self.before is not None else ()), self]

    def answers_to(self, event_id: str) -> bool:
        """Whether it is the statement of this id, or stands in its place by however many corrections."""
        return any(event_id in {one.event_id, corrected_id(one.said)} for one in self.versions())

    def as_of(self, index: int) -> "StoredStatement | None":
        """The version that stood after an entry; None: none did."""
        return next((one for one in reversed(self.versions()) if one.index <= index), None)

    def statement(self) -> Statement:
        """The record as the pure parts take it."""
        return Statement(self.index, self.leaf, self.event_id, self.type, self.source, self.sealed_at, self.said)


class Issued(Document):
    """The newest decision on one question: what it came to, and its own entry once it is sealed.

    ``label`` is what it takes to say that the question is no longer asked.
    """

    fingerprint: str
    cause: int
    entry: int | None = None
    leaf: str = ""
    label: str = ""


class TermGrade(Document):
    """What a participant's measurements come to for one term since the first exposure.

    ``latest`` and ``worst`` are grades, 0 before any; ``latest_at`` and ``worst_at`` say which value first came to
    them. ``untold`` says why a value could not be graded, where one could not. ``item`` is what was measured (its
    family's name); empty for components (CRS, ICANS, acute GvHD).
    """

    term: str
    item: str
    scale: str
    latest: int = 0
    worst: int = 0
    latest_at: str = ""
    worst_at: str = ""
    worst_record: tuple[int, str] | None = None
    arithmetic: tuple[str, ...] = ()
    evidence: tuple[tuple[int, str], ...] = ()
    untold: str = ""
    untold_record: tuple[int, str] | None = None


class Participant(Document):
    """Everything the safety service knows about one participant.

    ``exposed`` is the record of the first exposure, ``baselines`` are by item and qualifier, and ``through`` is
    when the last graded value of each term was taken. ``event_names`` are all names that the adverse events go by,
    case-folded. ``issued`` is by question: ``grade TERM``, ``event AE``, ``window``, ``query NAME``. ``clocks`` are
    by ``AE PROFILE KIND``. ``told`` are deviations, each raised once. ``serious_since`` is when the site's first
    word that an adverse event is serious was sealed, whatever it corrected since.
    """

    code: str
    source: str
    records: tuple[StoredStatement, ...] = ()
    measurements: dict[str, tuple[StoredStatement, ...]] = {}
    exposed: StoredStatement | None = None
    baselines: dict[str, StoredStatement] = {}
    through: dict[str, str] = {}
    grades: dict[str, TermGrade] = {}
    event_names: tuple[str, ...] = ()
    dose_level: str | None = None
    issued: dict[str, Issued] = {}
    clocks: dict[str, Clock] = {}
    told: tuple[str, ...] = ()
    serious_since: dict[str, str] = {}

    def with_statement(self, event: SealedEvent, zone: ZoneInfo) -> tuple["Participant", set[str]]:
        """The participant after a statement that is no measurement, and the items it took measurements back of."""
        participant, items = self.without(event)
        records = participant.records
        if event.type in STATEMENTS:
            records = (*records, StoredStatement.sealed(event, self.corrected(event)))
        return participant.model_copy(update={"records": records}).seen_from(zone), items

    def seen_from(self, zone: ZoneInfo) -> "Participant":
        """The participant with what is remembered of the records: the first exposure, by the site's time."""
        names = {name for each in self.events(zone) for name in each.names}
        given = [
            (span(_given(record.said), zone).first, record.index, record) for record in self.of(Infused, Exposed)
        ]
        first = min(given, key=lambda one: one[:2])[2] if given else None
        return self.model_copy(update={"exposed": first, "event_names": tuple(sorted(names))})

    def with_measurement(self, record: StoredStatement, graded: Mapping[str, object]) -> "Participant":
        """The participant after one more measurement, which was graded as told."""
        assert isinstance(record.said, Observed)
        item, kept = record.said.item, self.measurements
        measurements = kept | {item: (*kept.get(item, ()), record)}
        return self.model_copy(update={"measurements": measurements, **graded})

    def without(self, event: SealedEvent) -> tuple["Participant", set[str]]:
        """The participant without what a statement corrects or takes back, and the items that are concerned."""
        gone, source = corrected_id(event.data), event.envelope.source
        if gone is None:
            return self, set()

        def live(kept: tuple[StoredStatement, ...]) -> tuple[StoredStatement, ...]:
            # Whoever names one that was corrected already means what stands in its place now.
            return tuple(one for one in kept if one.source != source or not one.answers_to(gone))

        measurements = {name: live(kept) for name, kept in self.measurements.items()}
        items = {name for name, kept in measurements.items() if len(kept) != len(self.measurements[name])}
        return self.model_copy(update={"records": live(self.records), "measurements": measurements}), items

    def corrected(self, event: SealedEvent) -> StoredStatement | None:
        """The live record, of whatever kind, in whose place a statement comes; None: in none's."""
        gone, source = corrected_id(event.data), event.envelope.source
        if gone is None:
            return None
        kept = [*self.records, *(one for found in self.measurements.values() for one in found)]
        return next((one for one in reversed(kept) if one.source == source and one.answers_to(gone)), None)

    def of(self, *types: type[Data]) -> Iterator[StoredStatement]:
        """The live records of these models, in log order."""
        for record in self.records:
            if isinstance(record.said, types):
                yield record

    def events(self, zone: ZoneInfo) -> list[AdverseEvent]:
        """Every reported adverse event, in order of their numbers."""
        return adverse_events((record.statement() for record in self.records), zone)

    def exposure(self, zone: ZoneInfo) -> tuple[StoredStatement, Span] | None:
        """The first exposure to study treatment, with the record that says so; None: not exposed."""
        return None if self.exposed is None else (self.exposed, span(_given(self.exposed.said), zone))

    def first_infusion(self, zone: ZoneInfo) -> tuple[StoredStatement, Infused, Span] | None:
        """The first infusion, with the record that says so; None: not infused."""
        given = [
            (record, record.said, span(record.said.at, zone))
            for record in self.of(Infused)
            if isinstance(record.said, Infused)
        ]
        return min(given, key=lambda one: (one[2].first, one[0].index), default=None)

    def died(self, zone: ZoneInfo) -> tuple[StoredStatement, Span] | None:
        """The participant's death, with the record that says so; where only a disposition does, that one."""
        known = list(self.of(Died)) or self.ended_by_death()
        deaths = [
            (record, span(record.said.on, zone))
            for record in known
            if isinstance(record.said, Died | DispositionRecorded)
        ]
        return min(deaths, key=lambda one: (one[1].first, one[0].index), default=None)

    def ended_by_death(self) -> list[StoredStatement]:
        """The dispositions that say that treatment or study ended by the participant's death."""
        ended = self.of(DispositionRecorded)
        return [one for one in ended if isinstance(one.said, DispositionRecorded) and one.said.status == "death"]

    def left(self, zone: ZoneInfo) -> tuple[StoredStatement, Span] | None:
        """When the participant left the trial before its end, with the record that says so."""
        found = []
        for record in self.of(Withdrawn, DispositionRecorded):
            data = record.said
            gone = isinstance(data, DispositionRecorded) and (data.phase, data.status) not in _STILL_THERE
            if isinstance(data, Withdrawn) or (gone and isinstance(data, DispositionRecorded)):
                found.append((record, span(data.on, zone)))
        return min(found, key=lambda one: (one[1].first, one[0].index), default=None)

    def planned_arm(self) -> str | None:
        """The arm the participant was assigned, or the dose level enrolled at."""
        assigned = [record.said.planned for record in self.of(ArmAssigned) if isinstance(record.said, ArmAssigned)]
        return assigned[-1] if assigned else self.dose_level

    def actual_arm(self) -> str | None:
        """The arm that was given first; None: not exposed."""
        data = None if self.exposed is None else self.exposed.said
        return data.dose_level if isinstance(data, Infused) else data.arm if isinstance(data, Exposed) else None


_STILL_THERE: Final = frozenset(
    {("treatment", status) for status in ("completed", "adverse_event", "lack_of_efficacy", "physician_decision")}
    | {("study", "completed"), ("treatment", "death"), ("study", "death"), ("treatment", "other")}
)


def _given(data: Data) -> str:
    if isinstance(data, Infused):
        return data.at
    assert isinstance(data, Exposed)
    return data.started
