"""Sealed times must agree with what outsiders have seen, and when: neither backdated nor postdated."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.anchors import TOLERANCE, Anchor, faults_of_times
from shared.moments import instant

NOON = instant("2026-03-04T12:00:00Z")
SECOND = timedelta(seconds=1)


def faults(sealed_at: list[datetime], *anchors: Anchor) -> list[tuple[int, str]]:
    return list(faults_of_times(anchors, lambda at: sealed_at[at] if at < len(sealed_at) else None))


def anchor(size: int, time: datetime = NOON) -> Anchor:
    return Anchor(size, time, "tsa-1")


def test_times_that_agree_with_every_anchor_are_without_fault() -> None:
    sealed_at = [NOON + minutes * timedelta(minutes=1) for minutes in range(10)]
    anchors = [anchor(size, sealed_at[size - 1] + SECOND) for size in range(1, 11)]
    assert faults(sealed_at, anchor(0), *anchors) == []


def test_an_entry_sealed_before_an_anchor_that_does_not_cover_it_was_backdated() -> None:
    [(index, sentence)] = faults([NOON, NOON, NOON - TOLERANCE - SECOND], anchor(2))
    assert index == 2
    assert sentence == (
        "entry 2 says it was sealed at 2026-03-04T11:54:59.000000Z, but tsa-1 stamped a checkpoint without it "
        "at 2026-03-04T12:00:00.000000Z: it was backdated"
    )


def test_an_entry_sealed_after_an_anchor_that_covers_it_was_postdated() -> None:
    [(index, sentence)] = faults([NOON, NOON + TOLERANCE + SECOND], anchor(2))
    assert index == 1
    assert sentence == (
        "entry 1 says it was sealed at 2026-03-04T12:05:01.000000Z, but tsa-1 stamped a checkpoint over 2 "
        "entries at 2026-03-04T12:00:00.000000Z: it was postdated"
    )


@pytest.mark.parametrize("sealed_at", [[NOON + TOLERANCE], [NOON, NOON - TOLERANCE]])
def test_clocks_may_be_apart_as_far_as_is_tolerated(sealed_at: list[datetime]) -> None:
    assert faults(sealed_at, anchor(1)) == []


def test_an_anchor_remembers_entries_that_were_cut_off() -> None:
    [(index, sentence)] = faults([NOON], anchor(1), anchor(3))
    assert index == 2
    assert sentence == (
        "entry 2 is missing, but tsa-1 stamped a checkpoint over 3 entries at 2026-03-04T12:00:00.000000Z: the "
        "log was cut"
    )


def test_the_first_entry_of_all_can_be_backdated_too() -> None:
    assert [index for index, _ in faults([NOON], anchor(0, NOON + 2 * TOLERANCE))] == [0]


def test_times_at_the_ends_of_the_calendar_are_compared_like_any_other() -> None:
    first, last = datetime.min.replace(tzinfo=NOON.tzinfo), datetime.max.replace(tzinfo=NOON.tzinfo)
    assert [index for index, _ in faults([last, last], anchor(1, first))] == [0]
    assert [index for index, _ in faults([first, first], anchor(1, last))] == [1]


MOMENTS = st.integers(-900, 900).map(lambda seconds: NOON + seconds * SECOND)


@given(st.lists(MOMENTS, min_size=1, max_size=12).map(sorted), st.lists(st.tuples(st.integers(0, 14), MOMENTS)))
def test_looking_at_two_entries_an_anchor_finds_whatever_looking_at_all_would(
    sealed_at: list[datetime], seen: list[tuple[int, datetime]]
) -> None:
    anchors = [anchor(size, time) for size, time in seen]
    for one in anchors:
        wrong = one.size > len(sealed_at) or any(
            at - one.time > TOLERANCE if index < one.size else one.time - at > TOLERANCE
            for index, at in enumerate(sealed_at)
        )
        assert bool(faults(sealed_at, one)) == wrong
    assert len(faults(sealed_at, *anchors)) == sum(len(faults(sealed_at, one)) for one in anchors)
