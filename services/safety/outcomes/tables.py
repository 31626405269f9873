"""All outcomes of a trial at one moment, from what the safety decider knew at it. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from services.safety.classification import classify
from services.safety.outcomes.chimerism import Curve, curve
from services.safety.outcomes.counting import NO_ARM, Arm, CountedEvent
from services.safety.outcomes.incidence import Incidence, incidence, level
from services.safety.outcomes.limiting import Limiting, limiting
from services.safety.outcomes.notes import Counted, Note, notes
from services.safety.participant import Participant
from services.safety.trial import Rules, Trial, in_force
from services.safety.versions import rules_for
from shared.events.safety import ArmAssigned, EventReported
from shared.protocol.safety import Emergence


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The tables, under which protocol and by which arm they were counted, and every event they count.

    ``events`` are all adverse events of exposed participants, by participant and number, emergent or not.
    """

    trial: str
    protocol: str
    protocol_digest: str
    counted_by: Literal["planned", "actual"]
    emergent_when: str
    coding: str
    arms: tuple[Arm, ...]
    incidence: Incidence
    limiting: Limiting | None
    chimerism: tuple[Curve, ...]
    chimerism_days: tuple[int, ...]
    notes: tuple[Note, ...]
    events: tuple[CountedEvent, ...]


def outcomes(state: Mapping[str, BaseModel]) -> Outcomes:
    """Count the outcomes in a safety decider's state: its ``trial`` and its participants.

    Raises TrailError when no protocol was in force, or it has no safety part.
    """
    trial = state.get("trial", Trial())
    assert isinstance(trial, Trial)
    rules = in_force(trial)
    known = {one.code: one for _, one in sorted(state.items()) if isinstance(one, Participant)}
    arms = _arms(trial, known, rules)
    theirs = {code: rules_for(state, trial, one) or rules for code, one in known.items()}
    counted = list(_counted(known, arms, theirs))
    events = tuple(one.event for one in counted)
    curves = tuple(_curves(known, arms, theirs))
    return Outcomes(
        trial=rules.protocol.trial,
        protocol=rules.protocol.version,
        protocol_digest=rules.digest,
        counted_by=rules.plan.arm,
        emergent_when=_in_words(rules.plan.emergence),
        coding=rules.plan.coding,
        arms=arms,
        incidence=incidence(events, arms),
        limiting=limiting(trial, known, rules),
        chimerism=curves,
        chimerism_days=rules.plan.chimerism_days,
        notes=tuple(notes(counted, arms, known, curves)),
        events=events,
    )


def _arms(trial: Trial, known: Mapping[str, Participant], rules: Rules) -> tuple[Arm, ...]:
    """The dose levels in the protocol's order, then any other arm that somebody is in."""
    members: dict[str, list[str]] = defaultdict(list)
    entries: dict[str, set[int]] = defaultdict(set)
    for code, participant in known.items():
        if participant.exposed is None:
            continue
        planned = rules.plan.arm == "planned"
        arm = (participant.planned_arm() if planned else participant.actual_arm()) or NO_ARM
        members[arm].append(code)
        entries[arm].add(participant.exposed.index)
        if planned:
            entries[arm] |= _assigned(trial, participant)
    doses = {one.id: one.dose for one in rules.protocol.dose_levels}
    names = [*doses, *sorted(members.keys() - doses.keys())]
    return tuple(Arm(arm, doses.get(arm, ""), tuple(members[arm]), tuple(sorted(entries[arm]))) for arm in names)


def _assigned(trial: Trial, participant: Participant) -> set[int]:
    """The entry that says which arm was planned: the assignment, or the enrolment."""
    assigned = [record.index for record in participant.of(ArmAssigned)]
    member = trial.members.get(participant.code)
    enrolled = None if member is None else member.enrolled_entry
    return {assigned[-1]} if assigned else set() if enrolled is None else {enrolled}


def _counted(
    known: Mapping[str, Participant], arms: Sequence[Arm], theirs: Mapping[str, Rules]
) -> Iterator[Counted]:
    """Every event, each participant's by the version of the protocol at their first exposure."""
    for arm, participant in _exposed(known, arms):
        rules = theirs[participant.code]
        zone = rules.protocol.zone(participant.source)
        exposure = participant.exposure(zone)
        for event in participant.events(zone):
            classified = classify(event, exposure, rules, zone)
            report = next(one.index for one in event.statements if isinstance(one.data, EventReported))
            counted = CountedEvent(
                participant=participant.code,
                arm=arm,
                ae=event.ae,
                entry=report,
                statements=tuple(one.index for one in event.statements),
                term=event.name,
                system_organ_class=event.report.system_organ_class,
                level=level(event),
                emergent=classified.emergent.counts,
                certain=classified.emergent.certain,
                serious=event.serious,
                related=classified.related,
                fatal=event.fatal,
                arithmetic=classified.emergent.arithmetic,
            )
            yield Counted(counted, classified)


def _curves(known: Mapping[str, Participant], arms: Sequence[Arm], theirs: Mapping[str, Rules]) -> Iterator[Curve]:
    for arm, participant in _exposed(known, arms):
        rules = theirs[participant.code]
        found = curve(participant, arm, rules, rules.protocol.zone(participant.source))
        if found is not None:
            yield found


def _exposed(known: Mapping[str, Participant], arms: Sequence[Arm]) -> list[tuple[str, Participant]]:
    """Everybody who was exposed with their arm, by code."""
    found = [(code, arm.id) for arm in arms for code in arm.participants]
    return [(arm, known[code]) for code, arm in sorted(found)]


def _in_words(rules: Emergence) -> str:
    what = "begins, or worsens in grade," if rules.worsening else "begins"
    until = "however long after it" if rules.last_day is None else f"through day {rules.last_day}"
    doubt = {
        "emergent": "a date that could go either way counts",
        "earliest": "a partial date is the first day it could be",
    }
    return f"{what} on or after the first exposure (day {rules.first_day}), {until}; {doubt[rules.partial_dates]}"
