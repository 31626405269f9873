"""The screening decider over a sealed log: signatures, places, infusions, closings and amendments."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from services.cli import show
from services.console.private import Reader
from services.console.replay import check, rules_of, what_if
from services.screening.decide import ScreeningDecider
from services.screening.eligibility import _shortened, assess_participant
from services.screening.participant import judged_on
from shared.decider import Machine, SealedEvent, read_event
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.events.decisions import CriterionVerdict, Decided, DeviationRaised, Enrolled, EnrolmentRefused
from shared.moments import stamp
from shared.protocol.model import protocol_digest
from tests.amending import put_in_force
from tests.site import PERSON, PLAN, SIGNER, Site
from tests.study import DOCUMENT, ZONE, ago, eligible, listed, sealed, value


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.notary.close()


def corrects(entry: Entry) -> dict[str, str]:
    return {"corrects": read_envelope(entry.body).id, "reason": "a slip"}


def events(entries: list[Entry]) -> list[SealedEvent]:
    assert not [entry.header.reason for entry in entries if not entry.admitted]
    return [event for event in map(read_event, entries) if event is not None]


def decided(entries: list[Entry]) -> Decided:
    [data] = [event.data for event in events(entries) if isinstance(event.data, Decided)]
    return data


def deviations(entries: list[Entry]) -> list[str]:
    return [event.data.rule for event in events(entries) if isinstance(event.data, DeviationRaised)]


def refusal(entries: list[Entry]) -> list[str]:
    [data] = [event.data for event in events(entries) if isinstance(event.data, EnrolmentRefused)]
    return data.reasons


@pytest.mark.part11("11.10(f)", "11.70")
def test_a_signature_is_not_corrected_but_taken_back(site: Site) -> None:
    site.screen()
    first = site.sign()[0]
    [refused] = site.sign(**corrects(first))
    assert refused.header.reason == "data.corrects: a signature is not corrected: take it back, and sign again"
    assert site.person.signature is not None
    assert site.person.signature.entry == first.index
    events(site.retract(first, "investigator"))
    assert site.person.signature is None
    assert "the investigator has not signed the eligibility decision as it stands now" in refusal(site.enrol())


def test_a_retracted_signature_no_longer_binds_and_another_is_untouched(site: Site) -> None:
    site.screen()
    first, second = site.sign()[0], site.sign()[0]
    events(site.retract(first, "investigator"))
    assert site.person.signature is not None
    events(site.retract(second, "investigator"))
    assert site.person.signature is None


def test_a_coordinators_key_takes_back_nothing_that_an_investigator_answers_for(site: Site) -> None:
    site.screen()
    judged = next(e for e in site.log() if e.admitted and "screening.judged" in read_envelope(e.body).type)
    [refused] = site.retract(judged)
    assert refused.header.reason == (
        "data.corrects: only investigator or sub_investigator may retract a screening.judged"
    )
    [refused] = site.retract(site.sign()[0])
    assert refused.header.reason == f"data.corrects: only {SIGNER['user']} may take back their own signature"
    assert site.person.signature is not None
    assert decided(site.retract(judged, "investigator")).standing == "undetermined"


def test_closed_as_a_screen_failure_is_decided_and_told_like_withdrawn(site: Site) -> None:
    site.screen()
    closed = site.say("screening.screen_failed", {"on": "2026-03-02"})
    decision = decided(closed)
    assert (decision.standing, decision.failed) == ("ineligible", ["screen_failed"])
    assert closed[0].index in [one.index for one in decision.evidence]
    assert "ineligible as of 2026-03-04: closed as a screen failure" in refusal(site.enrol())
    assert decided(site.say("screening.withdrawn", {"on": "2026-03-02"})).failed == ["screen_failed", "withdrawn"]
    told = "ineligible as of 2026-03-04: closed as a screen failure, withdrawn from the trial"
    assert told in refusal(site.enrol())
    found = deviations(site.infuse())
    assert {"infused_after_screen_failure", "infused_after_withdrawal"} <= set(found)
    assert show.reason(site.person, site.machine) == "closed as a screen failure (and withdrawn from the trial)"


def last_planned(site: Site) -> date | None:
    return judged_on(site.person, stamp(site.now), ZONE).reference.last_planned


def test_the_last_planned_infusion_is_never_before_one_that_was_or_is_to_be_given(site: Site) -> None:
    site.screen(plan={"first": "2026-03-04", "last": "2026-03-06"})
    assert last_planned(site) == date(2026, 3, 6)
    site.pass_time(8)
    assert last_planned(site) == date(2026, 3, 10), "the plan has passed: the first can only be today"
    site.infuse("2026-03-11")
    assert last_planned(site) == date(2026, 3, 11)
    site.infuse("2026-03-25", number=2)
    assert last_planned(site) == date(2026, 3, 25)


def test_a_vaccination_is_counted_from_an_infusion_later_than_planned(site: Site) -> None:
    planned = {"vaccination": [listed("vaccination", {"planned": ago(-90)}, on=ago(7))]}
    site.screen(eligible() | planned)
    assert site.person.decision is not None
    assert site.person.decision.standing == "eligible"
    site.infuse()
    assert deviations(site.infuse("2026-03-18", number=2))[-1:] == ["infused_while_not_eligible"]
    assert site.person.decision.failed == ("E4",)


@pytest.mark.part11("11.10(f)")
def test_no_place_without_a_live_completion_or_after_an_infusion(site: Site) -> None:
    site.screen()
    completed = next(e for e in site.log() if e.admitted and "screening.completed" in read_envelope(e.body).type)
    site.retract(completed)
    site.sign()
    assert refusal(site.enrol()) == ["screening is not completed: send screening.completed"]
    site.say("screening.completed", {"on": "2026-03-02"})
    site.infuse()
    site.sign()
    assert "already infused" in refusal(site.enrol())


def test_a_retracted_request_leaves_the_place_taken_and_is_a_deviation(site: Site) -> None:
    site.screen()
    site.sign()
    refused, given = site.enrol("DL9")[0], site.enrol()[0]
    assert deviations(site.retract(refused)) == []
    entries = site.retract(given)
    assert deviations(entries) == ["enrolment_request_retracted"]
    assert site.person.place == 1
    assert "the place stays taken" in str(events(entries)[-1].data)


def test_an_enrolment_cites_the_signature_and_a_deviation_the_decision(site: Site) -> None:
    site.screen()
    assert site.person.decision is not None
    entry = site.person.decision.entry
    deviation = site.infuse()
    [first] = [event.data for event in events(deviation) if event.data.__class__ is DeviationRaised][:1]
    assert isinstance(first, DeviationRaised)
    assert [one.index for one in first.evidence] == [entry, deviation[0].index]


def test_a_place_rests_on_the_request_the_decision_and_its_signature(site: Site) -> None:
    site.screen()
    assert site.person.decision is not None
    signed = site.sign()[0]
    for level, kind in (("DL9", EnrolmentRefused), ("DL1", Enrolled)):
        request, answer = site.enrol(level)
        data = events([answer])[0].data
        assert isinstance(data, kind)
        assert [one.index for one in data.evidence] == [
            site.person.decision.entry,
            signed.index,
            request.index,
        ]
        assert data.evidence[1].leaf == signed.leaf.hex()


def test_an_infusion_in_order_is_no_deviation_and_correcting_it_is_none_either(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    infused = site.infuse()
    assert deviations(infused) == []
    again = site.infuse("2026-03-04T11:00:00+08:00", 1, **corrects(infused[0]))
    assert deviations(again) == []


def test_the_first_infusion_is_the_earliest_and_a_second_first_one_a_deviation(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    site.infuse("2026-03-05T10:00:00+08:00")
    assert "two_first_infusions" in deviations(site.infuse("2026-03-04T10:00:00+08:00"))
    first = site.person.first_infusion(ZONE)
    assert first is not None
    assert first[1].at == "2026-03-04T10:00:00+08:00"
    assert site.person.decision is not None
    assert site.person.decision.judged_on == "2026-03-04"


@pytest.mark.part11("11.10(f)", "11.70")
def test_an_infusion_needs_a_signature_on_the_decision_as_it_stands(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    fresher = value("ecog", "0", "1", on=ago(3))["ecog"][0]
    site.say("screening.observed", fresher.model_dump(exclude_unset=True))
    assert deviations(site.infuse()) == ["infused_without_current_signature"]


def test_evidence_that_takes_back_the_eligibility_of_the_day_is_a_deviation_once_a_turn(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    site.infuse()
    low = value("lvef", "30", "%", on=ago(3))["lvef"][0].model_dump(exclude_unset=True)
    wrong = site.say("screening.observed", low)
    assert (deviations(wrong), decided(wrong).failed) == (["infused_while_not_eligible"], ["E10.3"])
    cited = next(event.data for event in events(wrong) if isinstance(event.data, DeviationRaised)).evidence
    assert decided(wrong).supersedes in [one.index for one in cited]
    assert deviations(site.say("screening.observed", low | {"value": 29})) == []
    site.retract(wrong[0])
    assert deviations(site.say("screening.withdrawn", {"on": "2026-03-04"})) == []


def test_a_second_turn_is_a_second_deviation(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    site.infuse()
    low = value("lvef", "30", "%", on=ago(3))["lvef"][0].model_dump(exclude_unset=True)
    wrong = site.say("screening.observed", low)
    assert decided(site.retract(wrong[0])).standing == "eligible"
    assert deviations(site.say("screening.observed", low)) == ["infused_while_not_eligible"]


def test_withdrawing_after_the_infusion_does_not_make_it_a_wrong_one(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    site.infuse()
    entries = site.say("screening.withdrawn", {"on": "2026-03-04"})
    assert (deviations(entries), decided(entries).failed) == ([], ["withdrawn"])


def test_a_completion_reported_late_is_judged_today_and_a_plan_reported_late_on_its_day(site: Site) -> None:
    for record in sealed(eligible()):
        site.say(record.type, record.data.model_dump(exclude_unset=True))
    decision = decided(site.say("screening.completed", {"on": "2026-02-27"}))
    assert (decision.judged_on, decision.basis) == ("2026-03-02", "today")
    decision = decided(site.say("screening.infusion_planned", {"first": "2026-03-01"}))
    assert (decision.judged_on, decision.basis) == ("2026-03-01", "retrospective")


def test_the_record_that_fixes_the_day_is_evidence(site: Site) -> None:
    site.screen()
    site.say("screening.observed", value("ecog", "0", "1", on=ago(3))["ecog"][0].model_dump(exclude_unset=True))
    planned = site.say("screening.infusion_planned", PLAN)
    assert planned[0].index in [one.index for one in decided(planned).evidence]
    infused = site.infuse()
    assert infused[0].index in [one.index for one in decided(infused).evidence]


def test_a_protocol_of_another_trial_changes_nothing(site: Site) -> None:
    site.screen()
    other = DOCUMENT.replace("trial: NCT06027853", "trial: NCT00000000").replace("at_most: 1,", "at_most: 0,")
    assert deviations(put_in_force(site, other, "2026-03-02")) == ["protocol_version_unusable"] * 2
    assert rules_of(site.machine).digest == protocol_digest(DOCUMENT)


def test_what_is_said_before_a_protocol_is_adopted_is_judged_when_it_is(site: Site) -> None:
    site.screen()
    log = site.log()
    adopted = next(entry for entry in log if "protocol.adopted" in entry.header.subject)
    machine = Machine(ScreeningDecider())
    for entry in log:
        if entry is not adopted:
            assert machine.feed(entry) == []
    [made] = machine.feed(adopted)
    assert read_envelope(made).data["standing"] == "eligible"


STRICTER = DOCUMENT.replace('version: "1.0"', 'version: "1.1"').replace(
    "item: ecog, at_most: 1", "item: ecog, at_most: 0"
)


def test_an_amendment_judges_again_who_is_neither_infused_nor_closed(site: Site) -> None:
    site.screen()
    assert decided(put_in_force(site, STRICTER, "2026-03-02")).failed == ["I4"]


@pytest.mark.parametrize("end", ["infused", "closed"])
def test_an_amendment_does_not_judge_again_who_is_infused_or_closed(site: Site, end: str) -> None:
    site.screen()
    if end == "infused":
        site.infuse()
    else:
        site.say("screening.screen_failed", {"on": "2026-03-02"})
    made = events(put_in_force(site, STRICTER, "2026-03-05"))
    assert not [event for event in made if isinstance(event.data, Decided)]
    assert site.person.decision is not None
    assert site.person.decision.digest == protocol_digest(DOCUMENT)


def test_a_decision_left_out_of_the_log_is_a_difference_and_one_still_due_is_not(site: Site) -> None:
    site.screen()
    site.enrol()
    site.enrol()
    log = site.log()
    assert (check(log).differences, check(log).pending) == ([], 0)
    last = check(log[:-1])
    assert (last.differences, last.pending) == ([], 1)
    *_, missing, _, _ = log
    found = check([entry for entry in log if entry is not missing])
    assert "a decision that was due is not in the log" in found.differences[-1].what
    assert (found.differences[-1].subject, found.pending) == (PERSON, 0)


def test_what_if_judges_both_versions_at_the_same_moment(site: Site) -> None:
    site.screen()
    site.say("screening.screen_failed", {"on": "2026-03-02"})
    assert what_if(site.log(), DOCUMENT) == []
    [difference] = what_if(site.log(), STRICTER)
    assert (difference.subject, difference.what) == (PERSON, "I4: met -> not_met")


def test_what_if_counts_the_time_that_has_passed_since_the_last_decision(site: Site) -> None:
    site.screen()
    site.pass_time(40)
    longer = DOCUMENT.replace("laboratory: 14", "laboratory: 99").replace("imaging: 28", "imaging: 99")
    [difference] = what_if(site.log(), longer.replace("clinical: 14", "clinical: 99"))
    assert difference.what.startswith("standing: undetermined -> eligible; ")


def test_a_participant_is_told_as_decided_and_as_it_stands_now(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.screen()
    site.sign()
    show.tell_participant(site.machine, site.log(), PERSON, Reader())
    assert "As it stands" not in capsys.readouterr().out
    # Undetermined for another reason every day: only the first of them is sealed.
    site.pass_time(20)
    site.pass_time(20)
    told = show.participant_as_json(site.machine, [], PERSON, Reader())
    decision = site.person.decision
    assert decision is not None
    assert (told["decision"]["judged_on"], told["now"]["judged_on"]) == (decision.judged_on, "2026-04-11")
    assert "criteria" not in told
    show.tell_participant(site.machine, site.log(), PERSON, Reader())
    out = capsys.readouterr().out
    assert f"decision: entry {decision.entry}, judged on {decision.judged_on} (planned passed), not signed" in out
    assert "As it stands at 2026-04-11T" in out
    assert "not itself sealed" in out


def test_the_day_of_a_decision_does_not_depend_on_who_asks(site: Site) -> None:
    site.screen()
    assessed = assess_participant(site.person, rules_of(site.machine), stamp(site.now + timedelta(hours=1)))
    assert site.person.decision is not None
    assert assessed.fingerprint == site.person.decision.fingerprint


def test_a_shortened_criterion_cites_the_newest_entries() -> None:
    row = CriterionVerdict(id="E2", verdict="met", arithmetic=[], evidence=[*range(10)], assumptions=[], gaps=[])
    assert _shortened(row, 3, 160, 5).evidence == [5, 6, 7, 8, 9]
