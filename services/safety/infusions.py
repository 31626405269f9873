"""What an infusion or an enrolment breaks: a hold, a place too many, the distance between participants.

The fact stands all the same.
"""

from collections.abc import Iterator
from datetime import date
from zoneinfo import ZoneInfo

from services.safety import cohorts
from services.safety.assess import Deviation
from services.safety.participant import StoredStatement
from services.safety.trial import Rules, Trial
from shared.decider import SealedEvent
from shared.events.decisions import Enrolled
from shared.events.screening import Infused
from shared.moments import span


def enrolment_deviations(event: SealedEvent, enrolled: Enrolled, trial: Trial, rules: Rules) -> Iterator[Deviation]:
    """What an enrolment breaks that overtook a decision on its way; ``trial`` is as it stood before."""
    open_, level = cohorts.slots(trial, rules), enrolled.dose_level
    if open_ is None:
        return
    record = StoredStatement.sealed(event)
    taken = sum(one.enrolled_at == level for one in trial.members.values())
    if open_.content["held"]:
        text = f"enrolled at {level} while enrolment was held: {open_.arithmetic[0]}"
        yield Deviation(f"held {event.envelope.id}", "enrolled_while_held", text, (record,))
    elif taken >= open_.content["up_to"].get(level, 0):
        text = f"enrolled at {level} beyond its places: {taken} were enrolled there, and no slot was open"
        yield Deviation(f"beyond {event.envelope.id}", "enrolled_beyond_the_places", text, (record,))


def infusion_deviations(
    event: SealedEvent, code: str, trial: Trial, rules: Rules, zone: ZoneInfo
) -> Iterator[Deviation]:
    """What a first infusion breaks; ``trial`` is as it stood before."""
    plan, infused = rules.plan.cohorts, event.data
    assert isinstance(infused, Infused)
    if plan is None or infused.number != 1:
        return
    record = StoredStatement.sealed(event)
    open_ = cohorts.slots(trial, rules)
    if open_ is not None and open_.content["held"] and infused.corrects is None:
        text = f"infused at {infused.dose_level} while enrolment was held: {open_.arithmetic[0]}"
        yield Deviation(f"held {event.envelope.id}", "infused_while_held", text, (record,))
    others = [
        (abs((span(infused.at, zone).days(zone)[0] - date.fromisoformat(one.first_day)).days), name)
        for name, one in trial.members.items()
        if one.level == infused.dose_level and one.first_day is not None and name != code
    ]
    if len(others) < plan.staggered and others and min(others)[0] < plan.stagger_days:
        days, name = min(others)
        text = (
            f"infused {days} days from participant {name} at {infused.dose_level}; the first {plan.staggered} "
            f"participants of a level must lie {plan.stagger_days} days apart"
        )
        yield Deviation(f"stagger {code}", "infused_too_soon_after_another", text, (record,))
