"""Rules about what is measured, coded, answered and judged."""

from dataclasses import replace
from decimal import Decimal

from services.screening.evidence import Case, Dated, Measure, amount, in_unit, named, possible, rounded
from services.screening.findings import Finding, Why, conjunction, disjunction, last, soonest, unknown
from services.screening.logic import Range, Truth
from services.screening.persons import between, birth_days, completed_years, partial_birth, recorded_sex, registered
from shared.events.screening import Attested, Judged, Observed
from shared.protocol import rule_kinds as kinds
from shared.protocol.items import items
from shared.protocol.units import EXACT

_WORDS: dict[kinds.Comparison, tuple[str, str]] = {
    "at_most": ("at most", "above"),
    "less_than": ("below", "not below"),
    "at_least": ("at least", "below"),
    "more_than": ("above", "not above"),
}


def measured(rule: kinds.Measured, case: Case) -> Finding:
    """Compare the latest value of a quantity, or the maximum of all fresh ones, with a limit."""
    if rule.choose == "maximum":
        return _maximum(rule, case)
    measure = case.latest_measure(rule.item, rule.unit)
    return measure if isinstance(measure, Finding) else _against(rule, measure)


def times_uln(rule: kinds.TimesUln, case: Case) -> Finding:
    """Compare the latest value with a multiple of its own upper limit of normal, in the unit they share."""
    quantity = items().quantities[rule.item]
    measure = case.latest_measure(rule.item, quantity.unit)
    if isinstance(measure, Finding):
        return measure
    observed = measure.observed
    uln = observed.reference.high if observed.reference else None
    if uln is None or observed.value is None or observed.unit is None:
        detail = (
            f"the laboratory's upper limit of normal is missing from {named(rule.item)} of "
            f"{measure.record.moment}; correct it with its reference range"
        )
        return unknown(rule.item, "missing", detail, [measure.record.index])
    limit = EXACT.multiply(rule.at_most, uln)
    truth = possible(observed.value, observed.comparator).at_most(limit)
    normal = f"ULN {amount(uln, observed.unit)}"
    converted = in_unit(observed, uln, quantity.unit)
    if converted is not None and converted != uln:
        normal += f" = {amount(rounded(converted), quantity.unit)}"
    sign = f"{observed.comparator} " if observed.comparator else ""
    ratio = rounded(EXACT.divide(observed.value, uln), rule.at_most)
    line = f"{measure.text}, {normal}, {sign}{ratio} x ULN, limit {rule.at_most} x ULN"
    return _decided(measure, truth, line)


def creatinine_clearance(rule: kinds.CreatinineClearance, case: Case) -> Finding:
    """Work out Cockcroft-Gault: (140 - age) x kg x (0.85 if female) / (72 x creatinine in mg/dL), in mL/min.

    The age is the completed one on the day the creatinine was collected. Where age, sex or a number is not
    exactly known, every clearance that is possible must lie on one side of the limit.
    """
    creatinine, weight = case.latest_measure("creatinine", "mg/dL"), case.latest_measure("weight", "kg")
    birth, sex = birth_days(case), recorded_sex(case)
    if isinstance(creatinine, Finding) or isinstance(weight, Finding) or isinstance(birth, Finding):
        missing = [part for part in (creatinine, weight, birth) if isinstance(part, Finding)]
        evidence = frozenset[int]().union(*(part.evidence for part in missing))
        return Finding(None, evidence=evidence, gaps=tuple(gap for part in missing for gap in part.gaps))
    ages = completed_years(birth, creatinine.record.span.days(case.reference.zone))
    factors = ("0.85" if sex != "male" else "1", "1" if sex != "female" else "0.85")
    clearance = _clearance(ages, weight.range, factors, creatinine.range)
    truth = clearance.at_least(rule.at_least)
    high = "more" if clearance.high is None else rounded(clearance.high, rule.at_least)
    line = (
        f"{weight.text}, {creatinine.text}: Cockcroft-Gault (140 - {between(*ages)}) x {_numbers(weight.range)} x "
        f"{between(*factors)} / (72 x {_numbers(creatinine.range)}) = "
        f"{between(rounded(clearance.low, rule.at_least), high)} mL/min, limit {rule.at_least} mL/min"
    )
    evidence = registered(case) | {creatinine.record.index, weight.record.index}
    if truth is not None:
        return Finding(truth, (line,), evidence, soonest((creatinine.fresh_until, weight.fresh_until)))
    unsure = [_inexact(measure) for measure in (creatinine, weight) if measure.observed.comparator]
    if ages[0] != ages[1]:
        unsure.append(partial_birth(evidence))
    if factors[0] != factors[1]:
        detail = "Cockcroft-Gault needs the participant's sex; correct the registration"
        unsure.append(unknown("sex", "unknown", detail))
    return Finding(None, (line,), evidence, gaps=tuple(gap for part in unsure for gap in part.gaps))


