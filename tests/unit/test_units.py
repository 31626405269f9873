"""Units are UCUM, converted exactly, and never guessed."""

from decimal import Context, Decimal, localcontext

import pytest

from shared.protocol.items import Quantity, items
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
    ("fahrenheit", "celsius"),
    [("98.6", "37"), ("100.4", "38"), ("104", "40"), ("95", "35"), ("32", "0"), ("-40", "-40"), ("93.74", "34.3")],
)
def test_degrees_convert_exactly_both_ways(fahrenheit: str, celsius: str) -> None:
    assert convert(Decimal(fahrenheit), "[degF]", "Cel") == Decimal(celsius)
    assert convert(Decimal(celsius), "Cel", "[degF]") == Decimal(fahrenheit)


@pytest.mark.parametrize(
    ("unit", "to"), [("[degF]", "Cel"), ("Cel", "[degF]"), ("[degF]", "K"), ("[degF]", "mg/dL")]
)
def test_no_factor_converts_degrees(unit: str, to: str) -> None:
    with pytest.raises(UnitError, match="cannot be converted"):
        factor(unit, to)


def _quantity(item: str) -> Quantity:
    return items().measured[item]


@pytest.mark.parametrize(
    ("item", "value", "unit", "expected"),
    [
        ("sodium", "135", "meq/L", "135"),
        ("potassium", "4.5", "meq/L", "4.5"),
        ("chloride", "106", "meq/L", "106"),
        ("platelets", "75", "10*9/L", "75"),
        ("platelets", "75000", "/uL", "75"),
        ("anc", "1500", "/mm3", "1.5"),
        ("rbc", "5.3", "10*12/L", "5.3"),
        ("haemoglobin", "100", "g/L", "10"),
        ("albumin", "38", "g/L", "3.8"),
        ("calcium", "2.1956", "mmol/L", "8.8"),
        ("phosphate", "1.22702", "mmol/L", "3.8"),
        ("glucose", "4.71835", "mmol/L", "85"),
        ("cholesterol", "5.9478", "mmol/L", "230"),
        ("uric_acid", "267.66", "umol/L", "4.5"),
        ("urea", "3.57", "mmol/L", "10"),
        ("vitamin_b12", "294.3822", "pmol/L", "399"),
        ("haemoglobin", "8.87458", "mmol/L", "14.3"),
        ("tsh", "1.68", "m[IU]/L", "1.68"),
        ("basophil_fraction", "0.4", "1", "40"),
        ("height", "53.5", "[in_i]", "135.89"),
        ("temperature", "100.5", "[degF]", "38.05555555555555555555555556"),
    ],
)
def test_what_a_laboratory_sends_converts_to_the_items_unit(
    item: str, value: str, unit: str, expected: str
) -> None:
    quantity = _quantity(item)
    made = convert(Decimal(value), unit, quantity.unit, quantity.molar)
    assert abs(made - Decimal(expected)) < Decimal("1e-20")


@pytest.mark.parametrize("item", sorted(items().measured))
def test_every_item_can_be_reported_in_a_ucum_unit_within_bounds_that_exist(item: str) -> None:
    quantity = _quantity(item)
    low, high = quantity.possible
    assert 0 <= low < high
    # A candela is measured by none of them: that the unit cannot be converted shows that it is one.
    with pytest.raises(UnitError, match="cannot be converted"):
        factor("cd", quantity.unit)


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
