"""A study played without broker and processes: the same notary and the same decider, in one thread.

For tests that need a real log in a real database quickly, and for recording the golden log. Keys and ids come
from seeds, so the same study gives the same bytes.
"""

import base64
import hashlib
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from services.audit.notary import Notary
from services.audit.places import Places
from services.cli.installation import granted, user_of
from services.cli.study import (
    INVESTIGATORS,
    Act,
    Day,
    DecideCohort,
    Post,
    PostBroken,
    RequestEnrolment,
    SignEligibility,
)
from services.cli.study_followup import MEDICAL_MONITOR
from services.cli.study_safety import COMMITTEE_MEMBERS
from services.safety.decide import SafetyDecider
from services.safety.trial import Trial
from services.screening.decide import ScreeningDecider
from services.screening.participant import Participant
from shared.broker import Topology
from shared.decider import Decider, Machine
from shared.drafts import Draft
from shared.entry import Arrival, Entry
from shared.envelope import read_envelope
from shared.events import CATALOGUE, Role
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.note import NoteKey
from shared.protocol.model import protocol_digest
from shared.signing import Keyring, SigningKey
from shared.words import SourceId

TRIAL = "NCT06027853"
ORIGIN = f"trialtrail.example/{TRIAL}"
_IDS = uuid.UUID("1f0d8a7e-6a3c-5d55-9a0e-3d2f5f0f9b11")


def seeded_key(name: str) -> SigningKey:
    """A key that guards nothing."""
    return SigningKey.from_seed(hashlib.sha256(f"trialtrail test key {name}".encode()).digest())


LOG_KEY = NoteKey(ORIGIN, seeded_key("log").public)


