"""What was given or happened, and how long before the first infusion: every window to the day."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from services.screening.rules import assess
from shared.events.decisions import CriterionVerdict
from shared.moments import instant
from shared.protocol.model import load_protocol
from tests.study import (
    DAY,
    DOCUMENT,
    FRESH,
    ago,
    answer,
    attested,
    changed,
    eligible,
    listed,
    reference,
    sealed,
    verdict,
)


def history(criterion: str, name: str, *entries: Mapping[str, Any], on: str = FRESH) -> CriterionVerdict:
    return changed(criterion, {name: [listed(name, *entries, on=on)]})


# Six months before 2026-03-04 are 180 days or, longer by a day, since 2025-09-04.
WINDOWS = [
    ("E2.1", "systemic_steroid", 3),
    ("E2.2", "antitumour_therapy", 14),
    ("E2.3", "radiotherapy", 28),
    ("E2.4", "donor_lymphocytes", 42),
    ("E2.5", "intrathecal_treatment", 7),
    ("E2.6", "gene_modified_cells", 181),
    ("E4", "vaccination", 28),
    ("E15", "surgery", 28),
]


@pytest.mark.parametrize(("criterion", "name", "days"), WINDOWS)
def test_a_window_excludes_to_its_last_day_and_not_a_day_more(criterion: str, name: str, days: int) -> None:
    met = history(criterion, name, {"last": ago(days)})
    assert met.verdict == "met"
    assert met.stale_after is None, "a fact does not go stale"
    assert f"{days} days before 2026-03-04: within" in met.arithmetic[0]
    assert history(criterion, name, {"last": ago(days + 1)}).verdict == "not_met"
    assert history(criterion, name, {"last": ago(days + 1)}, {"last": ago(0)}).verdict == "met"
    assert history(criterion, name, {"last": ago(-1)}).verdict == "met", "after the planned day: too close to it"
    assert history(criterion, name).verdict == "not_met"


@pytest.mark.parametrize(("criterion", "name", "days"), WINDOWS)
def test_a_partial_date_is_undetermined_only_where_it_matters(criterion: str, name: str, days: int) -> None:
    straddling = history(criterion, name, {"last": ago(days)[:4]})
    assert [gap.why for gap in straddling.gaps] == ["partial_date"]
    assert straddling.verdict == "undetermined"
    assert history(criterion, name, {"last": "2024"}).verdict == "not_met"
    assert history(criterion, name, {"last": "2026-03"}).verdict == "met"


@pytest.mark.parametrize(
    ("criterion", "name"),
    [*[(criterion, name) for criterion, name, _ in WINDOWS], ("E7", "malignancy"), ("E14", "toxicity")],
)
def test_that_there_is_nothing_is_known_only_from_a_fresh_list(criterion: str, name: str) -> None:
    assert [gap.why for gap in changed(criterion, {name: []}).gaps] == ["missing"]
    assert history(criterion, name, on=ago(14)).verdict == "not_met"
    assert [gap.why for gap in history(criterion, name, on=ago(15)).gaps] == ["stale"]
    assert [gap.why for gap in history(criterion, name, on=ago(-1)).gaps] == ["missing"]
    assert [gap.why for gap in history(criterion, name, on="2026").gaps] == ["partial_date"]
    loose_and_fresh = [listed(name, on="2026"), listed(name, on=ago(9)), listed(name, on=ago(5))]
    row = changed(criterion, {name: loose_and_fresh})
    assert (row.verdict, row.stale_after) == ("not_met", "2026-03-13")


def test_an_entry_of_an_old_list_still_excludes_and_a_later_list_does_not_take_it_back() -> None:
    old, new = listed("radiotherapy", {"last": ago(25)}, on=ago(20)), listed("radiotherapy", on=ago(2))
    assert changed("E2.3", {"radiotherapy": [old]}).verdict == "met"
    assert changed("E2.3", {"radiotherapy": [old, new]}).verdict == "met"


def test_an_entry_listed_again_is_cited_where_it_was_listed_last() -> None:
    lists = [listed("radiotherapy", {"last": ago(25)}, on=ago(days)) for days in (20, 10, 2)]
    row = changed("E2.3", {"radiotherapy": lists})
    assert len(row.evidence) == 1
    assert len([line for line in row.arithmetic if "ended" in line]) == 1


def test_an_ongoing_treatment_was_given_today() -> None:
    row = history("E2.2", "antitumour_therapy", {"agent": "hydroxyurea", "ongoing": True, "half_life_hours": 4})
    assert row.verdict == "met"
    assert row.arithmetic[0] == (
        f"systemic antitumour therapy (hydroxyurea) ongoing as stated {FRESH}, 0 days before 2026-03-04: "
        "within the lesser of 14 days and 5 x 4 h = 0.83 days"
    )


@pytest.mark.parametrize(
    ("half_life", "days", "expected"),
    [
        (None, 14, "met"),
        (None, 15, "not_met"),
        (24, 5, "met"),
        (24, 6, "not_met"),
        (30, 6, "met"),  # 6.25 days
        (30, 7, "not_met"),
        (500, 14, "met"),
        (500, 15, "not_met"),
    ],
)
def test_a_washout_is_the_shorter_of_two_weeks_and_five_half_lives(
    half_life: int | None, days: int, expected: str
) -> None:
    entry = {"agent": "azacitidine", "last": ago(days)} | ({"half_life_hours": half_life} if half_life else {})
    assert history("E2.2", "antitumour_therapy", entry).verdict == expected


def test_each_agent_has_its_own_washout() -> None:
    short = {"agent": "cytarabine", "last": ago(4), "half_life_hours": 3}
    long = {"agent": "venetoclax", "last": ago(4), "half_life_hours": 26}
    assert history("E2.2", "antitumour_therapy", short).verdict == "not_met"
    assert history("E2.2", "antitumour_therapy", short, long).verdict == "met"


@pytest.mark.parametrize(
    ("criterion", "name", "exempt", "other"),
    [
        ("E2.1", "systemic_steroid", "physiological_replacement", "under_protocol"),
        ("E2.2", "antitumour_therapy", "under_protocol", "diagnostic_biopsy"),
        ("E15", "surgery", "diagnostic_biopsy", "under_protocol"),
    ],
)
def test_an_exemption_counts_only_where_the_protocol_has_it(
    criterion: str, name: str, exempt: str, other: str
) -> None:
    row = history(criterion, name, {"last": ago(1), "exempt": exempt})
    assert row.verdict == "not_met"
    assert f"exempt, {exempt.replace('_', ' ')}" in row.arithmetic[0]
    assert history(criterion, name, {"ongoing": True, "exempt": exempt}).verdict == "not_met"
    assert history(criterion, name, {"last": ago(1), "exempt": other}).verdict == "met"
    assert history("E2.3", "radiotherapy", {"last": ago(1), "exempt": exempt}).verdict == "met"


def test_a_partial_date_that_ends_on_the_first_day_of_the_window_could_be_inside() -> None:
    day = date(2026, 3, 3)
    study = eligible(day) | {"systemic_steroid": [listed("systemic_steroid", {"last": "2026-02"}, on=ago(2, day))]}
    assert verdict(study, "E2.1", reference(day)).verdict == "undetermined"


def test_a_calendar_month_shorter_than_30_days_counts_as_30() -> None:
    amended = load_protocol(DOCUMENT.replace("gene_modified_cells, months: 6", "gene_modified_cells, months: 1"))
    for since, expected in (("2026-02-02", "met"), ("2026-02-01", "not_met")):
        study = eligible() | {"gene_modified_cells": [listed("gene_modified_cells", {"last": since}, on=FRESH)]}
        rows = assess(amended, sealed(study), reference()).criteria
        assert next(row.verdict for row in rows if row.id == "E2.6") == expected


@pytest.mark.parametrize(
    ("day", "since"),
    [(date(2026, 3, 4), "2025-09-04"), (date(2026, 8, 31), "2026-02-28"), (date(2026, 7, 1), "2026-01-01")],
)
def test_six_months_are_the_longer_of_calendar_months_and_30_day_months(day: date, since: str) -> None:
    study = eligible(day) | {
        "gene_modified_cells": [listed("gene_modified_cells", {"last": since}, on=ago(7, day))],
    }
    assert verdict(study, "E2.6", reference(day)).verdict == "met"
    study["gene_modified_cells"] = [
        listed("gene_modified_cells", {"last": ago(1, date.fromisoformat(since))}, on=ago(7, day))
    ]
    assert verdict(study, "E2.6", reference(day)).verdict == "not_met"


@pytest.mark.parametrize(
    ("planned", "last", "expected"),
    [
        (ago(-84), None, "met"),
        (ago(-85), None, "not_met"),
        (ago(-98), date(2026, 3, 18), "met"),
        (ago(-99), date(2026, 3, 18), "not_met"),
        ("2026-05", None, "undetermined"),
        ("2026-06", None, "not_met"),
        (ago(10), None, "met"),
    ],
)
def test_no_vaccination_may_be_planned_until_12_weeks_after_the_last_infusion(
    planned: str, last: date | None, expected: str
) -> None:
    study = eligible() | {"vaccination": [listed("vaccination", {"planned": planned}, on=FRESH)]}
    assert verdict(study, "E4", reference(last_planned=last)).verdict == expected


CURED = {"term": "basal cell carcinoma", "radically_treated": "yes", "remission": "2021-03-03", "recurrence": "no"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "not_met"),
        ({"remission": "2021-03-04"}, "met"),  # five years to the day
        ({"remission": "2021-03"}, "undetermined"),
        ({"remission": "2021-02"}, "not_met"),
        ({"remission": None}, "undetermined"),
        ({"radically_treated": "no", "remission": None}, "met"),
        ({"radically_treated": "unknown"}, "undetermined"),
        ({"radically_treated": None, "recurrence": "yes"}, "met"),
        ({"recurrence": "yes"}, "met"),
        ({"recurrence": "unknown"}, "undetermined"),
        ({"recurrence": None, "remission": "2024"}, "met"),
    ],
)
def test_another_malignancy_excludes_unless_cured_for_more_than_five_years(
    change: dict[str, str | None], expected: str
) -> None:
    entry = {key: said for key, said in (CURED | change).items() if said is not None}
    row = history("E7", "malignancy", entry)
    assert row.verdict == expected
    assert bool(row.gaps) == (expected == "undetermined")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"grade": 2, "from_prior_therapy": "yes"}, "not_met"),
        ({"grade": 3, "from_prior_therapy": "yes"}, "met"),
        ({"grade": 3, "from_prior_therapy": "no"}, "not_met"),
        ({"grade": 3, "from_prior_therapy": "unknown"}, "undetermined"),
        ({"grade": 3}, "undetermined"),
        ({"grade": 2, "from_prior_therapy": "unknown"}, "not_met"),
        ({"from_prior_therapy": "yes"}, "undetermined"),
        ({"from_prior_therapy": "unknown"}, "undetermined"),
        ({"from_prior_therapy": "no"}, "not_met"),
    ],
)
def test_a_toxicity_excludes_above_grade_2_from_prior_therapy(entry: dict[str, Any], expected: str) -> None:
    assert history("E14", "toxicity", {"term": "Peripheral neuropathy"} | entry).verdict == expected


def event(said: str, *occurred: str, on: str = FRESH) -> CriterionVerdict:
    topic = "cardiovascular_event"
    return changed("E10.2", {topic: [attested(topic, said, on=on, occurred=occurred)]})


def test_a_cardiovascular_event_excludes_for_six_months() -> None:
    assert event("no").verdict == "not_met"
    assert event("yes", "2025-09-04").verdict == "met"
    assert event("yes", "2025-09-03").verdict == "not_met"
    assert event("yes", "2019", "2025-09-04").verdict == "met"
    assert event("yes", "2025-09-04", on=ago(90)).verdict == "met", "a fact does not go stale"
    assert [gap.why for gap in event("yes", "2025-09").gaps] == ["partial_date"]
    assert [gap.why for gap in event("yes").gaps] == ["partial_date"]
    assert [gap.why for gap in event("unknown").gaps] == ["unknown"]
    assert [gap.why for gap in event("no", on=ago(15)).gaps] == ["stale"]
    assert [gap.why for gap in event("yes", "2019", on=ago(15)).gaps] == ["stale"]


def test_a_later_no_does_not_take_back_an_event() -> None:
    topic = "cardiovascular_event"
    earlier = attested(topic, "yes", on=ago(60), occurred=("2025-12",))
    assert changed("E10.2", {topic: [earlier, attested(topic, "no", on=FRESH)]}).verdict == "met"


def test_stroke_counts_for_ever_as_cns_disease_and_for_six_months_as_an_event() -> None:
    topic = "cardiovascular_event"
    study = eligible() | {topic: [attested(topic, "yes", on=FRESH, occurred=("2020-05-01",))]}
    study |= answer("cns_disease", "yes")
    assert verdict(study, "E10.2").verdict == "not_met"
    assert verdict(study, "E9").verdict == "met"
    assert "A12" in verdict(study, "E9").assumptions


def test_what_a_record_from_after_the_infusion_says_of_the_time_after_it_does_not_count() -> None:
    infused = reference(instant=instant("2026-03-04T10:00:00+08:00"))
    before = listed("systemic_steroid", on=FRESH)
    for entry, expected in (
        ({"agent": "dexamethasone", "last": ago(-5)}, "not_met"),
        ({"agent": "dexamethasone", "ongoing": True}, "not_met"),
        ({"agent": "dexamethasone", "last": ago(2)}, "met"),
        ({"agent": "dexamethasone", "last": ago(0)}, "met"),
    ):
        study = eligible() | {"systemic_steroid": [before, listed("systemic_steroid", entry, on=ago(-6))]}
        assert verdict(study, "E2.1", infused).verdict == expected, entry


INFUSED = reference(instant=instant("2026-03-04T10:00:00+08:00"))


@pytest.mark.parametrize(
    ("occurred", "on", "expected"),
    [
        ((ago(-3),), ago(-6), "not_met"),
        ((ago(-3), ago(40)), ago(-6), "met"),
        ((), ago(-6), "met"),
        (("2026-03",), ago(-6), "met"),
        ((ago(-3),), ago(3), "met"),  # from before the infusion: the date must be wrong, not the yes
    ],
)
def test_a_lasting_yes_of_what_came_only_after_the_infusion_does_not_count(
    occurred: tuple[str, ...], on: str, expected: str
) -> None:
    said = [attested("cns_disease", "no", on=FRESH), attested("cns_disease", "yes", on=on, occurred=occurred)]
    assert verdict(eligible() | {"cns_disease": said}, "E9", INFUSED).verdict == expected


@pytest.mark.parametrize(
    ("criterion", "name", "entry"),
    [
        ("E7", "malignancy", {"term": "melanoma"}),
        ("E14", "toxicity", {"term": "neuropathy", "grade": 3, "from_prior_therapy": "yes"}),
    ],
)
def test_a_condition_without_a_date_counts_only_from_lists_up_to_the_infusion(
    criterion: str, name: str, entry: dict[str, Any]
) -> None:
    after = {name: [listed(name, on=FRESH), listed(name, entry, on=ago(-6))]}
    assert verdict(eligible() | after, criterion, INFUSED).verdict == "not_met"
    before = {name: [listed(name, on=FRESH), listed(name, entry, on=ago(1))]}
    assert verdict(eligible() | before, criterion, INFUSED).verdict != "not_met"


def test_a_long_history_stays_within_bounds_and_shows_what_decides_first() -> None:
    entries = [{"agent": f"agent {at}", "last": ago(400 + at)} for at in range(150)]
    row = history("E2.2", "antitumour_therapy", *entries)
    assert (row.verdict, len(row.arithmetic), row.arithmetic[-1]) == ("not_met", 12, "and 140 more")
    row = history("E2.2", "antitumour_therapy", *entries, {"agent": "the last one", "last": ago(1)})
    assert row.verdict == "met"
    [line] = row.arithmetic  # what does not exclude says nothing about why this one does
    assert line.startswith("systemic antitumour therapy (the last one) ended")
    assert DAY.isoformat() in row.arithmetic[0]
    many = [listed("surgery", {"agent": f"operation {at}", "last": "2019"}, on=FRESH) for at in range(250)]
    assert len(changed("E15", {"surgery": many}).evidence) == 200
