"""What does not fit together in a participant's safety data: questions to the site, open until it is set right."""

import hashlib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, Statement
from services.safety.emergence import FATAL, listed
from services.safety.participant import Participant, StoredStatement, TermGrade
from services.safety.trial import Answer, cite
from shared.events.safety import (
    Died,
    EventReported,
    EventResolved,
    EventUpdated,
    names_event,
)
from shared.moments import Span, span

Sealed = Statement | StoredStatement | tuple[int, str]
"""A sealed statement, or only its index and leaf hash."""

_SHORT: Final = 40
_REPORTED_FROM: Final = 3
"""From this measured grade on, an adverse event of the term is expected to have been reported."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question: its name within the participant, its text, and the statements that raise it."""

    name: str
    text: str
    about: tuple[Sealed, ...]

    def answer(self, source: str) -> Answer:
        """The query as a decision."""
        content = {"query": self.name, "to": source, "text": self.text}
        return Answer(
            f"query {self.name}",
            "safety.query_raised",
            content,
            evidence=cite(*self.about),
            explained=False,
            superseding=False,
        )


def queries(
    participant: Participant,
    events: Sequence[AdverseEvent],
    exposure: tuple[StoredStatement, Span] | None,
    zone: ZoneInfo,
) -> list[Query]:
    """Everything there is to ask about a participant, in order of their names; no two have the same."""
    found = [
        *_of_numbers(participant, events),
        *(query for event in events for query in _of_event(event, zone)),
        *_twins(events),
        *_of_death(participant, events, zone),
        *_of_order(participant, events, exposure, zone),
        *of_terms({name for event in events for name in event.names}, participant.grades.values()),
    ]
    named: dict[str, list[Query]] = defaultdict(list)
    for query in found:
        named[query.name].append(query)
    return [_united(named[name]) for name in sorted(named)]


def _united(same: Sequence[Query]) -> Query:
    """One query of several with the same name: an answer to one of them must never close or supersede another."""
    if len(same) == 1:
        return same[0]
    texts = sorted({query.text for query in same})
    return Query(same[0].name, listed(texts), tuple(one for query in same for one in query.about))


def _of_numbers(participant: Participant, events: Sequence[AdverseEvent]) -> Iterator[Query]:
    """A number that was reported twice, or that nobody has reported."""
    first: dict[str, StoredStatement] = {}
    for record in participant.of(EventReported):
        number = names_event(record.said) or ""
        if number in first:
            text = (
                f"adverse event {number} was reported before, by entry {first[number].index}: "
                "update or correct that report, or give this event a number of its own"
            )
            yield Query(f"event {number} reported twice", text, (first[number], record))
        else:
            first[number] = record
    known = {event.ae for event in events}
    unknown: dict[str, list[StoredStatement]] = {}
    for record in participant.records:
        about = names_event(record.said)
        if about is not None and about not in known:
            unknown.setdefault(about, []).append(record)
    for number in sorted(unknown):
        text = f"adverse event {number} is spoken of but was never reported: send its safety.event_reported"
        yield Query(f"event {number} not reported", text, tuple(unknown[number]))


def _of_event(event: AdverseEvent, zone: ZoneInfo) -> Iterator[Query]:
    """What one adverse event leaves open."""
    if event.onset is None:
        yield _ask(
            event, "onset", "when did it begin? Correct the report with the onset, as exactly as it is known"
        )
    if all(stretch.grade is None for stretch in event.stretches):
        yield _ask(
            event, "grade", "its grade is missing: send it as a correction, or as an update from its onset on"
        )
    if event.investigator.serious is None:
        yield _ask(event, "serious", "is it serious, and by which criteria? An empty list says that it is not")
    if event.serious and "unspecified" in event.criteria and len(event.criteria) == 1:
        yield _ask(event, "serious", "it is said to be serious without a criterion: which one is met?")
    if event.investigator.causality is None:
        yield _ask(event, "causality", "the investigator's view of the causality is missing")
    if event.serious and event.aware is None:
        yield _ask(event, "aware", "it is serious: when did the site first know of it?")
    yield from _of_dates(event, zone)
    yield from _of_outcome(event)


def _ask(event: AdverseEvent, what: str, text: str) -> Query:
    return Query(f"event {event.ae}: {what}", f"adverse event {event.ae} ({event.name}): {text}", event.statements)


def _of_dates(event: AdverseEvent, zone: ZoneInfo) -> Iterator[Query]:
    """Where its dates contradict one another."""
    if event.onset is not None:
        for record in event.statements:
            if isinstance(record.data, EventResolved | EventUpdated) and _surely_before(
                record.data.on, event, zone
            ):
                word = "resolved" if isinstance(record.data, EventResolved) else "changed"
                text = f"it is said to have {word} on {record.data.on}, before it began: correct one of the two"
                yield _ask(event, f"{word} before onset", text)
        resolved = any(isinstance(record.data, EventResolved) for record in event.statements)
        if not resolved and event.ended is not None and event.ended.end <= event.onset.first:
            yield _ask(
                event, "ended before onset", "it is said to have ended before it began: correct one of the two"
            )
    if event.reopened:
        moments = {one.data.on for one in event.reopened if isinstance(one.data, EventUpdated | EventResolved)}
        text = f"it is said to have ended, and to go on at {', '.join(sorted(moments)[:5])}, which could be later"
        yield _ask(
            event, "changed after it ended", f"{text}: it counts as not ended until one of the two is corrected"
        )


