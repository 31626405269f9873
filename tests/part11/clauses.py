"""The clauses, as clauses.yaml has them."""

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

SOURCE = Path(__file__).with_name("clauses.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Clause(_Strict):
    """One row of the page."""

    id: str
    asks: str
    does: str
    remains: str
    see: list[str]
    beyond: str | None = None
    """Why no test could show it, where that is so."""


class Section(_Strict):
    """Some clauses under their heading."""

    heading: str
    clauses: list[Clause]


class Clauses(_Strict):
    """All of them, and in our words the points of E6(R3) and Annex 11 that they refer to."""

    sections: list[Section]
    points: dict[str, str]

    @property
    def all(self) -> list[Clause]:
        """In the order of the page."""
        return [clause for section in self.sections for clause in section.clauses]

    @model_validator(mode="after")
    def _all_there(self) -> "Clauses":
        ids = [clause.id for clause in self.all]
        seen = {point for clause in self.all for point in clause.see}
        for wrong, what in (
            ({one for one in ids if ids.count(one) > 1} | set(ids) & set(self.points), "are there twice"),
            (seen - set(ids) - set(self.points), "are referred to and not there"),
            (set(self.points) - seen, "are there and nothing refers to them"),
        ):
            if wrong:
                raise ValueError(f"{', '.join(sorted(wrong))}: these {what}")
        return self


@cache
def clauses() -> Clauses:
    """Read them."""
    return Clauses.model_validate(yaml.safe_load(SOURCE.read_text("utf-8")))
