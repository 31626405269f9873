"""The synthetic study played in one thread: what is decided is what each safety story is meant to lead to."""

from decimal import Decimal
from importlib.resources import files
from typing import TypeVar

import pytest

from services.cli.study import synthetic_study
from services.cli.study_cases import CASES
from services.console.replay import check
from shared.decider import read_event
from shared.entry import Entry
from shared.events import CATALOGUE, Data, short_type
from shared.events.decisions import DeviationRaised, Enrolled, EnrolmentRefused
from shared.events.safety import CohortDecided, EventReported, Measured, SafetyRetracted
from shared.events.safety_decisions import (
    CohortRecommended,
    DepartureNoted,
    DisputeSettled,
    EventClassified,
    GradeDisputed,
    GradeProposed,
    QueryClosed,
    QueryRaised,
    ReportClosed,
    ReportDue,
    ReportOverdue,
    SlotsDecided,
    WindowDecided,
)
from tests.inprocess import InProcess

INFUSED = {case.code for case in CASES if case.level} | {"103-010"}
CRS, ICANS = "Cytokine release syndrome", "Immune effector cell-associated neurotoxicity syndrome"
AST = "Aspartate aminotransferase increased"

One = TypeVar("One", bound=Data)


class Played:
    """The study's log, and what of it was admitted."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.events = [event for event in map(read_event, entries) if event is not None]

    def of(self, model: type[One], code: str | None = None) -> dict[int, One]:
        """By entry, every event of a model, about a participant where one is given."""
        return {
            event.entry.index: event.data
            for event in self.events
            if type(event.data) is model and code in {None, event.envelope.subject}
        }

    def about(self, model: type[One]) -> list[tuple[str, One]]:
        """Every event of a model, with its participant."""
        return [(event.envelope.subject or "", event.data) for event in self.events if type(event.data) is model]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    days = synthetic_study()
    protocol = files("shared.protocol").joinpath("nct06027853.yaml").read_text("utf-8")
    study = InProcess(tmp_path_factory.mktemp("study"), days[0].at, protocol)
    study.play(days)
    entries = list(study.notary.log.entries())
    study.notary.close()
    return Played(entries)


def test_the_study_says_and_decides_of_every_kind_in_some_thousand_entries(played: Played) -> None:
    safety = {short_type(name) for name in CATALOGUE if ".safety." in name}
    # This committee follows every recommendation; one that does not is in test_safety_cohorts.
    assert safety - {event.type for event in played.events} == {"safety.departure_noted"}
    assert 6000 < len(played.entries) < 9000
    assert sum(not entry.admitted for entry in played.entries) == 9, "those that the script breaks, and no other"


def test_a_replay_reproduces_every_decision_of_both_services(played: Played) -> None:
    result = check(played.entries)
    assert (result.differences, result.pending) == ([], 0)
    assert result.decisions > 500


# Places and cohorts -------------------------------------------------------------------------------------------


def test_24_places_are_filled_and_the_25th_is_refused(played: Played) -> None:
    enrolled = played.about(Enrolled)
    assert [data.place for _, data in enrolled] == list(range(1, 25))
    assert {code: data.dose_level for code, data in enrolled} == {
        case.code: case.level for case in CASES if case.level
    }
    (refused,) = played.of(EnrolmentRefused, "101-019").values()
    assert "all 24 places are taken" in refused.reasons


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("101-004", "no slot is open at DL1: 3 enrolled of 3, until the cohort committee opens more"),
        ("103-004", "the investigator has not signed the eligibility decision as it stands now"),
        ("102-012", "enrolment is held: the cohort committee has to decide first"),
    ],
)
def test_who_is_refused_a_place_for_one_reason_alone_has_one_when_it_is_gone(
    played: Played, code: str, reason: str
) -> None:
    ((refused_at, refused),) = played.of(EnrolmentRefused, code).items()
    (enrolled_at,) = played.of(Enrolled, code)
    assert refused.reasons == [reason]
    assert refused_at < enrolled_at


def test_the_committee_decides_with_the_newest_sealed_recommendation_before_it(played: Played) -> None:
    recommended = played.of(CohortRecommended)
    followed = []
    for index, decided in played.of(CohortDecided).items():
        seen = max(at for at in recommended if at < index)
        assert (decided.recommendation, decided.recommendation_leaf) == (seen, played.entries[seen].leaf.hex())
        before = recommended[seen]
        followed.append((before.dose_level, before.dlts, before.evaluable, before.action, decided.decision))
    assert followed[:4] == [
        ("DL1", 1, 3, "stay", "stay"),
        ("DL1", 1, 6, "escalate", "escalate"),
        ("DL2", 1, 3, "stay", "stay"),
        ("DL2", 1, 6, "escalate", "escalate"),
    ]
    assert [decision for *_, decision in followed[4:]] == ["expand", "hold", "resume"]


def test_places_open_as_the_committee_decides_and_close_while_it_holds(played: Played) -> None:
    slots = [tuple(one.up_to[level] for level in ("DL1", "DL2", "DL3")) for one in played.of(SlotsDecided).values()]
    assert slots == [
        (3, 0, 0),
        (6, 0, 0),
        (6, 3, 0),
        (6, 6, 0),
        (6, 6, 3),
        (6, 6, 4),
        (6, 6, 12),
        (6, 6, 7),
        (6, 6, 12),
    ]
    assert [at for at, one in enumerate(played.of(SlotsDecided).values()) if one.held] == [7]


def test_replacing_who_is_not_evaluable_departs_from_nothing(played: Played) -> None:
    assert played.of(DepartureNoted) == {}
    recommended = list(played.of(CohortRecommended).values())
    full = [one for one in recommended if (one.dose_level, one.evaluable, one.pending) == ("DL3", 3, 0)]
    assert full[0].action == "stay"


def test_each_window_ends_as_its_story_says(played: Played) -> None:
    states: dict[str, list[str]] = {}
    for code, window in played.about(WindowDecided):
        states.setdefault(code, []).append(window.state)
    told = {
        "102-001": ["open", "dlt"],
        "103-004": ["open", "dlt"],
        "101-014": ["open", "dlt"],
        "102-007": ["open", "dlt", "clean"],
        "101-011": ["open", "not_evaluable"],
    }
    assert states == {code: told.get(code, ["open", "clean"]) for code in INFUSED}


def test_a_corrected_value_takes_a_toxicity_back_and_turns_the_recommendation(played: Played) -> None:
    windows = played.of(WindowDecided, "102-007")
    toxic, clean = list(windows)[1:]
    assert windows[toxic].toxicities == [AST]
    recommended = played.of(CohortRecommended)
    last, turned = max(at for at in recommended if at < clean), min(at for at in recommended if at > clean)
    assert (recommended[last].dlts, recommended[last].action) == (2, "stay")
    assert (recommended[turned].dlts, recommended[turned].action, recommended[turned].to) == (1, "escalate", "DL3")
    cause = recommended[turned].cause.index
    assert played.of(EventReported, "102-007")[cause].reason == (
        "Transcription error: the laboratory's report says 121 U/L. Grade 2."
    )
    proposed = [one for one in played.of(GradeProposed, "102-007").values() if one.term == AST]
    assert max(one.worst for one in proposed) == 3
    assert proposed[-1].worst == 2


# Adverse events and what is owed for them ---------------------------------------------------------------------


def test_components_and_investigators_agree_but_for_one_that_is_disputed(played: Played) -> None:
    worst: dict[tuple[str, str], int] = {}
    for code, one in played.about(GradeProposed):
        if one.scale != "CTCAE 5.0":
            worst[code, one.term] = max(one.worst, worst.get((code, one.term), 0))
    said = {(code, one.term): one.grade for code, one in played.about(EventClassified) if one.term in {CRS, ICANS}}
    assert {key: (grade, said[key]) for key, grade in worst.items() if key in said} == {
        ("101-001", CRS): (1, 1),
        ("102-001", CRS): (3, 3),
        ("103-003", CRS): (1, 1),
        ("103-004", ICANS): (3, 3),
        ("101-008", CRS): (2, 1),
        ("103-008", CRS): (1, 1),
        ("101-012", CRS): (2, 2),
        ("101-014", CRS): (4, 4),
        ("103-013", CRS): (2, 2),
    }
    disputes = {code: (one.investigator, one.proposed) for code, one in played.about(GradeDisputed)}
    assert disputes == {"101-008": (1, 2), "102-007": (3, 2)}
    settled = [code for code, _ in played.about(DisputeSettled)]
    assert settled == ["102-007"], "whose value was corrected first, and the investigator's grade after it"


def test_only_what_the_reference_does_not_expect_is_a_susar(played: Played) -> None:
    last = {(code, one.ae): one for code, one in played.about(EventClassified)}
    serious = {code: (one.term, one.expected, one.susar) for (code, _), one in last.items() if one.serious}
    assert serious == {
        "102-001": (CRS, "yes", False),
        "101-004": ("Pneumonia", "no", False),
        "103-003": ("Acute myeloid leukaemia recurrent", "no", False),
        "103-004": (ICANS, "no", True),
        "101-014": (CRS, "no", True),
    }


def test_one_authority_hears_in_time_and_the_other_late(played: Played) -> None:
    due = "2026-03-19T15:59:59.999999Z"
    closed = {one.profile: (one.result, one.due) for one in played.of(ReportClosed, "103-004").values()}
    assert closed == {"us_fda": ("met", due), "cn_nmpa": ("missed", due)}
    ((noticed, overdue),) = played.of(ReportOverdue, "103-004").items()
    assert (overdue.profile, overdue.due) == ("cn_nmpa", due)
    assert played.entries[noticed].header.sealed_at.startswith("2026-03-20T10:00")


def test_a_life_threatening_susar_is_reported_within_seven_days_and_followed_up(played: Played) -> None:
    closed = {(one.profile, one.kind): (one.result, one.due) for one in played.of(ReportClosed, "101-014").values()}
    assert closed == {
        ("us_fda", "initial"): ("met", "2026-08-01T15:59:59.999999Z"),
        ("cn_nmpa", "initial"): ("met", "2026-08-01T15:59:59.999999Z"),
        ("cn_nmpa", "follow_up"): ("met", "2026-08-09T15:59:59.999999Z"),
    }
    assert {code for code, _ in played.about(ReportDue)} == {"103-004", "101-014"}


def test_what_broke_a_rule_is_a_deviation_and_nothing_else_is(played: Played) -> None:
    assert [(code, one.rule) for code, one in played.about(DeviationRaised)] == [
        ("101-004", "serious_event_reported_late"),
        ("103-010", "infused_without_enrolment"),
    ]


def test_every_query_is_closed_once_the_site_has_set_it_right(played: Played) -> None:
    raised = [(code, one.query) for code, one in played.about(QueryRaised)]
    assert set(raised) == {
        ("101-003", "event 1: resolved before onset"),
        ("101-009", "event 2 like event 1"),
        ("103-009", "Neutrophil count decreased not reported"),
    }
    assert raised == [(code, one.query) for code, one in played.about(QueryClosed)]


def test_a_duplicate_that_was_taken_back_counts_nowhere(played: Played) -> None:
    assert [code for code, _ in played.about(SafetyRetracted)] == ["101-009"]
    last = {one.ae: one for one in played.of(EventClassified, "101-009").values()}
    assert (last["1"].emergent, last["1"].retracted) == (True, False)
    assert (last["2"].emergent, last["2"].retracted) == (False, True)


def test_everybody_has_a_chimerism_curve_that_falls_below_the_limit_of_detection(played: Played) -> None:
    curves: dict[str, list[tuple[str, Decimal, str | None]]] = {}
    for code, one in played.about(Measured):
        if one.item == "chimerism" and one.value is not None:
            curves.setdefault(code, []).append((one.collected, one.value, one.comparator))
    assert set(curves) == INFUSED
    for curve in curves.values():
        assert curve == sorted(curve)
        peak = max(curve, key=lambda point: point[1])
        assert peak in curve[1:3], "within the second week"
        if len(curve) > 3:  # who left on day 12 has no more
            assert curve[-1][1] < peak[1] / 10
    below = {code for code, curve in curves.items() if curve[-1][2] == "<"}
    assert below >= {case.code for case in CASES if case.level in {"DL1", "DL2"}}, "followed for 60 days or more"
