"""The screening decider: sealed event in, decisions out. Pure.

A participant is decided first when the site declares screening completed, and again whenever something that
the decision rests on has changed: new evidence, a correction, a moved infusion, an amendment, or time.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from services.screening.eligibility import (
    Rules,
    assess_participant,
    decided,
    time_matters,
)
from services.screening.enrolment import Trial, citation, deviation, enrol, infusion_deviations
from services.screening.participant import EVIDENCE_TYPES, LastDecision, Participant
from shared.decider import DecisionDraft, SealedEvent, Step
from shared.events import Data
from shared.events.decisions import Decided
from shared.events.log import ProtocolAdopted
from shared.events.screening import Infused, RecordSigned
from shared.protocol.model import load_protocol
from shared.words import ParticipantId, SourceId, TrailError

SOURCE: Final = SourceId("service/screening")
_TRIAL: Final = "trial"


class ScreeningDecider:
    """Decides eligibility and enrolment. ``protocol`` replaces the log's own, for "what if" replays."""

    source = SOURCE

    def __init__(self, protocol: str | None = None) -> None:
        self._instead = protocol

    def document_type(self, key: str) -> type[BaseModel]:
        """See Decider."""
        return Trial if key == _TRIAL else Participant

    def decide(self, state: Mapping[str, BaseModel], event: SealedEvent) -> Step:
        """See Decider."""
        trial = state.get(_TRIAL, Trial())
        assert isinstance(trial, Trial)
        if isinstance(event.data, ProtocolAdopted):
            return self._adopt(state, trial, event)
        if not trial.document:
            return Step()
        if event.type == "log.ticked":
            return self._time_passed(state, trial, event)
        if event.envelope.subject is None:
            return Step()
        return self._about_participant(state, trial, event, event.envelope.subject)

    def _rules(self, trial: Trial) -> Rules:
        return Rules(load_protocol(trial.document), trial.digest)

    def _adopt(self, state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent) -> Step:
        data = event.data
        assert isinstance(data, ProtocolAdopted)
        document = data.document if self._instead is None else self._instead
        try:
            load_protocol(document)
        except TrailError:
            # Sealed, but no protocol this engine can read: the version in force stays in force.
            return Step()
        adopted = trial.model_copy(update={"document": document, "digest": data.digest})
        return self._reconsider(state, adopted, event, self._rules(adopted))

    def _time_passed(self, state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent) -> Step:
        passed = trial.model_copy(update={"sealed_at": event.entry.header.sealed_at})
        return self._reconsider(state, passed, event, self._rules(trial), by_time=True)

    def _reconsider(
        self,
        state: Mapping[str, BaseModel],
        trial: Trial,
        event: SealedEvent,
        rules: Rules,
        *,
        by_time: bool = False,
    ) -> Step:
        """Judge everybody again who was decided before, in order of their codes."""
        documents: dict[str, BaseModel] = {_TRIAL: trial}
        decisions: list[DecisionDraft] = []
        now = event.entry.header.sealed_at
        for key in sorted(state):
            participant = state[key]
            if not isinstance(participant, Participant) or participant.decision is None:
                continue
            if by_time and not time_matters(participant, rules, now):
                continue
            changed, made = _judge(participant, rules, event, by_time=by_time)
            if made:
                documents[key] = changed
                decisions += made
        return Step(documents, decisions)

    def _about_participant(
        self, state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent, code: ParticipantId
    ) -> Step:
        key = f"participant:{code}"
        participant = state.get(key) or Participant(code=code, source=event.envelope.source)
        assert isinstance(participant, Participant)
        rules = self._rules(trial)
        decisions: list[DecisionDraft] = []
        documents: dict[str, BaseModel] = {}
        match event.data:
            case Decided() as own:
                participant = _sealed(participant, own, event)
            case RecordSigned() as signature:
                participant, decisions = _signed(participant, signature, rules, event)
            case _ if event.type == "screening.enrolment_requested":
                participant, documents[_TRIAL], draft = enrol(participant, trial, rules, event)
                decisions = [draft]
            case data if event.type in EVIDENCE_TYPES or event.type == "screening.retracted":
                participant = participant.with_record(event)
                participant, decisions = _new_evidence(participant, data, rules, event)
            case _:
                return Step()
        documents[key] = participant
        return Step(documents, decisions)


def _new_evidence(
    participant: Participant, data: Data, rules: Rules, event: SealedEvent
) -> tuple[Participant, list[DecisionDraft]]:
    decisions: list[DecisionDraft] = []
    if isinstance(data, Infused):
        assessed = assess_participant(participant, rules, event.entry.header.sealed_at)
        decisions = infusion_deviations(participant, assessed, rules, event)
    if participant.decision is None and participant.newest("screening.completed") is None:
        return participant, decisions
    participant, made = _judge(participant, rules, event)
    return participant, decisions + made


def _judge(
    participant: Participant, rules: Rules, event: SealedEvent, *, by_time: bool = False
) -> tuple[Participant, list[DecisionDraft]]:
    """Decide again if anything the decision says has changed; the old signature then no longer binds.

    Time alone is news only when it changes the standing or what failed: of a participant who stays
    undetermined, one more stale value a day would bury the decisions that matter.
    """
    assessed = assess_participant(participant, rules, event.entry.header.sealed_at)
    last = participant.decision
    if last is not None and last.fingerprint == assessed.fingerprint:
        return participant, []
    if last is not None and by_time:
        content = assessed.content
        if (last.standing, list(last.failed)) == (content.standing, content.failed):
            return participant, []
    cause = citation(event)
    data = decided(assessed, last, cause, rules)
    decision = LastDecision(
        cause=cause.index,
        judged_on=assessed.reference.day.isoformat(),
        basis=assessed.basis,
        standing=assessed.content.standing,
        failed=tuple(assessed.content.failed),
        fingerprint=assessed.fingerprint,
        verdicts=assessed.verdicts,
    )
    participant = participant.model_copy(update={"decision": decision, "signature": None})
    return participant, [DecisionDraft("screening.decided", ParticipantId(participant.code), data)]


def _sealed(participant: Participant, own: Decided, event: SealedEvent) -> Participant:
    """Our own decision has come back sealed: from now on it can be signed."""
    last = participant.decision
    if last is None or last.cause != own.cause.index:
        return participant
    known = last.model_copy(update={"entry": event.entry.index, "leaf": event.entry.leaf.hex()})
    return participant.model_copy(update={"decision": known})


def _signed(
    participant: Participant, signature: RecordSigned, rules: Rules, event: SealedEvent
) -> tuple[Participant, list[DecisionDraft]]:
    """An investigator's signature binds the decision as it stands; any other one is a deviation."""
    last = participant.decision
    bound = {(record.index, record.leaf) for record in signature.records}
    if last is None or last.entry is None or (last.entry, last.leaf) not in bound:
        text = "signed something other than the eligibility decision as it stands now; sign the current one"
        return participant, [deviation(participant, rules, event, "signature_on_superseded_decision", text)]
    if last.standing != "eligible":
        text = f"signed eligibility of a participant whose decision says {last.standing}"
        return participant, [deviation(participant, rules, event, "signature_on_not_eligible", text)]
    return participant.model_copy(update={"signature": event.entry.index}), []
