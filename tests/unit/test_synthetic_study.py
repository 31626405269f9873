"""The synthetic study: the same every time, in order, and every event what its script says it is."""

from collections import Counter
from datetime import date, timedelta
from importlib.resources import files

import pytest

from services.cli.study import (
    INVESTIGATORS,
    SITES,
    Act,
    Day,
    DecideCohort,
    Post,
    PostBroken,
    RequestEnrolment,
    SignEligibility,
    synthetic_study,
)
from services.cli.study_cases import CASES, FIRST_MONDAY, Case
from services.cli.study_course import LOCAL, STUDY_END
from services.cli.study_followup import MEDICAL_MONITOR
from services.screening.participant import EVIDENCE_TYPES
from services.screening.rules import Assessment, Record, Reference, assess
from shared.drafts import Draft
from shared.envelope import TYPE_PREFIX, read_envelope
from shared.events import CATALOGUE, SiteData, read_data
from shared.moments import instant
from shared.protocol.model import load_protocol
from shared.words import LogIndex, RefusedError

TRIAL = "NCT06027853"


@pytest.fixture(scope="module")
def days() -> list[Day]:
    return synthetic_study()


@pytest.fixture(scope="module")
def acts(days: list[Day]) -> list[Act]:
    return [act for day in days for act in day.acts]


@pytest.fixture(scope="module")
def posted(acts: list[Act]) -> list[Draft]:
    return [act.draft for act in acts if isinstance(act, Post)]


def test_the_same_seed_makes_the_same_study_and_another_seed_another(days: list[Day]) -> None:
    assert repr(synthetic_study()) == repr(days)
    assert repr(synthetic_study(seed=1)) != repr(days)


def test_the_days_are_in_order_and_span_about_twelve_months(days: list[Day]) -> None:
    moments = [day.at for day in days]
    assert moments == sorted(set(moments))
    assert timedelta(days=330) < moments[-1] - moments[0] < timedelta(days=365)
    assert moments[-1].astimezone(LOCAL).date() <= STUDY_END
    assert {moment.utcoffset() for moment in moments} == {timedelta(0)}


def test_nothing_is_posted_before_it_happened_or_after_its_day_was_sealed(days: list[Day]) -> None:
    for before, day in zip([None, *days], days, strict=False):
        for act in day.acts:
            if isinstance(act, Post | DecideCohort):
                assert instant(act.draft.time) < day.at
                assert before is None or before.at < instant(act.draft.time)


def test_every_event_passes_as_admission_will_judge_it(acts: list[Act], posted: list[Draft]) -> None:
    for draft in posted:
        draft.check(TRIAL)
    for act in acts:
        if isinstance(act, DecideCohort):
            act.decided(0, "00" * 32).check(TRIAL)


