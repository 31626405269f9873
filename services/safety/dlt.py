"""A participant's window for dose-limiting toxicity: open, closed clean, closed by a toxicity, or not evaluable.

What counts is the trial's (``DoseLimits``). What is not known counts against the dose: a date that could go
either way, a causality that nobody has stated. What could still turn out either way keeps the window open. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, Stretch
from services.safety.emergence import FATAL, Window, course, death, listed, told
from shared.events.safety_decisions import WindowState
from shared.moments import Span, instant, midnight
from shared.protocol.safety import Death, DoseLimits, LastingCytopenia, NonHaematological, ToxicTerm

_DAY: Final = timedelta(days=1)
_MOST_LINES: Final = 59
_MOST_NAMES: Final = 30
_UNSAID: Final = "nobody has said whether it is related, so it counts as related"


@dataclass(frozen=True, slots=True)
class Judged:
    """How the window stands. ``evidence``: log indices of what was said of the adverse events in ``arithmetic``.

    ``first_day`` is the day of the first exposure, ``last_day`` the last on which a toxicity counts, both in the
    site's time zone. ``toxicities`` are names, each once; of more than 30 the last says how many more there are. Of
    more lines than a decision holds, those that decide come first and the last is always the conclusion.
    """

    state: WindowState
    first_day: date
    last_day: date
    toxicities: tuple[str, ...]
    arithmetic: tuple[str, ...]
    evidence: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one adverse event, or one measured term, comes to under one limit."""

    verdict: Literal["dlt", "pending", "excepted"]
    name: str
    line: str
    evidence: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """What every limit is judged by."""

    window: Window
    limits: DoseLimits
    last_day: date
    today: date

    @property
    def zone(self) -> ZoneInfo:
        return self.window.zone

    def has_limit_of_its_own(self, event: AdverseEvent) -> bool:
        """Whether the event is of a term that another limit names, or haematological."""
        own = [one.terms for one in self.limits.limits if isinstance(one, ToxicTerm | LastingCytopenia)]
        classes = {name.casefold() for name in self.limits.haematological_classes}
        return (
            any(_named(event, terms) for terms in [*own, self.limits.haematological_terms])
            or (event.report.system_organ_class or "").casefold() in classes
        )

    def found(self, event: AdverseEvent, what: str, limit: str) -> _Finding:
        """A toxicity, unless the event is not related."""
        related = event.related(self.limits.related_from)
        line = f"{_who(event)}: {what}; {_relation(event)}; " + (
            f"dose-limiting: {limit}" if related else "not dose-limiting, because it is not related"
        )
        return _Finding("dlt" if related else "excepted", event.name, line, _indices(event))


