"""Measurements and components as grades over time: what each comes to, the latest and the worst since exposure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from services.safety.grading.astct import crs, icans
from services.safety.grading.ctcae import Reading, propose
from services.safety.grading.gvhd import gvhd
from services.safety.grading.proposal import Proposal
from services.safety.participant import Participant, StoredStatement, TermGrade
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

    @property
    def latest(self) -> Graded:
        """The last one that could be graded, or the last of all."""
        told = [point for point in self.points if point.proposal.grade is not None]
        return told[-1] if told else self.points[-1]

    @property
    def worst(self) -> Graded:
        """The first of the highest."""
        return max(self.points, key=lambda point: (point.proposal.grade or 0, -self.points.index(point)))

    def within(self, first: Span | None, last: Span | None) -> Iterator[Graded]:
        """Those that could lie between two moments, both included; None is open."""
        for point in self.points:
            if (first is None or point.when.end > first.first) and (last is None or point.when.first < last.end):
                yield point


def measured_courses(participant: Participant, item: str, exposure: Span, zone: ZoneInfo) -> list[Course]:
    """The courses of an item's terms since the first exposure.

    The baseline is the last measurement before the exposure; one of the same day counts as before it unless both
    have a time of day that says otherwise, as ADaM has it.
    """
    timed = sorted(
        (
            (span(data.collected, zone), record, data)
            for record, data in _values(participant.measurements.get(item, ()))
        ),
        key=lambda one: (one[0].first, one[1].index),
    )
    before = [one for one in timed if _before(one[0], exposure, zone)]
    after = [one for one in timed if not _before(one[0], exposure, zone)]
    _, baseline, known = before[-1] if before else (None, None, None)
    held_against = None if known is None else _reading(known)
    points: dict[str, list[Graded]] = {}
    for when, record, data in after:
        for proposal in propose(item, _reading(data), held_against):
            graded = Graded(record, when, data.collected, proposal, baseline)
            points.setdefault(proposal.term, []).append(graded)
    return [Course(term, tuple(points[term])) for term in sorted(points)]


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
        if not _before(when, exposure, zone):
            points.setdefault(proposal.term, []).append(Graded(record, when, data.at, proposal, None))
    for course in points.values():
        course.sort(key=lambda point: (point.when.first, point.statement.index))
    return [Course(term, tuple(points[term])) for term in sorted(points)]


def regraded(participant: Participant, items: Iterable[str], zone: ZoneInfo) -> Participant:
    """The participant with these items' terms graded anew; "" stands for the components."""
    exposure = participant.exposure(zone)
    grades = dict(participant.grades)
    for item in sorted(items):
        for term in [term for term, known in grades.items() if known.item == item]:
            del grades[term]
        if exposure is not None:
            for course in item_courses(participant, item, exposure[1], zone):
                grades[course.term] = _summary(item, course)
    return participant.model_copy(update={"grades": grades})


def item_courses(participant: Participant, item: str, exposure: Span, zone: ZoneInfo) -> list[Course]:
    """The courses of an item's terms since the first exposure; "" stands for the components."""
    return (
        measured_courses(participant, item, exposure, zone)
        if item
        else component_courses(participant, exposure, zone)
    )


def _summary(item: str, course: Course) -> TermGrade:
    latest, worst = course.latest, course.worst
    untold = next((point for point in course.points if point.proposal.grade is None), None)
    about = [latest.statement, worst.statement]
    if latest.baseline is not None:
        about.append(latest.baseline)
    return TermGrade(
        term=course.term,
        item=item,
        scale=latest.proposal.scale,
        latest=latest.proposal.grade or 0,
        worst=worst.proposal.grade or 0,
        latest_at=latest.text,
        worst_at=worst.text,
        # Of the many values that come to no grade, nobody reads the arithmetic: it is not worked out.
        arithmetic=(latest.proposal.arithmetic,) if worst.proposal.grade else (),
        evidence=tuple((one.index, one.leaf) for one in about) if worst.proposal.grade else (),
        worst_record=(worst.statement.index, worst.statement.leaf),
        untold="" if untold is None else f"what was recorded for {untold.text}: {untold.proposal.arithmetic}",
        untold_record=None if untold is None else (untold.statement.index, untold.statement.leaf),
    )


def _before(when: Span, exposure: Span, zone: ZoneInfo) -> bool:
    if when.end <= exposure.first:
        return True
    if when.first >= exposure.end:
        return False
    return when.days(zone)[1] <= exposure.days(zone)[1]


def _values(records: Iterable[StoredStatement]) -> Iterator[tuple[StoredStatement, Observed]]:
    for record in records:
        if isinstance(record.said, Observed) and record.said.value is not None:
            yield record, record.said


def _reading(data: Observed) -> Reading:
    assert data.value is not None
    reference = data.reference
    return Reading(
        value=data.value,
        unit=data.unit,
        comparator=data.comparator,
        low=None if reference is None else reference.low,
        high=None if reference is None else reference.high,
    )
