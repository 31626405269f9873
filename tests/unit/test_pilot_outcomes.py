"""The published display of a real study comes out of its own data: every class, every term, three arms.

The study's tables go through the notary and both deciders as its sites would have posted them. The display
(table 14-5.01) has the classes; the terms are counted again here, from the tables alone.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cli.beginning import trial_file
from services.cli.sdtm import map_study
from services.cli.sdtm.tables import Table, read_tables
from services.safety.outcomes import Outcomes, outcomes
from services.safety.outcomes.counting import Count, Row
from shared.envelope import read_envelope
from shared.events import short_type
from shared.moments import instant
from shared.protocol.model import load_protocol
from shared.words import SourceId
from tests.inprocess import InProcess

PILOT = Path(__file__).parents[2].parent / "shared" / "data" / "cdisc-pilot"
pytestmark = pytest.mark.skipif(not PILOT.is_dir(), reason=f"the CDISC pilot study is not at {PILOT}")

ARMS = {"plb": "Pbo", "xlo": "Xan_Lo", "xhi": "Xan_Hi"}
START = instant("2026-01-05T00:00:00Z")
Cell = tuple[int, Decimal, int]


@dataclass(frozen=True)
class Counted:
    """The pilot's outcomes, and the types of the entries that they may cite."""

    outcomes: Outcomes
    about: dict[int, tuple[str, str]]  # entry: participant, type


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {name: table for name, table in read_tables(PILOT).items() if name in {"DM", "EX", "AE"}}


@pytest.fixture(scope="module")
def pilot(tables: dict[str, Table], tmp_path_factory: pytest.TempPathFactory) -> Counted:
    document = trial_file("cdiscpilot01")
    study = map_study(tables, load_protocol(document))
    house = InProcess(tmp_path_factory.mktemp("pilot"), START, document, trial="CDISCPILOT01")
    for site in study.sites:
        house.grant(SourceId(f"site/{site}"), "site_system")
    about = {}
    for entry in house.post(study.drafts):
        assert entry.admitted, entry.header.reason
        about[entry.index] = _subject_and_type(entry.body)
    return Counted(outcomes(house.safety.state), about)


def _subject_and_type(body: bytes) -> tuple[str, str]:
    envelope = read_envelope(body)
    return envelope.subject or "", short_type(envelope.type)


def cells(counts: Iterable[Count]) -> list[Cell]:
    return [(cell.n, cell.percent or Decimal(0), cell.events) for cell in counts]


def test_the_published_display_comes_out_to_the_last_number(pilot: Counted) -> None:
    """Any event and every class: participants, per cent and events in each of the three arms."""
    counts = pilot.outcomes.incidence
    with (PILOT / "teae_by_soc.csv").open(newline="", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    assert [arm.id for arm in pilot.outcomes.arms] == list(ARMS.values())
    assert [str(len(arm.participants)) for arm in pilot.outcomes.arms] == [published[0][f"{a}_N"] for a in ARMS]
    made = {"": counts.any} | {one.row.label: one.row for one in counts.classes}
    assert len(made) == len(published) == 24
    for line in published:
        expected = [
            (int(line[f"{arm}_n"]), Decimal(line[f"{arm}_pct"] or 0), int(line[f"{arm}_events"])) for arm in ARMS
        ]
        assert cells(made[line["soc"]].arms) == expected, line["soc"]


def test_every_preferred_term_is_what_the_tables_alone_come_to(pilot: Counted, tables: dict[str, Table]) -> None:
    expected = recount(tables)
    made = {
        (one.row.label, row.label): cells(row.arms) for one in pilot.outcomes.incidence.classes for row in one.terms
    }
    assert len(made) > 200
    assert made == expected


def recount(tables: dict[str, Table]) -> dict[tuple[str, str], list[Cell]]:
    """Terms within classes from the tables, by the definition in the data's own README."""
    dm, ae = tables["DM"], tables["AE"]
    began = dict(zip(dm["USUBJID"], dm["RFXSTDTC"], strict=True))
    arm_of = {code: arm for code, arm in zip(dm["USUBJID"], dm["ARMCD"], strict=True) if began[code]}
    size = {arm: list(arm_of.values()).count(arm) for arm in ARMS.values()}
    found: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: {arm: [] for arm in ARMS.values()})
    for code, start, soc, term in zip(ae["USUBJID"], ae["AESTDTC"], ae["AEBODSYS"], ae["AEDECOD"], strict=True):
        earliest = f"{start}-01-01"[:10] if start else ""
        if code in arm_of and earliest >= str(began[code])[:10]:
            found[str(soc), str(term)][str(arm_of[code])].append(code)

    def cell(codes: list[Any], of: int) -> Cell:
        percent = Decimal(100) * len(set(codes)) / of
        return len(set(codes)), percent.quantize(Decimal("0.1"), ROUND_HALF_UP), len(codes)

    return {name: [cell(by[arm], size[arm]) for arm in ARMS.values()] for name, by in found.items()}


def test_every_number_leads_to_reports_of_its_own_participants(pilot: Counted) -> None:
    reports = {event.entry: event for event in pilot.outcomes.events}
    assert len(reports) == len(pilot.outcomes.events) == 1191
    for entry, event in reports.items():
        assert pilot.about[entry] == (event.participant, "safety.event_reported")
        assert all(pilot.about[index][0] == event.participant for index in event.statements)
    for row in rows(pilot.outcomes):
        for cell in row.cells:
            assert len(cell.entries) == cell.events
            assert {reports[entry].participant for entry in cell.entries} >= set(cell.participants)
    for arm in pilot.outcomes.arms:
        assert {pilot.about[entry][0] for entry in arm.entries} == set(arm.participants)


def rows(told: Outcomes) -> Iterable[Row]:
    yield told.incidence.any
    yield from (*told.incidence.kinds, *told.incidence.levels)
    for one in told.incidence.classes:
        yield from (one.row, *one.terms)
