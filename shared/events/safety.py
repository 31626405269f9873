"""What is reported about a participant's safety: by sites, by the sponsor's monitor, by the cohort committee."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.events.base import Data, Hash, Index, Name, Number, SiteData, Text, Token, given
from shared.events.screening import Answer, Observed, Retracted
from shared.moments import UTC_ZONE, Day, Moment, span
from shared.protocol.items import Quantity, items

Seriousness = Literal[
    "death",
    "life_threatening",
    "hospitalisation",  # or its prolongation
    "disability",
    "congenital_anomaly",
    "medically_important",
    "unspecified",  # said to be serious without a criterion: serious all the same, and asked about
]
"""Why an adverse event is serious (ICH E2A II.B)."""

Causality = Literal["not_related", "unlikely", "possible", "probable", "definite"]
"""One view of whether the study drug caused it. Related means ``possible`` or more."""

Severity = Literal["mild", "moderate", "severe"]
"""Intensity in trials that do not grade by CTCAE (SDTM AESEV)."""

EventOutcome = Literal["recovered", "recovered_with_sequelae", "recovering", "not_recovered", "fatal", "unknown"]
"""SDTM AEOUT."""

Grade = Annotated[int, Field(ge=1, le=5)]
Criteria = Annotated[list[Seriousness], Field(max_length=7)]


class _Course(SiteData):
    """What may be said of an adverse event, at first or later. What is left out is not stated, never "no"."""

    grade: Grade | None = None
    severity: Severity | None = None
    serious: Criteria | None = None
    causality: Causality | None = None
    treated: Answer | None = None
    aware: Moment | None = None

    @model_validator(mode="after")
    def _criteria_once(self) -> Self:
        if self.serious is not None and len(set(self.serious)) != len(self.serious):
            raise ValueError("serious names a criterion twice")
        return self


class EventReported(_Course):
    """An adverse event begins. ``ae`` is the site's own number of it, one of a kind within the participant.

    ``grade`` is the investigator's, by CTCAE v5.0 (for CRS and ICANS by ASTCT 2019, for acute graft-versus-host
    disease by Harris 2016, I to IV). ``serious`` lists the criteria that are met; an empty list says that none
    is. ``aware`` is when the site first knew. ``treated``: was it treated? ``leukaemia``: does the leukaemia
    explain it? Coding is MedDRA's: ``preferred_term``, ``system_organ_class``.
    """

    ae: Token
    term: Name
    preferred_term: Name | None = None
    system_organ_class: Name | None = None
    onset: Moment | None = None
    ended: Moment | None = None
    outcome: EventOutcome | None = None
    leukaemia: Answer | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return given(onset=self.onset, ended=self.ended, aware=self.aware)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.onset is not None and self.ended is not None and _surely_before(self.ended, self.onset):
            raise ValueError(f"the adverse event cannot end ({self.ended}) before it begins ({self.onset})")
        return self


class EventUpdated(_Course):
    """What changed in an adverse event from ``on`` onwards: its grade, for instance. The rest stays as it was.

    To set right what was wrong from the beginning, correct the report instead.
    """

    ae: Token
    on: Moment

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return given(on=self.on, aware=self.aware)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.grade, self.severity, self.serious, self.causality, self.treated) == (None,) * 5:
            raise ValueError("an update changes at least one of grade, severity, serious, causality, treated")
        return self


class EventResolved(SiteData):
    """An adverse event ended, or its last known outcome."""

    ae: Token
    on: Moment
    outcome: EventOutcome

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class Measured(Observed):
    """A laboratory value, vital sign or other measurement for safety; items as in ``measurements.yaml`` too.

    % chimerism is one: product DNA against the participant's DNA. A value below the limit of detection is that
    limit with the comparator ``<``.
    """

    def _quantities(self) -> Mapping[str, Quantity]:
        return items().measured


class CrsAssessed(SiteData):
    """The components of a cytokine release syndrome at one time (ASTCT 2019, table 2).

    ``temperature`` in degrees Celsius. ``antipyretics``: given antipyretics, steroids or anticytokine therapy,
    after which fever is no longer required. ``vasopressors`` does not count vasopressin.
    """

    at: Moment
    temperature: Annotated[Number, Field(ge=25, le=45)] | None = None
    antipyretics: bool
    hypotension: bool
    vasopressors: Literal["none", "one", "multiple"]
    oxygen: Literal["none", "low_flow", "high_flow", "positive_pressure"]
    hypoxia: bool

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"at": self.at}


class IcansAssessed(SiteData):
    """The components of immune effector cell-associated neurotoxicity at one time (ASTCT 2019, table 5).

    ``ice`` is the score of 0 to 10; absent when the participant cannot be tested.
    """

    at: Moment
    ice: Annotated[int, Field(ge=0, le=10)] | None = None
    consciousness: Literal["awake", "voice", "tactile", "unarousable"]
    seizure: Literal["none", "rapidly_resolving", "prolonged_or_repetitive"]
    motor: Literal["none", "deep_focal_weakness"]
    oedema: Literal["none", "focal", "diffuse"]

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"at": self.at}


class GvhdAssessed(SiteData):
    """The components of acute graft-versus-host disease at one time (Harris 2016, table 1).

    ``skin_percent`` of the body surface with active erythematous rash; ``bilirubin`` in mg/dL or the unit given;
    ``stool_ml`` of diarrhoea a day (adults).
    """

    at: Moment
    skin_percent: Annotated[Number, Field(ge=0, le=100)]
    bullae: bool
    bilirubin: Annotated[Number, Field(ge=0, le=2000)]
    bilirubin_unit: Literal["mg/dL", "umol/L"]
    upper_gi: Literal["none", "persistent"]
    stool_ml: Annotated[int, Field(ge=0, le=20000)]
    lower_gi_severe: bool  # severe abdominal pain with or without ileus, or grossly bloody stool

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"at": self.at}


class Died(SiteData):
    """The participant died. ``ae`` is the adverse event that led to it, where one did."""

    on: Moment
    cause: Name
    ae: Token | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class MedicationGiven(SiteData):
    """A concomitant medication; ``ae`` is the adverse event it was given for."""

    agent: Name
    started: Moment
    ended: Moment | None = None
    indication: Name | None = None
    ae: Token | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return given(started=self.started, ended=self.ended)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ended is not None and _surely_before(self.ended, self.started):
            raise ValueError(f"the medication cannot end ({self.ended}) before it begins ({self.started})")
        return self


class DispositionRecorded(SiteData):
    """How a participant's time in the trial, or on treatment, ended (SDTM DS)."""

    phase: Literal["treatment", "study"]
    status: Literal[
        "completed",
        "adverse_event",
        "death",
        "lack_of_efficacy",
        "lost_to_follow_up",
        "physician_decision",
        "protocol_violation",
        "screen_failure",
        "terminated_by_sponsor",
        "withdrawn_by_participant",
        "other",
    ]
    on: Moment
    why: Text | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class ArmAssigned(SiteData):
    """The arm a participant is planned to get, by the trial's file (a dose level's id)."""

    planned: Token


