"""An adverse event put together from what was said of it, one entry of the log for each statement."""

from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, Statement, adverse_events
from shared.events import Data
from shared.events.safety import Died, EventAssessed, EventReported, EventResolved, EventUpdated

SHANGHAI = ZoneInfo("Asia/Shanghai")
SEALED = "2026-03-20T08:00:00.000000Z"


def reported(ae: str = "1", term: str = "Headache", **said: Any) -> EventReported:
    return EventReported(ae=ae, term=term, **said)


def updated(on: str, ae: str = "1", **said: Any) -> EventUpdated:
    return EventUpdated(ae=ae, on=on, **said)


def resolved(on: str, outcome: Any = "recovered", ae: str = "1") -> EventResolved:
    return EventResolved(ae=ae, on=on, outcome=outcome)


def died(on: str, ae: str | None = "1") -> Died:
    return Died(on=on, cause="not told", ae=ae)


def assessed(causality: Any, ae: str = "1") -> EventAssessed:
    return EventAssessed(ae=ae, causality=causality, why="as the monitor sees it")


def events(
    *said: Data, zone: ZoneInfo = SHANGHAI, sealed: str = SEALED, first_index: int = 100
) -> list[AdverseEvent]:
    """The adverse events that were reported among these statements."""
    return adverse_events(_statements(said, sealed, first_index), zone)


def event(*said: Data, zone: ZoneInfo = SHANGHAI, sealed: str = SEALED) -> AdverseEvent:
    """The only adverse event that was reported among these statements."""
    (one,) = events(*said, zone=zone, sealed=sealed)
    return one


def _statements(said: Iterable[Data], sealed: str, first_index: int) -> Iterable[Statement]:
    for index, data in enumerate(said, first_index):
        yield Statement(index, f"{index:064x}", f"event-{index}", type(data).__name__, "site/701", sealed, data)
