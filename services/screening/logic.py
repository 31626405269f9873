"""Three-valued logic (Kleene): what is not known stays not known until it cannot matter."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

Truth = bool | None
"""True, False, or None: not known."""


def negate(truth: Truth) -> Truth:
    """Not."""
    return None if truth is None else not truth


def all_of(truths: Iterable[Truth]) -> Truth:
    """And: one False decides, else one None leaves it open; of nothing, True."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def any_of(truths: Iterable[Truth]) -> Truth:
    """Or: one True decides, else one None leaves it open; of nothing, False."""
    return negate(all_of(negate(truth) for truth in truths))


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers a measured value could be: a point, or what ``<0.2`` leaves possible.

    ``high`` None means no upper bound. An open end is not itself possible.
    """

    low: Decimal
    high: Decimal | None
    low_open: bool = False
    high_open: bool = False

    def at_most(self, limit: Decimal) -> Truth:
        """Whether the value is at most ``limit``: for all, none or some of the possible numbers."""
        if self.high is not None and self.high <= limit:
            return True
        if self.low > limit or (self.low == limit and self.low_open):
            return False
        return None

    def less_than(self, limit: Decimal) -> Truth:
        """Whether the value is below ``limit``: for all, none or some of the possible numbers."""
        if self.high is not None and (self.high < limit or (self.high == limit and self.high_open)):
            return True
        if self.low >= limit:
            return False
        return None

    def at_least(self, limit: Decimal) -> Truth:
        """Not less than."""
        return negate(self.less_than(limit))

    def more_than(self, limit: Decimal) -> Truth:
        """Not at most."""
        return negate(self.at_most(limit))
