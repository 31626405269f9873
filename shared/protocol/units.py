"""UCUM units, exactly: conversion by a decimal factor, molar masses where the item has one, degrees by their line.

A unit that is not UCUM, or that measures something else, is an error and never a guess.
"""

import math
import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Any

from shared.words import TrailError

# One arithmetic everywhere, whatever the caller's thread has set.
EXACT = Context(prec=28, rounding=ROUND_HALF_EVEN)
_FACTOR = Context(prec=12, rounding=ROUND_HALF_EVEN)  # sheds the binary noise of pint's float factors
_FREEZING = Decimal(32)  # of water, in degrees Fahrenheit
# An exponent like 10*99999999999 would be worked out, and hang the reader; no unit of a laboratory has one.
_LONG_NUMBER = re.compile(r"\d{4}(?![^{]*\})")


class UnitError(TrailError):
    """A unit that is no UCUM unit or does not fit the item."""


@lru_cache(maxsize=1)
def _registry() -> Any:
    # ucumvert takes over a second to load, and only a reader of real units needs it.
    from ucumvert import PintUcumRegistry  # noqa: PLC0415

    return PintUcumRegistry()


@lru_cache(maxsize=4096)
def factor(unit: str, to: str, molar: Decimal | None = None) -> Decimal:
    """How many ``to`` make one ``unit``; ``molar`` is umol/L per mg/dL for the substance, if it has one.

    Raises UnitError with a sentence.
    """
    if unit == to:
        return Decimal(1)
    source, target = _ucum(unit), _ucum(to)
    if source.dimensionality == target.dimensionality:
        return _ratio(source, target)
    moles, mass = _ucum("umol/L"), _ucum("mg/dL")
    if molar is not None:
        if source.dimensionality == moles.dimensionality and target.dimensionality == mass.dimensionality:
            return EXACT.multiply(EXACT.divide(_ratio(source, moles), molar), _ratio(mass, target))
        if source.dimensionality == mass.dimensionality and target.dimensionality == moles.dimensionality:
            return EXACT.multiply(EXACT.multiply(_ratio(source, mass), molar), _ratio(moles, target))
    raise UnitError(f"the unit {unit} cannot be converted to {to}")


def convert(value: Decimal, unit: str, to: str, molar: Decimal | None = None) -> Decimal:
    """Express ``value`` in another unit, to 28 digits; degrees Fahrenheit and Celsius in each other, too.

    Raises UnitError with a sentence.
    """
    if unit == to:
        return value
    if unit == "[degF]" and to == "Cel":
        return EXACT.divide(EXACT.multiply(EXACT.subtract(value, _FREEZING), Decimal(5)), Decimal(9))
    if unit == "Cel" and to == "[degF]":
        return EXACT.add(EXACT.divide(EXACT.multiply(value, Decimal(9)), Decimal(5)), _FREEZING)
    return EXACT.multiply(value, factor(unit, to, molar))


def _ratio(source: Any, target: Any) -> Decimal:
    try:
        # Multiplying raises for degrees Celsius and decibels, which no factor converts.
        made = float((1 * source).to(target.units).magnitude) / float(target.magnitude)
    except (ArithmeticError, TypeError, ValueError):
        made = math.nan
    if not 0 < made < math.inf:
        raise UnitError(f"the unit {source.units} cannot be converted to {target.units}")
    return _FACTOR.create_decimal_from_float(made).normalize(_FACTOR)


@lru_cache(maxsize=4096)
def _ucum(unit: str) -> Any:
    if not unit or len(unit) > 40 or not unit.isascii() or _LONG_NUMBER.search(unit):
        raise UnitError(f"{unit[:40]!r} is no UCUM unit")
    if unit == "1":
        return 1 * _registry().dimensionless
    try:
        made = _registry().from_ucum(unit)
    except Exception as error:  # the grammar, pint and recursion each raise their own; all mean the same
        raise UnitError(f"{unit!r} is no UCUM unit; write it like mg/dL, umol/L, U/L, ms, [lb_av]") from error
    # A bare annotation such as {INR} parses to its text: a pure number. A magnitude counts: mg/(100.mL).
    return made if hasattr(made, "dimensionality") else 1 * _registry().dimensionless
