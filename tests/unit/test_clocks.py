"""The clocks of expedited reports: due on the right instant anywhere, never later, met only when certainly met."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.clocks import (
    Clock,
    day_of,
    follow_up,
    overdue,
    ran_out,
    run,
    sent,
    site_clock,
    site_in_time,
    sooner,
    withdraw,
)
from shared.moments import Span, instant, span
from shared.protocol.safety import ReportProfile

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
APIA = ZoneInfo("Pacific/Apia")

FDA = ReportProfile(id="FDA", name="21 CFR 312.32", fatal_days=7, other_days=15)
NMPA = ReportProfile(id="NMPA", name="China NMPA", fatal_days=7, other_days=15, follow_up_days=8)
MICROSECOND = timedelta(microseconds=1)


def clock(
    receipt: str = "2026-03-04",
    determination: str | None = None,
    *,
    severe: bool = False,
    old: Clock | None = None,
    profile: ReportProfile = NMPA,
    zone: ZoneInfo = SHANGHAI,
) -> Clock:
    determined = None if determination is None else date.fromisoformat(determination)
    return run(
        old, profile, "7", severe=severe, receipt=date.fromisoformat(receipt), determination=determined, zone=zone
    )


@pytest.mark.parametrize(
    ("zone", "receipt", "severe", "due"),
    [
        (SHANGHAI, "2026-03-04", True, "2026-03-11T15:59:59.999999Z"),
        (SHANGHAI, "2026-03-04", False, "2026-03-19T15:59:59.999999Z"),
        (NEW_YORK, "2026-01-30", True, "2026-02-07T04:59:59.999999Z"),  # over the end of a month
        (NEW_YORK, "2026-12-28", True, "2027-01-05T04:59:59.999999Z"),  # and of a year
        (NEW_YORK, "2028-02-22", True, "2028-03-01T04:59:59.999999Z"),  # ends on 29 February
        (NEW_YORK, "2027-02-22", True, "2027-03-02T04:59:59.999999Z"),
        (SHANGHAI, "2028-02-29", False, "2028-03-15T15:59:59.999999Z"),
        (NEW_YORK, "2026-03-01", True, "2026-03-09T03:59:59.999999Z"),  # ends on the day of 23 hours
        (NEW_YORK, "2026-03-04", True, "2026-03-12T03:59:59.999999Z"),  # across it
        (NEW_YORK, "2026-10-25", True, "2026-11-02T04:59:59.999999Z"),  # ends on the day of 25 hours
        (NEW_YORK, "2026-10-28", True, "2026-11-05T04:59:59.999999Z"),
        (BERLIN, "2026-03-22", True, "2026-03-29T21:59:59.999999Z"),
        (BERLIN, "2026-10-18", True, "2026-10-25T22:59:59.999999Z"),
        (BERLIN, "2026-10-20", False, "2026-11-04T22:59:59.999999Z"),
        (APIA, "2011-12-23", True, "2011-12-30T09:59:59.999999Z"),  # 30 December never came: the 29th was the last
        (APIA, "2011-12-24", True, "2011-12-31T09:59:59.999999Z"),
    ],
)
def test_a_report_is_in_time_to_the_end_of_its_last_calendar_day(
    zone: ZoneInfo, receipt: str, severe: bool, due: str
) -> None:
    running = clock(receipt, severe=severe, zone=zone)
    assert running.due == due
    assert not ran_out(running, instant(due)), "the due instant itself is in time"
    assert ran_out(running, instant(due) + MICROSECOND)


def test_the_day_is_the_sponsors_and_not_the_sites() -> None:
    sealed = span("2026-03-05T09:00", SHANGHAI).first
    assert day_of(sealed, SHANGHAI) == date(2026, 3, 5)
    assert day_of(sealed, NEW_YORK) == date(2026, 3, 4)
    running = clock(day_of(sealed, NEW_YORK).isoformat(), severe=True, zone=NEW_YORK)
    assert (running.day_zero, running.due) == ("2026-03-04", "2026-03-12T03:59:59.999999Z")


@pytest.mark.parametrize(
    ("receipt", "determination", "day_zero"),
    [
        ("2026-03-04", None, "2026-03-04"),
        ("2026-03-04", "2026-03-06", "2026-03-04"),
        ("2026-03-06", "2026-03-04", "2026-03-04"),
        ("2026-03-04", "2026-03-04", "2026-03-04"),
    ],
)
def test_both_anchors_are_kept_and_the_earlier_is_day_zero(
    receipt: str, determination: str | None, day_zero: str
) -> None:
    running = clock(receipt, determination, severe=True)
    assert (running.receipt, running.determination, running.day_zero) == (receipt, determination, day_zero)
    assert running.due == "2026-03-11T15:59:59.999999Z"
    assert running.arithmetic[0].startswith(f"day 0 is {day_zero}, when ")
    assert running.arithmetic[1] == (
        "China NMPA, fatal or life-threatening: 7 calendar days, through the end of 2026-03-11 (Asia/Shanghai)"
    )


INFORMATION = st.tuples(
    st.booleans(),
    st.integers(0, 40),
    st.none() | st.integers(0, 40),
    st.sampled_from(["run", "withdraw", "overdue"]),
)
BEGIN = st.dates(date(2011, 11, 1), date(2030, 12, 31))
ZONES = st.sampled_from([SHANGHAI, NEW_YORK, BERLIN, APIA])


def heard(old: Clock | None, information: tuple[bool, int, int | None, str], begin: date, zone: ZoneInfo) -> Clock:
    severe, receipt, determination, then = information
    new = run(
        old,
        NMPA,
        "7",
        severe=severe,
        receipt=begin + timedelta(days=receipt),
        determination=None if determination is None else begin + timedelta(days=determination),
        zone=zone,
    )
    return withdraw(new) if then == "withdraw" else overdue(new) if then == "overdue" else new


@given(st.lists(INFORMATION, min_size=1, max_size=6), BEGIN, ZONES)
def test_nothing_that_becomes_known_makes_a_clock_later(
    known: list[tuple[bool, int, int | None, str]], begin: date, zone: ZoneInfo
) -> None:
    old: Clock | None = None
    was_overdue = False
    for information in known:
        new = heard(old, information, begin, zone)
        alone = heard(None, information, begin, zone)
        assert new.due <= alone.due
        assert old is None or new.due <= old.due
        assert date.fromisoformat(new.day_zero) + timedelta(days=new.days) == (
            date.fromisoformat(alone.day_zero) + timedelta(days=alone.days)
            if old is None or new.due < old.due
            else date.fromisoformat(old.day_zero) + timedelta(days=old.days)
        ), "day 0 and the days always add up to the day that is due"
        later, earlier = follow_up(NMPA, new, zone), None if old is None else follow_up(NMPA, old, zone)
        assert later is None or earlier is None or later.due <= earlier.due
        if was_overdue and information[3] != "withdraw":
            assert new.state == "overdue"
        was_overdue = new.state == "overdue"
        old = new


@given(st.lists(INFORMATION, min_size=2, max_size=5), BEGIN, ZONES, st.randoms())
def test_when_a_clock_runs_out_does_not_depend_on_the_order_of_the_news(
    known: list[tuple[bool, int, int | None, str]], begin: date, zone: ZoneInfo, chance: Random
) -> None:
    def final(order: list[tuple[bool, int, int | None, str]]) -> tuple[str, str | None]:
        last: Clock | None = None
        for severe, receipt, determination, _ in order:
            last = heard(last, (severe, receipt, determination, "run"), begin, zone)
        assert last is not None
        return last.due, last.severe_since

    shuffled = list(known)
    chance.shuffle(shuffled)
    assert final(shuffled) == final(known)


@given(INFORMATION, BEGIN, ZONES)
def test_due_is_the_last_microsecond_of_a_local_day(
    information: tuple[bool, int, int | None, str], begin: date, zone: ZoneInfo
) -> None:
    due = instant(heard(None, information, begin, zone).due)
    assert day_of(due, zone) < day_of(due + MICROSECOND, zone)


def test_the_same_news_again_is_no_news() -> None:
    first = clock("2026-03-04", "2026-03-05", severe=True)
    assert clock("2026-03-04", "2026-03-05", severe=True, old=first) == first
    assert clock("2026-03-04", "2026-03-05", severe=False, old=first) == first, "less severe"
    assert clock("2026-03-08", None, severe=True, old=first) == first, "later"


def test_severe_news_makes_it_shorter_only_from_the_day_of_the_news() -> None:
    old = clock("2026-03-04")
    early = clock("2026-03-06", severe=True, old=old)
    assert (early.day_zero, early.days, early.due[:10]) == ("2026-03-06", 7, "2026-03-13")
    late = clock("2026-03-14", severe=True, old=old)
    assert (late.day_zero, late.days, late.due) == ("2026-03-04", 15, old.due)
    assert late.severe_since == "2026-03-14"


def test_a_clock_that_ran_out_stays_overdue_and_says_when_it_did() -> None:
    out = overdue(clock(severe=True))
    assert (out.state, out.due) == ("overdue", "2026-03-11T15:59:59.999999Z")
    assert out.arithmetic[-1] == "no report was sent by 2026-03-11T15:59:59.999999Z"
    assert not ran_out(out, instant("2026-05-01T00:00:00Z")), "it ran out once"
    assert clock(severe=True, old=out) == out
    earlier = clock("2026-03-02", severe=True, old=out)
    assert (earlier.state, earlier.arithmetic[-1]) == ("overdue", f"no report was sent by {earlier.due}")


def test_what_is_owed_again_is_owed_as_before() -> None:
    first = clock(severe=True)
    gone = withdraw(first)
    assert gone.state == "no_longer_owed"
    assert withdraw(gone) == gone
    assert not ran_out(gone, instant("2026-05-01T00:00:00Z"))
    assert clock(severe=True, old=gone) == first
    assert clock("2026-04-20", severe=True, old=gone) == first, "it is owed again, and long over"


@pytest.mark.parametrize(
    ("at", "state"),
    [
        ("2026-03-11", "met"),
        ("2026-03-11T23:59", "met"),
        ("2026-03-12T00:00", "missed"),
        ("2026-03-12", "missed"),
        ("2026-03", "missed"),
        ("2026-02", "met"),
        ("2026-03-11T15:59:59Z", "met"),
        ("2026-03-11T16:00:00Z", "missed"),
    ],
)
def test_a_report_is_met_only_when_it_was_certainly_in_time(at: str, state: str) -> None:
    for before in (clock(severe=True), overdue(clock(severe=True))):
        closed = sent(before, span(at, SHANGHAI))
        assert closed.state == state
        assert ("so it counts as late" in closed.arithmetic[-1]) is (at == "2026-03")
        assert withdraw(closed) == closed
        assert clock("2026-03-01", severe=True, old=closed) == closed, "what was sent stays sent"
        assert not ran_out(closed, instant("2026-05-01T00:00:00Z"))


def test_an_event_that_turned_fatal_after_its_report_owes_a_follow_up() -> None:
    closed = sent(clock(), span("2026-03-15", SHANGHAI))
    upgraded = clock("2026-03-17", severe=True, old=closed)
    assert (upgraded.kind, upgraded.state, upgraded.sent) == ("follow_up", "running", None)
    assert (upgraded.days, upgraded.due) == (7, "2026-03-24T15:59:59.999999Z")
    assert sooner(upgraded, clock("2026-03-19", severe=True, old=closed)) == upgraded
    assert clock("2026-03-17", old=closed) == closed
    with pytest.raises(ValueError, match="only the clock of an initial report"):
        clock(old=upgraded)


def test_a_follow_up_is_owed_after_a_fatal_report_where_the_authority_wants_one() -> None:
    initial = clock(severe=True)
    more = follow_up(NMPA, initial, SHANGHAI)
    assert more is not None
    assert (more.kind, more.day_zero, more.days, more.due) == (
        "follow_up",
        "2026-03-04",
        15,
        "2026-03-19T15:59:59.999999Z",
    )
    assert follow_up(NMPA, sent(initial, span("2026-03-05", SHANGHAI)), SHANGHAI) == more
    assert "7 + 8 = 15 calendar days" in more.arithmetic[1]
    assert follow_up(NMPA, clock(), SHANGHAI) is None
    assert follow_up(FDA, clock(severe=True, profile=FDA), SHANGHAI) is None
    assert follow_up(NMPA, withdraw(initial), SHANGHAI) is None


def test_a_follow_up_counts_from_the_news_that_made_it_fatal() -> None:
    more = follow_up(NMPA, clock("2026-03-14", severe=True, old=clock(determination="2026-03-06")), SHANGHAI)
    assert more is not None
    assert (more.day_zero, more.due[:10]) == ("2026-03-14", "2026-03-29")
    assert (more.receipt, more.determination) == ("2026-03-14", None)


def test_a_clock_survives_being_stored() -> None:
    stored = sent(clock(severe=True, determination="2026-03-05"), span("2026-03-06", SHANGHAI))
    assert Clock.model_validate_json(stored.model_dump_json()) == stored
    assert Clock.model_validate(stored.model_dump(mode="json")) == stored


# The site's clock -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aware", "zone", "last"),
    [
        ("2026-03-04T10:00", SHANGHAI, "2026-03-05T02:00:00Z"),
        ("2026-03-07T22:00", NEW_YORK, "2026-03-09T03:00:00Z"),  # 23:00 by the clocks, which went forward
        ("2026-10-31T22:00", NEW_YORK, "2026-11-02T02:00:00Z"),  # 21:00, because they went back
        ("2026-10-24T22:00", BERLIN, "2026-10-25T20:00:00Z"),
    ],
)
def test_the_sites_hours_pass_whatever_its_clocks_show(aware: str, zone: ZoneInfo, last: str) -> None:
    knew = span(aware, zone)
    assert site_clock(knew, 24) == instant(last)
    assert site_in_time(knew, instant(last), 24) is True
    assert site_in_time(knew, instant(last) + timedelta(minutes=1), 24) is False
    assert site_in_time(knew, instant(last) + timedelta(seconds=59), 24) is None, "it knew within that minute"


def test_a_day_without_a_time_leaves_open_whether_the_site_was_in_time() -> None:
    knew = span("2026-03-04", SHANGHAI)
    assert site_in_time(knew, span("2026-03-05T00:00", SHANGHAI).first, 24) is True
    assert site_in_time(knew, span("2026-03-05T12:00", SHANGHAI).first, 24) is None
    assert site_in_time(knew, span("2026-03-06T00:00", SHANGHAI).first, 24) is False


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - hypothesis adds the zone
    st.integers(1, 100_000),
    st.integers(1, 200),
    st.integers(-100_000, 1_000_000),
)
def test_the_sites_verdict_holds_for_every_moment_it_could_have_known(
    first: datetime, seconds: int, hours: int, later: int
) -> None:
    begin = first.replace(tzinfo=UTC)
    knew = Span(begin, begin + timedelta(seconds=seconds))
    sealed = begin + timedelta(seconds=later)
    verdicts = {sealed <= moment + timedelta(hours=hours) for moment in (knew.first, knew.end - MICROSECOND)}
    assert site_in_time(knew, sealed, hours) == (verdicts.pop() if len(verdicts) == 1 else None)
