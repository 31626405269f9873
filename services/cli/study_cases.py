"""The synthetic study's participants: who they are, what happens to them, and what should come of it.

Each story is a few lines on top of an ordinary, eligible course (``study_course``); what happens after an infusion
is told apart (``study_safety``). None of them is a person.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from services.cli.study_course import INFUSION_DAY, Course
from services.cli.study_followup import FollowUp
from services.cli.study_safety import STORIES

FIRST_MONDAY: Final = date(2025, 11, 3)

Story = Callable[[Course], None]


def _ordinary(course: Course) -> None:
    """Nothing out of the ordinary."""


@dataclass(frozen=True, slots=True)
class Case:
    """One participant. ``week`` counts from the study's first Monday; ``level`` is where a place is granted.

    ``fails`` are the criteria that the story breaks; all of them, and no other, when it is judged for the
    planned infusion.
    """

    code: str
    week: int
    story: Story = _ordinary
    level: str | None = None
    fails: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def course(self, seed: int) -> Course:
        """Make the participant's whole course."""
        course = Course(self.code, FIRST_MONDAY + timedelta(weeks=self.week), seed, **self.facts)
        self.story(course)
        if self.level is not None:
            course.treat(self.level)
        if course.given is not None:
            follow = FollowUp(course, seed, course.given)
            if self.code in STORIES:
                STORIES[self.code](follow)
            follow.mild_events()
        if self.fails:
            course.close(INFUSION_DAY - 1, f"Does not qualify: {', '.join(self.fails)}.")
        return course


# Eligible, each with a turn -----------------------------------------------------------------------------------


def _replacement_steroid(course: Course) -> None:
    """Hydrocortisone every day, as physiological replacement: E2.1 exempts it."""
    course.list_in(
        "systemic_steroid",
        {"agent": "Hydrocortisone 20 mg/day", "ongoing": True, "exempt": "physiological_replacement"},
    )


def _cured_malignancy(course: Course) -> None:
    """A thyroid carcinoma in remission since some day of 2017: partial, and yet long enough ago for E7."""
    course.list_in(
        "malignancy",
        {
            "term": "Papillary thyroid carcinoma",
            "radically_treated": "yes",
            "remission": "2017",
            "recurrence": "no",
        },
    )


def _former_cells(course: Course) -> None:
    """CAR-T cells more than six months ago."""
    course.list_in("gene_modified_cells", {"agent": "CD123 CAR-T (investigational)", "last": "2025-08-20"})


def _weight_before_registration(course: Course) -> None:
    """The scales were faster than the registration desk; the weight is refused, and posted again later."""
    course.post_broken(0, 8, "a weight of a participant who is not registered yet")


def _late_inr(course: Course) -> None:
    """The coagulation laboratory forgets the INR; until it arrives, the decision is undetermined.

    The site then asks at once, two days before the cohort committee opens another place, and has to ask again.
    """
    course.late("inr", day=5)
    course.ask(5, 7)


def _held_up(course: Course) -> None:
    """Asks for a place on the morning of a hold; a week later, enrolment is resumed, and blood is drawn again."""
    course.ask(7, 14)
    course.plan(8, infusion=17)
    course.draw_blood(11)


def _slipped_point(course: Course) -> None:
    """A creatinine of 0.84 mg/dL is typed as 8.40, which excludes, and is corrected the next day."""
    course.change("creatinine", value=Decimal("8.40"))
    why = "Transcription error: the laboratory's report says 0.84 mg/dL."
    course.correct("creatinine", 5, why, value=Decimal("0.84"))


def _partial_date(course: Course) -> None:
    """The last dose was "in February", which may be too recent for E2.2; the discharge letter has the day."""
    azacitidine = {"agent": "Azacitidine", "last": course.on(0)[:7]}
    course.list_in("antitumour_therapy", azacitidine)
    whole = azacitidine | {"last": course.before_infusion(17)}
    course.correct("antitumour_therapy", 5, "The discharge letter gives the day of the last dose.", entries=[whole])


def _unsigned_request(course: Course) -> None:
    """The site asks for a place before the investigator has signed: refused; it asks again later."""
    course.request(5, "DL2")


def _late_posts(course: Course) -> None:
    """The line is down for some days: blood results come after everything else, and out of order."""
    course.late("alt", "ast", "creatinine", day=5, at=11)
    course.late("bilirubin", "inr", "HLA-DRB1", day=5, at=9)


def _moved_infusion(course: Course) -> None:
    """The product is late by a week; by then the signed decision's blood results are stale."""
    course.sign(7)
    course.plan(8, infusion=17)
    course.draw_blood(11)


