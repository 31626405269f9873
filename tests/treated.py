"""A trial whose participants are treated and observed: a notary, both deciders, and one site that reports."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.console.replay import as_of
from services.safety.decide import SafetyDecider
from services.safety.outcomes import Outcomes, outcomes
from shared.drafts import Draft
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.events import short_type
from shared.moments import instant, stamp
from shared.words import SourceId
from tests.inprocess import InProcess
from tests.study import DOCUMENT

SITE = SourceId("site/701")
NOW = instant("2026-06-15T04:00:00Z")
INFUSED = "2026-03-04T10:00:00+08:00"

Said = tuple[str, str, dict[str, Any]]
"""A participant's code, an event's type, what it says."""


class Treated(InProcess):
    """One site of NCT06027853 on a day long after the infusions of most."""

    def __init__(self, directory: Path, document: str = DOCUMENT) -> None:
        super().__init__(directory, NOW, document)
        for role in ("site_system", "investigator"):
            self.grant(SITE, role)  # type: ignore[arg-type]

    def say(self, said: Iterable[Said]) -> list[Entry]:
        """Post statements at once; their own entries, all admitted."""
        drafts = [
            Draft(source=SITE, type=type_, subject=code, time=stamp(self.now), data=data)
            for code, type_, data in said
        ]
        entries = self.post(drafts)[: len(drafts)]
        for entry in entries:
            assert entry.admitted, entry.header.reason
        return entries

    def infuse(self, *codes: str, level: str = "DL1", at: str = INFUSED) -> list[Entry]:
        """Register participants and infuse them; the entries of the infusions."""
        self.say((code, "screening.registered", {"sex": "female", "birth_date": "1981"}) for code in codes)
        return self.say((code, "treatment.infused", {"at": at, "dose_level": level, "number": 1}) for code in codes)

    def told(self, moment: int | None = None) -> Outcomes:
        """The outcomes now, or as of an entry."""
        if moment is None:
            return outcomes(self.safety.state)
        return outcomes(as_of(self.notary.log.entries(), str(moment), SafetyDecider()).state)

    def about(self) -> dict[int, tuple[str | None, str]]:
        """Every entry's participant and type."""
        found = {}
        for entry in self.notary.log.entries():
            envelope = read_envelope(entry.body)
            found[int(entry.index)] = (envelope.subject, short_type(envelope.type))
        return found


def event(code: str, ae: str, term: str, soc: str | None = None, **said: Any) -> Said:
    """An adverse event in the days after the infusion, mild and unrelated as far as nothing else is said."""
    usual: dict[str, Any] = {"onset": "2026-03-06", "grade": 1, "serious": [], "causality": "not_related"}
    coded = {} if soc is None else {"system_organ_class": soc}
    data = {"ae": ae, "term": term, **coded, **usual, **said}
    return code, "safety.event_reported", {name: what for name, what in data.items() if what is not None}


def chimerism(code: str, collected: str, value: str, **said: Any) -> Said:
    """A measurement of % chimerism."""
    data = {"item": "chimerism", "collected": collected, "value": Decimal(value), "unit": "%", **said}
    return code, "safety.observed", {name: what for name, what in data.items() if what is not None}


def corrected(entry: Entry, **changes: Any) -> Said:
    """What an entry said, said again otherwise in its place; None takes a field away."""
    envelope = read_envelope(entry.body)
    assert envelope.subject is not None
    data = {**envelope.data, **changes, "corrects": envelope.id, "reason": "a slip"}
    said = {name: what for name, what in data.items() if what is not None}
    return envelope.subject, short_type(envelope.type), said


def retracted(entry: Entry) -> Said:
    """What an entry said, taken back."""
    envelope = read_envelope(entry.body)
    assert envelope.subject is not None
    return envelope.subject, "safety.retracted", {"corrects": envelope.id, "reason": "never happened"}


def recovered(code: str, collected: str = "2026-04-01") -> list[Said]:
    """The blood counts, normal again, without which no window closes clean."""
    counts = (("anc", 3, "1.8"), ("platelets", 220, "150"))
    return [
        (
            code,
            "safety.observed",
            {
                "item": item,
                "collected": collected,
                "value": Decimal(value),
                "unit": "10*3/uL",
                "reference": {"low": Decimal(low)},
            },
        )
        for item, value, low in counts
    ]
