"""Rules about the participant as a person: sex, age, consent."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from services.screening.evidence import Case, Dated
from services.screening.findings import Finding, conjunction, unknown
from services.screening.logic import Range, Truth
from shared.events.screening import Age, Consented, Started
from shared.moments import Span, add_years, span
from shared.protocol import rule_kinds as kinds

Days = tuple[date, date]
"""First and last day that something could have been on."""

_ONE_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


def sex(rule: kinds.Sex, case: Case) -> Finding:
    """Whether the recorded sex is one of those asked for."""
    recorded = recorded_sex(case)
    if isinstance(recorded, Finding):
        return recorded
    evidence = registered(case)
    if recorded == "unknown" and recorded not in rule.one_of:
        return unknown("sex", "unknown", "find out the participant's sex and correct the registration", evidence)
    return Finding(recorded in rule.one_of, (f"sex {recorded}",), evidence)


def age_at_consent(rule: kinds.AgeAtConsent, case: Case) -> Finding:
    """Whether so many years were completed on the day of the earliest consent."""
    birth = birth_days(case)
    consents = case.usable(Consented)
    if isinstance(birth, Finding) or not consents:
        missing = [birth] if isinstance(birth, Finding) else []
        return conjunction(missing if consents else [*missing, _no_consent()])
    ages = completed_years(birth, _earliest(consents).days(case.reference.zone))
    truth = Range(Decimal(ages[0]), Decimal(ages[1])).at_least(Decimal(rule.at_least))
    first = min(consents, key=lambda consent: (consent.span.first, consent.index))
    evidence = registered(case) | {first.index}
    if truth is None:
        return partial_birth(evidence)
    line = f"age {between(*ages)} at the consent of {first.moment}, limit {rule.at_least}"
    return Finding(truth, (line,), evidence)


def consented_first(_: kinds.ConsentedFirst, case: Case) -> Finding:
    """Whether the earliest consent was signed before the first study procedure.

    The earliest counts, because consenting again to a later version cannot undo the first.
    """
    consents, starts = case.usable(Consented), case.live(Started)
    if not consents or not starts:
        no_start = unknown("first_procedure", "missing", "send the first study procedure with its date and time")
        return conjunction(([] if consents else [_no_consent()]) + ([] if starts else [no_start]))
    signed, started = _earliest(consents), _earliest(starts)
    truth: Truth = None
    if signed.end <= started.first:
        truth = True
    elif signed.first >= started.end or (signed == started and signed.end - signed.first <= _MINUTE):
        truth = False
    evidence = frozenset([record.index for record in consents] + [record.index for record in starts])
    if truth is None:
        detail = "consent and first study procedure could be in either order; correct both with their times"
        return unknown("consent", "partial_date", detail, evidence)
    first = min(consents, key=lambda consent: (consent.span.first, consent.index))
    procedure = min(starts, key=lambda start: (start.span.first, start.index))
    line = (
        f"consent form {first.data.form_version} signed {first.moment}, "
        f"{'before' if truth else 'not before'} the first study procedure of {procedure.moment}"
    )
    return Finding(truth, (line,), evidence)


def registered(case: Case) -> frozenset[int]:
    """The registrations, as evidence."""
    return frozenset(index for index, _ in case.registrations())


def recorded_sex(case: Case) -> str | Finding:
    """Female, male or unknown, as registered; or the finding that nobody has said."""
    found = {registration.sex for _, registration in case.registrations()}
    if not found:
        return unknown("sex", "missing", "register the participant with the sex")
    if len(found) > 1:
        detail = "the registrations name different sexes; correct the wrong one"
        return unknown("sex", "conflicting", detail, registered(case))
    return found.pop()


def birth_days(case: Case) -> Days | Finding:
    """The days the participant could have been born on, from birth date or age; or that nobody has said."""
    zone = case.reference.zone
    spans: list[Days] = []
    for _, registration in case.registrations():
        if registration.birth_date is not None:
            spans.append(span(registration.birth_date, zone).days(zone))
        if registration.age is not None:
            spans.append(_born(registration.age, span(registration.age.on, zone).days(zone)))
    if not spans:
        detail = "register the participant with a birth date or an age"
        return unknown("birth_date", "missing", detail, registered(case))
    first, last = max(days[0] for days in spans), min(days[1] for days in spans)
    if first > last:
        detail = "birth dates and ages contradict each other; correct the wrong one"
        return unknown("birth_date", "conflicting", detail, registered(case))
    return first, last


def completed_years(birth: Days, on: Days) -> tuple[int, int]:
    """Lowest and highest completed age of someone born on one of these days, on one of those days."""
    return _years(birth[1], on[0]), _years(birth[0], on[1])


def partial_birth(evidence: frozenset[int]) -> Finding:
    """The finding that birth or another date is too loose to tell the age."""
    detail = "the age could lie on either side of the limit; correct birth date, age or the day it is judged on"
    return unknown("birth_date", "partial_date", detail, evidence)


def between(low: object, high: object) -> str:
    """Two ends as people write them, or one where they are the same."""
    return str(low) if low == high else f"{low} to {high}"


def _no_consent() -> Finding:
    return unknown("consent", "missing", "send the consent form's version and when it was signed")


def _earliest(records: Sequence[Dated[Consented]] | Sequence[Dated[Started]]) -> Span:
    return Span(min(record.span.first for record in records), min(record.span.end for record in records))


def _years(birth: date, on: date) -> int:
    years = on.year - birth.year
    return years if add_years(birth, years) <= on else years - 1


def _born(age: Age, on: Days) -> Days:
    """The days of birth that give this completed age on one of these days."""
    first, last = add_years(on[0] + _ONE_DAY, -age.years - 1), add_years(on[1], -age.years)
    # Around 29 February a year's step back and forth does not end on the same day.
    if _years(first - _ONE_DAY, on[0]) <= age.years:
        first -= _ONE_DAY
    if _years(last, on[1]) < age.years:
        last -= _ONE_DAY
    return first, last