def judge(
    events: Sequence[AdverseEvent],
    exposure: Span,
    limits: DoseLimits,
    zone: ZoneInfo,
    *,
    today: date,
    ended: Span | None,
    died: Span | None,
    cytopenia: Mapping[str, int | None],
) -> Judged:
    """How a participant's window stands on ``today``, the sealed day in the site's ``zone``.

    The day of the first exposure is day 0; the window closes after ``limits.last_day``. ``ended``: the participant
    left the trial or was lost; ``died``: of whatever. ``cytopenia``: by CTCAE term the grade (0: none) that the
    last measurement on or before the last day comes to; None for a term that is measured, but was not until then,
    on which the window waits; a term that is left out is not waited for. The order of ``events`` does not
    matter.
    """
    window = Window(exposure, 0, limits.last_day, zone)
    first, latest = exposure.days(zone)
    last = latest + limits.last_day * _DAY
    case = _Case(window, limits, last, today)
    ordered = sorted(events, key=lambda event: event.ae)
    gone: list[tuple[str, Span | None]] = [
        (what, when) for what, when in (("died", died), ("left the trial", ended)) if when is not None
    ]
    if died is None:  # a fatal adverse event is a death, whether or not its safety.died has come
        gone += [("died", fatal.since) for event in ordered if (fatal := death(event, zone)) is not None]
    findings = [finding for event in ordered for finding in _of_event(event, case)]
    findings += _unexplained(ordered, died, case)
    if today > last and all(when is not None and when.days(zone)[1] >= last for _, when in gone):
        findings += _at_the_end(ordered, cytopenia, case)
    dlts = tuple(dict.fromkeys(finding.name for finding in findings if finding.verdict == "dlt"))
    left = [(what, when) for what, when in gone if when is None or when.days(zone)[0] <= last]
    state: WindowState
    if dlts:
        state, conclusion = "dlt", f"a dose-limiting toxicity in {window.name}, {first} to {last}"
    elif any(finding.verdict == "pending" for finding in findings):
        state, conclusion = "open", f"{window.name}, {first} to {last}, stays open until this is known"
    elif left:
        what, when = left[0]
        gone_line = window.tell(what, when)
        state, conclusion = "not_evaluable", f"{gone_line}, so {window.name} was not certainly completed"
    elif today <= last:
        state, conclusion = "open", f"{window.name}, {first} to {last}: no dose-limiting toxicity so far"
    else:
        state, conclusion = "clean", f"{window.name}, {first} to {last}: completed without a dose-limiting toxicity"
    return Judged(
        state=state,
        first_day=first,
        last_day=last,
        toxicities=_cut(dlts, _MOST_NAMES),
        arithmetic=(*_cut(_lines(findings), _MOST_LINES), conclusion),
        evidence=tuple(sorted({index for finding in findings for index in finding.evidence})),
    )


def _lines(findings: Sequence[_Finding]) -> list[str]:
    if len(findings) > _MOST_LINES:
        findings = sorted(findings, key=lambda finding: ("dlt", "pending", "excepted").index(finding.verdict))
    return [finding.line for finding in findings]


def _cut(texts: Sequence[str], most: int) -> tuple[str, ...]:
    if len(texts) <= most:
        return tuple(texts)
    return (*texts[: most - 1], f"and {len(texts) - most + 1} more")


def _unexplained(events: Sequence[AdverseEvent], died: Span | None, case: _Case) -> Iterator[_Finding]:
    """A death that could lie in the window and that no adverse event explains: it could have been a toxicity."""
    limited = any(not isinstance(limit, LastingCytopenia) for limit in case.limits.limits)
    if died is None or not limited or any(event.fatal for event in events):
        return
    if case.window.place(died) is not False:
        line = (
            f"{case.window.tell('died', died)}; no adverse event explains it, and death from a related one would "
            "be dose-limiting: report what led to it, and name it in the death"
        )
        yield _Finding("pending", "death", line)


def _of_event(event: AdverseEvent, case: _Case) -> Iterator[_Finding]:
    """What one adverse event comes to; nothing where it reaches no limit, or lies outside the window."""
    stretches = _grades(event, case.zone)
    for limit in case.limits.limits:
        if isinstance(limit, ToxicTerm) and _named(event, limit.terms):
            yield from _graded(event, stretches, limit, f"{limit.name} of grade {limit.grade} or more", case)
        elif isinstance(limit, NonHaematological):
            if not case.has_limit_of_its_own(event):
                yield from _graded(event, stretches, limit, f"grade {limit.grade} or more", case)
        elif isinstance(limit, Death):
            fatal = death(event, case.zone)
            if fatal is not None and case.window.place(fatal.since) is not False:
                yield case.found(event, case.window.tell("fatal", fatal.since), "death from an adverse event")


