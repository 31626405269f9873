"""Expedited reports as the safety service seals them: due, overdue, closed; and the site's 24 hours."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.console.safety import running_clocks
from shared.decider import SealedEvent
from shared.moments import instant, stamp
from tests.safety_site import DOCUMENT, SafetySite

KNOWN = "2026-03-12T09:00:00+08:00"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SafetySite]:
    made = SafetySite(tmp_path)
    yield made
    made.notary.close()


def serious(site: SafetySite, **data: Any) -> list[SealedEvent]:
    """A serious, related adverse event that no reference safety information expects."""
    return site.report(**{"serious": ["hospitalisation"], "grade": 3, "aware": KNOWN} | data)


def clocks(site: SafetySite, type_: str = "report_due") -> dict[str, Any]:
    """The newest decision of this type by profile and kind."""
    return {f"{event.data.profile} {event.data.kind}": event.data for event in site.decided(type_)}


def test_a_susar_is_due_in_fifteen_days_to_each_authority(site: SafetySite) -> None:
    serious(site)
    due = clocks(site)
    assert set(due) == {"us_fda initial", "cn_nmpa initial"}
    for one in due.values():
        assert (one.days, one.day_zero, one.receipt) == (15, "2026-03-12", "2026-03-12")
        assert one.due == "2026-03-27T15:59:59.999999Z", "the end of 27 March in Shanghai"


def test_a_life_threatening_one_is_due_in_seven_and_its_follow_up_eight_days_later(site: SafetySite) -> None:
    serious(site, serious=["life_threatening"])
    due = clocks(site)
    assert {name: one.days for name, one in due.items()} == {
        "us_fda initial": 7,
        "cn_nmpa initial": 7,
        "cn_nmpa follow_up": 15,
    }


def test_what_is_expected_not_serious_or_not_related_owes_nothing(site: SafetySite) -> None:
    site.adopt_reference({"preferred_term": "Nausea", "most_grade": 3})
    serious(site)
    site.report("2", term="Rash")
    site.report("3", term="Fall", serious=["hospitalisation"], causality="not_related", aware=KNOWN)
    assert clocks(site) == {}


def test_an_expected_event_is_unexpected_beyond_its_listed_grade_and_when_it_is_fatal(site: SafetySite) -> None:
    site.adopt_reference({"preferred_term": "Nausea", "most_grade": 3})
    serious(site, grade=4)
    assert site.last("event_classified").expected == "no"
    assert set(clocks(site)) == {"us_fda initial", "cn_nmpa initial"}
    site.say("safety.died", {"on": "2026-03-11", "cause": "Nausea", "ae": "1"})
    assert clocks(site)["us_fda initial"].days == 7


def test_a_later_version_of_the_reference_does_not_judge_what_began_before_it(site: SafetySite) -> None:
    site.adopt_reference(version="IB 1")
    serious(site)
    site.adopt_reference({"preferred_term": "Nausea"}, version="IB 2", effective="2026-03-06")
    assert site.last("event_classified").reference_version == "IB 1"
    assert site.decided("report_closed") == []


def test_of_two_views_the_more_conservative_starts_the_clock_from_the_first_receipt(site: SafetySite) -> None:
    serious(site, causality="not_related")
    assert clocks(site) == {}
    site.wait(5)
    site.say("safety.event_assessed", {"ae": "1", "causality": "possible", "why": "The timing fits."})
    assert clocks(site)["us_fda initial"].day_zero == "2026-03-12"


def test_a_telephone_call_is_an_earlier_receipt(site: SafetySite) -> None:
    serious(site)
    site.say("safety.event_assessed", {"ae": "1", "aware": "2026-03-10T08:00:00+08:00", "why": "Telephone."})
    found = clocks(site)["us_fda initial"]
    assert (found.day_zero, found.due[:10]) == ("2026-03-10", "2026-03-25")
    assert found.supersedes is not None


def test_a_report_in_time_meets_its_clock_and_a_late_one_misses_it(site: SafetySite) -> None:
    serious(site)
    sent = {"ae": "1", "kind": "initial", "number": "2026-1"}
    site.wait(10)
    site.say("safety.report_sent", sent | {"profile": "us_fda", "at": "2026-03-22T10:00:00+08:00"})
    assert clocks(site, "report_closed")["us_fda initial"].result == "met"
    site.wait(10)
    overdue = clocks(site, "report_overdue")
    assert set(overdue) == {"cn_nmpa initial"}
    site.say("safety.report_sent", sent | {"profile": "cn_nmpa", "at": "2026-04-01T10:00:00+08:00"})
    closed = clocks(site, "report_closed")
    assert (closed["cn_nmpa initial"].result, closed["cn_nmpa initial"].due) == (
        "missed",
        overdue["cn_nmpa initial"].due,
    )
    assert running_clocks(site.safety) == []


def test_a_report_that_was_not_sent_after_all_is_owed_again(site: SafetySite) -> None:
    serious(site)
    sent = {"ae": "1", "kind": "initial", "number": "2026-1", "profile": "us_fda", "at": "2026-03-12"}
    said = site.say("safety.report_sent", sent)[0]
    assert site.last("report_closed").result == "met"
    site.retract(said)
    assert site.last("report_due").profile == "us_fda"
    assert [clock.profile for _, clock in running_clocks(site.safety)] == ["cn_nmpa", "us_fda"]


def test_overdue_is_sealed_at_the_first_tick_after_with_the_true_due_time(site: SafetySite) -> None:
    """However long the notary was down: here its next tick comes a year later."""
    serious(site)
    site.pass_time(365)
    found = site.decided("report_overdue")
    assert {event.data.due for event in found} == {"2026-03-27T15:59:59.999999Z"}
    cause = site.log()[found[0].data.cause.index]
    assert cause.header.subject.endswith("log.ticked")
    ticks = [
        event.entry.header.sealed_at
        for event in site.read(site.log())
        if event.type == "log.ticked" and event.entry.header.sealed_at > found[0].data.due
    ]
    assert cause.header.sealed_at == ticks[0]


def test_a_notary_that_was_down_when_a_clock_ran_out_seals_that_at_its_first_tick(tmp_path: Path) -> None:
    site = SafetySite(tmp_path, clock="system")
    serious(site)
    told = site.wait(40)  # nothing at all was sealed meanwhile
    assert [event.type for event in told] == ["log.ticked"] + ["safety.report_overdue"] * 2
    assert {event.data.due for event in told[1:]} == {"2026-03-27T15:59:59.999999Z"}  # type: ignore[attr-defined]
    assert told[0].entry.header.sealed_at[:10] == "2026-04-21"
    site.notary.close()


def test_nothing_is_overdue_at_the_last_instant_that_is_in_time(site: SafetySite) -> None:
    serious(site)
    site.wait(15)
    assert site.decided("report_overdue") == []


def test_an_upgrade_to_fatal_before_the_report_shortens_the_clock(site: SafetySite) -> None:
    serious(site)
    site.wait(3)
    site.say("safety.died", {"on": "2026-03-15", "cause": "Nausea", "ae": "1"})
    found = clocks(site)
    assert (found["us_fda initial"].day_zero, found["us_fda initial"].due[:10]) == ("2026-03-15", "2026-03-22")


def test_an_upgrade_to_fatal_late_in_the_fifteen_days_does_not_lengthen_them(site: SafetySite) -> None:
    serious(site)
    site.wait(12)
    site.say("safety.died", {"on": "2026-03-24", "cause": "Nausea", "ae": "1"})
    assert clocks(site)["us_fda initial"].due[:10] == "2026-03-27"


def test_an_upgrade_to_fatal_after_the_report_owes_a_follow_up_in_seven_days(site: SafetySite) -> None:
    serious(site)
    sent = {"ae": "1", "kind": "initial", "number": "2026-1", "profile": "us_fda", "at": "2026-03-12"}
    site.say("safety.report_sent", sent)
    site.wait(5)
    site.say("safety.died", {"on": "2026-03-17", "cause": "Nausea", "ae": "1"})
    found = clocks(site)
    assert (found["us_fda follow_up"].days, found["us_fda follow_up"].day_zero) == (7, "2026-03-17")
    assert clocks(site, "report_closed")["us_fda initial"].result == "met"


@pytest.mark.parametrize(("at", "owed"), [("2026-03-12T12:30", True), ("2026-03-12T13:30", False)])
def test_a_report_that_went_out_hours_before_it_became_fatal_owes_a_follow_up_as_well(
    site: SafetySite, at: str, owed: bool
) -> None:
    serious(site)
    sent = {"ae": "1", "kind": "initial", "number": "2026-1", "profile": "us_fda", "at": at}
    later = site.now + timedelta(hours=1)
    site.root("log.clock_moved", {"to": stamp(later)})
    site.now = later
    site.say("safety.died", {"on": "2026-03-12", "cause": "Nausea", "ae": "1"})
    site.say("safety.report_sent", sent)
    assert ("us_fda follow_up" in clocks(site)) is owed
    if owed:
        assert clocks(site)["us_fda follow_up"].day_zero == "2026-03-12"


@pytest.mark.parametrize("order", [("2026-03-20", "2026-04-02"), ("2026-04-02", "2026-03-20")])
def test_of_two_reports_for_one_clock_the_first_sent_counts_and_the_other_is_asked_about(
    site: SafetySite, order: tuple[str, str]
) -> None:
    serious(site)
    site.wait(25)
    said = {
        at: site.say(
            "safety.report_sent", {"ae": "1", "kind": "initial", "number": "1", "profile": "us_fda", "at": at}
        )[0]
        for at in order
    }
    assert clocks(site, "report_closed")["us_fda initial"].result == "met"
    assert f"report {said['2026-04-02'].envelope.id} not owed" in site.queries()
    assert f"report {said['2026-03-20'].envelope.id} not owed" not in site.queries()
    site.retract(said["2026-03-20"])
    assert clocks(site, "report_closed")["us_fda initial"].result == "missed"
    assert f"report {said['2026-04-02'].envelope.id} not owed" not in site.queries()


def test_a_report_sent_before_its_event_began_is_asked_about(site: SafetySite) -> None:
    serious(site)
    sent = {"ae": "1", "kind": "initial", "number": "1", "profile": "us_fda", "at": "2025-03-13"}
    said = site.say("safety.report_sent", sent)[0]
    assert "before the adverse event began" in site.queries()[f"report {said.envelope.id} not owed"]
    site.correct(said, at="2026-03-12")
    assert not any(name.startswith("report ") for name in site.queries())


def test_a_correction_that_takes_the_seriousness_back_owes_the_report_no_more(site: SafetySite) -> None:
    said = serious(site)[0]
    first = clocks(site)["us_fda initial"].due
    wrong = site.correct(said, serious=[], aware=None)[0]
    assert {one.result for one in clocks(site, "report_closed").values()} == {"no_longer_owed"}
    assert running_clocks(site.safety) == []
    site.wait(2)
    site.correct(wrong, serious=["hospitalisation"], aware=KNOWN)
    assert clocks(site)["us_fda initial"].due == first, "and when it is serious again, the first clock runs on"


def test_a_report_that_nobody_asked_for_is_asked_about_until_a_clock_does(site: SafetySite) -> None:
    sent = {"ae": "1", "kind": "initial", "number": "2026-1", "profile": "us_fda", "at": "2026-03-12"}
    site.say("safety.report_sent", sent)
    asked = next(event.data for event in site.decided("query_raised") if event.data.query.startswith("report "))
    assert (asked.to, asked.query in site.queries()) == ("sponsor/medical", True)
    serious(site)
    assert asked.query not in site.queries()
    assert clocks(site, "report_closed")["us_fda initial"].result == "met"


def test_a_correction_of_something_else_does_not_move_day_zero(site: SafetySite) -> None:
    said = serious(site)[0]
    site.wait(4)
    site.correct(said, onset="2026-03-06")
    site.wait(1)
    site.say("safety.event_assessed", {"ae": "1", "expected": "no", "why": "Not in this severity."})
    assert clocks(site)["us_fda initial"].day_zero == "2026-03-12"
    assert len([one for one in site.decided("report_due") if one.data.profile == "us_fda"]) == 1


def test_a_correction_that_makes_it_serious_is_the_receipt_of_that(site: SafetySite) -> None:
    said = site.report()[0]
    site.wait(4)
    site.correct(said, serious=["disability"], aware="2026-03-16T09:00:00+08:00")
    assert clocks(site)["us_fda initial"].day_zero == "2026-03-16"


def test_an_update_that_overtakes_its_report_changes_no_receipt(site: SafetySite) -> None:
    site.say("safety.event_updated", {"ae": "1", "on": "2026-03-06", "grade": 4})
    serious(site)
    site.say("safety.event_assessed", {"ae": "1", "aware": "2026-03-10T08:00:00+08:00", "why": "Telephone."})
    assert clocks(site)["us_fda initial"].day_zero == "2026-03-10"


def test_a_clock_is_not_met_by_a_report_that_was_taken_back(site: SafetySite) -> None:
    said = serious(site, serious=["life_threatening"])[0]
    sent = {"ae": "1", "kind": "initial", "number": "2026-1", "profile": "us_fda", "at": "2026-03-12"}
    report = site.say("safety.report_sent", sent)[0]
    site.wait(2)
    site.correct(said, serious=["hospitalisation"])
    site.say("safety.event_updated", {"ae": "1", "on": "2026-03-14", "serious": ["life_threatening"]})
    site.retract(report)
    assert "us_fda" in {clock.profile for _, clock in running_clocks(site.safety)}


def test_the_sponsor_counts_days_where_the_sponsor_is(tmp_path: Path) -> None:
    document = DOCUMENT.replace("sponsor_timezone: Asia/Shanghai", "sponsor_timezone: America/New_York")
    site = SafetySite(tmp_path, instant("2026-03-01T18:00:00Z"), document=document, infused="2026-03-01")
    serious(site, aware="2026-03-11")
    found = clocks(site)["us_fda initial"]
    assert found.day_zero == "2026-03-11", "at the site it was 12 March already"
    # New York put its clocks forward on 8 March, so its days end at 4 in UTC and no longer at 5.
    assert found.due == "2026-03-27T03:59:59.999999Z"
    site.notary.close()


def test_a_site_that_reports_within_its_hours_is_in_time_and_one_that_does_not_is_sealed_as_late(
    site: SafetySite,
) -> None:
    late = "serious_event_reported_late"

    def rules() -> list[str]:
        return [event.data.rule for event in site.decided("deviation_raised")]

    serious(site, aware="2026-03-11T12:00:00+08:00")
    assert late not in rules(), "exactly 24 hours are in time"
    serious(site, ae="2", onset="2026-03-06", aware="2026-03-11T11:58:00+08:00")
    assert rules().count(late) == 1
    site.say("safety.event_updated", {"ae": "2", "on": "2026-03-12", "grade": 2})
    assert rules().count(late) == 1, "a deviation is told once"


@pytest.mark.parametrize(
    ("aware", "late"), [("2026-03-17T11:00", False), (None, False), ("2026-03-16T11:00", True)]
)
def test_an_event_that_becomes_serious_later_is_late_only_from_when_the_site_knew_that(
    site: SafetySite, aware: str | None, late: bool
) -> None:
    site.report(aware=KNOWN)
    site.wait(5)
    worse = {"ae": "1", "on": "2026-03-17" if aware is None else aware[:10], "serious": ["hospitalisation"]}
    site.say("safety.event_updated", worse if aware is None else worse | {"aware": aware})
    found = [event.data.rule for event in site.decided("deviation_raised")]
    assert found == (["serious_event_reported_late"] if late else [])


def test_a_correction_days_later_makes_no_report_late(site: SafetySite) -> None:
    said = serious(site)[0]
    site.wait(5)
    site.correct(said, onset="2026-03-06")
    assert site.decided("deviation_raised") == []


_NEWS = st.sampled_from(
    [
        ("safety.event_updated", {"ae": "1", "on": "2026-03-12", "serious": ["life_threatening"]}),
        ("safety.event_updated", {"ae": "1", "on": "2026-03-12", "grade": 4}),
        ("safety.event_updated", {"ae": "1", "on": "2026-03-12", "serious": ["disability"]}),
        ("safety.died", {"on": "2026-03-12", "cause": "Nausea", "ae": "1"}),
        ("safety.event_assessed", {"ae": "1", "causality": "definite", "why": "Rechallenge."}),
        ("safety.event_assessed", {"ae": "1", "serious": ["life_threatening"], "why": "Own view."}),
        ("safety.event_assessed", {"ae": "1", "aware": "2026-03-11", "why": "Telephone."}),
        ("safety.event_assessed", {"ae": "1", "determined": "2026-03-12", "why": "Determined."}),
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(news=st.lists(st.tuples(st.integers(0, 4), _NEWS), max_size=6))
def test_no_clock_is_ever_later_after_more_severe_information(
    tmp_path_factory: pytest.TempPathFactory, news: list[tuple[int, tuple[str, dict[str, Any]]]]
) -> None:
    site = SafetySite(tmp_path_factory.mktemp("clocks"))
    serious(site)
    for days, (type_, data) in news:
        if days:
            site.wait(days)
        site.say(type_, data)
    for name in clocks(site):
        due = [event.data.due for event in site.decided("report_due") if name == _named(event)]
        assert all(later <= earlier for earlier, later in pairwise(due)), name
    site.notary.close()


def _named(event: SealedEvent) -> str:
    return f"{event.data.profile} {event.data.kind}"  # type: ignore[attr-defined]
