"""The classical 3+3 rule, all its paths.

Storer BE. Design and analysis of phase I clinical trials. Biometrics 1989;45:925-937; Le Tourneau C, Lee JJ,
Siu LL. Dose escalation methods in phase I cancer clinical trials. J Natl Cancer Inst 2009;101:708-720. The
maximum tolerated dose is the highest level at which six were treated and at most one had a DLT.

- 0 of 3: escalate. 1 of 3: three more at the same level; then 1 of 6: escalate.
- 2 or more with a DLT among up to six: the level exceeds the maximum tolerated dose, it and every higher one
  are given up, and the level below is filled up to six. Two DLTs suffice as soon as they are known: neither
  an open window nor an empty place can take them back.
- The level below has its six: it is the maximum tolerated dose, and dose finding is complete. There is no
  level below: the trial stops.
- At the highest level, or below one that was given up, a clean cohort of three is filled up to six as well,
  because the maximum tolerated dose rests on six.

A participant who is not evaluable is replaced. Should more than three or six be evaluable all the same, the
rule reads "no DLT among at least three" and "at most one among at least six".
"""

from collections.abc import Sequence

from services.safety.escalation.recommendation import Action, Recommendation, Tally, counted, settle

_COHORT = 3
_EXPANDED = 6
_LIMITS = f"2 DLTs among up to {_EXPANDED} exceed the maximum tolerated dose"


def recommend(levels: Sequence[Tally], current: str) -> Recommendation:
    """Recommend for the current level what no open window can change any more; otherwise to wait."""
    at = [level.dose_level for level in levels].index(current)

    def rule(dlts: int, ceiling: int) -> Recommendation:
        return _judged(levels, at, dlts, ceiling)

    return settle(levels, at, _exceeds, rule, _LIMITS)


def _exceeds(_: int, dlts: int) -> bool:
    return dlts >= 2


def _judged(levels: Sequence[Tally], at: int, dlts: int, ceiling: int) -> Recommendation:
    """Judge a level all of whose windows are closed; ``ceiling`` is the lowest level that was given up."""
    names = [level.dose_level for level in levels]
    participants = levels[at].treated
    count = f"{dlts} of {participants} with a DLT"

    def answer(action: Action, why: str, *, of: int = at, to: int | None = None) -> Recommendation:
        goal = None if to is None else names[to]
        return Recommendation(action, names[of], goal, tuple(names[ceiling:]), (count, why))

    if ceiling == 0:
        return answer("stop", f"{names[0]}, the lowest level, has 2 DLTs or more: no level is left")
    if ceiling <= at:
        below = levels[ceiling - 1]
        given_up = f"{names[ceiling]} has 2 DLTs or more and exceeds the maximum tolerated dose"
        if below.treated >= _EXPANDED:
            why = f"{given_up}; {below.dose_level}, with at most 1 DLT of {below.treated}, is that dose"
            return answer("complete", why, of=ceiling - 1)
        why = f"{given_up}; the next cohort goes to {below.dose_level}, which has {below.treated} of {_EXPANDED}"
        return answer("de_escalate", why, to=ceiling - 1)
    if participants < _COHORT:
        return answer("wait", _not_full(_COHORT - participants))
    if at + 1 < ceiling and (dlts == 0 or participants >= _EXPANDED):
        return answer("escalate", f"escalate to {names[at + 1]}", to=at + 1)
    if participants >= _EXPANDED:
        return answer("complete", f"{_why_no_higher(names, at)}; {names[at]} is the maximum tolerated dose")
    if participants > _COHORT:
        return answer("wait", _not_full(_EXPANDED - participants))
    reason = "1 DLT" if dlts else _why_no_higher(names, at)
    return answer("stay", f"{reason}, {_EXPANDED - _COHORT} more participants at {names[at]}")


def _why_no_higher(names: Sequence[str], at: int) -> str:
    if at + 1 == len(names):
        return f"{names[at]} is the highest level"
    return f"{names[at + 1]} above exceeds the maximum tolerated dose"


def _not_full(owed: int) -> str:
    return f"the cohort is not full: {counted(owed, 'participant')} still to be treated"
