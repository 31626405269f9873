"""One site with one participant over a sealed log, for tests of what the screening decider makes of it."""

from datetime import datetime
from pathlib import Path
from typing import Any

from services.cli.installation import user_of
from services.screening.participant import Participant
from shared.drafts import Draft
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.moments import instant, stamp
from shared.words import SourceId
from tests.inprocess import InProcess
from tests.study import DAY, DOCUMENT, Study, eligible, sealed

SITE = SourceId("site/701")
PERSON = "701-001"
START = instant("2026-03-02T04:00:00Z")  # noon at the site, two days before the planned infusion
SIGNER = {
    "name": f"investigator of {SITE}",
    "user": user_of(SITE, "investigator"),
    "role": "investigator",
}
PLAN = {"first": DAY.isoformat()}
AT = "2026-03-04T10:00:00+08:00"


class Site(InProcess):
    """A site with one participant."""

    def __init__(self, directory: Path, start: datetime = START) -> None:
        super().__init__(directory, start, DOCUMENT)
        self.grant(SITE, "site_system")
        self.grant(SITE, "investigator")

    def say(self, type_: str, data: dict[str, Any], **more: Any) -> list[Entry]:
        """Post one statement; its entry, and those of the decisions it led to."""
        return self.post([Draft(source=SITE, type=type_, subject=PERSON, time=stamp(self.now), data=data, **more)])

    def screen(self, study: Study | None = None, *, plan: dict[str, str] | None = None) -> None:
        """Say all that a study says, with a plan; screening is completed."""
        for record in sealed(study or eligible()):
            self.say(record.type, record.data.model_dump(exclude_unset=True))
        self.say("screening.infusion_planned", plan or PLAN)
        self.say("screening.completed", {"on": "2026-03-02"})

    def sign(self, **more: Any) -> list[Entry]:
        """Sign the decision as it stands now."""
        decision = self.person.decision
        assert decision is not None
        records = [{"index": decision.entry, "leaf": decision.leaf}]
        return self.say("record.signed", {**SIGNER, "meaning": "eligibility", "records": records, **more})

    def enrol(self, level: str = "DL1") -> list[Entry]:
        """Ask for a place."""
        return self.say("screening.enrolment_requested", {"dose_level": level})

    def infuse(self, at: str = AT, number: int = 1, **more: str) -> list[Entry]:
        """Infuse, on the day of the infusion at the earliest."""
        days = (datetime.fromisoformat(at[:10]).date() - self.now.date()).days
        if days > 0:
            self.pass_time(days)
        return self.say("treatment.infused", {"at": at, "dose_level": "DL1", "number": number, **more})

    def retract(self, entry: Entry, role: str = "site_system") -> list[Entry]:
        """Take an event back."""
        data = {"corrects": read_envelope(entry.body).id, "reason": "a slip"}
        return self.say("screening.retracted", data, role=role)

    @property
    def person(self) -> Participant:
        """The participant as the decider knows them."""
        person = self.machine.state[f"participant:{PERSON}"]
        assert isinstance(person, Participant)
        return person

    def log(self) -> list[Entry]:
        """Everything sealed."""
        return list(self.notary.log.entries())
