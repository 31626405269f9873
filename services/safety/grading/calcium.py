"""Total calcium corrected for albumin, as CTCAE v5.0 grades it."""

from decimal import Decimal

from services.safety.grading.readings import Reading, trouble_with_unit
from shared.protocol.units import EXACT, UnitError, convert, factor

# Payne 1973, as laboratories apply it: 0.8 mg/dL for each g/dL of albumin below 4.0, or 0.02 mmol/L for each g/L
# below 40. The document itself names no formula.
_MASS = ("mg/dL", "g/dL", Decimal("4.0"), Decimal("0.8"))
_AMOUNT = ("mmol/L", "g/L", Decimal(40), Decimal("0.02"))


def corrected(calcium: Reading, albumin: Reading | None) -> Reading | str:
    """The corrected value with the limits of total calcium, in mg/dL or mmol/L; a clause when there is none."""
    if albumin is None:
        return "CTCAE grades calcium corrected for albumin: send calcium_corrected, or albumin of the same sample"
    if albumin.comparator is not None or trouble_with_unit("albumin", albumin.unit) is not None:
        return "calcium cannot be corrected for this albumin: send its number with a unit like g/dL"
    assert calcium.unit is not None
    assert albumin.unit is not None
    unit, albumin_unit, normal, each = _AMOUNT if _is_amount(calcium.unit) else _MASS
    lacking = EXACT.subtract(normal, convert(albumin.value, albumin.unit, albumin_unit))
    made = EXACT.add(convert(calcium.value, calcium.unit, unit), EXACT.multiply(each, lacking))
    low, high = (
        None if limit is None else convert(limit, calcium.unit, unit) for limit in (calcium.low, calcium.high)
    )
    return Reading(made, unit, calcium.comparator, low, high)


def _is_amount(unit: str) -> bool:
    try:
        factor(unit, "mmol/L")
    except UnitError:
        return False
    return True
