"""The kinds of rules a protocol is made of; each is a statement about a participant, true, false or not known."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.events.base import Number
from shared.protocol.items import EntryKind, items
from shared.protocol.units import UnitError, factor


class Part(BaseModel):
    """A part of a protocol document: strict types, no unknown keys, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _quantity(name: str) -> str:
    if name not in items().quantities:
        raise ValueError(f"{name} is not a quantity of the catalogue of items")
    return name


def _code(name: str) -> str:
    if name not in items().codes:
        raise ValueError(f"{name} is not a coded item of the catalogue of items")
    return name


def _topic(name: str) -> str:
    if name not in items().topics:
        raise ValueError(f"{name} is not a topic of the catalogue of items")
    return name


def _history_of(kind: EntryKind) -> AfterValidator:
    def check(name: str) -> str:
        if name not in items().histories or items().histories[name].entry != kind:
            raise ValueError(f"{name} is not a {kind} history of the catalogue of items")
        return name

    return AfterValidator(check)


QuantityName = Annotated[str, AfterValidator(_quantity)]
CodeName = Annotated[str, AfterValidator(_code)]
TopicName = Annotated[str, AfterValidator(_topic)]
TreatmentName = Annotated[str, _history_of("treatment")]
Positive = Annotated[Number, Field(gt=0)]
Days = Annotated[int, Field(ge=0, le=3660)]
Months = Annotated[int, Field(ge=1, le=120)]
Exemption = Literal["physiological_replacement", "under_protocol", "diagnostic_biopsy"]
Comparison = Literal["at_most", "less_than", "at_least", "more_than"]


class AgeAtConsent(Part):
    """The participant had completed at least so many years on the day of the first consent."""

    rule: Literal["age_at_consent"]
    at_least: Annotated[int, Field(ge=0, le=120)]


class ConsentedFirst(Part):
    """A consent form was signed and dated before the first study procedure."""

    rule: Literal["consented_first"]


class Sex(Part):
    """The recorded sex is one of these."""

    rule: Literal["sex"]
    one_of: Annotated[tuple[Literal["female", "male", "unknown"], ...], Field(strict=False, min_length=1)]


class Coded(Part):
    """The latest result of a coded item is one of these."""

    rule: Literal["coded"]
    item: CodeName
    one_of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _results_exist(self) -> Self:
        for result in self.one_of:
            if result not in items().codes[self.item].results:
                raise ValueError(f"{result} is not a result of {self.item}")
        return self


class Measured(Part):
    """A quantity lies on one side of a limit, which is stated in ``unit`` (UCUM).

    ``choose`` says which value counts: the latest, or the maximum of all fresh ones.
    """

    rule: Literal["measured"]
    item: QuantityName
    choose: Literal["latest", "maximum"] = "latest"
    unit: Annotated[str, Field(min_length=1, max_length=40)]
    at_most: Number | None = None
    less_than: Number | None = None
    at_least: Number | None = None
    more_than: Number | None = None

    @property
    def limit(self) -> tuple[Comparison, Number]:
        """The comparison and its number."""
        given = [(name, number) for name, number in self._limits() if number is not None]
        return given[0]

    def _limits(self) -> Iterator[tuple[Comparison, Number | None]]:
        yield "at_most", self.at_most
        yield "less_than", self.less_than
        yield "at_least", self.at_least
        yield "more_than", self.more_than

    @model_validator(mode="after")
    def _one_limit_in_a_fitting_unit(self) -> Self:
        if sum(number is not None for _, number in self._limits()) != 1:
            raise ValueError("needs exactly one of at_most, less_than, at_least, more_than")
        quantity = items().quantities[self.item]
        try:
            factor(quantity.unit, self.unit, quantity.molar)
        except UnitError as error:
            raise ValueError(str(error)) from None
        return self


class TimesUln(Part):
    """A quantity is at most so many times the laboratory's own upper limit of normal."""

    rule: Literal["times_uln"]
    item: QuantityName
    at_most: Positive


class CreatinineClearance(Part):
    """The Cockcroft-Gault creatinine clearance, in mL/min, is at least this."""

    rule: Literal["creatinine_clearance"]
    at_least: Positive


class Attested(Part):
    """The question is answered yes."""

    rule: Literal["attested"]
    topic: TopicName


class Judged(Part):
    """The investigator judges that something interferes or adds risk."""

    rule: Literal["judged"]


class Window(Part):
    """A time before the reference day, both ends included, in days or in months."""

    days: Days | None = None
    months: Months | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.days is None) == (self.months is None):
            raise ValueError("needs either days or months")
        return self


class AttestedWithin(Window):
    """The question is answered yes, and it occurred within the window."""

    rule: Literal["attested_within"]
    topic: TopicName


class TreatedWithin(Window):
    """A treatment was given within the window, unless exempt."""

    rule: Literal["treated_within"]
    history: TreatmentName
    exempt: Exemption | None = None


class Washout(Part):
    """An agent was given within so many of its half-lives, and within so many days whatever its half-life."""

    rule: Literal["washout"]
    history: TreatmentName
    days: Days
    half_lives: Annotated[int, Field(ge=1, le=20)]
    exempt: Exemption | None = None


class Vaccinated(Part):
    """A vaccine was given within ``days_before`` the first infusion, or is planned until after the last."""

    rule: Literal["vaccinated"]
    history: Annotated[str, _history_of("vaccination")]
    days_before: Days
    days_after_last: Days


class OtherMalignancy(Part):
    """Another malignancy, unless in remission for longer than this after radical treatment, unrecurred."""

    rule: Literal["other_malignancy"]
    history: Annotated[str, _history_of("malignancy")]
    remission_years: Annotated[int, Field(ge=0, le=50)]


class ResidualToxicity(Part):
    """A toxicity of prior therapy above this CTCAE grade."""

    rule: Literal["residual_toxicity"]
    history: Annotated[str, _history_of("toxicity")]
    above_grade: Annotated[int, Field(ge=0, le=4)]


class AllOf(Part):
    """Every part is true."""

    rule: Literal["all_of"]
    parts: Annotated["tuple[Rule, ...]", Field(strict=False, min_length=2)]


class AnyOf(Part):
    """At least one part is true."""

    rule: Literal["any_of"]
    parts: Annotated["tuple[Rule, ...]", Field(strict=False, min_length=2)]


class OnlyIf(Part):
    """``then`` holds for those of whom ``condition`` is true; the others it does not concern: true."""

    rule: Literal["only_if"]
    condition: "Rule"
    then: "Rule"


Rule = Annotated[
    AgeAtConsent
    | ConsentedFirst
    | Sex
    | Coded
    | Measured
    | TimesUln
    | CreatinineClearance
    | Attested
    | Judged
    | AttestedWithin
    | TreatedWithin
    | Washout
    | Vaccinated
    | OtherMalignancy
    | ResidualToxicity
    | AllOf
    | AnyOf
    | OnlyIf,
    Field(discriminator="rule"),
]
