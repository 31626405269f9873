"""What the safety service decides about a treated participant, over a real notary."""

from pathlib import Path
from typing import Any

import pytest

from services.console.replay import check
from shared.events.decisions import Decision
from shared.words import RefusedError
from tests.safety_site import COMMITTEE, INFUSED, PERSON, SITE, SafetySite


@pytest.fixture
def site(tmp_path: Path) -> SafetySite:
    return SafetySite(tmp_path)


def types(events: list[Any]) -> list[str]:
    return [event.type.removeprefix("safety.") for event in events if event.type.startswith("safety.")]


# Classification -----------------------------------------------------------------------------------------------


def test_an_adverse_event_is_classified_with_its_reasons_and_evidence(site: SafetySite) -> None:
    (said,) = [event for event in site.report() if event.type == "safety.event_reported"]
    found = site.last("event_classified")
    assert (found.emergent, found.certain, found.serious, found.related, found.susar) == (True,) * 2 + (
        False,
        True,
        False,
    )
    assert said.entry.index in [one.index for one in found.evidence]
    assert found.engine == "safety/1"
    assert any("day 3" in line for line in found.arithmetic)


def test_a_decision_is_issued_again_only_when_it_comes_to_something_else(site: SafetySite) -> None:
    site.report()
    before = len(site.decided("event_classified"))
    site.say("safety.event_updated", {"ae": "1", "on": "2026-03-06", "grade": 1})
    assert len(site.decided("event_classified")) == before, "a lower grade later changes nothing that counts"
    site.say("safety.event_updated", {"ae": "1", "on": "2026-03-07", "grade": 3})
    newest = site.decided("event_classified")
    assert len(newest) == before + 1
    assert newest[-1].data.supersedes == newest[-2].entry.index


def test_a_retracted_event_counts_nowhere_and_the_log_says_so(site: SafetySite) -> None:
    said = site.report()[0]
    site.retract(said)
    found = site.last("event_classified")
    assert (found.retracted, found.emergent, found.susar) == (True, False, False)
    assert site.assessed.classified == []


def test_of_two_corrections_of_one_statement_the_newest_stands(site: SafetySite) -> None:
    said = site.report()[0]
    site.correct(said, grade=1)
    site.correct(said, grade=4)
    assert [one.event.grade for one in site.assessed.classified] == [4]
    assert site.queries() == {}


def test_a_statement_corrected_twice_is_taken_back_by_any_of_its_names(site: SafetySite) -> None:
    first = site.report()[0]
    again = site.correct(first, grade=3)[0]
    site.correct(again, grade=1)
    site.correct(first, grade=2)
    assert (site.last("event_classified").grade, site.queries()) == (2, {})
    site.retract(first)
    assert site.last("event_classified").retracted


def test_a_measurement_corrected_twice_is_taken_back_by_any_of_its_names(site: SafetySite) -> None:
    first = site.measure("platelets", 20, "10*3/uL", "2026-03-09")[0]
    again = site.correct(first, value=30)[0]
    site.correct(again, value=40)
    site.correct(first, value=60)
    assert site.last("grade_proposed").worst == 2
    site.retract(first)
    assert site.last("grade_proposed").worst == 0


def test_a_reference_corrected_again_by_its_first_name_stands_once(site: SafetySite) -> None:
    wrong = site.adopt_reference({"preferred_term": "Nausea"})[0]
    site.correct(wrong, reactions=[{"preferred_term": "Rash"}])
    site.correct(wrong, reactions=[])
    assert len(site.trial.references) == 1


def test_what_happens_before_the_first_infusion_is_not_emergent_unless_it_worsens_after(site: SafetySite) -> None:
    site.report(onset="2026-02-20", grade=1)
    assert not site.last("event_classified").emergent
    site.say("safety.event_updated", {"ae": "1", "on": "2026-03-10", "grade": 2})
    assert site.last("event_classified").emergent


# Grades -------------------------------------------------------------------------------------------------------


def test_a_measurement_comes_to_a_grade_held_against_its_baseline(site: SafetySite) -> None:
    site.measure("alt", 30, "U/L", "2026-03-01", reference={"high": 40})
    site.measure("alt", 168, "U/L", "2026-03-06", reference={"high": 40})
    found = site.last("grade_proposed")
    assert (found.term, found.grade, found.worst) == ("Alanine aminotransferase increased", 2, 2)
    assert "4.2" in found.arithmetic[0]
    assert len(found.evidence) == 2, "the value and the baseline"


def test_a_baseline_is_never_graded_against_itself(site: SafetySite) -> None:
    site.measure("alt", 400, "U/L", "2026-03-01", reference={"high": 40})
    assert site.decided("grade_proposed") == []


