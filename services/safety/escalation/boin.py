"""BOIN, the Bayesian optimal interval design: boundaries, decision table and recommendation, exactly.

Liu S, Yuan Y. Bayesian optimal interval designs for phase I clinical trials. J R Stat Soc C 2015;64:507-523;
Yuan Y, Hess KR, Hilsenbeck SG, Gilbert MR. Clin Cancer Res 2016;22:4291-4301. The local design with a flat
prior on the three hypotheses, f1 = 0.6 f and f2 = 1.4 f.

What the papers leave open is decided here so:

- A cohort is judged when it is full. A participant who is not evaluable is replaced, so only the evaluable
  and those whose window is open fill places. Only a way down does not wait for the empty places: nobody is
  treated at a level that is eliminated, or that would be left even if everyone still missing had no DLT.
- At the lowest level a rate that asks for de-escalation keeps the level until it is eliminated, as in the
  authors' software; with the lowest level eliminated the trial stops.
- At the highest level, below an eliminated level or below one that takes nobody more, escalation is a stay.
- A stay at a level that takes nobody more ends dose finding, and so does a way down into such a level.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import NamedTuple

from services.safety.escalation.recommendation import Action, Recommendation, Tally, counted, settle
from shared.protocol.escalation import Boin
from shared.protocol.units import EXACT

_LOGARITHMS = Context(prec=40, rounding=ROUND_HALF_EVEN)
_SHOWN = Decimal("0.0001")


class Row(NamedTuple):
    """One line of the decision table: the limits in numbers of DLTs for ``participants`` at a level."""

    participants: int
    escalate: int
    """Escalate with at most so many."""
    de_escalate: int
    """De-escalate with at least so many."""
    eliminate: int | None
    """Eliminate with at least so many; None where no number of DLTs eliminates."""


def boundaries(target: Decimal) -> tuple[Decimal, Decimal]:
    """Work out lambda_e and lambda_d, the rates at which to escalate and de-escalate, to 28 digits.

    lambda_e = ln((1-f1)/(1-f)) / ln(f(1-f1)/(f1(1-f))), lambda_d = ln((1-f)/(1-f2)) / ln(f2(1-f)/(f(1-f2))).
    """
    low, high = _odds(target)
    return _ratio_of_logarithms(*low), _ratio_of_logarithms(*high)


def posterior_above(target: Decimal, dlts: int, participants: int) -> Fraction:
    """The probability that the DLT rate exceeds the target, under the flat prior Beta(1, 1), exactly.

    Beta(1+y, 1+n-y) lies above f just as often as n+1 trials with probability f have at most y successes.
    """
    rate, trials = Fraction(target), participants + 1
    terms = (comb(trials, count) * rate**count * (1 - rate) ** (trials - count) for count in range(dlts + 1))
    return sum(terms, Fraction(0))


def table(
    target: Decimal, most: int, *, elimination: Decimal = Decimal("0.95"), eliminate_from: int = 3
) -> tuple[Row, ...]:
    """Lay out the limits for 1 to ``most`` participants at a level."""
    rows = []
    for participants in range(1, most + 1):
        dlts = range(participants + 1)
        up = max(count for count in dlts if _leads_up(target, count, participants))
        down = min(count for count in dlts if _leads_down(target, count, participants))
        gone = [count for count in dlts if _eliminates(target, count, participants, elimination, eliminate_from)]
        rows.append(Row(participants, up, min([down, *gone]), gone[0] if gone else None))
    return tuple(rows)


def recommend(
    design: Boin, levels: Sequence[Tally], current: str, arrived_with: int | None = None
) -> Recommendation:
    """Recommend for the current level what no open window can change any more; otherwise to wait.

    ``levels`` ascend by dose; ``arrived_with`` is as in ``design.recommend``.
    """
    at = [level.dose_level for level in levels].index(current)

    def excluded(participants: int, dlts: int) -> bool:
        return _eliminates(design.target, dlts, participants, design.elimination, design.eliminate_from)

    def rule(dlts: int, ceiling: int) -> Recommendation:
        return _judged(design, levels, at, dlts, ceiling, _owed(design, levels[at].treated, arrived_with))

    escalate, de_escalate = boundaries(design.target)
    limits = f"escalate at {_shown(escalate)} or below, de-escalate at {_shown(de_escalate)} or above"
    return settle(levels, at, excluded, rule, limits)


def _judged(design: Boin, levels: Sequence[Tally], at: int, dlts: int, ceiling: int, owed: int) -> Recommendation:
    """Judge a level all of whose windows are closed; ``ceiling`` is the lowest eliminated level."""
    names = [level.dose_level for level in levels]
    participants = levels[at].treated
    lines = _compared(design, dlts, participants)

    def answer(action: Action, why: str, *, of: int = at, to: int | None = None) -> Recommendation:
        goal = None if to is None else names[to]
        return Recommendation(action, names[of], goal, tuple(names[ceiling:]), (*lines, why))

    def down(action: Action, to: int, why: str) -> Recommendation:
        if levels[to].treated < design.most_per_level:
            return answer(action, f"{why}; the next cohort goes to {names[to]}", to=to)
        return answer("complete", f"{why}; {names[to]} below has its {levels[to].treated} participants", of=to)

    if ceiling == 0:
        return answer("stop", f"{names[0]}, the lowest level, is eliminated: no level is left")
    if ceiling <= at:
        return down("eliminate", ceiling - 1, f"{names[ceiling]} and every level above are eliminated")
    if owed:
        if at > 0 and _leads_down(design.target, dlts, participants + owed):
            return down("de_escalate", at - 1, f"above the limit even if {_missing(owed)} had no DLT")
        return answer("wait", f"the cohort is not full: {counted(owed, 'participant')} still to be treated")
    if at > 0 and _leads_down(design.target, dlts, participants):
        return down("de_escalate", at - 1, "de-escalate")
    if not _leads_up(design.target, dlts, participants):
        lowest = at == 0 and _leads_down(design.target, dlts, participants)
        reason = "there is no lower level, and this one is not eliminated" if lowest else "within the interval"
    elif at + 1 == len(levels):
        reason = f"{names[at]} is the highest level"
    elif at + 1 == ceiling:
        reason = f"{names[ceiling]} above is eliminated"
    elif levels[at + 1].treated >= design.most_per_level:
        reason = f"{names[at + 1]} above has its {levels[at + 1].treated} participants"
    else:
        return answer("escalate", f"escalate to {names[at + 1]}", to=at + 1)
    if participants >= design.most_per_level:
        return answer("complete", f"{reason}; {names[at]} has its {participants} participants")
    return answer("stay", f"{reason}, stay at {names[at]}")


def _owed(design: Boin, treated: int, arrived_with: int | None) -> int:
    """How many places of the present cohort are still to be filled."""
    size = design.cohort_size
    before = max(treated - 1, 0) // size * size if arrived_with is None else arrived_with
    return max(0, min(before + size, design.most_per_level) - treated)


def _compared(design: Boin, dlts: int, participants: int) -> tuple[str, ...]:
    if participants == 0:
        return ("nobody has been treated at this level yet",)
    escalate, de_escalate = (_shown(boundary) for boundary in boundaries(design.target))
    count = f"{dlts} of {participants} with a DLT: {_shown(Fraction(dlts, participants))}"
    if _leads_up(design.target, dlts, participants):
        count += f", at most {escalate}"
    elif _leads_down(design.target, dlts, participants):
        count += f", at least {de_escalate}"
    else:
        count += f", above {escalate} and below {de_escalate}"
    if participants < design.eliminate_from:
        return (count,)
    above = posterior_above(design.target, dlts, participants)
    verdict = "above" if above > Fraction(design.elimination) else "not above"
    probability = f"probability that the DLT rate exceeds {design.target}: {_shown(above)}"
    return (count, f"{probability}, {verdict} {design.elimination}")


def _missing(owed: int) -> str:
    return "the participant still to be treated" if owed == 1 else f"the {owed} participants still to be treated"


def _eliminates(target: Decimal, dlts: int, participants: int, elimination: Decimal, least: int) -> bool:
    return participants >= least and posterior_above(target, dlts, participants) > Fraction(elimination)


def _leads_up(target: Decimal, dlts: int, participants: int) -> bool:
    # y/n <= ln a / ln b exactly when b^y <= a^n: no logarithm is rounded, even where lambda is a fraction.
    (a, b), _ = _odds(target)
    return b**dlts <= a**participants


def _leads_down(target: Decimal, dlts: int, participants: int) -> bool:
    _, (a, b) = _odds(target)
    return b**dlts >= a**participants


@lru_cache(maxsize=64)
def _odds(target: Decimal) -> tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]:
    """For each boundary the two numbers whose logarithms it divides, with f1 = 0.6 f and f2 = 1.4 f."""
    rate = Fraction(target)
    low, high = Fraction(6, 10) * rate, Fraction(14, 10) * rate
    below, above = (1 - low) / (1 - rate), (1 - rate) / (1 - high)
    return (below, below * rate / low), (above, above * high / rate)


def _ratio_of_logarithms(above: Fraction, below: Fraction) -> Decimal:
    return EXACT.plus(_LOGARITHMS.divide(_logarithm(above), _logarithm(below)))


def _logarithm(number: Fraction) -> Decimal:
    quotient = _LOGARITHMS.divide(Decimal(number.numerator), Decimal(number.denominator))
    return _LOGARITHMS.ln(quotient)


def _shown(number: Decimal | Fraction) -> Decimal:
    """Four places, for reading only."""
    if isinstance(number, Fraction):
        number = EXACT.divide(Decimal(number.numerator), Decimal(number.denominator))
    return number.quantize(_SHOWN, rounding=ROUND_HALF_EVEN, context=EXACT)