class Exposed(SiteData):
    """A period of treatment that is no infusion (SDTM EX). ``ended`` absent: not known to have ended."""

    treatment: Name
    arm: Token
    dose: Annotated[Number, Field(ge=0)]
    unit: Annotated[str, Field(min_length=1, max_length=40)]
    started: Moment
    ended: Moment | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return given(started=self.started, ended=self.ended)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ended is not None and _surely_before(self.ended, self.started):
            raise ValueError(f"the treatment cannot end ({self.ended}) before it begins ({self.started})")
        return self


# What the sponsor says --------------------------------------------------------------------------------------


class EventAssessed(SiteData):
    """The sponsor's own view of an adverse event. Each assessment stands until a later one says otherwise.

    ``aware`` is when the sponsor first knew of the event, where that was before the report was sealed (a telephone
    call); ``determined`` is when the sponsor determined that it must be reported. ``expected`` overrides the
    reference safety information only towards "no": an event that the list does not hold is never expected.
    """

    ae: Token
    causality: Causality | None = None
    serious: Criteria | None = None
    expected: Answer | None = None
    aware: Moment | None = None
    determined: Moment | None = None
    why: Text

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return given(aware=self.aware, determined=self.determined)


class ListedReaction(Data):
    """A reaction of the reference safety information: expected up to this grade, and fatal only if it says so."""

    preferred_term: Name
    most_grade: Grade | None = None
    fatal: bool = False


class ReferenceAdopted(SiteData):
    """A version of the reference safety information takes effect (21 CFR 312.32(a), ICH E2A II.C)."""

    version: Name
    effective: Day
    reactions: Annotated[list[ListedReaction], Field(max_length=500)]

    @model_validator(mode="after")
    def _terms_once(self) -> Self:
        terms = [reaction.preferred_term.casefold() for reaction in self.reactions]
        if len(set(terms)) != len(terms):
            raise ValueError("reactions names a preferred term twice")
        return self


class ReportSent(SiteData):
    """An expedited report of an adverse event went to an authority."""

    ae: Token
    profile: Token
    kind: Literal["initial", "follow_up"]
    number: Name
    at: Moment

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"at": self.at}


class CohortDecided(SiteData):
    """The cohort committee's decision on a dose level. ``slots`` more participants may be enrolled at ``opens``.

    ``recommendation`` is the sealed recommendation that the committee had before it.
    """

    dose_level: Token
    decision: Literal["escalate", "stay", "de_escalate", "expand", "hold", "resume", "stop"]
    opens: Token | None = None
    slots: Annotated[int, Field(ge=1, le=1000)] | None = None
    recommendation: Index | None = None
    recommendation_leaf: Hash | None = None
    why: Text

    @model_validator(mode="after")
    def _opens_what_it_says(self) -> Self:
        if (self.opens is None) != (self.slots is None):
            raise ValueError("opens and slots go together: which level, and for how many more")
        opening = self.decision in {"escalate", "stay", "de_escalate", "expand"}
        if opening != (self.opens is not None):
            raise ValueError(f"{self.decision} " + ("needs opens and slots" if opening else "opens no level"))
        if (self.recommendation is None) != (self.recommendation_leaf is None):
            raise ValueError("recommendation and recommendation_leaf go together")
        return self


class SafetyRetracted(Retracted):
    """A statement about safety should not have been made at all: a report sent that was not, for instance."""


def names_event(data: Data) -> str | None:
    """The number of the adverse event that a statement is about, if it is about one."""
    about = getattr(data, "ae", None)
    return about if isinstance(about, str) else None


def _surely_before(earlier: str, later: str) -> bool:
    """Whether one recorded moment lies before another, wherever it was recorded and whatever its gaps mean."""
    if _has_offset(earlier) != _has_offset(later):
        return False  # hours apart, perhaps: only who knows the site's time zone can tell
    return span(earlier, UTC_ZONE).end <= span(later, UTC_ZONE).first


def _has_offset(moment: str) -> bool:
    return "T" in moment and (moment.endswith("Z") or moment[-6] in "+-")
