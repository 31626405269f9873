"""Cytokine release syndrome and neurotoxicity come out as ASTCT 2019 grades them."""

from decimal import Decimal
from itertools import product

import pytest

from services.safety.grading.astct import crs, icans
from shared.events.safety import CrsAssessed, IcansAssessed

AT = "2026-03-04T09:30"
TEMPERATURES = [None, "36.5", "37.9", "37.99", "38.0", "38.1", "41"]
PRESSORS = ["none", "one", "multiple"]
OXYGEN = ["none", "low_flow", "high_flow", "positive_pressure"]
CONSCIOUSNESS = ["awake", "voice", "tactile", "unarousable"]
SEIZURES = ["none", "rapidly_resolving", "prolonged_or_repetitive"]
MOTOR = ["none", "deep_focal_weakness"]
OEDEMA = ["none", "focal", "diffuse"]


def _crs(
    temperature: str | None, antipyretics: bool, hypotension: bool, pressors: str, oxygen: str, hypoxia: bool
) -> CrsAssessed:
    return CrsAssessed.model_validate(
        {
            "at": AT,
            "temperature": None if temperature is None else Decimal(temperature),
            "antipyretics": antipyretics,
            "hypotension": hypotension,
            "vasopressors": pressors,
            "oxygen": oxygen,
            "hypoxia": hypoxia,
        }
    )


def _icans(ice: int | None, consciousness: str, seizure: str, motor: str, oedema: str) -> IcansAssessed:
    return IcansAssessed.model_validate(
        {
            "at": AT,
            "ice": ice,
            "consciousness": consciousness,
            "seizure": seizure,
            "motor": motor,
            "oedema": oedema,
        }
    )


def _crs_by_the_table(
    temperature: str | None, antipyretics: bool, hypotension: bool, pressors: str, oxygen: str, hypoxia: bool
) -> int | None:
    """Table 2 read from the worst column to the mildest; the rows for each column as sets."""
    if pressors == "multiple" or (oxygen == "positive_pressure" and hypoxia):
        column = 4
    elif pressors == "one" or oxygen == "high_flow":
        column = 3
    elif hypotension or hypoxia or oxygen == "low_flow":
        column = 2
    else:
        column = 1
    if temperature in {"38.0", "38.1", "41"}:
        return column
    if antipyretics and column > 1:
        return column
    return None if temperature is None else 0


def _icans_by_the_table(ice: int | None, consciousness: str, seizure: str, motor: str, oedema: str) -> int | None:
    """Table 5 read from the worst column to the mildest."""
    if "unarousable" in consciousness or seizure.startswith("prolonged") or motor != "none" or oedema == "diffuse":
        return 4
    if ice in {0, 1, 2} or consciousness == "tactile" or seizure == "rapidly_resolving" or oedema == "focal":
        return 3
    if ice is None:
        return None
    if ice in {3, 4, 5, 6} or consciousness == "voice":
        return 2
    return 1 if ice in {7, 8, 9} else 0


def test_every_combination_of_crs_components_gets_the_grade_of_table_2() -> None:
    for parts in product(TEMPERATURES, [False, True], [False, True], PRESSORS, OXYGEN, [False, True]):
        assert crs(_crs(*parts)).grade == _crs_by_the_table(*parts), parts


def test_every_combination_of_icans_components_gets_the_grade_of_table_5() -> None:
    for parts in product([None, *range(11)], CONSCIOUSNESS, SEIZURES, MOTOR, OEDEMA):
        assert icans(_icans(*parts)).grade == _icans_by_the_table(*parts), parts


@pytest.mark.parametrize(
    ("parts", "grade"),
    [
        # Lee 2019, footnote to table 2: 39.5 Cel, hypotension on one vasopressor, low-flow oxygen is grade 3.
        (("39.5", False, True, "one", "low_flow", True), 3),
        # Fever no longer counts after tocilizumab: hypotension and hypoxia drive the grade.
        (("36.8", True, True, "none", "none", False), 2),
        (("36.8", True, False, "none", "positive_pressure", True), 4),
        (("38.0", False, False, "none", "none", False), 1),
        # Lee 2019: an intubation that secures the airway, without hypoxia, is not by itself grade 4.
        (("38.5", False, False, "none", "positive_pressure", False), 1),
        # Hypotension without fever or anything that hides it is no cytokine release syndrome.
        (("36.8", False, True, "multiple", "none", False), 0),
    ],
)
def test_crs_examples(parts: tuple[str, bool, bool, str, str, bool], grade: int) -> None:
    assert crs(_crs(*parts)).grade == grade


@pytest.mark.parametrize(
    ("parts", "grade"),
    [
        # Lee 2019, footnote to table 5: ICE 3 with a generalized seizure is grade 3.
        ((3, "awake", "rapidly_resolving", "none", "none"), 3),
        # ICE 0 is grade 3 in who is awake with global aphasia, grade 4 in who is unarousable.
        ((0, "awake", "none", "none", "none"), 3),
        ((0, "unarousable", "none", "none", "none"), 4),
        ((None, "unarousable", "none", "none", "none"), 4),
        ((10, "awake", "none", "none", "none"), 0),
    ],
)
def test_icans_examples(parts: tuple[int | None, str, str, str, str], grade: int) -> None:
    assert icans(_icans(*parts)).grade == grade


def test_the_sentence_names_each_finding_and_the_one_that_decides() -> None:
    assert crs(_crs("39.5", False, True, "one", "low_flow", True)).arithmetic == (
        "temperature 39.5 Cel, at least 38.0; one vasopressor; low-flow oxygen: "
        "grade 3, decided by one vasopressor (ASTCT 2019)"
    )
    assert icans(_icans(8, "awake", "none", "none", "none")).arithmetic == (
        "ICE score 8; awake; no seizure; no motor finding; no cerebral oedema: "
        "grade 1, decided by ICE score 8 (ASTCT 2019)"
    )


def test_what_is_missing_is_asked_for() -> None:
    assert crs(_crs(None, False, True, "none", "none", False)).arithmetic == (
        "temperature not recorded; hypotension without vasopressors; no hypoxia: the grade cannot be told: "
        "send the temperature, with fever it is grade 2 (ASTCT 2019)"
    )
    assert icans(_icans(None, "voice", "none", "none", "none")).arithmetic == (
        "ICE score not given; awakens to voice; no seizure; no motor finding; no cerebral oedema: "
        "the grade cannot be told: at least 2, send the ICE score, 0 for who is awake but cannot answer "
        "(ASTCT 2019)"
    )


def test_the_scale_is_never_ctcae() -> None:
    syndrome = crs(_crs("39", False, False, "none", "none", False))
    nerves = icans(_icans(9, "awake", "none", "none", "none"))
    for proposal in (syndrome, nerves):
        assert proposal.scale == proposal.source == "ASTCT 2019"
        assert not proposal.clinical
