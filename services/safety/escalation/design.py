"""What the trial's own escalation rule recommends; the committee's signed decision is its own.

``recommend`` is pure: the same counts give the same recommendation, whatever the order in which they came.
"""

from collections.abc import Sequence

from services.safety.escalation import boin, three_plus_three
from services.safety.escalation.recommendation import Action, Recommendation, Tally
from shared.protocol.escalation import Boin, ThreePlusThree

__all__ = ["Action", "Recommendation", "Tally", "recommend"]


def recommend(
    design: Boin | ThreePlusThree,
    levels: Sequence[Tally],
    current: str,
    *,
    arrived_with: int | None = None,
) -> Recommendation:
    """Recommend what to do next at the current level; ``levels`` are all of the trial's, ascending by dose.

    ``arrived_with`` is how many evaluable and pending participants the current level had when the committee
    last chose to treat a cohort there (escalating, staying or de-escalating to it); 0 for a new level. BOIN
    judges the cohort treated since. Without it the level's participants are taken as whole cohorts in a row,
    which cannot tell a level that was just returned to from one whose cohort has just been completed. 3+3
    needs no such number.
    Raises ValueError with a sentence when ``current`` is not among the levels, or two levels share a name.
    """
    names = [level.dose_level for level in levels]
    if len(set(names)) != len(names):
        raise ValueError(f"each dose level is counted once, not as {', '.join(names)}")
    if current not in names:
        raise ValueError(f"{current} is not one of the trial's dose levels: {', '.join(names) or 'none'}")
    if isinstance(design, Boin):
        return boin.recommend(design, levels, current, arrived_with)
    return three_plus_three.recommend(levels, current)
