"""The whole mapping: every row of every table, and the order in which its events are posted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from services.cli.sdtm import findings, safety, screening
from services.cli.sdtm.account import Unmapped
from services.cli.sdtm.people import Participant, People
from services.cli.sdtm.tables import Row, Table, read_tables, rows
from shared.drafts import Draft
from shared.protocol.model import Protocol
from shared.words import RefusedError


@dataclass(frozen=True, slots=True)
class Study:
    """A study as events, in the order to post them, and an account of all that was left out.

    ``unmapped`` counts the rows that became no event, and the tables that are not there; ``parts`` counts what was
    left out of rows that became one.
    """

    drafts: list[Draft]
    participants: int
    sites: list[str]
    unmapped: list[Unmapped]
    parts: list[Unmapped]


class _Domain(NamedTuple):
    """How the rows of a domain are mapped, and how one that is left out is called and shown."""

    take: Callable[[People, Row], None]
    what: str  # in braces: a column
    example: str


def _findings(domain: str) -> _Domain:
    columns = {name: f"{{{domain}{name}}}" for name in ("TESTCD", "DTC", "ORRES", "ORRESU")}
    example = f"{{USUBJID}} {columns['DTC']}: {columns['ORRES']} {columns['ORRESU']}"
    return _Domain(partial(findings.finding, domain=domain), columns["TESTCD"], example)


# In this order: a result of the same moment as another is posted after it if its domain stands later here.
_DOMAINS: Final[Mapping[str, _Domain]] = {
    "DM": _Domain(screening.register, "participant", "{USUBJID} of site {SITEID}"),
    "VS": _findings("VS"),
    "LB": _findings("LB"),
    "EG": _findings("EG"),
    "MH": _Domain(screening.condition, "condition", "{USUBJID}: {MHTERM}"),
    "EX": _Domain(safety.exposure, "exposure", "{USUBJID} {EXSTDTC}: {EXDOSE} {EXDOSU}"),
    "AE": _Domain(safety.adverse_event, "adverse event", "{USUBJID} {AESEQ}: {AETERM}"),
    "DS": _Domain(safety.disposition, "{DSDECOD}", "{USUBJID} {DSDTC}"),
}
_AFTER_SCREENING: Final = (
    "treatment.arm_assigned",
    "treatment.exposed",
    "safety.event_reported",
    "safety.died",
    "safety.disposition_recorded",
    "safety.observed",
)


def read_study(directory: Path, protocol: Protocol) -> Study:
    """Read a study's tables from a directory of ``.xpt`` files and map them to events of this trial.

    Raises TrailError, naming the file and the column, when the directory or ``dm.xpt`` is missing, a file is
    no SAS transport file or is cut short, or a table lacks a column that the mapping needs.
    """
    return map_study(read_tables(directory), protocol)


def map_study(tables: Mapping[str, Table], protocol: Protocol) -> Study:
    """Map a study's tables, by domain, to events of this trial. DM must be there.

    Raises TrailError when a table lacks a column that the mapping needs.
    """
    people = People(protocol)
    for name, domain in _DOMAINS.items():
        if name not in tables:
            people.rows.leave(name, "the whole table", f"the file {name.lower()}.xpt is not there", name)
            continue
        for row in rows(name, tables[name]):
            try:
                domain.take(people, row)
            except RefusedError as error:
                what, example = domain.what.format_map(row), domain.example.format_map(row)
                people.rows.leave(name, what, str(error), example.strip())
    everyone = sorted(people.known.values(), key=lambda person: (person.site, person.code))
    return Study(
        [draft for person in everyone for draft in _in_order(people, person)],
        len(everyone),
        sorted({person.site for person in everyone}),
        people.rows.lines(),
        people.parts.lines(),
    )


def _in_order(people: People, person: Participant) -> list[Draft]:
    """Order a participant's events: screening, its closing, then the rest by time."""
    registered, *others = person.drafts
    evidence = [draft for draft in others if draft.type not in _AFTER_SCREENING]
    later = [draft for draft in others if draft.type in _AFTER_SCREENING]
    later += safety.assignment(people, person) + safety.death(people, person)
    return [
        registered,
        *sorted(evidence, key=lambda draft: draft.time),
        *screening.closing(people, person),
        *sorted(later, key=lambda draft: (draft.time, _AFTER_SCREENING.index(draft.type))),
    ]
