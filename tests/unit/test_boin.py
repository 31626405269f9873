from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import beta

from services.safety.escalation.boin import boundaries, posterior_above, table
from services.safety.escalation.design import Recommendation, Tally, recommend
from shared.protocol.escalation import Boin, Escalation

# Liu & Yuan 2015, Yuan et al. 2016; the authors' software prints the same for 0.6 f and 1.4 f at 0.95.
PUBLISHED = {
    "0.25": {
        "escalate": [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3],
        "de_escalate": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6],
        "eliminate": [None, None, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8],
    },
    "0.30": {
        "escalate": [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4],
        "de_escalate": [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        "eliminate": [None, None, 3, 3, 4, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8, 8, 9, 9],
    },
}
TARGETS = st.decimals(min_value="0.05", max_value="0.6", places=3)


def boin(target: str = "0.30", cohort_size: int = 3, most: int = 12, **more: object) -> Boin:
    return Boin(method="boin", target=Decimal(target), cohort_size=cohort_size, most_per_level=most, **more)


def levels(*counts: tuple[int, ...]) -> list[Tally]:
    """Each level as (evaluable, DLTs) or (evaluable, DLTs, pending)."""
    return [Tally(f"DL{n}", c[0], c[1], c[2] if len(c) > 2 else 0) for n, c in enumerate(counts, 1)]


def judged(design: Boin, current: str, *counts: tuple[int, ...], arrived_with: int | None = None) -> Recommendation:
    return recommend(design, levels(*counts), current, arrived_with=arrived_with)


def outcome(recommended: Recommendation) -> tuple[str, str, str | None]:
    return recommended.action, recommended.dose_level, recommended.to


@pytest.mark.parametrize("target", PUBLISHED)
def test_the_decision_table_is_the_published_one(target: str) -> None:
    rows = table(Decimal(target), 18)
    assert [row.participants for row in rows] == list(range(1, 19))
    for column, expected in PUBLISHED[target].items():
        assert [getattr(row, column) for row in rows] == expected


@pytest.mark.parametrize(("target", "low", "high"), [("0.25", "0.1968", "0.2984"), ("0.30", "0.2365", "0.3585")])
def test_the_boundaries_are_the_published_ones(target: str, low: str, high: str) -> None:
    assert [str(round(boundary, 4)) for boundary in boundaries(Decimal(target))] == [low, high]


@given(TARGETS, st.integers(1, 40), st.integers(0, 40))
def test_the_posterior_is_that_of_the_beta_distribution(target: Decimal, participants: int, dlts: int) -> None:
    dlts = min(dlts, participants)
    ours = posterior_above(target, dlts, participants)
    assert isinstance(ours, Fraction)
    assert float(ours) == pytest.approx(beta.sf(float(target), 1 + dlts, 1 + participants - dlts), abs=1e-12)


