"""A participant's window for dose-limiting toxicity: what closes it how, and what keeps it open."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.dlt import Judged, judge
from shared.events import Data
from shared.events.safety import EventReported
from shared.moments import span
from shared.protocol.safety import DoseLimits
from tests.adverse_event import SHANGHAI, assessed, died, events, reported, resolved, updated

DAY = date(2026, 3, 4)
LAST = "2026-04-01"
NEUTROPHILS, PLATELETS = "Neutrophil count decreased", "Platelet count decreased"
LIMITS = DoseLimits.model_validate(
    {
        "last_day": 28,
        "related_from": "possible",
        "limits": [
            {"limit": "term", "name": "CRS", "terms": ["Cytokine release syndrome"], "grade": 3},
            {"limit": "term", "name": "aGvHD", "terms": ["Acute graft versus host disease"], "grade": 3},
            {"limit": "non_haematological", "grade": 3, "unless_shorter_than_hours": 72},
            {"limit": "cytopenia_at_end", "terms": [NEUTROPHILS, PLATELETS], "grade": 4},
            {"limit": "death"},
        ],
        "haematological_classes": ["Blood and lymphatic system disorders"],
        "haematological_terms": ["White blood cell decreased"],
    }
)


def day(offset: int) -> str:
    return (DAY + timedelta(days=offset)).isoformat()


def window(
    *said: Data,
    today: int = 29,
    exposure: str = "2026-03-04T10:00",
    ended: str | None = None,
    death: str | None = None,
    cytopenia: Mapping[str, int | None] | None = None,
    limits: DoseLimits = LIMITS,
    zone: ZoneInfo = SHANGHAI,
    sealed: str = "2026-03-20T08:00:00.000000Z",
) -> Judged:
    return judge(
        events(*said, zone=zone, sealed=sealed),
        span(exposure, zone),
        limits,
        zone,
        today=DAY + timedelta(days=today),
        ended=None if ended is None else span(ended, zone),
        died=None if death is None else span(death, zone),
        cytopenia=cytopenia or {},
    )


def severe(onset: str | None = "2026-03-10", grade: int | None = 3, term: str = "Headache", **said: Any) -> Data:
    return reported(onset=onset, grade=grade, term=term, **{"causality": "possible", **said})


def crs(onset: str | None = "2026-03-10", grade: int | None = 3, **said: Any) -> Data:
    return severe(onset, grade, "CRS of the cells", preferred_term="cytokine release syndrome", **said)


def test_the_window_closes_after_its_last_day_and_not_on_it() -> None:
    assert window(today=0).state == "open"
    assert window(today=28).state == "open"
    closed = window(today=29)
    assert (closed.state, closed.first_day, closed.last_day) == ("clean", DAY, date(2026, 4, 1))
    assert closed.arithmetic == (
        "the window of days 0 to 28, 2026-03-04 to 2026-04-01: completed without a dose-limiting toxicity",
    )


def test_a_toxicity_closes_it_at_once() -> None:
    found = window(crs(), today=7)
    assert (found.state, found.toxicities, found.evidence) == ("dlt", ("cytokine release syndrome",), (100,))
    assert found.arithmetic[0] == (
        "adverse event 1, cytokine release syndrome: grade 3 from 2026-03-10, day 6 of the window of days 0 to 28; "
        "investigator: possible; dose-limiting: CRS of grade 3 or more"
    )


@pytest.mark.parametrize(
    ("onset", "state"),
    [
        ("2026-03-03", "clean"),
        ("2026-03-04T09:59", "clean"),
        ("2026-03-04", "dlt"),
        ("2026-03-04T10:01", "dlt"),
        (LAST, "dlt"),
        (f"{LAST}T23:59", "dlt"),
        ("2026-04-02T00:00", "clean"),
        ("2026-04-02", "clean"),
        ("2026-04", "dlt"),
        ("2026-03", "dlt"),
        ("2026", "dlt"),
        ("2026-05", "clean"),
        (None, "dlt"),
    ],
)
def test_it_counts_from_the_infusion_to_the_end_of_the_last_day_also_when_it_only_could(
    onset: str | None, state: str
) -> None:
    assert window(crs(onset), today=100).state == state


@pytest.mark.parametrize(
    ("event", "below", "at"),
    [
        (crs, 2, 3),
        (severe, 2, 3),
    ],
)
def test_a_grade_counts_from_its_limit_on(event: Any, below: int, at: int) -> None:
    assert window(event(grade=below)).state == "clean"
    assert window(event(grade=at)).state == "dlt"
    assert window(event(grade=at + 1)).state == "dlt"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (["possible"], "dlt"),
        (["probable"], "dlt"),
        (["unlikely"], "clean"),
        (["not_related"], "clean"),
        ([None], "dlt"),
        (["not_related", "possible"], "dlt"),
        (["possible", "not_related"], "dlt"),
        (["unlikely", "not_related"], "clean"),
    ],
)
def test_either_view_suffices_and_while_nobody_has_spoken_it_counts_as_related(said: list[Any], state: str) -> None:
    found = window(crs(causality=said[0]), *(assessed(view) for view in said[1:]))
    assert found.state == state
    assert ("nobody has said whether it is related" in found.arithmetic[0]) is (said == [None])


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([crs("2026-03-01", 2), updated("2026-03-06", grade=3)], "dlt"),
        ([crs("2026-03-01", 2), updated("2026-03-04", grade=3)], "dlt"),
        ([crs("2026-03-01", 3), updated("2026-03-06", grade=4)], "dlt"),
        ([crs("2026-03-01", 4), updated("2026-03-06", grade=3)], "clean"),
        ([crs("2026-03-01", 2), updated("2026-04-02", grade=3)], "clean"),
        ([crs("2026-03-10", 2), updated("2026-04-02", grade=3)], "clean"),
        ([crs("2026-03-10", 2), updated("2026-04-01", grade=3)], "dlt"),
        ([crs("2026-03-01", 3)], "clean"),
    ],
)
def test_a_worsening_to_the_grade_in_the_window_counts(said: list[Data], state: str) -> None:
    assert window(*said, today=100).state == state


# Shorter than 72 hours, with treatment ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("onset", "ended", "treated", "state"),
    [
        ("2026-03-10T08:00", "2026-03-13T07:58", "yes", "clean"),
        ("2026-03-10T08:00", "2026-03-13T07:59", "yes", "clean"),
        ("2026-03-10T08:00", "2026-03-13T08:00", "yes", "dlt"),
        ("2026-03-10", "2026-03-12", "yes", "clean"),
        ("2026-03-10", "2026-03-13", "yes", "dlt"),
        ("2026-03-10", "2026-03-11", "no", "dlt"),
        ("2026-03-10", "2026-03-11", None, "dlt"),
        ("2026-03-10", "2026-03-11", "unknown", "dlt"),
        ("2026-03", "2026-03-11", "yes", "dlt"),
        ("2026-03-10", "2026-03", "yes", "dlt"),
        (None, "2026-03-11", "yes", "dlt"),
    ],
)
def test_only_what_was_certainly_shorter_and_treated_is_excepted(
    onset: str | None, ended: str, treated: str | None, state: str
) -> None:
    assert window(severe(onset, ended=ended, treated=treated), today=100).state == state
    assert window(crs(onset, ended=ended, treated=treated), today=100).state == "dlt", "CRS has no such exception"


@pytest.mark.parametrize(
    ("onset", "ended", "state"),
    [
        ("2026-10-31", "2026-11-02", "dlt"),  # 73 hours could have passed: clocks went back
        ("2026-03-07", "2026-03-09", "clean"),  # 71 hours: they went forward
        ("2026-03-07T10:00", "2026-03-10T10:58", "clean"),
        ("2026-03-07T10:00", "2026-03-10T11:00", "dlt"),
    ],
)
def test_hours_pass_whatever_the_clocks_show(onset: str, ended: str, state: str) -> None:
    zone, exposure = ZoneInfo("America/New_York"), f"{onset[:8]}01" if onset < "2026-10" else "2026-10-30"
    said = severe(onset, ended=ended, treated="yes")
    assert window(said, exposure=exposure, zone=zone, today=300).state == state


@pytest.mark.parametrize(
    ("onset", "today", "state"),
    [
        ("2026-03-10", 6, "open"),
        ("2026-03-10", 9, "open"),
        ("2026-03-10", 10, "dlt"),  # the whole of 2026-03-10 is 72 hours ago as 2026-03-14 begins
        ("2026-03-10T00:00", 9, "open"),
        (LAST, 29, "open"),  # past its last day
        (LAST, 31, "open"),
        (LAST, 32, "dlt"),
        (None, 19, "open"),  # reported on 2026-03-20
        (None, 20, "dlt"),
    ],
)
def test_while_it_may_still_prove_short_the_window_waits(onset: str | None, today: int, state: str) -> None:
    found = window(severe(onset, treated="yes"), today=today, sealed="2026-03-20T15:00:00.000000Z")
    assert found.state == state
    if state == "open":
        assert "72 h may not have passed" in found.arithmetic[0]


def test_the_hours_are_those_in_such_a_grade() -> None:
    short = [severe("2026-03-08", 1, treated="yes"), updated("2026-03-10", grade=3), updated("2026-03-12", grade=2)]
    assert window(*short).state == "clean"
    assert window(*short, updated("2026-03-15", grade=3)).state == "dlt", "again, and not known to be over"
    rising = [
        severe("2026-03-10", 3, treated="yes"),
        updated("2026-03-12", grade=4),
        updated("2026-03-13", grade=1),
    ]
    assert window(*rising).state == "dlt", "grade 3 and 4 together"


def test_a_death_is_never_short() -> None:
    short = LIMITS.model_copy(update={"limits": (LIMITS.limits[2],)})
    fatal = [severe("2026-03-10", 4, treated="yes"), resolved("2026-03-11", "fatal")]
    assert window(*fatal, limits=short).state == "dlt"
    assert window(*fatal[:1], resolved("2026-03-11"), limits=short).state == "clean"


# Cells ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"term": "White blood cell decreased", "system_organ_class": "Investigations"},
        {"term": "Neutropenia", "system_organ_class": "blood and lymphatic system disorders"},
        {"term": NEUTROPHILS, "ended": "2026-03-20"},
    ],
)
def test_haematological_grades_inside_the_window_do_not_count(said: dict[str, Any]) -> None:
    assert window(severe(grade=4, **said)).state == "clean"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([severe("2026-03-10", 4, NEUTROPHILS)], "dlt"),
        ([severe("2026-03-10", 3, NEUTROPHILS)], "clean"),
        ([severe("2026-02-10", 4, NEUTROPHILS)], "dlt"),
        ([severe("2026-03-10", 4, NEUTROPHILS, ended=LAST)], "clean"),
        ([severe("2026-03-10", 4, NEUTROPHILS, ended="2026-04-02")], "dlt"),
        ([severe("2026-03-10", 4, NEUTROPHILS, ended="2026-04")], "dlt"),
        ([severe(LAST, 4, NEUTROPHILS)], "dlt"),
        ([severe("2026-04-02", 4, NEUTROPHILS)], "clean"),
        ([severe("2026-03-10", 4, NEUTROPHILS), updated(LAST, grade=3)], "clean"),
        ([severe("2026-03-10", 4, NEUTROPHILS), updated("2026-04-02", grade=3)], "dlt"),
        ([severe("2026-03-10", 3, NEUTROPHILS), updated("2026-04-02", grade=4)], "clean"),
        ([severe("2026-03-10", 4, NEUTROPHILS), updated("2026-04", grade=3)], "dlt"),
        ([severe("2026-03-10", 4, NEUTROPHILS, leukaemia="yes")], "clean"),
        ([severe("2026-03-10", 4, NEUTROPHILS, leukaemia="no")], "dlt"),
        ([severe("2026-03-10", 4, NEUTROPHILS, leukaemia="unknown")], "dlt"),
        ([severe("2026-03-10", 4, NEUTROPHILS, causality="unlikely")], "clean"),
        ([severe("2026-03-10", None, NEUTROPHILS)], "open"),
        ([severe("2026-03-10", None, NEUTROPHILS, causality="unlikely")], "clean"),
    ],
)
def test_cells_count_as_they_are_at_the_end_of_the_last_day(said: list[Data], state: str) -> None:
    assert window(*said, today=40).state == state
    assert window(*said, today=28).state == "open", "the last day is not over"


@pytest.mark.parametrize(
    ("grade", "said", "state"),
    [
        (4, [], "dlt"),
        (3, [], "clean"),
        (0, [], "clean"),
        (None, [], "open"),
        (None, [severe("2026-03-10", 2, NEUTROPHILS)], "clean"),
        (None, [severe("2026-03-10", 2, PLATELETS)], "open"),
        (4, [severe("2026-03-10", 4, NEUTROPHILS, leukaemia="yes")], "clean"),
        (4, [severe("2026-03-10", 4, PLATELETS, leukaemia="yes")], "dlt"),
        (4, [severe("2026-03-10", 2, NEUTROPHILS, causality="not_related")], "clean"),
        (4, [severe("2026-03-10", 2, PLATELETS, causality="not_related")], "dlt"),
        (1, [severe("2026-03-10", None, NEUTROPHILS)], "clean"),
        (1, [severe("2026-03-10", 4, NEUTROPHILS)], "dlt"),
    ],
)
def test_a_measurement_or_an_adverse_event_suffices(grade: int | None, said: list[Data], state: str) -> None:
    found = window(*said, cytopenia={NEUTROPHILS.upper(): grade})
    assert found.state == state
    assert any(NEUTROPHILS in line for line in found.arithmetic), "it says what the cells came to"
    assert window(*said, cytopenia={NEUTROPHILS: grade}, today=28).state == "open"
    gone = window(*said, cytopenia={NEUTROPHILS: grade}, ended="2026-03-30")
    assert gone.state == "not_evaluable", "there was no last day"


# Death, and leaving -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([severe("2026-03-10", 1), died("2026-03-12")], "dlt"),
        ([severe("2026-02-10", 1), died("2026-03-12")], "dlt"),
        ([severe("2026-03-10", 1), died(LAST)], "dlt"),
        ([severe("2026-03-10", 1), died("2026-04-02")], "clean"),
        ([severe("2026-03-10", 1), died("2026-04")], "dlt"),
        ([severe("2026-03-10", 5)], "dlt"),
        ([severe("2026-03-10", 1, causality="unlikely"), died("2026-04")], "not_evaluable"),
        ([severe("2026-03-10", 1, "Neutropenia"), died("2026-03-12")], "dlt"),
    ],
)
def test_death_from_a_related_event_counts_by_the_day_of_death(said: list[Data], state: str) -> None:
    limits = LIMITS.model_copy(update={"limits": (LIMITS.limits[-1],)})
    assert window(*said, limits=limits).state == state
    assert window(*said, today=100).state == state


@pytest.mark.parametrize(
    ("left", "state"),
    [
        ("2026-03-20", "not_evaluable"),
        (LAST, "not_evaluable"),
        ("2026-04-02", "clean"),
        ("2026-04", "not_evaluable"),
    ],
)
def test_who_leaves_or_dies_before_the_window_closed_is_not_evaluable(left: str, state: str) -> None:
    disease = reported(term="Disease progression", onset="2026-03-10", causality="not_related")
    gone, dead = window(ended=left), window(disease, died(left), death=left)
    assert (gone.state, dead.state) == (state, state)
    if state == "not_evaluable":
        assert gone.arithmetic[-1].startswith("left the trial ")
        assert dead.arithmetic[-1].startswith("died ")
        assert window(ended=left, today=28).state == state
        assert window(crs(), ended=left).state == "dlt", "the toxicity counts all the same"


def test_death_from_something_unrelated_is_not_evaluable() -> None:
    said = [severe("2026-03-10", 3, causality="not_related"), died("2026-03-12")]
    found = window(*said, death="2026-03-12")
    assert found.state == "not_evaluable"
    assert "not dose-limiting, because it is not related" in found.arithmetic[0]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([resolved("2026-03-12", "fatal")], "not_evaluable"),
        ([resolved("2026-04-02", "fatal")], "clean"),
        ([updated("2026-03-12", grade=5)], "not_evaluable"),
        ([updated("2026-03-12", serious=["death"])], "not_evaluable"),
    ],
)
def test_a_fatal_event_completes_no_window_while_its_death_is_not_recorded(said: list[Data], state: str) -> None:
    found = window(severe("2026-03-10", 2, causality="not_related"), *said, cytopenia={NEUTROPHILS: 0})
    assert found.state == state
    assert found.arithmetic[-1].startswith("died ") is (state == "not_evaluable")


@pytest.mark.parametrize(
    ("death", "state"),
    [("2026-03-12", "open"), (LAST, "open"), ("2026-04", "open"), ("2026-04-02", "clean"), ("2026-03-03", "clean")],
)
def test_a_death_in_the_window_that_no_adverse_event_explains_keeps_it_open(death: str, state: str) -> None:
    harmless = severe("2026-03-10", 1, causality="not_related")
    found = window(harmless, died(death, None), death=death, today=100)
    if death < "2026-03-04":
        assert found.state == "not_evaluable", "it was over before it began"
        return
    assert found.state == state
    assert any("no adverse event explains it" in line for line in found.arithmetic) is (state == "open")
    assert window(severe("2026-03-10", 4), died(death, None), death=death, today=100).state == "dlt"


def test_a_death_that_no_limit_could_count_is_not_waited_for() -> None:
    cells = LIMITS.model_copy(update={"limits": (LIMITS.limits[3],)})
    assert window(death="2026-03-12", limits=cells).state == "not_evaluable"


# Severity, and much at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([severe(grade=None, severity="mild")], "open"),
        ([severe(grade=None, severity="severe")], "open"),
        ([severe(grade=None, severity="severe"), updated("2026-03-10", severity="mild")], "open"),
        ([severe(grade=None, severity="severe", causality="unlikely")], "clean"),
        ([severe(grade=2, severity="severe")], "clean"),
        ([severe(grade=2), updated("2026-03-12", severity="severe")], "clean"),
        ([severe(grade=None, severity="mild"), updated("2026-03-10", grade=2)], "clean"),
        ([severe(grade=None, severity="mild"), updated("2026-03-12", grade=3)], "dlt"),
        ([severe("2026-03-10", None, NEUTROPHILS, severity="mild")], "open"),
        ([severe(grade=None, severity="mild"), died("2026-03-12")], "dlt"),
    ],
)
def test_a_severity_never_stands_for_a_grade(said: list[Data], state: str) -> None:
    found = window(*said, today=100)
    assert found.state == state
    if state == "open":
        assert "send the grade" in " ".join(found.arithmetic)


def test_a_change_after_its_end_takes_the_exception_for_a_short_one_away() -> None:
    short = severe("2026-03-10", 3, ended="2026-03-11", treated="yes")
    assert window(short).state == "clean"
    assert window(short, updated("2026-03-20", grade=3)).state == "dlt"
    cells = severe("2026-03-10", 2, NEUTROPHILS, ended="2026-03-11")
    assert window(cells).state == "clean"
    assert window(cells, updated("2026-03-20", grade=4)).state == "dlt"


@pytest.mark.parametrize("related", [True, False])
def test_however_much_happens_a_decision_holds_what_there_is_to_say(related: bool) -> None:
    long = {"preferred_term": NEUTROPHILS, "causality": "possible" if related else "not_related"}
    cells = [reported(f"{at:064}", "n" * 120, onset="2026-03-10", grade=3, **long) for at in range(80)]
    found = window(*cells, cytopenia={NEUTROPHILS: 4}, today=40)
    assert found.state == ("dlt" if related else "clean")
    waiting = window(*cells, cytopenia={NEUTROPHILS: None}, today=40)
    many = window(*(severe(ae=f"{at:02}", preferred_term=f"Rash {at:02}") for at in range(80)))
    for each in (found, waiting, many):
        assert len(each.arithmetic) <= 60
        assert all(len(line) <= 2000 for line in each.arithmetic)
    assert "and 75 more" in waiting.arithmetic[0]
    assert many.toxicities[:2] == ("Rash 00", "Rash 01")
    assert (len(many.toxicities), many.toxicities[-1]) == (30, "and 51 more")
    assert many.arithmetic[-1].startswith("a dose-limiting toxicity in ")
    assert many.arithmetic[-2] == "and 22 more"


def test_what_decides_is_told_before_what_does_not() -> None:
    harmless = [severe("2026-03-10", 3, ae=f"{at:03}", causality="unlikely") for at in range(80)]
    assert "CRS of grade 3 or more" in window(*harmless, crs(ae="9")).arithmetic[0]


# Not known yet ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([crs(grade=None)], "open"),
        ([severe(grade=None)], "open"),
        ([severe(grade=None, onset=None)], "open"),
        ([severe(grade=None, causality="unlikely")], "clean"),
        ([severe(grade=None, onset="2026-03-03")], "clean"),
        ([severe(grade=None, onset="2026-04-02")], "clean"),
        ([severe(grade=None, term="White blood cell decreased")], "clean"),
        ([severe(grade=None), updated("2026-03-10", grade=2)], "clean"),
        ([severe(grade=None), updated("2026-03-11", grade=2)], "open"),
        ([crs(grade=None), updated("2026-03-11", grade=3)], "dlt"),
    ],
)
def test_without_its_grade_an_event_that_could_be_dose_limiting_keeps_the_window_open(
    said: list[Data], state: str
) -> None:
    found = window(*said, today=100)
    assert found.state == state
    if state == "open":
        assert "send the grade" in found.arithmetic[0]
        assert found.evidence == tuple(range(100, 100 + len(said)))
        assert window(*said, today=100, ended="2026-03-20").state == "open"


@pytest.mark.parametrize("today", [7, 28, 29, 40, 41])
def test_a_day_that_passes_without_news_changes_no_word_but_the_state(today: int) -> None:
    said = [severe("2026-03-10"), severe("2026-03-11", 3, ae="2", causality="unlikely")]
    before, after = window(*said, today=today), window(*said, today=today + 1)
    if before.state == after.state:
        assert before == after


# Laws -------------------------------------------------------------------------------------------------------

WHEN = st.integers(-10, 40).map(day) | st.sampled_from(["2026-03", "2026-04", "2026-03-10T10:00"])
TERMS = st.sampled_from(["Headache", "Cytokine release syndrome", NEUTROPHILS, "White blood cell decreased"])
GRADES = st.none() | st.integers(1, 4)
VIEWS = st.sampled_from([None, "not_related", "possible"])
TREATED = st.sampled_from([None, "no", "yes"])
REPORTS = st.builds(
    lambda onset, term, grade, causality, treated: reported(
        onset=onset, term=term, grade=grade, causality=causality, treated=treated
    ),
    st.none() | WHEN,
    TERMS,
    GRADES,
    VIEWS,
    TREATED,
)
UPDATES = st.lists(st.tuples(WHEN, st.integers(1, 4)), max_size=3)
ENDS = st.none() | st.integers(10, 40).map(day)


def said_of(report: EventReported, updates: list[tuple[str, int]], ends: str | None) -> list[Data]:
    told: list[Data] = [report, *(updated(on, grade=grade) for on, grade in updates)]
    return told if ends is None else [*told, resolved(ends)]


@given(REPORTS, UPDATES, ENDS, st.integers(0, 45), st.none() | WHEN, st.integers(1, 2), WHEN, TERMS)
def test_an_unrelated_event_of_low_grade_changes_nothing(
    report: EventReported,
    updates: list[tuple[str, int]],
    ends: str | None,
    today: int,
    left: str | None,
    grade: int,
    onset: str,
    term: str,
) -> None:
    said = said_of(report, updates, ends)
    other = reported(ae="2", term=term, onset=onset, grade=grade, causality="not_related")
    assert window(*said, other, today=today, ended=left) == window(*said, today=today, ended=left)


@given(
    st.integers(1, 28).map(day),
    TERMS,
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=4),
    VIEWS,
    TREATED,
    ENDS,
    st.integers(0, 45),
)
def test_a_higher_grade_never_cleans_a_window(
    onset: str,
    term: str,
    course: list[tuple[int, int, int]],
    causality: Any,
    treated: Any,
    ends: str | None,
    today: int,
) -> None:
    def judged(*, raised: bool) -> str:
        grades = [min(4, grade + more * raised) for grade, more, _ in course]
        report = reported(term=term, onset=onset, grade=grades[0], causality=causality, treated=treated)
        at, updates = date.fromisoformat(onset), []
        for grade, (_, _, later) in zip(grades[1:], course[1:], strict=True):
            at += timedelta(days=later)
            updates.append((at.isoformat(), grade))
        return window(*said_of(report, updates, ends), today=today).state

    order = {"clean": 0, "open": 1, "dlt": 2}
    before, after = judged(raised=False), judged(raised=True)
    assert before != "dlt" or after != "clean"
    assert today <= 28 or order[after] >= min(order[before], 1)


@given(REPORTS, ENDS, st.integers(0, 45))
def test_a_date_known_less_exactly_never_cleans_a_window(
    report: EventReported, ends: str | None, today: int
) -> None:
    exact = window(*said_of(report, [], ends), today=today)
    for length in (7, 4, 0):
        loose = report.model_copy(update={"onset": (report.onset or "")[:length] or None})
        if exact.state == "dlt":
            assert window(*said_of(loose, [], ends), today=today).state in {"dlt", "open"}


@given(st.lists(REPORTS, min_size=2, max_size=4), st.integers(0, 45), st.randoms())
def test_the_order_of_the_events_does_not_matter(reports: list[EventReported], today: int, chance: Any) -> None:
    known = events(*(report.model_copy(update={"ae": str(at)}) for at, report in enumerate(reports)))
    shuffled = list(known)
    chance.shuffle(shuffled)

    def judged(some: Any) -> Judged:
        return judge(
            some,
            span("2026-03-04", SHANGHAI),
            LIMITS,
            SHANGHAI,
            today=DAY + timedelta(days=today),
            ended=None,
            died=None,
            cytopenia={},
        )

    assert judged(known) == judged(shuffled)
