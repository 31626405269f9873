"""The safety decider: sealed event in, decisions out. Pure.

Each statement about a participant is taken in, every question about them is answered anew, and what differs from
the answer that was issued last becomes a decision. Cohorts are asked whenever a window or an enrolment changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from services.safety import cohorts
from services.safety.assess import (
    Assessed,
    Deviation,
    assess,
    assess_terms,
    counted,
    limit_terms,
    term_questions,
)
from services.safety.grades import COMPONENTS, changed_terms, folded_on, regraded
from services.safety.infusions import enrolment_deviations, infusion_deviations
from services.safety.measurements import terms_of
from services.safety.participant import MEASUREMENTS, STATEMENTS, Participant, StoredStatement
from services.safety.trial import (
    Answer,
    CommitteeDecision,
    CommitteeSignature,
    Member,
    Rules,
    Trial,
    cite,
    closing_of,
    draft,
    issued,
    located,
)
from services.safety.versions import gone_on, rules_for, with_version
from shared.decider import DecisionDraft, SealedEvent, Step
from shared.entry import PERSONS_SINCE
from shared.events.authority import authority
from shared.events.decisions import Enrolled
from shared.events.log import ProtocolActivated, ProtocolAdopted, ProtocolAmended
from shared.events.safety import CohortDecided, ReferenceAdopted
from shared.events.screening import Infused, Observed
from shared.events.signatures import PersonSigned
from shared.moments import instant
from shared.protocol.model import load_protocol
from shared.protocol.versions import VersionText, is_text
from shared.records import corrected_id
from shared.words import ParticipantId, SourceId, TrailError

SOURCE: Final = SourceId("service/safety")
_TRIAL: Final = "trial"
_RETRACTIONS: Final = frozenset({"screening.retracted", "safety.retracted"})


class SafetyDecider:
    """Decides grades, classifications, reporting clocks, windows for dose-limiting toxicity, and cohorts."""

    source = SOURCE

    def document_type(self, key: str) -> type[BaseModel]:
        """See Decider."""
        if is_text(key):
            return VersionText
        return Trial if key == _TRIAL else Participant

    def decide(self, state: Mapping[str, BaseModel], event: SealedEvent) -> Step:
        """See Decider."""
        work = _Work(state, event)
        match event.data:
            case ProtocolAdopted() as adopted:
                work.adopt(adopted)
            case ProtocolAmended() | ProtocolActivated():
                work.take_version()
            case ReferenceAdopted():
                work.take_reference()
            case CohortDecided():
                work.take_committee()
            case PersonSigned() as signature if signature.meaning == "cohort":
                work.take_signature(signature)
            case Enrolled() as enrolled:
                work.enrol(enrolled)
            case _ if event.type == "log.ticked":
                work.tick()
            case _ if event.envelope.source == SOURCE:
                work.remember_own()
            case _ if event.type in MEASUREMENTS:
                work.take_measurement()
            case _ if event.type in STATEMENTS | _RETRACTIONS:
                work.take_statement()
        return Step(work.documents, work.decisions)


class _Work:
    """One event's work: the documents that change and the decisions that follow, as they come about."""

    def __init__(self, state: Mapping[str, BaseModel], event: SealedEvent) -> None:
        self.state = state
        self.event = event
        self.documents: dict[str, BaseModel] = {}
        self.decisions: list[DecisionDraft] = []
        trial = state.get(_TRIAL) or Trial()
        assert isinstance(trial, Trial)
        self.trial = trial

    # What comes in -------------------------------------------------------------------------------------------

    def adopt(self, adopted: ProtocolAdopted) -> None:
        """A version of the protocol takes effect; everybody is judged by it."""
        try:
            protocol = load_protocol(adopted.document)
        except TrailError:
            return  # sealed, but no protocol this engine can read: the version in force stays in force
        if protocol.trial != self.event.envelope.trial:
            return
        self._change_trial(document=adopted.document, digest=adopted.digest, adopted="")
        self._judge_everybody()

    def take_version(self) -> None:
        """A version was sealed, or activated at a site; the trial as a whole may go by it from now on."""
        trial, texts = with_version(self.state, self.trial, self.event)
        if trial != self.trial:
            self._change_trial(versions=trial.versions)
            self.documents |= texts
            self._go_on()

    def take_reference(self) -> None:
        """Another version of the reference safety information: what is expected may change for everybody."""
        known = self.trial.references
        place = self._place(known)
        record = StoredStatement.sealed(self.event, known[place] if place < len(known) else None)
        self._change_trial(references=(*known[:place], *known[place + 1 :], record))
        self._judge_everybody()

    def take_committee(self) -> None:
        """The cohort committee decided, or corrected what it had decided."""
        records = list(self.trial.committee)
        place = self._place(records)
        wrong = records[place] if place < len(records) else None
        # Who signed what is corrected now did not sign this.
        persons = self._persons_needed()
        since = None if persons else int(self.event.entry.index)
        record = CommitteeDecision.of(
            self.event,
            source=self.event.envelope.source,
            since=since if wrong is None else wrong.since,
            persons=persons,
            before=None if wrong is None else wrong.as_statement(),
        )
        before = self.trial.model_copy(update={"committee": tuple(records[:place])})
        rules = self._rules()
        if rules is not None and rules.plan.cohorts is not None:
            for answer in cohorts.departures(before, rules, record):
                self.decisions.append(draft(answer, None, self.event, rules))
        self._change_trial(committee=(*records[:place], record, *records[place + 1 :]))
        self._judge_cohorts()

    def _persons_needed(self) -> int:
        """How many have to sign the decision before it takes effect; what only closes does so at once."""
        assert isinstance(self.event.data, CohortDecided)
        if self.event.entry.header.format < PERSONS_SINCE or self.event.data.decision in {"hold", "stop"}:
            return 0
        return authority().signatures["cohort"].persons

    def take_signature(self, data: PersonSigned) -> None:
        """A member of the committee signed its decisions; one that enough have signed takes effect."""
        index, leaf = int(self.event.entry.index), self.event.entry.leaf.hex()
        by = CommitteeSignature(user=data.user, index=index, leaf=leaf)
        bound = {(record.index, record.leaf) for record in data.records}
        known = self.trial.committee
        signed = tuple(one.signed(by) if (one.index, one.leaf) in bound else one for one in known)
        if signed != known:
            self._change_trial(committee=signed)
            self._judge_cohorts()

    def enrol(self, enrolled: Enrolled) -> None:
        """Screening gave a place."""
        code, rules = self._code(), self._rules()
        participant = self._participant(code)
        if rules is not None:
            participant = self._deviate(
                participant, enrolment_deviations(self.event, enrolled, self.trial, rules), rules
            )
        member = self.trial.members.get(code, Member())
        changed = member.model_copy(
            update={"enrolled_at": enrolled.dose_level, "enrolled_entry": self.event.entry.index}
        )
        self._change_trial(members=self.trial.members | {code: changed})
        self._keep(participant.model_copy(update={"dose_level": enrolled.dose_level}))
        self._judge_cohorts()

    def tick(self) -> None:
        """Time has passed: clocks run out, windows close."""
        self._change_trial(sealed_at=self.event.entry.header.sealed_at)
        self._go_on()
        for participant in self._participants():
            if _time_matters(participant, self.trial):
                self._judge(participant, tick=True)
        self._judge_cohorts()

    def remember_own(self) -> None:
        """A decision of ours has come back sealed: from now on it can be superseded by name."""
        code = self.event.envelope.subject
        if code is None:
            known = located(self.trial.issued, self.event)
            if known is not None:
                self._change_trial(issued=known)
            return
        participant = self._participant(code)
        known = located(participant.issued, self.event)
        if known is not None:
            self._keep(participant.model_copy(update={"issued": known}))

    def take_measurement(self) -> None:
        """A measurement: its terms are graded, and the rest is asked again only if it could matter to it."""
        zone, before = self._zone(), self._participant(self._code())
        rules = self._rules_for(before)
        participant, gone = before.without(self.event)
        record = StoredStatement.sealed(self.event, before.corrected(self.event))
        if rules is None or participant.exposed is None:
            self._keep(participant.with_measurement(record, {}))
            return
        assert isinstance(self.event.data, Observed)
        graded = None if gone else folded_on(participant, record, zone)
        participant = participant.with_measurement(record, graded or {})
        if graded is None:
            participant = regraded(participant, {*gone, self.event.data.item}, zone)
        changed = changed_terms(before, participant)
        concerned = {term for item in (*gone, self.event.data.item) for term in terms_of(item)}
        if not concerned.isdisjoint(participant.event_names) or not concerned.isdisjoint(limit_terms(rules)):
            self._judge(participant)  # the grade that an adverse event had, or a window ended with, may change
            self._judge_cohorts()
        elif not changed:
            self._keep(participant)
        else:
            answers = assess_terms(participant, changed)
            asked = {one.question for one in answers}
            silent = [question for question in term_questions(before, changed) if question not in asked]
            self._keep(self._issue(participant, answers, rules, silent))

    def take_statement(self) -> None:
        """Any other statement about a participant, or one taken back: every question is asked again."""
        zone = self._zone()
        before = self._participant(self._code())
        participant, items = before.with_statement(self.event, zone)
        if participant.exposed != before.exposed:
            items = set(participant.measurements)
        participant = regraded(participant, {*items, COMPONENTS}, zone)
        rules = self._rules_for(participant)
        if rules is None:
            self._keep(participant)
            return
        if isinstance(self.event.data, Infused):
            broken = infusion_deviations(self.event, participant.code, self.trial, rules, zone)
            participant = self._deviate(participant, broken, rules)
        self._judge(participant)
        self._judge_cohorts()

    # What goes out -------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Where the day of a newer version has begun at a site, the trial as a whole goes by it from now on."""
        trial = gone_on(self.state, self.trial, instant(self.event.entry.header.sealed_at))
        if trial is not None:
            self._change_trial(document=trial.document, digest=trial.digest, adopted=trial.adopted)
            self._judge_everybody()

    def _judge_everybody(self) -> None:
        for known in self._participants():
            zone = self._zone(known)
            participant = known.seen_from(zone)
            self._judge(regraded(participant, {*participant.measurements, COMPONENTS}, zone))
        self._judge_cohorts()

    def _judge(self, participant: Participant, *, tick: bool = False) -> None:
        """Answer every question about a participant; what is new becomes a decision."""
        rules = self._rules_for(participant)
        if rules is None:
            self._keep(participant)
            return
        zone = self._zone(participant)
        assessed = assess(participant, rules, zone, self.event.entry.header.sealed_at, tick=tick)
        asked = {one.question for one in assessed.answers}
        gone = [question for question in sorted(participant.issued) if question not in asked]
        participant = self._issue(participant, assessed.answers, rules, gone)
        participant = self._deviate(participant, assessed.deviations, rules)
        kept = {"clocks": assessed.clocks, "serious_since": assessed.serious_since}
        self._keep(participant.model_copy(update=kept))
        self._count(participant, assessed)

    def _issue(
        self, participant: Participant, answers: Iterable[Answer], rules: Rules, gone: Iterable[str]
    ) -> Participant:
        """Issue the answers that differ from the last ones; take back those to questions that are gone."""
        known = dict(participant.issued)
        subject = ParticipantId(participant.code)
        for answer in answers:
            last = known.get(answer.question)
            if last is None or last.fingerprint != answer.fingerprint:
                self.decisions.append(draft(answer, subject, self.event, rules, last))
                known[answer.question] = issued(answer, self.event)
        for question in gone:
            last = known.pop(question, None)
            closing = None if last is None else closing_of(question, last)
            if closing is not None:
                self.decisions.append(draft(closing, subject, self.event, rules, last))
        return participant.model_copy(update={"issued": known})

    def _deviate(self, participant: Participant, found: Iterable[Deviation], rules: Rules) -> Participant:
        """Raise each deviation once."""
        told = list(participant.told)
        for one in found:
            if one.key in told:
                continue
            answer = Answer(
                one.key,
                "safety.deviation_raised",
                {"rule": one.rule, "text": one.text},
                evidence=cite(*one.about),
                explained=False,
                superseding=False,
            )
            self.decisions.append(draft(answer, ParticipantId(participant.code), self.event, rules))
            told.append(one.key)
        return participant.model_copy(update={"told": tuple(told)})

    def _count(self, participant: Participant, assessed: Assessed) -> None:
        """How the cohorts see the participant from now on."""
        member = self.trial.members.get(participant.code, Member())
        changed = counted(member, participant, assessed, self._zone(participant), self.event.entry.index)
        if changed != member:
            self._change_trial(members=self.trial.members | {participant.code: changed})

    def _judge_cohorts(self) -> None:
        """What is recommended, and where places are open."""
        rules = self._rules()
        if rules is None or rules.plan.cohorts is None:
            return
        made = cohorts.recommended(self.trial, rules)
        answers = [None if made is None else made[1], cohorts.slots(self.trial, rules)]
        known = dict(self.trial.issued)
        for answer in [one for one in answers if one is not None]:
            last = known.get(answer.question)
            if last is None or last.fingerprint != answer.fingerprint:
                self.decisions.append(draft(answer, None, self.event, rules, last))
                known[answer.question] = issued(answer, self.event)
        if known != self.trial.issued:
            self._change_trial(issued=known)

    # The state ------------------------------------------------------------------------------------------------

    def _rules(self) -> Rules | None:
        return Rules.of(self.trial)

    def _rules_for(self, participant: Participant) -> Rules | None:
        return rules_for(self.state, self.trial, participant)

    def _zone(self, participant: Participant | None = None) -> ZoneInfo:
        """The site's time zone; before there is a protocol, UTC."""
        source = participant.source if participant is not None else self._participant(self._code()).source
        return load_protocol(self.trial.document).zone(source) if self.trial.document else ZoneInfo("UTC")

    def _code(self) -> str:
        assert self.event.envelope.subject is not None
        return self.event.envelope.subject

    def _participant(self, code: str) -> Participant:
        key = f"participant:{code}"
        found = self.documents.get(key) or self.state.get(key)
        if found is None:
            return Participant(code=code, source=self.event.envelope.source)
        assert isinstance(found, Participant)
        return found

    def _participants(self) -> list[Participant]:
        keys = sorted(key for key in self.state if key != _TRIAL and not is_text(key))
        return [self._participant(key.partition(":")[2]) for key in keys]

    def _keep(self, participant: Participant) -> None:
        self.documents[f"participant:{participant.code}"] = participant

    def _change_trial(self, **changes: object) -> None:
        self.trial = self.trial.model_copy(update=changes)
        self.documents[_TRIAL] = self.trial

    def _place(self, records: Sequence[StoredStatement]) -> int:
        """Where among these records the one is that the event corrects; behind them all where it corrects none."""
        gone, source = corrected_id(self.event.data), self.event.envelope.source
        corrected = (at for at, one in enumerate(records) if one.source == source and gone and one.answers_to(gone))
        return next(corrected, len(records))


def _time_matters(participant: Participant, trial: Trial) -> bool:
    """Whether a tick can change anything: a clock runs, or a window is open."""
    member = trial.members.get(participant.code)
    open_ = member is not None and member.state == "open"
    return open_ or any(clock.state == "running" for clock in participant.clocks.values())
