"""An adverse event as it is known: report, updates, resolution, the sponsor's assessments, a death; put together.

What is known is a function of the live statements alone, so a correction and its reversal leave nothing behind.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
_LIFE: Final = frozenset({"death", "life_threatening"})


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
    """A grade (or a severity, as 1 to 3) and when it began; None: not stated. It lasts until the next one."""

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
        """Whether it is told as mild, moderate or severe (here 1 to 3), and not graded."""
        return self.report.severity is not None

    @property
    def grade(self) -> int | None:
        """The highest grade it ever had; 5 when it was fatal in a trial that grades by CTCAE."""
        grades = [stretch.grade for stretch in self.stretches if stretch.grade is not None]
        if self.fatal and not self.by_severity:
            return 5
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
    known = sorted(statements, key=lambda one: one.index)
    reports: dict[str, Statement] = {}
    for one in known:
        if isinstance(one.data, EventReported):
            reports.setdefault(one.data.ae, one)
    return [_put_together(ae, reports[ae], known, zone) for ae in sorted(reports)]


def _put_together(ae: str, first: Statement, known: Sequence[Statement], zone: ZoneInfo) -> AdverseEvent:
    report = first.data
    assert isinstance(report, EventReported)
    about = [first, *(one for one in known if _concerns(one.data, ae))]
    updates = sorted(
        ((one, one.data) for one in about if isinstance(one.data, EventUpdated)),
        key=lambda update: (span(update[1].on, zone).first, update[0].index),
    )
    resolved = [one.data for one in about if isinstance(one.data, EventResolved)]
    assessed = [one.data for one in about if isinstance(one.data, EventAssessed)]
    ended, outcome = report.ended, report.outcome
    if resolved:
        last = max(resolved, key=lambda data: span(data.on, zone).first)
        outcome = last.outcome
        if last.outcome in {"recovered", "recovered_with_sequelae", "fatal"}:
            ended = last.on
    criteria = [report.serious, *(update.serious for _, update in updates)]
    stated = [one for one in criteria if one is not None]
    causalities = [report.causality, *(update.causality for _, update in updates)]
    fatal = (
        outcome == "fatal"
        or any("death" in one for one in stated)
        or any(grade == 5 for grade in (report.grade, *(update.grade for _, update in updates)))
        or any(isinstance(one.data, Died) for one in about)
    )
    awareness = [span(data.aware, zone) for data in (report, *(u for _, u in updates)) if data.aware is not None]
    return AdverseEvent(
        ae=ae,
        report=report,
        onset=None if report.onset is None else span(report.onset, zone),
        ended=None if ended is None else span(ended, zone),
        outcome=outcome,
        stretches=tuple(_stretches(first, report, updates, zone)),
        investigator=View(
            causality=next((one for one in reversed(causalities) if one is not None), None),
            serious=tuple(sorted({name for one in stated for name in one})) if stated else None,
        ),
        sponsor=View(
            causality=next((one.causality for one in reversed(assessed) if one.causality is not None), None),
            serious=next(
                (tuple(sorted(one.serious)) for one in reversed(assessed) if one.serious is not None), None
            ),
        ),
        sponsor_expected=next((one.expected for one in reversed(assessed) if one.expected is not None), None),
        treated=_answer([report.treated, *(update.treated for _, update in updates)]) or _medicated(about),
        fatal=fatal,
        aware=min(awareness, key=lambda moment: moment.first, default=None),
        statements=tuple(sorted({one.index: one for one in about}.values(), key=lambda one: one.index)),
    )


def _makes_serious(data: Data) -> bool:
    if isinstance(data, Died):
        return True
    if isinstance(data, EventResolved):
        return data.outcome == "fatal"
    if not isinstance(data, EventReported | EventUpdated):
        return False
    fatal = isinstance(data, EventReported) and data.outcome == "fatal"
    return bool(data.serious) or data.grade == 5 or fatal


def _concerns(data: Data, ae: str) -> bool:
    kinds = EventUpdated | EventResolved | EventAssessed | Died | MedicationGiven
    return isinstance(data, kinds) and data.ae == ae


def _medicated(about: Sequence[Statement]) -> Answer | None:
    """A medication that was given for it says that it was treated, where nobody says anything else."""
    return "yes" if any(isinstance(one.data, MedicationGiven) for one in about) else None


def _stretches(
    first: Statement, report: EventReported, updates: Sequence[tuple[Statement, EventUpdated]], zone: ZoneInfo
) -> Iterator[Stretch]:
    onset = None if report.onset is None else span(report.onset, zone)
    yield Stretch(onset, _rank(report.grade, report.severity), first.index)
    for statement, update in updates:
        rank = _rank(update.grade, update.severity)
        if rank is not None:
            yield Stretch(span(update.on, zone), rank, statement.index)


def _rank(grade: int | None, severity: Severity | None) -> int | None:
    if grade is not None:
        return grade
    return None if severity is None else _SEVERITIES.index(severity) + 1


def _answer(answers: Sequence[Answer | None]) -> Answer | None:
    """Yes when anybody ever said yes; otherwise what was said last."""
    said = [answer for answer in answers if answer is not None]
    return "yes" if "yes" in said else (said[-1] if said else None)
