"""Which adverse events are treatment-emergent: those that begin, or worsen, in a window after the first exposure.

The definition is ICH E9's (glossary): an event that emerges during treatment, having been absent before, or
worsens relative to the state before. Window and partial dates are settings of the trial (``Emergence``). Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, Stretch
from shared.events.safety import Died
from shared.moments import Span, midnight, span
from shared.protocol.safety import Emergence

Truth = bool | None
"""None: it could be either way."""

FATAL: Final = 5
"""The grade of a death (CTCAE v5.0)."""

_DAY: Final = timedelta(days=1)
_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class Emergent:
    """Whether an adverse event counts as treatment-emergent, with the sentences that show why.

    ``certain`` is false where something that is not exactly known, a partial date for instance, decided it.
    """

    counts: bool
    certain: bool
    arithmetic: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """From the first exposure through the end of ``last_day``; without a last day it never ends.

    The day of the first exposure has the number ``first_day``. With ``whole_days`` only calendar days are
    compared, and nothing of the exposure's own day is before it.
    """

    exposure: Span
    first_day: int
    last_day: int | None
    zone: ZoneInfo
    whole_days: bool = False

    @property
    def name(self) -> str:
        """What people call it."""
        if self.last_day is None:
            return f"the window from day {self.first_day} on"
        return f"the window of days {self.first_day} to {self.last_day}"

    def place(self, when: Span | None) -> Truth:
        """Whether a moment lies inside; None where it could lie on either side, or nobody has said when it was."""
        if when is None:
            return None
        if self.before(when) or self._after(when):
            return False
        return None if self.perhaps_before(when) or self._perhaps_after(when) else True

    def before(self, when: Span) -> bool:
        """Whether a moment is certainly before the first exposure."""
        return when.end <= (midnight(self._days[0], self.zone) if self.whole_days else self.exposure.first)

    def perhaps_before(self, when: Span) -> bool:
        """Whether a moment could be before the first exposure."""
        return when.first < (midnight(self._days[1], self.zone) if self.whole_days else self.exposure.end)

    def tell(self, what: str, when: Span | None) -> str:
        """When something was and where that lies, in days counted from the first exposure."""
        if when is None:
            return f"{what} at a time that nobody has stated"
        (first, last), (opens, opens_latest) = when.days(self.zone), self._days
        near, far = self._day((first - opens_latest).days), self._day((last - opens).days)
        where = f"{what} {told(when, self.zone)}, {near if near == far else f'between {near} and {far}'}"
        exposed = f"the first exposure ({told(self.exposure, self.zone)})"
        if self.before(when):
            return f"{where}: before {exposed}"
        if self._after(when):
            return f"{where}: after {self.name}"
        doubts = [f"before {exposed}"] if self.perhaps_before(when) else []
        doubts += ["after its last day"] if self._perhaps_after(when) else []
        return f"{where} of {self.name}" + (f": possibly {' or '.join(doubts)}" if doubts else "")

    @property
    def _days(self) -> tuple[date, date]:
        return self.exposure.days(self.zone)

    def _after(self, when: Span) -> bool:
        return self.last_day is not None and when.first >= self._closed(self._days[1], self.last_day)

    def _perhaps_after(self, when: Span) -> bool:
        return self.last_day is not None and when.end > self._closed(self._days[0], self.last_day)

    def _closed(self, opened: date, last_day: int) -> datetime:
        return midnight(opened + (last_day - self.first_day + 1) * _DAY, self.zone)

    def _day(self, offset: int) -> str:
        if offset >= 0:
            return f"day {self.first_day + offset}"
        return f"{-offset} {'day' if offset == -1 else 'days'} before the day of the first exposure"


def told(when: Span, zone: ZoneInfo) -> str:
    """A moment in the zone's own time: a day, a day and a time, or the days between which it lies."""
    first, last = when.days(zone)
    if first != last:
        return f"between {first} and {last}"
    if when == Span(midnight(first, zone), midnight(first + _DAY, zone)):
        return first.isoformat()
    return when.first.astimezone(zone).strftime("%Y-%m-%dT%H:%M")


