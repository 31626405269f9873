"""Every cut of every measured term of CTCAE v5.0, as the document prints it, in every unit in which it does."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.safety.grading.ctcae import Proposal, Reading, propose
from services.safety.grading.terms import Cuts, terms
from shared.protocol.items import items
from shared.protocol.units import convert

D = Decimal
STEP = D("0.001")
OPERATORS = {
    ">": lambda value, cut: value > cut,
    ">=": lambda value, cut: value >= cut,
    "<": lambda value, cut: value < cut,
    "<=": lambda value, cut: value <= cut,
}


@dataclass(frozen=True)
class Row:
    """A term in one unit with limits of normal and a baseline; the cuts as numbers in that unit, worked by hand."""

    term: str
    item: str
    unit: str
    cuts: str
    low: str | None = None
    high: str | None = None
    baseline: str | None = None
    anticoagulated: bool = False

    def __str__(self) -> str:
        return f"{self.term} {self.unit} {self.cuts} baseline {self.baseline}"

    def rungs(self) -> Iterator[tuple[int, str, Decimal]]:
        for rung in self.cuts.split():
            operator = rung[1:].rstrip("0123456789.")
            yield int(rung[0]), operator, D(rung[1 + len(operator) :])

    def grade(self, value: Decimal) -> int:
        """What the table says, rung by rung, knowing nothing of the code under test."""
        return max([grade for grade, operator, cut in self.rungs() if OPERATORS[operator](value, cut)], default=0)

    def reading(self, value: Decimal, comparator: str | None = None) -> Reading:
        return Reading(value, self.unit, comparator, self.limit(self.low), self.limit(self.high))

    def held(self) -> Reading | None:
        return None if self.baseline is None else self.reading(D(self.baseline))

    def proposed(self, value: Decimal, comparator: str | None = None) -> Proposal:
        made = propose(self.item, self.reading(value, comparator), self.held(), anticoagulated=self.anticoagulated)
        return next(one for one in made if one.term == self.term)

    def margin(self, cut: Decimal) -> Decimal:
        # A tenth of a temperature would span every cut, and degrees are printed exactly.
        return STEP if self.item == "temperature" else cut / 10

    @staticmethod
    def limit(text: str | None) -> Decimal | None:
        return None if text is None else D(text)


ALT, AST = "Alanine aminotransferase increased", "Aspartate aminotransferase increased"
ALP, BILIRUBIN = "Alkaline phosphatase increased", "Blood bilirubin increased"
APTT = "Activated partial thromboplastin time prolonged"
LDH = "Blood lactate dehydrogenase increased"
QTC, EF = "Electrocardiogram QT corrected interval prolonged", "Ejection fraction decreased"
CREATININE, FIBRINOGEN = "Creatinine increased", "Fibrinogen decreased"
PLATELETS, NEUTROPHILS = "Platelet count decreased", "Neutrophil count decreased"
LEUKOPENIA, LYMPHOPENIA = "White blood cell decreased", "Lymphocyte count decreased"
LYMPHOCYTOSIS, CD4 = "Lymphocyte count increased", "CD4 lymphocytes decreased"

TABLE = [
    Row("Anemia", "haemoglobin", "g/dL", "1<12 2<10.0 3<8.0", low="12"),
    Row("Anemia", "haemoglobin", "g/L", "1<120 2<100 3<80", low="120"),
    Row("Anemia", "haemoglobin", "mmol/L", "1<7.4 2<6.2 3<4.9", low="7.4"),
    Row("Eosinophilia", "eosinophils", "10*9/L", "1>0.5", high="0.5"),
    Row("Eosinophilia", "eosinophils", "10*9/L", "1>0.8", high="0.5", baseline="0.8"),
    Row("Eosinophilia", "eosinophils", "/mm3", "1>500", high="500", baseline="300"),
    Row("Leukocytosis", "wbc", "/mm3", "3>100000"),
    Row("Leukocytosis", "wbc", "10*9/L", "3>100"),
    Row("Fever", "temperature", "Cel", "1>=38.0 2>39.0 3>40.0"),
    Row("Fever", "temperature", "[degF]", "1>=100.4 2>102.2 3>104.0"),
    Row("Hypothermia", "temperature", "Cel", "2<=35 3<=32 4<=28"),
    Row("Hypothermia", "temperature", "[degF]", "2<=95 3<=89.6 4<=82.4"),
    Row(APTT, "aptt", "s", "1>38 2>57 3>95", high="38"),
    Row(ALT, "alt", "U/L", "1>40 2>120 3>200 4>800", high="40"),
    Row(ALT, "alt", "ukat/L", "1>0.7 2>2.1 3>3.5 4>14", high="0.7"),
    Row(ALT, "alt", "U/L", "1>40 2>120 3>200 4>800", high="40", baseline="40"),
    Row(ALT, "alt", "U/L", "1>=90 2>180 3>300 4>1200", high="40", baseline="60"),
    Row(AST, "ast", "U/L", "1>34 2>102 3>170 4>680", high="34"),
    Row(AST, "ast", "ukat/L", "1>0.6 2>1.8 3>3.0 4>12", high="0.6"),
    Row(AST, "ast", "U/L", "1>=60 2>120 3>200 4>800", high="34", baseline="40"),
    Row(ALP, "alp", "U/L", "1>120 2>300 3>600 4>2400", high="120"),
    Row(ALP, "alp", "ukat/L", "1>2 2>5 3>10 4>40", high="2"),
    Row(ALP, "alp", "U/L", "1>=400 2>500 3>1000 4>4000", high="120", baseline="200"),
    Row("GGT increased", "ggt", "U/L", "1>50 2>125 3>250 4>1000", high="50"),
    Row("GGT increased", "ggt", "U/L", "1>=120 2>150 3>300 4>1200", high="50", baseline="60"),
    Row("Blood bicarbonate decreased", "bicarbonate", "mmol/L", "1<22", low="22"),
    Row(BILIRUBIN, "bilirubin", "mg/dL", "1>1.2 2>1.8 3>3.6 4>12", high="1.2"),
    Row(BILIRUBIN, "bilirubin", "umol/L", "1>20 2>30 3>60 4>200", high="20"),
    Row(BILIRUBIN, "bilirubin", "mg/dL", "1>2 2>3 3>6 4>20", high="1.2", baseline="2"),
    Row(BILIRUBIN, "bilirubin", "umol/L", "1>30 2>45 3>90 4>300", high="20", baseline="30"),
    Row(LDH, "ldh", "U/L", "1>250", high="250"),
    Row(CD4, "cd4", "/mm3", "1<700 2<500 3<200 4<50", low="700"),
    Row(CD4, "cd4", "10*9/L", "1<0.7 2<0.5 3<0.2 4<0.05", low="0.7"),
    Row("Cholesterol high", "cholesterol", "mg/dL", "1>200 2>300 3>400 4>500", high="200"),
    Row("Cholesterol high", "cholesterol", "mmol/L", "1>5.2 2>7.75 3>10.34 4>12.92", high="5.2"),
    Row("CPK increased", "ck", "U/L", "1>170 2>425 3>850 4>1700", high="170"),
    Row(CREATININE, "creatinine", "mg/dL", "1>1.2 2>1.8 3>3.6 4>7.2", high="1.2"),
    Row(CREATININE, "creatinine", "umol/L", "1>106 2>159 3>318 4>636", high="106"),
    Row(CREATININE, "creatinine", "mg/dL", "2>1.2 3>2.4 4>7.2", high="1.2", baseline="0.8"),
    Row(CREATININE, "creatinine", "mg/dL", "1>1.2 2>1.5 3>3.0 4>7.2", high="1.2", baseline="1.0"),
    Row(CREATININE, "creatinine", "umol/L", "2>90 3>180 4>636", high="106", baseline="60"),
    Row(EF, "lvef", "%", "2<50.5 3<39.5 4<20"),
    Row(EF, "lvef", "%", "2<60.5 3<50.5 4<20", baseline="70"),
    Row(QTC, "qtc", "ms", "1>=449.5 2>=480.5 3>=500.5"),
    Row(QTC, "qtc", "s", "1>=0.4495 2>=0.4805 3>=0.5005"),
    Row(QTC, "qtc", "ms", "1>=449.5 3>460", baseline="400"),
    Row(FIBRINOGEN, "fibrinogen", "mg/dL", "1<240 2<180 3<120 4<60", low="240"),
    Row(FIBRINOGEN, "fibrinogen", "mg/dL", "1<160 2<120 3<80 4<50", low="160"),
    Row(FIBRINOGEN, "fibrinogen", "g/L", "1<2.4 2<1.8 3<1.2 4<0.6", low="2.4"),
    Row(FIBRINOGEN, "fibrinogen", "g/L", "1<1.6 2<1.2 3<0.8 4<0.5", low="1.6"),
    Row(FIBRINOGEN, "fibrinogen", "mg/dL", "1<240 2<=180 3<=120 4<=60", low="300", baseline="240"),
    Row(FIBRINOGEN, "fibrinogen", "mg/dL", "1<160 2<=120 3<=80 4<50", low="200", baseline="160"),
    Row("Haptoglobin decreased", "haptoglobin", "mg/dL", "1<30", low="30"),
    Row("Hemoglobin increased", "haemoglobin", "g/dL", "1>16 2>18 3>20", high="16"),
    Row("Hemoglobin increased", "haemoglobin", "g/L", "1>160 2>180 3>200", high="160"),
    Row("Hemoglobin increased", "haemoglobin", "mmol/L", "1>10 2>11.2412 3>12.4824", high="10"),
    Row("INR increased", "inr", "1", "1>1.2 2>1.5 3>2.5"),
    Row("INR increased", "inr", "{INR}", "1>1.2 2>1.5 3>2.5", baseline="2.0"),
    Row("INR increased", "inr", "1", "1>2.0 2>3.0 3>5.0", baseline="2.0", anticoagulated=True),
    Row("Lipase increased", "lipase", "U/L", "1>60 2>90 3>300", high="60"),
    Row("Serum amylase increased", "amylase", "U/L", "1>100 2>150 3>500", high="100"),
    Row(LYMPHOPENIA, "lymphocytes", "/mm3", "1<1000 2<800 3<500 4<200", low="1000"),
    Row(LYMPHOPENIA, "lymphocytes", "10*9/L", "1<1.0 2<0.8 3<0.5 4<0.2", low="1.0"),
    Row(LYMPHOPENIA, "lymphocytes", "10*3/uL", "1<1.0 2<0.8 3<0.5 4<0.2", low="1.0"),
    Row(LYMPHOCYTOSIS, "lymphocytes", "/mm3", "2>4000 3>20000"),
    Row(LYMPHOCYTOSIS, "lymphocytes", "10*9/L", "2>4 3>20"),
    Row(NEUTROPHILS, "anc", "/mm3", "1<2000 2<1500 3<1000 4<500", low="2000"),
    Row(NEUTROPHILS, "anc", "10*9/L", "1<2.0 2<1.5 3<1.0 4<0.5", low="2.0"),
    Row(NEUTROPHILS, "anc", "10*3/uL", "1<2.0 2<1.5 3<1.0 4<0.5", low="2.0"),
    Row(PLATELETS, "platelets", "/mm3", "1<150000 2<75000 3<50000 4<25000", low="150000"),
    Row(PLATELETS, "platelets", "10*9/L", "1<150 2<75.0 3<50.0 4<25.0", low="150"),
    Row(PLATELETS, "platelets", "/uL", "1<150000 2<75000 3<50000 4<25000", low="150000"),
    Row(LEUKOPENIA, "wbc", "/mm3", "1<4000 2<3000 3<2000 4<1000", low="4000"),
    Row(LEUKOPENIA, "wbc", "10*9/L", "1<4.0 2<3.0 3<2.0 4<1.0", low="4.0"),
    Row("Thyroid stimulating hormone increased", "tsh", "u[IU]/mL", "1>4.5", high="4.5"),
    Row("Thyroid stimulating hormone increased", "tsh", "m[IU]/L", "1>4.5", high="4.5"),
    Row("Weight gain", "weight", "kg", "1>=84 2>=88 3>=96", baseline="80"),
    Row("Weight gain", "weight", "[lb_av]", "1>=210 2>=220 3>=240", baseline="200"),
    Row("Weight loss", "weight", "kg", "1<=76 2<=72 3<=64", baseline="80"),
    Row("Weight loss", "weight", "[lb_av]", "1<=190 2<=180 3<=160", baseline="200"),
    Row("Hypercalcemia", "calcium_corrected", "mg/dL", "1>10.5 2>11.5 3>12.5 4>13.5", high="10.5"),
    Row("Hypercalcemia", "calcium_corrected", "mmol/L", "1>2.6 2>2.9 3>3.1 4>3.4", high="2.6"),
    Row("Hypercalcemia", "ionized_calcium", "mmol/L", "1>1.3 2>1.5 3>1.6 4>1.8", high="1.3"),
    Row("Hyperglycemia", "glucose", "mg/dL", "1>110", high="110"),
    Row("Hyperglycemia", "glucose", "mmol/L", "1>8", high="6.1", baseline="8"),
    Row("Hyperkalemia", "potassium", "mmol/L", "1>5.0 2>5.5 3>6.0 4>7.0", high="5.0"),
    Row("Hyperkalemia", "potassium", "meq/L", "1>5.0 2>5.5 3>6.0 4>7.0", high="5.0"),
    Row("Hypermagnesemia", "magnesium", "mg/dL", "1>2.4 3>3.0 4>8.0", high="2.4"),
    Row("Hypermagnesemia", "magnesium", "mmol/L", "1>1.0 3>1.23 4>3.30", high="1.0"),
    Row("Hypernatremia", "sodium", "mmol/L", "1>145 2>150 3>155 4>160", high="145"),
    Row("Hypernatremia", "sodium", "meq/L", "1>145 2>150 3>155 4>160", high="145"),
    Row("Hyperphosphatemia", "phosphate", "mg/dL", "1>4.5", high="4.5"),
    Row("Hyperphosphatemia", "phosphate", "mmol/L", "1>1.45", high="1.45"),
    Row("Hypertriglyceridemia", "triglycerides", "mg/dL", "1>=150 2>300 3>500 4>1000"),
    Row("Hypertriglyceridemia", "triglycerides", "mmol/L", "1>=1.71 2>3.42 3>5.7 4>11.4"),
    Row("Hyperuricemia", "uric_acid", "mg/dL", "1>7", high="7"),
    Row("Hyperuricemia", "uric_acid", "umol/L", "1>420", high="420"),
    Row("Hypoalbuminemia", "albumin", "g/dL", "1<3.5 2<3 3<2", low="3.5"),
    Row("Hypoalbuminemia", "albumin", "g/L", "1<35 2<30 3<20", low="35"),
    Row("Hypocalcemia", "calcium_corrected", "mg/dL", "1<8.5 2<8.0 3<7.0 4<6.0", low="8.5"),
    Row("Hypocalcemia", "calcium_corrected", "mmol/L", "1<2.1 2<2.0 3<1.75 4<1.5", low="2.1"),
    Row("Hypocalcemia", "ionized_calcium", "mmol/L", "1<1.1 2<1.0 3<0.9 4<0.8", low="1.1"),
    Row("Hypoglycemia", "glucose", "mg/dL", "1<70 2<55 3<40 4<30", low="70"),
    Row("Hypoglycemia", "glucose", "mmol/L", "1<3.9 2<3.0 3<2.2 4<1.7", low="3.9"),
    Row("Hypokalemia", "potassium", "mmol/L", "1<3.5 3<3.0 4<2.5", low="3.5"),
    Row("Hypokalemia", "potassium", "meq/L", "1<3.5 3<3.0 4<2.5", low="3.5"),
    Row("Hypomagnesemia", "magnesium", "mg/dL", "1<1.7 2<1.2 3<0.9 4<0.7", low="1.7"),
    Row("Hypomagnesemia", "magnesium", "mmol/L", "1<0.7 2<0.5 3<0.4 4<0.3", low="0.7"),
    Row("Hyponatremia", "sodium", "mmol/L", "1<135 2<129.5 3<124.5 4<120", low="135"),
    Row("Hyponatremia", "sodium", "meq/L", "1<135 2<129.5 3<124.5 4<120", low="135"),
    Row("Hypophosphatemia", "phosphate", "mg/dL", "1<2.5", low="2.5"),
    Row("Hypophosphatemia", "phosphate", "mmol/L", "1<0.8", low="0.8"),
    Row("Hypoxia", "spo2", "%", "3<88"),
    Row("Hypertension", "systolic", "mm[Hg]", "1>=119.5 2>=139.5 3>=159.5"),
    Row("Hypertension", "diastolic", "mm[Hg]", "1>=79.5 2>=89.5 3>=99.5"),
]


def _same_limits(one: Row, other: Row) -> bool:
    molar = items().measured[one.item].molar
    for here, there in ((one.low, other.low), (one.high, other.high)):
        if here is not None and there is not None:
            made = convert(D(here), one.unit, other.unit, molar)
            if abs(made - D(there)) > D(there) / 10:
                return False
    return True


BOTH = [
    (one, other)
    for one in TABLE
    for other in TABLE
    if one.term == other.term and one.item == other.item and one.unit < other.unit
    if one.baseline is None and other.baseline is None and _same_limits(one, other)
]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_at_just_inside_and_just_outside_every_cut(row: Row) -> None:
    for _, _, cut in row.rungs():
        for value in (cut - STEP, cut - STEP / 1000, cut, cut + STEP / 1000, cut + STEP):
            proposal = row.proposed(value)
            assert proposal.grade == row.grade(value), proposal.arithmetic


def test_the_table_has_every_term_of_every_item_in_every_printed_unit() -> None:
    graded = {(row.term, row.item) for row in TABLE}
    assert graded == {(term.name, item) for item, found in terms().items() for term in found}
    printed = {
        (term.name, item, unit)
        for item, found in terms().items()
        for term in found
        for ladder in term.ladders
        for unit in ladder.printed
        if unit
    }
    assert printed <= {(row.term, row.item, row.unit) for row in TABLE}


@pytest.mark.parametrize(
    ("term", "item", "unit", "low", "expected"),
    [
        # Whole numbers leave gaps between 480 and 481, 40 and 39, 130 and 129: the value is rounded, halves up.
        (QTC, "qtc", "ms", None, {"449": 0, "450": 1, "480": 1, "480.4": 1, "480.5": 2, "481": 2}),
        (QTC, "qtc", "ms", None, {"500": 2, "500.4": 2, "500.5": 3, "501": 3}),
        (EF, "lvef", "%", None, {"51": 0, "50.5": 0, "50.4": 2, "50": 2, "40": 2, "39.5": 2, "39.4": 3, "39": 3}),
        (EF, "lvef", "%", None, {"20": 3, "19.9": 4}),
        ("Hyponatremia", "sodium", "mmol/L", "135", {"135": 0, "134": 1, "130": 1, "129.5": 1, "129.4": 2}),
        ("Hyponatremia", "sodium", "mmol/L", "135", {"125": 2, "124.5": 2, "124.4": 3, "120": 3, "119.9": 4}),
        ("Hypertension", "systolic", "mm[Hg]", None, {"119": 0, "120": 1, "139": 1, "140": 2, "159": 2, "160": 3}),
        ("Hypertension", "diastolic", "mm[Hg]", None, {"79": 0, "80": 1, "89": 1, "90": 2, "99": 2, "100": 3}),
    ],
)
def test_ranges_of_whole_numbers(
    term: str, item: str, unit: str, low: str | None, expected: dict[str, int]
) -> None:
    row = Row(term, item, unit, "", low=low)
    assert {value: row.proposed(D(value)).grade for value in expected} == expected


@pytest.mark.parametrize("row", TABLE, ids=str)
@settings(max_examples=20)
@given(data=st.data())
def test_further_from_normal_is_never_a_lower_grade(row: Row, data: st.DataObject) -> None:
    most = max(cut for _, _, cut in row.rungs()) * 2
    numbers = st.decimals(0, most, places=4)
    one, other = sorted((data.draw(numbers), data.draw(numbers)))
    upwards = ">" in row.cuts
    milder, graver = (one, other) if upwards else (other, one)
    first, second = row.proposed(milder).grade, row.proposed(graver).grade
    assert first is not None
    assert second is not None
    assert first <= second


@pytest.mark.parametrize("row", TABLE, ids=str)
@settings(max_examples=20)
@given(data=st.data())
def test_a_comparator_has_a_grade_only_where_every_number_it_could_be_has_that_grade(
    row: Row, data: st.DataObject
) -> None:
    cuts = [cut for _, _, cut in row.rungs()]
    limit = data.draw(st.sampled_from(cuts) | st.decimals(STEP, max(cuts) * 2, places=4))
    comparator = data.draw(st.sampled_from(["<", "<=", ">", ">="]))
    edge = {"<": -STEP, ">": STEP}.get(comparator, D(0)) / 1000
    far = D(0) if comparator.startswith("<") else max(limit, *cuts) * 1000
    could_be = {row.grade(limit + edge), row.grade(far)}
    proposal = row.proposed(limit, comparator)
    assert proposal.grade == (could_be.pop() if len(could_be) == 1 else None)
    assert proposal.arithmetic.endswith(f"({proposal.source})")


@pytest.mark.parametrize(("one", "other"), BOTH, ids=str)
@settings(max_examples=20)
@given(data=st.data())
def test_both_unit_systems_agree_away_from_the_rounding_of_the_printed_cuts(
    one: Row, other: Row, data: st.DataObject
) -> None:
    """The limits of normal are each system's own, and printed cuts are rounded: neither by as much as a tenth."""
    value = data.draw(st.decimals(STEP, max(cut for _, _, cut in one.rungs()) * 2, places=4))
    made = convert(value, one.unit, other.unit, items().measured[one.item].molar)
    for row, number in ((one, value), (other, made)):
        assume(all(abs(number - cut) > row.margin(cut) for _, _, cut in row.rungs()))
    assert one.proposed(value).grade == other.proposed(made).grade


