"""Grading by CTCAE v5.0 from a value, its unit, its limits of normal and the baseline. Pure.

Each ladder of a term gives the lowest and the highest grade that the value could reach; the worst ladder counts.
Where the two differ the grade cannot be told, and the sentence says what is missing.
"""

from decimal import Decimal
from functools import partial
from typing import NamedTuple

from services.safety.grading.calcium import corrected
from services.safety.grading.proposal import Proposal
from services.safety.grading.readings import Baseline, End, Reading, ends, held_against, trouble_with_unit
from services.safety.grading.sentences import Found, sentence, untold
from services.safety.grading.terms import Ladder, Rung, Term, rungs_in, terms
from shared.protocol.units import EXACT

__all__ = ["Proposal", "Reading", "propose"]


def propose(
    item: str,
    reading: Reading,
    baseline: Reading | None = None,
    *,
    albumin: Reading | None = None,
    anticoagulated: bool = False,
) -> tuple[Proposal, ...]:
    """The grades of every term that an item has in CTCAE v5.0, in the document's order; none if it has none.

    ``baseline`` is the value before treatment; without one the rules for a normal baseline hold. Never pass a
    reading as its own baseline. ``albumin``, of the same sample, corrects a total calcium. ``anticoagulated``: the
    participant takes anticoagulants, so that INR is judged by multiples of the baseline.
    """
    if item == "calcium":
        return _of_total_calcium(reading, albumin)
    found = terms().get(item)
    if found is None:
        return ()
    trouble = trouble_with_unit(item, reading.unit)
    if trouble is not None:
        return tuple(_untold(term, reading, trouble) for term in found)
    sample = _Sample(reading, *ends(reading), held_against(item, reading, baseline), anticoagulated)
    return tuple(_graded(term, sample) for term in found)


class _Sample(NamedTuple):
    reading: Reading
    low: End
    high: End
    held: Baseline | None
    anticoagulated: bool


def _of_total_calcium(reading: Reading, albumin: Reading | None) -> tuple[Proposal, ...]:
    made = trouble_with_unit("calcium", reading.unit) or corrected(reading, albumin)
    if isinstance(made, str):
        return tuple(_untold(term, reading, made) for term in terms()["calcium_corrected"])
    return propose("calcium_corrected", made)


def _untold(term: Term, reading: Reading, trouble: str) -> Proposal:
    explain = partial(untold, term, reading, trouble)
    return Proposal(term.name, None, "CTCAE 5.0", term.source, term.signs is not None, explain)


def _graded(term: Term, sample: _Sample) -> Proposal:
    abnormal: bool | None = False
    if sample.held is not None and term.by_baseline:
        abnormal = sample.held.abnormal(upwards=term.ladders[0].upwards)
    if abnormal is None:
        # Normal or not, nobody knows: the grade stands only if both rules give it.
        rules = [_climbed(term, sample, abnormal=False), _climbed(term, sample, abnormal=True)]
    else:
        rules = [_climbed(term, sample, abnormal=abnormal)]
    least = min(max((one.least for one in found), default=0) for found in rules)
    most = max(max((one.most for one in found), default=0) for found in rules)
    grade = least if least == most and all(rules) else None
    signs = term.signs
    return Proposal(
        term.name,
        grade,
        "CTCAE 5.0",
        term.source,
        signs is not None and (grade is None or 0 < grade < signs.grade),
        partial(sentence, term, sample.reading, sample.held, rules, least, most),
        most if grade is None and all(rules) else None,
    )


def _climbed(term: Term, sample: _Sample, *, abnormal: bool) -> list[Found]:
    """What each ladder gives that applies; a ladder of the baseline applies only where there is one."""
    found = []
    for ladder in term.ladders:
        match ladder.when:
            case "baseline_normal":
                applies = not abnormal
            case "baseline_abnormal":
                applies = abnormal
            case "anticoagulated":
                applies = sample.anticoagulated
            case "not_anticoagulated":
                applies = not sample.anticoagulated
            case _:
                applies = True
        if applies and (sample.held is not None or ladder.of != "baseline"):
            found.append(_climb(ladder, sample))
    return found


def _climb(ladder: Ladder, sample: _Sample) -> Found:
    reading, held = sample.reading, sample.held
    assert reading.unit is not None
    rungs = rungs_in(ladder, reading.unit)
    reference, certain = _reference(ladder, reading, held)
    if ladder.of is not None and reference is None:
        return Found(ladder, rungs, None, 0, ladder.top)
    best, worst = (sample.low, sample.high) if ladder.upwards else (sample.high, sample.low)
    most = _reached(ladder, rungs, reference, worst)
    if not certain:
        least = 0
    elif best is worst:
        least = most
    else:
        least = _reached(ladder, rungs, reference, best)
    return Found(ladder, rungs, reference, least, most)


def _reference(ladder: Ladder, reading: Reading, held: Baseline | None) -> tuple[Decimal | None, bool]:
    """What the rungs count from, and whether it is certain: a baseline that is no number could lie higher."""
    match ladder.of:
        case None:
            return None, True
        case "uln":
            return reading.high, True
        case "lln":
            return reading.low, True
        case "baseline":
            return (None if held is None else held.value), True
        case "uln_and_baseline":
            if reading.high is None or held is None:
                return reading.high, True
            return max(reading.high, held.value or reading.high), held.value is not None


def _reached(ladder: Ladder, rungs: tuple[Rung, ...], reference: Decimal | None, end: End) -> int:
    grade = 0
    for rung in rungs:
        cut = rung.cut
        if reference is not None:
            cut = EXACT.multiply(cut, reference) if ladder.multiple else EXACT.add(cut, reference)
        if not end.beyond(cut, upwards=ladder.upwards, inclusive=rung.inclusive):
            break
        grade = rung.grade
    return grade
