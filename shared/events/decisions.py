"""What the screening service decides. Every decision names its cause, its evidence and the rules it used."""

from typing import Annotated, Literal

from pydantic import Field

from shared.events.base import Data, Hash, Index, Name, Text, Token
from shared.moments import CalendarDay

Verdict = Literal["met", "not_met", "undetermined"]
Standing = Literal["eligible", "ineligible", "undetermined"]
Basis = Literal["actual", "planned", "planned_passed", "completed", "today", "retrospective"]
"""What made ``judged_on`` the day that counts."""


class Cited(Data):
    """An entry that a decision rests on."""

    index: Index
    leaf: Hash


class Decision(Data):
    """What every decision says about itself."""

    cause: Cited
    engine: Name
    protocol: Name
    protocol_digest: Hash


class Gap(Data):
    """Why a criterion could not be decided: which item, and what is wrong with it."""

    item: Name
    why: Literal["missing", "stale", "conflicting", "unit", "partial_date", "unknown"]
    detail: Text


class CriterionVerdict(Data):
    """One criterion or sub-item: its verdict with the arithmetic that led there."""

    id: Name
    verdict: Verdict
    arithmetic: Annotated[list[Text], Field(max_length=60)]
    evidence: Annotated[list[Index], Field(max_length=200)]
    assumptions: list[Name]
    stale_after: CalendarDay | None = None
    gaps: list[Gap]


class Blocker(Data):
    """What still stands between an undetermined participant and a decision; ranked by what it would settle."""

    item: Name
    why: Name
    detail: Text
    criteria: list[Name]


class Decided(Decision):
    """A participant's eligibility: each criterion, what it rests on, when it goes stale, what blocks."""

    standing: Standing
    judged_on: CalendarDay
    basis: Basis
    criteria: list[CriterionVerdict]
    failed: list[Name]
    blockers: list[Blocker]
    evidence: list[Cited]
    stale_after: CalendarDay | None = None
    changed: Annotated[list[Text], Field(max_length=100)]
    supersedes: Index | None = None


class Enrolled(Decision):
    """A participant has a place: ``place`` of the trial's places, at ``dose_level``."""

    place: Annotated[int, Field(ge=1)]
    places: Annotated[int, Field(ge=1)]
    dose_level: Token
    evidence: list[Cited]


class EnrolmentRefused(Decision):
    """A participant has no place, and why."""

    reasons: Annotated[list[Text], Field(min_length=1)]
    evidence: list[Cited]


class DeviationRaised(Decision):
    """A sealed fact broke the trial's sequence (21 CFR 11.10(f)); the fact stands, and so does this."""

    rule: Name
    text: Text
    evidence: list[Cited]