@pytest.mark.parametrize(
    ("item", "value", "comparator", "unit", "low", "high", "grades"),
    [
        ("anc", "0.5", "<", "10*9/L", "2.0", None, [4]),
        ("anc", "0.5", "<=", "10*9/L", "2.0", None, [None]),
        ("platelets", "25000", "<", "/uL", "150000", None, [4]),
        ("potassium", "7.0", ">", "mmol/L", "3.5", "5.0", [4, 0]),
        ("potassium", "7.0", ">=", "mmol/L", "3.5", "5.0", [None, 0]),
        ("alt", "40", "<", "U/L", "6", "40", [0]),
        ("alt", "40", "<=", "U/L", "6", "40", [0]),
        ("alt", "40", ">", "U/L", "6", "40", [None]),
        ("alt", "800", ">", "U/L", "6", "40", [4]),
        ("bilirubin", "0.2", "<", "mg/dL", "0.2", "1.2", [0]),
        ("glucose", "40", "<", "mg/dL", "50", "250", [0, None]),
        ("qtc", "500.5", "<", "ms", None, None, [None]),
        ("qtc", "500.5", ">=", "ms", None, None, [3]),
    ],
)
def test_comparators(
    item: str, value: str, comparator: str, unit: str, low: str | None, high: str | None, grades: list[int | None]
) -> None:
    reading = Reading(D(value), unit, comparator, Row.limit(low), Row.limit(high))
    assert [proposal.grade for proposal in propose(item, reading)] == grades


