"""Dates as people record them: whole, partial, or with a time of day; each is the interval it could mean.

A partial date is never completed by guessing. ``2026-03`` is every instant of that March, and a rule that
holds for some of them but not for all is undetermined (PROTOCOL.md, "Verdicts").
"""

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

# The locked tzdata package and never the machine's own: the same log gives the same dates anywhere.
zoneinfo.reset_tzpath(to=())

# Python's own reader takes an hour 24 (from 3.14 on) and an offset of 60 minutes; a ruling must not depend on it.
_HOUR = r"(?:[01]\d|2[0-3])"
_RFC3339 = re.compile(
    rf"(\d{{4}})-(\d{{2}})-(\d{{2}})T({_HOUR}):(\d{{2}}):(\d{{2}})(?:\.(\d{{1,9}}))?(Z|[+-]{_HOUR}:[0-5]\d)",
    re.ASCII,
)
_MOMENT = re.compile(
    rf"(\d{{4}})(?:-(\d{{2}})(?:-(\d{{2}})(?:T({_HOUR}):(\d{{2}})(?::(\d{{2}}))?(Z|[+-]{_HOUR}:[0-5]\d)?)?)?)?",
    re.ASCII,
)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MICROSECOND = timedelta(microseconds=1)
UTC_ZONE = ZoneInfo("UTC")


@lru_cache(maxsize=4096)
def instant(text: str) -> datetime:
    """Read an RFC 3339 time with offset as an aware UTC datetime, cut to microseconds.

    Raises ValueError with a sentence when the text is not one, or names a day or time that does not exist.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("must be an RFC 3339 time with an offset, like 2026-03-04T09:12:00+08:00")
    fraction = ((match[7] or "") + "000000")[:6]
    offset = "+00:00" if match[8] == "Z" else match[8]
    try:
        return datetime.fromisoformat(
            f"{match[1]}-{match[2]}-{match[3]}T{match[4]}:{match[5]}:{match[6]}.{fraction}{offset}"
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("names a day or a time of day that does not exist") from None


def stamp(moment: datetime) -> str:
    """Write an aware datetime the one way the log does: UTC, six decimals, ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Span:
    """The half-open interval [first, end) of instants (aware, UTC) that a recorded moment could mean."""

    first: datetime
    end: datetime

    def days(self, zone: ZoneInfo) -> tuple[date, date]:
        """First and last calendar day in ``zone`` that the moment could fall on."""
        return self.first.astimezone(zone).date(), (self.end - _MICROSECOND).astimezone(zone).date()

    def overlaps(self, other: "Span") -> bool:
        """Whether the two could be the same instant."""
        return self.first < other.end and other.first < self.end


@lru_cache(maxsize=65536)
def span(text: str, zone: ZoneInfo) -> Span:
    """Read a recorded moment: year, year-month, date, or date and time (without offset: time in ``zone``).

    Raises ValueError with a sentence when it is none of these or does not exist.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError("must be a date (2026, 2026-03 or 2026-03-04) or a date and time (2026-03-04T09:30)")
    year, month, day, hour, minute, second, offset = match.groups()
    try:
        if hour is not None:
            clock = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}"
            read = datetime.fromisoformat(clock + ("+00:00" if offset == "Z" else offset or ""))
            starts = [read.astimezone(UTC)]
            if offset is None:
                # When clocks are set back an hour comes twice, and nobody recorded which of the two was meant.
                starts = sorted(read.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            return Span(starts[0], starts[-1] + (timedelta(seconds=1) if second else timedelta(minutes=1)))
        first = date(int(year), int(month or 1), int(day or 1))
        if day is not None:
            after = first + timedelta(days=1)
        elif month is not None:
            after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
        else:
            after = date(first.year + 1, 1, 1)
    except (ValueError, OverflowError):
        raise ValueError("names a day or a time of day that does not exist") from None
    return Span(midnight(first, zone), midnight(after, zone))


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which ``day`` begins in ``zone``."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def add_months(day: date, months: int) -> date:
    """The same day ``months`` later (or earlier when negative), cut to the month's last day."""
    count = day.year * 12 + day.month - 1 + months
    year, month = divmod(count, 12)
    last = (date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


def add_years(day: date, years: int) -> date:
    """The anniversary of ``day``; 29 February becomes 1 March, as completed years are counted."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def _checked_moment(text: str) -> str:
    if not "1880" <= text[:4] <= "2199":
        raise ValueError("must lie between the years 1880 and 2199")
    span(text, UTC_ZONE)
    return text


def _checked_instant(text: str) -> str:
    instant(text)
    return text


def _checked_calendar_day(text: str) -> str:
    if _DAY.fullmatch(text) is None:  # fromisoformat alone would take 2026-W10-3
        raise ValueError("must be a whole date, like 2026-03-04")
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError("names a day that does not exist") from None
    return text


def _checked_day(text: str) -> str:
    if not 1880 <= date.fromisoformat(_checked_calendar_day(text)).year <= 2199:
        raise ValueError("must be a whole date between the years 1880 and 2199, like 2026-03-04")
    return text


Moment = Annotated[str, AfterValidator(_checked_moment)]
"""A recorded moment, kept as its source wrote it: date, partial date, or date and time."""

Day = Annotated[str, AfterValidator(_checked_day)]
"""A whole calendar date, ``YYYY-MM-DD``, that somebody states."""

CalendarDay = Annotated[str, AfterValidator(_checked_calendar_day)]
"""A whole calendar date that follows from what was stated; a time zone may move it past the years allowed there."""

Instant = Annotated[str, AfterValidator(_checked_instant)]
"""An RFC 3339 time with an offset, kept as its source wrote it."""
