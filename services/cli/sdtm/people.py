"""The participants of a study while its tables are read, and the events made of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from services.cli.sdtm.account import Account
from services.cli.sdtm.tables import Row
from shared.drafts import Draft
from shared.moments import UTC_ZONE, span, stamp
from shared.protocol.model import Protocol
from shared.words import RefusedError

_DAY: Final = timedelta(days=1)


@dataclass
class Participant:
    """What the mapping knows about a participant while it reads.

    ``died`` is when a ``dead`` participant died, blank where the tables do not say; ``fatal`` are the rows of the
    adverse events that led to it.
    """

    code: str
    site: str
    registered_at: str
    exposure: str
    planned_arm: str
    arm: str
    drafts: list[Draft] = field(default_factory=list)
    days: set[str] = field(default_factory=set)
    dead: bool = False
    died: str = ""
    fatal: list[Row] = field(default_factory=list)


class People:
    """The participants by code, and two accounts.

    ``rows`` counts the rows that became no event, ``parts`` what was left out of rows that did.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.trial = protocol.trial
        self.arms = frozenset(level.id for level in protocol.dose_levels)
        self.known: dict[str, Participant] = {}
        self.rows = Account()
        self.parts = Account()

    def find(self, code: str) -> Participant:
        """The participant of a row.

        Raises RefusedError with the reason when there is none.
        """
        if code not in self.known:
            raise RefusedError("its participant is not among those read from dm.xpt")
        return self.known[code]

    def followed(self, person: Participant) -> bool:
        """Whether more than a participant's screening is taken over."""
        return bool(person.exposure) and person.arm in self.arms

    def expect_followed(self, person: Participant) -> None:
        """Raise RefusedError, with the reason, when nothing but a participant's screening is taken over."""
        if not person.exposure:
            raise RefusedError("the participant was never exposed, and only screening is taken over")
        if person.arm not in self.arms:
            why = "the participant's arm is no dose level of the trial's file, and only screening is taken over"
            raise RefusedError(why)

    def draft(self, person: Participant, type_: str, time: str, data: dict[str, Any]) -> Draft:
        """Make an event of the participant's site.

        Raises RefusedError with its model's sentence when it could not be admitted.
        """
        draft = Draft(source=f"site/{person.site}", type=type_, subject=person.code, time=time, data=data)
        draft.check(self.trial)
        return draft

    def screened(self, person: Participant, verb: str, when: str, data: dict[str, Any]) -> None:
        """Add evidence of screening, collected at ``when``. Raises RefusedError like ``draft``."""
        person.drafts.append(self.draft(person, f"screening.{verb}", recorded(when), data))
        person.days.add(when[:10])

    def part(
        self, person: Participant, type_: str, moments: Sequence[str], data: dict[str, Any], what: str
    ) -> list[Draft]:
        """Make an event of a part of a participant's row in DM, recorded at these moments (see ``recorded``).

        What is refused is counted among the parts, and the list is empty then.
        """
        try:
            return [self.draft(person, type_, recorded(*moments), data)]
        except RefusedError as error:
            self.parts.leave("DM", what, str(error), f"{person.code} {moments[0]}".strip())
            return []


def period(person: Participant, when: str) -> Literal["screening", "treatment", "unclear"]:
    """Tell whether something was collected by the end of the day of the first exposure, or after it.

    Raises RefusedError with the reason when the date is blank or none.
    """
    if problem := date_problem(when):
        raise RefusedError(f"its date {problem}")
    if not person.exposure:
        return "screening"
    collected, exposed = span(when, UTC_ZONE), span(person.exposure, UTC_ZONE)
    if collected.first >= exposed.end:
        return "treatment"
    return "unclear" if collected.days(UTC_ZONE)[1] > exposed.days(UTC_ZONE)[1] else "screening"


def recorded(collected: str, *named: str) -> str:
    """Give the event time of a row collected then that names these other moments (see the package's docstring).

    Raises RefusedError with the reason when the first is blank or one of them is no date.
    """
    for moment in (collected, *filter(None, named)):
        if problem := date_problem(moment):
            raise RefusedError(f"its date {moment} {problem}" if moment else f"its date {problem}")
    when = span(collected, UTC_ZONE)
    whole_days = when.end - when.first >= _DAY
    # Of a partial date that is named, the earliest it could mean: more the row does not say.
    starts = (span(moment, UTC_ZONE) for moment in named if moment)
    latest = (one.first + _DAY / 2 if one.end - one.first >= _DAY else one.first for one in starts)
    return stamp(max([when.end - _DAY / 2 if whole_days else when.first, *latest]))


def date_problem(text: str) -> str | None:
    """Say what is wrong with a date of a table, if anything is."""
    if not text:
        return "is blank"
    try:
        span(text, UTC_ZONE)
    except ValueError as error:
        return str(error)
    return None
