"""Which expedited reports are owed for a participant's adverse events, from which day on, how each clock stands.

The sponsor's receipt is the day on which the site's statement was sealed that makes the event reportable, read
with everything the sponsor knows now: a causality that the sponsor sees otherwise only later does not put off
the clock. The sponsor's own earlier awareness (a telephone call) counts as receipt. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, Statement, adverse_events
from services.safety.classification import Classified, classify
from services.safety.clocks import Clock, day_of, follow_up, run, sent, sooner, withdraw
from services.safety.participant import Participant, StoredStatement
from services.safety.trial import Answer, Rules, cite
from shared.events.safety import EventAssessed, EventReported, ReportSent, names_event
from shared.moments import Span, instant, midnight, span
from shared.protocol.safety import ReportProfile

_TYPES = {
    "running": "safety.report_due",
    "overdue": "safety.report_overdue",
    "met": "safety.report_closed",
    "missed": "safety.report_closed",
    "no_longer_owed": "safety.report_closed",
}


@dataclass(frozen=True, slots=True)
class Reports:
    """The clocks as they run apart from what was sent, and every clock's present state as an answer."""

    clocks: dict[str, Clock]
    answers: list[Answer]


def reports(
    participant: Participant,
    classified: Sequence[Classified],
    exposure: tuple[StoredStatement, Span] | None,
    rules: Rules,
    zone: ZoneInfo,
) -> Reports:
    """Run every clock that the classified adverse events call for, and let go of those that nothing calls for."""
    clocks: dict[str, Clock] = {}
    by_number = {one.event.ae: one for one in classified}
    sponsor = ZoneInfo(rules.plan.sponsor_timezone)
    known = _Knowledge(participant.records, exposure, rules, zone, sponsor)
    given = _sent(participant, sponsor)
    for one in classified:
        if one.susar and rules.plan.reports:
            receipts = known.receipts(one.event)
            for profile in rules.plan.reports:
                report = given.get(f"{one.event.ae} {profile.id} initial")
                clocks |= _owed(participant.clocks, report, one, profile, receipts, sponsor)
    for key, old in participant.clocks.items():
        clocks.setdefault(key, withdraw(old))
    answers = []
    for key in sorted(clocks):
        clock = clocks[key]
        report = given.get(key)
        if report is not None and clock.state != "no_longer_owed":
            assert isinstance(report.said, ReportSent)
            clock = sent(clock, span(report.said.at, sponsor))
        about = by_number.get(clock.ae)
        statements = () if about is None else about.event.statements
        answers.append(_answer(key, clock, report, statements))
    return Reports(clocks, answers)


def _owed(
    before: Mapping[str, Clock],
    report: StoredStatement | None,
    one: Classified,
    profile: ReportProfile,
    receipts: "_Receipts",
    zone: ZoneInfo,
) -> dict[str, Clock]:
    """The clocks of one SUSAR's reports to one authority; ``report`` is the initial one, where it was sent."""
    ae = one.event.ae
    first, again = f"{ae} {profile.id} initial", f"{ae} {profile.id} follow_up"
    since, determined = receipts.susar, receipts.determined
    clock = run(before.get(first), profile, ae, severe=False, receipt=since, determination=determined, zone=zone)
    later = None
    if receipts.severe is not None:
        # What was determined while it was milder says nothing about when the severe information was known.
        anchor = determined if receipts.severe == since else None
        sent_before = _sent_before(report, receipts, zone)
        milder = clock
        if sent_before is not None:  # whether it is told before the worse news or after it, it was sent before
            milder = sent(clock, sent_before).model_copy(update={"severe_since": None})
        severe = run(milder, profile, ae, severe=True, receipt=receipts.severe, determination=anchor, zone=zone)
        if severe.kind == "follow_up":
            later = severe
        elif sent_before is None:
            clock = severe  # what was sent is told apart, so that it can be taken back
    later = later or follow_up(profile, clock, zone)
    found = {first: clock}
    if later is not None:
        found[again] = sooner(before.get(again), later)
    return found


def _sent_before(report: StoredStatement | None, receipts: "_Receipts", zone: ZoneInfo) -> Span | None:
    """When the initial report was sent, if that was before what made the event severe; None: it was not."""
    if report is None or not isinstance(report.said, ReportSent) or receipts.severe_at is None:
        return None
    at = span(report.said.at, zone)
    return at if at.end <= receipts.severe_at else None


@dataclass(frozen=True, slots=True)
class _Receipts:
    """The days on which the sponsor held what makes an event a SUSAR, and a severe one (None: it is not).

    ``severe_at`` is when the latter was sealed as worse news, or its day's beginning where it was severe at once.
    """

    susar: date
    severe: date | None
    severe_at: datetime | None
    determined: date | None