@pytest.mark.parametrize(
    ("item", "reading", "said"),
    [
        ("alt", Reading(D(168), None, None, None, D(40)), "168: the unit is missing: no grade can be told"),
        ("alt", Reading(D(168), "mg/dL", None, None, D(40)), "the unit mg/dL cannot be converted to U/L"),
        ("alt", Reading(D(168), "furlong", None, None, D(40)), "'furlong' is no UCUM unit"),
        ("alt", Reading(D(168), "U/L"), "upper limit of normal (ULN) is missing: the grade cannot be told"),
        ("platelets", Reading(D(90), "10*9/L"), "lower limit of normal (LLN) is missing; not below 75.0 10*9/L"),
        ("weight", Reading(D(70), "kg"), "there is no baseline to compare with: the grade cannot be told"),
        ("magnesium", Reading(D(2), "meq/L", None, D(1), D(2)), "meq/L counts charges, send mg/dL or mmol/L"),
        ("calcium", Reading(D(8), "mg/dL", None, D(8), D(10)), "send calcium_corrected, or albumin of the same"),
        ("temperature", Reading(D(311), "K"), "the unit K"),
    ],
)
def test_what_cannot_be_told_says_why(item: str, reading: Reading, said: str) -> None:
    made = propose(item, reading)
    assert made
    for proposal in made:
        assert proposal.grade is None
        assert said.replace("the unit K", "the unit ") in proposal.arithmetic


