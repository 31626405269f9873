"""Units are UCUM, converted exactly, and never guessed."""

from decimal import Context, Decimal, localcontext

import pytest

from shared.protocol.items import items
from shared.protocol.units import UnitError, convert, factor

CREATININE = items().quantities["creatinine"].molar
BILIRUBIN = items().quantities["bilirubin"].molar


@pytest.mark.parametrize(
    ("value", "unit", "to", "molar", "expected"),
    [
        ("88.42", "umol/L", "mg/dL", CREATININE, "1"),
        ("1", "mg/dL", "umol/L", CREATININE, "88.42"),
        ("0.08842", "mmol/L", "mg/dL", CREATININE, "1"),
        ("10", "mg/L", "mg/dL", CREATININE, "1"),
        ("17.104", "umol/L", "mg/dL", BILIRUBIN, "1"),
        ("1.1", "{INR}", "1", None, "1.1"),
        ("250", "{MFI}", "1", None, "250"),
        ("95", "%", "1", None, "0.95"),
        ("150", "[lb_av]", "kg", None, "68.0388555"),
        ("70000", "g", "kg", None, "70"),
        ("0.48", "s", "ms", None, "480"),
        ("1", "ukat/L", "U/L", None, "60"),
        ("1", "mg/(100.mL)", "mg/dL", None, "1"),
        ("3", "10*3", "1", None, "3000"),
    ],
)
def test_conventional_and_si_units_convert(
    value: str, unit: str, to: str, molar: Decimal | None, expected: str
) -> None:
    assert convert(Decimal(value), unit, to, molar) == Decimal(expected)


@pytest.mark.parametrize(
    "unit",
    ["", " ", "foo", "mg//dL", "µmol/L", "umol/L ", "((((", "{x", "x" * 41, "10*99999999999", "1/0", "mg/dL\x00"],
)
def test_what_is_no_ucum_unit_is_an_error(unit: str) -> None:
    with pytest.raises(UnitError, match=r"is no UCUM unit"):
        factor(unit, "mg/dL")


@pytest.mark.parametrize(
    ("unit", "to"),
    [
        ("kg", "mg/dL"),
        ("umol/L", "mg/dL"),
        ("Cel", "K"),
        ("dB", "1"),
        ("10*999", "1"),
        ("10*-400", "1"),
        ("[IU]/L", "U/L"),
    ],
)
def test_a_unit_that_measures_something_else_is_an_error(unit: str, to: str) -> None:
    with pytest.raises(UnitError, match="cannot be converted"):
        factor(unit, to)


def test_the_callers_decimal_context_changes_nothing() -> None:
    plain = convert(Decimal("123.456789"), "umol/L", "mg/dL", CREATININE)
    factor.cache_clear()
    with localcontext(Context(prec=3)):
        assert convert(Decimal("123.456789"), "umol/L", "mg/dL", CREATININE) == plain
