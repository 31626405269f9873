"""Windows, recommendations, the committee's decisions and the slots they open, from infusion to enrolment."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.cli.show_safety import cohort_board
from services.safety import cohorts
from services.safety.trial import in_force
from shared.words import TrailError
from tests.feed import Feed
from tests.safety_site import DOCUMENT, MEMBERS, SafetySite

BLOOD = {"anc": 2, "platelets": 180}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SafetySite]:
    made = SafetySite(tmp_path, infused=None)
    yield made
    made.notary.close()


def infuse(site: SafetySite, code: str, level: str = "DL1", *, days_ago: int = 0) -> str:
    """Register and infuse a participant whose blood counts are normal; the moment of the infusion."""
    at = (site.now - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if f"participant:{code}" not in site.safety.state:
        site.say("screening.registered", {"sex": "male", "birth_date": "1970"}, of=code)
    site.say("treatment.infused", {"at": at, "dose_level": level, "number": 1}, of=code)
    count(site, code)
    return at


def count(site: SafetySite, code: str, **values: float) -> None:
    """Report the participant's blood counts of today."""
    for item, value in (BLOOD | values).items():
        collected = (site.now + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        data = {"item": item, "value": value, "unit": "10*3/uL", "collected": collected, "reference": {"low": 1.5}}
        site.say("safety.observed", data, of=code)


def toxic(site: SafetySite, code: str, **data: Any) -> Any:
    """Report a dose-limiting toxicity: a related CRS of grade 3 that began today."""
    said = {"ae": "1", "term": "Cytokine release syndrome", "grade": 3, "causality": "probable", "serious": []}
    onset = (site.now + timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return site.say("safety.event_reported", said | {"onset": onset} | data, of=code)[0]


def window(site: SafetySite, code: str) -> Any:
    """The newest decision on a participant's window."""
    return [event.data for event in site.decided("window_decided") if event.envelope.subject == code][-1]


def decide(site: SafetySite, decision: str, level: str = "DL1", **data: Any) -> Any:
    """Let the committee decide, and two of its members sign that."""
    said = {"dose_level": level, "decision": decision, "why": "As discussed."}
    sealed = site.say("safety.cohort_decided", said | data)
    return sealed + site.endorse(sealed[0])


def three(site: SafetySite) -> list[str]:
    """Three participants at the lowest level, a week apart."""
    codes = ["701-001", "701-002", "701-003"]
    for at, code in enumerate(codes):
        if at:
            site.wait(7)
        infuse(site, code)
    return codes


def test_a_window_is_open_for_28_days_and_closes_clean_at_the_first_tick_after(site: SafetySite) -> None:
    infuse(site, "701-001")
    assert window(site, "701-001").state == "open"
    site.wait(28)
    assert window(site, "701-001").state == "open", "day 28 still counts"
    site.wait(1)
    found = window(site, "701-001")
    assert (found.state, found.supersedes is not None) == ("clean", True)


def test_a_window_does_not_close_clean_before_the_blood_counts_are_known(site: SafetySite) -> None:
    site.say("screening.registered", {"sex": "male", "birth_date": "1970"}, of="701-001")
    site.say("treatment.infused", {"at": "2026-03-12T10:00", "dose_level": "DL1", "number": 1}, of="701-001")
    site.wait(40)
    assert window(site, "701-001").state == "open"
    assert "Neutrophil" in " ".join(site.assessed.window.arithmetic if site.assessed.window else [])
    for item in BLOOD:
        site.measure(item, 2 if item == "anc" else 180, "10*3/uL", "2026-04-08")
    assert window(site, "701-001").state == "clean"


def test_a_lasting_cytopenia_is_a_dlt_by_measurement_alone(site: SafetySite) -> None:
    infuse(site, "701-001")
    site.wait(27)
    count(site, "701-001", anc=0.3)
    site.wait(3)
    found = window(site, "701-001")
    assert (found.state, found.toxicities) == ("dlt", ["Neutrophil count decreased"])


def test_a_dlt_closes_the_window_at_once_and_its_correction_opens_it_again(site: SafetySite) -> None:
    infuse(site, "701-001")
    said = toxic(site, "701-001")
    assert window(site, "701-001").state == "dlt"
    site.correct(said, grade=2)
    assert window(site, "701-001").state == "open"
    site.wait(30)
    assert window(site, "701-001").state == "clean"


def test_who_leaves_before_day_28_is_not_evaluable_and_is_replaced(site: SafetySite) -> None:
    infuse(site, "701-001")
    site.wait(10)
    site.say("screening.withdrawn", {"on": site.now.date().isoformat()}, of="701-001")
    assert window(site, "701-001").state == "not_evaluable"
    assert site.last("cohort_recommended").evaluable == 0


def test_who_is_said_to_have_died_by_a_disposition_alone_completes_no_window(site: SafetySite) -> None:
    infuse(site, "701-001")
    site.wait(10)
    count(site, "701-001")
    on = site.now.date().isoformat()
    site.say("safety.disposition_recorded", {"phase": "study", "status": "death", "on": on}, of="701-001")
    assert "safety.died" in site.queries()["death not recorded"]
    site.wait(30)
    assert window(site, "701-001").state == "open", "what led to the death could have been a toxicity"
    toxic(site, "701-001", term="Pneumonia", grade=5, causality="not_related", onset=on)
    site.say("safety.died", {"on": on, "cause": "Pneumonia", "ae": "1"}, of="701-001")
    assert window(site, "701-001").state == "not_evaluable"
    assert "death not recorded" not in site.queries()


def test_a_death_that_only_the_sponsor_states_is_a_death(site: SafetySite) -> None:
    infuse(site, "701-001")
    toxic(site, "701-001", term="Pneumonia", grade=2, onset="2026-03-12")
    said = {"ae": "1", "serious": ["death"], "why": "The family called."}
    site.say("safety.event_assessed", said, of="701-001")
    assert window(site, "701-001").state == "dlt"
    assert site.last("slots_decided").held
    assert "event 1 fatal without death" in site.queries()


def test_nothing_is_recommended_before_the_cohort_can_be_judged(site: SafetySite) -> None:
    three(site)
    found = site.last("cohort_recommended")
    assert (found.action, found.treated, found.pending) == ("wait", 3, 3)
    site.wait(30)
    found = site.last("cohort_recommended")
    assert (found.action, found.to, found.evaluable, found.dlts) == ("escalate", "DL2", 3, 0)


@pytest.mark.parametrize(("toxicities", "action"), [(0, "escalate"), (1, "stay"), (3, "stop")])
def test_the_recommendation_follows_boin(site: SafetySite, toxicities: int, action: str) -> None:
    codes = three(site)
    for code in codes[:toxicities]:
        toxic(site, code)
    site.wait(31)
    assert site.last("cohort_recommended").action == action


def test_a_correction_that_reverses_a_dlt_changes_what_is_recommended(site: SafetySite) -> None:
    codes = three(site)
    said = toxic(site, codes[0])
    site.wait(31)
    assert site.last("cohort_recommended").action == "stay"
    site.correct(said, grade=1)
    found = site.last("cohort_recommended")
    assert (found.action, found.dlts, found.supersedes is not None) == ("escalate", 0, True)


def test_at_first_only_the_trial_files_slots_are_open_and_only_at_the_lowest_level(site: SafetySite) -> None:
    assert site.last("slots_decided").up_to == {"DL1": 3, "DL2": 0, "DL3": 0}
    board = cohort_board(site.safety)
    assert [(level["enrolled"], level["up_to"]) for level in board["levels"]] == [(0, 3), (0, 0), (0, 0)]


def test_the_committee_opens_slots_and_screening_gives_no_place_without_one(site: SafetySite) -> None:
    three(site)
    site.wait(31)
    decide(site, "escalate", opens="DL2", slots=3)
    assert site.last("slots_decided").up_to == {"DL1": 0, "DL2": 3, "DL3": 0}
    refused = site.say("screening.enrolment_requested", {"dose_level": "DL1"}, of="701-001")[1]
    assert "no slot is open at DL1" in " ".join(refused.data.reasons)  # type: ignore[attr-defined]
    refused = site.say("screening.enrolment_requested", {"dose_level": "DL2"}, of="701-001")[1]
    assert "slot" not in " ".join(refused.data.reasons)  # type: ignore[attr-defined]
    assert site.decided("departure_noted") == []


@pytest.mark.parametrize(
    ("decision", "data", "why"),
    [
        ("escalate", {"opens": "DL2", "slots": 3}, "wait"),
        ("escalate", {"opens": "DL9", "slots": 3}, "DL9 is not a dose level"),
        ("expand", {"opens": "DL1", "slots": 3}, "wait"),
    ],
)
def test_a_decision_that_departs_from_the_recommendation_stands_and_is_noted(
    site: SafetySite, decision: str, data: dict[str, Any], why: str
) -> None:
    three(site)
    decide(site, decision, **data)
    found = site.last("departure_noted")
    assert (found.decision, why in f"{found.recommended} {found.arithmetic}") == (decision, True)
    opened = site.last("slots_decided").up_to
    assert opened.get("DL2") == 0, "locked while the open windows below still decide"
    site.wait(31)
    assert site.last("slots_decided").up_to["DL2"] == (3 if data["opens"] == "DL2" else 0)


def test_a_stay_that_opens_another_level_departs_from_the_recommendation(site: SafetySite) -> None:
    toxic(site, three(site)[0])
    site.wait(31)
    assert site.last("cohort_recommended").action == "stay"
    said = decide(site, "stay", opens="DL3", slots=3)[0]
    assert site.last("departure_noted").arithmetic == ["recommended was DL1, opened is DL3"]
    site.correct(said, opens="DL1")
    assert len(site.decided("departure_noted")) == 1


def test_a_level_given_up_takes_nobody_when_the_committee_opens_one_above_it(site: SafetySite) -> None:
    for code in three(site):
        toxic(site, code)
    decide(site, "escalate", opens="DL2", slots=3)
    assert set(site.last("slots_decided").up_to.values()) == {0}


def test_a_corrected_decision_keeps_its_place_and_opens_nothing_twice(site: SafetySite) -> None:
    decide(site, "hold")
    resumed = decide(site, "resume")[0]
    decide(site, "hold")
    site.endorse(site.correct(resumed, why="As discussed on Monday.")[0])
    assert site.last("slots_decided").held
    decide(site, "resume")
    three(site)
    site.wait(31)
    opened = decide(site, "escalate", opens="DL2", slots=3)[0]
    before = len(site.decided("departure_noted"))
    corrected = site.correct(opened, why="As discussed on Tuesday.")[0]
    assert site.last("slots_decided").held, "nobody is enrolled by a decision while its correction is not signed"
    site.endorse(corrected)
    assert (site.last("slots_decided").held, site.last("slots_decided").up_to["DL2"]) == (False, 3)
    assert len(site.decided("departure_noted")) == before


def test_a_decision_corrected_again_by_its_first_name_opens_nothing_twice(site: SafetySite) -> None:
    wrong = decide(site, "hold")[0]
    site.correct(wrong, decision="resume")
    site.correct(wrong, decision="hold", why="Held after all.")
    assert len(site.trial.committee) == 1
    site.endorse(site.correct(wrong, decision="resume", why="Resumed after all.")[0])
    assert (len(site.trial.committee), site.last("slots_decided").held) == (1, False)


def test_a_corrected_infusion_stays_in_the_cohort_that_it_was_given_in(site: SafetySite) -> None:
    toxic(site, three(site)[0])
    site.wait(31)
    decide(site, "stay", opens="DL1", slots=3)
    before = site.last("cohort_recommended")
    assert (before.action, before.arithmetic[-1]) == (
        "wait",
        "the cohort is not full: 3 participants still to be treated",
    )
    said = next(event for event in site.read(site.log()) if event.type == "treatment.infused")
    site.correct(said, at=site.trial.members["701-001"].first_day)
    made = cohorts.recommended(site.trial, in_force(site.trial))
    assert made is not None
    assert made[0].arithmetic[-1] == before.arithmetic[-1]


def ready(site: SafetySite) -> Any:
    """The committee's decision to escalate, on the recommendation to do so; nobody has signed it."""
    three(site)
    site.wait(31)
    said = {"dose_level": "DL1", "decision": "escalate", "opens": "DL2", "slots": 3, "why": "As discussed."}
    return site.say("safety.cohort_decided", said)[0]


@pytest.mark.part11("11.200(a)(3)")
def test_a_decision_opens_nothing_until_two_different_members_have_signed_it(site: SafetySite) -> None:
    decided = ready(site)
    assert site.last("slots_decided").up_to["DL2"] == 0
    (row,) = cohort_board(site.safety)["decisions"]
    assert (row["in_force"], row["persons"], row["signed_by"]) == (False, 2, [])
    site.endorse(decided, MEMBERS[0])
    site.endorse(decided, MEMBERS[0])
    assert site.last("slots_decided").up_to["DL2"] == 0, "one person who signs twice is one person"
    (row,) = cohort_board(site.safety)["decisions"]
    assert (row["in_force"], row["signed_by"]) == (False, ["cohort_committee.committee"])
    second = site.endorse(decided, MEMBERS[1])[0]
    found = site.last("slots_decided")
    assert (found.up_to["DL2"], found.cause.index) == (3, second.entry.index)
    assert {decided.entry.index, second.entry.index} <= {one.index for one in found.evidence}


def test_a_decision_counts_since_it_was_signed_and_not_since_it_was_written(site: SafetySite) -> None:
    decided = ready(site)
    decide(site, "hold")
    site.endorse(decided)
    assert site.last("slots_decided").held, "opening a level after a hold does not resume"
    decide(site, "resume")
    assert site.last("slots_decided").up_to["DL2"] == 3
    assert [one.said.decision for one in cohorts.decisions(site.trial)] == ["hold", "escalate", "resume"]


def test_a_signature_over_what_was_corrected_since_puts_nothing_in_force(site: SafetySite) -> None:
    decided = ready(site)
    site.endorse(decided, MEMBERS[0])
    corrected = site.correct(decided, slots=6)[0]
    site.endorse(decided, MEMBERS[1])
    assert site.last("slots_decided").up_to["DL2"] == 0
    site.endorse(corrected, MEMBERS[1])
    assert site.last("slots_decided").up_to["DL2"] == 0, "who signed three has not signed six"
    site.endorse(corrected, MEMBERS[0])
    assert site.last("slots_decided").up_to["DL2"] == 6


def test_a_decision_of_a_log_from_before_there_were_persons_takes_effect_at_once() -> None:
    for format_, opened in ((3, True), (4, False)):
        feed = Feed(format_=format_)
        before = _places(feed)
        said = {"dose_level": "DL1", "decision": "expand", "opens": "DL1", "slots": 7, "why": "As discussed."}
        feed.say("safety.cohort_decided", said, of=None, source=MEMBERS[0])
        assert (_places(feed) > before) == opened


def _places(feed: Feed) -> int:
    found: int = [one["up_to"]["DL1"] for one in feed.decisions if "up_to" in one][-1]
    return found


def test_another_treatment_before_the_infusion_takes_no_window_away(site: SafetySite) -> None:
    infuse(site, "701-001")
    given = {"treatment": "Fludarabine", "arm": "DL1", "dose": 30, "unit": "mg/m2", "started": "2026-03-05"}
    site.say("treatment.exposed", given, of="701-001")
    assert site.assessed.window is not None
    assert window(site, "701-001").state == "open"


def test_a_count_that_could_be_the_last_keeps_the_window_open_or_limits_the_dose(site: SafetySite) -> None:
    infuse(site, "701-001")
    site.wait(20)
    bad = {"item": "platelets", "value": 10, "unit": "10*3/uL", "collected": site.now.date().isoformat()[:7]}
    said = site.say("safety.observed", bad, of="701-001")[0]
    site.wait(10)
    assert window(site, "701-001").state == "dlt", "a partial date that could be the last"
    site.correct(said, unit=None, collected=(site.now - timedelta(days=9)).date().isoformat())
    assert window(site, "701-001").state == "open", "a value that cannot be graded tells nothing"


def test_an_enrolment_that_overtook_the_last_place_is_a_deviation(site: SafetySite) -> None:
    common = {"engine": "screening/1", "protocol": "1.0", "protocol_digest": "0" * 64}
    for at in range(4):
        code = f"701-01{at}"
        site.say("screening.registered", {"sex": "male"}, of=code)
        cause = {"index": 0, "leaf": "0" * 64}
        data = common | {"cause": cause, "place": at + 1, "places": 24, "dose_level": "DL1", "evidence": []}
        site.say("screening.enrolled", data, of=code, source="service/screening", role="screening")
    assert [event.data.rule for event in site.decided("deviation_raised")] == ["enrolled_beyond_the_places"]


def test_a_hold_closes_every_level_until_it_is_resumed(site: SafetySite) -> None:
    decide(site, "hold")
    found = site.last("slots_decided")
    assert (found.held, set(found.up_to.values())) == (True, {0})
    refused = site.say("screening.registered", {"sex": "male", "birth_date": "1970"}, of="701-009")
    refused = site.say("screening.enrolment_requested", {"dose_level": "DL1"}, of="701-009")
    assert "enrolment is held" in " ".join(refused[1].data.reasons)  # type: ignore[attr-defined]
    infuse(site, "701-009")
    rules = [event.data.rule for event in site.decided("deviation_raised")]
    assert "infused_while_held" in rules
    decide(site, "resume")
    assert site.last("slots_decided").up_to["DL1"] == 3


def test_a_related_death_holds_enrolment_by_itself_and_an_unrelated_one_does_not(site: SafetySite) -> None:
    codes = three(site)
    toxic(site, codes[0], ae="1", term="Fall", grade=4, causality="not_related", serious=["death"])
    assert not site.last("slots_decided").held
    toxic(site, codes[1], ae="1", term="Sepsis", grade=4, serious=["death"])
    assert site.last("slots_decided").held
    assert codes[1] in " ".join(site.last("slots_decided").arithmetic)
    decide(site, "resume")
    assert not site.last("slots_decided").held
    site.say("safety.event_updated", {"ae": "1", "on": "2026-03-27", "treated": "yes"}, of=codes[1])
    assert not site.last("slots_decided").held, "more about the same death is no other death"


def test_a_stop_is_final(site: SafetySite) -> None:
    decide(site, "stop")
    decide(site, "resume")
    assert site.last("slots_decided").held


def test_a_level_that_the_rule_gives_up_takes_nobody_even_if_the_committee_says_otherwise(site: SafetySite) -> None:
    for code in three(site):
        toxic(site, code)
    assert site.last("cohort_recommended").action == "stop"
    decide(site, "expand", opens="DL1", slots=3)
    assert site.last("slots_decided").up_to["DL1"] == 0
    assert site.last("departure_noted").recommended == "stop"


def test_two_infusions_too_close_together_are_a_deviation(site: SafetySite) -> None:
    infuse(site, "701-001")
    site.wait(6)
    infuse(site, "701-002")
    rules = [event.data.rule for event in site.decided("deviation_raised")]
    assert rules == ["infused_too_soon_after_another"]
    site.wait(7)
    infuse(site, "701-003")
    assert len(site.decided("deviation_raised")) == 1


def test_a_retracted_infusion_leaves_no_window_and_no_count(site: SafetySite) -> None:
    infuse(site, "701-001")
    said = next(event for event in site.read(site.log()) if event.type == "treatment.infused")
    site.retract(said)
    found = window(site, "701-001")
    assert (found.state, "retracted" in found.arithmetic[0]) == ("not_evaluable", True)
    assert site.trial.members["701-001"].level is None


def test_the_trial_of_another_design_follows_its_own_rule(tmp_path: Path) -> None:
    boin = "{method: boin, target: 0.30, cohort_size: 3, most_per_level: 18}"
    assert boin in DOCUMENT
    site = SafetySite(tmp_path, document=DOCUMENT.replace(boin, "{method: 3+3}"), infused=None)
    codes = three(site)
    toxic(site, codes[0])
    toxic(site, codes[1])
    assert site.last("cohort_recommended").action == "stop", "2 of 3 at the lowest level"
    site.notary.close()


def test_a_trial_without_cohorts_says_so_in_place_of_a_board(tmp_path: Path) -> None:
    begins, ends = DOCUMENT.index("\n  cohorts:"), DOCUMENT.index("\n  chimerism_days:")
    site = SafetySite(tmp_path, document=DOCUMENT[:begins] + DOCUMENT[ends:])
    with pytest.raises(TrailError, match="has no cohorts"):
        cohort_board(site.safety)
    site.notary.close()


@pytest.mark.parametrize("decision", ["hold", "stop"])
def test_what_only_closes_takes_effect_before_anybody_else_has_signed(site: SafetySite, decision: str) -> None:
    site.say("safety.cohort_decided", {"dose_level": "DL1", "decision": decision, "why": "A death to look into."})
    assert site.last("slots_decided").held
