from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.escalation.design import Recommendation, Tally, recommend
from shared.protocol.escalation import ThreePlusThree

GIVEN_UP = "DL1 has 2 DLTs or more and exceeds the maximum tolerated dose"
DESIGN = ThreePlusThree(method="3+3")
State = tuple[tuple[int, int], ...]
Said = tuple[str, int, int | None]


def judged(current: int, *counts: tuple[int, ...]) -> Recommendation:
    """Judge level ``current`` (from 0); each level is (evaluable, DLTs) or (evaluable, DLTs, pending)."""
    levels = [Tally(f"DL{n}", c[0], c[1], c[2] if len(c) > 2 else 0) for n, c in enumerate(counts)]
    return recommend(DESIGN, levels, f"DL{current}")


def said(recommended: Recommendation) -> Said:
    goal = None if recommended.to is None else int(recommended.to[2:])
    return recommended.action, int(recommended.dose_level[2:]), goal


def oracle(history: list[tuple[int, int]], count: int) -> Said:
    """The rule as a flow chart walked from the first cohort on: cohorts of three as (level, DLTs)."""
    treated, dlts = [0] * count, [0] * count
    ceiling, at = count, 0
    answer: Said = ("wait", 0, None)
    for level, toxic in history:
        assert level == at
        treated[at] += 3
        dlts[at] += toxic
        if dlts[at] > 1:
            ceiling, below = at, at - 1
            if below < 0:
                answer = ("stop", at, None)
            elif treated[below] == 6:
                answer = ("complete", below, None)
            else:
                answer = ("de_escalate", at, below)
                at = below
        elif treated[at] == 3 and (dlts[at] == 1 or at + 1 == ceiling):
            answer = ("stay", at, None)
        elif at + 1 == ceiling:
            answer = ("complete", at, None)
        else:
            answer = ("escalate", at, at + 1)
            at += 1
    return answer


def walks(count: int) -> Iterator[tuple[list[tuple[int, int]], State, Recommendation]]:
    """Every trial of ``count`` levels, cohort by cohort, following the recommendations until it ends."""
    pending: list[tuple[list[tuple[int, int]], State, int]] = [([], ((0, 0),) * count, 0)]
    while pending:
        history, state, at = pending.pop()
        for toxic in range(4):
            n, y = state[at]
            after = (*state[:at], (n + 3, y + toxic), *state[at + 1 :])
            walked = [*history, (at, toxic)]
            recommended = judged(at, *after)
            yield walked, after, recommended
            if recommended.action in {"escalate", "de_escalate", "stay"}:
                following = said(recommended)[2]
                pending.append((walked, after, at if following is None else following))


@pytest.mark.parametrize(("count", "trials"), [(1, 10), (2, 46), (3, 154)])
def test_every_path_is_that_of_the_flow_chart(count: int, trials: int) -> None:
    ended = 0
    for history, _, recommended in walks(count):
        assert said(recommended) == oracle(history, count), history
        ended += recommended.action in {"stop", "complete"}
    assert ended == trials


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_trial_ends_never_treats_seven_at_a_level_and_never_passes_two_dlts(count: int) -> None:
    for history, state, recommended in walks(count):
        assert len(history) <= 2 * count
        assert all(n <= 6 for n, _ in state)
        toxic = [level for level, (_, y) in enumerate(state) if y >= 2]
        assert recommended.eliminated == tuple(f"DL{n}" for n in range(min(toxic, default=count), count))
        action, level, to = said(recommended)
        assert action in {"escalate", "stay", "de_escalate", "complete", "stop"}
        if action == "complete":
            assert state[level][0] == 6
            assert state[level][1] <= 1
            assert level + 1 == count or state[level + 1][1] >= 2
        if action == "stop":
            assert state[0][1] >= 2
        if action == "escalate":
            assert to == level + 1
            assert f"DL{to}" not in recommended.eliminated


