"""An adverse event as it is known: report, updates, resolution, the sponsor's assessments, a death; put together.

What is known is a function of the live statements alone, so a correction and its reversal leave nothing behind.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from shared.events import Data
from shared.events.safety import (
    Causality,
    Died,
    EventAssessed,
    EventOutcome,
    EventReported,
    EventResolved,
    EventUpdated,
    MedicationGiven,
    Seriousness,
    Severity,
)
from shared.events.screening import Answer
from shared.moments import Span, span

CAUSALITIES: Final[tuple[Causality, ...]] = ("not_related", "unlikely", "possible", "probable", "definite")
_SEVERITIES: Final[tuple[Severity, ...]] = ("mild", "moderate", "severe")
_DEATH: Final = 5
_LIFE: Final = frozenset({"death", "life_threatening"})
_WORST_FIRST: Final[tuple[EventOutcome, ...]] = (
    "fatal",
    "not_recovered",
    "unknown",
    "recovering",
    "recovered_with_sequelae",
    "recovered",
)
_FINAL: Final = frozenset({"fatal", "recovered_with_sequelae", "recovered"})
_CONCERNING: Final = EventUpdated | EventResolved | EventAssessed | Died | MedicationGiven


@dataclass(frozen=True, slots=True)
class Statement:
    """A live, sealed statement about a participant: where it stands in the log, and what it says."""

    index: int
    leaf: str
    event_id: str
    type: str
    source: str
    sealed_at: str
    data: Data


@dataclass(frozen=True, slots=True)
class Stretch:
    """A grade and when it began; None: not stated. It lasts until the next one.

    Where nobody ever graded the adverse event, its severity stands here as 1 to 3 (``AdverseEvent.by_severity``).
    """

    since: Span | None
    grade: int | None
    index: int


@dataclass(frozen=True, slots=True)
class View:
    """What one side says: causality, and the criteria of seriousness that are met (None: not stated)."""

    causality: Causality | None = None
    serious: tuple[Seriousness, ...] | None = None


@dataclass(frozen=True, slots=True)
class AdverseEvent:
    """One adverse event. ``statements`` are those it rests on, in log order.

    ``stretches`` are in order of time, the first from the onset on. ``aware`` is when the site first knew.
    ``contradicted`` are resolutions that cannot all be right. ``reopened`` are statements by which it goes on, or
    could go on, after it was said to have ended: it has no end then.
    """

    ae: str
    report: EventReported
    onset: Span | None
    ended: Span | None
    outcome: EventOutcome | None
    stretches: tuple[Stretch, ...]
    investigator: View
    sponsor: View
    sponsor_expected: Answer | None
    treated: Answer | None
    fatal: bool
    aware: Span | None
    statements: tuple[Statement, ...]
    contradicted: tuple[Statement, ...] = ()
    reopened: tuple[Statement, ...] = ()

    @property
    def name(self) -> str:
        """The preferred term where it is coded, else the reported term."""
        return self.report.preferred_term or self.report.term

    @property
    def names(self) -> frozenset[str]:
        """Every name it goes by, for comparing with a list of terms."""
        return frozenset(
            text.casefold() for text in (self.report.term, self.report.preferred_term) if text is not None
        )

    @property
    def by_severity(self) -> bool:
        """Whether it is told as mild, moderate or severe (here 1 to 3), and nobody ever graded it."""
        return _by_severity([one.data for one in self.statements])

    @property
    def grade(self) -> int | None:
        """The highest grade it ever had; 5 when it was fatal in a trial that grades by CTCAE."""
        grades = [stretch.grade for stretch in self.stretches if stretch.grade is not None]
        if self.fatal and not self.by_severity:
            return _DEATH
        return max(grades, default=None)

    @property
    def criteria(self) -> frozenset[Seriousness]:
        """Why it is serious, in either view; empty when it is not."""
        met = {*(self.investigator.serious or ()), *(self.sponsor.serious or ())}
        return frozenset(met | ({"death"} if self.fatal else set()))

    @property
    def serious(self) -> bool:
        """Serious in the investigator's or the sponsor's view."""
        return bool(self.criteria)

    @property
    def first_serious(self) -> Statement | None:
        """The site's first statement by which it is serious; None: only the sponsor says so, or nobody does."""
        return next((one for one in self.statements if _makes_serious(one.data)), None)

    @property
    def fatal_or_life_threatening(self) -> bool:
        """What the short clocks are for."""
        return bool(self.criteria & _LIFE)

    def related(self, at_least: Causality) -> bool:
        """Whether either view is ``at_least`` that; while nobody has said anything, it counts as related."""
        views = [view for view in (self.investigator.causality, self.sponsor.causality) if view is not None]
        limit = CAUSALITIES.index(at_least)
        return not views or any(CAUSALITIES.index(view) >= limit for view in views)