def _graded(
    event: AdverseEvent,
    stretches: Sequence[Stretch],
    limit: ToxicTerm | NonHaematological,
    words: str,
    case: _Case,
) -> Iterator[_Finding]:
    window = case.window
    for start, end in _runs(stretches, limit.grade):
        rises = [
            stretches[at]
            for at in range(start, end)
            if (at == 0 or (stretches[at - 1].grade or 0) < (stretches[at].grade or 0))
            and window.place(stretches[at].since) is not False
        ]
        if not rises:
            continue
        since = window.tell(f"grade {rises[0].grade} from", rises[0].since)
        finding = case.found(event, since, words)
        if finding.verdict == "dlt" and isinstance(limit, NonHaematological) and limit.unless_shorter_than_hours:
            after = stretches[end].since if end < len(stretches) else event.ended
            fatal = any(stretch.grade == FATAL for stretch in stretches[start:end])
            if not fatal:
                finding = _unless_short(
                    event, finding, stretches[start], after, limit.unless_shorter_than_hours, case
                )
        yield finding
    if _ungraded(stretches) and window.place(event.onset) is not False and event.related(case.limits.related_from):
        unstated = "it has a severity and no grade" if event.by_severity else "its grade is not stated"
        line = (
            f"{_who(event)}: {window.tell('from', event.onset)}; {_relation(event)}; {unstated}, "
            f"and {words} would be dose-limiting: send the grade"
        )
        yield _Finding("pending", event.name, line, _indices(event))


def _grades(event: AdverseEvent, zone: ZoneInfo) -> tuple[Stretch, ...]:
    """The course by grades alone: a severity says nothing of them."""
    stretches = course(event, zone)
    if not event.by_severity:
        return stretches
    return (replace(stretches[0], grade=None), *(one for one in stretches if one.grade == FATAL))


def _runs(stretches: Sequence[Stretch], grade: int) -> Iterator[tuple[int, int]]:
    """Where the course was at ``grade`` or more without interruption: first stretch, and the one after the last."""
    start = None
    for at, stretch in enumerate(stretches):
        if (stretch.grade or 0) >= grade:
            start = at if start is None else start
        elif start is not None:
            yield start, at
            start = None
    if start is not None:
        yield start, len(stretches)


def _ungraded(stretches: Sequence[Stretch]) -> bool:
    """Whether the grade from the onset on is unknown, and not stated by an update of the same moment either."""
    first = stretches[0]
    return first.grade is None and all(one.since is None or one.since != first.since for one in stretches[1:])


def _unless_short(
    event: AdverseEvent, finding: _Finding, began: Stretch, after: Span | None, hours: int, case: _Case
) -> _Finding:
    """The finding under the exception for what certainly lasted less than so many hours, with treatment."""
    limit = timedelta(hours=hours)
    if after is None:
        sealed = next(one.sealed_at for one in event.statements if one.index == began.index)
        latest = instant(sealed) if began.since is None else began.since.end
        if midnight(case.today, case.zone) - latest < limit:
            line = f"{_who(event)}: not known to be over, and {hours} h may not have passed: the window waits"
            return _Finding("pending", event.name, line, finding.evidence)
        return _more(finding, f"it lasted {hours} h or more, as far as is known")
    if began.since is None:
        return _more(finding, f"nobody has stated when it began, so it counts as {hours} h or more")
    over = told(after, case.zone)
    if after.end - began.since.first > limit:
        return _more(finding, f"until {over}, which could be {hours} h or more")
    if event.treated != "yes":
        return _more(finding, f"until {over}, less than {hours} h, but nobody has said that it was treated")
    line = f"{_who(event)}: until {over}, certainly less than {hours} h, and treated: not dose-limiting"
    return _Finding("excepted", event.name, line, finding.evidence)


def _at_the_end(
    events: Sequence[AdverseEvent], cytopenia: Mapping[str, int | None], case: _Case
) -> Iterator[_Finding]:
    """What the cells come to at the end of the last day, by adverse events and by measurements: either suffices."""
    measured = {term.casefold(): grade for term, grade in cytopenia.items()}
    standing = [(event, grade) for event in events if (grade := _grade_at_the_end(event, case)) is not None]
    for limit in case.limits.limits:
        if isinstance(limit, LastingCytopenia):
            for event, grade in standing:
                answered = any(measured.get(name) is not None for name in event.names)
                if _named(event, limit.terms) and (grade >= limit.grade or (grade == 0 and not answered)):
                    yield _lasting(event, grade, limit, case)
            for term in limit.terms:
                about = [(event, grade) for event, grade in standing if _named(event, (term,))]
                if term.casefold() in measured:
                    yield from _measured(term, measured[term.casefold()], about, limit, case)