def test_of_the_broken_messages_the_notary_can_refuse_each_for_its_own_reason(acts: list[Act]) -> None:
    broken = [act for act in acts if isinstance(act, PostBroken)]
    assert len({act.what for act in broken}) == len(broken) == 9
    refused = []
    for act in broken:
        try:
            act.draft.check(TRIAL)
        except RefusedError as error:
            assert act.damage == "none"
            refused.append(str(error))
    assert refused == [
        "data.colour is not a field of this event",
        "data: the unit mm[Hg] cannot be converted to mg/dL",
        "data: creatinine cannot be negative",
    ]
    payload = next(act for act in broken if act.damage == "cut_off").draft.payload(TRIAL, "", 1)
    with pytest.raises(RefusedError, match="not valid JSON"):
        read_envelope(payload[: len(payload) // 2])


def test_a_message_before_registration_is_refused_and_posted_again_later(days: list[Day]) -> None:
    timed = [act for day in days for act in day.acts if isinstance(act, Post | PostBroken)]
    mine = [act for act in timed if act.draft.subject == "103-001"]
    kinds = [(type(act), act.draft.type, act.draft.data.get("item")) for act in mine]
    weight = "screening.observed", "weight"
    assert kinds[0] == (PostBroken, *weight)
    assert kinds[1][:2] == (Post, "screening.registered")
    assert (Post, *weight) in kinds[2:]


def test_a_correction_names_an_earlier_event_of_the_same_participant(posted: list[Draft]) -> None:
    seen: dict[str, Draft] = {}
    corrections = 0
    for draft in posted:
        if "corrects" in draft.data:
            wrong = seen[draft.data["corrects"]]
            assert (wrong.source, wrong.subject) == (draft.source, draft.subject)
            assert draft.type in {wrong.type, "safety.retracted"}
            corrections += 1
        if draft.id is not None:
            assert draft.id not in seen
            seen[draft.id] = draft
    assert corrections == len(seen) == 7


def test_participants_are_registered_once_by_their_own_site_before_anything_else(posted: list[Draft]) -> None:
    first = {draft.subject: draft for draft in reversed(posted) if draft.subject is not None}
    assert {draft.type for draft in first.values()} == {"screening.registered"}
    assert Counter(draft.subject for draft in posted if draft.type == "screening.registered") == {
        case.code: 1 for case in CASES
    }
    assert {draft.source for draft in posted} == {f"site/{site}" for site in SITES} | {MEDICAL_MONITOR}
    mine = [(draft.source[5:], draft.subject) for draft in posted if draft.source != MEDICAL_MONITOR]
    assert all(subject is not None and subject.startswith(site) for site, subject in mine)


def test_a_judgement_is_signed_by_the_investigator(posted: list[Draft]) -> None:
    assert {draft.type for draft in posted if draft.role == "investigator"} == {"screening.judged"}
    assert {draft.signing_role for draft in posted} == {"investigator", "site_system", "medical_monitor"}
    assert INVESTIGATORS.keys() == SITES.keys()


def test_the_study_screens_more_than_it_can_enrol_and_for_many_reasons() -> None:
    assert len(CASES) >= 34
    assert len({criterion for case in CASES for criterion in case.fails}) >= 10
    assert Counter(case.level for case in CASES if case.level) == {"DL1": 6, "DL2": 6, "DL3": 12}
    assert len({case.code for case in CASES}) == len(CASES)


def test_everybody_who_is_enrolled_asked_after_a_signature_and_was_infused(
    acts: list[Act], posted: list[Draft]
) -> None:
    signed = [act.participant for act in acts if isinstance(act, SignEligibility)]
    asked = {act.participant: act.dose_level for act in acts if isinstance(act, RequestEnrolment)}
    infused = {draft.subject for draft in posted if draft.type == "treatment.infused"}
    enrolled = {case.code: case.level for case in CASES if case.level}
    assert enrolled.items() <= asked.items()
    assert set(enrolled) <= set(signed)
    assert infused - set(enrolled) == {"103-010"}, "the one infused without a place"


def test_a_higher_dose_comes_28_days_after_the_last_infusion_of_the_lower_one(posted: list[Draft]) -> None:
    infusions = sorted(
        (draft.data["dose_level"], instant(draft.time)) for draft in posted if draft.type == "treatment.infused"
    )
    for lower, higher in (("DL1", "DL2"), ("DL2", "DL3")):
        last = max(at for level, at in infusions if level == lower)
        first = min(at for level, at in infusions if level == higher)
        assert first - last >= timedelta(days=28)


# What should come of each story, by the rules themselves.


def judged(posted: list[Draft], code: str, until_day: int = 99) -> Assessment:
    """Judge a participant by what was posted up to a day of the course, for the infusion as planned then."""
    case = next(case for case in CASES if case.code == code)
    end = (FIRST_MONDAY + timedelta(weeks=case.week, days=until_day)).isoformat()
    mine = [draft for draft in posted if draft.subject == code and draft.time[:10] <= end]
    corrected = {draft.data.get("corrects") for draft in mine}
    records = []
    for index, draft in enumerate(mine):
        name = draft.event_type.name
        payload = read_envelope(draft.payload(TRIAL, f"00000000-0000-7000-8000-{index:012}", 1))
        data = read_data(CATALOGUE[name], payload.data)
        assert isinstance(data, SiteData)
        type_ = name.removeprefix(TYPE_PREFIX).removesuffix(".v1")
        if payload.id not in corrected and type_ in EVIDENCE_TYPES:
            records.append(Record(LogIndex(index), "00" * 32, payload.id, type_, data))
    protocol = load_protocol(files("shared.protocol").joinpath("nct06027853.yaml").read_text("utf-8"))
    planned = [draft.data["first"] for draft in mine if draft.type == "screening.infusion_planned"][-1]
    zone = protocol.zone(f"site/{code[:3]}")
    reference = Reference(day=date.fromisoformat(planned), instant=None, zone=zone, last_planned=None)
    return assess(protocol, records, reference)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_each_story_comes_out_as_it_is_told(posted: list[Draft], case: Case) -> None:
    verdict = judged(posted, case.code)
    expected = "undetermined" if case.code == "102-015" else "ineligible" if case.fails else "eligible"
    assert (verdict.standing, tuple(verdict.failed)) == (expected, case.fails), verdict.blockers


@pytest.mark.parametrize(
    ("code", "day", "before", "after"),
    [
        ("101-004", 4, "undetermined", "eligible"),  # the INR arrives
        ("103-003", 4, "undetermined", "eligible"),  # a partial date is completed
        ("102-003", 4, "ineligible", "eligible"),  # a creatinine is corrected
        ("103-006", 7, "eligible", "ineligible"),  # and another, after the signature
        ("103-008", 4, "undetermined", "eligible"),  # events come late
        ("101-012", 10, "undetermined", "eligible"),  # the infusion moves, then blood is drawn again
        ("102-012", 10, "undetermined", "eligible"),  # and again, while enrolment is held
    ],
)
def test_a_turn_in_a_story_turns_the_decision(
    posted: list[Draft], code: str, day: int, before: str, after: str
) -> None:
    assert (judged(posted, code, until_day=day).standing, judged(posted, code).standing) == (before, after)


@pytest.mark.parametrize("seed", range(5))
def test_the_stories_come_out_the_same_whatever_the_seed(seed: int) -> None:
    posted = [act.draft for day in synthetic_study(seed) for act in day.acts if isinstance(act, Post)]
    for case in CASES:
        assert tuple(judged(posted, case.code).failed) == case.fails
