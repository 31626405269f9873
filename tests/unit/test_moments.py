"""A recorded moment is every instant it could mean, no more and no less."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.moments import UTC_ZONE, Day, Moment, Span, add_months, add_years, instant, midnight, span, stamp

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
AUCKLAND = ZoneInfo("Pacific/Auckland")

DATES = st.dates(date(1880, 1, 1), date(2199, 12, 31))
ZONES = st.sampled_from([UTC_ZONE, SHANGHAI, NEW_YORK, AUCKLAND])


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "first", "end"),
    [
        ("2026", UTC_ZONE, "2026-01-01", "2027-01-01"),
        ("2026-02", UTC_ZONE, "2026-02-01", "2026-03-01"),
        ("2024-02", UTC_ZONE, "2024-02-01", "2024-03-01"),
        ("2026-12", UTC_ZONE, "2026-12-01", "2027-01-01"),
        ("2024-02-29", UTC_ZONE, "2024-02-29", "2024-03-01"),
        ("2026-12-31", UTC_ZONE, "2026-12-31", "2027-01-01"),
        ("2026-03-04T09:30", UTC_ZONE, "2026-03-04T09:30", "2026-03-04T09:31"),
        ("2026-03-04T09:30:59", UTC_ZONE, "2026-03-04T09:30:59", "2026-03-04T09:31"),
        ("2026-03-04T09:30+08:00", UTC_ZONE, "2026-03-04T01:30", "2026-03-04T01:31"),
        ("2026-03-04T09:30Z", SHANGHAI, "2026-03-04T09:30", "2026-03-04T09:31"),
        ("2026-03-04T23:59-11:30", SHANGHAI, "2026-03-05T11:29", "2026-03-05T11:30"),
        ("2026-03-04", SHANGHAI, "2026-03-03T16:00", "2026-03-04T16:00"),
        ("2026-03", SHANGHAI, "2026-02-28T16:00", "2026-03-31T16:00"),
        ("2026", SHANGHAI, "2025-12-31T16:00", "2026-12-31T16:00"),
        ("2026-03-04T09:30", SHANGHAI, "2026-03-04T01:30", "2026-03-04T01:31"),
        ("2026-07-04", NEW_YORK, "2026-07-04T04:00", "2026-07-05T04:00"),
        ("2026-01-04", NEW_YORK, "2026-01-04T05:00", "2026-01-05T05:00"),
    ],
)
def test_a_moment_is_the_interval_it_could_mean(text: str, zone: ZoneInfo, first: str, end: str) -> None:
    assert span(text, zone) == Span(utc(first), utc(end))


@pytest.mark.parametrize(("text", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-06-01", 24)])
def test_a_day_is_as_long_as_its_clock_changes_make_it(text: str, hours: int) -> None:
    day = span(text, NEW_YORK)
    assert day.end - day.first == timedelta(hours=hours)
    assert day.days(NEW_YORK) == (date.fromisoformat(text), date.fromisoformat(text))


def test_a_month_over_a_clock_change_ends_where_the_next_begins() -> None:
    march = span("2026-03", NEW_YORK)
    assert (march.first, march.end) == (utc("2026-03-01T05:00"), utc("2026-04-01T04:00"))


def test_shanghai_changed_its_clocks_once_and_we_know_it() -> None:
    assert span("1988-07-01", SHANGHAI).first == utc("1988-06-30T15:00")
    assert span("1995-07-01", SHANGHAI).first == utc("1995-06-30T16:00")


@given(DATES, ZONES)
def test_consecutive_days_leave_neither_gap_nor_overlap(day: date, zone: ZoneInfo) -> None:
    today, tomorrow = span(day.isoformat(), zone), span((day + timedelta(days=1)).isoformat(), zone)
    assert today.first < today.end == tomorrow.first
    assert today.first == midnight(day, zone)
    assert not today.overlaps(tomorrow)
    assert today.days(zone) == (day, day)


@given(DATES, ZONES)
def test_a_less_exact_moment_contains_the_more_exact_one(day: date, zone: ZoneInfo) -> None:
    text = day.isoformat()
    spans = [span(text[:length], zone) for length in (4, 7, 10)] + [span(f"{text}T12:00", zone)]
    for wide, narrow in pairwise(spans):
        assert wide.first <= narrow.first < narrow.end <= wide.end
        assert wide.overlaps(narrow)
        assert narrow.overlaps(wide)


def test_the_days_of_a_moment_are_those_of_the_zone_it_is_asked_for() -> None:
    moment = span("2026-03-04T20:00Z", UTC_ZONE)
    assert moment.days(SHANGHAI) == (date(2026, 3, 5), date(2026, 3, 5))
    assert moment.days(NEW_YORK) == (date(2026, 3, 4), date(2026, 3, 4))
    assert span("2026-03", SHANGHAI).days(SHANGHAI) == (date(2026, 3, 1), date(2026, 3, 31))
    assert span("2026-03-04", SHANGHAI).days(UTC_ZONE) == (date(2026, 3, 3), date(2026, 3, 4))


FORM = "must be a date"
NO_DAY = "names a day or a time of day that does not exist"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(text, NO_DAY) for text in ("2026-02-29", "2026-13", "2026-00", "2026-04-31", "0000", "2026-03-04T09:60")]
    + [
        (text, FORM)
        for text in (
            "",
            "26",
            "2026-3",
            "2026-03-4",
            "20260304",
            "2026-W10",
            "2026-03-04T",
            "2026-03-04T09",
            "2026-03-04 09:30",
            "2026-03-04T9:30",
            "2026-03-04T24:00",
            "2026-03-04T09:30+08:60",
            "2026-03-04T09:30+0800",
            "2026-03-04T09:30:00.5",
            " 2026",
            "2026\n",
            "٢٠٢٦",
            "unknown",
        )
    ],
)
def test_what_is_no_moment_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        span(text, SHANGHAI)


@pytest.mark.parametrize("text", ["1879", "1879-12-31", "2200", "2200-01-01", "9999", "0001-01-01"])
def test_a_year_that_must_be_a_slip_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="between the years 1880 and 2199"):
        TypeAdapter(Moment).validate_python(text)


@pytest.mark.parametrize("text", ["1880", "1880-01-01", "2199-12-31", "2026-03-04T09:30:00+08:00"])
def test_a_moment_is_kept_as_it_was_written(text: str) -> None:
    assert TypeAdapter(Moment).validate_python(text) == text


@pytest.mark.parametrize(
    "text",
    ["2026", "2026-03", "2026-03-04T09:30", "2026-W10-3", "20260304", "2026-02-29", "1879-12-31", "2200-01-01"],
)
def test_a_day_is_a_whole_date_of_our_times_and_nothing_else(text: str) -> None:
    assert TypeAdapter(Day).validate_python("2026-03-04") == "2026-03-04"
    with pytest.raises(ValidationError):
        TypeAdapter(Day).validate_python(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-03-04T09:12:00Z", "2026-03-04T09:12:00"),
        ("2026-03-04T09:12:00+08:00", "2026-03-04T01:12:00"),
        ("2026-03-04T09:12:00-00:00", "2026-03-04T09:12:00"),
        ("2026-03-04T00:00:00+23:59", "2026-03-03T00:01:00"),
        ("2026-03-04T09:12:00.5Z", "2026-03-04T09:12:00.500000"),
        ("2026-03-04T09:12:00.123456789Z", "2026-03-04T09:12:00.123456"),
        ("2024-02-29T23:59:59.999999999Z", "2024-02-29T23:59:59.999999"),
    ],
)
def test_an_rfc_3339_time_is_read_as_utc_cut_to_microseconds(text: str, meant: str) -> None:
    assert instant(text) == utc(meant)
    assert instant(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(text, "must be an RFC 3339 time") for text in ("", "now", "2026-03-04", "2026-03-04T09:12:00", "1772586720")]
    + [
        (text, "must be an RFC 3339 time")
        for text in (
            "2026-03-04T09:12Z",
            "2026-03-04t09:12:00z",
            "2026-03-04T09:12:00.Z",
            "2026-03-04T09:12:00,5Z",
            "2026-03-04T09:12:00+08",
            "2026-03-04T09:12:00+24:00",
            "2026-03-04T24:00:00Z",
            "2026-03-04T09:12:00Z\n",
        )
    ]
    + [
        (text, NO_DAY)
        for text in (
            "2026-02-29T09:12:00Z",
            "2026-06-30T23:59:60Z",
            "2026-03-04T09:61:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        )
    ],
)
def test_what_is_no_rfc_3339_time_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        instant(text)


OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.dates(date(2, 1, 1), date(9998, 1, 1)), st.times(), OFFSETS)
def test_an_instant_survives_being_written(day: date, clock: time, offset: timezone) -> None:
    moment = datetime.combine(day, clock, offset)
    assert instant(stamp(moment)) == moment
    assert len(stamp(moment)) == 27
    assert instant(moment.isoformat(timespec="microseconds")) == moment


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_stamps_sort_like_the_instants_they_stand_for(one: datetime, other: datetime) -> None:
    assert (stamp(one) < stamp(other)) == (one < other)


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2026-03-31", 6, "2026-09-30"),
        ("2026-08-31", 6, "2027-02-28"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-11-30", 1, "2026-12-30"),
        ("2026-03-04", 0, "2026-03-04"),
        ("2026-03-31", -1, "2026-02-28"),
        ("2026-01-15", -1, "2025-12-15"),
        ("2026-03-31", -13, "2025-02-28"),
        ("2026-12-31", 12, "2027-12-31"),
    ],
)
def test_months_later_is_the_same_day_cut_to_the_months_last(day: str, months: int, later: str) -> None:
    assert add_months(date.fromisoformat(day), months) == date.fromisoformat(later)


@given(DATES, st.integers(-600, 600))
def test_months_move_by_exactly_that_many_and_keep_the_day_where_they_can(day: date, months: int) -> None:
    moved = add_months(day, months)
    assert moved.year * 12 + moved.month == day.year * 12 + day.month + months
    assert moved.day == day.day or (moved.day < day.day and (moved + timedelta(days=1)).day == 1)


@pytest.mark.parametrize(
    ("day", "years", "later"),
    [
        ("2008-02-29", 18, "2026-03-01"),
        ("2008-02-29", 20, "2028-02-29"),
        ("2008-02-28", 18, "2026-02-28"),
        ("2026-12-31", -1, "2025-12-31"),
        ("2024-02-29", -1, "2023-03-01"),
    ],
)
def test_an_anniversary_of_29_february_is_1_march_in_other_years(day: str, years: int, later: str) -> None:
    assert add_years(date.fromisoformat(day), years) == date.fromisoformat(later)


def test_an_hour_that_comes_twice_could_be_either() -> None:
    told = span("2026-11-01T01:30", ZoneInfo("America/New_York"))
    assert (told.first, told.end) == (instant("2026-11-01T05:30:00Z"), instant("2026-11-01T06:31:00Z"))
    assert span("2026-11-01T01:30-05:00", ZoneInfo("America/New_York")).first == instant("2026-11-01T06:30:00Z")
