"""The golden logs: every ruling and every decision of these engines, pinned to the byte."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from services.audit.log import Row
from services.audit.verify import Verifier
from services.console.replay import check
from services.safety import assess, classification, cohorts, measurements, reports
from services.safety.trial import ENGINE as SAFETY
from services.screening import rules
from services.screening.eligibility import ENGINE as SCREENING
from services.screening.findings import Finding
from shared.decider import read_event
from shared.entry import Entry
from shared.events import CATALOGUE, short_type
from shared.events.decisions import Decision
from tests.golden.record import golden_path, read_golden
from tests.inprocess import LOG_KEY, TRIAL

Golden = list[tuple[Entry, tuple[int, str] | None]]
BEFORE_SAFETY = ("screening/1",)
"""Recorded in entry format 1, before there was a safety service."""

# As recorded, and never to be changed: a log in somebody's hands holds decisions of these engines.
RECORDED = [BEFORE_SAFETY, ("screening/1", "safety/1")]


@pytest.fixture(scope="module")
def newest() -> list[Entry]:
    assert golden_path().exists(), (
        f"engines {SCREENING} and {SAFETY} have no golden log: record it with `python -m tests.golden.record`, and "
        "keep the old ones"
    )
    return [entry for entry, _ in read_golden(golden_path())]


@pytest.fixture(scope="module")
def screened() -> list[Entry]:
    return [entry for entry, _ in read_golden(golden_path(*BEFORE_SAFETY))]


@pytest.mark.parametrize("engines", RECORDED, ids="+".join)
@pytest.mark.part11("11.10(a)", "11.10(c)", "11.10(g)")
def test_every_ruling_of_a_golden_log_is_reached_again(engines: tuple[str, ...]) -> None:
    golden: Golden = list(read_golden(golden_path(*engines)))
    rows = [Row(entry.index, None, entry.raw) for entry, _ in golden]
    heads = [(head[0], entry.index + 1, head[1]) for entry, head in golden if head is not None]
    report = Verifier(TRIAL, LOG_KEY, lambda index: rows[index].raw).run(rows, heads)
    assert report.faults == []
    assert report.entries == len(golden) > 1000
    assert report.refused > 0


@pytest.mark.parametrize("engines", RECORDED, ids="+".join)
@pytest.mark.part11("11.10(a)")
def test_every_decision_of_a_golden_log_is_reproduced_byte_for_byte(engines: tuple[str, ...]) -> None:
    result = check([entry for entry, _ in read_golden(golden_path(*engines))])
    assert result.differences == []
    assert (result.pending, result.decisions > 50) == (0, True)


@pytest.mark.part11("11.10(k)(2)")
def test_every_decision_in_the_newest_golden_log_names_its_engine(newest: list[Entry]) -> None:
    named = {
        (event.envelope.source, event.data.engine)
        for event in map(read_event, newest)
        if event is not None and isinstance(event.data, Decision)
    }
    assert named == {("service/screening", SCREENING), ("service/safety", SAFETY)}


def test_the_newest_golden_log_holds_every_kind_of_decision_and_standing(newest: list[Entry]) -> None:
    events = [event for event in map(read_event, newest) if event is not None]
    made = {short_type(name) for name, kind in CATALOGUE.items() if kind.roles & {"screening", "safety"}}
    assert made - {event.type for event in events} == set()
    standings = {getattr(event.data, "standing", None) for event in events}
    assert standings >= {"eligible", "ineligible", "undetermined"}


@pytest.mark.parametrize("kind", sorted(kind.__name__ for kind in rules._JUDGES))
@pytest.mark.part11("11.10(a)")
def test_changing_any_kind_of_rule_turns_the_golden_log_red(screened: list[Entry], kind: str) -> None:
    """If this passes with a rule changed, a change of that rule could slip through unnoticed."""
    judged = next(rule for rule in rules._JUDGES if rule.__name__ == kind)
    original = rules._JUDGES[judged]

    def changed(*arguments: object) -> Finding:
        finding = original(*arguments)
        return Finding(None if finding.truth is not None else True, finding.lines, finding.evidence)

    with patch.dict(rules._JUDGES, {judged: changed}):
        assert check(screened[:900]).differences, f"no golden decision depends on a rule of kind {kind}"


def _other_grades(made: Any) -> Any:
    return tuple(replace(one, grade=None if one.grade is None else min(one.grade + 1, 4)) for one in made)


_CHANGES: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "grades": (measurements, "propose", _other_grades),
    "emergence": (classification, "emergent", lambda made: replace(made, counts=not made.counts)),
    "clocks": (reports, "run", lambda made: made.model_copy(update={"days": made.days + 1})),
    "windows": (assess, "judge", lambda made: replace(made, toxicities=("another",))),
    "escalation": (cohorts, "recommend", lambda made: replace(made, action="complete")),
    "queries": (assess, "queries", lambda made: made[:-1]),
}


@pytest.mark.parametrize("part", _CHANGES)
def test_changing_any_part_of_safety_turns_the_golden_log_red(newest: list[Entry], part: str) -> None:
    module, name, change = _CHANGES[part]
    original = getattr(module, name)
    with patch.object(module, name, lambda *given, **named: change(original(*given, **named))):
        assert check(newest).differences, f"no golden decision depends on {part}"