def test_a_missing_limit_of_normal_leaves_the_grades_that_do_not_need_it() -> None:
    grades = {value: propose("platelets", Reading(D(value), "10*9/L"))[0].grade for value in ("75", "74.9", "24.9")}
    assert grades == {"75": None, "74.9": 2, "24.9": 4}


@pytest.mark.parametrize("value", ["1E-19", "99999999999999999999"])
@pytest.mark.parametrize("limit", ["1E-19", "99999999999999999999"])
def test_numbers_of_any_size_have_a_sentence(value: str, limit: str) -> None:
    for item in terms():
        unit = items().measured[item].unit
        for comparator in (None, "<", ">"):
            reading = Reading(D(value), unit, comparator, D(limit), D(limit))
            for proposal in propose(item, reading, reading._replace(comparator=None)):
                assert proposal.source in proposal.arithmetic


def test_a_lower_limit_of_normal_of_nothing_is_never_fallen_short_of() -> None:
    proposal = propose("cd4", Reading(D(600), "/uL", None, D(0), None))[0]
    assert proposal.grade == 0
    assert proposal.arithmetic.startswith("600 /uL, LLN 0: not below 1 x LLN; ")


def test_an_item_without_a_term_has_no_proposal() -> None:
    assert propose("monocytes", Reading(D(1), "10*9/L")) == ()
    assert propose("chimerism", Reading(D(1), "%")) == ()


