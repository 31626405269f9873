"""The protocol document: a trial's criteria as typed rules, each beside the registry's own wording.

A criterion's rule is a *statement* about a participant. An inclusion is met when its statement is true, an
exclusion is met (it applies) when its statement is true; what cannot be told true or false is undetermined.
"""

import hashlib
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from shared.events.base import Name, Text, Token
from shared.protocol.items import AgeClass
from shared.protocol.rule_kinds import Days, Part, Rule
from shared.protocol.safety import SafetyPlan
from shared.protocol.zones import ZoneName
from shared.words import TrailError

MAX_NESTING = 24


CriterionId = Annotated[str, StringConstraints(pattern=r"^[IE][1-9][0-9]?(\.[1-9][0-9]?)?$")]
AssumptionId = Annotated[str, StringConstraints(pattern=r"^A[1-9][0-9]?$")]


class SubCriterion(Part):
    """One item under a criterion."""

    id: CriterionId
    registry: Text
    rule: Rule
    assumptions: Annotated[tuple[AssumptionId, ...], Field(strict=False)] = ()


class Criterion(Part):
    """A criterion: the registry's wording, and either a rule or the items that make it up."""

    id: CriterionId
    registry: Text
    rule: Rule | None = None
    items: Annotated[tuple[SubCriterion, ...], Field(strict=False)] = ()
    assumptions: Annotated[tuple[AssumptionId, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _rule_or_items(self) -> Self:
        if (self.rule is None) == (not self.items):
            raise ValueError(f"{self.id} needs either a rule or items")
        for item in self.items:
            if not item.id.startswith(f"{self.id}."):
                raise ValueError(f"{item.id} cannot stand under {self.id}")
        return self


class Assumption(Part):
    """What the registry does not say, and what is taken instead until somebody confirms it."""

    id: AssumptionId
    text: Text
    value: Text
    status: Literal["open", "confirmed"]


class DoseLevel(Part):
    """A dose level the sponsor has configured; ``illustrative`` ones are a demonstration's."""

    id: Token
    dose: Text
    illustrative: bool


class Protocol(Part):
    """One version of a trial's protocol."""

    trial: Token
    version: Name
    title: Text
    reference: Text
    places: Annotated[int, Field(ge=1, le=100_000)]
    timezone: ZoneName
    site_timezones: dict[Annotated[str, StringConstraints(pattern=r"^site/[A-Za-z0-9_-]{1,64}$")], ZoneName]
    dose_levels: Annotated[tuple[DoseLevel, ...], Field(strict=False, min_length=1)]
    validity_days: dict[AgeClass, Days | None]
    inclusion: Annotated[tuple[Criterion, ...], Field(strict=False, min_length=1)]
    exclusion: Annotated[tuple[Criterion, ...], Field(strict=False, min_length=1)]
    assumptions: Annotated[tuple[Assumption, ...], Field(strict=False)]
    safety: SafetyPlan | None = None

    def zone(self, source: str) -> ZoneInfo:
        """The time zone in which a source's dates are meant."""
        return ZoneInfo(self.site_timezones.get(source, self.timezone))

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Every criterion, inclusions first."""
        return self.inclusion + self.exclusion

    @property
    def rows(self) -> tuple[Criterion | SubCriterion, ...]:
        """Every criterion followed by its items, in protocol order."""
        rows: list[Criterion | SubCriterion] = []
        for criterion in self.criteria:
            rows += (criterion, *criterion.items)
        return tuple(rows)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for letter, criteria in (("I", self.inclusion), ("E", self.exclusion)):
            for criterion in criteria:
                if not criterion.id.startswith(letter):
                    raise ValueError(f"{criterion.id} stands among the wrong criteria")
        rows = self.rows
        known = [assumption.id for assumption in self.assumptions]
        for names in ([row.id for row in rows], known, [level.id for level in self.dose_levels]):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{twice[0]} is there twice")
        for row in rows:
            for name in row.assumptions:
                if name not in known:
                    raise ValueError(f"{row.id} leans on {name}, which is not among the assumptions")
        for ages in ("laboratory", "imaging", "clinical", "lasting"):
            if ages not in self.validity_days:
                raise ValueError(f"validity_days says nothing about {ages}")
        return self


class _Loader(yaml.SafeLoader):
    """Safe YAML, stricter: no key twice, no aliases or merges, no deep nesting; fractions are exact."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse what could blow up a small text."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event)
        if self.depth > MAX_NESTING:
            raise _refusal("this nests too deeply", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Refuse a key that stands twice: the second would silently win."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                raise _refusal("only plain keys are allowed", key)
            if key.value in seen:
                raise _refusal(f"the key {key.value} is there twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> Decimal:
        """Read a fraction as it is written."""
        try:
            return Decimal(str(self.construct_scalar(node)))
        except InvalidOperation:
            raise _refusal(f"{node.value} is not a number", node) from None


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_decimal)


def protocol_digest(text: str) -> str:
    """Name a protocol document: hex SHA-256 of its UTF-8 text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@lru_cache(maxsize=16)
def load_protocol(text: str) -> Protocol:
    """Read a protocol document; the same text is read once.

    Raises TrailError with a sentence that names the field.
    """
    try:
        document = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise TrailError(f"the protocol document cannot be read{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise TrailError(f"the protocol document cannot be read: {error}") from None
    except (KeyError, AttributeError, IndexError, TypeError):  # an explicit tag on a text that is none of its kind
        raise TrailError(
            "the protocol document cannot be read: a tag stands on a text that it does not fit"
        ) from None
    try:
        return Protocol.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise TrailError(_sentence(first["type"], first["loc"], first.get("ctx", {}))) from None


def _refusal(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


# Our own sentences: pydantic's may change between releases, and a refusal of a protocol is sealed.
_PHRASES = {"missing": "is missing", "extra_forbidden": "is not a key of the protocol document"}


def _sentence(kind: str, location: tuple[int | str, ...], context: dict[str, Any]) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if kind == "value_error":
        problem = f": {context['error']}"
    elif kind == "literal_error":
        problem = f" must be one of {context['expected']}"
    elif kind == "union_tag_invalid":
        problem = f": {context['tag']} is not one of its kinds; there are {context['expected_tags']}"
    else:
        problem = f" {_PHRASES.get(kind, 'is not of the kind this key needs')}"
    return f"the protocol document is wrong: {where or 'the whole'}{problem}"
