"""Places in the trial: who may have one, and what breaks the trial's sequence (21 CFR 11.10(f))."""

from services.screening.eligibility import ENGINE, Assessed, Rules, assess_for_enrolment
from services.screening.participant import CLOSINGS, Participant
from shared.decider import DecisionDraft, SealedEvent
from shared.events.decisions import Cited, DeviationRaised, Enrolled, EnrolmentRefused
from shared.events.screening import EnrolmentRequested, Infused
from shared.protocol.versions import Versions
from shared.records import Document
from shared.words import ParticipantId


class Trial(Document):
    """What is known of the trial as a whole: its protocol as adopted and amended, the places taken, the time.

    ``up_to`` is how many participants may be enrolled at each dose level in all, as the safety service last
    decided; None where it has never said. ``at_level`` is how many were.
    """

    document: str = ""
    digest: str = ""
    places_taken: int = 0
    sealed_at: str = ""
    up_to: dict[str, int] | None = None
    held: bool = False
    at_level: dict[str, int] = {}
    versions: Versions = Versions()


def citation(event: SealedEvent) -> Cited:
    """An event as the cause of a decision."""
    return Cited(index=event.entry.index, leaf=event.entry.leaf.hex())


def enrol(
    participant: Participant, trial: Trial, rules: Rules, event: SealedEvent, owed: str
) -> tuple[Participant, Trial, DecisionDraft]:
    """Give the participant a place, or say every reason why not; ``owed``: a consent that has to be given first."""
    request = event.data
    assert isinstance(request, EnrolmentRequested)
    assessed = assess_for_enrolment(participant, rules, event.entry.header.sealed_at)
    reasons = _obstacles(participant, trial, rules, request, assessed)
    reasons += [owed] if owed else []
    evidence = _contradicted(participant, event)
    if participant.signature is not None:
        evidence.append(Cited(index=participant.signature.entry, leaf=participant.signature.leaf))
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
        participant.model_copy(
            update={"place": place, "dose_level": request.dose_level, "request": event.envelope.id}
        ),
        trial.model_copy(
            update={
                "places_taken": place,
                "at_level": trial.at_level | {request.dose_level: trial.at_level.get(request.dose_level, 0) + 1},
            }
        ),
        DecisionDraft("screening.enrolled", subject, enrolled),
    )


def _obstacles(
    participant: Participant, trial: Trial, rules: Rules, request: EnrolmentRequested, assessed: Assessed
) -> list[str]:
    reasons = []
    if participant.place is not None:
        reasons.append(f"already enrolled, in place {participant.place}")
    if next(participant.infusions(), None) is not None:
        reasons.append("already infused")
    if participant.newest("screening.completed") is None:
        reasons.append("screening is not completed: send screening.completed")
    standing = assessed.content.standing
    if standing != "eligible":
        open_ones = assessed.content.failed or sorted(
            {name for blocker in assessed.content.blockers for name in blocker.criteria}
        )
        because = ", ".join(CLOSINGS.get(name, name) for name in open_ones)
        reasons.append(f"{standing} as of {assessed.reference.day.isoformat()}: {because}")
    if assessed.basis == "today" and participant.newest("screening.infusion_planned") is not None:
        reasons.append("the planned infusion lies in the past: plan it anew")
    if participant.signature is None:
        reasons.append("the investigator has not signed the eligibility decision as it stands now")
    if trial.places_taken >= rules.protocol.places and participant.place is None:
        reasons.append(f"all {rules.protocol.places} places are taken")
    if request.dose_level not in {level.id for level in rules.protocol.dose_levels}:
        known = ", ".join(level.id for level in rules.protocol.dose_levels)
        reasons.append(f"{request.dose_level} is not a dose level of the protocol ({known})")
    elif participant.place is None:
        reasons += _no_slot(trial, rules, request.dose_level)
    return reasons


def _no_slot(trial: Trial, rules: Rules, level: str) -> list[str]:
    """Why a dose level takes nobody now; empty when it does, and in a trial whose file has no cohorts."""
    if rules.protocol.safety is None or rules.protocol.safety.cohorts is None:
        return []
    if trial.up_to is None:
        return ["the safety service has not said yet where slots are open; ask again"]
    if trial.held:
        return ["enrolment is held: the cohort committee has to decide first"]
    taken, most = trial.at_level.get(level, 0), trial.up_to.get(level, 0)
    if taken < most:
        return []
    return [f"no slot is open at {level}: {taken} enrolled of {most}, until the cohort committee opens more"]