NORMAL = Reading(D(30), "U/L", None, D(6), D(40))


@pytest.mark.parametrize(
    ("value", "baseline", "grade"),
    [
        # Three times a normal baseline is still judged by the upper limit of normal.
        ("90", NORMAL, 1),
        # At its own limit a baseline is normal; its own limit counts, not today's.
        ("90", NORMAL._replace(value=D(40)), 1),
        ("90", NORMAL._replace(value=D(50), high=D(60)), 1),
        ("90", NORMAL._replace(value=D(80)), 0),
        ("130", NORMAL._replace(value=D(80)), 1),
        # In another unit: 1 ukat/L are 60 U/L.
        ("90", Reading(D(1), "ukat/L", None, None, D("0.7")), 1),
        ("89.9", Reading(D(1), "ukat/L", None, None, D("0.7")), 0),
        # Whether it was normal is not known: only where both rules agree.
        ("70", Reading(D(40), "U/L"), 1),
        ("100", Reading(D(30), "U/L"), None),
        # Below a normal limit it was surely normal; above an abnormal one its multiple is not known.
        ("100", Reading(D(30), "U/L", "<", None, D(40)), 1),
        ("100", Reading(D(50), "U/L", ">", None, D(40)), None),
        ("100", Reading(D(50), "U/L", "<", None, D(40)), None),
        ("100", Reading(D(60), None, None, None, D(40)), None),
    ],
)
def test_the_baseline_rule_of_liver_enzymes(value: str, baseline: Reading, grade: int | None) -> None:
    proposal = propose("alt", Reading(D(value), "U/L", None, D(6), D(40)), baseline)[0]
    assert proposal.grade == grade, proposal.arithmetic


