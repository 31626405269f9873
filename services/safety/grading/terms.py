"""CTCAE v5.0's measured terms, read from ``ctcae.yaml`` beside this file and made ready to compare with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.protocol.items import items
from shared.protocol.units import EXACT, UnitError, factor

Limit = Literal["uln", "lln", "baseline", "uln_and_baseline"]
Condition = Literal["always", "baseline_normal", "baseline_abnormal", "anticoagulated", "not_anticoagulated"]
Comparison = Literal["more_than", "at_least", "less_than", "at_most"]
Grade = Annotated[int, Field(ge=1, le=4)]

_HALF = Decimal("0.5")


def _exact(number: object) -> object:
    # A cut is written as text or as a whole number; a binary float would not be what the document prints.
    return Decimal(number) if type(number) in (int, str) else number  # type: ignore[arg-type]


Cut = Annotated[Decimal, BeforeValidator(_exact), Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Cuts(_Part):
    """The cut at which each grade begins, by how a value meets it; all of them upwards, or all downwards."""

    more_than: dict[Grade, Cut] = Field(default_factory=dict)
    at_least: dict[Grade, Cut] = Field(default_factory=dict)
    less_than: dict[Grade, Cut] = Field(default_factory=dict)
    at_most: dict[Grade, Cut] = Field(default_factory=dict)

    @property
    def upwards(self) -> bool:
        """Whether higher values are worse."""
        return bool(self.more_than or self.at_least)

    def in_order(self) -> list[tuple[int, Comparison, Decimal]]:
        """Grade, comparison and cut, mildest first."""
        return sorted(self._listed())

    def _listed(self) -> Iterator[tuple[int, Comparison, Decimal]]:
        for grade, cut in self.more_than.items():
            yield grade, "more_than", cut
        for grade, cut in self.at_least.items():
            yield grade, "at_least", cut
        for grade, cut in self.less_than.items():
            yield grade, "less_than", cut
        for grade, cut in self.at_most.items():
            yield grade, "at_most", cut

    @model_validator(mode="after")
    def _climbs(self) -> Self:
        rungs = self.in_order()
        if not rungs or (self.upwards and (self.less_than or self.at_most)):
            raise ValueError("a ladder has cuts, all upwards or all downwards")
        for (grade, _, milder), (next_grade, _, graver) in pairwise(rungs):
            if grade == next_grade or (graver > milder) != self.upwards or graver == milder:
                raise ValueError(f"grade {next_grade} must begin beyond grade {grade}")
        return self


Printed = Annotated[dict[str, Cuts], Field(min_length=1)]


class Absolute(_Part):
    """The value itself, in each unit in which the document prints cuts."""

    ladder: Literal["absolute"]
    when: Condition = "always"
    whole: bool = False
    printed: Printed


class Multiple(_Part):
    """The value as a multiple of a limit of normal or of the baseline."""

    ladder: Literal["multiple"]
    when: Condition = "always"
    of: Limit
    times: Cuts


class Difference(_Part):
    """The value's distance from a limit of normal or from the baseline, upwards positive."""

    ladder: Literal["difference"]
    when: Condition = "always"
    of: Limit
    whole: bool = False
    printed: Printed


class Signs(_Part):
    """What no number tells, and the highest grade that it can make of an abnormal value."""

    grade: Grade
    what: str


class TermRow(_Part):
    """One term of the document, for one item."""

    term: str
    system_organ_class: Annotated[str, Field(alias="class")]
    meddra: int
    item: str
    ladders: Annotated[
        tuple[Annotated[Absolute | Multiple | Difference, Field(discriminator="ladder")], ...],
        Field(strict=False, min_length=1),
    ]
    signs: Signs | None = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.item not in items().measured:
            raise ValueError(f"{self.item} is not a quantity of the catalogue of items")
        return self


