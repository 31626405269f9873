"""Where an event's data has free text: every field of the type ``Text``, nested ones too. Pure."""

import copy
import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from shared.events.base import Text

_STEP = re.compile(r"[^.\[\]]+")


def free_texts(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, str]:
    """The free texts of an event's data, as it is in JSON, by path: ``why``, ``entries[0].detail``."""
    return dict(_in_model(model, data, ""))


def with_texts(data: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """A copy of data with other texts at these paths, which must be there."""
    changed = copy.deepcopy(dict(data))
    for path, text in texts.items():
        *way, last = _steps(path)
        place: Any = changed
        for step in way:
            place = place[step]
        place[last] = text
    return changed


def value_at(data: Mapping[str, Any], path: str) -> Any:
    """What stands at a path; None where nothing does."""
    place: Any = data
    for step in _steps(path):
        try:
            place = place[step]
        except (KeyError, IndexError, TypeError):
            return None
    return place


def normal(path: str) -> str:
    """A path in its one spelling: ``entries.0.detail`` is ``entries[0].detail``."""
    told = ""
    for step in _steps(path):
        told += f"[{step}]" if isinstance(step, int) else f".{step}" if told else step
    return told


def _steps(path: str) -> list[str | int]:
    return [int(step) if step.isdecimal() else step for step in _STEP.findall(path)]


def _in_model(model: type[BaseModel], data: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, kind in _kinds(model).items():
        if name in data:
            yield from _in_value(kind, data[name], f"{path}.{name}" if path else name)


def _in_value(kind: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    origin, parts = get_origin(kind), get_args(kind)
    if kind == Text:
        if isinstance(value, str):
            yield path, value
    elif origin is Annotated:
        yield from _in_value(parts[0], value, path)
    elif origin in {Union, UnionType}:
        for part in parts:
            yield from _in_value(part, value, path)
    elif origin is list and isinstance(value, list):
        for at, one in enumerate(value):
            yield from _in_value(parts[0], one, f"{path}[{at}]")
    elif isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, Mapping):
        yield from _in_model(kind, value, path)


@cache
def _kinds(model: type[BaseModel]) -> Mapping[str, Any]:
    hints = get_type_hints(model, include_extras=True)
    return {name: hints[name] for name in model.model_fields}
