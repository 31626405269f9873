"""The safety decider's knowledge, for people who look: of one participant, of the clocks, of the cohorts."""

from services.safety.assess import Assessed, assess
from services.safety.clocks import Clock
from services.safety.participant import Participant
from services.safety.trial import Rules, Trial, in_force
from services.safety.versions import rules_for
from shared.decider import Machine


def rules_in_force(machine: Machine) -> tuple[Rules, Trial]:
    """The protocol in force with its safety part, and the trial as the safety decider sees it.

    Raises TrailError when no protocol was in force, or one without a safety part.
    """
    trial = machine.state.get("trial", Trial())
    assert isinstance(trial, Trial)
    return in_force(trial), trial


def members(machine: Machine) -> list[Participant]:
    """Every participant that the safety decider knows, by code."""
    return [one for _, one in sorted(machine.state.items()) if isinstance(one, Participant)]


def knowledge(machine: Machine, code: str) -> tuple[Participant, Assessed] | None:
    """One participant and everything there is to say of them now; None: not known, or no safety part in force."""
    participant, trial = machine.state.get(f"participant:{code}"), machine.state.get("trial")
    if not isinstance(participant, Participant) or not isinstance(trial, Trial):
        return None
    rules = rules_for(machine.state, trial, participant)
    if rules is None:
        return None
    zone = rules.protocol.zone(participant.source)
    sealed = [trial.sealed_at, *(record.sealed_at for record in participant.records)]
    return participant, assess(participant, rules, zone, max(sealed), tick=False)


def running_clocks(machine: Machine) -> list[tuple[str, Clock]]:
    """Every clock that runs or has run out without a report, the nearest first, with its participant's code."""
    found = []
    for participant in members(machine):
        closed = {
            key.removeprefix("clock ")
            for key, one in participant.issued.items()
            if key.startswith("clock ") and one.label == "closed"
        }
        found += [
            (participant.code, clock)
            for key, clock in participant.clocks.items()
            if clock.state in {"running", "overdue"} and key not in closed
        ]
    return sorted(found, key=lambda one: (one[1].due, one[0], one[1].ae, one[1].profile, one[1].kind))