def test_the_newest_grade_falls_and_the_worst_stays(site: SafetySite) -> None:
    for day, value in (("05", 168), ("08", 30)):
        site.measure("alt", value, "U/L", f"2026-03-{day}", reference={"high": 40})
    found = site.last("grade_proposed")
    assert (found.grade, found.worst) == (0, 2)


def test_an_investigator_who_grades_otherwise_stands_and_the_dispute_is_sealed(site: SafetySite) -> None:
    site.measure("alt", 250, "U/L", "2026-03-06", reference={"high": 40})
    said = site.report(term="Alanine aminotransferase increased", grade=2, onset="2026-03-06")
    found = site.last("grade_disputed")
    assert (found.investigator, found.proposed) == (2, 3)
    assert site.last("event_classified").grade == 2, "the investigator's grade stands"
    site.correct(said[0], grade=3)
    assert site.last("dispute_settled").ae == "1"


def test_components_of_crs_without_an_adverse_event_are_asked_about(site: SafetySite) -> None:
    site.say(
        "safety.crs_assessed",
        {
            "at": "2026-03-03T08:00",
            "temperature": 39,
            "antipyretics": False,
            "hypotension": True,
            "vasopressors": "one",
            "oxygen": "none",
            "hypoxia": False,
        },
    )
    assert site.last("grade_proposed").grade == 3
    assert "Cytokine release syndrome not reported" in site.queries()
    site.report(term="Cytokine release syndrome", grade=3, onset="2026-03-03")
    assert "Cytokine release syndrome not reported" not in site.queries()
    assert site.last("query_closed").query == "Cytokine release syndrome not reported"


# Bad input of the safety kind ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "data", "sentence"),
    [
        (
            "safety.event_reported",
            {"ae": "1", "term": "Rash", "onset": "2026-03-05", "ended": "2026-03-01"},
            "data: the adverse event cannot end (2026-03-01) before it begins (2026-03-05)",
        ),
        (
            "safety.observed",
            {"item": "chimerism", "value": -1, "unit": "%", "collected": "2026-03-09"},
            "data: chimerism cannot be negative",
        ),
        (
            "safety.observed",
            {"item": "chimerism", "value": 101, "unit": "%", "collected": "2026-03-09"},
            "data: chimerism 101 % is impossible: it must lie between 0 and 100 %",
        ),
        (
            "safety.observed",
            {"item": "platelets", "value": 40, "unit": "thousands", "collected": "2026-03-09"},
            "data: 'thousands' is no UCUM unit; write it like mg/dL, umol/L, U/L, ms, [lb_av]",
        ),
        (
            "safety.observed",
            {"item": "platelets", "value": 40, "unit": "mm[Hg]", "collected": "2026-03-09"},
            "data: the unit mm[Hg] cannot be converted to 10*3/uL",
        ),
        (
            "safety.event_reported",
            {"ae": "1", "term": "Rash", "grade": 6},
            "data.grade must be at most 5",
        ),
        (
            "safety.event_updated",
            {"ae": "1", "on": "2026-03-05"},
            "data: an update changes at least one of grade, severity, serious, causality, treated",
        ),
        (
            "safety.event_reported",
            {"ae": "1", "term": "Rash", "serious": ["death", "death"]},
            "data: serious names a criterion twice",
        ),
        (
            "safety.event_reported",
            {"ae": "1", "term": "Rash", "onset": "2027-03-05"},
            "data.onset: 2027-03-05 lies in the future",
        ),
    ],
)
def test_what_cannot_be_is_sealed_as_refused_with_a_sentence(
    site: SafetySite, type_: str, data: dict[str, Any], sentence: str
) -> None:
    before = site.notary.size
    site.say(type_, data)
    refused = site.log()[before]
    assert (refused.header.verdict, refused.header.reason) == ("refused", sentence)


