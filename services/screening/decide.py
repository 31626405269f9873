"""The screening decider: sealed event in, decisions out. Pure.

A participant is decided first when the site declares screening completed, and again whenever something that
the decision rests on has changed: new evidence, a correction, a moved infusion, an amendment, or time.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from services.screening.eligibility import Assessed, Rules, assess_participant, criteria_hold, decided, time_matters
from services.screening.enrolment import Trial, citation, deviation, enrol, infusion_deviations, turned_deviation
from services.screening.participant import EVIDENCE_TYPES, LastDecision, Participant, Signature
from shared.decider import DecisionDraft, SealedEvent, Step
from shared.events import Data
from shared.events.decisions import Decided
from shared.events.log import ProtocolAdopted
from shared.events.safety_decisions import SlotsDecided
from shared.events.screening import Infused, Retracted
from shared.events.signatures import RecordSigned
from shared.protocol.model import load_protocol
from shared.words import ParticipantId, SourceId, TrailError

SOURCE: Final = SourceId("service/screening")
_TRIAL: Final = "trial"


class ScreeningDecider:
    """Decides eligibility and enrolment."""

    source = SOURCE

    def document_type(self, key: str) -> type[BaseModel]:
        """See Decider."""
        return Trial if key == _TRIAL else Participant

    def decide(self, state: Mapping[str, BaseModel], event: SealedEvent) -> Step:
        """See Decider."""
        trial = state.get(_TRIAL, Trial())
        assert isinstance(trial, Trial)
        if isinstance(event.data, ProtocolAdopted):
            return self._adopt(state, trial, event)
        if isinstance(event.data, SlotsDecided):
            open_ = {"up_to": dict(event.data.up_to), "held": event.data.held}
            return Step({_TRIAL: trial.model_copy(update=open_)})
        code = event.envelope.subject
        if not trial.document:
            return Step() if code is None else self._remember(state, event, code)
        if event.type == "log.ticked":
            return self._time_passed(state, trial, event)
        return Step() if code is None else self._about_participant(state, trial, event, code)

    def _rules(self, trial: Trial) -> Rules:
        return Rules(load_protocol(trial.document), trial.digest)

    def _adopt(self, state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent) -> Step:
        data = event.data
        assert isinstance(data, ProtocolAdopted)
        try:
            protocol = load_protocol(data.document)
        except TrailError:
            # Sealed, but no protocol this engine can read: the version in force stays in force.
            return Step()
        if protocol.trial != event.envelope.trial:
            return Step()  # and so it does when the protocol is another trial's
        adopted = trial.model_copy(update={"document": data.document, "digest": data.digest})
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
        """Judge everybody again whom an amendment or time can still concern, in order of their codes."""
        documents: dict[str, BaseModel] = {_TRIAL: trial}
        decisions: list[DecisionDraft] = []
        now = event.entry.header.sealed_at
        for key in sorted(state):
            participant = state[key]
            if not isinstance(participant, Participant):
                continue
            if not (time_matters(participant, rules, now) if by_time else _amendable(participant)):
                continue
            assessed = assess_participant(participant, rules, now)
            changed, made = _judge(participant, assessed, rules, event, by_time=by_time)
            if made:
                documents[key] = changed
                decisions += made
        return Step(documents, decisions)

    def _remember(self, state: Mapping[str, BaseModel], event: SealedEvent, code: ParticipantId) -> Step:
        """Before any protocol is adopted nothing can be judged, but what is said then is evidence all the same."""
        if event.type not in EVIDENCE_TYPES and event.type != "screening.retracted":
            return Step()
        key, participant = _participant(state, event, code)
        return Step({key: participant.with_record(event)})

    def _about_participant(
        self, state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent, code: ParticipantId
    ) -> Step:
        key, participant = _participant(state, event, code)
        rules = self._rules(trial)
        decisions: list[DecisionDraft] = []
        documents: dict[str, BaseModel] = {}
        match event.data:
            case Decided() as own:
                participant = _sealed(participant, own, event)
            case RecordSigned() as signature if signature.meaning == "eligibility":
                participant, decisions = _signed(participant, signature, rules, event)
            case _ if event.type == "screening.enrolment_requested":
                participant, documents[_TRIAL], draft = enrol(participant, trial, rules, event)
                decisions = [draft]
            case data if event.type in EVIDENCE_TYPES or event.type == "screening.retracted":
                participant, decisions = _new_evidence(participant, data, rules, event)
            case _:
                return Step()
        documents[key] = participant
        return Step(documents, decisions)


def _participant(
    state: Mapping[str, BaseModel], event: SealedEvent, code: ParticipantId
) -> tuple[str, Participant]:
    key = f"participant:{code}"
    participant = state.get(key) or Participant(code=code, source=event.envelope.source)
    assert isinstance(participant, Participant)
    return key, participant


def _amendable(participant: Participant) -> bool:
    """Whether an amendment concerns the participant: it changes nothing for who was infused or closed before."""
    if participant.decision is None:  # a first decision, of who completed screening before there was a protocol
        return participant.newest("screening.completed") is not None
    return not participant.closed() and next(participant.infusions(), None) is None


def _new_evidence(
    before: Participant, data: Data, rules: Rules, event: SealedEvent
) -> tuple[Participant, list[DecisionDraft]]:
    participant = before.with_record(event)
    decisions: list[DecisionDraft] = []
    if isinstance(data, Retracted):
        participant = participant.without_signature(data.corrects)
        if data.corrects == before.request:
            text = f"the request that gave place {before.place} was retracted; the place stays taken"
            decisions.append(deviation(before, rules, event, "enrolment_request_retracted", text))
    due = participant.decision is not None or participant.newest("screening.completed") is not None
    if not due and not isinstance(data, Infused):
        return participant, decisions
    assessed = assess_participant(participant, rules, event.entry.header.sealed_at)
    if isinstance(data, Infused):
        decisions += infusion_deviations(before, participant, assessed, rules, event)
    if _turned(before, assessed) and not (isinstance(data, Infused) and data.number == 1):
        decisions.append(turned_deviation(before, assessed, rules, event))
    if not due:
        return participant, decisions
    participant, made = _judge(participant, assessed, rules, event)
    return participant, decisions + made


def _turned(before: Participant, assessed: Assessed) -> bool:
    """Whether who was eligible on the day of the actual infusion no longer is, by the criteria themselves."""
    last = before.decision
    if last is None or (last.basis, assessed.basis) != ("actual", "actual"):
        return False
    return criteria_hold(last.verdicts) and not criteria_hold(assessed.verdicts)


def _judge(
    participant: Participant, assessed: Assessed, rules: Rules, event: SealedEvent, *, by_time: bool = False
) -> tuple[Participant, list[DecisionDraft]]:
    """Decide again if anything the decision says has changed; the old signature then no longer binds.

    Time alone is news only when it changes the standing or what failed: of a participant who stays
    undetermined, one more stale value a day would bury the decisions that matter.
    """
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
    participant = participant.without_signature(signature.corrects)
    last = participant.decision
    bound = {(record.index, record.leaf) for record in signature.records}
    if last is None or last.entry is None or (last.entry, last.leaf) not in bound:
        text = "signed something other than the eligibility decision as it stands now; sign the current one"
        return participant, [deviation(participant, rules, event, "signature_on_superseded_decision", text)]
    if last.standing != "eligible":
        text = f"signed eligibility of a participant whose decision says {last.standing}"
        return participant, [deviation(participant, rules, event, "signature_on_not_eligible", text)]
    binding = Signature(entry=event.entry.index, leaf=event.entry.leaf.hex(), event_id=event.envelope.id)
    return participant.model_copy(update={"signature": binding}), []
