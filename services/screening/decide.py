"""The screening decider: sealed event in, decisions out. Pure.

A participant is decided first when the site declares screening completed, and again whenever something that
the decision rests on has changed: new evidence, a correction, a moved infusion, an amendment, or time.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from services.screening.eligibility import Assessed, Rules, assess_participant, criteria_hold, decided, time_matters
from services.screening.enrolment import (
    Trial,
    citation,
    deviation,
    enrol,
    infusion_deviations,
    turned_deviation,
    unusable_version,
)
from services.screening.participant import EVIDENCE_TYPES, LastDecision, Participant, Signature, local_day
from services.screening.versions import adopted_rules, owed_at_infusion, owed_consent, rules_for
from shared.decider import DecisionDraft, SealedEvent, Step
from shared.entry import PERSONS_SINCE
from shared.events import Data
from shared.events.decisions import Decided
from shared.events.log import ProtocolActivated, ProtocolAdopted, ProtocolAmended, Ticked
from shared.events.safety_decisions import SlotsDecided
from shared.events.screening import Infused, Retracted
from shared.events.signatures import RecordSigned
from shared.protocol.versions import VersionText, checked, is_text, text_key
from shared.words import ParticipantId, SourceId, TrailError, source_name

SOURCE: Final = SourceId("service/screening")
_TRIAL: Final = "trial"


class ScreeningDecider:
    """Decides eligibility and enrolment."""

    source = SOURCE

    def document_type(self, key: str) -> type[BaseModel]:
        """See Decider."""
        if is_text(key):
            return VersionText
        return Trial if key == _TRIAL else Participant

    def decide(self, state: Mapping[str, BaseModel], event: SealedEvent) -> Step:
        """See Decider."""
        trial = state.get(_TRIAL, Trial())
        assert isinstance(trial, Trial)
        code = event.envelope.subject
        match event.data:
            case ProtocolAdopted() as adopted:
                return self._adopt(state, trial, event, adopted)
            case ProtocolAmended() as amended:
                return self._amend(trial, event, amended)
            case ProtocolActivated() as activated:
                return self._activate(state, trial, event, activated)
            case SlotsDecided() as slots:
                open_ = {"up_to": dict(slots.up_to), "held": slots.held}
                return Step({_TRIAL: trial.model_copy(update=open_)})
            case Ticked() if trial.document or trial.versions.sites:
                passed = trial.model_copy(update={"sealed_at": event.entry.header.sealed_at})
                return self._reconsider(state, passed, event, by_time=True)
            case _:
                return Step() if code is None else self._about_participant(state, trial, event, code)

    def _adopt(
        self, state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent, data: ProtocolAdopted
    ) -> Step:
        try:
            checked(data.document, event.envelope.trial)
        except TrailError as error:
            # Sealed, but no protocol of this trial that this engine can read: the version in force stays in force.
            # In older formats nothing was said of it, and a replay of such a log says nothing either.
            if event.entry.header.format < PERSONS_SINCE:
                return Step()
            return Step(decisions=[unusable_version(adopted_rules(trial), event, str(error))])
        adopted = trial.model_copy(update={"document": data.document, "digest": data.digest})
        return self._reconsider(state, adopted, event)

    def _amend(self, trial: Trial, event: SealedEvent, data: ProtocolAmended) -> Step:
        """A version is known from now on, and nobody is judged by it before it is activated somewhere."""
        try:
            versions = trial.versions.amended(event, trial.document)
        except TrailError as error:
            return Step(decisions=[unusable_version(adopted_rules(trial), event, str(error))])
        known = trial.model_copy(update={"versions": versions})
        return Step({_TRIAL: known, text_key(data.digest): VersionText(document=data.document)})

    def _activate(
        self, state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent, data: ProtocolActivated
    ) -> Step:
        """A version is, or will be, in force at a site: its participants are judged by it from that day on."""
        try:
            versions = trial.versions.activated(event, trial.digest)
        except TrailError as error:
            return Step(decisions=[unusable_version(adopted_rules(trial), event, str(error))])
        known = trial.model_copy(update={"versions": versions})
        return self._reconsider(state, known, event, site=data.site)

    def _reconsider(
        self,
        state: Mapping[str, BaseModel],
        trial: Trial,
        event: SealedEvent,
        *,
        site: str | None = None,
        by_time: bool = False,
    ) -> Step:
        """Judge everybody again, or at one site, whom an amendment or time can still concern, in order of codes."""
        documents: dict[str, BaseModel] = {_TRIAL: trial}
        decisions: list[DecisionDraft] = []
        now = event.entry.header.sealed_at
        for key in sorted(state):
            participant = state[key]
            if not isinstance(participant, Participant):
                continue
            if site is not None and source_name(participant.source) != site:
                continue
            rules = rules_for(state, trial, participant, now)
            if rules is None:
                continue
            if not (time_matters(participant, rules, now) if by_time else _amendable(participant)):
                continue
            assessed = assess_participant(participant, rules, now)
            same = not trial.versions.at(participant.source) or _decided_by(participant, trial) == rules.digest
            changed, made = _judge(participant, assessed, rules, event, by_time=by_time and same)
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
        key, before = _participant(state, event, code)
        now = event.entry.header.sealed_at
        said = event.type in EVIDENCE_TYPES or event.type == "screening.retracted"
        participant = before.with_record(event) if said else before
        asking = event.type == "screening.enrolment_requested"
        rules = rules_for(state, trial, participant, now, enrolling=asking)
        if rules is None:
            return self._remember(state, event, code)
        decisions: list[DecisionDraft] = []
        documents: dict[str, BaseModel] = {}
        match event.data:
            case Decided() as own:
                participant = _sealed(participant, own, event)
            case RecordSigned() as signature if signature.meaning == "eligibility":
                participant, decisions = _signed(participant, signature, rules, event)
            case _ if asking:
                owed = owed_consent(participant, trial, rules, local_day(now, rules.protocol.zone(before.source)))
                told = "" if owed is None else owed.told(before.source)
                participant, documents[_TRIAL], draft = enrol(participant, trial, rules, event, told)
                decisions = [draft]
            case data if said:
                participant, decisions = _new_evidence(before, participant, data, rules, event)
                owed = owed_at_infusion(participant, trial, rules, data) if isinstance(data, Infused) else None
                if owed is not None:
                    text = f"infused without consenting again: {owed.told(before.source)}"
                    decisions = [*decisions, deviation(before, rules, event, "infused_without_reconsent", text)]
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


def _decided_by(participant: Participant, trial: Trial) -> str:
    """The digest of the version by which a participant was decided last."""
    return (participant.decision.digest if participant.decision is not None else "") or trial.digest


def _new_evidence(
    before: Participant, participant: Participant, data: Data, rules: Rules, event: SealedEvent
) -> tuple[Participant, list[DecisionDraft]]:
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
        digest=rules.digest,
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
