"""A participant as the safety service sees them now: an answer to every question there is. Pure.

The answers are a function of what is live and of the sealed time alone; only a clock remembers, so that it never
runs longer than it did. Whoever compares them with what was issued before knows what is new.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, Statement
from services.safety.classification import Classified, classify
from services.safety.clocks import Clock, overdue, ran_out, site_in_time
from services.safety.dlt import Judged, judge
from services.safety.measurements import Graded, item_courses, measured_terms
from services.safety.participant import Participant, StoredStatement, TermGrade
from services.safety.queries import Query, of_terms, queries
from services.safety.reports import doubtful_reports, reports
from services.safety.trial import Answer, Member, Rules, cite
from shared.events.safety import Died, EventResolved, EventUpdated
from shared.moments import Span, instant, midnight, span
from shared.protocol.safety import DoseLimits, LastingCytopenia


@dataclass(frozen=True, slots=True)
class Deviation:
    """A broken rule, told once: its key within the participant, the rule's name, the sentence, and its evidence."""

    key: str
    rule: str
    text: str
    about: tuple[Statement | StoredStatement, ...]


@dataclass(frozen=True, slots=True)
class Assessed:
    """Every answer about a participant, the clocks behind them, the DLT window, and rules that were broken."""

    answers: list[Answer]
    clocks: dict[str, Clock]
    classified: list[Classified]
    window: Judged | None
    deviations: list[Deviation] = field(default_factory=list)
    serious_since: dict[str, str] = field(default_factory=dict)


def assess(participant: Participant, rules: Rules, zone: ZoneInfo, sealed_at: str, *, tick: bool) -> Assessed:
    """Answer every question about a participant as of a sealed time; a clock that ran out is overdue at a tick."""
    events = participant.events(zone)
    exposure = participant.exposure(zone)
    classified = [classify(event, exposure, rules, zone) for event in events]
    owed = reports(_ticked(participant, sealed_at) if tick else participant, classified, exposure, rules, zone)
    window = _window(participant, events, rules, zone, sealed_at)
    answers = [
        *(one.answer for one in classified),
        *grade_answers(participant.grades.values()),
        *_disputes(participant, events, zone),
        *owed.answers,
        *(query.answer(participant.source) for query in queries(participant, events, exposure, zone)),
        *(_doubtful(record, why) for record, why in doubtful_reports(participant, owed.clocks, events, rules)),
    ]
    if window is not None:
        answers.append(_window_answer(participant, window, zone))
    told = {one.ae: one.first_serious.sealed_at for one in events if one.first_serious is not None}
    since = told | participant.serious_since
    deviations = list(_late(events, since, rules, zone))
    return Assessed(answers, owed.clocks, classified, window, deviations, since)


def assess_terms(participant: Participant, terms: Container[str]) -> list[Answer]:
    """Answer what measurements alone decide: these terms' grades (case-folded), and what to ask about them."""
    grades = [known for term, known in sorted(participant.grades.items()) if term.casefold() in terms]
    asked = [query.answer(participant.source) for query in of_terms(participant.event_names, grades)]
    return [*grade_answers(grades), *asked]


def term_questions(participant: Participant, terms: Container[str]) -> list[str]:
    """The questions about these terms that were answered before."""
    names = [term for term in sorted(participant.grades) if term.casefold() in terms]
    asked = [
        f"{question} {term}{what}"
        for term in names
        for question, what in (("grade", ""), ("query", " not reported"), ("query", " not gradable"))
    ]
    return [question for question in asked if question in participant.issued]


def grade_answers(grades: Iterable[TermGrade]) -> Iterator[Answer]:
    """What measurements come to, term by term; nothing of a term that never came to a grade."""
    for known in grades:
        if known.worst:
            content = {"term": known.term, "scale": known.scale, "grade": known.latest, "worst": known.worst}
            yield Answer(
                f"grade {known.term}",
                "safety.grade_proposed",
                content,
                known.arithmetic,
                cite(*known.evidence),
                superseding=False,
                beside={"at": known.latest_at},
                label=known.scale,
            )


def _ticked(participant: Participant, sealed_at: str) -> Participant:
    now = instant(sealed_at)
    clocks = {key: overdue(one) if ran_out(one, now) else one for key, one in participant.clocks.items()}
    return participant.model_copy(update={"clocks": clocks})


def _disputes(participant: Participant, events: Sequence[AdverseEvent], zone: ZoneInfo) -> Iterator[Answer]:
    """Where the investigator's grade is not the one that the measurements of the same time come to."""
    exposure = participant.exposure(zone)
    by_name = {known.term.casefold(): known for known in participant.grades.values()}
    for event in events:
        known = next((by_name[name] for name in sorted(event.names) if name in by_name), None)
        if known is None or event.report.grade is None or event.grade is None or exposure is None:
            continue
        courses = item_courses(participant, known.item, exposure[1], zone)
        points = [
            point
            for course in courses
            if course.term == known.term
            for point in course.within(event.onset, event.ended)
            if point.proposal.grade is not None
        ]
        if not points:
            continue
        worst = max(points, key=lambda point: (point.proposal.grade or 0, -point.statement.index))
        if worst.proposal.grade == event.grade or event.fatal:  # no measurement comes to grade 5
            continue
        content = {
            "ae": event.ae,
            "term": known.term,
            "scale": known.scale,
            "investigator": event.grade,
            "proposed": worst.proposal.grade,
        }
        yield Answer(
            f"dispute {event.ae}",
            "safety.grade_disputed",
            content,
            [f"the investigator: grade {event.grade}", worst.proposal.arithmetic],
            cite(*event.statements, worst.statement),
            superseding=False,
            label=known.term,
        )


