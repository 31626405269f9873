"""A grade that the published scale gives; the investigator's signed grade stands beside it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Scale = Literal["CTCAE 5.0", "ASTCT 2019", "Harris 2016"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The grade of one term. ``grade`` 0 is none; None cannot be told, and ``arithmetic`` says why.

    ``clinical``: signs that no number holds could raise the grade, so that it is "at least" this one.
    ``source``: where the scale has the term. ``most``: of a grade that cannot be told, the highest that it could
    be, where that much is certain. Grade 5 is death and never proposed.
    """

    term: str
    grade: int | None
    scale: Scale
    source: str
    clinical: bool
    # Tens of thousands of results are graded and few are read: the sentence is made when it is asked for.
    explain: Callable[[], str] = field(compare=False, repr=False)
    most: int | None = None

    @property
    def arithmetic(self) -> str:
        """One sentence for a doctor: the values, the limits and what decided."""
        return self.explain()
