"""What all event data has in common: strict types, no unknown fields, corrections with a reason."""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from shared.moments import UTC_ZONE, span
from shared.words import RefusedError

Role = Literal[
    "root",  # named by the genesis entry; grants administrators
    "administrator",  # grants and revokes keys
    "log",  # the notary itself
    "screening",  # the screening service
    "site_system",  # a site's electronic source or its coordinator
    "investigator",  # a person who answers for a site's medical judgement
    "sponsor",  # the sponsor's configuration of the trial
    "safety",  # the safety service
    "medical_monitor",  # the sponsor's physician who assesses adverse events and reports them
    "cohort_committee",  # who decides on dose levels, on the engine's recommendation
    "coordinator",  # a person who records data at a site, as an investigator has delegated it
    "sub_investigator",  # a physician at a site who acts as an investigator has delegated it
    "safety_physician",  # the sponsor's physician who assesses and reports adverse events
    "monitor",  # the sponsor's monitor (CRA), who reviews the audit trail and queries the sites
    "auditor",  # reads everything, says nothing
    "inspector",  # an authority's auditor
]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _printable(text: str) -> str:
    # Control and direction-override characters could make a terminal or a page show another sentence.
    if _CONTROL.search(text):
        raise ValueError("must not hold control characters")
    return text


def _number(value: object) -> object:
    if type(value) is int:
        return Decimal(value)
    return value


def _single(text: str) -> str:
    return _printable(text)


MAX_TEXT: Final = 2000
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(_printable)]
"""A sentence or two by a person; or a private text (``shared.private_text``), which fits wherever one does."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=120), AfterValidator(_single)]
"""A short name: of a drug, a term, a person, a version."""

Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
EventId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
KeyIdText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Index = Annotated[int, Field(ge=0, le=2**53)]

Number = Annotated[Decimal, BeforeValidator(_number), Field(max_digits=20, allow_inf_nan=False)]
"""A JSON number, exact."""


class Data(BaseModel):
    """The data of any event."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SiteData(Data):
    """The data of a site's event. A correction is a new event that names the old one and says why."""

    corrects: EventId | None = None
    reason: Text | None = None

    @model_validator(mode="after")
    def _correction_says_why(self) -> Self:
        if (self.corrects is None) != (self.reason is None):
            raise ValueError("a correction needs both corrects (the event's id) and reason")
        return self

    def dated(self) -> dict[str, str]:
        """Fields that state when something happened, by name; none of them may lie in the future."""
        return {}


def given(**dates: str | None) -> dict[str, str]:
    """Only those dates that are given, by name."""
    return {name: when for name, when in dates.items() if when is not None}


_GRACE = timedelta(hours=26)


def check_dates(data: Data, now: datetime) -> None:
    """Refuse what claims to have happened after ``now``.

    A grace of a whole day covers time zones: a date is refused only when it is in the future everywhere.
    Raises RefusedError naming the field.
    """
    if not isinstance(data, SiteData):
        return
    for name, when in data.dated().items():
        if span(when, UTC_ZONE).first > now + _GRACE:
            raise RefusedError(f"data.{name}: {when} lies in the future")
