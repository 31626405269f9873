"""The items a site may report, read from ``items.yaml`` and ``measurements.yaml`` beside this file."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict

AgeClass = Literal["laboratory", "imaging", "clinical", "lasting"]
EntryKind = Literal["treatment", "vaccination", "malignancy", "toxicity"]
Bounds = tuple[Annotated[Decimal, "lowest"], Annotated[Decimal, "highest"]]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    title: str
    loinc: tuple[str, ...] = ()


class Quantity(_Row):
    """A measured item: a number with a unit."""

    unit: str
    possible: Bounds
    molar: Decimal | None = None
    whole: bool = False
    qualifier: str | None = None
    ages: AgeClass


class Code(_Row):
    """A coded item: one of a few results; ``percent`` where a percentage belongs to it."""

    results: tuple[str, ...]
    percent: bool = False
    ages: AgeClass


class Topic(_Row):
    """A question answered yes, no or unknown."""

    ages: AgeClass


class History(_Row):
    """A list of a participant's treatments or conditions, complete as of a day."""

    entry: EntryKind
    ages: AgeClass


class Items(BaseModel):
    """The whole catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    quantities: dict[str, Quantity]
    codes: dict[str, Code]
    topics: dict[str, Topic]
    histories: dict[str, History]
    measurements: dict[str, Quantity]

    @cached_property
    def measured(self) -> Mapping[str, Quantity]:
        """What may be reported as measured for safety: the quantities of screening, and more."""
        return self.quantities | self.measurements

    def title(self, name: str) -> str:
        """What people call an item."""
        for table in (self.quantities, self.codes, self.topics, self.histories, self.measurements):
            if name in table:
                return table[name].title
        return name.replace("_", " ")


@lru_cache(maxsize=1)
def items() -> Items:
    """The catalogue, read once."""
    return Items.model_validate(_read("items.yaml") | _read("measurements.yaml"))


def _read(name: str) -> dict[str, object]:
    document = yaml.safe_load(files("shared.protocol").joinpath(name).read_text("utf-8"))
    assert isinstance(document, dict)
    return document