def adverse_events(statements: Iterable[Statement], zone: ZoneInfo) -> list[AdverseEvent]:
    """Every adverse event that was reported, in order of their numbers. ``statements`` are in log order.

    Of several reports under one number the first counts (the others are queried); what is said of a number that
    nobody has reported waits for its report. A sponsor's date is read in the site's time zone as well.
    """
    reports: dict[str, Statement] = {}
    said: dict[str, list[Statement]] = defaultdict(list)
    for one in sorted(statements, key=lambda one: one.index):
        if isinstance(one.data, EventReported):
            reports.setdefault(one.data.ae, one)
        elif isinstance(one.data, _CONCERNING) and one.data.ae is not None:
            said[one.data.ae].append(one)
    return [_put_together(ae, reports[ae], said[ae], zone) for ae in sorted(reports)]


def _put_together(ae: str, first: Statement, later: Sequence[Statement], zone: ZoneInfo) -> AdverseEvent:
    report = first.data
    assert isinstance(report, EventReported)
    about = [first, *later]
    updates = sorted(
        ((one, one.data) for one in about if isinstance(one.data, EventUpdated)),
        key=lambda update: (span(update[1].on, zone).first, update[0].index),
    )
    resolved = [(one, one.data) for one in about if isinstance(one.data, EventResolved)]
    assessed = [one.data for one in about if isinstance(one.data, EventAssessed)]
    stretches = tuple(_stretches(first, report, updates, zone))
    ended, outcome = _ending(report, [data for _, data in resolved], zone)
    reopened = () if outcome == "fatal" else tuple(_reopening(ended, stretches[1:], about, zone))
    criteria = [report.serious, *(update.serious for _, update in updates)]
    stated = [one for one in criteria if one is not None]
    causalities = [report.causality, *(update.causality for _, update in updates)]
    sponsor = View(
        causality=next((one.causality for one in reversed(assessed) if one.causality is not None), None),
        serious=next((tuple(sorted(one.serious)) for one in reversed(assessed) if one.serious is not None), None),
    )
    fatal = (
        outcome == "fatal"
        or any("death" in one for one in stated)
        or any(grade == _DEATH for grade in (report.grade, *(update.grade for _, update in updates)))
        or any(isinstance(one.data, Died) for one in about)
        or "death" in (sponsor.serious or ())
    )
    awareness = [span(data.aware, zone) for data in (report, *(u for _, u in updates)) if data.aware is not None]
    return AdverseEvent(
        ae=ae,
        report=report,
        onset=None if report.onset is None else span(report.onset, zone),
        ended=None if reopened else ended,
        outcome=outcome,
        stretches=stretches,
        investigator=View(
            causality=next((one for one in reversed(causalities) if one is not None), None),
            serious=tuple(sorted({name for one in stated for name in one})) if stated else None,
        ),
        sponsor=sponsor,
        sponsor_expected=next((one.expected for one in reversed(assessed) if one.expected is not None), None),
        treated=_answer([report.treated, *(update.treated for _, update in updates)]) or _medicated(about),
        fatal=fatal,
        aware=min(awareness, key=lambda moment: moment.first, default=None),
        statements=tuple(sorted(about, key=lambda one: one.index)),
        contradicted=tuple(_contradicted(report, resolved, zone)),
        reopened=reopened,
    )