def coded(rule: kinds.Coded, case: Case) -> Finding:
    """Whether the latest result is one of those asked for."""
    ages = items().codes[rule.item].ages
    chosen = case.latest(case.usable(Observed, rule.item), rule.item, ages, lambda data: data.result)
    if isinstance(chosen, Finding):
        return chosen
    observed = chosen.record.data
    result = (observed.result or "").replace("_", " ")
    percent = "" if observed.value is None else f" ({amount(observed.value, '%')})"
    line = f"{named(rule.item)}: {result}{percent}, collected {observed.collected}"
    evidence = frozenset({chosen.record.index})
    return Finding(observed.result in rule.one_of, (line,), evidence, chosen.fresh_until)


def attested(rule: kinds.Attested, case: Case) -> Finding:
    """Whether a question is answered yes; about the whole life, any yes stands until it is corrected."""
    ages = items().topics[rule.topic].ages
    if case.oldest(ages) is None:
        said = [record for record in case.live(Attested, rule.topic) if record.data.answer == "yes"]
        yes = [record for record in said if not _all_later(case, record)]
        if yes:
            line = f"{named(rule.topic)}: yes, stated {yes[-1].moment}"
            return Finding(truth=True, lines=(line,), evidence=frozenset(record.index for record in yes))
    chosen = case.latest(case.usable(Attested, rule.topic), rule.topic, ages, lambda data: data.answer)
    if isinstance(chosen, Finding):
        return chosen
    answer = chosen.record.data.answer
    if answer == "unknown":
        return case.open(rule.topic, "unknown", ages, [chosen.record])
    line = f"{named(rule.topic)}: {answer}, stated {chosen.record.moment}"
    return Finding(answer == "yes", (line,), frozenset({chosen.record.index}), chosen.fresh_until)


def judged(_: kinds.Judged, case: Case) -> Finding:
    """The investigator's judgement, which ages as any clinical statement does.

    One that something interferes stands while it is fresh until it is corrected, whoever says otherwise later;
    else the latest counts.
    """
    records = case.usable(Judged)
    against = [(record, *case.freshness(record.span, "clinical")) for record in records if record.data.interferes]
    fresh = [(record, until) for record, truth, until in against if truth]
    if fresh:
        moments = " and ".join(dict.fromkeys(record.moment for record, _ in fresh))
        line = f"investigator's judgement of {moments}: something interferes or adds risk"
        evidence = frozenset(record.index for record, _ in fresh)
        return Finding(
            truth=True, lines=(line,), evidence=evidence, fresh_until=last([until for _, until in fresh])
        )
    loose = [record for record, truth, _ in against if truth is None]
    if loose:
        return case.open("investigator_judgement", "partial_date", "clinical", loose)
    chosen = case.latest(records, "investigator_judgement", "clinical", lambda data: data.interferes)
    if isinstance(chosen, Finding):
        return chosen
    line = f"investigator's judgement of {chosen.record.moment}: nothing interferes or adds risk"
    return Finding(
        truth=False, lines=(line,), evidence=frozenset({chosen.record.index}), fresh_until=chosen.fresh_until
    )


