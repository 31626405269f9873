"""What is counted at a dose level, what a rule recommends, and how it speaks while DLT windows are open."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Action = Literal["escalate", "stay", "de_escalate", "eliminate", "wait", "stop", "complete"]

_DOWNWARD: frozenset[Action] = frozenset({"de_escalate", "eliminate"})


@dataclass(frozen=True, slots=True)
class Tally:
    """The participants of one dose level.

    ``evaluable`` have had a DLT or a window that closed without one, ``pending`` have an open window and no
    DLT. Those who are not evaluable count nowhere: they are replaced. Raises ValueError with a sentence.
    """

    dose_level: str
    evaluable: int
    dlts: int
    pending: int

    def __post_init__(self) -> None:
        if min(self.evaluable, self.dlts, self.pending) < 0:
            raise ValueError(f"level {self.dose_level}: a number of participants is never negative")
        if self.dlts > self.evaluable:
            raise ValueError(
                f"level {self.dose_level}: {self.dlts} DLTs among {self.evaluable} evaluable participants cannot be"
            )

    @property
    def treated(self) -> int:
        """How many will count in the end: the evaluable and the pending."""
        return self.evaluable + self.pending


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the rule recommends, and the arithmetic that a doctor can check.

    ``dose_level`` is the level judged; of ``complete`` it is the level at which dose finding ends. ``to`` is
    where the next cohort goes after ``escalate``, ``de_escalate`` and ``eliminate``. ``eliminated`` are the
    levels, ascending, that may not be used any more. The last sentence of ``arithmetic`` is the conclusion.
    """

    action: Action
    dose_level: str
    to: str | None
    eliminated: tuple[str, ...]
    arithmetic: tuple[str, ...]


Excluded = Callable[[int, int], bool]
"""Whether a level with so many participants and so many DLTs among them may not be used any more."""

Rule = Callable[[int, int], Recommendation]
"""The recommendation once all windows are closed, from the current level's DLTs and the lowest excluded level."""


@dataclass(frozen=True, slots=True)
class _Way:
    dlts: int
    elsewhere: int
    recommended: Recommendation


def settle(levels: Sequence[Tally], at: int, excluded: Excluded, rule: Rule, limits: str) -> Recommendation:
    """Recommend what no open window can change any more; otherwise wait, and say what would lead where.

    Each open window can end with a DLT or clean. One that ends not evaluable needs no case of its own: that
    participant is replaced, and the replacement's window again ends in one of the two. Where every way leads
    down to the same level and only elimination is unsure, the way down already stands. ``limits`` states the
    rule's limits in words. ``excluded`` must hold for more DLTs wherever it holds for fewer.
    """
    tally = levels[at]
    ways = [
        _Way(dlts, elsewhere, rule(dlts, min(at, elsewhere) if excluded(tally.treated, dlts) else elsewhere))
        for elsewhere in _lowest_excluded(levels, at, excluded)
        for dlts in range(tally.dlts, tally.dlts + tally.pending + 1)
    ]
    if len(ways) == 1:
        return ways[0].recommended
    first = ways[0].recommended
    certain = min((way.recommended.eliminated for way in ways), key=len)
    lines = (*_open_windows(levels, at), limits, *_outcomes(levels, at, ways))
    if len({_outcome(way.recommended) for way in ways}) == 1:
        return replace(first, eliminated=certain, arithmetic=(*lines, "the same however the open windows end"))
    if {way.recommended.action for way in ways} <= _DOWNWARD and len({way.recommended.to for way in ways}) == 1:
        lines = (*lines, f"down to {first.to} however the open windows end")
        return Recommendation("de_escalate", tally.dose_level, first.to, certain, lines)
    lines = (*lines, "wait: the open windows still decide")
    return Recommendation("wait", tally.dose_level, None, certain, lines)


def _lowest_excluded(levels: Sequence[Tally], at: int, excluded: Excluded) -> list[int]:
    """List which level other than the current one may turn out the lowest excluded; their number for none."""
    possible = []
    for index, level in enumerate(levels):
        if index != at and excluded(level.treated, level.dlts + level.pending):
            possible.append(index)
            if excluded(level.treated, level.dlts):
                return possible
    return [*possible, len(levels)]


def _outcome(recommended: Recommendation) -> tuple[str, str, str | None]:
    return recommended.action, recommended.dose_level, recommended.to


def _open_windows(levels: Sequence[Tally], at: int) -> list[str]:
    lines = []
    for index, level in enumerate(levels):
        if level.pending or index == at:
            windows = "no window open" if not level.pending else counted(level.pending, "window") + " open"
            lines.append(f"{level.dose_level}: {level.dlts} of {level.evaluable} with a DLT so far, {windows}")
    return lines


def _outcomes(levels: Sequence[Tally], at: int, ways: Sequence[_Way]) -> list[str]:
    """Say what follows from which number of DLTs; neighbouring numbers with the same conclusion together."""
    groups: list[list[_Way]] = []
    for way in ways:
        last = groups[-1][-1] if groups else None
        if last is not None and (last.elsewhere, _conclusion(last)) == (way.elsewhere, _conclusion(way)):
            groups[-1].append(way)
        else:
            groups.append([way])
    unsure_elsewhere = len({way.elsewhere for way in ways}) > 1
    lines = []
    for group in groups:
        low, high = group[0].dlts, group[-1].dlts
        number = str(low) if low == high else f"{low} to {high}"
        line = f"{number} of {levels[at].treated} with a DLT at {levels[at].dose_level}"
        if unsure_elsewhere:
            line += f" and {_excluded_name(levels, group[0].elsewhere)}"
        lines.append(f"{line}: {_conclusion(group[0])}")
    return lines


def _conclusion(way: _Way) -> str:
    return way.recommended.arithmetic[-1]


def _excluded_name(levels: Sequence[Tally], index: int) -> str:
    return f"{levels[index].dose_level} too toxic" if index < len(levels) else "no other level too toxic"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 window``, ``2 windows``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
