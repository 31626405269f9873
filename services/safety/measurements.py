"""Measurements and components as grades over time: what each comes to since the first exposure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.safety.grading.astct import crs, icans
from services.safety.grading.ctcae import Reading, propose
from services.safety.grading.gvhd import gvhd
from services.safety.grading.proposal import Proposal
from services.safety.grading.terms import terms
from services.safety.participant import Participant, StoredStatement
from shared.events.safety import CrsAssessed, GvhdAssessed, IcansAssessed
from shared.events.screening import Observed
from shared.moments import Span, span


@dataclass(frozen=True, slots=True)
class Graded:
    """What one statement comes to for one term, and the baseline that it was held against."""

    statement: StoredStatement
    when: Span
    text: str
    proposal: Proposal
    baseline: StoredStatement | None


@dataclass(frozen=True, slots=True)
class Course:
    """A term's grades since the first exposure, in order of time; never empty."""

    term: str
    points: tuple[Graded, ...]

    def within(self, first: Span | None, last: Span | None) -> Iterator[Graded]:
        """Those that could lie between two moments, both included; None is open."""
        for point in self.points:
            if (first is None or point.when.end > first.first) and (last is None or point.when.first < last.end):
                yield point


def measured_courses(participant: Participant, family: str, exposure: Span, zone: ZoneInfo) -> list[Course]:
    """The courses of the terms of a family of items (see ``family_of``) since the first exposure."""
    points: dict[str, list[Graded]] = {}
    for item in members_of(family):
        for point in _graded(participant, item, exposure, zone):
            points.setdefault(point.proposal.term, []).append(point)
    return _courses(points)


def _graded(participant: Participant, item: str, exposure: Span, zone: ZoneInfo) -> Iterator[Graded]:
    """Everything that an item's measurements since the first exposure come to."""
    known = baselines(participant, item, exposure, zone)
    samples = _albumin(participant) if item == "calcium" else {}
    for when, record, data in _in_order(participant, item, zone):
        if not is_before(when, exposure, zone):
            yield from grade(record, data, when, known.get(baseline_key(data)), samples.get(data.collected))


def grade(
    record: StoredStatement, data: Observed, when: Span, baseline: StoredStatement | None, albumin: Reading | None
) -> Iterator[Graded]:
    """What one measurement comes to, term by term; ``albumin`` is of the same sample as a total calcium."""
    held_against = None
    if baseline is not None:
        assert isinstance(baseline.said, Observed)
        held_against = reading(baseline.said)
    for proposal in propose(data.item, reading(data), held_against, albumin=albumin):
        yield Graded(record, when, data.collected, proposal, baseline)


def baselines(participant: Participant, item: str, exposure: Span, zone: ZoneInfo) -> dict[str, StoredStatement]:
    """An item's baselines by ``baseline_key``: of each qualifier the last measurement before the exposure.

    QTc by another formula is no baseline. One of the same day counts as before it unless both have a time of day
    that says otherwise, as ADaM has it.
    """
    return {
        baseline_key(data): record
        for when, record, data in _in_order(participant, item, zone)
        if is_before(when, exposure, zone)
    }


def baseline_key(data: Observed) -> str:
    """The name under which a measurement's baseline is kept: item and qualifier."""
    return data.item if data.qualifier is None else f"{data.item} {data.qualifier}"


def _in_order(participant: Participant, item: str, zone: ZoneInfo) -> list[tuple[Span, StoredStatement, Observed]]:
    timed = (
        (span(record.said.collected, zone), record, record.said)
        for record in participant.measurements.get(item, ())
        if isinstance(record.said, Observed) and record.said.value is not None
    )
    return sorted(timed, key=lambda one: (one[0].first, one[1].data, one[1].index))


def _albumin(participant: Participant) -> dict[str, Reading]:
    """Albumin by the moment of its sample, for the calcium of the same one."""
    found = sorted(participant.measurements.get("albumin", ()), key=lambda record: record.data)
    return {
        record.said.collected: reading(record.said)
        for record in found
        if isinstance(record.said, Observed) and record.said.value is not None
    }


