"""What a rule finds in the evidence, and how findings join."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from services.screening.logic import Truth, all_of, any_of
from shared.events.decisions import Gap

Why = Literal["missing", "stale", "conflicting", "unit", "partial_date", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The truth of a statement with what carries it.

    ``fresh_until`` is the last day on which the truth still rests on fresh evidence; None means that it never
    goes stale, or that there is no truth yet. ``gaps`` say why there is none.
    """

    truth: Truth
    lines: tuple[str, ...] = ()
    evidence: frozenset[int] = frozenset()
    fresh_until: date | None = None
    gaps: tuple[Gap, ...] = ()


def unknown(item: str, why: Why, detail: str, evidence: Iterable[int] = ()) -> Finding:
    """Nothing can be said yet; ``detail`` tells the site what to send."""
    return Finding(None, evidence=frozenset(evidence), gaps=(Gap(item=item, why=why, detail=detail),))


def conjunction(findings: Iterable[Finding]) -> Finding:
    """All of them: a True one rests on every part, a False one on any of its false parts."""
    parts = tuple(findings)
    return _join(parts, all_of(part.truth for part in parts), one_is_enough=False)


def disjunction(findings: Iterable[Finding]) -> Finding:
    """Any of them: a True one rests on any of its true parts, a False one on every part."""
    parts = tuple(findings)
    return _join(parts, any_of(part.truth for part in parts), one_is_enough=True)


def soonest(days: Iterable[date | None]) -> date | None:
    """The earliest of the days on which something goes stale; None, which never does, is the latest."""
    return min((day for day in days if day is not None), default=None)


def last(days: Sequence[date | None]) -> date | None:
    """The latest of the days on which something goes stale; None, which never does, is the latest."""
    return None if None in days else max(day for day in days if day is not None)


def _join(parts: tuple[Finding, ...], truth: Truth, *, one_is_enough: bool) -> Finding:
    lines = tuple(line for part in parts for line in part.lines)
    if truth is None:
        # What is already decided leaned towards neither side: the truth hangs on the open parts and on it.
        evidence = frozenset[int]().union(*(part.evidence for part in parts))
        gaps = tuple(gap for part in parts if part.truth is None for gap in part.gaps)
        return Finding(None, lines, evidence, gaps=gaps)
    carriers = [part for part in parts if part.truth is truth]
    lines = tuple(line for part in carriers for line in part.lines)
    days = [part.fresh_until for part in carriers]
    until = last(days) if truth is one_is_enough else soonest(days)
    return Finding(truth, lines, frozenset[int]().union(*(part.evidence for part in carriers)), until)
