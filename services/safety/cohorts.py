"""Cohorts: who counts at which dose level, what the escalation rule recommends, and where places are open. Pure.

The engine recommends; the cohort committee's signed decision opens places. What locks them needs nobody: a level
that the rule gives up, open windows below that still decide, a related death.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.safety.escalation.design import Recommendation, Tally, recommend
from services.safety.participant import StoredStatement
from services.safety.trial import Answer, CommitteeDecision, Member, Rules, Trial, cite
from shared.events.safety import CohortDecided
from shared.protocol.safety import Cohorts

_AGREES = {
    "escalate": {"escalate"},
    "stay": {"stay", "expand"},
    "de_escalate": {"de_escalate", "stop", "hold"},
    "eliminate": {"de_escalate", "stop", "hold"},
    "wait": {"hold"},
    "stop": {"stop", "hold"},
    "complete": {"stop", "hold", "expand"},
}
"""Which decisions follow a recommendation. A hold or a stop is never a departure: nobody is exposed by it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A decision of the committee that is in force, typed, with its record and the entry since which it counts."""

    record: CommitteeDecision
    said: CohortDecided
    since: int


def tally(level: str, members: Mapping[str, Member]) -> Tally:
    """Count a dose level's participants by how their windows stand."""
    states = [member.state for member in members.values() if member.level == level]
    evaluable = sum(state in {"clean", "dlt"} for state in states)
    return Tally(level, evaluable, states.count("dlt"), states.count("open"))


def current_level(trial: Trial, rules: Rules) -> str:
    """The dose level that the committee opened last; the lowest before it has opened any."""
    levels = [level.id for level in rules.protocol.dose_levels]
    opened = [one.said.opens for one in decisions(trial) if one.said.opens in levels]
    return (opened[-1] if opened else None) or levels[0]


def recommended(trial: Trial, rules: Rules) -> tuple[Recommendation, Answer] | None:
    """Recommend for the current dose level; None while nobody was treated there, or in a trial without cohorts."""
    if rules.plan.cohorts is None:
        return None
    current = current_level(trial, rules)
    treated = [one for one in trial.members.values() if one.level == current]
    if not treated:
        return None
    made, here = _at(trial, rules, current), tally(current, trial.members)
    content = {
        "dose_level": current,
        "treated": len(treated),
        "evaluable": here.evaluable,
        "dlts": here.dlts,
        "pending": here.pending,
        "action": made.action,
        "eliminated": list(made.eliminated),
    }
    if made.to is not None:
        content["to"] = made.to
    evidence = cite(*((one.index, one.leaf) for one in treated if one.index is not None))
    return made, Answer("recommend", "safety.cohort_recommended", content, made.arithmetic, evidence)


def _at(trial: Trial, rules: Rules, level: str) -> Recommendation:
    """What the rule recommends when it is asked about this level."""
    assert rules.plan.cohorts is not None
    tallies = [tally(each.id, trial.members) for each in rules.protocol.dose_levels]
    return recommend(rules.plan.cohorts.escalation, tallies, level, arrived_with=_arrived_with(trial, level))


def _given_up(trial: Trial, rules: Rules) -> frozenset[str]:
    """Every level that the rule gives up by what is known at any level, whichever is the current one."""
    treated = [each.id for each in rules.protocol.dose_levels if tally(each.id, trial.members).treated]
    return frozenset(gone for level in treated for gone in _at(trial, rules, level).eliminated)


def _waits_below(trial: Trial, rules: Rules, level: str) -> str:
    """The level below, while its open windows still decide whether this one may be used; empty otherwise."""
    names = [each.id for each in rules.protocol.dose_levels]
    below = names.index(level) - 1
    if below < 0 or not tally(names[below], trial.members).pending:
        return ""
    return names[below] if _at(trial, rules, names[below]).action == "wait" else ""


def _arrived_with(trial: Trial, level: str) -> int:
    """How many were treated at a level when the committee last opened it; 0 for one it never opened."""
    opened = [one.since for one in decisions(trial) if one.said.opens == level]
    if not opened:
        return 0
    return sum(
        one.level == level
        and one.infused_entry is not None
        and one.infused_entry < opened[-1]
        and one.state != "not_evaluable"
        for one in trial.members.values()
    )


def decisions(trial: Trial) -> list[Opening]:
    """The committee's live decisions that are signed as they must be, in the order in which they took effect."""
    found = [
        Opening(record, record.said, record.since)
        for record in trial.committee
        if isinstance(record.said, CohortDecided) and record.in_force and record.since is not None
    ]
    return sorted(found, key=lambda one: one.since)


def pending(trial: Trial) -> list[CommitteeDecision]:
    """The committee's live decisions that too few persons have signed; they open and hold nothing."""
    return [record for record in trial.committee if not record.in_force]


