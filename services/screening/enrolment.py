"""Places in the trial: who may have one, and what breaks the trial's sequence (21 CFR 11.10(f))."""

from pydantic import BaseModel, ConfigDict

from services.screening.eligibility import ENGINE, WITHDRAWN, Assessed, Rules, assess_for_enrolment
from services.screening.participant import Participant
from shared.decider import DecisionDraft, SealedEvent
from shared.events.decisions import Cited, DeviationRaised, Enrolled, EnrolmentRefused
from shared.events.screening import EnrolmentRequested, Infused
from shared.words import ParticipantId


class Trial(BaseModel):
    """What is known of the trial as a whole: its protocol as adopted, the places taken, the time."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    document: str = ""
    digest: str = ""
    places_taken: int = 0
    sealed_at: str = ""


def citation(event: SealedEvent) -> Cited:
    """An event as the cause of a decision."""
    return Cited(index=event.entry.index, leaf=event.entry.leaf.hex())


def enrol(
    participant: Participant, trial: Trial, rules: Rules, event: SealedEvent
) -> tuple[Participant, Trial, DecisionDraft]:
    """Give the participant a place, or say every reason why not."""
    request = event.data
    assert isinstance(request, EnrolmentRequested)
    assessed = assess_for_enrolment(participant, rules, event.entry.header.sealed_at)
    reasons = _obstacles(participant, trial, rules, request, assessed)
    evidence = [citation(event)]
    if participant.decision is not None and participant.decision.entry is not None:
        assert participant.decision.leaf is not None
        evidence.append(Cited(index=participant.decision.entry, leaf=participant.decision.leaf))
    evidence.sort(key=lambda one: one.index)
    subject = ParticipantId(participant.code)
    common = {
        "cause": citation(event),
        "engine": ENGINE,
        "protocol": rules.protocol.version,
        "protocol_digest": rules.digest,
        "evidence": evidence,
    }
    if reasons:
        refused = EnrolmentRefused.model_validate({**common, "reasons": reasons})
        return participant, trial, DecisionDraft("screening.enrolment_refused", subject, refused)
    place = trial.places_taken + 1
    enrolled = Enrolled.model_validate(
        {**common, "place": place, "places": rules.protocol.places, "dose_level": request.dose_level}
    )
    return (
        participant.model_copy(update={"place": place, "dose_level": request.dose_level}),
        trial.model_copy(update={"places_taken": place}),
        DecisionDraft("screening.enrolled", subject, enrolled),
    )


def _obstacles(
    participant: Participant, trial: Trial, rules: Rules, request: EnrolmentRequested, assessed: Assessed
) -> list[str]:
    reasons = []
    if participant.place is not None:
        reasons.append(f"already enrolled, in place {participant.place}")
    decision = participant.decision
    if decision is None:
        reasons.append("screening is not completed: send screening.completed")
    standing = assessed.content.standing
    if standing != "eligible":
        open_ones = assessed.content.failed or sorted(
            {name for blocker in assessed.content.blockers for name in blocker.criteria}
        )
        told = [name for name in open_ones if name != WITHDRAWN]
        because = "withdrawn from the trial" if WITHDRAWN in open_ones else ", ".join(told)
        reasons.append(f"{standing} as of {assessed.reference.day.isoformat()}: {because}")
    if assessed.basis == "today" and participant.newest("screening.infusion_planned") is not None:
        reasons.append("the planned infusion lies in the past: plan it anew")
    if participant.newest("screening.screen_failed") is not None:
        reasons.append("closed as a screen failure")
    if participant.signature is None:
        reasons.append("the investigator has not signed the eligibility decision as it stands now")
    if trial.places_taken >= rules.protocol.places and participant.place is None:
        reasons.append(f"all {rules.protocol.places} places are taken")
    if request.dose_level not in {level.id for level in rules.protocol.dose_levels}:
        known = ", ".join(level.id for level in rules.protocol.dose_levels)
        reasons.append(f"{request.dose_level} is not a dose level of the protocol ({known})")
    return reasons


def deviation(participant: Participant, rules: Rules, event: SealedEvent, rule: str, text: str) -> DecisionDraft:
    """A sealed fact that broke the sequence: it stands, and so does this."""
    data = DeviationRaised(
        cause=citation(event),
        engine=ENGINE,
        protocol=rules.protocol.version,
        protocol_digest=rules.digest,
        rule=rule,
        text=text,
        evidence=[citation(event)],
    )
    return DecisionDraft("screening.deviation_raised", ParticipantId(participant.code), data)


def infusion_deviations(
    participant: Participant, assessed: Assessed | None, rules: Rules, event: SealedEvent
) -> list[DecisionDraft]:
    """What an infusion broke, if anything: no place, another dose level, not eligible on the actual day."""
    infused = event.data
    assert isinstance(infused, Infused)
    found = []
    if participant.place is None:
        found.append(("infused_without_enrolment", "infused without a place in the trial"))
    elif infused.dose_level != participant.dose_level:
        text = f"infused at {infused.dose_level}, enrolled at {participant.dose_level}"
        found.append(("infused_at_another_dose_level", text))
    if participant.newest("screening.withdrawn") is not None:
        found.append(("infused_after_withdrawal", "infused after withdrawing from the trial"))
    if infused.number == 1 and assessed is not None and assessed.content.standing != "eligible":
        detail = ", ".join(assessed.content.failed) or "not everything was known"
        text = f"{assessed.content.standing} on the day of the infusion: {detail}"
        found.append(("infused_while_not_eligible", text))
    return [deviation(participant, rules, event, rule, text) for rule, text in found]
