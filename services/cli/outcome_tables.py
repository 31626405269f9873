"""The outcomes as tables at the terminal, and what any one of their numbers rests on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.padding import Padding
from rich.table import Table

from services.cli.output import safe
from services.safety.outcomes import Outcomes
from services.safety.outcomes.chimerism import Curve, Point
from services.safety.outcomes.counting import Count, CountedEvent, Row
from services.safety.outcomes.limiting import Limiting, WindowOf
from shared.words import TrailError

_MOST_NUMBERS: Final = 12
_MOST_DAYS: Final = 7
_CHIMERISM: Final = "chimerism"


def tables(told: Outcomes) -> Iterator[Table]:
    """Every table that there is something to say in."""
    yield _summary(told)
    if told.incidence.classes:
        yield _by_class(told)
    if told.limiting is not None:
        yield _limiting(told.limiting)
    yield from _chimerism(told)


def numbers(entries: Sequence[int]) -> str:
    """Entries by their numbers, cut where there are many: JSON has them all."""
    shown = ", ".join(str(entry) for entry in entries[:_MOST_NUMBERS])
    return shown if len(entries) <= _MOST_NUMBERS else f"{shown} and {len(entries) - _MOST_NUMBERS} more"


def _summary(told: Outcomes) -> Table:
    table = _counting(told, "Treatment-emergent adverse events: participants (%) \\[events]")
    counts = told.incidence
    for row in (counts.any, *counts.kinds):
        _add(table, row, indent=0 if row is counts.any else 2)
    if counts.levels:
        table.add_row("by the highest grade or severity")
    for row in counts.levels:
        _add(table, row, indent=2)
    return table


def _by_class(told: Outcomes) -> Table:
    table = _counting(told, "Treatment-emergent adverse events by system organ class and preferred term")
    for one in told.incidence.classes:
        _add(table, one.row, indent=0)
        for row in one.terms:
            _add(table, row, indent=2)
    return table


def _counting(told: Outcomes, title: str) -> Table:
    table = Table("", title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for arm in told.arms:
        table.add_column(f"{safe(arm.id)}\nN = {len(arm.participants)}", justify="right", overflow="fold")
    everybody = sum(len(arm.participants) for arm in told.arms)
    table.add_column(f"total\nN = {everybody}", justify="right", overflow="fold")
    return table


def _add(table: Table, row: Row, *, indent: int) -> None:
    label = safe(row.label) if indent else f"[bold]{safe(row.label)}[/]"
    table.add_row(Padding(label, (0, 0, 0, indent)), *(_cell(cell) for cell in row.cells))


def _cell(cell: Count) -> str:
    if not cell.n and not cell.events:
        return "0"
    return f"{cell.n} ({cell.percent}) \\[{cell.events}]"


def _limiting(limiting: Limiting) -> Table:
    title = f"Dose-limiting toxicity within {limiting.last_day} days, by the dose level infused"
    if limiting.target is not None:
        title += f" (target {limiting.target})"
    table = Table("level", "evaluable", "DLT", "rate", limiting.interval, "open", "not evaluable", title=title)
    table.title_justify = "left"
    for level in limiting.levels:
        table.add_row(
            safe(level.dose_level),
            str(level.evaluable),
            _codes(level.codes("dlt")),
            "" if level.rate is None else str(level.rate),
            "" if level.low is None or level.high is None else f"{level.low:.4f} to {level.high:.4f}",
            _codes(level.codes("open")),
            _codes(level.codes("not_evaluable")),
        )
    return table


def _codes(codes: Sequence[str]) -> str:
    return f"{len(codes)}: {safe(', '.join(codes))}" if codes else "0"


def _chimerism(told: Outcomes) -> Iterator[Table]:
    """A line for each participant, a column for each time point; several tables where one would be too wide."""
    found = {point.nominal for one in told.chimerism for point in one.points}
    columns = sorted(found, key=lambda day: -1 if day is None else day)
    for at in range(0, len(columns), _MOST_DAYS):
        shown = columns[at : at + _MOST_DAYS]
        title = "% chimerism by nearest time point"
        table = Table("participant", "arm", title=title, title_justify="left")
        for day in shown:
            table.add_column("none" if day is None else f"day {day}", justify="right", overflow="fold")
        for one in told.chimerism:
            cells = [_values(one, day) for day in shown]
            if any(cells):
                table.add_row(safe(one.participant), safe(one.arm), *cells)
        yield table


def _values(curve: Curve, nominal: int | None) -> str:
    return "\n".join(_value(point) for point in curve.points if point.nominal == nominal)


def _value(point: Point) -> str:
    return f"{point.comparator or ''}{point.percent:f}"


# What a number rests on --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """What stands behind a name."""

    events: list[CountedEvent] = field(default_factory=list)
    windows: list[tuple[str, WindowOf]] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def traced(told: Outcomes, name: str) -> Iterator[Table]:
    """What is counted in a row of the tables, at a dose level or of a participant, entry by entry.

    Raises TrailError when nothing is called so.
    """
    found = _find(told, name.strip().casefold())
    if not (found.events or found.windows or found.curves):
        raise TrailError(
            f"nothing is counted under {name!r}: give a row's label as the tables have it (any, serious, a class, "
            "a term), a dose level, chimerism, or a participant's code"
        )
    if found.events:
        yield _events(found.events)
    if found.windows:
        yield _windows(found.windows)
    if found.curves:
        yield _points(found.curves)


def _find(told: Outcomes, name: str) -> _Found:
    found = _Found()
    entries = {entry for row in _rows(told) if row.label.casefold() == name for entry in row.total.entries}
    for event in told.events:
        if event.entry in entries or event.participant.casefold() == name:
            found.events.append(event)
    for level in () if told.limiting is None else told.limiting.levels:
        for window in level.windows:
            if name in {level.dose_level.casefold(), window.participant.casefold()}:
                found.windows.append((level.dose_level, window))
    found.curves += [one for one in told.chimerism if name in {_CHIMERISM, one.participant.casefold()}]
    return found


def _rows(told: Outcomes) -> Iterator[Row]:
    yield told.incidence.any
    yield from told.incidence.kinds
    yield from told.incidence.levels
    for one in told.incidence.classes:
        yield one.row
        yield from one.terms


def _events(events: Iterable[CountedEvent]) -> Table:
    table = Table("participant", "AE", "what", "entries", title="Adverse events", title_justify="left")
    for event in events:
        said = [
            event.level or "no grade stated",
            "serious" if event.serious else "not serious",
            "related" if event.related else "not related",
            *(["leading to death"] if event.fatal else []),
            "emergent" if event.emergent else "not emergent",
        ]
        why = "\n".join(safe(line) for line in event.arithmetic)
        what = f"[bold]{safe(event.term)}[/] ({', '.join(said)})\n[dim]{why}[/]"
        entries = ", ".join(str(entry) for entry in event.statements)
        table.add_row(f"{safe(event.participant)}\n{safe(event.arm)}", safe(event.ae), what, entries)
    return table


def _windows(windows: Iterable[tuple[str, WindowOf]]) -> Table:
    table = Table(
        "participant", "level", "window", title="Windows for dose-limiting toxicity", title_justify="left"
    )
    table.add_column("infused in entry", justify="right")
    table.add_column("decided in entry", justify="right")
    for level, window in windows:
        state = f"{window.state.replace('_', ' ')}, from {window.first_day}"
        decided = "not sealed yet" if window.decision is None else str(window.decision)
        table.add_row(safe(window.participant), safe(level), state, str(window.infusion), decided)
    return table


def _points(curves: Iterable[Curve]) -> Table:
    table = Table("participant", "arm", "collected", title="% chimerism", title_justify="left")
    for name in ("day", "time point", "%", "entry"):
        table.add_column(name, justify="right")
    for one in curves:
        for point in one.points:
            where = f"{point.collected}" + (f" ({point.qualifier})" if point.qualifier else "")
            days = ["" if day is None else str(day) for day in (point.day, point.nominal)]
            table.add_row(safe(one.participant), safe(one.arm), safe(where), *days, _value(point), str(point.entry))
    return table