def _all_later(case: Case, said: Dated[Attested]) -> bool:
    return bool(said.data.occurred) and all(case.only_later(said, when) for when in said.data.occurred)


def _maximum(rule: kinds.Measured, case: Case) -> Finding:
    """Every fresh value counts: one that reaches a floor decides, as does one that breaks a ceiling."""
    ages = items().quantities[rule.item].ages
    records = case.usable(Observed, rule.item)
    decisive = rule.limit[0] in ("at_least", "more_than")
    parts: list[tuple[Decimal, Finding]] = []
    loose, any_fresh = [], False
    for record in records:
        fresh, until = case.freshness(record.span, ages)
        if fresh is False:
            continue
        measure = case.measure(record, rule.unit, until)
        finding = measure if isinstance(measure, Finding) else _against(rule, measure)
        if fresh is None:
            loose.append(record)
            if finding.truth is (not decisive):
                continue  # whether or not it is recent enough to count, it changes nothing
            finding = case.open(rule.item, "partial_date", ages, [record])
        any_fresh = any_fresh or fresh is True
        size = Decimal("Infinity") if isinstance(measure, Finding) else measure.range.low
        parts.append((size, finding))
    if not any_fresh:
        why: Why = "partial_date" if loose else "stale" if records else "missing"
        return case.open(rule.item, why, ages, loose or records[-1:])
    findings = [finding for _, finding in sorted(parts, key=lambda part: part[0], reverse=True)]
    joined = disjunction(findings) if decisive else conjunction(findings)
    if joined.truth is (not decisive):
        # As older values go stale the younger ones still say the same.
        return replace(joined, fresh_until=last([finding.fresh_until for finding in findings]))
    return joined


def _against(rule: kinds.Measured, measure: Measure) -> Finding:
    comparison, limit = rule.limit
    truth = _compare(measure.range, comparison, limit)
    words = _WORDS[comparison][0 if truth else 1] if truth is not None else "on an unknown side of"
    return _decided(measure, truth, f"{measure.text}: {words} {amount(limit, rule.unit)}")


def _compare(value: Range, comparison: kinds.Comparison, limit: Decimal) -> Truth:
    match comparison:
        case "at_most":
            return value.at_most(limit)
        case "less_than":
            return value.less_than(limit)
        case "at_least":
            return value.at_least(limit)
        case "more_than":
            return value.more_than(limit)


def _decided(measure: Measure, truth: Truth, line: str) -> Finding:
    if truth is None:
        return _inexact(measure)
    when = f", collected {measure.record.moment}"
    return Finding(truth, (line + when,), frozenset({measure.record.index}), measure.fresh_until)


def _inexact(measure: Measure) -> Finding:
    detail = f"{measure.text} could lie on either side of the limit; send it as a number"
    return unknown(measure.observed.item, "unknown", detail, [measure.record.index])


def _numbers(value: Range) -> str:
    return between(format(value.low, "f"), "more" if value.high is None else format(value.high, "f"))


def _clearance(ages: tuple[int, int], kg: Range, factors: tuple[str, str], mg_dl: Range) -> Range:
    low = _cockcroft_gault(ages[1], kg.low, factors[0], mg_dl.high) if mg_dl.high else Decimal(0)
    high = _cockcroft_gault(ages[0], kg.high, factors[1], mg_dl.low) if kg.high and mg_dl.low else None
    return Range(low, high)


def _cockcroft_gault(age: int, kg: Decimal, factor: str, mg_dl: Decimal) -> Decimal:
    over = EXACT.multiply(EXACT.multiply(Decimal(140 - age), kg), Decimal(factor))
    return EXACT.divide(over, EXACT.multiply(Decimal(72), mg_dl))
