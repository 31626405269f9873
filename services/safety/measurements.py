"""Measurements and components as grades over time: what each comes to, the latest and the worst since exposure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.safety.grading.astct import crs, icans
from services.safety.grading.ctcae import Reading, propose
from services.safety.grading.gvhd import gvhd
from services.safety.grading.proposal import Proposal
from services.safety.grading.terms import terms
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


def measured_courses(participant: Participant, family: str, exposure: Span, zone: ZoneInfo) -> list[Course]:
    """The courses of the terms of a family of items (see ``family_of``) since the first exposure."""
    points: dict[str, list[Graded]] = {}
    for item in _families().get(family, (family,)):
        for point in _graded(participant, item, exposure, zone):
            points.setdefault(point.proposal.term, []).append(point)
    return _courses(points)


def _graded(participant: Participant, item: str, exposure: Span, zone: ZoneInfo) -> Iterator[Graded]:
    """Everything that an item's measurements since the first exposure come to.

    The baseline is the last measurement before the exposure with the same qualifier (QTc by another formula is no
    baseline); one of the same day counts as before it unless both have a time of day that says otherwise, as ADaM
    has it.
    """
    baselines: dict[str | None, tuple[StoredStatement, Reading]] = {}
    after = []
    for when, record, data in _in_order(participant, item, zone):
        if _before(when, exposure, zone):
            baselines[data.qualifier] = (record, _reading(data))
        else:
            after.append((when, record, data))
    samples = _albumin(participant) if item == "calcium" else {}
    for when, record, data in after:
        baseline, held_against = baselines.get(data.qualifier, (None, None))
        albumin = samples.get(data.collected)
        for proposal in propose(item, _reading(data), held_against, albumin=albumin):
            yield Graded(record, when, data.collected, proposal, baseline)


def _in_order(participant: Participant, item: str, zone: ZoneInfo) -> list[tuple[Span, StoredStatement, Observed]]:
    timed = (
        (span(data.collected, zone), record, data)
        for record, data in _values(participant.measurements.get(item, ()))
    )
    return sorted(timed, key=lambda one: (one[0].first, one[1].index))


def _albumin(participant: Participant) -> dict[str, Reading]:
    """Albumin by the moment of its sample, for the calcium of the same one."""
    return {data.collected: _reading(data) for _, data in _values(participant.measurements.get("albumin", ()))}


def _courses(points: Mapping[str, list[Graded]]) -> list[Course]:
    ordered = {
        term: sorted(found, key=lambda point: (point.when.first, point.statement.index))
        for term, found in points.items()
    }
    return [Course(term, tuple(ordered[term])) for term in sorted(ordered)]


def family_of(item: str) -> str:
    """The items that share a term are graded together, under the name of the first of them."""
    return next((name for name, members in _families().items() if item in members), item)


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


@lru_cache(maxsize=1)
def measured_terms() -> frozenset[str]:
    """Every term that a measurement can come to."""
    return frozenset(term.name for found in terms().values() for term in found)


@lru_cache(maxsize=1)
def _by_baseline_alone() -> frozenset[str]:
    """Terms that say nothing without a baseline, such as weight loss: no baseline is no news of them."""
    alone = (
        term.name
        for found in terms().values()
        for term in found
        if all(ladder.of == "baseline" for ladder in term.ladders)
    )
    return frozenset(alone)


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
    return _courses(points)


def regraded(participant: Participant, items: Iterable[str], zone: ZoneInfo) -> Participant:
    """The participant with these items' terms graded anew; "" stands for the components."""
    exposure = participant.exposure(zone)
    grades = dict(participant.grades)
    families = {family_of(item) for item in items}
    if "albumin" in families:
        families.add(family_of("calcium"))
    for family in sorted(families):
        for term in [term for term, known in grades.items() if known.item == family]:
            del grades[term]
        if exposure is not None:
            for course in item_courses(participant, family, exposure[1], zone):
                grades[course.term] = _summary(family, course)
    return participant.model_copy(update={"grades": grades})


def item_courses(participant: Participant, family: str, exposure: Span, zone: ZoneInfo) -> list[Course]:
    """The courses of a family's terms since the first exposure; "" stands for the components."""
    return (
        measured_courses(participant, family, exposure, zone)
        if family
        else component_courses(participant, exposure, zone)
    )


def _summary(family: str, course: Course) -> TermGrade:
    latest, worst = course.latest, course.worst
    asked = [
        point for point in course.points if point.baseline is not None or course.term not in _by_baseline_alone()
    ]
    untold = next((point for point in asked if point.proposal.grade is None), None)
    about = [latest.statement, worst.statement]
    if latest.baseline is not None:
        about.append(latest.baseline)
    return TermGrade(
        term=course.term,
        item=family,
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