def test_a_baseline_that_is_no_number_leaves_open_what_needs_it() -> None:
    reading, unknown = Reading(D(2), "mg/dL", None, None, D("1.2")), Reading(D("0.5"), "mg/dL", "<")
    assert propose("creatinine", reading, unknown)[0].grade is None
    assert propose("creatinine", reading._replace(value=D("7.3")), unknown)[0].grade == 4
    high = Reading(D(200), "mg/dL", None, None, D(110))
    assert propose("glucose", high, Reading(D(90), None))[0].grade is None
    assert propose("glucose", high._replace(value=D(100)), Reading(D(90), None))[0].grade == 0


def test_inr_under_anticoagulation_needs_a_baseline() -> None:
    reading = Reading(D("2.6"), "1")
    assert propose("inr", reading)[0].grade == 3
    assert propose("inr", reading, anticoagulated=True)[0].grade is None
    assert propose("inr", reading, Reading(D("2.4"), "1"), anticoagulated=True)[0].grade == 1


@pytest.mark.parametrize(
    ("calcium", "unit", "albumin", "albumin_unit", "grades"),
    [
        # 7.5 mg/dL with albumin 2.0 g/dL is 9.1 mg/dL corrected; 2.0 mmol/L with 20 g/L is 2.4 mmol/L.
        ("7.5", "mg/dL", "2.0", "g/dL", [0, 0]),
        ("7.5", "mg/dL", "4.0", "g/dL", [0, 2]),
        ("7.5", "mg/dL", "20", "g/L", [0, 0]),
        ("10", "mg/dL", "2.0", "g/dL", [2, 0]),
        ("9.9", "mg/dL", "2.0", "g/dL", [1, 0]),
    ],
)
def test_total_calcium_is_corrected_for_albumin(
    calcium: str, unit: str, albumin: str, albumin_unit: str, grades: list[int]
) -> None:
    reading = Reading(D(calcium), unit, None, D("8.5"), D("10.5"))
    made = propose("calcium", reading, albumin=Reading(D(albumin), albumin_unit))
    assert [proposal.term for proposal in made] == ["Hypercalcemia", "Hypocalcemia"]
    assert [proposal.grade for proposal in made] == grades