@pytest.mark.parametrize(
    ("says", "query"),
    [
        ([("safety.event_resolved", {"ae": "1", "on": "2026-03-01", "outcome": "recovered"})], "event 1: resolved"),
        ([("safety.event_updated", {"ae": "1", "on": "2026-03-01", "grade": 3})], "event 1: changed"),
        ([("safety.event_updated", {"ae": "1", "on": "2026-03-06", "grade": 5})], "event 1 fatal without death"),
        (
            [("safety.event_resolved", {"ae": "9", "on": "2026-03-08", "outcome": "recovered"})],
            "event 9 not reported",
        ),
        ([("safety.died", {"on": "2026-03-04", "cause": "Sepsis"})], "event 1 after death"),
        (
            [("safety.event_reported", {"ae": "1", "term": "Rash", "onset": "2026-03-05", "grade": 1})],
            "event 1 reported twice",
        ),
        (
            [("safety.event_reported", {"ae": "2", "term": "nausea", "onset": "2026-03-05", "grade": 2})],
            "event 2 like event 1",
        ),
        (
            [("safety.event_updated", {"ae": "1", "on": "2026-03-06", "serious": ["unspecified"]})],
            "event 1: serious",
        ),
        ([("safety.event_updated", {"ae": "1", "on": "2026-03-06", "serious": ["disability"]})], "event 1: aware"),
    ],
)
def test_what_does_not_fit_together_is_asked_about_until_it_is_set_right(
    site: SafetySite, says: list[tuple[str, dict[str, Any]]], query: str
) -> None:
    site.report()
    asked = [event for type_, data in says for event in site.say(type_, data)]
    raised = [event.data for event in asked if event.type == "safety.query_raised"]
    name = next(one.query for one in raised if one.query.startswith(query))
    assert all(one.to == SITE for one in raised)
    site.retract(asked[0])
    assert name not in site.queries()
    assert name in [event.data.query for event in site.decided("query_closed")]


def test_a_value_without_a_unit_is_asked_about_and_never_guessed(site: SafetySite) -> None:
    said = site.say("safety.observed", {"item": "platelets", "value": 40, "collected": "2026-03-09"})
    assert "Platelet count decreased not gradable" in site.queries()
    assert site.decided("grade_proposed") == []
    site.correct(said[0], unit="10*3/uL")
    assert "Platelet count decreased not gradable" not in site.queries()
    assert site.last("grade_proposed").grade == 3


def test_an_infusion_before_enrolment_is_sealed_as_a_deviation(site: SafetySite) -> None:
    rules = [event.data.rule for event in site.read(site.log()) if event.type == "screening.deviation_raised"]
    assert "infused_without_enrolment" in rules


def test_an_adverse_event_of_an_untreated_participant_is_related_to_nothing(tmp_path: Path) -> None:
    site = SafetySite(tmp_path, infused=None)
    site.report(serious=["hospitalisation"], aware="2026-03-05T09:00")
    found = site.last("event_classified")
    assert (found.emergent, found.susar) == (False, False)
    assert "related without exposure" in site.queries()


def test_a_sponsors_statement_can_be_taken_back_only_by_its_own_kind(site: SafetySite) -> None:
    said = site.say("treatment.arm_assigned", {"planned": "DL1"})[0]
    before = site.notary.size
    site.say("safety.retracted", {"corrects": said.envelope.id, "reason": "wrong"})
    assert site.log()[before].header.reason == (
        "data.corrects: a treatment.arm_assigned is taken back by screening.retracted"
    )


def test_only_who_may_say_it_may_say_it(site: SafetySite) -> None:
    with pytest.raises(RefusedError):
        site.say("safety.unheard_of", {})
    before = site.notary.size
    site.say("safety.report_sent", {}, source=SITE, role="site_system")
    assert "may be submitted by medical_monitor" in str(site.log()[before].header.reason)
    before = site.notary.size
    site.say("safety.query_raised", {}, source=COMMITTEE, role="cohort_committee")
    assert "may be submitted by safety" in str(site.log()[before].header.reason)


# Before a protocol, and after ------------------------------------------------------------------------------------


def test_the_engines_own_decisions_decide_nothing(site: SafetySite) -> None:
    site.report(serious=["disability"], aware="2026-03-05T09:00")
    again = check(site.log())
    assert (again.differences, again.pending) == ([], 0)
    assert again.decisions == sum(isinstance(event.data, Decision) for event in site.read(site.log()))


def test_every_decision_says_by_which_protocol_and_engine_and_because_of_what(site: SafetySite) -> None:
    site.report()
    for event in site.read(site.log()):
        if event.type.startswith("safety.") and isinstance(event.data, Decision):
            cause = site.log()[event.data.cause.index]
            assert cause.leaf.hex() == event.data.cause.leaf
            assert event.envelope.time_text == cause.header.sealed_at
            assert event.envelope.subject in {None, PERSON}


def test_the_first_infusion_is_the_earliest_however_late_it_is_recorded(site: SafetySite) -> None:
    site.report(onset="2026-03-01")
    assert not site.last("event_classified").emergent
    site.say("treatment.infused", {"at": "2026-02-27T10:00:00+08:00", "dose_level": "DL1", "number": 1})
    assert site.last("event_classified").emergent
    assert site.last("window_decided").first_day == "2026-02-27"
    assert INFUSED.startswith("2026-03-02")