@given(TARGETS, st.sampled_from(["0.90", "0.95", "0.975"]), st.integers(1, 6))
def test_the_decision_table_follows_from_the_boundaries_and_the_posterior(
    target: Decimal, elimination: str, eliminate_from: int
) -> None:
    escalate, de_escalate = (Fraction(boundary) for boundary in boundaries(target))
    for row in table(target, 12, elimination=Decimal(elimination), eliminate_from=eliminate_from):
        n = row.participants
        gone = [
            y
            for y in range(n + 1)
            if n >= eliminate_from and beta.sf(float(target), 1 + y, 1 + n - y) > float(elimination)
        ]
        assert row.eliminate == (gone[0] if gone else None)
        assert row.escalate == escalate * n // 1
        assert row.de_escalate == min([-(-de_escalate * n // 1), *gone])


def test_a_boundary_that_is_a_fraction_belongs_to_the_action_it_bounds() -> None:
    # ln(5/3) / ln(25/9) is exactly one half, which no rounded logarithm hits reliably.
    assert table(Decimal("0.625"), 2)[1].escalate == 1


@pytest.mark.parametrize(
    ("current", "counts", "expected"),
    [
        ("DL1", [(3, 0), (0, 0)], ("escalate", "DL1", "DL2")),
        ("DL1", [(3, 1), (0, 0)], ("stay", "DL1", None)),
        ("DL1", [(3, 2), (0, 0)], ("stay", "DL1", None)),
        ("DL1", [(3, 3), (0, 0)], ("stop", "DL1", None)),
        ("DL2", [(3, 0), (3, 0)], ("stay", "DL2", None)),
        ("DL2", [(3, 0), (3, 2)], ("de_escalate", "DL2", "DL1")),
        ("DL2", [(3, 0), (3, 3)], ("eliminate", "DL2", "DL1")),
        ("DL1", [(6, 1), (3, 3)], ("stay", "DL1", None)),
        ("DL1", [(6, 1), (3, 2)], ("escalate", "DL1", "DL2")),
        ("DL1", [(12, 3), (3, 3)], ("complete", "DL1", None)),
        ("DL1", [(12, 2), (12, 5)], ("complete", "DL1", None)),
        ("DL1", [(9, 2), (12, 5)], ("stay", "DL1", None)),
        ("DL2", [(12, 2), (3, 2)], ("complete", "DL1", None)),
        ("DL2", [(3, 3), (3, 0)], ("stop", "DL2", None)),
        ("DL3", [(3, 0), (6, 4), (3, 0)], ("eliminate", "DL3", "DL1")),
    ],
)
def test_a_full_cohort_is_judged(current: str, counts: list[tuple[int, int]], expected: tuple[str, ...]) -> None:
    assert outcome(judged(boin(), current, *counts)) == expected


@pytest.mark.parametrize(
    ("counts", "arrived_with", "expected"),
    [
        ([(3, 0), (0, 0)], None, "wait"),
        ([(3, 0), (2, 0)], None, "wait"),
        ([(3, 0), (4, 1)], None, "wait"),
        ([(3, 0), (2, 2)], None, "de_escalate"),
        ([(3, 0), (4, 3)], None, "eliminate"),
        ([(3, 0), (3, 1)], 3, "wait"),
        ([(3, 0), (4, 1)], 0, "stay"),
        ([(3, 0), (11, 3)], None, "wait"),
        ([(3, 0), (10, 3)], 10, "wait"),
        ([(3, 0), (12, 3)], 12, "complete"),
    ],
)
def test_a_cohort_with_empty_places_waits_unless_the_way_is_down(
    counts: list[tuple[int, int]], arrived_with: int | None, expected: str
) -> None:
    assert judged(boin(), "DL2", *counts, arrived_with=arrived_with).action == expected


def test_a_level_just_returned_to_owes_a_cohort_before_it_is_left_again() -> None:
    returned = levels((3, 0), (3, 2))
    assert recommend(boin(), returned, "DL1", arrived_with=3).action == "wait"
    assert recommend(boin(), levels((6, 1), (3, 2)), "DL1", arrived_with=3).to == "DL2"


def test_an_eliminated_level_takes_every_higher_one_with_it() -> None:
    assert judged(boin(), "DL2", (3, 0), (3, 3), (0, 0)).eliminated == ("DL2", "DL3")
    assert judged(boin(), "DL1", (3, 3), (0, 0), (0, 0)).eliminated == ("DL1", "DL2", "DL3")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([(3, 0), (2, 0, 1), (0, 0)], ("wait", None, ())),
        ([(3, 0), (2, 0, 1)], ("stay", None, ())),
        ([(3, 0), (5, 0, 1), (0, 0)], ("escalate", "DL3", ())),
        ([(3, 0), (2, 2, 1)], ("de_escalate", "DL1", ())),
        ([(3, 0), (3, 3, 1)], ("eliminate", "DL1", ("DL2",))),
        ([(3, 0), (5, 1, 1), (2, 2, 1)], ("wait", None, ())),
        ([(2, 2, 1), (3, 2)], ("wait", None, ())),
    ],
)
def test_only_what_no_open_window_can_change_is_recommended(
    counts: list[tuple[int, ...]], expected: tuple[str, str | None, tuple[str, ...]]
) -> None:
    recommended = judged(boin(), "DL2", *counts)
    assert (recommended.action, recommended.to, recommended.eliminated) == expected


@pytest.mark.parametrize("top", [(3, 3), (3, 2), (2, 2, 1)])
def test_a_way_down_waits_while_the_level_below_may_still_turn_out_too_toxic(top: tuple[int, ...]) -> None:
    recommended = judged(boin(), "DL3", (3, 0), (2, 2, 1), top)
    assert outcome(recommended) == ("wait", "DL3", None)
    assert recommended.eliminated == (("DL3",) if top == (3, 3) else ())


def small(pending: int) -> list[list[tuple[int, int, int]]]:
    one = [
        (evaluable, dlts, still)
        for evaluable in range(5)
        for dlts in range(evaluable + 1)
        for still in range(pending + 1)
    ]
    return [list(pair) for pair in product(one, repeat=2)]


@pytest.mark.parametrize("design", [boin(most=6), boin("0.25", cohort_size=2, most=5)])
@pytest.mark.parametrize("current", ["DL1", "DL2"])
def test_wait_exactly_when_the_open_windows_can_lead_to_different_actions(design: Boin, current: str) -> None:
    closed = {}
    for counts in small(2):
        ends = []
        for more in product(*(range(still + 1) for *_, still in counts)):
            end = tuple((n + still, y + dlts) for (n, y, still), dlts in zip(counts, more, strict=True))
            if end not in closed:
                closed[end] = judged(design, current, *end)
            ends.append(closed[end])
        now = judged(design, current, *counts)
        assert now.eliminated == min((end.eliminated for end in ends), key=len)
        if len({outcome(end) for end in ends}) == 1:
            assert outcome(now) == outcome(ends[0])
        elif {end.action for end in ends} == {"de_escalate", "eliminate"} and len({end.to for end in ends}) == 1:
            assert outcome(now) == ("de_escalate", current, ends[0].to)
        else:
            assert outcome(now) == ("wait", current, None)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=4),
    st.data(),
    st.sampled_from(["0.20", "0.25", "0.30", "0.35"]),
)
def test_one_more_dlt_never_leads_to_a_higher_level(
    counts: list[tuple[int, int]], data: st.DataObject, target: str
) -> None:
    fewer = [(n, min(y, n)) for n, y in counts]
    which = data.draw(st.integers(0, len(fewer) - 1))
    more = [(n, min(y + 1, n)) if index == which else (n, y) for index, (n, y) in enumerate(fewer)]
    current = f"DL{data.draw(st.integers(1, len(fewer)))}"

    def next_level(recommended: Recommendation) -> int:
        return 0 if recommended.action == "stop" else int((recommended.to or recommended.dose_level)[2:])

    before, after = (judged(boin(target), current, *end) for end in (fewer, more))
    assert next_level(after) <= next_level(before)
    assert set(before.eliminated) <= set(after.eliminated)