@dataclass(frozen=True, slots=True)
class _Knowledge:
    """What it takes to see an adverse event as the sponsor saw it at an earlier time."""

    records: Sequence[StoredStatement]
    exposure: tuple[StoredStatement, Span] | None
    rules: Rules
    zone: ZoneInfo
    sponsor: ZoneInfo

    def receipts(self, event: AdverseEvent) -> _Receipts:
        """See ``_Receipts``: the event as it was told up to each statement, with all that the sponsor says of it.

        A correction is told when it is sealed; until then the sponsor held what it corrects. A telephone call about
        what was reported first is an earlier receipt; of later news it says nothing.
        """
        about = [record for record in self.records if names_event(record.said) == event.ae]
        own = [record.statement() for record in about if isinstance(record.said, EventAssessed)]
        theirs = [record for record in about if not isinstance(record.said, EventAssessed)]
        told = sorted({version.index: version for record in theirs for version in record.versions()}.items())
        found: dict[bool, date] = {}
        severe_at: datetime | None = None
        for index, version in told:
            held = [known for record in theirs if (known := record.as_of(index)) is not None]
            for partly in adverse_events([*(one.statement() for one in held), *own], self.zone):
                if partly.ae != event.ae or not classify(partly, self.exposure, self.rules, self.zone).susar:
                    continue
                sealed_at = instant(version.sealed_at)
                day = day_of(sealed_at, self.sponsor)
                called = self._days(own, "aware") if index <= _reported(theirs) else []
                worse = False in found
                found.setdefault(False, min([day, *called]))
                if partly.fatal_or_life_threatening:
                    found.setdefault(True, min([day, *called]))
                    severe_at = sealed_at if worse else midnight(found[True], self.sponsor)
            if True in found:
                break
        determined = min(self._days(own, "determined"), default=None)
        return _Receipts(found[False], found.get(True), severe_at, determined)

    def _days(self, statements: Sequence[Statement], what: Literal["aware", "determined"]) -> list[date]:
        told = [getattr(one.data, what) for one in statements if isinstance(one.data, EventAssessed)]
        return [span(moment, self.sponsor).days(self.sponsor)[0] for moment in told if moment is not None]


def _reported(theirs: Sequence[StoredStatement]) -> int:
    """The entry by which the event was first reported."""
    return min(record.versions()[0].index for record in theirs if isinstance(record.said, EventReported))


def _sent(participant: Participant, zone: ZoneInfo) -> dict[str, StoredStatement]:
    """The live report of each clock: of several the one that was sent first, whichever was recorded first."""
    found: dict[str, tuple[datetime, int, StoredStatement]] = {}
    for record in participant.of(ReportSent):
        data = record.said
        if isinstance(data, ReportSent):
            key, one = f"{data.ae} {data.profile} {data.kind}", (span(data.at, zone).end, record.index, record)
            found[key] = min(found.get(key, one), one, key=lambda each: each[:2])
    return {key: record for key, (*_, record) in found.items()}


def doubtful_reports(
    participant: Participant, clocks: Mapping[str, Clock], events: Sequence[AdverseEvent], rules: Rules
) -> Iterator[tuple[StoredStatement, str]]:
    """Reports sent that no clock asked for, that were sent already, or sent before the event began; and why."""
    zone = ZoneInfo(rules.plan.sponsor_timezone)
    counted = _sent(participant, zone)
    begins = {event.ae: event.onset for event in events}
    for record in participant.of(ReportSent):
        data = record.said
        assert isinstance(data, ReportSent)
        key, onset = f"{data.ae} {data.profile} {data.kind}", begins.get(data.ae)
        first = counted[key]
        if key not in clocks:
            if record == first:
                yield record, "that no clock asked for: is it of the right event and profile?"
        elif record != first:
            yield (
                record,
                f"that entry {first.index} had sent already: if they are one report, retract one of the two",
            )
        elif onset is not None and span(data.at, zone).end <= onset.first:
            yield record, f"on {data.at}, before the adverse event began: correct one of the two dates"


def _answer(key: str, clock: Clock, report: StoredStatement | None, statements: Sequence[Statement]) -> Answer:
    content: dict[str, object] = {
        "ae": clock.ae,
        "profile": clock.profile,
        "kind": clock.kind,
        "days": clock.days,
        "receipt": clock.receipt,
        "day_zero": clock.day_zero,
        "due": clock.due,
    }
    if clock.determination is not None:
        content["determination"] = clock.determination
    closed = _TYPES[clock.state] == "safety.report_closed"
    if closed:
        content["result"] = clock.state
        if report is not None and isinstance(report.said, ReportSent) and clock.state != "no_longer_owed":
            content["sent"] = report.said.at
    evidence = cite(*statements, *([] if report is None else [report]))
    return Answer(
        f"clock {key}",
        _TYPES[clock.state],
        content,
        clock.arithmetic,
        evidence,
        superseding=clock.state == "running",
        label="closed" if closed else "",
    )
