"""The clocks of expedited reports, and the site's own: day 0, the last instant in time, and what became of each.

21 CFR 312.32(c): fatal or life-threatening within 7 calendar days, others within 15; ICH E2A III.B the same, with
8 days more for the follow-up. The numbers are the trial's (``ReportProfile``). Pure: an instant is always given.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from shared.events.base import Name, Token
from shared.events.safety_decisions import ClockKind
from shared.moments import CalendarDay, Span, instant, midnight, stamp
from shared.protocol.safety import ReportProfile

ClockState = Literal["running", "overdue", "met", "missed", "no_longer_owed"]

_MICROSECOND: Final = timedelta(microseconds=1)
_CLOSED: Final = frozenset({"met", "missed"})
_RULE_LINES: Final = 2
"""A clock's arithmetic begins with these lines, on day 0 and on the end; one more may tell what became of it."""


class Clock(BaseModel):
    """A report that is owed to an authority, as it is kept in state.

    ``receipt``, ``determination``, ``day_zero``: days in the sponsor's time zone; ``day_zero`` and ``days`` always
    add up to ``due``, the last microsecond (RFC 3339, UTC) at which the report is in time. ``severe_since``: day 0
    of the first information that made it fatal or life-threatening; None: it is not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae: Token
    profile: Token
    kind: ClockKind
    days: int
    receipt: CalendarDay
    determination: CalendarDay | None
    day_zero: CalendarDay
    severe_since: CalendarDay | None
    due: Name
    state: ClockState
    sent: Name | None
    arithmetic: tuple[str, ...]


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    """The calendar day of an instant in a time zone."""
    return moment.astimezone(zone).date()


def run(
    old: Clock | None,
    profile: ReportProfile,
    ae: str,
    *,
    severe: bool,
    receipt: date,
    determination: date | None,
    zone: ZoneInfo,
) -> Clock:
    """The clock of the initial report, after what is known now. ``old`` is the initial one as it was.

    ``receipt`` is the day on which the sponsor received what makes the event reportable; where it is ``severe``
    (fatal or life-threatening), what makes it so. Of the old clock and the new, the one that runs out first
    stands: nothing that becomes known ever makes it later. Once the report was sent its clock stands still, and
    an event that only then became fatal or life-threatening owes a follow-up, which is what is returned then.
    Raises ValueError where ``old`` is the clock of a follow-up.
    """
    if old is not None and old.kind != "initial":
        raise ValueError("only the clock of an initial report runs on; that of a follow-up goes to sooner()")
    zero = receipt if determination is None else min(receipt, determination)
    days = profile.fatal_days if severe else profile.other_days
    why = "fatal or life-threatening" if severe else "neither fatal nor life-threatening"
    new = Clock(
        ae=ae,
        profile=profile.id,
        kind="initial",
        days=days,
        receipt=receipt.isoformat(),
        determination=None if determination is None else determination.isoformat(),
        day_zero=zero.isoformat(),
        severe_since=zero.isoformat() if severe else None,
        due=_due(zero, days, zone),
        state="running",
        sent=None,
        arithmetic=(
            _day_zero(receipt, determination),
            f"{profile.name}, {why}: {days} calendar days, {_through(zero, days, zone)}",
        ),
    )
    if old is None:
        return new
    if old.state in _CLOSED:
        if not severe or old.severe_since is not None:
            return old
        return new.model_copy(update={"kind": "follow_up"})
    return sooner(old, new)


def sooner(old: Clock | None, new: Clock) -> Clock:
    """Of two clocks for one report the one that runs out first, in the state that the old one had come to.

    What was sent stays so, what is overdue stays overdue, and what was owed no longer runs again.
    """
    if old is None or old.state in _CLOSED:
        return old or new
    severe = min((one.severe_since for one in (old, new) if one.severe_since is not None), default=None)
    # Where both end together the fatal or life-threatening one tells more, and else what is known now.
    first = min((new, old), key=lambda one: (one.due, one.severe_since is None))
    running = _in_state(first, "running").model_copy(update={"severe_since": severe})
    return overdue(running) if old.state == "overdue" else running


def follow_up(profile: ReportProfile, initial: Clock, zone: ZoneInfo) -> Clock | None:
    """The clock of the follow-up after a fatal or life-threatening initial report (ICH E2A III.B.1).

    Counted from day 0 of what made it so, whether or not the initial report was sent yet. None: none is owed.
    """
    more, since = profile.follow_up_days, initial.severe_since
    if more is None or since is None or initial.state == "no_longer_owed":
        return None
    zero, days = date.fromisoformat(since), profile.fatal_days + more
    sum_of_days = f"{profile.fatal_days} + {more} = {days} calendar days"
    # Where milder news ran out first, the initial report's anchors are not those of what made it severe.
    anchors = {} if since == initial.day_zero else {"receipt": since, "determination": None}
    return initial.model_copy(
        update={
            **anchors,
            "kind": "follow_up",
            "days": days,
            "day_zero": since,
            "due": _due(zero, days, zone),
            "state": "running",
            "sent": None,
            "arithmetic": (
                f"day 0 is {since}, that of the initial report of a fatal or life-threatening event",
                f"{profile.name}, its follow-up: {sum_of_days}, {_through(zero, days, zone)}",
            ),
        }
    )


def ran_out(clock: Clock, now: datetime) -> bool:
    """Whether a running clock has run out by ``now``: the due instant itself is still in time."""
    return clock.state == "running" and now > instant(clock.due)


def overdue(clock: Clock) -> Clock:
    """The clock after it ran out with nothing sent. It says when it did, and never when that was noticed."""
    return _in_state(clock, "overdue", f"no report was sent by {clock.due}")


def sent(clock: Clock, at: Span) -> Clock:
    """The clock after its report was sent: met when that was certainly in time, otherwise missed."""
    first, last = stamp(at.first), stamp(at.end - _MICROSECOND)
    between = f"sent between {first} and {last}"
    if last <= clock.due:
        closed = _in_state(clock, "met", f"{between}: in time")
    else:
        loose = first <= clock.due
        why = "not certainly in time, so it counts as late" if loose else "late"
        closed = _in_state(clock, "missed", f"{between}: {why}")
    return closed.model_copy(update={"sent": f"{first}/{last}"})


def withdraw(clock: Clock) -> Clock:
    """The clock after nothing calls for the report any more. What was sent stays sent."""
    if clock.state in _CLOSED:
        return clock
    return _in_state(clock, "no_longer_owed", "nothing that stands calls for this report any more")


def site_clock(aware: Span, hours: int) -> datetime:
    """The last instant at which a site's report is certainly in time: hours as they pass, whatever clocks show."""
    return aware.first + timedelta(hours=hours)