def test_the_arithmetic_is_for_a_doctor() -> None:
    assert judged(boin(), "DL1", (6, 2), (0, 0)).arithmetic == (
        "2 of 6 with a DLT: 0.3333, above 0.2365 and below 0.3585",
        "probability that the DLT rate exceeds 0.30: 0.6471, not above 0.95",
        "within the interval, stay at DL1",
    )
    assert judged(boin(), "DL2", (3, 0), (3, 3)).arithmetic == (
        "3 of 3 with a DLT: 1.0000, at least 0.3585",
        "probability that the DLT rate exceeds 0.30: 0.9919, above 0.95",
        "DL2 and every level above are eliminated; the next cohort goes to DL1",
    )
    assert judged(boin(), "DL1", (2, 0, 1), (0, 0)).arithmetic == (
        "DL1: 0 of 2 with a DLT so far, 1 window open",
        "escalate at 0.2365 or below, de-escalate at 0.3585 or above",
        "0 of 3 with a DLT at DL1: escalate to DL2",
        "1 of 3 with a DLT at DL1: within the interval, stay at DL1",
        "wait: the open windows still decide",
    )
    assert judged(boin(), "DL1", (5, 1, 1), (2, 2, 1)).arithmetic == (
        "DL1: 1 of 5 with a DLT so far, 1 window open",
        "DL2: 2 of 2 with a DLT so far, 1 window open",
        "escalate at 0.2365 or below, de-escalate at 0.3585 or above",
        "1 of 6 with a DLT at DL1 and DL2 too toxic: DL2 above is eliminated, stay at DL1",
        "2 of 6 with a DLT at DL1 and DL2 too toxic: within the interval, stay at DL1",
        "1 of 6 with a DLT at DL1 and no other level too toxic: escalate to DL2",
        "2 of 6 with a DLT at DL1 and no other level too toxic: within the interval, stay at DL1",
        "wait: the open windows still decide",
    )


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="3 DLTs among 2 evaluable"):
        Tally("DL1", 2, 3, 0)
    with pytest.raises(ValueError, match="never negative"):
        Tally("DL1", 2, 1, -1)
    with pytest.raises(ValueError, match="DL3 is not one of the trial's dose levels: DL1, DL2"):
        judged(boin(), "DL3", (0, 0), (0, 0))
    with pytest.raises(ValueError, match="counted once"):
        recommend(boin(), [*levels((0, 0)), *levels((0, 0))], "DL1")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": Decimal("0.04")}, "between 0.05 and 0.6, not at 0.04"),
        ({"target": Decimal("0.61")}, "between 0.05 and 0.6, not at 0.61"),
        ({"elimination": Decimal(1)}, "at least 0.5 and below 1, not 1"),
        ({"elimination": Decimal("0.49")}, "at least 0.5 and below 1, not 0.49"),
        ({"cohort_size": 13}, "most_per_level is 12, fewer than one cohort of 13 participants"),
        ({"target": 0.3}, "Decimal"),
        ({"offset": Decimal("0.05")}, "Extra inputs"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused_with_a_sentence(change: dict[str, object], sentence: str) -> None:
    stated: dict[str, object] = {"method": "boin", "target": Decimal("0.3"), "cohort_size": 3, "most_per_level": 12}
    read = TypeAdapter(Escalation).validate_python
    assert read(stated) == boin("0.3")
    with pytest.raises(ValidationError, match=sentence):
        read(stated | change)