def slots(trial: Trial, rules: Rules) -> Answer | None:
    """How many participants may be enrolled at each level in all; None without cohorts."""
    plan = rules.plan.cohorts
    if plan is None:
        return None
    levels = [level.id for level in rules.protocol.dose_levels]
    up_to = {level: _enrolled(trial, level) for level in levels}
    why, record = _held(trial, plan)
    about = [] if record is None else _rests_on(record)
    lines = [why] if why else []
    if not why:
        opened = [one for one in decisions(trial) if one.said.opens in levels]
        level, number, before = levels[0], plan.first_slots, 0
        lines.append(f"{level}: open to the first {number} by the trial's file")
        if opened:
            last = opened[-1]
            assert last.said.opens is not None
            assert last.said.slots is not None
            level, number = last.said.opens, last.said.slots
            before = _enrolled(trial, level, last.since)
            about += _rests_on(last.record)
            lines = [f"{level}: open to {number} more by the committee's decision, beside {before} enrolled before"]
        replaced = _not_evaluable(trial, level, opened[-1].since if opened else -1)
        if replaced:
            lines.append(f"{len(replaced)} more, to replace who is not evaluable: {', '.join(replaced)}")
        waiting = _waits_below(trial, rules, level)
        if level in _given_up(trial, rules):
            lines.append(f"{level} is given up by the escalation rule: closed")
        elif waiting:
            lines.append(f"{level} stays locked: the open windows at {waiting} still decide whether to escalate")
        else:
            up_to[level] = max(up_to[level], before + number + len(replaced))
    content = {"up_to": up_to, "held": bool(why)}
    return Answer("slots", "safety.slots_decided", content, lines, cite(*about), superseding=False)


def _enrolled(trial: Trial, level: str, before: int | None = None) -> int:
    return sum(
        member.enrolled_at == level and (before is None or (member.enrolled_entry or 0) < before)
        for member in trial.members.values()
    )


def _not_evaluable(trial: Trial, level: str, since: int) -> list[str]:
    """Who was enrolled at a level since the entry of its opening and is not evaluable: others take their places."""
    return sorted(
        code
        for code, member in trial.members.items()
        if (member.enrolled_at, member.state) == (level, "not_evaluable") and (member.enrolled_entry or 0) > since
    )


def _rests_on(record: CommitteeDecision) -> list[tuple[int, str]]:
    """A decision of the committee and the signatures that put it in force, as evidence."""
    return [(record.index, record.leaf), *((one.index, one.leaf) for one in record.signatures)]


def _held(trial: Trial, plan: Cohorts) -> tuple[str, CommitteeDecision | None]:
    """Why nobody may be enrolled, and the decision that says so; empty when somebody may."""
    state, by = "", None
    resumed = -1
    for one in decisions(trial):
        if one.said.decision == "stop":
            return "the cohort committee stopped the trial's enrolment", one.record
        if one.said.decision == "hold":
            state, by = "the cohort committee holds enrolment", one.record
        elif one.said.decision == "resume":
            state, by, resumed = "", None, one.since
    # What a decision becomes is open while its correction is not signed: nobody is enrolled by what it was before.
    unsettled = next((one for one in pending(trial) if one.since is not None), None)
    if unsettled is not None and not state:
        return f"entry {unsettled.index} corrects a decision of the committee, and is not signed yet", unsettled
    deaths = [
        (member.related_death, code)
        for code, member in trial.members.items()
        if member.related_death is not None and member.related_death > resumed
    ]
    if plan.hold_on_related_death and deaths and not state:
        index, code = min(deaths)
        return f"participant {code} died of a related adverse event (entry {index}): held until resumed", None
    return state, by


def departures(trial: Trial, rules: Rules, record: StoredStatement) -> Iterator[Answer]:
    """What a decision of the committee departs from: the recommendation, or what the trial's file allows.

    ``trial`` is as it stood before the decision.
    """
    said = record.said
    assert isinstance(said, CohortDecided)
    levels = [level.id for level in rules.protocol.dose_levels]
    if said.dose_level not in levels or (said.opens is not None and said.opens not in levels):
        unknown = said.dose_level if said.dose_level not in levels else said.opens
        yield _departure(record, said, "none", f"{unknown} is not a dose level of the protocol: nothing is opened")
        return
    if said.decision in {"hold", "stop", "resume"}:
        return
    found = recommended(trial, rules)
    if found is None:
        yield _departure(record, said, "none", "nobody was treated at the current dose level yet")
        return
    made = found[0]
    if said.decision not in _AGREES[made.action]:
        yield _departure(record, said, made.action, *made.arithmetic)
    elif said.opens != (goal := made.to or made.dose_level):
        yield _departure(record, said, made.action, f"recommended was {goal}, opened is {said.opens}")


def _departure(record: StoredStatement, said: CohortDecided, recommended: str, *lines: str) -> Answer:
    content = {"dose_level": said.dose_level, "decision": said.decision, "recommended": recommended}
    name = f"departure {record.index}"
    return Answer(name, "safety.departure_noted", content, lines, cite(record), superseding=False)
