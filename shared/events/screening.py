"""What sites report about a participant, and what investigators sign."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.events.base import Data, Name, Number, SiteData, Text, Token, given
from shared.moments import Day, Moment
from shared.protocol.items import Quantity, items
from shared.protocol.units import UnitError, convert

Answer = Literal["yes", "no", "unknown"]


class Age(Data):
    """A completed age where a site may not give the birth date."""

    years: Annotated[int, Field(ge=0, le=120)]
    on: Moment


class Registered(SiteData):
    """A participant enters screening at the site that posts this."""

    sex: Literal["female", "male", "unknown"]
    birth_date: Moment | None = None
    age: Age | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return given(birth_date=self.birth_date, **({"age.on": self.age.on} if self.age else {}))


class Consented(SiteData):
    """The participant signed and dated a version of the informed consent form."""

    form_version: Name
    signed: Moment

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"signed": self.signed}


class Withdrawn(SiteData):
    """The participant withdrew from the trial."""

    on: Moment
    why: Text | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class Started(SiteData):
    """The first study procedure was done."""

    on: Moment

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class ReferenceRange(Data):
    """The laboratory's own limits of normal, in the value's unit."""

    low: Number | None = None
    high: Number | None = None


class Observed(SiteData):
    """A measured or coded item of the catalogue (``items.yaml``).

    A quantity has ``value`` and should have ``unit`` (UCUM); without one it counts as missing. A coded item
    has ``result``. ``qualifier`` tells apart what is measured several times at once: locus, formula.
    """

    item: Token
    collected: Moment
    value: Number | None = None
    comparator: Literal["<", "<=", ">", ">="] | None = None
    unit: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    reference: ReferenceRange | None = None
    result: Token | None = None
    qualifier: Name | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"collected": self.collected}

    @model_validator(mode="after")
    def _fits_the_catalogue(self) -> Self:
        catalogue = items()
        if self.item in self._quantities():
            self._check_quantity()
        elif self.item in catalogue.codes:
            code = catalogue.codes[self.item]
            if self.result not in code.results:
                raise ValueError(f"{self.item} needs a result, one of {', '.join(code.results)}")
            if self.value is not None and not (code.percent and 0 <= self.value <= 100):
                raise ValueError(f"{self.item} takes no value" + (" but a percentage" if code.percent else ""))
        else:
            raise ValueError(f"item {self.item} is not in the catalogue of items")
        return self

    def _quantities(self) -> Mapping[str, Quantity]:
        return items().quantities

    def _check_quantity(self) -> None:
        quantity = self._quantities()[self.item]
        if self.value is None or self.result is not None:
            raise ValueError(f"{self.item} needs a value and takes no result")
        if quantity.whole and (self.value != self.value.to_integral_value() or self.comparator):
            raise ValueError(f"{self.item} must be a whole number")
        if self.reference is not None:
            low, high = self.reference.low, self.reference.high
            if (low is not None and low < 0) or (high is not None and high <= 0):
                raise ValueError("a limit of normal must be positive")
            if low is not None and high is not None and low >= high:
                raise ValueError("the lower limit of normal must lie below the upper one")
        if self.value < 0:
            raise ValueError(f"{self.item} cannot be negative")
        if self.unit is None:
            return
        try:
            value = convert(self.value, self.unit, quantity.unit, quantity.molar)
        except UnitError as error:
            raise ValueError(str(error)) from None
        low, high = quantity.possible
        if not low <= value <= high and self.comparator is None:
            raise ValueError(
                f"{self.item} {_plain(self.value)} {self.unit} is impossible: "
                f"it must lie between {low} and {high} {quantity.unit}"
            )


class Attested(SiteData):
    """A yes-or-no question of the catalogue, answered from the participant's record on a day.

    ``occurred`` lists when, where the rule asks for it (E10.2: six months).
    """

    topic: Token
    answer: Answer
    on: Moment
    occurred: list[Moment] = Field(default_factory=list, max_length=50)
    detail: Text | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on} | {f"occurred[{at}]": when for at, when in enumerate(self.occurred)}

    @model_validator(mode="after")
    def _fits_the_catalogue(self) -> Self:
        if self.topic not in items().topics:
            raise ValueError(f"topic {self.topic} is not in the catalogue of items")
        if self.occurred and self.answer != "yes":
            raise ValueError("occurred goes with the answer yes")
        return self


class HistoryEntry(Data):
    """One line of a history; which fields it has depends on the history's kind in the catalogue.

    treatment: ``agent``, ``last`` (absent: ongoing), ``half_life_hours``, ``exempt``;
    vaccination: ``last`` (given) or ``planned``; malignancy: ``term``, ``radically_treated``,
    ``remission`` (complete, since), ``recurrence``; toxicity: ``term``, ``grade`` (CTCAE v5.0),
    ``from_prior_therapy``.
    """

    agent: Name | None = None
    last: Moment | None = None
    ongoing: bool | None = None
    half_life_hours: Number | None = None
    exempt: Literal["physiological_replacement", "under_protocol", "diagnostic_biopsy"] | None = None
    planned: Moment | None = None
    term: Name | None = None
    radically_treated: Answer | None = None
    remission: Moment | None = None
    recurrence: Answer | None = None
    grade: Annotated[int, Field(ge=0, le=5)] | None = None
    from_prior_therapy: Answer | None = None


_FIELDS: dict[str, tuple[frozenset[str], Callable[[HistoryEntry], bool], str]] = {
    "treatment": (
        frozenset({"agent", "last", "ongoing", "half_life_hours", "exempt"}),
        lambda entry: (entry.last is None) == (entry.ongoing is True),
        "a treatment needs either last (when it was last given) or ongoing: true",
    ),
    "vaccination": (
        frozenset({"agent", "last", "planned"}),
        lambda entry: (entry.last is None) != (entry.planned is None),
        "a vaccination needs either last (when it was given) or planned",
    ),
    "malignancy": (
        frozenset({"term", "radically_treated", "remission", "recurrence"}),
        lambda entry: entry.term is not None,
        "a malignancy needs a term",
    ),
    "toxicity": (
        frozenset({"term", "grade", "from_prior_therapy"}),
        lambda entry: entry.term is not None,
        "a toxicity needs a term",
    ),
}


class HistoryListed(SiteData):
    """A history of the catalogue, complete as of ``on``; an empty list says that there is nothing."""

    history: Token
    on: Moment
    entries: Annotated[list[HistoryEntry], Field(max_length=200)]

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        named = {"on": self.on}
        for at, entry in enumerate(self.entries):
            named |= given(**{f"entries[{at}].last": entry.last, f"entries[{at}].remission": entry.remission})
        return named

    @model_validator(mode="after")
    def _fits_the_catalogue(self) -> Self:
        if self.history not in items().histories:
            raise ValueError(f"history {self.history} is not in the catalogue of items")
        allowed, complete, sentence = _FIELDS[items().histories[self.history].entry]
        for entry in self.entries:
            foreign = sorted(entry.model_fields_set - allowed)
            if foreign:
                raise ValueError(f"an entry of {self.history} takes no {foreign[0]}")
            if not complete(entry):
                raise ValueError(sentence)
            if entry.half_life_hours is not None and not 0 < entry.half_life_hours <= 100_000:
                raise ValueError("half_life_hours must lie above 0 and at most at 100000")
        return self


class ConditionRecorded(SiteData):
    """A line of the medical history in the source's own terms, for people to read."""

    term: Name
    category: Name | None = None
    body_system: Name | None = None
    started: Moment | None = None
    ended: Moment | None = None