class _Document(_Part):
    terms: Annotated[tuple[TermRow, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class Rung:
    """A grade and the cut where it begins. ``shown`` is the cut as printed, before rounding is allowed for."""

    grade: int
    cut: Decimal
    inclusive: bool
    comparison: Comparison
    shown: Decimal


@dataclass(frozen=True, eq=False, slots=True)
class Ladder:
    """Rungs in order, mildest first, in each unit in which they are printed (``""`` for multiples).

    ``of`` is what the rungs are multiples of or distances from; None for the value itself.
    """

    of: Limit | None
    multiple: bool
    when: Condition
    upwards: bool
    whole: bool
    item: str
    printed: Mapping[str, tuple[Rung, ...]]

    @property
    def top(self) -> int:
        """The highest grade that it can give."""
        return max(rung.grade for rungs in self.printed.values() for rung in rungs)


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """A term of the document, ready to grade one item."""

    name: str
    system_organ_class: str
    meddra: int
    item: str
    ladders: tuple[Ladder, ...]
    signs: Signs | None
    by_baseline: bool

    @property
    def source(self) -> str:
        """Where the document has the term."""
        return f"CTCAE v5.0, {self.system_organ_class}"


@lru_cache(maxsize=1)
def terms() -> Mapping[str, tuple[Term, ...]]:
    """The terms of each item, in the document's order; read and checked once."""
    text = files("services.safety.grading").joinpath("ctcae.yaml").read_text("utf-8")
    made: dict[str, tuple[Term, ...]] = {}
    for row in _Document.model_validate(yaml.safe_load(text)).terms:
        ladders = tuple(_ladder(part, row.item) for part in row.ladders)
        by_baseline = any(ladder.when in ("baseline_normal", "baseline_abnormal") for ladder in ladders)
        term = Term(
            row.term, row.system_organ_class, row.meddra, row.item, ladders, row.signs, by_baseline=by_baseline
        )
        made[row.item] = (*made.get(row.item, ()), term)
    return made


@lru_cache(maxsize=4096)
def rungs_in(ladder: Ladder, unit: str) -> tuple[Rung, ...]:
    """A ladder's rungs for values in ``unit``.

    The cuts that the document prints for the value's own kind of unit (mass or amount of substance) judge it; only
    where it prints none are they converted by the molar mass.

    Raises UnitError when none of the printed units converts.
    """
    if unit in ladder.printed:
        return ladder.printed[unit]
    if "" in ladder.printed:
        return ladder.printed[""]
    for molar in (None, items().measured[ladder.item].molar):
        for printed, rungs in ladder.printed.items():
            try:
                made = factor(printed, unit, molar)
            except UnitError:
                continue
            return tuple(
                Rung(
                    rung.grade,
                    EXACT.multiply(rung.cut, made),
                    rung.inclusive,
                    rung.comparison,
                    EXACT.multiply(rung.shown, made).normalize(EXACT),
                )
                for rung in rungs
            )
    raise UnitError(f"the unit {unit} cannot be converted to {' or '.join(ladder.printed)}")


def _ladder(part: Absolute | Multiple | Difference, item: str) -> Ladder:
    multiple = isinstance(part, Multiple)
    printed = {"": part.times} if isinstance(part, Multiple) else part.printed
    whole = False if isinstance(part, Multiple) else part.whole
    return Ladder(
        of=None if isinstance(part, Absolute) else part.of,
        multiple=multiple,
        when=part.when,
        upwards=next(iter(printed.values())).upwards,
        whole=whole,
        item=item,
        printed={
            unit: tuple(_rung(*step, whole=whole) for step in cuts.in_order()) for unit, cuts in printed.items()
        },
    )


def _rung(grade: int, comparison: Comparison, shown: Decimal, *, whole: bool) -> Rung:
    # Rounded to a whole number, halves up, a value is at least 481 exactly when it is at least 480.5 itself.
    if whole and comparison == "at_least":
        return Rung(grade, shown - _HALF, inclusive=True, comparison=comparison, shown=shown)
    if whole and comparison == "at_most":
        return Rung(grade, shown + _HALF, inclusive=False, comparison=comparison, shown=shown)
    return Rung(grade, shown, comparison in ("at_least", "at_most"), comparison, shown)
