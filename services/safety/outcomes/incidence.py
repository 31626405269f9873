"""The incidence of treatment-emergent adverse events, in the rows of the usual display (ICH E3, 12.2.2). Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from services.safety.adverse_events import AdverseEvent
from services.safety.emergence import FATAL
from services.safety.outcomes.counting import Arm, CountedEvent, Row, count
from shared.events.safety import Severity

NOT_CODED: Final = "not coded"
NOT_STATED: Final = "not stated"
_SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
_GRADES: Final = tuple(f"grade {grade}" for grade in range(1, 6))
# For "the highest" a severity stands just below the grade of its number, should a trial ever mix the two.
_LEVELS: Final = tuple(level for at, grade in enumerate(_GRADES) for level in (*_SEVERITIES[at : at + 1], grade))


@dataclass(frozen=True, slots=True)
class SystemOrganClass:
    """A system organ class and its preferred terms."""

    row: Row
    terms: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Incidence:
    """Treatment-emergent adverse events: participants with at least one, and events.

    ``classes`` are in alphabetical order, those not coded last; terms by participants in total, most first, then
    by events, then by name. In ``levels`` a participant counts once, at the highest; an event at its own.
    """

    any: Row
    kinds: tuple[Row, ...]
    levels: tuple[Row, ...]
    classes: tuple[SystemOrganClass, ...]


def incidence(events: Sequence[CountedEvent], arms: Sequence[Arm]) -> Incidence:
    """Count those of the events that are treatment-emergent."""
    emergent = [event for event in events if event.emergent]
    return Incidence(
        any=count("any", emergent, arms),
        kinds=(
            count("serious", [event for event in emergent if event.serious], arms),
            count("related", [event for event in emergent if event.related], arms),
            count("serious and related", [event for event in emergent if event.serious and event.related], arms),
            count("leading to death", [event for event in emergent if event.fatal], arms),
        ),
        levels=tuple(_levels(emergent, arms)),
        classes=tuple(_classes(emergent, arms)),
    )


def level(event: AdverseEvent) -> str | None:
    """The highest grade, or the highest severity where nobody graded it; None where nobody stated either."""
    highest = event.grade
    if highest is None:
        return None
    graded = highest == FATAL or any(getattr(one.data, "grade", None) is not None for one in event.statements)
    return _GRADES[highest - 1] if graded else _SEVERITIES[highest - 1]


def _levels(emergent: Sequence[CountedEvent], arms: Sequence[Arm]) -> list[Row]:
    """A row for each step of the scale that is in use, lowest first, then the events of which none is stated."""
    scale = (NOT_STATED, *_LEVELS)
    highest: dict[str, int] = defaultdict(int)
    for event in emergent:
        highest[event.participant] = max(highest[event.participant], scale.index(event.level or NOT_STATED))
    stated = {event.level or NOT_STATED for event in emergent}
    shown = [one for part in (_SEVERITIES, _GRADES, (NOT_STATED,)) if stated & set(part) for one in part]
    return [
        count(
            step,
            [event for event in emergent if (event.level or NOT_STATED) == step],
            arms,
            frozenset(code for code, at in highest.items() if scale[at] == step),
        )
        for step in shown
    ]


def _classes(emergent: Sequence[CountedEvent], arms: Sequence[Arm]) -> list[SystemOrganClass]:
    """Upper and lower case tell no class and no term apart; of several spellings the first in order is shown."""
    coded: dict[str, list[CountedEvent]] = defaultdict(list)
    for event in emergent:
        coded[(event.system_organ_class or "").casefold()].append(event)
    return [
        SystemOrganClass(
            count(min(event.system_organ_class or NOT_CODED for event in coded[name]), coded[name], arms),
            tuple(_terms(coded[name], arms)),
        )
        for name in sorted(coded, key=lambda name: (not name, name))
    ]


def _terms(events: Sequence[CountedEvent], arms: Sequence[Arm]) -> list[Row]:
    terms: dict[str, list[CountedEvent]] = defaultdict(list)
    for event in events:
        terms[event.term.casefold()].append(event)
    rows = [count(min(event.term for event in found), found, arms) for found in terms.values()]
    return sorted(rows, key=lambda row: (-row.total.n, -row.total.events, row.label.casefold()))
