"""Three-valued logic: what is not known stays not known until it cannot matter."""

from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.screening.logic import Range, Truth, all_of, any_of, negate

TRUTHS: tuple[Truth, ...] = (True, False, None)
truths = st.lists(st.sampled_from(TRUTHS), max_size=6)
numbers = st.integers(-3, 3).map(Decimal)
_RANK = {False: 0, None: 1, True: 2}


@pytest.mark.parametrize(("left", "right"), list(product(TRUTHS, TRUTHS)))
def test_and_is_the_lesser_and_or_the_greater_of_false_unknown_true(left: Truth, right: Truth) -> None:
    assert all_of([left, right]) is min(left, right, key=_RANK.__getitem__)
    assert any_of([left, right]) is max(left, right, key=_RANK.__getitem__)


def test_not_leaves_the_unknown_unknown() -> None:
    assert [negate(truth) for truth in TRUTHS] == [False, True, None]


def test_nothing_is_all_true_and_none_true() -> None:
    assert all_of([]) is True
    assert any_of([]) is False


@given(truths)
def test_de_morgan(parts: list[Truth]) -> None:
    assert negate(all_of(parts)) is any_of([negate(part) for part in parts])


@given(truths)
def test_order_does_not_matter(parts: list[Truth]) -> None:
    assert all_of(parts) is all_of(list(reversed(parts)))
    assert any_of(parts) is any_of(list(reversed(parts)))


@given(truths, st.data())
def test_forgetting_a_part_only_makes_the_whole_unknown(parts: list[Truth], data: st.DataObject) -> None:
    known = [None if data.draw(st.booleans()) else part for part in parts]
    assert all_of(known) in (all_of(parts), None)
    assert any_of(known) in (any_of(parts), None)


@given(numbers, numbers, st.booleans(), st.booleans(), numbers)
def test_a_range_says_what_holds_of_all_of_its_numbers(
    low: Decimal, width: Decimal, low_open: bool, high_open: bool, limit: Decimal
) -> None:
    width = abs(width) + 1
    possible = Range(low, low + width, low_open, high_open)
    # Quarters between whole ends and limits show every case: inside, touching, and between.
    inside = [low + step * Decimal("0.25") for step in range(int(width * 4) + 1)]
    inside = inside[low_open : len(inside) - high_open]
    for claimed, found in (
        (possible.at_most(limit), {number <= limit for number in inside}),
        (possible.less_than(limit), {number < limit for number in inside}),
    ):
        assert claimed is (found.pop() if len(found) == 1 else None)
    assert possible.at_least(limit) is negate(possible.less_than(limit))
    assert possible.more_than(limit) is negate(possible.at_most(limit))


@pytest.mark.parametrize(
    ("possible", "at_most_2", "less_than_2"),
    [
        (Range(Decimal(2), Decimal(2)), True, False),
        (Range(Decimal(0), Decimal(2), high_open=True), True, True),
        (Range(Decimal(0), Decimal(2)), True, None),
        (Range(Decimal(2), None, low_open=True), False, False),
        (Range(Decimal(2), None), None, False),
        (Range(Decimal(1), None), None, None),
    ],
    ids=["2", "<2", "<=2", ">2", ">=2", ">=1"],
)
def test_a_comparator_at_the_limit(possible: Range, at_most_2: Truth, less_than_2: Truth) -> None:
    assert possible.at_most(Decimal(2)) is at_most_2
    assert possible.less_than(Decimal(2)) is less_than_2
