"""Where screening gives a place, as far as the safety service's slots go."""

import pytest

from services.screening.eligibility import Rules
from services.screening.enrolment import Trial, _no_slot
from shared.protocol.model import load_protocol
from tests.study import DOCUMENT, PROTOCOL

RULES = Rules(PROTOCOL, "0" * 64)
WITHOUT = Rules(
    load_protocol(DOCUMENT[: DOCUMENT.index("\nsafety:")] + DOCUMENT[DOCUMENT.index("\nassumptions:") :]), "0" * 64
)


def test_no_place_is_given_before_the_safety_service_has_said_where_one_is_open() -> None:
    (reason,) = _no_slot(Trial(), RULES, "DL1")
    assert "has not said yet" in reason


@pytest.mark.parametrize(("taken", "open_"), [(0, True), (2, True), (3, False), (4, False)])
def test_a_place_is_given_up_to_the_number_that_is_open(taken: int, open_: bool) -> None:
    trial = Trial(up_to={"DL1": 3, "DL2": 0}, at_level={"DL1": taken})
    assert (_no_slot(trial, RULES, "DL1") == []) == open_
    assert _no_slot(trial, RULES, "DL2")
    assert _no_slot(trial, RULES, "DL3"), "what is not named is not open"


def test_nobody_is_given_a_place_while_enrolment_is_held() -> None:
    (reason,) = _no_slot(Trial(up_to={"DL1": 3}, held=True), RULES, "DL1")
    assert "held" in reason


def test_a_trial_without_cohorts_has_no_slots_whatever_was_said_before() -> None:
    assert _no_slot(Trial(up_to={"DL1": 0}, held=True), WITHOUT, "DL1") == []
    assert _no_slot(Trial(), WITHOUT, "DL1") == []