def site_in_time(aware: Span, sealed_at: datetime, hours: int) -> bool | None:
    """Whether a site's report was sealed within ``hours`` of when it knew; None: that is too loose to tell."""
    if sealed_at <= site_clock(aware, hours):
        return True
    return None if sealed_at < aware.end + timedelta(hours=hours) else False


def _in_state(clock: Clock, state: ClockState, *lines: str) -> Clock:
    arithmetic: Sequence[str] = (*clock.arithmetic[:_RULE_LINES], *lines)
    return clock.model_copy(update={"state": state, "sent": None, "arithmetic": tuple(arithmetic)})


def _due(zero: date, days: int, zone: ZoneInfo) -> str:
    return stamp(midnight(zero + timedelta(days=days + 1), zone) - _MICROSECOND)


def _through(zero: date, days: int, zone: ZoneInfo) -> str:
    return f"through the end of {zero + timedelta(days=days)} ({zone.key})"


def _day_zero(receipt: date, determination: date | None) -> str:
    if determination is None:
        return f"day 0 is {receipt}, when the sponsor received it; no determination is stated"
    if determination < receipt:
        return f"day 0 is {determination}, when it was determined, before the sponsor received it on {receipt}"
    return f"day 0 is {receipt}, when the sponsor received it; it was determined on {determination}"
