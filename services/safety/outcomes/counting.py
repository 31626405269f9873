"""How participants and adverse events are counted: arms, cells, rows, percentages. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

NO_ARM: Final = "no arm"
"""Where those are counted whom nobody assigned an arm; a space keeps it apart from every dose level's id."""


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm and who was exposed in it. ``entries`` hold the first exposures, and the assignments counted by."""

    id: str
    dose: str
    participants: tuple[str, ...]
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """An adverse event of an exposed participant, as it is counted.

    ``entry`` is its report, by which every count names it; ``statements`` are all entries that it rests on.
    ``level`` is the highest grade or severity it ever had, None where nobody stated one. ``arithmetic`` says why
    it is, or is not, treatment-emergent.
    """

    participant: str
    arm: str
    ae: str
    entry: int
    statements: tuple[int, ...]
    term: str
    system_organ_class: str | None
    level: str | None
    emergent: bool
    certain: bool
    serious: bool
    related: bool
    fatal: bool
    arithmetic: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """One cell: ``n`` participants of ``of``, and how many events; ``entries`` are the events' reports.

    ``arm`` None is the total. ``percent`` is exact to one decimal, a half rounded up; None of nobody.
    """

    arm: str | None
    n: int
    of: int
    percent: Decimal | None
    events: int
    participants: tuple[str, ...]
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a cell for each arm, in the order of the arms, and the total."""

    label: str
    arms: tuple[Count, ...]
    total: Count

    @property
    def cells(self) -> tuple[Count, ...]:
        """The arms' cells, then the total's."""
        return (*self.arms, self.total)


def count(
    label: str, events: Sequence[CountedEvent], arms: Iterable[Arm], only: frozenset[str] | None = None
) -> Row:
    """Count events, and the participants who had one; ``only``: the participants who are counted in this row."""
    columns = list(arms)
    everybody = sum(len(arm.participants) for arm in columns)
    return Row(
        label,
        tuple(
            _cell(arm.id, [event for event in events if event.arm == arm.id], len(arm.participants), only)
            for arm in columns
        ),
        _cell(None, events, everybody, only),
    )


def _cell(arm: str | None, events: Sequence[CountedEvent], of: int, only: frozenset[str] | None) -> Count:
    having = {event.participant for event in events}
    codes = tuple(sorted(having if only is None else having & only))
    entries = tuple(sorted(event.entry for event in events))
    return Count(arm, len(codes), of, share(100 * len(codes), of, 1), len(entries), codes, entries)


def share(part: int, whole: int, places: int) -> Decimal | None:
    """``part`` of ``whole`` as an exact decimal of so many places, a half rounded up; None of nothing."""
    if whole == 0:
        return None
    units = (2 * part * 10**places + whole) // (2 * whole)
    return Decimal(units).scaleb(-places)
