"""The command that counts: ``trail outcomes``, as tables, as JSON, as pictures, and with what a number rests on."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from services.cli import outcome_tables
from services.cli.installation import Installation
from services.cli.output import GOOD, as_json, complain, out, progress, safe, say
from services.cli.reading import Reading, reading
from services.console.replay import as_of, until
from services.safety.decide import SafetyDecider
from services.safety.outcomes import Outcomes, outcomes
from shared.entry import Entry
from shared.words import TrailError


@dataclass(slots=True)
class Moment:
    """The last entry that was looked at; it is what the outcomes are as of."""

    entry: int | None = None
    sealed_at: str = ""

    def upto(self, entries: Iterable[Entry], moment: str | None) -> Iterator[Entry]:
        """The entries by a moment, remembering the last; raises TrailError when the moment is none."""
        known = until(moment)
        for entry in entries:
            if not known(entry):
                return
            self.entry, self.sealed_at = entry.index, entry.header.sealed_at
            yield entry


def tell_outcomes(
    directory: Path,
    *,
    as_of: str | None = None,
    trace: str | None = None,
    pictures: Path | None = None,
    json_: bool = False,
) -> int:
    """Count the trial's outcomes as of a moment and tell them.

    ``trace`` names a row, a dose level or a participant: what it counts is told, entry by entry. ``pictures`` is
    a directory for SVG files, made if it is not there. Raises TrailError when there is nothing to count by.
    """
    with reading(Installation.open(directory)) as source:
        told, moment = _counted(source, as_of)
    behind = None if trace is None else list(outcome_tables.traced(told, trace))
    files = [] if pictures is None else _draw(told, moment, pictures)
    if json_:
        about = {"as_of": {"entry": moment.entry, "sealed_at": moment.sealed_at}, **asdict(told)}
        as_json(about | {"pictures": [str(path) for path in files]})
        return GOOD
    _head(told, moment)
    if behind is not None:
        _tell(behind)
    elif any(arm.participants for arm in told.arms):
        _tell(outcome_tables.tables(told))
    else:
        say("Nobody had been exposed to the study treatment by then: there is nothing to count yet.")
    if behind is None and told.notes:
        out.print()
        for note in told.notes:
            say(f"[yellow]{safe(note.text)}[/] [dim](entries {outcome_tables.numbers(note.entries)})[/]")
    for path in files:
        say(f"drawn: {safe(path)}")
    if pictures is not None and not files:
        complain("There is nothing to draw yet.")
    return GOOD


def _counted(source: Reading, when: str | None) -> tuple[Outcomes, Moment]:
    moment, size = Moment(), source.log.size()
    with progress("counting", size) as advance:

        def told() -> Iterator[Entry]:
            for entry in moment.upto(source.log.entries(0, size), when):
                if entry.index % 200 == 0:
                    advance(entry.index)
                yield entry

        machine = as_of(told(), None, SafetyDecider())
    if moment.entry is None:
        raise TrailError("nothing was sealed by that moment")
    return outcomes(machine.state), moment


def _head(told: Outcomes, moment: Moment) -> None:
    say(
        f"[bold]Outcomes of {safe(told.trial)}[/] as of entry {moment.entry}, sealed at {moment.sealed_at}, "
        f"protocol {safe(told.protocol)}"
    )
    say(f"[dim]Counted by the {told.counted_by} arm, of those exposed; coded by {safe(told.coding)}.[/]")
    say(f"[dim]Treatment-emergent: {safe(told.emergent_when)}.[/]")


def _tell(tables: Iterable[Table]) -> None:
    for table in tables:
        out.print()
        out.print(table)


def _draw(told: Outcomes, moment: Moment, directory: Path) -> list[Path]:
    from services.console.pictures import pictures

    directory.mkdir(parents=True, exist_ok=True)
    caption = f"{told.trial}, protocol {told.protocol}, as of entry {moment.entry}, sealed at {moment.sealed_at}"
    files = []
    for name, drawn in pictures(told, caption):
        path = directory / name
        path.write_bytes(drawn)
        files.append(path)
    return files