def _window(
    participant: Participant, events: Sequence[AdverseEvent], rules: Rules, zone: ZoneInfo, sealed_at: str
) -> Judged | None:
    """The window for dose-limiting toxicity, of who was infused in a trial that has cohorts."""
    limits, infusion = rules.plan.dose_limits, participant.first_infusion(zone)
    if limits is None or infusion is None:
        return None
    first = infusion[2]
    left, died = participant.left(zone), participant.died(zone)
    return judge(
        events,
        first,
        limits,
        zone,
        today=instant(sealed_at).astimezone(zone).date(),
        ended=None if left is None else left[1],
        died=None if died is None else died[1],
        cytopenia=_cells(participant, limits, first, zone),
    )


def _cells(participant: Participant, limits: DoseLimits, exposure: Span, zone: ZoneInfo) -> dict[str, int | None]:
    """The last measured grade in the window of each measured term that a lasting cytopenia is told by.

    None where nothing was measured until then: without its counts no window closes clean.
    """
    end = midnight(exposure.days(zone)[0] + timedelta(days=limits.last_day + 1), zone)
    named = {name.casefold() for one in limits.limits if isinstance(one, LastingCytopenia) for name in one.terms}
    found: dict[str, int | None] = {term: None for term in sorted(measured_terms()) if term.casefold() in named}
    for known in participant.grades.values():
        if known.term.casefold() not in named:
            continue
        for course in item_courses(participant, known.item, exposure, zone):
            if course.term == known.term:
                found[known.term] = _last_grade([point for point in course.points if point.when.first < end])
    return found


def _last_grade(points: Sequence[Graded]) -> int | None:
    """The gravest that the last of these values could come to; None where one that could be it tells nothing."""
    latest = max((point.when.first for point in points), default=None)
    if latest is None:
        return None
    # Of a grade that cannot be told, the highest that it could be is what might limit the dose.
    last = [
        point.proposal.most if point.proposal.grade is None else point.proposal.grade
        for point in points
        if point.when.end > latest
    ]
    certain = [grade for grade in last if grade is not None]
    return max(certain) if len(certain) == len(last) else None


def _window_answer(participant: Participant, window: Judged, zone: ZoneInfo) -> Answer:
    infusion = participant.first_infusion(zone)
    assert infusion is not None
    record, data, _ = infusion
    content = {
        "dose_level": data.dose_level,
        "state": window.state,
        "first_day": window.first_day.isoformat(),
        "last_day": window.last_day.isoformat(),
        "toxicities": list(window.toxicities),
    }
    by_index = {record.index: record for record in participant.records}
    about = [record, *(by_index[index] for index in window.evidence if index in by_index)]
    label = f"{data.dose_level} {content['first_day']} {content['last_day']}"
    return Answer("window", "safety.window_decided", content, window.arithmetic, cite(*about), label=label)


def _late(
    events: Sequence[AdverseEvent], since: Mapping[str, str], rules: Rules, zone: ZoneInfo
) -> Iterator[Deviation]:
    """Serious adverse events that the site reported later than it must (21 CFR 312.64(b))."""
    hours = rules.plan.site_report_hours
    for event in events:
        first = event.first_serious
        aware = _knew_serious(event, zone)
        if hours is None or first is None or aware is None:
            continue
        sealed = instant(since[event.ae])
        if site_in_time(aware, sealed, hours) is False:
            text = (
                f"adverse event {event.ae} ({event.name}) is serious; the site knew on "
                f"{aware.first.astimezone(zone):%Y-%m-%d %H:%M} and its report was sealed on "
                f"{sealed.astimezone(zone):%Y-%m-%d %H:%M}, more than {hours} hours later"
            )
            yield Deviation(f"late {event.ae}", "serious_event_reported_late", text, (first,))


def _knew_serious(event: AdverseEvent, zone: ZoneInfo) -> Span | None:
    """When the site first knew that it is serious: never before what made it so happened."""
    said = None if event.first_serious is None else event.first_serious.data
    if not isinstance(said, EventUpdated | EventResolved | Died):
        return event.aware
    stated = getattr(said, "aware", None)
    aware = event.aware if stated is None else span(stated, zone)
    return None if aware is None else max(aware, span(said.on, zone), key=lambda moment: moment.first)


def _doubtful(record: StoredStatement, why: str) -> Answer:
    text = f"a report was sent (entry {record.index}) {why}"
    return Query(f"report {record.event_id} not owed", text, (record,)).answer(record.source)


def limit_terms(rules: Rules) -> frozenset[str]:
    """The terms whose measured grades decide about dose-limiting toxicity, case-folded."""
    limits = rules.plan.dose_limits
    named = () if limits is None else tuple(name for one in limits.limits for name in getattr(one, "terms", ()))
    return frozenset(name.casefold() for name in named)


def counted(member: Member, participant: Participant, assessed: Assessed, zone: ZoneInfo, index: int) -> Member:
    """How the cohorts see a participant from the entry ``index`` on."""
    window, infused = assessed.window, participant.first_infusion(zone)
    seen: dict[str, object] = {
        "level": None,
        "first_day": None,
        "state": None,
        "index": None,
        "infused_entry": None,
        "leaf": "",
    }
    if window is not None and infused is not None:
        record, said, _ = infused
        seen = {
            "level": said.dose_level,
            "first_day": window.first_day.isoformat(),
            "state": window.state,
            "index": record.index,
            "infused_entry": record.versions()[0].index,
            "leaf": record.leaf,
        }
    died = participant.exposed is not None and any(one.event.fatal and one.related for one in assessed.classified)
    # The entry that made it known: a decision of the committee after that one has taken it into account.
    return member.model_copy(update=seen | {"related_death": (member.related_death or index) if died else None})