def listed(texts: Sequence[str]) -> str:
    """The first of several parts of a sentence, and how many more there are: a line of a decision is limited."""
    more = [f"and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    return "; ".join([*texts[:_LISTED], *more])


def death(event: AdverseEvent, zone: ZoneInfo) -> Stretch | None:
    """From when on an adverse event was fatal, and the entry that says so; None: it was not.

    The death's own date counts, then that of a fatal outcome, then that of an update to grade 5.
    """
    if not event.fatal:
        return None
    for one in reversed(event.statements):
        if isinstance(one.data, Died):
            return Stretch(span(one.data.on, zone), FATAL, one.index)
    last = event.statements[-1].index
    if event.outcome == "fatal" and event.ended is not None:
        return Stretch(event.ended, FATAL, last)
    updates = [stretch for stretch in event.stretches[1:] if stretch.grade == FATAL]
    return updates[0] if updates else Stretch(None, FATAL, last)


def course(event: AdverseEvent, zone: ZoneInfo) -> tuple[Stretch, ...]:
    """The stretches of an adverse event with its death, which no site needs to report as a grade as well."""
    fatal = death(event, zone)
    if fatal is None or any(stretch.grade == FATAL for stretch in event.stretches):
        return event.stretches
    return (*event.stretches, fatal)


def emergent(event: AdverseEvent, exposure: Span, rules: Emergence, zone: ZoneInfo) -> Emergent:
    """Whether an adverse event counts as treatment-emergent, given the participant's first exposure.

    ``partial_dates`` "emergent": what could be either way counts, an onset that nobody has stated too. "earliest":
    every date is the first day it could be, and calendar days are compared; an onset that nobody has stated
    cannot be placed, so the event counts only by a dated worsening.
    """
    earliest = rules.partial_dates == "earliest"
    window = Window(exposure, rules.first_day, rules.last_day, zone, whole_days=earliest)
    over = event.ended
    if over is not None and window.before(over) and (event.onset is None or event.onset.first < over.end):
        return Emergent(counts=False, certain=True, arithmetic=(window.tell("ended", over),))
    stretches = course(event, zone)
    truth, lines = _emerged(stretches, window, rules)
    if not earliest:
        if truth is None:
            lines = (*lines, "it could be either way, so it counts as emergent")
        return Emergent(counts=truth is not False, certain=truth is not None, arithmetic=lines)
    if truth is None:
        first_days = [replace(stretch, since=_first_day(stretch.since, zone)) for stretch in stretches]
        opened = replace(window, exposure=_first_day(exposure, zone) or exposure)
        decided, at_first = _emerged(first_days, opened, rules)
        lines = (*lines, "every date taken as the first day it could be:", *at_first)
        if decided is None:
            lines = (*lines, "without a date it cannot be placed, so it does not count")
        return Emergent(counts=decided is True, certain=False, arithmetic=lines)
    return Emergent(counts=truth, certain=True, arithmetic=lines)


def _emerged(stretches: Sequence[Stretch], window: Window, rules: Emergence) -> tuple[Truth, tuple[str, ...]]:
    onset = stretches[0].since
    line = window.tell("onset", onset)
    began = window.place(onset)
    if began or not rules.worsening or (onset is not None and not began and not window.perhaps_before(onset)):
        return began, (line,)
    worse, because = _worsened(stretches, window)
    if worse is False:
        return began, (line, *because)
    return worse, (line, *because)


def _worsened(stretches: Sequence[Stretch], window: Window) -> tuple[Truth, tuple[str, ...]]:
    """Whether a grade that began in the window is higher than the one at the first exposure, were the onset before.

    A grade that was not stated could have been any, 1 at least.
    """
    before: set[int | None] = {stretches[0].grade}
    possibly: tuple[str, ...] | None = None
    for stretch in stretches[1:]:
        place, grade = window.place(stretch.since), stretch.grade
        if place is not False and grade is not None and any(grade > (other or 1) for other in before):
            then = window.tell(f"grade {grade} from", stretch.since)
            line = f"grade {_grades(before)} at the first exposure, {then}"
            if place and all(other is not None and grade > other for other in before):
                return True, (line,)
            possibly = possibly or (line,)
        if stretch.since is not None and window.before(stretch.since):
            before = {grade}
        elif stretch.since is not None and window.perhaps_before(stretch.since):
            before.add(grade)
    if possibly is not None:
        return None, possibly
    return False, ("it is not known to have worsened in the window",)


def _grades(grades: set[int | None]) -> str:
    stated = " or ".join(str(grade) for grade in sorted(grade for grade in grades if grade is not None))
    return stated if None not in grades else f"{stated} or not stated" if stated else "not stated"


def _first_day(when: Span | None, zone: ZoneInfo) -> Span | None:
    if when is None:
        return None
    first = when.days(zone)[0]
    return Span(midnight(first, zone), midnight(first + _DAY, zone))