def _new_interface(course: Course) -> None:
    """The site tries out a new interface, and every one of its messages is refused for another reason."""
    course.post_broken(1, 12, "a message cut off in transit, which is no JSON", damage="cut_off")
    course.post_broken(1, 12, "a message signed with a key that nobody granted", damage="stray_key")
    course.post_broken(2, 12, "a message changed after it was signed", damage="tampered")
    course.post_broken(2, 12, "a field that the event does not have", colour="blue")
    course.post_broken(2, 12, "a participant of another site", source="site/102")
    course.post_broken(3, 12, "a time in the future", days_ahead=40)
    creatinine: dict[str, Any] = {"item": "creatinine", "value": Decimal("0.9"), "unit": "mg/dL"}
    course.post_broken(3, 12, "a creatinine in millimetres of mercury", **creatinine | {"unit": "mm[Hg]"})
    course.post_broken(3, 12, "a negative creatinine", **creatinine | {"value": Decimal("-0.9")})


# Eligible at first, and yet without a place -------------------------------------------------------------------


def _corrected_after_signature(course: Course) -> None:
    """The investigator has signed when the creatinine turns out to be 292 and not 92 umol/L."""
    course.change("creatinine", value=Decimal(92))
    course.sign(7)
    why = "Transcription error: the laboratory's report says 292 umol/L."
    course.correct("creatinine", 8, why, value=Decimal(292))
    course.request(9, "DL2")


def _withdrawal(course: Course) -> None:
    """Eligible and signed, and then the participant decides otherwise."""
    course.sign(7)
    course.withdraw(8, "Prefers treatment closer to home.")


def _infused_without_a_place(course: Course) -> None:
    """Infused although nobody had asked for a place: the fact is sealed, and so is the deviation."""
    course.sign(7)
    course.infuse("DL3")


def _time_passes(course: Course) -> None:
    """Eligible and signed, but no bed becomes free, and the evidence goes stale by itself."""
    course.sign(7)


def _one_too_many(course: Course) -> None:
    """The 25th eligible participant asks for one of 24 places."""
    course.sign(7)
    course.request(7, "DL3")


# Not eligible -------------------------------------------------------------------------------------------------


def _weak_heart_and_donor_cells(course: Course) -> None:
    """The teaching case: the heart pumps too weakly, and another donor's cells were given only a month ago."""
    course.change("lvef", value=Decimal(48))
    course.list_in(
        "donor_lymphocytes",
        {"agent": "Donor lymphocytes (microtransplantation)", "last": course.before_infusion(30)},
    )
    course.change("allogeneic_transplant", detail="Donor cells were given with chemotherapy; no transplant.")


def _cll1_negative(course: Course) -> None:
    course.change("cll1_expression", result="negative", value=Decimal(4))


def _alt_too_high(course: Course) -> None:
    course.change("alt", value=Decimal(183))


def _donor_antibodies(course: Course) -> None:
    course.change("HLA-DRB1", value=Decimal(5400))


def _transplanted(course: Course) -> None:
    course.say_yes("allogeneic_transplant", "Matched sibling donor, 2024.")


def _recent_gilteritinib(course: Course) -> None:
    """Five half-lives are 23 days; the protocol takes the shorter 14, and only 12 have passed."""
    gilteritinib = {"agent": "Gilteritinib", "half_life_hours": 113, "last": course.before_infusion(12)}
    course.list_in("antitumour_therapy", gilteritinib)


def _failing_kidneys(course: Course) -> None:
    """Neither branch of I5.1 holds: 2.7 times the limit of normal, and a clearance below 20 mL/min."""
    course.change("creatinine", value=Decimal(286))


def _leukaemia_in_the_brain(course: Course) -> None:
    course.say_yes("cns_leukaemia", "Blasts in the cerebrospinal fluid.")


def _recent_cancer(course: Course) -> None:
    breast = {"term": "Breast carcinoma", "radically_treated": "yes", "remission": "2023-04-18"}
    course.list_in("malignancy", breast | {"recurrence": "no"})


def _epilepsy(course: Course) -> None:
    course.say_yes("cns_disease", "Epilepsy since childhood.")


def _qtc_of_480(course: Course) -> None:
    """480 ms exactly: the criterion says at least 480."""
    course.change("qtc", value=Decimal(480))


def _short_of_oxygen(course: Course) -> None:
    """Pneumonia, and 90 % exactly: the criterion says at most 90."""
    course.change("spo2", value=Decimal(90))
    course.say_yes("pulmonary_infection", "Consolidation of the right lower lobe.")