def test_total_calcium_in_mmol_is_judged_by_the_cuts_in_mmol() -> None:
    reading = Reading(D("1.69"), "mmol/L", None, D("2.1"), D("2.6"))
    made = propose("calcium", reading, albumin=Reading(D(37), "g/L"))
    assert [proposal.grade for proposal in made] == [0, 2]
    assert made[1].arithmetic.startswith("1.75 mmol/L, LLN 2.1: ")
    assert propose("calcium", reading, albumin=Reading(D(37), "g/L", "<"))[0].grade is None


def _arithmetic(item: str, reading: Reading, baseline: Reading | None = None) -> str:
    return propose(item, reading, baseline)[0].arithmetic


def test_the_arithmetic_is_a_sentence() -> None:
    assert _arithmetic("alt", Reading(D(168), "U/L", None, D(6), D(40))) == (
        "168 U/L, ULN 40: 4.20 x ULN, above 3 x ULN and not above 5 x ULN: grade 2 (CTCAE v5.0, Investigations)"
    )
    assert _arithmetic("platelets", Reading(D(266), "10*9/L", None, D(130), D(394))) == (
        "266 10*9/L, LLN 130: 2.04 x LLN, not below 1 x LLN; not below 75.0 10*9/L: "
        "no grade (CTCAE v5.0, Investigations)"
    )
    assert _arithmetic("anc", Reading(D("0.5"), "10*9/L", "<=")) == (
        "<=0.5 10*9/L: the laboratory's lower limit of normal (LLN) is missing; "
        "it could be grade 3 to 4 (cuts 1.5, 1.0, 0.5 10*9/L): "
        "the grade cannot be told, it could be 3 to 4 (CTCAE v5.0, Investigations)"
    )
    assert _arithmetic("qtc", Reading(D("480.4"), "ms"), Reading(D(410), "ms")) == (
        "480.4 ms, baseline 410 ms: rounded 480, at least 450 ms and below 481 ms; "
        "70.4 ms from baseline, above 60 ms: at least grade 3, and up to 4 by signs that no number holds: "
        "torsade de pointes, polymorphic ventricular tachycardia or signs of serious arrhythmia "
        "(CTCAE v5.0, Investigations)"
    )


