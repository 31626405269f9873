"""The trial's outcomes: tables of what has been counted so far, each number with the entries it counts. Pure.

Treatment-emergent adverse events (``incidence``), dose-limiting toxicities by dose level (``limiting``) and the
curves of % chimerism (``chimerism``), from the safety decider's state; so an outcome "as of" an entry is the same
function of an earlier state.
"""

from services.safety.outcomes.tables import Outcomes, outcomes

__all__ = ["Outcomes", "outcomes"]
