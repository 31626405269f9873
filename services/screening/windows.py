"""Rules about histories: what was given or happened, and how long before the first infusion.

Every entry of every live list is a fact until it is corrected, and an excluding one excludes however old its
list is. That there is nothing else is known only from a list within its age. Windows include both ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from services.screening.evidence import Case, named, rounded
from services.screening.findings import Finding, Why, disjunction, unknown
from services.screening.logic import Truth, all_of, negate
from shared.events.screening import Answer, Attested, HistoryEntry, HistoryListed
from shared.moments import add_months, add_years, span
from shared.protocol import rule_kinds as kinds
from shared.protocol.items import items
from shared.protocol.units import EXACT

_HOURS_A_DAY = Decimal(24)


@dataclass(frozen=True, slots=True)
class Fact:
    """An entry of a history with the latest record that lists it, and the moment of that record."""

    history: str
    entry: HistoryEntry
    index: int
    stated: str

    @property
    def name(self) -> str:
        """What people call it."""
        return named(self.history) + (f" ({self.entry.agent})" if self.entry.agent else "")

    def finding(self, truth: Truth, line: str, why: Why = "partial_date", detail: str = "") -> Finding:
        """What the fact says; ``why`` and ``detail`` tell what is open where it says nothing yet."""
        return _finding(self.history, self.index, truth, line, why, detail)


@dataclass(frozen=True, slots=True)
class Window:
    """From ``since`` on; what is dated after the reference counts too, because it came too close to it."""

    since: date
    length: str

    def place(self, case: Case, what: str, when: str) -> tuple[Truth, str]:
        """Whether a moment lies inside, and the sum that shows it."""
        day, zone = case.reference.day, case.reference.zone
        first, last = span(when, zone).days(zone)
        truth: Truth = True if first >= self.since else False if last < self.since else None
        side = {True: "within", False: "outside", None: "possibly within"}[truth]
        apart = _apart(first, day) if first == last else f"between {first} and {last}, against {day}"
        return truth, f"{what} {when}, {apart}: {side} {self.length}"


def treated_within(rule: kinds.TreatedWithin, case: Case) -> Finding:
    """Whether a treatment was given within a window of days or months."""
    window = _window(rule, case.reference.day)
    return _any(case, rule.history, lambda fact: _given(case, fact, window, rule.exempt))


def washout(rule: kinds.Washout, case: Case) -> Finding:
    """Whether an agent was given within its own half-lives, or within the fixed days where they are fewer."""

    def judge(fact: Fact) -> Finding:
        days, length = Decimal(rule.days), f"{rule.days} days, half-life unknown"
        hours = fact.entry.half_life_hours
        if hours is not None:
            lives = EXACT.divide(EXACT.multiply(Decimal(rule.half_lives), hours), _HOURS_A_DAY)
            length = f"the lesser of {rule.days} days and {rule.half_lives} x {hours:f} h = {rounded(lives)} days"
            days = min(days, lives)
        # Whole days elapse between dates: 6 of them lie within 6.25 days, and 7 do not.
        window = Window(case.reference.day - timedelta(days=int(days)), length)
        return _given(case, fact, window, rule.exempt)

    return _any(case, rule.history, judge)


def vaccinated(rule: kinds.Vaccinated, case: Case) -> Finding:
    """Whether a vaccine was given shortly before the first infusion, or is planned until well after the last."""
    zone, day = case.reference.zone, case.reference.day
    window = Window(day - timedelta(days=rule.days_before), f"{rule.days_before} days")
    until = (case.reference.last_planned or day) + timedelta(days=rule.days_after_last)

    def judge(fact: Fact) -> Finding:
        planned = fact.entry.planned
        if planned is None:
            return _given(case, fact, window, None)
        first, last = span(planned, zone).days(zone)
        truth: Truth = True if last <= until else False if first > until else None
        side = {True: "not after", False: "after", None: "possibly not after"}[truth]
        window_end = f"{until}, {rule.days_after_last} days after the last infusion"
        line = f"{fact.name} planned for {planned}: {side} {window_end}"
        return fact.finding(truth, line, detail=f"send the whole date for which {fact.name} is planned")

    return _any(case, rule.history, judge)


def other_malignancy(rule: kinds.OtherMalignancy, case: Case) -> Finding:
    """Whether another malignancy was not radically treated, is not in remission for long, or recurred."""
    zone, day = case.reference.zone, case.reference.day

    def judge(fact: Fact) -> Finding:
        entry, lasting = fact.entry, None
        if entry.remission is not None:
            first, last = span(entry.remission, zone).days(zone)
            if add_years(last, rule.remission_years) < day:
                lasting = True
            elif add_years(first, rule.remission_years) >= day:
                lasting = False
        cured = all_of((_yes(entry.radically_treated), lasting, negate(_yes(entry.recurrence))))
        line = (
            f"{entry.term}: radically treated {_said(entry.radically_treated)}; in complete remission since "
            f"{_said(entry.remission)}, needs more than {rule.remission_years} years before {day}; "
            f"recurrence {_said(entry.recurrence)}"
        )
        loose = lasting is None and entry.remission is not None
        detail = (
            f"send for {entry.term} whether it was radically treated, since which day it has been in complete "
            "remission, and whether it recurred"
        )
        return fact.finding(negate(cured), line, "partial_date" if loose else "unknown", detail)

    return _any(case, rule.history, judge)


def residual_toxicity(rule: kinds.ResidualToxicity, case: Case) -> Finding:
    """Whether a toxicity of prior therapy is above a CTCAE grade."""

    def judge(fact: Fact) -> Finding:
        entry = fact.entry
        above = None if entry.grade is None else entry.grade > rule.above_grade
        line = (
            f"{entry.term}: grade {_said(entry.grade)}, limit {rule.above_grade}; "
            f"from prior therapy {_said(entry.from_prior_therapy)}"
        )
        detail = f"send the CTCAE grade of {entry.term} and whether it came from prior therapy"
        return fact.finding(all_of((above, _yes(entry.from_prior_therapy))), line, "unknown", detail)

    return _any(case, rule.history, judge)


def attested_within(rule: kinds.AttestedWithin, case: Case) -> Finding:
    """Whether what was answered yes occurred within a window; each yes is a fact until corrected."""
    window, name = _window(rule, case.reference.day), named(rule.topic)
    detail = f"correct the answer on {name} with the whole date on which it occurred"
    facts = []
    for statement in case.live(Attested, rule.topic):
        places = [
            window.place(case, f"{name} occurred", when)
            for when in statement.data.occurred
            if not case.only_later(statement, when)
        ]
        if statement.data.answer == "yes" and not statement.data.occurred:
            places = [(None, f"{name}: yes, stated {statement.moment} without saying when")]
        facts += [
            _finding(rule.topic, statement.index, truth, line, "partial_date", detail) for truth, line in places
        ]
    return disjunction([*_weightiest_first(facts), _nothing_else_attested(rule.topic, case)])


def _nothing_else_attested(topic: str, case: Case) -> Finding:
    ages = items().topics[topic].ages
    statements = case.usable(Attested, topic)
    chosen = case.latest(statements, topic, ages, lambda data: data.answer == "unknown")
    if isinstance(chosen, Finding):
        return chosen
    if chosen.record.data.answer == "unknown":
        return case.open(topic, "unknown", ages, [chosen.record])
    line = f"{named(topic)}: {chosen.record.data.answer}, stated {chosen.record.moment}"
    return Finding(
        truth=False, lines=(line,), evidence=frozenset({chosen.record.index}), fresh_until=chosen.fresh_until
    )


def _any(case: Case, history: str, judge: Callable[[Fact], Finding]) -> Finding:
    """Whether any entry excludes; that none does needs a list that is fresh."""
    facts = [judge(fact) for fact in _facts(case, history)]
    return disjunction([*_weightiest_first(facts), _nothing_else_listed(history, case)])


def _facts(case: Case, history: str) -> list[Fact]:
    """Every entry of every live list, once: what is listed again is cited where it was listed last."""
    facts: dict[HistoryEntry, Fact] = {}
    for listed in case.live(HistoryListed, history):
        for entry in listed.data.entries:
            if not (entry.planned or entry.remission) and case.only_later(listed, entry.last):
                continue
            facts[entry] = Fact(history, entry, listed.index, listed.moment)
    return list(facts.values())


def _nothing_else_listed(history: str, case: Case) -> Finding:
    ages = items().histories[history].ages
    lists = case.usable(HistoryListed, history)
    aged = [(*case.freshness(listed.span, ages), listed) for listed in lists]
    fresh = [(until or date.max, listed.index, listed) for truth, until, listed in aged if truth]
    if not fresh:
        loose = [listed for truth, _, listed in aged if truth is None]
        why: Why = "partial_date" if loose else "stale" if lists else "missing"
        return case.open(history, why, ages, loose or lists[-1:])
    until, index, listed = max(fresh, key=lambda row: row[:2])
    count = len(listed.data.entries)
    line = f"{named(history)}: {f'list of {count}' if count else 'none'}, complete as of {listed.moment}"
    fresh_until = None if until == date.max else until
    return Finding(truth=False, lines=(line,), evidence=frozenset({index}), fresh_until=fresh_until)


def _given(case: Case, fact: Fact, window: Window, exempt: kinds.Exemption | None) -> Finding:
    when = fact.entry.last
    if exempt is not None and fact.entry.exempt == exempt:
        line = f"{fact.name} {f'ended {when}' if when else 'ongoing'}: exempt, {exempt.replace('_', ' ')}"
        return fact.finding(truth=False, line=line)
    if when is None:
        apart = _apart(case.reference.day, case.reference.day)
        line = f"{fact.name} ongoing as stated {fact.stated}, {apart}: within {window.length}"
        return fact.finding(truth=True, line=line)
    truth, line = window.place(case, f"{fact.name} ended", when)
    return fact.finding(truth, line, detail=f"correct the list with the whole date on which {fact.name} ended")


def _finding(item: str, index: int, truth: Truth, line: str, why: Why, detail: str) -> Finding:
    if truth is None:
        return replace(unknown(item, why, detail, [index]), lines=(line,))
    return Finding(truth, (line,), frozenset({index}))


def _window(rule: kinds.Window, day: date) -> Window:
    if rule.days is not None:
        return Window(day - timedelta(days=rule.days), f"{rule.days} days")
    assert rule.months is not None
    # The longer of calendar months and 30-day months (PROTOCOL.md, "Verdicts").
    since = min(add_months(day, -rule.months), day - timedelta(days=30 * rule.months))
    return Window(since, f"{rule.months} months (since {since})")


def _weightiest_first(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: {True: 0, None: 1, False: 2}[finding.truth])


def _yes(answer: Answer | None) -> Truth:
    return {"yes": True, "no": False}.get(answer or "unknown")


def _said(value: object) -> str:
    return "not stated" if value is None else str(value)


def _apart(first: date, day: date) -> str:
    days = (day - first).days
    return f"{abs(days)} {'day' if abs(days) == 1 else 'days'} {'before' if days >= 0 else 'after'} {day}"