def test_a_multiple_is_written_so_that_it_shows_on_which_side_of_a_cut_it_lies() -> None:
    reading = Reading(D("120.04"), "U/L", None, D(6), D(40))
    assert "3.0010 x ULN, above 3 x ULN" in _arithmetic("alt", reading)
    assert "2.99 x ULN, above 1 x ULN and not above 3 x ULN" in _arithmetic(
        "alt", reading._replace(value=D("119.99"))
    )


def test_signs_that_no_number_holds_could_raise_a_grade_but_not_make_one() -> None:
    def clinical(value: str) -> bool:
        return propose("potassium", Reading(D(value), "mmol/L", None, D("3.5"), D("5.0")))[0].clinical

    assert [clinical(value) for value in ("4.0", "5.2", "6.5", "7.1")] == [False, True, True, False]


def test_the_callers_decimal_context_changes_nothing() -> None:
    reading = Reading(D("120.04001"), "U/L", None, D("6.0001"), D("40.01333"))
    plain = propose("alt", reading)[0]
    with localcontext(Context(prec=2)):
        rough = propose("alt", reading)[0]
        assert (rough.grade, rough.arithmetic) == (plain.grade, plain.arithmetic)


@pytest.mark.parametrize(
    "cuts",
    [
        {},
        {"more_than": {1: 5, 2: 4}},
        {"less_than": {1: 4, 2: 5}},
        {"more_than": {1: 4}, "less_than": {2: 5}},
        {"more_than": {1: 4}, "at_least": {1: 5}},
        {"more_than": {1: 1.5}},
        {"more_than": {5: 1}},
    ],
)
def test_a_table_that_does_not_climb_is_refused(cuts: dict[str, dict[int, float]]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Cuts.model_validate(cuts)
