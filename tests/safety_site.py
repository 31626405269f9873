"""A treated participant at a site, with the sponsor's monitor and the cohort committee, over a sealed log.

For tests of what the safety decider makes of it. The screening decider runs beside it and has its own say.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from services.cli.installation import user_of
from services.console.safety import knowledge
from services.safety.assess import Assessed
from services.safety.participant import Participant
from services.safety.trial import Trial
from shared.decider import SealedEvent, read_event
from shared.drafts import Draft
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.moments import instant, stamp
from shared.words import SourceId
from tests.inprocess import InProcess
from tests.study import DOCUMENT

SITE = SourceId("site/701")
MONITOR = SourceId("sponsor/medical")
COMMITTEE = SourceId("sponsor/committee")
MEMBERS = (COMMITTEE, SourceId("sponsor/committee-2"))
PERSON = "701-001"
START = instant("2026-03-02T04:00:00Z")  # noon at the site
INFUSED = "2026-03-02T10:00:00+08:00"
"""The first infusion; day 28 of its window is 30 March."""


class SafetySite(InProcess):
    """A site whose participant was infused ten days ago; no screening data, so screening raises deviations."""

    def __init__(
        self,
        directory: Path,
        start: datetime = START,
        *,
        document: str = DOCUMENT,
        infused: str | None = INFUSED,
        trial: str = "NCT06027853",
        clock: str = "simulated",
    ) -> None:
        super().__init__(directory, start, document, trial=trial, clock=clock)
        for source, role in (
            (SITE, "site_system"),
            (SITE, "investigator"),
            (MONITOR, "medical_monitor"),
            *((member, "cohort_committee") for member in MEMBERS),
        ):
            self.grant(source, role)
        self.say("screening.registered", {"sex": "female", "birth_date": "1980"})
        if infused is not None:
            self.say("treatment.infused", {"at": infused, "dose_level": "DL1", "number": 1})
        self.pass_time(10)

    def say(self, type_: str, data: dict[str, Any], *, of: str | None = PERSON, **more: Any) -> list[SealedEvent]:
        """Post one statement of its usual source; everything that was sealed because of it."""
        source = SITE
        if type_ in {"safety.event_assessed", "safety.report_sent", "safety.reference_adopted"}:
            source = MONITOR
        elif type_ == "safety.cohort_decided":
            source = COMMITTEE
        subject = None if type_ in {"safety.reference_adopted", "safety.cohort_decided"} else of
        draft = Draft(
            source=more.pop("source", source), type=type_, subject=subject, time=stamp(self.now), data=data, **more
        )
        return self.read(self.post([draft]))

    def endorse(self, decided: SealedEvent, *members: SourceId) -> list[SealedEvent]:
        """Let members of the committee sign its decision, two unless told otherwise; all sealed because of it."""
        sealed = []
        for member in members or MEMBERS:
            data = {
                "meaning": "cohort",
                "name": f"cohort_committee of {member}",
                "user": user_of(member, "cohort_committee"),
                "role": "cohort_committee",
                "records": [{"index": decided.entry.index, "leaf": decided.entry.leaf.hex()}],
            }
            sealed += self.say("record.signed", data, of=None, source=member, role="cohort_committee")
        return sealed

    def report(self, ae: str = "1", **data: Any) -> list[SealedEvent]:
        """Report an adverse event: grade 2 nausea from day 3 on, unless told otherwise."""
        said = {
            "ae": ae,
            "term": "Nausea",
            "onset": "2026-03-05",
            "grade": 2,
            "serious": [],
            "causality": "possible",
        }
        return self.say("safety.event_reported", said | data)

    def measure(self, item: str, value: Any, unit: str, collected: str, **data: Any) -> list[SealedEvent]:
        """Report a measurement."""
        said = {"item": item, "value": value, "unit": unit, "collected": collected}
        return self.say("safety.observed", said | data)

    def adopt_reference(
        self, *reactions: dict[str, Any], version: str = "IB 1", effective: str = "2026-01-01"
    ) -> list[SealedEvent]:
        """Adopt reference safety information."""
        data = {"version": version, "effective": effective, "reactions": list(reactions)}
        return self.say("safety.reference_adopted", data)

    def correct(self, wrong: SealedEvent, **data: Any) -> list[SealedEvent]:
        """Correct an event; what is not named stays."""
        said = dict(read_envelope(wrong.entry.body).data) | data
        said |= {"corrects": wrong.envelope.id, "reason": "a slip of the pen"}
        said = {name: value for name, value in said.items() if value is not None}
        return self.say(wrong.type, said, of=wrong.envelope.subject, source=wrong.envelope.source)

    def retract(self, wrong: SealedEvent) -> list[SealedEvent]:
        """Take an event back."""
        data = {"corrects": wrong.envelope.id, "reason": "a slip of the pen"}
        type_ = "safety.retracted" if wrong.type.startswith("safety.") else "screening.retracted"
        return self.say(type_, data, of=wrong.envelope.subject, source=wrong.envelope.source)

    def wait(self, days: int) -> list[SealedEvent]:
        """Let days pass; everything that is sealed meanwhile."""
        before = self.notary.size
        self.pass_time(days)
        return self.read(self.notary.log.entries(before))

    def read(self, entries: Any) -> list[SealedEvent]:
        """The admitted events of entries."""
        return [event for event in map(read_event, entries) if event is not None]

    def log(self) -> list[Entry]:
        """Everything sealed."""
        return list(self.notary.log.entries())

    def decided(self, type_: str) -> list[SealedEvent]:
        """Every sealed decision of this type so far."""
        return [event for event in self.read(self.log()) if event.type == f"safety.{type_}"]

    def last(self, type_: str) -> Any:
        """The data of the newest sealed decision of this type."""
        return self.decided(type_)[-1].data

    def queries(self) -> dict[str, str]:
        """The open queries about the participant: name to text."""
        return {
            one.content["query"]: one.content["text"]
            for one in self.assessed.answers
            if one.question.startswith("query ")
        }

    @property
    def person(self) -> Participant:
        """The participant as the safety decider knows them."""
        person = self.safety.state[f"participant:{PERSON}"]
        assert isinstance(person, Participant)
        return person

    @property
    def trial(self) -> Trial:
        """The trial as the safety decider knows it."""
        trial = self.safety.state["trial"]
        assert isinstance(trial, Trial)
        return trial

    @property
    def assessed(self) -> Assessed:
        """Everything there is to say of the participant now."""
        known = knowledge(self.safety, PERSON)
        assert known is not None
        return known[1]
