"""Acute graft-versus-host disease comes out as Harris 2016 stages and grades it."""

from decimal import Decimal
from itertools import product

import pytest

from services.safety.grading.gvhd import Stages, gvhd, organ_stages, overall
from shared.events.safety import GvhdAssessed

NOTHING = {
    "at": "2026-03-04",
    "skin_percent": 0,
    "bullae": False,
    "bilirubin": Decimal("0.8"),
    "bilirubin_unit": "mg/dL",
    "upper_gi": "none",
    "stool_ml": 0,
    "lower_gi_severe": False,
}


def _assessed(**found: object) -> GvhdAssessed:
    return GvhdAssessed.model_validate(NOTHING | found)


@pytest.mark.parametrize(
    ("percent", "bullae", "stage"),
    [
        ("0", False, 0),
        ("0", True, 0),
        ("0.1", False, 1),
        ("24.9", False, 1),
        ("25", False, 2),
        ("25", True, 2),
        ("50", False, 2),
        ("50", True, 2),
        ("50.1", False, 3),
        ("50.1", True, 4),
        ("100", False, 3),
        ("100", True, 4),
    ],
)
def test_skin(percent: str, bullae: bool, stage: int) -> None:
    assert organ_stages(_assessed(skin_percent=Decimal(percent), bullae=bullae)).skin == stage


@pytest.mark.parametrize(
    ("bilirubin", "unit", "stage"),
    [
        ("1.99", "mg/dL", 0),
        ("2", "mg/dL", 1),
        ("3", "mg/dL", 1),
        ("3.01", "mg/dL", 2),
        ("6", "mg/dL", 2),
        ("6.01", "mg/dL", 3),
        ("15", "mg/dL", 3),
        ("15.01", "mg/dL", 4),
        # 17.104 umol/L are 1 mg/dL.
        ("34.2", "umol/L", 0),
        ("34.208", "umol/L", 1),
        ("51.312", "umol/L", 1),
        ("51.32", "umol/L", 2),
        ("102.624", "umol/L", 2),
        ("102.63", "umol/L", 3),
        ("256.56", "umol/L", 3),
        ("256.57", "umol/L", 4),
    ],
)
def test_liver_in_both_units(bilirubin: str, unit: str, stage: int) -> None:
    assert organ_stages(_assessed(bilirubin=Decimal(bilirubin), bilirubin_unit=unit)).liver == stage


@pytest.mark.parametrize(
    ("stool", "severe", "stage"),
    [
        (0, False, 0),
        (499, False, 0),
        (500, False, 1),
        (999, False, 1),
        (1000, False, 2),
        (1500, False, 2),
        (1501, False, 3),
        (20000, False, 3),
        (0, True, 4),
        (1501, True, 4),
    ],
)
def test_lower_gut(stool: int, severe: bool, stage: int) -> None:
    assert organ_stages(_assessed(stool_ml=stool, lower_gi_severe=severe)).lower_gi == stage


def test_upper_gut() -> None:
    assert organ_stages(_assessed(upper_gi="persistent")).upper_gi == 1
    assert organ_stages(_assessed()).upper_gi == 0


def _by_the_table(stages: Stages) -> int:
    """Harris 2016, table 1, as the combinations that each grade allows, mildest first."""
    allowed = [
        ({0}, {0}, {0}, {0}),
        ({0, 1, 2}, {0}, {0}, {0}),
        ({0, 1, 2, 3}, {0, 1}, {0, 1}, {0, 1}),
        ({0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1}, {0, 1, 2, 3}),
    ]
    for grade, organs in enumerate(allowed):
        if all(stage in organ for stage, organ in zip(stages, organs, strict=True)):
            return grade
    return 4


def test_every_combination_of_stages_gets_the_grade_of_table_1() -> None:
    for parts in product(range(5), range(5), range(2), range(5)):
        assert overall(Stages(*parts)) == _by_the_table(Stages(*parts)), parts


@pytest.mark.parametrize(
    ("found", "grade", "deciding"),
    [
        ({}, 0, "grade 0 ("),
        ({"skin_percent": 10}, 1, "grade I, decided by skin ("),
        ({"skin_percent": 40}, 1, "grade I, decided by skin ("),
        ({"skin_percent": 60}, 2, "grade II, decided by skin ("),
        ({"skin_percent": 40, "upper_gi": "persistent"}, 2, "grade II, decided by upper gut ("),
        ({"bilirubin": 2, "stool_ml": 600}, 2, "grade II, decided by liver and lower gut ("),
        ({"skin_percent": 60, "bilirubin": 5}, 3, "grade III, decided by liver ("),
        ({"bilirubin": 16}, 4, "grade IV, decided by liver ("),
        ({"skin_percent": 90, "bullae": True}, 4, "grade IV, decided by skin ("),
        ({"lower_gi_severe": True}, 4, "grade IV, decided by lower gut ("),
    ],
)
def test_the_sentence_names_the_organ_that_decides(found: dict[str, object], grade: int, deciding: str) -> None:
    proposal = gvhd(_assessed(**found))
    assert proposal.grade == grade
    assert proposal.scale == "Harris 2016"
    assert deciding in proposal.arithmetic
    assert proposal.arithmetic.startswith("skin ")
