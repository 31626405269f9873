"""Which adverse events are treatment-emergent: every window to its edge, and what a partial date means."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.safety.emergence import Emergent, death, emergent
from shared.events import Data
from shared.moments import span
from shared.protocol.safety import Emergence
from tests.adverse_event import SHANGHAI, assessed, died, event, reported, resolved, updated

DAY = date(2026, 3, 4)
TIMED = "2026-03-04T10:00"
STUDY = Emergence(first_day=0, last_day=28, worsening=True, partial_dates="emergent")
PILOT = Emergence(first_day=1, last_day=None, worsening=False, partial_dates="earliest")


def changed(rules: Emergence, **settings: Any) -> Emergence:
    return Emergence.model_validate(rules.model_dump() | settings)


def after(days: int) -> str:
    return (DAY + timedelta(days=days)).isoformat()


def judged(*said: Data, exposure: str = TIMED, rules: Emergence = STUDY) -> Emergent:
    return emergent(event(*said), span(exposure, SHANGHAI), rules, SHANGHAI)


def verdict(*said: Data, exposure: str = TIMED, rules: Emergence = STUDY) -> tuple[bool, bool]:
    result = judged(*said, exposure=exposure, rules=rules)
    assert all(result.arithmetic), "every ruling says why"
    return result.counts, result.certain


@pytest.mark.parametrize(
    ("first_day", "last_day", "last_offset"), [(0, 28, 28), (1, 28, 27), (0, 1, 1), (1, 1, 0), (1, 365, 364)]
)
def test_the_window_ends_with_its_last_day_and_not_a_minute_later(
    first_day: int, last_day: int, last_offset: int
) -> None:
    rules = changed(STUDY, first_day=first_day, last_day=last_day)
    inside, outside = (True, True), (False, True)
    assert verdict(reported(onset=f"{after(last_offset)}T23:59"), rules=rules) == inside
    assert verdict(reported(onset=f"{after(last_offset + 1)}T00:00"), rules=rules) == outside
    if last_offset:
        assert verdict(reported(onset=after(last_offset)), rules=rules) == inside
    assert verdict(reported(onset=after(last_offset + 1)), rules=rules) == outside


@pytest.mark.parametrize(
    ("onset", "counts", "certain"),
    [
        ("2026-03-03", False, True),
        ("2026-03-04T09:59", False, True),
        ("2026-03-04T10:00", True, False),
        ("2026-03-04T10:01", True, True),
        ("2026-03-04T02:30+00:00", True, True),
        ("2026-03-04", True, False),
        ("2026-03-05", True, True),
        ("2026-03", True, False),
        ("2026-02", False, True),
        ("2026-04", True, False),
        ("2026-05", False, True),
        ("2026", True, False),
        ("2025", False, True),
        (None, True, False),
    ],
)
def test_a_date_that_could_go_either_way_counts_and_says_so(onset: str | None, counts: bool, certain: bool) -> None:
    result = judged(reported(onset=onset))
    assert (result.counts, result.certain) == (counts, certain)
    assert ("it could be either way, so it counts as emergent" in result.arithmetic) is not certain


def test_without_a_last_day_the_window_never_ends() -> None:
    endless = changed(STUDY, last_day=None)
    assert verdict(reported(onset="2199-12-31"), rules=endless) == (True, True)
    assert verdict(reported(onset="2026-03-03"), rules=endless) == (False, True)


def test_a_partial_first_exposure_widens_both_edges() -> None:
    assert verdict(reported(onset="2026-03-10"), exposure="2026-03") == (True, False)
    assert verdict(reported(onset="2026-02-28"), exposure="2026-03") == (False, True)
    assert verdict(reported(onset="2026-04-28"), exposure="2026-03") == (True, False)
    assert verdict(reported(onset="2026-04-29"), exposure="2026-03") == (False, True)


@pytest.mark.parametrize(
    ("onset", "counts", "certain"),
    [
        ("2026-03-03", False, True),
        ("2026-03-04T09:59", True, True),
        ("2026-03-04", True, True),
        ("2030-01-01", True, True),
        ("2026-03", False, False),
        ("2026-02", False, True),
        ("2026-04", True, True),
        ("2026", False, False),
        (None, False, False),
    ],
)
def test_the_earliest_day_it_could_be_decides_where_the_trial_says_so(
    onset: str | None, counts: bool, certain: bool
) -> None:
    assert verdict(reported(onset=onset), rules=PILOT) == (counts, certain)
    # Days and not times are compared, also where the exposure's time is known and where it is not.
    assert verdict(reported(onset=onset), rules=PILOT, exposure="2026-03-04") == (counts, certain)


def test_the_earliest_day_is_held_against_the_last_day_too() -> None:
    rules = changed(PILOT, first_day=0, last_day=28)
    assert verdict(reported(onset="2026-04"), rules=rules) == (True, False)
    assert verdict(reported(onset="2026-02"), exposure="2026-02-15", rules=rules) == (False, False)
    assert verdict(reported(onset="2026-03"), exposure="2026-03", rules=rules) == (True, False)
    assert verdict(reported(onset=after(28)), rules=rules) == (True, True)
    assert verdict(reported(onset=after(29)), rules=rules) == (False, True)


@pytest.mark.parametrize("onset", [None, "2026-03", "2026", "2026-02-27"])
def test_what_was_over_before_the_first_exposure_did_not_emerge_after_it(onset: str | None) -> None:
    assert verdict(reported(onset=onset, ended="2026-03-03")) == (False, True)
    assert verdict(reported(onset=onset, ended="2026-03-04T09:00")) == (False, True)
    assert verdict(reported(onset=onset, ended="2026-03-04T09:00"), rules=PILOT)[0] is False


def test_an_end_before_the_onset_takes_nothing_away() -> None:
    assert verdict(reported(onset="2026-03-06"), resolved("2026-03-02")) == (True, True)
    assert verdict(reported(onset="2026-03-04"), resolved("2026-03-02")) == (True, False)


BEFORE = "2026-02-20"


@pytest.mark.parametrize(
    ("said", "counts", "certain"),
    [
        ([reported(onset=BEFORE, grade=1), updated("2026-03-06", grade=2)], True, True),
        ([reported(onset=BEFORE, grade=2), updated("2026-03-06", grade=2)], False, True),
        ([reported(onset=BEFORE, grade=2), updated("2026-03-06", grade=1)], False, True),
        ([reported(onset=BEFORE, grade=1), updated("2026-03-03", grade=2)], False, True),
        ([reported(onset=BEFORE, grade=1), updated(after(28), grade=2)], True, True),
        ([reported(onset=BEFORE, grade=1), updated(after(29), grade=2)], False, True),
        # The grade at the first exposure counts, and not the highest before it.
        (
            [reported(onset=BEFORE, grade=3), updated("2026-03-01", grade=1), updated("2026-03-06", grade=2)],
            True,
            True,
        ),
        (
            [reported(onset=BEFORE, grade=1), updated("2026-03-01", grade=3), updated("2026-03-06", grade=3)],
            False,
            True,
        ),
        # It improved in the window and then came back to what it was.
        (
            [reported(onset=BEFORE, grade=2), updated("2026-03-06", grade=1), updated("2026-03-09", grade=2)],
            False,
            True,
        ),
        # On the day of the infusion itself: before it or after it.
        ([reported(onset=BEFORE, grade=1), updated("2026-03-04", grade=2)], True, False),
        (
            [reported(onset=BEFORE, grade=1), updated("2026-03-04", grade=3), updated("2026-03-09", grade=3)],
            True,
            False,
        ),
        (
            [reported(onset=BEFORE, grade=1), updated("2026-03-04", grade=2), updated("2026-03-09", grade=3)],
            True,
            True,
        ),
        # Nobody has stated how severe it was at the first exposure.
        ([reported(onset=BEFORE), updated("2026-03-06", grade=2)], True, False),
        ([reported(onset=BEFORE), updated("2026-03-06", grade=1)], False, True),
        # However the onset lies, the grade rose inside.
        ([reported(onset="2026", grade=1), updated("2026-03-06", grade=2)], True, True),
        ([reported(onset=BEFORE, severity="mild"), updated("2026-03-06", severity="severe")], True, True),
    ],
)
def test_an_event_from_before_counts_when_its_grade_rises_in_the_window(
    said: list[Data], counts: bool, certain: bool
) -> None:
    assert verdict(*said) == (counts, certain)
    assert verdict(*said, rules=changed(STUDY, worsening=False))[0] is (said[0].onset == "2026")  # type: ignore[attr-defined]


def test_under_the_earliest_day_a_dated_worsening_places_an_event_without_onset() -> None:
    rules = changed(PILOT, worsening=True)
    rising = [reported(grade=1), updated("2026-03-04", grade=2)]
    assert verdict(*rising, rules=rules) == (True, True)
    assert verdict(reported(grade=1), updated("2026-03", grade=2), rules=rules) == (False, False)
    assert judged(reported(grade=1), rules=rules).arithmetic[-1].startswith("without a date it cannot be placed")


@pytest.mark.parametrize(
    ("fatal", "counts", "certain"),
    [
        (died("2026-03-20"), True, True),
        (resolved("2026-03-20", "fatal"), True, True),
        (died("2026-04-02"), False, True),
        (died("2026-04"), True, False),
        (updated("2026-03-06", serious=["death"]), True, False),
    ],
)
def test_a_death_is_a_worsening(fatal: Data, counts: bool, certain: bool) -> None:
    assert verdict(reported(onset=BEFORE, grade=3), fatal) == (counts, certain)


def test_the_death_is_dated_by_the_death_itself() -> None:
    said = [
        reported(onset=BEFORE, grade=5),
        resolved("2026-03-21", "fatal"),
        died("2026-03-20"),
        assessed("possible"),
    ]
    known = death(event(*said), SHANGHAI)
    assert known is not None
    assert (known.since, known.index) == (span("2026-03-20", SHANGHAI), 102)
    by_outcome = death(event(*said[:2]), SHANGHAI)
    assert by_outcome is not None
    assert by_outcome.since == span("2026-03-21", SHANGHAI)
    by_update = death(event(reported(onset=BEFORE, grade=2), updated("2026-03-19", grade=5)), SHANGHAI)
    assert by_update is not None
    assert by_update.since == span("2026-03-19", SHANGHAI)
    of_unknown_day = death(event(said[0]), SHANGHAI)
    assert of_unknown_day is not None
    assert of_unknown_day.since is None
    assert death(event(reported(onset=BEFORE, grade=4)), SHANGHAI) is None


@pytest.mark.parametrize(
    ("onset", "sentence"),
    [
        ("2026-03-07", "onset 2026-03-07, day 3 of the window of days 0 to 28"),
        ("2026-03-03", "onset 2026-03-03, 1 day before the day of the first exposure: before the first exposure "),
        ("2026-04-02", "onset 2026-04-02, day 29: after the window of days 0 to 28"),
        ("2026-03-04T09:30", "onset 2026-03-04T09:30, day 0: before the first exposure (2026-03-04T10:00)"),
        (
            "2026-03-04",
            "day 0 of the window of days 0 to 28: possibly before the first exposure (2026",
        ),
        (
            "2026-03",
            "and 2026-03-31, between 3 days before the day of the first exposure and day 27 of the window",
        ),
        ("2026-04", "between day 28 and day 57 of the window of days 0 to 28: possibly after its last day"),
        (None, "onset at a time that nobody has stated"),
    ],
)
def test_the_sentence_counts_the_days(onset: str | None, sentence: str) -> None:
    assert sentence in judged(reported(onset=onset)).arithmetic[0]


MOMENTS = st.builds(
    lambda offset, form: f"{DAY + timedelta(days=offset)}T10:00"[
        : {"time": 16, "day": 10, "month": 7, "year": 4}[form]
    ],
    st.integers(-40, 70),
    st.sampled_from(["time", "day", "month", "year"]),
)


@given(
    onset=MOMENTS,
    length=st.sampled_from([10, 7, 4, 0]),
    exposure=st.sampled_from([TIMED, "2026-03-04", "2026-03"]),
    ended=st.none() | MOMENTS,
    later=st.none() | st.tuples(MOMENTS, st.integers(1, 4)),
    grade=st.none() | st.integers(1, 4),
    last_day=st.sampled_from([None, 1, 28]),
    worsening=st.booleans(),
)
def test_a_date_known_less_exactly_never_takes_an_event_out(
    onset: str,
    length: int,
    exposure: str,
    ended: str | None,
    later: tuple[str, int] | None,
    grade: int | None,
    last_day: int | None,
    worsening: bool,
) -> None:
    begins = span(onset, SHANGHAI)
    assume(ended is None or span(ended, SHANGHAI).end > begins.first)
    rules = changed(STUDY, last_day=last_day, worsening=worsening)
    updates = [] if later is None else [updated(later[0], grade=later[1])]
    exact = judged(reported(onset=onset, ended=ended, grade=grade), *updates, exposure=exposure, rules=rules)
    loose = judged(
        reported(onset=onset[:length] or None, ended=ended, grade=grade), *updates, exposure=exposure, rules=rules
    )
    assert loose.counts or not exact.counts
    if loose.certain:
        assert loose.counts is exact.counts