class InProcess:
    """A notary and both deciders, fed by hand."""

    def __init__(
        self,
        directory: Path,
        start: datetime,
        protocol: str,
        *,
        clock: str = "simulated",
        trial: str = TRIAL,
        places: Places | None = None,
    ) -> None:
        self.directory = directory
        self.trial_name = trial
        self.now = start
        self._clock = clock
        keyring = Keyring(seeded_key("log"))
        self.notary = Notary(directory / "audit", trial, keyring, places=places, clock=lambda: self.now)
        self.machine = Machine(ScreeningDecider())
        self.safety = Machine(SafetyDecider())
        self.intake = 0
        self._sequences: dict[str, int] = {}
        self._topology = Topology(trial)
        opened = {
            "origin": f"trialtrail.example/{trial}",
            "protocol_digest": protocol_digest(protocol),
            "log_key": base64.b64encode(seeded_key("log").public).decode(),
            "root_key": base64.b64encode(seeded_key("root").public).decode(),
            "clock": clock,
            "tick_seconds": 86_400,
        }
        self.root("log.opened", opened, intake=0)
        self.grant(self.machine.decider.source, "screening")
        self.grant(self.safety.decider.source, "safety")
        self.root("protocol.adopted", {"document": protocol, "digest": protocol_digest(protocol)})

    def root(self, type_: str, data: dict[str, Any], *, intake: int | None = None) -> list[Entry]:
        """Post a statement of the root."""
        draft = Draft(source=ROOT_SOURCE, type=type_, time=stamp(self.now), data=data)
        return self.post([draft], intake=intake)

    def grant(self, source: SourceId, role: Role, holder: str = "") -> None:
        """Grant a source's key for a role."""
        key = seeded_key(f"{source} {role}")
        self.root("identity.granted", granted(key, source, role, holder or f"{role} of {source}"))

    def post(self, drafts: Iterable[Draft], *, intake: int | None = None) -> list[Entry]:
        """Post drafts as their sources, in one batch; then whatever the decider makes of them."""
        arrivals = []
        for draft in drafts:
            key = (
                seeded_key("root")
                if draft.source == ROOT_SOURCE
                else seeded_key(f"{draft.source} {draft.signing_role}")
            )
            arrivals.append(self._arrival(draft, key, intake))
        return self.seal(arrivals)

    def seal(self, arrivals: list[Arrival], *, tick: bool = False) -> list[Entry]:
        """Seal messages and, batch by batch, the decisions they lead to."""
        entries: list[Entry] = []
        while arrivals or tick:
            sealed, tick = self.notary.seal(arrivals, tick=tick).entries, False
            entries += sealed
            arrivals = []
            for entry in sealed:
                for machine in (self.machine, self.safety):
                    arrivals += [self._decision(machine.decider, payload) for payload in machine.feed(entry)]
        return entries

    def _decision(self, decider: Decider, payload: bytes) -> Arrival:
        subject = self._topology.intake_subject(decider.source, read_envelope(payload).route)
        return self.message(subject, payload, seeded_key(f"{decider.source} {decider.source.partition('/')[2]}"))

    def message(self, subject: str, payload: bytes, key: SigningKey) -> Arrival:
        """The next message of the intake."""
        self.intake += 1
        return Arrival(self.intake, subject, key.id, key.sign_event(payload), payload)

    def play(self, days: Iterable[Day]) -> None:
        """Play a study's days."""
        for site, name in INVESTIGATORS.items():
            self.grant(SourceId(f"site/{site}"), "site_system")
            self.grant(SourceId(f"site/{site}"), "investigator", name)
        self.grant(SourceId(MEDICAL_MONITOR), "medical_monitor")
        for source in COMMITTEE_MEMBERS:
            self.grant(SourceId(source), "cohort_committee")
        for day in days:
            if day.at > self.now:
                self.root("log.clock_moved", {"to": stamp(day.at)})
                self.now = day.at
            for posts, acts in groupby(day.acts, key=lambda act: isinstance(act, Post)):
                if posts:
                    self.post([act.draft for act in acts if isinstance(act, Post)])
                else:
                    for act in acts:
                        self._act(act)

    def pass_time(self, days: int) -> None:
        """Let days go by without a post; a log that keeps real time ticks once, after all of them."""
        to = self.now + timedelta(days=days)
        if self._clock == "system":
            self.now = to
            self.seal([], tick=True)
            return
        self.root("log.clock_moved", {"to": stamp(to)})
        self.now = to

    def _act(self, act: Act) -> None:
        match act:
            case PostBroken():
                self.seal([self._broken(act)])
            case RequestEnrolment():
                self.post(
                    [
                        self._draft(
                            act.site,
                            act.participant,
                            "screening.enrolment_requested",
                            {"dose_level": act.dose_level},
                        )
                    ]
                )
            case SignEligibility():
                self._sign(act)
            case DecideCohort():
                self._decide_cohort(act)

    def _decide_cohort(self, act: DecideCohort) -> None:
        trial = self.safety.state["trial"]
        assert isinstance(trial, Trial)
        seen = trial.issued["recommend"]
        assert seen.entry is not None
        decided = self.post([act.decided(seen.entry, seen.leaf)])[0]
        for source in COMMITTEE_MEMBERS:
            holder = f"cohort_committee of {source}"
            self.post([act.signed(source, holder, decided.index, decided.leaf.hex(), stamp(self.now))])

    def _sign(self, act: SignEligibility) -> None:
        participant = self.machine.state[f"participant:{act.participant}"]
        assert isinstance(participant, Participant)
        decision = participant.decision
        if decision is not None and decision.standing == "eligible":
            data = {
                "meaning": "eligibility",
                "name": INVESTIGATORS[act.site],
                "user": user_of(SourceId(f"site/{act.site}"), "investigator"),
                "role": "investigator",
                "records": [{"index": decision.entry, "leaf": decision.leaf}],
            }
            self.post([self._draft(act.site, act.participant, "record.signed", data)])

    def _draft(self, site: str, participant: str, type_: str, data: dict[str, Any]) -> Draft:
        return Draft(source=f"site/{site}", type=type_, subject=participant, time=stamp(self.now), data=data)

    def _broken(self, act: PostBroken) -> Arrival:
        key = seeded_key(f"{act.draft.source} {act.draft.signing_role}")
        if act.damage == "none":
            return self._arrival(act.draft, key, None)
        if act.damage == "stray_key":
            key = seeded_key("nobody granted this")
        arrival = self._arrival(act.draft, key, None)
        self._sequences[act.draft.source] -= 1  # what its source did not sign takes no number
        if act.damage == "tampered":
            return Arrival(
                arrival.intake,
                arrival.subject,
                arrival.key,
                arrival.signature,
                arrival.payload.replace(b'"value":', b'"value":1', 1),
            )
        if act.damage == "cut_off":
            return Arrival(
                arrival.intake,
                arrival.subject,
                arrival.key,
                arrival.signature,
                arrival.payload[: len(arrival.payload) // 2],
            )
        return arrival

    def _arrival(self, draft: Draft, key: SigningKey, intake: int | None) -> Arrival:
        sequence = self._sequences.get(draft.source, 0) + 1
        self._sequences[draft.source] = sequence
        event_id = str(uuid.uuid5(_IDS, f"{draft.source}/{sequence}/{self.intake}"))
        payload = draft.payload(self.trial_name, event_id, sequence)
        route = CATALOGUE[draft.event_type.name].name.split(".", 1)[1].rpartition(".v")[0]
        subject = self._topology.intake_subject(SourceId(draft.source), route)
        if intake == 0:
            return Arrival(0, subject, key.id, key.sign_event(payload), payload)
        return self.message(subject, payload, key)
