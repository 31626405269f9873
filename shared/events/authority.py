"""The authority table, ``authority.yaml``, typed: who may submit which event and sign with which meaning."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from shared.events.base import Role
from shared.events.identity import Task
from shared.events.signatures import Meaning

DELEGATED: Final[frozenset[Role]] = frozenset({"coordinator", "sub_investigator"})
"""Roles that do only what an investigator of the site has delegated to the person."""

CORRECTIONS: Final = "corrections"
"""Stands in ``over`` for any entry that corrects or retracts another."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignatureRule(_Row):
    """Who may sign with one meaning, over which types of entry, and how many persons it needs."""

    roles: tuple[Role, ...]
    over: tuple[str, ...]
    task: Task | None = None
    persons: Annotated[int, Field(ge=1)] = 1


class Authority(_Row):
    """The whole table. ``events``: short event type -> role -> the first entry format in which it may."""

    events: Mapping[str, Mapping[Role | Literal["log"], int]]
    tasks: Mapping[Task, tuple[str, ...]]
    signatures: Mapping[Meaning, SignatureRule]

    def task_of(self, type_: str) -> Task | None:
        """The task that covers an event type; None where it needs no delegation."""
        return next((task for task, types in self.tasks.items() if type_ in types), None)


@cache
def authority() -> Authority:
    """The table as it comes with this program."""
    text = files("shared.events").joinpath("authority.yaml").read_text("utf-8")
    return Authority.model_validate(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506
