"""From when a version of the protocol is in force at a site: the order of the site's activations. Pure.

Whether a day has begun at a site depends on the site's time zone, which stands in the protocol document. What rests
on no document (admission) asks for what holds in every time zone there is.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

_EAST: Final = timedelta(hours=14)
_WEST: Final = timedelta(hours=-12)


class Activation(BaseModel):
    """A version is in force at a site from a day of the site on; ``entry`` says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: int
    digest: str
    effective: str

    @property
    def day(self) -> date:
        """The first day."""
        return date.fromisoformat(self.effective)


def begun_somewhere(day: date, now: datetime) -> bool:
    """Whether a calendar day has begun anywhere on earth."""
    return day <= (now + _EAST).date()


def over_everywhere(day: date, now: datetime) -> bool:
    """Whether a calendar day is over everywhere on earth."""
    return day < (now + _WEST).date()


def begun(known: Sequence[Activation], now: datetime) -> tuple[Activation, ...]:
    """A site's activations that no later one can replace any more: their day may have begun."""
    return tuple(one for one in known if begun_somewhere(one.day, now))


def followed(known: Sequence[Activation], by: Activation, now: datetime) -> tuple[Activation, ...]:
    """A site's activations after one more: it takes the place of those whose day has begun nowhere yet.

    So a day that was named by mistake can be named again, and what was in force never changes. Their days ascend.
    """
    return (*begun(known, now), by)