class InfusionPlanned(SiteData):
    """The day of the first infusion as planned now; ``last`` is the last planned infusion's day."""

    first: Day
    last: Day | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last is not None and self.last < self.first:
            raise ValueError("the last infusion cannot be planned before the first")
        return self


class Completed(SiteData):
    """Screening is completed: from here on a decision is sealed, and again whenever anything in it changes."""

    on: Moment

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class ScreenFailed(SiteData):
    """The site closes a participant as a screen failure: from that day on, time changes nothing for them."""

    on: Moment
    why: Text | None = None

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class Judged(SiteData):
    """The investigator's own judgement (E17): does anything interfere or add risk?"""

    interferes: bool
    statement: Text
    on: Moment

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"on": self.on}


class EnrolmentRequested(SiteData):
    """The site asks for one of the trial's places, at a dose level of the protocol."""

    dose_level: Token


class Retracted(SiteData):
    """An event should not have been recorded at all, for instance under the wrong participant."""

    @model_validator(mode="after")
    def _names_what(self) -> Self:
        if self.corrects is None:
            raise ValueError("a retraction needs corrects (the event's id) and reason")
        return self


class Infused(SiteData):
    """The study drug was infused. ``number`` counts the participant's infusions from 1."""

    at: Moment
    dose_level: Token
    number: Annotated[int, Field(ge=1, le=50)]

    @model_validator(mode="after")
    def _on_a_whole_day(self) -> Self:
        if len(self.at) < 10:
            raise ValueError("at must be a whole date, or a date and time: windows are counted from it")
        return self

    def dated(self) -> dict[str, str]:
        """See SiteData."""
        return {"at": self.at}


def _plain(value: Decimal) -> str:
    return format(value, "f")
