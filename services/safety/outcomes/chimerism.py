"""% chimerism in blood over time: every measurement of every exposed participant, never averaged. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from services.safety.participant import Participant
from services.safety.trial import Rules
from shared.events.screening import Observed
from shared.moments import Span, span
from shared.protocol.units import convert

ITEM: Final = "chimerism"
_UNIT: Final = "%"


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement. ``percent`` with the comparator ``<`` is the limit of detection, and the value below it.

    ``day`` is counted as the trial counts days from the first exposure, the day before it as -1; None where a
    partial date leaves it open. ``nominal`` is the time point of the trial's file that it belongs to.
    """

    day: int | None
    nominal: int | None
    collected: str
    percent: Decimal
    comparator: str | None
    qualifier: str | None
    entry: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A participant's measurements in order of time. ``exposure`` is the entry of the first exposure."""

    participant: str
    arm: str
    exposure: int
    points: tuple[Point, ...]


def curve(participant: Participant, arm: str, rules: Rules, zone: ZoneInfo) -> Curve | None:
    """A participant's curve; None where nothing was measured, or there is no exposure to count days from.

    A value without a unit counts as missing.
    """
    exposure = participant.exposure(zone)
    if exposure is None:
        return None
    found = []
    for index, data in measured(participant):
        if data.value is None or data.unit is None:
            continue
        when = span(data.collected, zone)
        day = _day(when, exposure[1], zone, rules.plan.emergence.first_day)
        percent = convert(data.value, data.unit, _UNIT)
        point = Point(
            day,
            nominal(day, rules.plan.chimerism_days, rules.plan.emergence.first_day),
            data.collected,
            percent,
            data.comparator,
            data.qualifier,
            index,
        )
        found.append((when.first, index, point))
    if not found:
        return None
    points = tuple(point for *_, point in sorted(found, key=lambda one: one[:2]))
    return Curve(participant.code, arm, exposure[0].index, points)


def measured(participant: Participant) -> Iterator[tuple[int, Observed]]:
    """What was measured of a participant's chimerism, with the entries, in log order."""
    for record in participant.measurements.get(ITEM, ()):
        if isinstance(record.said, Observed):
            yield record.index, record.said


def nominal(day: int | None, days: Sequence[int], first_day: int) -> int | None:
    """The nearest of the trial's time points; of two equally near ones the earlier.

    None before the first exposure and on its own day, where the sample may have been taken before it, unless
    that day is a time point itself.
    """
    if day is None or not days or day < first_day or (day == first_day and day not in days):
        return None
    return min(days, key=lambda one: (abs(one - day), one))


def _day(when: Span, exposure: Span, zone: ZoneInfo, first_day: int) -> int | None:
    (first, last), (opened, opened_latest) = when.days(zone), exposure.days(zone)
    if first != last or opened != opened_latest:
        return None
    days = (first - opened) // timedelta(days=1)
    return days + first_day if days >= 0 else days