def _ending(
    report: EventReported, resolved: Sequence[EventResolved], zone: ZoneInfo
) -> tuple[Span | None, EventOutcome | None]:
    """When it ended and how: a fatal outcome stands until it is set right, else the latest stands.

    Of one day the worse outcome stands; which statement arrived first never matters.
    """
    ended = None if report.ended is None else span(report.ended, zone)
    if not resolved:
        return ended, report.outcome
    last = max(resolved, key=lambda data: _standing(data, zone))
    if report.outcome == "fatal" and last.outcome != "fatal":
        return ended, "fatal"
    return span(last.on, zone) if last.outcome in _FINAL else ended, last.outcome


def _standing(data: EventResolved, zone: ZoneInfo) -> tuple[bool, datetime, int, datetime, str]:
    on = span(data.on, zone)
    return data.outcome == "fatal", on.first, -_WORST_FIRST.index(data.outcome), on.end, data.on


def _contradicted(
    report: EventReported, resolved: Sequence[tuple[Statement, EventResolved]], zone: ZoneInfo
) -> Iterator[Statement]:
    """The resolutions that another one contradicts: a final outcome, and another that was not surely before it.

    A report that says fatal leaves room for no other outcome.
    """
    for one, mine in resolved:
        others = (other for _, other in resolved if other.outcome != mine.outcome)
        fatal = report.outcome == "fatal" and mine.outcome != "fatal"
        if fatal or any(_contradict(mine, other, zone) for other in others):
            yield one


def _contradict(one: EventResolved, other: EventResolved, zone: ZoneInfo) -> bool:
    finals = [data for data in (one, other) if data.outcome in _FINAL]
    if len(finals) != 1:
        return len(finals) == 2
    before = other if finals[0] is one else one
    return span(before.on, zone).end > span(finals[0].on, zone).first


def _reopening(
    ended: Span | None, changes: Sequence[Stretch], about: Sequence[Statement], zone: ZoneInfo
) -> Iterator[Statement]:
    """What was said of a time that could be after the end: a grade, or that it has not ended. A death is an end."""
    if ended is None:
        return
    changed = {change.index for change in changes if change.grade != _DEATH}
    for one in about:
        lasting = isinstance(one.data, EventResolved) and one.data.outcome in {"not_recovered", "recovering"}
        if (
            isinstance(one.data, EventUpdated | EventResolved)
            and (lasting or one.index in changed)
            and span(one.data.on, zone).end > ended.first
        ):
            yield one


def _makes_serious(data: Data) -> bool:
    if isinstance(data, Died):
        return True
    if isinstance(data, EventResolved):
        return data.outcome == "fatal"
    if not isinstance(data, EventReported | EventUpdated):
        return False
    fatal = isinstance(data, EventReported) and data.outcome == "fatal"
    return bool(data.serious) or data.grade == _DEATH or fatal


def _medicated(about: Sequence[Statement]) -> Answer | None:
    """A medication that was given for it says that it was treated, where nobody says anything else."""
    return "yes" if any(isinstance(one.data, MedicationGiven) for one in about) else None


def _stretches(
    first: Statement, report: EventReported, updates: Sequence[tuple[Statement, EventUpdated]], zone: ZoneInfo
) -> Iterator[Stretch]:
    onset = None if report.onset is None else span(report.onset, zone)
    by_severity = _by_severity([report, *(update for _, update in updates)])
    yield Stretch(onset, _rank(report, by_severity=by_severity), first.index)
    for statement, update in updates:
        rank = _rank(update, by_severity=by_severity)
        if rank is not None:
            yield Stretch(span(update.on, zone), rank, statement.index)


def _by_severity(said: Iterable[Data]) -> bool:
    course = [data for data in said if isinstance(data, EventReported | EventUpdated)]
    graded = any(data.grade is not None for data in course)
    return not graded and any(data.severity is not None for data in course)


def _rank(data: EventReported | EventUpdated, *, by_severity: bool) -> int | None:
    """The grade; never a severity in its place where there is a grade, for the two are different scales."""
    if not by_severity:
        return data.grade
    return None if data.severity is None else _SEVERITIES.index(data.severity) + 1


def _answer(answers: Sequence[Answer | None]) -> Answer | None:
    """Yes when anybody ever said yes; otherwise what was said last."""
    said = [answer for answer in answers if answer is not None]
    return "yes" if "yes" in said else (said[-1] if said else None)