def albumin_of(participant: Participant, collected: str) -> Reading | None:
    """The albumin of the sample that was collected at this moment."""
    return _albumin(participant).get(collected)


def _courses(points: Mapping[str, list[Graded]]) -> list[Course]:
    return [Course(term, tuple(sorted(points[term], key=_place))) for term in sorted(points)]


def _place(point: Graded) -> tuple[object, ...]:
    """The order of a course: of values of the same moment the gravest is the last. Arrival never counts."""
    return point.when.first, point.proposal.grade or 0, point.text, point.statement.data, point.statement.index


@lru_cache(maxsize=256)
def family_of(item: str) -> str:
    """The items that share a term are graded together, under the name of the first of them."""
    return next((name for name, members in _families().items() if item in members), item)


def members_of(family: str) -> tuple[str, ...]:
    """The items of a family."""
    return _families().get(family, (family,))


@lru_cache(maxsize=1)
def _families() -> Mapping[str, tuple[str, ...]]:
    """Every family of items that share a term: systolic and diastolic pressure, the kinds of calcium."""
    by_term: dict[str, set[str]] = {}
    for item, found in terms().items():
        for term in found:
            by_term.setdefault(term.name, set()).add(item)
    groups = [members for members in by_term.values() if len(members) > 1]
    # Total calcium has no terms of its own, it is corrected; and for that it needs the albumin of its sample.
    calcium = {item for members in groups for item in members if item.startswith("calcium")}
    joined: list[set[str]] = [{"calcium", *calcium}]
    for members in groups:
        met = [group for group in joined if group & members]
        joined = [group for group in joined if not group & members] + [members.union(*met)]
    return {min(group): tuple(sorted(group)) for group in sorted(joined, key=min)}


@lru_cache(maxsize=256)
def terms_of(item: str) -> frozenset[str]:
    """The terms, case-folded, that a measurement of an item, or of its family, can come to."""
    return frozenset(term.name.casefold() for each in members_of(family_of(item)) for term in terms().get(each, ()))


@lru_cache(maxsize=1)
def measured_terms() -> frozenset[str]:
    """Every term that a measurement can come to."""
    return frozenset(term.name for found in terms().values() for term in found)


def component_courses(participant: Participant, exposure: Span, zone: ZoneInfo) -> list[Course]:
    """The courses of CRS, ICANS and acute graft-versus-host disease since the first exposure."""
    points: dict[str, list[Graded]] = {}
    for record in participant.of(CrsAssessed, IcansAssessed, GvhdAssessed):
        data = record.said
        if isinstance(data, CrsAssessed):
            proposal = crs(data)
        elif isinstance(data, IcansAssessed):
            proposal = icans(data)
        else:
            assert isinstance(data, GvhdAssessed)
            proposal = gvhd(data)
        when = span(data.at, zone)
        if not is_before(when, exposure, zone):
            points.setdefault(proposal.term, []).append(Graded(record, when, data.at, proposal, None))
    return _courses(points)


def item_courses(participant: Participant, family: str, exposure: Span, zone: ZoneInfo) -> list[Course]:
    """The courses of a family's terms since the first exposure; "" stands for the components."""
    return (
        measured_courses(participant, family, exposure, zone)
        if family
        else component_courses(participant, exposure, zone)
    )


def is_before(when: Span, exposure: Span, zone: ZoneInfo) -> bool:
    """Whether something measured then counts as before the exposure (see ``baselines``)."""
    if when.end <= exposure.first:
        return True
    if when.first >= exposure.end:
        return False
    return when.days(zone)[1] <= exposure.days(zone)[1]


def reading(data: Observed) -> Reading:
    """A measurement as it is graded."""
    assert data.value is not None
    reference = data.reference
    return Reading(
        value=data.value,
        unit=data.unit,
        comparator=data.comparator,
        low=None if reference is None else reference.low,
        high=None if reference is None else reference.high,
    )
