"""What an infusion breaks: the distance between participants of a level, a hold. The fact stands all the same."""

from collections.abc import Iterator
from datetime import date
from zoneinfo import ZoneInfo

from services.safety import cohorts
from services.safety.assess import Deviation
from services.safety.participant import StoredStatement
from services.safety.trial import Rules, Trial
from shared.decider import SealedEvent
from shared.events.screening import Infused
from shared.moments import span


def infusion_deviations(
    event: SealedEvent, code: str, trial: Trial, rules: Rules, zone: ZoneInfo
) -> Iterator[Deviation]:
    """What a first infusion breaks; ``trial`` is as it stood before."""
    plan, infused = rules.plan.cohorts, event.data
    assert isinstance(infused, Infused)
    if plan is None or infused.number != 1 or infused.corrects is not None:
        return
    record = StoredStatement.sealed(event)
    open_ = cohorts.slots(trial, rules)
    if open_ is not None and open_.content["held"]:
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
        yield Deviation(f"stagger {event.envelope.id}", "infused_too_soon_after_another", text, (record,))
