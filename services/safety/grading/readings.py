"""A measurement as grading sees it: the numbers it could be, and whether its unit can be judged at all."""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from shared.protocol.items import items
from shared.protocol.units import UnitError, convert

# meq/L counts charges, and UCUM takes a charge for a particle: these ions carry more than one.
_MANY_CHARGES = frozenset({"calcium", "calcium_corrected", "ionized_calcium", "magnesium", "phosphate"})
_ENDLESS = Decimal("Infinity")


class Reading(NamedTuple):
    """A measured value, its UCUM unit, its comparator and the laboratory's own limits of normal in that unit."""

    value: Decimal
    unit: str | None
    comparator: str | None = None
    low: Decimal | None = None
    high: Decimal | None = None


class End(NamedTuple):
    """One end of what a value could be: ``side`` -1 is just below ``at``, 1 just above, 0 the number itself."""

    at: Decimal
    side: int

    def beyond(self, cut: Decimal, *, upwards: bool, inclusive: bool) -> bool:
        """Whether it lies beyond a cut, upwards or downwards."""
        if self.at == cut:
            return inclusive if self.side == 0 else (self.side > 0) == upwards
        return (self.at > cut) == upwards


def ends(reading: Reading) -> tuple[End, End]:
    """The lowest and the highest number that a reading could be; nothing measured is negative."""
    match reading.comparator:
        case None:
            exactly = End(reading.value, 0)
            return exactly, exactly
        case "<":
            return End(Decimal(0), 0), End(reading.value, -1)
        case "<=":
            return End(Decimal(0), 0), End(reading.value, 0)
        case ">":
            return End(reading.value, 1), End(_ENDLESS, 0)
        case _:
            return End(reading.value, 0), End(_ENDLESS, 0)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a reading is held against. ``value`` is in the reading's unit; None when it is no usable number."""

    reading: Reading
    value: Decimal | None

    def abnormal(self, *, upwards: bool) -> bool | None:
        """Whether it lies beyond its own limit of normal; None when that cannot be told."""
        limit = self.reading.high if upwards else self.reading.low
        if limit is None or self.reading.unit is None:
            return None
        low, high = (end.beyond(limit, upwards=upwards, inclusive=False) for end in ends(self.reading))
        return low if low == high else None


def held_against(item: str, reading: Reading, baseline: Reading | None) -> Baseline | None:
    """The baseline, its value in the reading's unit; None when there is none."""
    if baseline is None:
        return None
    if baseline.unit is None or baseline.comparator is not None or baseline.value <= 0:
        return Baseline(baseline, None)
    if baseline.unit == reading.unit:
        return Baseline(baseline, baseline.value)
    if reading.unit is None or trouble_with_unit(item, baseline.unit) is not None:
        return Baseline(baseline, None)
    return Baseline(baseline, convert(baseline.value, baseline.unit, reading.unit, items().measured[item].molar))


@lru_cache(maxsize=4096)
def trouble_with_unit(item: str, unit: str | None) -> str | None:
    """Why values of an item in this unit cannot be judged, as a clause; None when they can."""
    quantity = items().measured[item]
    if unit is None:
        return "the unit is missing"
    if item in _MANY_CHARGES and "eq" in unit:
        return f"{unit} counts charges, send {quantity.unit} or mmol/L"
    try:
        convert(Decimal(1), unit, quantity.unit, quantity.molar)
    except UnitError as error:
        return str(error)
    return None
