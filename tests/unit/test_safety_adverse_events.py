"""What an adverse event comes to when statements contradict one another, and what is asked about it."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.safety.adverse_events import AdverseEvent
from services.safety.emergence import emergent
from services.safety.measurements import measured_terms
from services.safety.participant import TermGrade
from services.safety.queries import of_terms
from shared.events import Data
from shared.moments import span
from shared.protocol.safety import Emergence
from tests.adverse_event import SHANGHAI, died, event, reported, resolved, updated
from tests.feed import Feed

LONG = "n" * 63
NAME, TEXT = 120, 2000
"""The longest name and text that a decision holds."""


def fed(*said: tuple[str, dict[str, Any]]) -> Feed:
    """A registered participant of whom all that was said."""
    feed = Feed()
    feed.say("screening.registered", {"sex": "female"})
    for type_, data in said:
        feed.say(type_, data)
    return feed


def asked(feed: Feed) -> dict[str, str]:
    """The open queries: name to text. No two have the same name, and a decision holds every one."""
    answers = [one for one in feed.assessed().answers if one.question.startswith("query ")]
    found = {one.content["query"]: one.content["text"] for one in answers}
    assert len(found) == len(answers)
    assert all(len(name) <= NAME and len(text) <= TEXT for name, text in found.items())
    return found


def report(ae: str = "1", **data: Any) -> tuple[str, dict[str, Any]]:
    said = {"ae": ae, "term": "Nausea", "onset": "2026-03-05", "serious": [], "causality": "possible"}
    return "safety.event_reported", said | data


def update(on: str, ae: str = "1", **data: Any) -> tuple[str, dict[str, Any]]:
    return "safety.event_updated", {"ae": ae, "on": on, **data}


def resolve(on: str, outcome: str, ae: str = "1") -> tuple[str, dict[str, Any]]:
    return "safety.event_resolved", {"ae": ae, "on": on, "outcome": outcome}


# Several resolutions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolutions", "outcome", "ended"),
    [
        ([("2026-03-10", "recovered"), ("2026-03-08", "fatal")], "fatal", "2026-03-08"),
        ([("2026-03-10", "recovered"), ("2026-03-12", "not_recovered")], "not_recovered", None),
        ([("2026-03-10", "recovering"), ("2026-03-12", "recovered")], "recovered", "2026-03-12"),
        ([("2026-03-10", "recovered"), ("2026-03-10", "not_recovered")], "not_recovered", None),
        ([("2026-03-10", "unknown"), ("2026-03-10", "not_recovered")], "not_recovered", None),
        ([("2026-03-10", "unknown"), ("2026-03-10", "recovering")], "unknown", None),
        ([("2026-03-10", "recovering"), ("2026-03-10", "recovered_with_sequelae")], "recovering", None),
        (
            [("2026-03-10", "recovered"), ("2026-03-10", "recovered_with_sequelae")],
            "recovered_with_sequelae",
            "2026-03-10",
        ),
        ([("2026-03-01", "recovered"), ("2026-03", "recovered"), ("2026-02", "fatal")], "fatal", "2026-02"),
        ([("2026-03-01", "recovered"), ("2026-03", "recovered")], "recovered", "2026-03"),
    ],
)
def test_which_of_several_resolutions_stands_never_depends_on_which_arrived_first(
    resolutions: list[tuple[str, str]], outcome: str, ended: str | None
) -> None:
    for order in permutations(resolutions):
        known = event(reported(onset="2026-02-01", grade=2), *(resolved(*one) for one in order))
        assert known.outcome == outcome
        assert known.ended == (None if ended is None else span(ended, SHANGHAI))
        assert known.fatal is (outcome == "fatal")


def test_a_report_that_says_fatal_is_not_outvoted_by_a_recovery() -> None:
    known = event(reported(outcome="fatal", ended="2026-03-08"), resolved("2026-03-10", "recovered"))
    assert (known.outcome, known.fatal, known.ended) == ("fatal", True, span("2026-03-08", SHANGHAI))
    queries = asked(fed(report(outcome="fatal"), resolve("2026-03-10", "recovered")))
    assert "fatal by its report; recovered on 2026-03-10" in queries["event 1: resolved in two ways"]


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        (("2026-03-08", "recovered"), ("2026-03-10", "fatal"), True),
        (("2026-03-08", "recovered"), ("2026-03-10", "recovered_with_sequelae"), True),
        (("2026-03-08", "recovered"), ("2026-03-10", "not_recovered"), True),
        (("2026-03-08", "recovered"), ("2026-03-08", "recovering"), True),
        (("2026-03-10", "recovered"), ("2026-03", "recovering"), True),
        (("2026-03-10", "recovered"), ("2026-03-08", "recovering"), False),
        (("2026-03-08", "not_recovered"), ("2026-03-10", "recovering"), False),
        (("2026-03-08", "recovered"), ("2026-03-10", "recovered"), False),
    ],
)
def test_resolutions_that_cannot_both_be_right_are_asked_about(
    one: tuple[str, str], other: tuple[str, str], *, contradict: bool
) -> None:
    feed = fed(report(grade=2), resolve(*one))
    wrong = feed.say(*resolve(*other))
    assert ("event 1: resolved in two ways" in asked(feed)) is contradict
    feed.say("safety.retracted", {"corrects": wrong, "reason": "of another event"})
    assert "event 1: resolved in two ways" not in asked(feed)


# After the end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "then", "reopens"),
    [
        ("2026-03-10", update("2026-03-20", grade=3), True),
        ("2026-03-10", update("2026-03-10", grade=3), True),
        ("2026-03-10", update("2026-03", grade=3), True),
        ("2026-03", update("2026-03-02", grade=3), True),
        ("2026-03-10", update("2026-03-09", grade=3), False),
        ("2026-03-10T12:00", update("2026-03-10T11:59", grade=3), False),
        ("2026-03-10", update("2026-03-20", causality="probable"), False),
        ("2026-03-10", update("2026-03-20", severity="severe"), False),
        ("2026-03-10", update("2026-03-10", grade=5), False),
        ("2026-03-10", resolve("2026-03-20", "not_recovered"), True),
        ("2026-03-10", resolve("2026-03-20", "unknown"), False),
    ],
)
def test_what_changes_after_it_ended_goes_on_and_is_asked_about(
    ends: str, then: tuple[str, dict[str, Any]], *, reopens: bool
) -> None:
    feed = fed(report(grade=2, onset="2026-03-01", ended=ends))
    wrong = feed.say(*then)
    (known,) = feed.participant().events(SHANGHAI)
    assert known.ended == (None if reopens else span(ends, SHANGHAI))
    assert ("event 1: changed after it ended" in asked(feed)) is reopens
    feed.say("safety.retracted", {"corrects": wrong, "reason": "of another event"})
    assert feed.participant().events(SHANGHAI)[0].ended == span(ends, SHANGHAI)
    assert "event 1: changed after it ended" not in asked(feed)


def test_a_death_is_an_end_that_nothing_reopens() -> None:
    known = event(reported(onset="2026-03-01"), resolved("2026-03-10", "fatal"), updated("2026-03-12", grade=3))
    assert known.ended == span("2026-03-10", SHANGHAI)


def test_what_was_over_before_the_infusion_and_came_back_emerges_as_it_worsens() -> None:
    rules = Emergence(first_day=0, last_day=28, worsening=True, partial_dates="emergent")
    over: list[Data] = [reported(onset="2026-02-20", ended="2026-02-25", grade=1)]
    exposure = span("2026-03-04", SHANGHAI)
    assert not emergent(event(*over), exposure, rules, SHANGHAI).counts
    assert emergent(event(*over, updated("2026-03-10", grade=3)), exposure, rules, SHANGHAI).counts


# Grade and severity -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "by_severity", "grade", "stretches"),
    [
        ([reported(severity="severe")], True, 3, [3]),
        ([reported(severity="mild"), updated("2026-03-10", severity="severe")], True, 3, [1, 3]),
        ([reported(severity="severe"), updated("2026-03-10", grade=2)], False, 2, [None, 2]),
        ([reported(grade=1), updated("2026-03-10", severity="severe")], False, 1, [1]),
        ([reported(grade=1, severity="severe")], False, 1, [1]),
        ([reported(), updated("2026-03-10", severity="moderate")], True, 2, [None, 2]),
        ([reported()], False, None, [None]),
        ([reported(severity="mild"), updated("2026-03-10", grade=2), died("2026-03-12")], False, 5, [None, 2]),
        ([reported(severity="mild"), died("2026-03-12")], True, 1, [1]),
    ],
)
def test_a_severity_stands_for_nothing_where_anybody_graded(
    said: list[Data], by_severity: bool, grade: int | None, stretches: list[int | None]
) -> None:
    known = event(*said)
    assert (known.by_severity, known.grade) == (by_severity, grade)
    assert [stretch.grade for stretch in known.stretches] == stretches


@pytest.mark.parametrize(
    ("said", "asks"),
    [
        ([report(grade=3), resolve("2026-03-10", "fatal")], True),
        ([report(grade=3), resolve("2026-03-10", "fatal"), update("2026-03-10", grade=5)], False),
        ([report(severity="severe"), resolve("2026-03-10", "fatal")], False),
        ([report(), resolve("2026-03-10", "fatal")], False),
        ([report(grade=5), resolve("2026-03-10", "recovered")], True),
        ([report(grade=5), resolve("2026-03-10", "fatal")], False),
    ],
)
def test_a_fatal_outcome_and_the_grade_that_was_stated_must_agree(
    said: list[tuple[str, dict[str, Any]]], *, asks: bool
) -> None:
    assert ("event 1: fatal" in asked(fed(*said))) is asks


# Death ------------------------------------------------------------------------------------------------------


def test_a_death_without_its_adverse_event_is_asked_about_until_it_names_one() -> None:
    feed = fed(report(grade=2))
    death = {"on": "2026-03-12", "cause": "Sepsis"}
    wrong = feed.say("safety.died", death)
    assert "death without cause" in asked(feed)
    feed.say("safety.died", death | {"ae": "7", "corrects": wrong, "reason": "the event was not named"})
    assert set(asked(feed)) == {"event 7 not reported", "related without exposure"}
    feed.say(*report("7", term="Sepsis", onset="2026-03-11", grade=5, serious=["death"], aware="2026-03-12"))
    assert set(asked(feed)) == {"related without exposure"}


# Queries ----------------------------------------------------------------------------------------------------


def test_several_reasons_for_one_query_are_one_query_with_all_of_them() -> None:
    days = [f"2026-03-0{day}" for day in range(1, 5)]
    text = "adverse event 1 (Nausea): it is said to have changed on {}, before it began: correct one of the two"
    expected = "; ".join(text.format(day) for day in days)
    for order in permutations(days):
        feed = fed(report(grade=2), *(update(day, grade=1) for day in order))
        assert asked(feed)["event 1: changed before onset"] == expected
        raised = [one for one in feed.decisions if one.get("query") == "event 1: changed before onset"]
        assert len(raised[-1]["evidence"]) == 5


def test_a_number_that_was_reported_three_times_is_one_query_that_names_all_three() -> None:
    feed = fed(*(report(grade=grade) for grade in (1, 2, 3)))
    (query,) = [one for one in feed.assessed().answers if one.question == "query event 1 reported twice"]
    assert len(query.evidence) == 3
    assert query.content["text"].count("was reported before") == 1


def test_what_the_sponsor_leaves_open_and_what_the_site_leaves_open_is_one_query() -> None:
    feed = fed(report(grade=2, serious=None))
    sponsor = {"ae": "1", "serious": ["unspecified"], "why": "as told by telephone"}
    feed.say("safety.event_assessed", sponsor, source="sponsor/medical")
    text = asked(feed)["event 1: serious"]
    assert "is it serious, and by which criteria?" in text
    assert "without a criterion" in text


def test_of_many_reasons_the_first_are_told_and_the_rest_are_counted() -> None:
    early = [update(f"2026-02-{day:02}", "n" * 64, grade=1) for day in range(1, 13)]
    text = asked(fed(report("n" * 64, term="t" * 120), *early))[f"event {'n' * 64}: changed before onset"]
    assert text.count("changed on") == 5
    assert text.endswith("; and 7 more")


def test_the_longest_numbers_of_twins_still_make_names_of_their_own() -> None:
    numbers = [LONG + last for last in "abc"]
    names = [name for name in asked(fed(*(report(ae, grade=2) for ae in numbers))) if " like " in name]
    assert len(set(names)) == 2


def test_the_longest_number_and_the_longest_term_fit_every_query() -> None:
    ae = LONG + "a"
    queries = asked(
        fed(
            report(ae, term="t" * 120, serious=["unspecified"], causality=None, ended="2026-03-06"),
            report(ae, term="t" * 120),
            update("2026-03-01", ae, grade=5),
            update("2026-03-08", ae, grade=3),
            resolve("2026-03-01", "recovered", ae),
            resolve("2026-03-10", "not_recovered", ae),
            resolve("2026-03-10", "recovered_with_sequelae", LONG + "b"),
            ("safety.died", {"on": "2026-03-02", "cause": "Sepsis"}),
        )
    )
    assert {name.removeprefix(f"event {ae}") for name in queries} >= {
        ": changed before onset",
        ": resolved before onset",
        ": resolved in two ways",
        ": fatal",
        " after death",
        " reported twice",
    }
    terms = [
        TermGrade(
            term=term,
            item="",
            scale="CTCAE 5.0",
            worst=4,
            worst_record=(1, "a"),
            untold="x",
            untold_record=(1, "a"),
        )
        for term in measured_terms()
    ]
    assert all(len(query.name) <= NAME for query in of_terms((), terms))


DAYS = st.sampled_from(["2026-02-27", "2026-03-04", "2026-03-10", "2026-03", "2026-03-20"])
SAID = st.one_of(
    st.builds(lambda ae, grade: report(ae, grade=grade), st.sampled_from("12"), st.integers(1, 5)),
    st.builds(lambda on, ae, grade: update(on, ae, grade=grade), DAYS, st.sampled_from("12"), st.integers(1, 5)),
    st.builds(
        resolve,
        DAYS,
        st.sampled_from(["recovered", "recovering", "not_recovered", "fatal"]),
        st.sampled_from("123"),
    ),
    st.builds(lambda on, cause: ("safety.died", {"on": on, "cause": cause}), DAYS, st.sampled_from(["A", "B"])),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(SAID, max_size=8, unique_by=repr))
def test_no_two_queries_ever_have_the_same_name(said: list[tuple[str, dict[str, Any]]]) -> None:
    asked(fed(*said))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(resolved, DAYS, st.sampled_from(["recovered", "recovering", "fatal"])), max_size=4),
    st.data(),
)
def test_the_order_of_resolutions_changes_nothing(said: list[Data], data: st.DataObject) -> None:
    def essence(known: AdverseEvent) -> tuple[Any, ...]:
        return known.outcome, known.ended, known.fatal, len(known.contradicted), len(known.reopened)

    other = data.draw(st.permutations(said))
    assert essence(event(reported(), *said)) == essence(event(reported(), *other))
