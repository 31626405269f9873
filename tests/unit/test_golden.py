"""The golden log: every ruling and every decision of this engine, pinned to the byte."""

from unittest.mock import patch

import pytest

from services.audit.log import Row
from services.audit.verify import Verifier
from services.console.replay import check
from services.screening import rules
from services.screening.eligibility import ENGINE
from services.screening.findings import Finding
from shared.decider import read_event
from shared.entry import Entry
from shared.events.decisions import Decision
from tests.golden.record import golden_path, read_golden
from tests.inprocess import LOG_KEY, TRIAL


@pytest.fixture(scope="module")
def golden() -> list[tuple[Entry, tuple[int, str] | None]]:
    assert golden_path().exists(), (
        f"engine {ENGINE} has no golden log: record it with `python -m tests.golden.record`, and keep the old one"
    )
    return list(read_golden(golden_path()))


@pytest.fixture(scope="module")
def entries(golden: list[tuple[Entry, tuple[int, str] | None]]) -> list[Entry]:
    return [entry for entry, _ in golden]


def test_every_ruling_of_the_golden_log_is_reached_again(
    golden: list[tuple[Entry, tuple[int, str] | None]],
) -> None:
    rows = [Row(entry.index, None, entry.raw) for entry, _ in golden]
    heads = [(head[0], entry.index + 1, head[1]) for entry, head in golden if head is not None]
    report = Verifier(TRIAL, LOG_KEY, lambda index: rows[index].raw).run(rows, heads)
    assert report.faults == []
    assert report.entries == len(golden) > 1000
    assert report.refused > 0


def test_every_decision_of_the_golden_log_is_reproduced_byte_for_byte(entries: list[Entry]) -> None:
    result = check(entries)
    assert result.differences == []
    assert (result.pending, result.decisions > 50) == (0, True)


def test_every_decision_in_the_golden_log_names_this_engine(entries: list[Entry]) -> None:
    engines = {
        event.data.engine
        for event in map(read_event, entries)
        if event is not None and isinstance(event.data, Decision)
    }
    assert engines == {ENGINE}


def test_the_golden_log_holds_every_kind_of_decision_and_standing(entries: list[Entry]) -> None:
    events = [event for event in map(read_event, entries) if event is not None]
    assert {event.type for event in events} >= {
        "screening.decided",
        "screening.enrolled",
        "screening.enrolment_refused",
        "screening.deviation_raised",
    }
    standings = {getattr(event.data, "standing", None) for event in events}
    assert standings >= {"eligible", "ineligible", "undetermined"}


@pytest.mark.parametrize("kind", sorted(kind.__name__ for kind in rules._JUDGES))
def test_changing_any_kind_of_rule_turns_the_golden_log_red(entries: list[Entry], kind: str) -> None:
    """If this passes with a rule changed, a change of that rule could slip through unnoticed."""
    judged = next(rule for rule in rules._JUDGES if rule.__name__ == kind)
    original = rules._JUDGES[judged]

    def changed(*arguments: object) -> Finding:
        finding = original(*arguments)
        return Finding(None if finding.truth is not None else True, finding.lines, finding.evidence)

    with patch.dict(rules._JUDGES, {judged: changed}):
        assert check(entries[:900]).differences, f"no golden decision depends on a rule of kind {kind}"
