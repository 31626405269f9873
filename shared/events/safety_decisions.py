"""What the safety service decides. Each decision names its cause, its evidence and the rules it used."""

from typing import Annotated, Literal

from pydantic import Field

from shared.events.base import Data, Index, Name, Text, Token
from shared.events.decisions import Cited, Decision
from shared.events.safety import Causality, Seriousness
from shared.moments import CalendarDay

Lines = Annotated[list[Text], Field(max_length=60)]
Evidence = Annotated[list[Cited], Field(max_length=100)]
Scale = Literal["CTCAE 5.0", "ASTCT 2019", "Harris 2016"]
ClockKind = Literal["initial", "follow_up"]
WindowState = Literal["open", "clean", "dlt", "not_evaluable"]


class GradeProposed(Decision):
    """The grade that measurements or components come to; the investigator's own grade stands beside it.

    ``grade`` 0 says that the value no longer comes to any. ``worst`` is the highest since the first exposure.
    """

    term: Name
    scale: Scale
    grade: Annotated[int, Field(ge=0, le=5)]
    worst: Annotated[int, Field(ge=0, le=5)]
    at: Name
    arithmetic: Lines
    evidence: Evidence


class GradeDisputed(Decision):
    """The investigator's grade and the one that the measurements come to differ; the investigator's stands."""

    ae: Token
    term: Name
    scale: Scale
    investigator: Annotated[int, Field(ge=1, le=5)]
    proposed: Annotated[int, Field(ge=0, le=5)]
    arithmetic: Lines
    evidence: Evidence


class DisputeSettled(Decision):
    """The investigator's grade and the measurements differed before, and no longer do."""

    ae: Token
    term: Name
    evidence: Evidence


class View(Data):
    """What one side says of an adverse event; absent where it has said nothing."""

    causality: Causality | None = None
    serious: list[Seriousness] | None = None


class EventClassified(Decision):
    """An adverse event as the trial counts it. ``certain`` is false where a partial date decided the counting.

    ``related`` and ``serious`` follow the more conservative of both views. ``expected`` is "unknown" where no
    reference safety information is in force. ``retracted``: nothing is left of it, it counts nowhere.
    """

    ae: Token
    term: Name
    emergent: bool
    certain: bool
    grade: Annotated[int, Field(ge=1, le=5)] | None = None
    serious: bool
    related: bool
    fatal_or_life_threatening: bool
    expected: Literal["yes", "no", "unknown"]
    reference_version: Name | None = None
    susar: bool
    investigator: View
    sponsor: View
    retracted: bool = False
    arithmetic: Lines
    evidence: Evidence
    supersedes: Index | None = None


class ReportClock(Decision):
    """A report of an adverse event to an authority (or from site to sponsor) runs against a clock.

    ``receipt`` and ``determination`` are both anchors, each a day in the sponsor's time zone; ``day_zero`` is the
    earlier. ``due`` (RFC 3339) is the last instant at which the report is in time.
    """

    ae: Token
    profile: Token
    kind: ClockKind
    days: Annotated[int, Field(ge=1, le=1000)]
    receipt: CalendarDay
    determination: CalendarDay | None = None
    day_zero: CalendarDay
    due: Name
    arithmetic: Lines
    evidence: Evidence


class ReportDue(ReportClock):
    """The clock runs, or runs shorter than before. It never runs longer."""

    supersedes: Index | None = None


class ReportOverdue(ReportClock):
    """The clock has run out and no report was sent; ``due`` is when it did."""


class ReportClosed(ReportClock):
    """The clock stands still: the report was sent in time (met) or late (missed), or is owed no more."""

    result: Literal["met", "missed", "no_longer_owed"]
    sent: Name | None = None


class WindowDecided(Decision):
    """A participant's window for dose-limiting toxicity: open, or how it closed, and why."""

    dose_level: Token
    state: WindowState
    first_day: CalendarDay
    last_day: CalendarDay
    toxicities: list[Name]
    arithmetic: Lines
    evidence: Evidence
    supersedes: Index | None = None


class CohortRecommended(Decision):
    """What the escalation rule recommends for a dose level. The cohort committee decides."""

    dose_level: Token
    treated: Annotated[int, Field(ge=0)]
    evaluable: Annotated[int, Field(ge=0)]
    dlts: Annotated[int, Field(ge=0)]
    pending: Annotated[int, Field(ge=0)]
    action: Literal["escalate", "stay", "de_escalate", "eliminate", "wait", "stop", "complete"]
    to: Token | None = None
    eliminated: list[Token]
    arithmetic: Lines
    evidence: Evidence
    supersedes: Index | None = None


class SlotsDecided(Decision):
    """How many participants may be enrolled at each dose level in all (``up_to``), and why no more.

    The number is of all that ever were enrolled there, so that it means the same however late it is read.
    ``held``: nobody may be enrolled until the cohort committee decides.
    """

    up_to: dict[Token, Annotated[int, Field(ge=0)]]
    held: bool
    arithmetic: Lines
    evidence: Evidence


class DepartureNoted(Decision):
    """The cohort committee decided otherwise than recommended, or what the trial's file does not allow."""

    dose_level: Token
    decision: Name
    recommended: Name
    arithmetic: Lines
    evidence: Evidence


class QueryRaised(Decision):
    """Something that a site or the sponsor should look at. ``query`` names it, until it is closed."""

    query: Name
    to: Name
    text: Text
    evidence: Evidence


class QueryClosed(Decision):
    """What was asked about has been set right."""

    query: Name
    evidence: Evidence