def _of_outcome(event: AdverseEvent) -> Iterator[Query]:
    """Where its outcomes contradict one another, or the grade."""
    if event.contradicted:
        resolved = [one.data for one in event.contradicted if isinstance(one.data, EventResolved)]
        said = sorted({f"{data.outcome.replace('_', ' ')} on {data.on}" for data in resolved})
        first = ["fatal by its report"] if event.report.outcome == "fatal" else []
        text = f"which is right: {listed([*first, *said])}? Correct or retract the others"
        yield _ask(event, "resolved in two ways", text)
    grades = set() if event.by_severity else {stretch.grade for stretch in event.stretches} - {None}
    fatal_grade = FATAL in grades
    if event.outcome == "fatal" and grades and not fatal_grade:
        yield _ask(event, "fatal", "its outcome is fatal, but its grade is not 5: correct one of the two")
    if fatal_grade and event.outcome not in {None, "fatal"}:
        yield _ask(event, "fatal", f"its grade is 5, but its outcome is {event.outcome}: correct one of the two")


def _surely_before(moment: str, event: AdverseEvent, zone: ZoneInfo) -> bool:
    assert event.onset is not None
    return span(moment, zone).end <= event.onset.first


def _twins(events: Sequence[AdverseEvent]) -> Iterator[Query]:
    """The same event under two numbers: same term and same onset."""
    seen: dict[tuple[str, str], AdverseEvent] = {}
    for event in events:
        if event.report.onset is None:
            continue
        key = (event.name.casefold(), event.report.onset)
        if key in seen:
            other = seen[key]
            text = (
                f"adverse events {other.ae} and {event.ae} are both {event.name} from {event.report.onset} on: "
                "if they are one, retract the second"
            )
            name = f"event {_short(event.ae)} like event {_short(other.ae)}"
            yield Query(name, text, (other.statements[0], event.statements[0]))
        else:
            seen[key] = event


def _short(number: str) -> str:
    """A number as part of a query's name, of 40 characters at most and still one of a kind."""
    if len(number) <= _SHORT:
        return number
    return f"{number[: _SHORT - 9]}~{hashlib.sha256(number.encode()).hexdigest()[:8]}"


def _of_death(participant: Participant, events: Sequence[AdverseEvent], zone: ZoneInfo) -> Iterator[Query]:
    deaths = list(participant.of(Died))
    fatal = [event for event in events if event.fatal]
    if fatal and not deaths:
        for event in fatal:
            text = (
                f"adverse event {event.ae} ({event.name}) is fatal (grade 5), but no death is recorded: send "
                "safety.died, or correct the grade, the outcome or the criteria"
            )
            yield Query(f"event {event.ae} fatal without death", text, event.statements)
    ended = participant.ended_by_death()
    if ended and not deaths:
        text = (
            "treatment or study is said to have ended by death, but no death is recorded: send safety.died with "
            "the adverse event that led to it, or correct the disposition"
        )
        yield Query("death not recorded", text, tuple(ended))
    unnamed = tuple(record for record in deaths if names_event(record.said) is None)
    if unnamed:
        text = (
            "which adverse event led to the death, or was it the disease? Report it as an adverse event, "
            "and correct the death to name it"
        )
        yield Query("death without cause", text, unnamed)
    if len(deaths) > 1:
        text = "two deaths of one participant are recorded: retract the wrong one"
        yield Query("died twice", text, tuple(deaths))
    death = participant.died(zone)
    if death is not None:
        late = [event for event in events if event.onset is not None and event.onset.first >= death[1].end]
        for event in late:
            text = (
                f"adverse event {event.ae} ({event.name}) begins after the participant's death: correct one of them"
            )
            yield Query(f"event {event.ae} after death", text, (*event.statements, death[0]))


def _of_order(
    participant: Participant,
    events: Sequence[AdverseEvent],
    exposure: tuple[StoredStatement, Span] | None,
    zone: ZoneInfo,
) -> Iterator[Query]:
    death = participant.died(zone)
    if death is not None and exposure is not None and exposure[1].first >= death[1].end:
        text = "the study treatment is said to have been given after the participant's death: correct one of them"
        yield Query("exposed after death", text, (death[0], exposure[0]))
    if exposure is None and any(event.related("possible") and event.investigator.causality for event in events):
        told = tuple(event.statements[0] for event in events if event.investigator.causality)
        text = (
            "an adverse event is said to be related to the study treatment, but none was given: record the infusion"
        )
        yield Query("related without exposure", text, told)


def of_terms(names: Container[str], grades: Iterable[TermGrade]) -> Iterator[Query]:
    """Measurements that cannot be graded, and severe ones that no adverse event speaks of.

    ``names`` are all names that the participant's adverse events go by, case-folded.
    """
    for known in grades:
        needed = 1 if known.scale != "CTCAE 5.0" else _REPORTED_FROM
        if known.worst >= needed and known.worst_record is not None and known.term.casefold() not in names:
            text = (
                f"{known.term}: what was recorded for {known.worst_at} comes to grade {known.worst}, and no "
                "adverse event of that term is reported: report it, or correct the value"
            )
            yield Query(f"{known.term} not reported", text, (known.worst_record,))
        if known.untold and known.untold_record is not None:
            text = f"{known.term} cannot be graded from {known.untold}"
            yield Query(f"{known.term} not gradable", text, (known.untold_record,))