@pytest.mark.parametrize(
    ("current", "counts", "expected"),
    [
        (0, [(0, 0), (0, 0)], "wait"),
        (0, [(2, 0), (0, 0)], "wait"),
        (0, [(2, 0, 1), (0, 0)], "wait"),
        (0, [(2, 1, 1), (0, 0)], "wait"),
        (0, [(0, 0, 3), (0, 0)], "wait"),
        (1, [(3, 0), (2, 2, 1)], "de_escalate"),
        (1, [(3, 0), (2, 2)], "de_escalate"),
        (1, [(6, 1), (2, 2, 1)], "complete"),
        (1, [(3, 0, 3), (2, 2, 1)], "wait"),
        (0, [(2, 2, 1), (0, 0)], "stop"),
        (0, [(3, 1), (0, 0)], "stay"),
        (0, [(4, 1), (0, 0)], "wait"),
        (0, [(4, 1, 2), (0, 0)], "wait"),
        (0, [(4, 2, 2), (0, 0)], "stop"),
        (0, [(5, 0, 1), (0, 0)], "escalate"),
        (0, [(3, 0), (3, 1, 3)], "wait"),
        (0, [(3, 0, 1), (0, 0)], "wait"),
        (0, [(4, 0), (3, 2)], "wait"),
        (0, [(7, 1), (3, 2)], "complete"),
        (2, [(3, 0), (4, 1, 1), (3, 2)], "wait"),
    ],
)
def test_empty_places_and_open_windows(current: int, counts: list[tuple[int, ...]], expected: str) -> None:
    assert judged(current, *counts).action == expected


ONE_LEVEL = [(n, y, still) for n in range(7) for y in range(min(n, 3) + 1) for still in range(min(3, 6 - n) + 1)]


@pytest.mark.parametrize("current", [0, 1])
def test_wait_exactly_when_the_open_windows_can_lead_to_different_actions(current: int) -> None:
    closed = {
        end: judged(current, *end) for end in product([(n, y) for n in range(7) for y in range(n + 1)], repeat=2)
    }
    for counts in product(ONE_LEVEL, repeat=2):
        ends = [
            closed[tuple((n + still, y + dlts) for (n, y, still), dlts in zip(counts, more, strict=True))]
            for more in product(*(range(still + 1) for *_, still in counts))
        ]
        now = judged(current, *counts)
        outcomes = {said(end) for end in ends}
        assert said(now) == (outcomes.pop() if len(outcomes) == 1 else ("wait", current, None))
        assert now.eliminated == min((end.eliminated for end in ends), key=len)


@given(st.permutations([True, True, False, False, False, False]), st.integers(0, 6))
def test_what_stood_before_the_last_windows_closed_stands_after(ends: list[bool], closed: int) -> None:
    """Whichever windows close first: a recommendation given early is the one given at the end."""
    final = judged(1, (3, 0), (6, sum(ends)))
    early = judged(1, (3, 0), (closed, sum(ends[:closed]), 6 - closed))
    assert said(early) == (said(final) if sum(ends[:closed]) == 2 else ("wait", 1, None))


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4),
    st.data(),
)
def test_one_more_dlt_never_leads_to_a_higher_level(counts: list[tuple[int, int]], data: st.DataObject) -> None:
    fewer = [(n, min(y, n)) for n, y in counts]
    which, current = (data.draw(st.integers(0, len(fewer) - 1)) for _ in range(2))
    more = [(n, min(y + 1, n)) if index == which else (n, y) for index, (n, y) in enumerate(fewer)]

    def next_level(recommended: Recommendation) -> int:
        action, level, to = said(recommended)
        return -1 if action == "stop" else level if to is None else to

    before, after = judged(current, *fewer), judged(current, *more)
    assert next_level(after) <= next_level(before)
    assert set(before.eliminated) <= set(after.eliminated)


def test_the_arithmetic_is_for_a_doctor() -> None:
    assert judged(0, (3, 1), (0, 0)).arithmetic == ("1 of 3 with a DLT", "1 DLT, 3 more participants at DL0")
    assert judged(1, (3, 0), (3, 2)).arithmetic == (
        "2 of 3 with a DLT",
        f"{GIVEN_UP}; the next cohort goes to DL0, which has 3 of 6",
    )
    assert judged(1, (6, 1), (2, 2, 1)).arithmetic == (
        "DL1: 2 of 2 with a DLT so far, 1 window open",
        "2 DLTs among up to 6 exceed the maximum tolerated dose",
        f"2 to 3 of 3 with a DLT at DL1: {GIVEN_UP}; DL0, with at most 1 DLT of 6, is that dose",
        "the same however the open windows end",
    )
    assert judged(0, (2, 1), (0, 0)).arithmetic[-1] == "the cohort is not full: 1 participant still to be treated"
