"""The synthetic study's safety stories: what happens to whom after the infusion, and what the sponsor decides.

Each story is a few lines on top of the ordinary treated course (``study_followup``). None of them is a person.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any, Final

from services.cli.study_acts import Act, DecideCohort, Post
from services.cli.study_course import LOCAL
from services.cli.study_followup import MEDICAL_MONITOR, FollowUp
from shared.drafts import Draft

COMMITTEE: Final = "sponsor/committee"
COMMITTEE_MEMBERS: Final = (COMMITTEE, "sponsor/committee-2")
"""Who signs a decision of the committee: the chair, who posts it, and another member."""

Story = Callable[[FollowUp], None]


# Dose level 1: one dose-limiting toxicity in three, so the committee stays ------------------------------------


def _fever_after_infusion(follow: FollowUp) -> None:
    """A cytokine release syndrome of grade 1, by its components as by the investigator."""
    follow.cytokine_release(1, 1)


def _severe_cytokine_release(follow: FollowUp) -> None:
    """Grade 3: one vasopressor, low-flow oxygen. Dose-limiting; serious, but expected up to this grade."""
    ae = follow.cytokine_release(2, 3, causality="definite", serious=("hospitalisation",))
    follow.assess(ae, 3, "Typical in time and in course for the product.", causality="definite")


def _resolved_before_it_began(follow: FollowUp) -> None:
    """The end of a nausea is typed with the wrong day, before its onset; the site is asked, and corrects it."""
    ae = follow.report("nausea", 5, 1)
    follow.resolve(ae, 8, on=3)
    follow.correct(f"event {ae}, resolved", 10, "Typing error: it ended on the 8th day.", on=follow.on(8))


def _pneumonia_told_late(follow: FollowUp) -> None:
    """A serious pneumonia, which the leukaemia explains; the site tells of it after three days, not within one."""
    serious = ("hospitalisation",)
    ae = follow.report("pneumonia", 16, 3, causality="not_related", serious=serious, told=19, treated="yes")
    follow.assess(ae, 20, "Neutropenic for months before the infusion.", causality="unlikely")
    follow.update(ae, 23, grade=2)
    follow.resolve(ae, 27)


# Dose level 2: two of six, until a value is corrected ---------------------------------------------------------


def _leukaemia_progresses(follow: FollowUp) -> None:
    """The window closes clean; two months later the leukaemia is back, and the participant dies of it."""
    follow.cytokine_release(1, 1)
    ae = follow.report("leukaemia", 70, 4, causality="not_related", serious=("hospitalisation",))
    follow.leave(75, "death", "Died of the leukaemia.", died_of=ae)


def _neurotoxicity(follow: FollowUp) -> None:
    """ICANS of grade 3: dose-limiting, and in no reference safety information: a SUSAR.

    One authority hears of it in time, the other four days late.
    """
    ae = follow.report("ICANS", 6, 3, causality="probable", serious=("hospitalisation",), treated="yes")
    follow.icans(6, 1, "voice")
    follow.medicate("Dexamethasone", 6, ae)
    follow.assess(ae, 7, "Not in the reference safety information.", causality="probable", determined=follow.on(7))
    follow.icans(7, 8)
    follow.icans(9, 10)
    follow.resolve(ae, 9)
    follow.send(ae, "us_fda", 15)
    follow.send(ae, "cn_nmpa", 25)


def _investigator_sees_it_milder(follow: FollowUp) -> None:
    """Hypotension makes it grade 2; the investigator has it from the diarrhoea, and stays with grade 1."""
    follow.cytokine_release(3, 2, said=1)


def _reported_twice(follow: FollowUp) -> None:
    """A headache comes in from the ward and from the clinic; the second report is taken back."""
    first = follow.report("headache", 4, 1)
    second = follow.report("headache", 4, 1, told=5)
    follow.retract(second, 7, "The same headache as event 1, reported by the ward as well.")
    follow.resolve(first, 6)


def _transposed_digits(follow: FollowUp) -> None:
    """An AST of 121 U/L is typed as 212: grade 3 for days, and so dose-limiting, until the source is compared."""
    follow.course.change("ast", value=follow.course.newest("ast")["reference"]["high"] - 9)
    for day, value in ((7, "212"), (14, "58"), (21, "31")):
        follow.change("ast", day, value)
    ae = follow.report("AST", 7, 3)
    follow.resolve(ae, 21)
    why = "Transcription error: the laboratory's report says 121 U/L."
    follow.correct("ast, day 7", 29, why, value=121)
    follow.correct(f"event {ae}", 29, f"{why} Grade 2.", grade=2)


# Dose level 3: one leaves, and one comes close to death -------------------------------------------------------


def _cytokine_release_of_grade_2(follow: FollowUp) -> None:
    follow.cytokine_release(3, 2, causality="probable")


def _leaves_within_the_window(follow: FollowUp) -> None:
    """Well, and yet the participant leaves on day 12: not evaluable, and replaced."""
    follow.leave(12, "withdrawn_by_participant", "Wants to be at home.")


def _neutropenia_not_told(follow: FollowUp) -> None:
    """Neutrophils of grade 4, of which no adverse event speaks; asked about it, the site reports one."""
    for day, value in ((7, "0.41"), (14, "0.92"), (21, "1.61")):
        follow.change("anc", day, value)
    ae = follow.report("neutropenia", 7, 4, causality="not_related", told=11)
    follow.resolve(ae, 21)


def _close_to_death(follow: FollowUp) -> None:
    """Grade 4: ventilated, several vasopressors. Expected up to grade 3: a SUSAR with seven days, all in time."""
    serious = ("life_threatening", "hospitalisation")
    ae = follow.cytokine_release(2, 4, causality="definite", serious=serious)
    seen = "Life-threatening; the reference safety information expects it up to grade 3."
    follow.assess(ae, 3, seen, causality="definite", determined=follow.on(3))
    follow.send(ae, "us_fda", 7)
    follow.send(ae, "cn_nmpa", 8)
    follow.send(ae, "cn_nmpa", 15, "follow_up")


def _graft_against_skin(follow: FollowUp) -> None:
    """A rash on an eighth of the skin: graft-versus-host disease of grade I, gone after two weeks of cream."""
    ae = follow.report("GvHD", 16, 1, causality="probable", treated="yes")
    follow.gvhd(16, 12)
    follow.gvhd(30, 0)
    follow.resolve(ae, 30)


STORIES: Final[Mapping[str, Story]] = {
    "101-001": _fever_after_infusion,
    "102-001": _severe_cytokine_release,
    "101-003": _resolved_before_it_began,
    "101-004": _pneumonia_told_late,
    "103-003": _leukaemia_progresses,
    "103-004": _neurotoxicity,
    "101-008": _investigator_sees_it_milder,
    "101-009": _reported_twice,
    "102-007": _transposed_digits,
    "103-008": _fever_after_infusion,
    "101-011": _leaves_within_the_window,
    "101-012": _cytokine_release_of_grade_2,
    "103-009": _neutropenia_not_told,
    "101-014": _close_to_death,
    "102-014": _graft_against_skin,
    "103-013": _cytokine_release_of_grade_2,
}
"""By participant; whoever else is infused has an ordinary course."""


# What the sponsor says of the whole trial ---------------------------------------------------------------------


def sponsor_acts() -> list[tuple[datetime, Act]]:
    """List what the sponsor does that is about no single participant, with its local time."""
    listed = {
        "Cytokine release syndrome": {"most_grade": 3},
        "Pyrexia": {"most_grade": 3},
        "Neutrophil count decreased": {},
        "Nausea": {"most_grade": 2},
        "Headache": {"most_grade": 2},
    }
    neurotoxicity = {"Immune effector cell-associated neurotoxicity syndrome": {"most_grade": 2}}
    acts = [
        _adopt(date(2025, 11, 3), "1.0 (synthetic)", "2025-10-01", listed),
        _adopt(date(2026, 4, 27), "2.0 (synthetic)", "2026-05-01", listed | neurotoxicity),
    ]
    return acts + [_decide(day, level, decision, opens, why) for day, level, decision, opens, why in _DECISIONS]


_DECISIONS: Final[tuple[tuple[date, str, str, tuple[str, int] | None, str], ...]] = (
    (date(2025, 12, 29), "DL1", "stay", ("DL1", 3), "One toxicity in three: three more at this level."),
    (date(2026, 2, 9), "DL1", "escalate", ("DL2", 3), "One in six: the next level."),
    (date(2026, 3, 30), "DL2", "stay", ("DL2", 3), "One in three, neurotoxicity: three more at this level."),
    (date(2026, 5, 11), "DL2", "escalate", ("DL3", 3), "One in six after the correction of 102-007's AST."),
    (date(2026, 7, 13), "DL3", "expand", ("DL3", 8), "None in three at the highest level: all the places left."),
    (date(2026, 7, 27), "DL3", "hold", None, "101-014 nearly died: nobody more until the course is reviewed."),
    (date(2026, 8, 3), "DL3", "resume", None, "Reviewed: tocilizumab is given earlier from now on."),
)
"""Day, dose level, decision, what it opens, and why. The committee sits in the morning, before a site asks."""


def _adopt(
    day: date, version: str, effective: str, listed: Mapping[str, Mapping[str, Any]]
) -> tuple[datetime, Act]:
    reactions = [{"preferred_term": term, **limits} for term, limits in listed.items()]
    data = {"version": version, "effective": effective, "reactions": reactions}
    when = datetime.combine(day, time(8), LOCAL)
    return when, Post(_draft(MEDICAL_MONITOR, "safety.reference_adopted", when, data))


def _decide(day: date, level: str, decision: str, opens: tuple[str, int] | None, why: str) -> tuple[datetime, Act]:
    data: dict[str, Any] = {"dose_level": level, "decision": decision, "why": why}
    if opens is not None:
        data |= {"opens": opens[0], "slots": opens[1]}
    when = datetime.combine(day, time(9), LOCAL)
    return when, DecideCohort(_draft(COMMITTEE, "safety.cohort_decided", when, data))


def _draft(source: str, type_: str, when: datetime, data: dict[str, Any]) -> Draft:
    return Draft(source=source, type=type_, time=when.isoformat(), data=data)
