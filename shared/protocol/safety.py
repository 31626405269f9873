"""The safety part of a protocol document: what is treatment-emergent, what limits the dose, which clocks run."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.events.base import Name, Number, Token
from shared.protocol.escalation import Escalation
from shared.protocol.rule_kinds import Part
from shared.protocol.zones import ZoneName

Hours = Annotated[int, Field(ge=1, le=1000)]
Grade = Annotated[int, Field(ge=1, le=5)]


class Emergence(Part):
    """When an adverse event counts as treatment-emergent.

    It begins, or worsens in grade (``worsening``), from the first exposure through ``last_day``, counting the day
    of the first exposure as ``first_day``; without a last day the window never ends. ``partial_dates`` says what a
    date means that could lie on either side: ``emergent`` counts it, ``earliest`` takes the first day it could be.
    """

    first_day: Literal[0, 1]
    last_day: Annotated[int, Field(ge=1, le=3660)] | None
    worsening: bool
    partial_dates: Literal["emergent", "earliest"]


class ToxicTerm(Part):
    """Adverse events of these terms from this grade on."""

    limit: Literal["term"]
    name: Name
    terms: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]
    grade: Grade


class NonHaematological(Part):
    """Any other adverse event that is not haematological, from this grade on.

    Except one that certainly lasted less than ``unless_shorter_than_hours`` in such a grade, and was treated.
    """

    limit: Literal["non_haematological"]
    grade: Grade
    unless_shorter_than_hours: Hours | None = None


class LastingCytopenia(Part):
    """Cells this low, measured or reported, on the last day of the window, unless leukaemia explains it."""

    limit: Literal["cytopenia_at_end"]
    terms: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]
    grade: Grade


class Death(Part):
    """Death from an adverse event."""

    limit: Literal["death"]


Limit = Annotated[
    ToxicTerm | NonHaematological | LastingCytopenia | Death,
    Field(discriminator="limit"),
]


class DoseLimits(Part):
    """What is a dose-limiting toxicity, within how many days, and which terms are haematological."""

    last_day: Annotated[int, Field(ge=1, le=365)]
    related_from: Literal["possible", "probable", "definite"]
    limits: Annotated[tuple[Limit, ...], Field(strict=False, min_length=1)]
    haematological_classes: Annotated[tuple[Name, ...], Field(strict=False)]
    haematological_terms: Annotated[tuple[Name, ...], Field(strict=False)]


class Cohorts(Part):
    """How the dose is escalated, and how participants follow each other.

    ``first_slots`` places are open at the lowest level from the beginning; the cohort committee opens all others.
    ``stagger_days`` must lie between the first infusions of the first ``staggered`` participants of a level.
    """

    escalation: Escalation
    first_slots: Annotated[int, Field(ge=1, le=1000)]
    stagger_days: Annotated[int, Field(ge=0, le=365)]
    staggered: Annotated[int, Field(ge=0, le=1000)]
    hold_on_related_death: bool


class ReportProfile(Part):
    """An authority's rules for expedited reports: calendar days from day 0.

    ``fatal_days`` for fatal or life-threatening SUSARs, ``other_days`` for others; ``follow_up_days`` more, after
    the initial report of a fatal or life-threatening one, for the follow-up, where one is owed.
    """

    id: Token
    name: Name
    fatal_days: Annotated[int, Field(ge=1, le=365)]
    other_days: Annotated[int, Field(ge=1, le=365)]
    follow_up_days: Annotated[int, Field(ge=1, le=365)] | None = None


class SafetyPlan(Part):
    """The safety part as a whole. ``arm`` says which arm outcomes are counted by."""

    arm: Literal["planned", "actual"]
    sponsor_timezone: ZoneName
    site_report_hours: Hours | None
    emergence: Emergence
    related_from: Literal["possible", "probable", "definite"]
    coding: Name
    reports: Annotated[tuple[ReportProfile, ...], Field(strict=False)]
    dose_limits: DoseLimits | None = None
    cohorts: Cohorts | None = None
    chimerism_days: Annotated[tuple[Annotated[int, Field(ge=0, le=3660)], ...], Field(strict=False)] = ()
    interval_confidence: Number = Decimal("0.95")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = [profile.id for profile in self.reports]
        if len(set(names)) != len(names):
            raise ValueError("reports names a profile twice")
        if self.cohorts is not None and self.dose_limits is None:
            raise ValueError("cohorts needs dose_limits: escalation rests on dose-limiting toxicities")
        if not 0 < self.interval_confidence < 1:
            raise ValueError("interval_confidence must lie between 0 and 1")
        return self