def _grade_at_the_end(event: AdverseEvent, case: _Case) -> int | None:
    """The highest grade that could stand at the end of the last day; 0: not stated; None: it was not there."""
    end = midnight(case.last_day + _DAY, case.zone)
    if event.ended is not None and event.ended.end <= end:
        return None
    standing: list[int] = []
    for stretch in _grades(event, case.zone):
        if stretch.since is None or stretch.since.first < end:
            surely = stretch.since is not None and stretch.since.end <= end
            standing = [*([] if surely else standing), stretch.grade or 0]
    return max(standing, default=None)


def _lasting(event: AdverseEvent, grade: int, limit: LastingCytopenia, case: _Case) -> _Finding:
    what = f"grade {grade or 'not stated'} at the end of {case.last_day}, day {case.limits.last_day}"
    if event.report.leukaemia == "yes":
        line = f"{_who(event)}: {what}; the leukaemia explains it, so it is not dose-limiting"
        return _Finding("excepted", event.name, line, _indices(event))
    finding = case.found(event, what, f"grade {limit.grade} or more on the last day")
    if grade == 0 and finding.verdict == "dlt":
        line = f"{_who(event)}: {what}; grade {limit.grade} or more would be dose-limiting: send the grade"
        return _Finding("pending", event.name, line, finding.evidence)
    return finding


def _measured(
    term: str,
    grade: int | None,
    about: Sequence[tuple[AdverseEvent, int]],
    limit: LastingCytopenia,
    case: _Case,
) -> Iterator[_Finding]:
    """What a measured term comes to; ``about``: the adverse events of this term at the end of the last day."""
    evidence = tuple(index for event, _ in about for index in _indices(event))
    if grade is None:
        line = f"{term}: not measured on or before {case.last_day}, the last day"
        stated = [f"{_who(event)} was then at grade {known}" for event, known in about if known]
        if stated:
            yield _Finding("excepted", term, f"{line}; {listed(stated)}", evidence)
        else:
            yield _Finding("pending", term, f"{line}: send a measurement")
        return
    line = f"{term}: grade {grade} by the last measurement on or before {case.last_day}, the last day"
    if grade < limit.grade:
        yield _Finding("excepted", term, f"{line}, below grade {limit.grade}")
    elif any(event.report.leukaemia == "yes" for event, _ in about):
        yield _Finding("excepted", term, f"{line}; the leukaemia explains it, so it is not dose-limiting", evidence)
    elif about and not any(event.related(case.limits.related_from) for event, _ in about):
        said = listed([f"{_who(event)}: {_relation(event)}" for event, _ in about])
        yield _Finding("excepted", term, f"{line}; {said}; not dose-limiting, because it is not related", evidence)
    else:
        related = (event for event, _ in about if event.related(case.limits.related_from))
        because = next((_relation(event) for event in related), _UNSAID)
        yield _Finding("dlt", term, f"{line}; {because}; dose-limiting: grade {limit.grade} or more", evidence)


def _relation(event: AdverseEvent) -> str:
    views = (("investigator", event.investigator.causality), ("sponsor", event.sponsor.causality))
    said = [f"{who}: {view.replace('_', ' ')}" for who, view in views if view is not None]
    return ", ".join(said) or _UNSAID


def _named(event: AdverseEvent, terms: Sequence[str]) -> bool:
    return any(term.casefold() in event.names for term in terms)


def _who(event: AdverseEvent) -> str:
    return f"adverse event {event.ae}, {event.name}"


def _indices(event: AdverseEvent) -> tuple[int, ...]:
    return tuple(statement.index for statement in event.statements)


def _more(finding: _Finding, words: str) -> _Finding:
    return replace(finding, line=f"{finding.line}; {words}")
