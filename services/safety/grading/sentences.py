"""The arithmetic of a CTCAE grade as a sentence: the value, what it is held against, and where it comes to lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal

from services.safety.grading.readings import Baseline, Reading
from services.safety.grading.terms import Ladder, Rung, Term
from shared.protocol.units import EXACT

# Wide enough for the ratio of any two numbers of an event, which have at most 20 digits each.
_WIDE = Context(prec=60, rounding=ROUND_FLOOR)
_LIMITS = {"uln": "ULN", "lln": "LLN", "baseline": "baseline", "uln_and_baseline": "the higher of ULN and baseline"}
_MISSING = {
    "uln": "the laboratory's upper limit of normal (ULN) is missing",
    "lln": "the laboratory's lower limit of normal (LLN) is missing",
    "baseline": "the baseline is no number that it could be held against",
    "uln_and_baseline": "the laboratory's upper limit of normal (ULN) is missing",
}
_REACHED = {"more_than": "above", "at_least": "at least", "less_than": "below", "at_most": "at most"}
_NOT_REACHED = {"more_than": "not above", "at_least": "below", "less_than": "not below", "at_most": "above"}


@dataclass(frozen=True, slots=True)
class Found:
    """What one ladder gives: the lowest and the highest grade that the value could reach on it.

    ``reference`` is the limit or baseline in the value's unit; None where it is missing, or none is needed.
    """

    ladder: Ladder
    rungs: tuple[Rung, ...]
    reference: Decimal | None
    least: int
    most: int


def sentence(
    term: Term, reading: Reading, held: Baseline | None, rules: list[list[Found]], least: int, most: int
) -> str:
    """The whole arithmetic of one term; two rules where it is not known whether the baseline was normal."""
    found = [one for rule in rules for one in rule]
    head = ", ".join(_held_against(reading, held, found))
    clauses = list(dict.fromkeys(_clause(one, reading) for one in found))
    if len(rules) > 1:
        clauses.append("whether the baseline was normal cannot be told without its own limit")
    body = "; ".join(clauses) or "there is no baseline to compare with"
    verdict = _verdict(term, least, most) if found else "the grade cannot be told"
    return f"{head}: {body}: {verdict} ({term.source})"


def untold(term: Term, reading: Reading, trouble: str) -> str:
    """Why nothing can be said at all."""
    return f"{_said(reading)}: {trouble}: no grade can be told ({term.source})"


def _verdict(term: Term, least: int, most: int) -> str:
    if least != most:
        return f"the grade cannot be told, it could be {least} to {most}"
    if not least:
        return "no grade"
    signs = term.signs
    if signs is None or least >= signs.grade:
        return f"grade {least}"
    return f"at least grade {least}, and up to {signs.grade} by signs that no number holds: {signs.what}"


def _held_against(reading: Reading, held: Baseline | None, found: list[Found]) -> Iterator[str]:
    yield _said(reading)
    used = {one.ladder.of for one in found}
    if reading.high is not None and used & {"uln", "uln_and_baseline"}:
        yield f"ULN {_plain(reading.high)}"
    if reading.low is not None and "lln" in used:
        yield f"LLN {_plain(reading.low)}"
    if held is not None and used & {"baseline", "uln_and_baseline"}:
        yield f"baseline {_said(held.reading)}"


def _clause(one: Found, reading: Reading) -> str:
    ladder, unit = one.ladder, _unit(reading.unit)
    of = None if ladder.of is None else _LIMITS[ladder.of]
    if ladder.of is not None and one.reference is None:
        return _MISSING[ladder.of]
    if one.least != one.most:
        cuts = ", ".join(_plain(rung.shown) for rung in one.rungs)
        return f"it could be grade {one.least} to {one.most} (cuts {cuts}{f' x {of}' if of else unit})"
    if one.reference is None:
        return f"{_rounded(reading, ladder)}{_between(one, unit)}"
    if ladder.multiple:
        assert of is not None
        if not one.reference:
            return _between(one, f" x {of}")
        return f"{reading.comparator or ''}{_times(reading.value, one)} x {of}, {_between(one, f' x {of}')}"
    distance = EXACT.subtract(reading.value, one.reference)
    return f"{_plain(distance)}{unit} from {of}, {_between(one, unit)}"


def _between(one: Found, unit: str) -> str:
    below = [rung for rung in one.rungs if rung.grade <= one.least]
    above = [rung for rung in one.rungs if rung.grade > one.least]
    reached = f"{_REACHED[below[-1].comparison]} {_plain(below[-1].shown)}{unit}" if below else ""
    left = f"{_NOT_REACHED[above[0].comparison]} {_plain(above[0].shown)}{unit}" if above else ""
    return " and ".join(part for part in (reached, left) if part)


def _rounded(reading: Reading, ladder: Ladder) -> str:
    whole = reading.value.to_integral_value(ROUND_HALF_UP)
    if not ladder.whole or whole == reading.value or reading.unit not in ladder.printed:
        return ""
    return f"rounded {_plain(whole)}, "


def _times(value: Decimal, one: Found) -> str:
    assert one.reference is not None
    ratio = EXACT.divide(value, one.reference)
    cuts = {rung.shown for rung in one.rungs}
    # Cut off and not rounded, in as many places as show on which side of a cut it lies: 3.001 is not 3.00.
    for places in (2, 4, 8):
        text = ratio.quantize(Decimal(1).scaleb(-places), context=_WIDE)
        if text == ratio or text not in cuts:
            return format(text, "f")
    return format(ratio, "f")


def _said(reading: Reading) -> str:
    return f"{reading.comparator or ''}{_plain(reading.value)}{_unit(reading.unit)}"


def _unit(unit: str | None) -> str:
    return "" if unit in (None, "1") else f" {unit}"


def _plain(number: Decimal) -> str:
    return format(number, "f")