def deviation(participant: Participant, rules: Rules, event: SealedEvent, rule: str, text: str) -> DecisionDraft:
    """A sealed fact that broke the sequence: it stands, and so does this."""
    data = DeviationRaised(
        cause=citation(event),
        engine=ENGINE,
        protocol=rules.protocol.version,
        protocol_digest=rules.digest,
        rule=rule,
        text=text,
        evidence=_contradicted(participant, event),
    )
    return DecisionDraft("screening.deviation_raised", ParticipantId(participant.code), data)


def unusable_version(rules: Rules | None, event: SealedEvent, why: str) -> DecisionDraft:
    """A version of the protocol was sealed or activated by which nobody can be judged: what was in force stays."""
    # The reason quotes the document, and what stands there must not decide whether a decision can be written.
    shown = "".join(one if one.isprintable() else " " for one in why[:500])
    data = DeviationRaised(
        cause=citation(event),
        engine=ENGINE,
        protocol="none" if rules is None else rules.protocol.version,
        protocol_digest="0" * 64 if rules is None else rules.digest,
        rule="protocol_version_unusable",
        text=f"{shown}; what was in force stays in force",
        evidence=[citation(event)],
    )
    return DecisionDraft("screening.deviation_raised", None, data)


def _contradicted(participant: Participant, event: SealedEvent) -> list[Cited]:
    """An event with the decision that stood when it was sealed, where that one is sealed itself; in log order."""
    evidence = [citation(event)]
    decision = participant.decision
    if decision is not None and decision.entry is not None and decision.leaf is not None:
        evidence.append(Cited(index=decision.entry, leaf=decision.leaf))
    return sorted(evidence, key=lambda one: one.index)


def infusion_deviations(
    before: Participant, participant: Participant, assessed: Assessed, rules: Rules, event: SealedEvent
) -> list[DecisionDraft]:
    """What an infusion broke, if anything: place, dose level, signature, order, eligibility on the actual day."""
    infused = event.data
    assert isinstance(infused, Infused)
    found = []
    if participant.place is None:
        found.append(("infused_without_enrolment", "infused without a place in the trial"))
    elif infused.dose_level != participant.dose_level:
        text = f"infused at {infused.dose_level}, enrolled at {participant.dose_level}"
        found.append(("infused_at_another_dose_level", text))
    # A correction of the first infusion is not one more: the signature was bound, or not, when that one came.
    if participant.first_infusions() > before.first_infusions():
        found += _first_infusion_deviations(participant)
    closed = participant.closed()
    if "withdrawn" in closed:
        found.append(("infused_after_withdrawal", "infused after withdrawing from the trial"))
    if "screen_failed" in closed:
        found.append(("infused_after_screen_failure", "infused after being closed as a screen failure"))
    if infused.number == 1 and assessed.content.standing != "eligible":
        found.append(("infused_while_not_eligible", _not_eligible(assessed)))
    return [deviation(participant, rules, event, rule, text) for rule, text in found]


def turned_deviation(
    participant: Participant, assessed: Assessed, rules: Rules, event: SealedEvent
) -> DecisionDraft:
    """What was recorded after the infusion shows that it should not have been given."""
    text = f"{_not_eligible(assessed)} (known only since)"
    return deviation(participant, rules, event, "infused_while_not_eligible", text)


def _first_infusion_deviations(participant: Participant) -> list[tuple[str, str]]:
    found = []
    if participant.signature is None:
        text = "infused without the investigator's signature on the eligibility decision as it stood"
        found.append(("infused_without_current_signature", text))
    if participant.first_infusions() > 1:
        text = "another first infusion is recorded already; correct or retract the wrong one"
        found.append(("two_first_infusions", text))
    return found


def _not_eligible(assessed: Assessed) -> str:
    detail = ", ".join(CLOSINGS.get(name, name) for name in assessed.content.failed) or "not everything was known"
    return f"{assessed.content.standing} on the day of the infusion: {detail}"
