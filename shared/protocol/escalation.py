"""The dose-escalation rule as the trial's file states it: BOIN with its numbers, or the classical 3+3."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.events.base import Number
from shared.protocol.rule_kinds import Part


class Boin(Part):
    """The Bayesian optimal interval design (Liu & Yuan 2015), its interval 0.6 to 1.4 times the target.

    ``target`` is the DLT rate looked for, ``elimination`` the posterior probability of exceeding it above
    which a level is given up once ``eliminate_from`` participants count, ``most_per_level`` the number of
    participants after which no further one is treated at a level.
    """

    method: Literal["boin"]
    target: Number
    cohort_size: Annotated[int, Field(ge=1, le=30)]
    elimination: Number = Decimal("0.95")
    most_per_level: Annotated[int, Field(ge=1, le=100)]
    eliminate_from: Annotated[int, Field(ge=1, le=100)] = 3

    @field_validator("target")
    @classmethod
    def _target_the_interval_allows(cls, target: Decimal) -> Decimal:
        # The same limits as the authors' own software: beyond them the interval loses its meaning.
        if not Decimal("0.05") <= target <= Decimal("0.6"):
            raise ValueError(f"the target DLT rate must lie between 0.05 and 0.6, not at {target}")
        return target

    @field_validator("elimination")
    @classmethod
    def _elimination_is_confident(cls, elimination: Decimal) -> Decimal:
        if not Decimal("0.5") <= elimination < 1:
            raise ValueError(f"elimination is a probability of at least 0.5 and below 1, not {elimination}")
        return elimination

    @model_validator(mode="after")
    def _a_cohort_fits(self) -> Self:
        if self.most_per_level < self.cohort_size:
            raise ValueError(
                f"most_per_level is {self.most_per_level}, fewer than one cohort of {self.cohort_size} participants"
            )
        return self


class ThreePlusThree(Part):
    """The classical 3+3 rule (Storer 1989), which has no numbers to set."""

    method: Literal["3+3"]


Escalation = Annotated[Boin | ThreePlusThree, Field(discriminator="method")]