def _lasting_neuropathy(course: Course) -> None:
    neuropathy = {"term": "Peripheral sensory neuropathy", "grade": 3, "from_prior_therapy": "yes"}
    course.list_in("toxicity", neuropathy)


def _pregnant(course: Course) -> None:
    course.change("serum_hcg", result="positive")
    course.say_yes("pregnant", "Confirmed by ultrasound.")


def _investigator_advises_against(course: Course) -> None:
    statement = "Lives alone, four hours from the site; cannot come back within the first days."
    course.change("judged", interferes=True, statement=statement)


def _vaccinated_28_days_before(course: Course) -> None:
    """Exactly 28 days: windows are inclusive."""
    course.list_in("vaccination", {"agent": "Influenza vaccine", "last": course.before_infusion(28)})


def _bedridden_half_the_day(course: Course) -> None:
    course.change("ecog", value=Decimal(2))


def _active_hepatitis(course: Course) -> None:
    course.change("hbv", result="active")


def _creatinine_without_a_unit(course: Course) -> None:
    """A number without a unit is no value: undetermined, and nobody ever says which unit was meant."""
    course.without("creatinine", "unit")


CASES: Final = (
    Case("101-001", 0, level="DL1"),
    Case("101-002", 1, _cll1_negative, fails=("I3",)),
    Case("102-001", 1, _replacement_steroid, level="DL1"),
    Case("103-001", 2, _weight_before_registration, level="DL1"),
    Case("102-002", 4, _alt_too_high, fails=("I5.3",)),
    Case("103-002", 6, _transplanted, fails=("E3",)),
    # A cohort's windows of 28 days are closed, and the committee has decided, before the next one asks for places.
    Case("101-003", 7, _new_interface, level="DL1"),
    Case("101-004", 7, _late_inr, level="DL1"),
    Case("102-003", 8, _slipped_point, level="DL1"),
    Case("101-005", 10, _donor_antibodies, fails=("I7",)),
    Case("102-004", 11, _recent_gilteritinib, fails=("E2.2",)),
    Case("102-005", 13, _cured_malignancy, level="DL2"),
    Case("103-003", 14, _partial_date, level="DL2"),
    Case("103-004", 15, _unsigned_request, level="DL2"),
    Case("101-006", 16, _failing_kidneys, fails=("I5.1",), facts={"sex": "female", "age": 71, "weight": 52}),
    Case("102-006", 17, _leukaemia_in_the_brain, fails=("E5",)),
    Case("101-007", 19, _weak_heart_and_donor_cells, fails=("E2.4", "E10.3")),
    Case("101-008", 20, level="DL2"),
    Case("101-009", 20, _former_cells, level="DL2"),
    Case("103-005", 20, _withdrawal),
    Case("102-007", 21, level="DL2"),
    Case("103-006", 22, _corrected_after_signature, fails=("I5.1",)),
    Case("102-008", 23, _recent_cancer, fails=("E7",)),
    Case("101-010", 24, _epilepsy, fails=("E9",)),
    Case("103-007", 24, _qtc_of_480, fails=("E10.1",)),
    Case("102-009", 26, _short_of_oxygen, fails=("E11",)),
    Case("103-008", 26, _late_posts, level="DL3"),
    Case("101-011", 27, level="DL3"),
    Case("101-012", 27, _moved_infusion, level="DL3"),
    Case("102-010", 30, level="DL3"),
    Case("102-011", 33, _lasting_neuropathy, fails=("E14",)),
    Case("103-009", 35, level="DL3"),
    Case("101-013", 35, level="DL3"),
    Case("101-014", 36, level="DL3"),
    Case("101-015", 36, _pregnant, fails=("I6", "E16"), facts={"sex": "female", "age": 31}),
    Case("103-010", 36, _infused_without_a_place),
    Case("102-012", 37, _held_up, level="DL3"),
    Case("101-016", 38, level="DL3"),
    Case("101-017", 38, _investigator_advises_against, fails=("E17",)),
    Case("102-013", 38, _time_passes),
    Case("103-011", 38, level="DL3"),
    Case("103-012", 38, _vaccinated_28_days_before, fails=("E4",)),
    Case("101-018", 39, _bedridden_half_the_day, fails=("I4",)),
    Case("102-014", 39, level="DL3"),
    Case("103-013", 39, level="DL3"),
    Case("101-019", 40, _one_too_many),
    Case("102-015", 40, _creatinine_without_a_unit),
    Case("103-014", 41, _active_hepatitis, fails=("E12",)),
)
