"""Dose-limiting toxicities by the dose level that was infused, with exact confidence intervals. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from scipy.special import betaincinv

from services.safety.outcomes.counting import share
from services.safety.participant import Participant
from services.safety.trial import Rules, Trial
from shared.events.safety_decisions import WindowState
from shared.protocol.escalation import Boin


@dataclass(frozen=True, slots=True)
class WindowOf:
    """A participant's window: its state, and the entries of the first infusion and of the newest decision.

    ``decision`` None: what the window comes to is not sealed yet.
    """

    participant: str
    state: WindowState
    first_day: str
    infusion: int
    decision: int | None


@dataclass(frozen=True, slots=True)
class LevelRate:
    """A dose level: those evaluable, those of them with a dose-limiting toxicity, and the rate.

    ``low`` and ``high`` bound the rate: binary fractions rounded to four decimals, to be shown and never to
    decide by; None while nobody is evaluable.
    """

    dose_level: str
    dose: str
    windows: tuple[WindowOf, ...]
    evaluable: int
    toxicities: int
    rate: Decimal | None
    low: float | None
    high: float | None

    def codes(self, *states: WindowState) -> tuple[str, ...]:
        """The participants whose windows stand like this."""
        return tuple(window.participant for window in self.windows if window.state in states)


@dataclass(frozen=True, slots=True)
class Limiting:
    """All dose levels in the protocol's order. ``target`` is the rate that the escalation rule looks for."""

    last_day: int
    confidence: Decimal
    target: Decimal | None
    levels: tuple[LevelRate, ...]

    @property
    def interval(self) -> str:
        """What the intervals are called: exact 95% confidence interval."""
        return f"exact {(self.confidence * 100).normalize():f}% confidence interval"


def limiting(trial: Trial, known: Mapping[str, Participant], rules: Rules) -> Limiting | None:
    """Count the windows as the cohorts count them; None in a trial that names no dose-limiting toxicity."""
    plan = rules.plan
    if plan.dose_limits is None:
        return None
    windows: dict[str, list[WindowOf]] = {level.id: [] for level in rules.protocol.dose_levels}
    for code, member in sorted(trial.members.items()):
        if member.level is None or member.state is None or member.first_day is None or member.index is None:
            continue
        issued = known[code].issued.get("window") if code in known else None
        decision = None if issued is None else issued.entry
        state = cast("WindowState", member.state)
        window = WindowOf(code, state, member.first_day, member.index, decision)
        windows.setdefault(member.level, []).append(window)
    doses = {level.id: level.dose for level in rules.protocol.dose_levels}
    escalation = None if plan.cohorts is None else plan.cohorts.escalation
    levels = [
        _rate(level, doses.get(level, ""), tuple(found), plan.interval_confidence)
        for level, found in windows.items()
    ]
    target = escalation.target if isinstance(escalation, Boin) else None
    return Limiting(plan.dose_limits.last_day, plan.interval_confidence, target, tuple(levels))


def exact_interval(part: int, whole: int, confidence: Decimal) -> tuple[float, float] | None:
    """The exact confidence interval of a proportion (Clopper & Pearson 1934), rounded to four decimals.

    None while nobody is counted.
    """
    if whole == 0:
        return None
    outside = float((1 - confidence) / 2)
    low = betaincinv(part, whole - part + 1, outside) if part else 0.0
    high = betaincinv(part + 1, whole - part, 1 - outside) if part < whole else 1.0
    return round(float(low), 4), round(float(high), 4)


def _rate(level: str, dose: str, windows: tuple[WindowOf, ...], confidence: Decimal) -> LevelRate:
    toxic = sum(window.state == "dlt" for window in windows)
    evaluable = toxic + sum(window.state == "clean" for window in windows)
    low, high = exact_interval(toxic, evaluable, confidence) or (None, None)
    return LevelRate(level, dose, windows, evaluable, toxic, share(toxic, evaluable, 4), low, high)
