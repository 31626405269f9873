"""Each term's grade as it stands: the latest and the worst since the first exposure, folded value by value.

A value that comes in order is folded onto what is known; one that comes late, or changes a baseline, has its whole
family folded anew. Both ways end alike, because it is one fold.
"""

from collections.abc import Iterable
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.safety.grading.terms import terms
from services.safety.measurements import (
    Graded,
    albumin_of,
    baseline_key,
    baselines,
    family_of,
    grade,
    is_before,
    item_courses,
    members_of,
)
from services.safety.participant import Participant, StoredStatement, TermGrade
from shared.events.screening import Observed
from shared.moments import span, stamp

COMPONENTS = ""
"""The family of CRS, ICANS and acute graft-versus-host components."""


def regraded(participant: Participant, items: Iterable[str], zone: ZoneInfo) -> Participant:
    """The participant with these items' families graded anew."""
    exposure = participant.exposure(zone)
    families = {family_of(item) for item in items}
    if "albumin" in families:
        families.add(family_of("calcium"))
    grades = {term: known for term, known in participant.grades.items() if known.item not in families}
    through = {term: last for term, last in participant.through.items() if term in grades}
    held = dict(participant.baselines)
    for family in sorted(families):
        for item in members_of(family):
            for key in [key for key in held if key == item or key.startswith(f"{item} ")]:
                del held[key]
            if exposure is not None:
                held |= baselines(participant, item, exposure[1], zone)
        if exposure is not None:
            for course in item_courses(participant, family, exposure[1], zone):
                folded: TermGrade | None = None
                for point in course.points:
                    folded = _fold(folded, point, family)
                assert folded is not None  # no course is empty
                grades[course.term] = folded
                told = [point for point in course.points if point.proposal.grade is not None]
                through |= {course.term: stamp(told[-1].when.first)} if told else {}
    changes = {"grades": grades, "baselines": held, "through": through}
    return participant.model_copy(update=changes)


def folded_on(participant: Participant, record: StoredStatement, zone: ZoneInfo) -> dict[str, object] | None:
    """How one more measurement changes an exposed participant; None when its family has to be graded anew."""
    data, exposure = record.said, participant.exposure(zone)
    assert isinstance(data, Observed)
    assert exposure is not None
    if data.value is None:
        return {}
    when = span(data.collected, zone)
    if is_before(when, exposure[1], zone) or (data.item == "albumin" and "calcium" in participant.measurements):
        return None
    family, first = family_of(data.item), stamp(when.first)
    albumin = albumin_of(participant, data.collected) if data.item == "calcium" else None
    grades, through = participant.grades, participant.through
    for point in grade(record, data, when, participant.baselines.get(baseline_key(data)), albumin):
        term, made = point.proposal.term, point.proposal.grade
        known, last = grades.get(term), through.get(term, "")
        if made is None and known is not None and known.untold:
            return None  # which of them is asked about depends on when each was taken
        if made is not None and known is not None and first <= last:
            if first < last or (made == known.latest and made > 0):
                return None
            if made < known.latest or made == 0:
                continue  # of values of the same moment the gravest is the last
        folded = _fold(known, point, family)
        if folded is not known:
            grades = grades | {term: folded}
        if made is not None:
            through = through | {term: first}
    return {"grades": grades, "through": through}


def _fold(known: TermGrade | None, point: Graded, family: str) -> TermGrade:
    """A term's grade after one more value, no earlier than those before it; itself, where nothing changes."""
    made = point.proposal
    if known is None:
        known = TermGrade(term=made.term, item=family, scale=made.scale)
    if made.grade is None:
        return _with_question(known, point)
    if made.grade == known.latest and made.grade <= known.worst:
        return known
    here = (point.statement.index, point.statement.leaf)
    changes: dict[str, object] = {"latest": made.grade, "latest_at": point.text}
    worst_record = known.worst_record
    if made.grade > known.worst:
        worst_record = here
        changes |= {"worst": made.grade, "worst_at": point.text, "worst_record": here}
    about = {here} | ({worst_record} if worst_record is not None else set())
    if point.baseline is not None:
        about.add((point.baseline.index, point.baseline.leaf))
    return known.model_copy(update=changes | {"arithmetic": (made.arithmetic,), "evidence": tuple(sorted(about))})


def _with_question(known: TermGrade, point: Graded) -> TermGrade:
    """A term of which one more value could not be graded: the first such is asked about."""
    made, record = point.proposal, point.statement
    if known.untold or (point.baseline is None and made.term in _by_baseline_alone()):
        return known
    return known.model_copy(
        update={
            "untold": f"what was recorded for {point.text}: {made.arithmetic}",
            "untold_record": (record.index, record.leaf),
        }
    )


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


def changed_terms(before: Participant, after: Participant) -> set[str]:
    """The terms, case-folded, whose grades say something else than before."""
    if before.grades is after.grades:
        return set()
    gone = before.grades.keys() - after.grades.keys()
    new = {term for term, known in after.grades.items() if known is not before.grades.get(term)}
    told = {term for term in new if _essence(before.grades.get(term)) != _essence(after.grades[term])}
    return {term.casefold() for term in gone | told}


def _essence(known: TermGrade | None) -> tuple[int, int, str, str]:
    return (0, 0, "", "") if known is None else (known.latest, known.worst, known.worst_at, known.untold)
