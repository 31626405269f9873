"""What `trail outcomes` counts: each participant and each event once, from the live statements alone."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from services.safety.outcomes import Outcomes, outcomes
from services.safety.outcomes.chimerism import nominal
from services.safety.outcomes.counting import NO_ARM, Count, Row, share
from services.safety.outcomes.limiting import exact_interval
from shared.words import TrailError
from tests.study import DOCUMENT
from tests.treated import Said, Treated, chimerism, corrected, event, recovered, retracted

BLOOD = "Blood and lymphatic system disorders"
GUT = "Gastrointestinal disorders"
CODES = ("701-001", "701-002", "701-003", "701-004")


@pytest.fixture
def house(tmp_path: Path) -> Treated:
    return Treated(tmp_path)


def rows(told: Outcomes) -> Iterator[Row]:
    counts = told.incidence
    yield from (counts.any, *counts.kinds, *counts.levels)
    for one in counts.classes:
        yield from (one.row, *one.terms)


def numbers(told: Outcomes) -> Any:
    """Everything but the entries, which a correction replaces by its own."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = {"entries", "entry", "statements", "decision"}
            return {name: without(one) for name, one in value.items() if name not in left_out}
        return [without(one) for one in value] if isinstance(value, list | tuple) else value

    return without(asdict(told))


def cell(count: Count) -> tuple[int, str, int]:
    return count.n, str(count.percent), count.events


def line(told: Outcomes, label: str) -> list[tuple[int, str, int]]:
    """A row's cells: DL1, DL2, DL3, total."""
    (row,) = (row for row in rows(told) if row.label == label)
    return [cell(one) for one in row.cells]


# An example, counted by hand ----------------------------------------------------------------------------------


@pytest.fixture
def example(house: Treated) -> Treated:
    """Three participants at DL1, one at DL2; day 0 is 4 March, and day 28 is 1 April."""
    house.infuse("701-001", "701-002", "701-003")
    house.infuse("701-004", level="DL2")
    house.say(
        [
            event("701-001", "1", "Nausea", GUT, grade=2, causality="possible"),
            event("701-001", "2", "nausea", GUT, onset="2026-03-20"),
            event("701-001", "3", "Anaemia", BLOOD, grade=3, serious=["hospitalisation"]),
            event("701-002", "1", "Nausea", GUT, onset="2026-04-01"),
            event("701-002", "2", "Vomiting", GUT, onset="2026-04-02", grade=3),  # day 29
            event("701-002", "3", "Headache", "Nervous system disorders", onset="2026-03-03"),  # before
            event("701-004", "1", "Vomiting", GUT, grade=4, serious=["death"], causality="definite"),
            event("701-004", "2", "Rash", grade=None),
        ]
    )
    return house


def test_an_example_counted_by_hand(example: Treated) -> None:
    told = example.told()
    none = (0, "0.0", 0)
    assert [(arm.id, len(arm.participants)) for arm in told.arms] == [("DL1", 3), ("DL2", 1), ("DL3", 0)]
    empty = (0, "None", 0)
    assert line(told, "any") == [(2, "66.7", 4), (1, "100.0", 2), empty, (3, "75.0", 6)]
    assert line(told, "serious") == [(1, "33.3", 1), (1, "100.0", 1), empty, (2, "50.0", 2)]
    assert line(told, "related") == [(1, "33.3", 1), (1, "100.0", 1), empty, (2, "50.0", 2)]
    assert line(told, "serious and related") == [none, (1, "100.0", 1), empty, (1, "25.0", 1)]
    assert line(told, "leading to death") == [none, (1, "100.0", 1), empty, (1, "25.0", 1)]
    assert [(one.row.label, [term.label for term in one.terms]) for one in told.incidence.classes] == [
        (BLOOD, ["Anaemia"]),
        (GUT, ["Nausea", "Vomiting"]),  # by participants: two, one
        ("not coded", ["Rash"]),
    ]
    assert line(told, GUT) == [(2, "66.7", 3), (1, "100.0", 1), empty, (3, "75.0", 4)]
    assert line(told, "Nausea") == [(2, "66.7", 3), none, empty, (2, "50.0", 3)]
    # A participant at the highest, an event at its own; the death is grade 5 by CTCAE.
    assert {row.label: cell(row.total) for row in told.incidence.levels} == {
        "grade 1": (1, "25.0", 2),
        "grade 2": (0, "0.0", 1),
        "grade 3": (1, "25.0", 1),
        "grade 4": (0, "0.0", 0),
        "grade 5": (1, "25.0", 1),
        "not stated": (0, "0.0", 1),
    }


def test_a_trial_that_does_not_grade_is_counted_by_severity(house: Treated) -> None:
    house.infuse("701-001")
    house.say(
        [
            event("701-001", "1", "Nausea", grade=None, severity="mild"),
            event("701-001", "2", "Nausea", grade=None, severity="severe"),
        ]
    )
    counts = [(row.label, cell(row.total)) for row in house.told().incidence.levels]
    assert counts == [("mild", (0, "0.0", 1)), ("moderate", (0, "0.0", 0)), ("severe", (1, "100.0", 1))]


def test_an_event_is_told_with_everything_it_rests_on(house: Treated) -> None:
    house.infuse("701-001")
    entries = house.say(
        [
            event("701-001", "1", "Nausea", GUT),
            ("701-001", "safety.event_updated", {"ae": "1", "on": "2026-03-08", "grade": 3}),
            event("701-001", "2", "Vomiting", GUT),
            ("701-001", "safety.event_resolved", {"ae": "1", "on": "2026-03-12", "outcome": "recovered"}),
        ]
    )
    first, second = house.told().events
    assert (first.entry, first.level) == (entries[0].index, "grade 3")
    assert first.statements == tuple(entries[at].index for at in (0, 1, 3))
    assert second.statements == (entries[2].index,)


def test_dose_limiting_toxicities_are_rates_of_those_whose_windows_are_closed(house: Treated) -> None:
    house.infuse("701-001", "701-002", "701-003")
    house.infuse("701-004", at="2026-06-10T10:00:00+08:00")  # five days ago
    house.infuse("701-005")
    left = {"phase": "study", "status": "lost_to_follow_up", "on": "2026-03-10"}
    house.say(
        [
            event("701-002", "1", "Hepatic failure", GUT, grade=3, causality="probable"),
            ("701-005", "safety.disposition_recorded", left),
            *recovered("701-001"),
            *recovered("701-003"),
        ]
    )
    house.pass_time(1)
    limiting = house.told().limiting
    assert limiting is not None
    level, *others = limiting.levels
    assert (level.evaluable, level.toxicities, str(level.rate)) == (3, 1, "0.3333")
    assert (level.low, level.high) == (0.0084, 0.9057)  # published for 1 of 3
    assert (level.codes("dlt"), level.codes("clean")) == (("701-002",), ("701-001", "701-003"))
    assert (level.codes("open"), level.codes("not_evaluable")) == (("701-004",), ("701-005",))
    assert [(one.dose_level, one.rate, one.low, one.high) for one in others] == [
        ("DL2", None, None, None),
        ("DL3", None, None, None),
    ]
    about = house.about()
    for window in level.windows:
        assert window.decision is not None
        assert about[window.infusion] == (window.participant, "treatment.infused")
        assert about[window.decision] == (window.participant, "safety.window_decided")


# Laws ---------------------------------------------------------------------------------------------------------

ONSETS = ("2026", "2026-03", "2026-03-01", "2026-03-04", "2026-03-04T09:00", "2026-03-20", "2026-04-01", None)
reports = st.builds(
    lambda code, term, soc, **said: (code, term, soc, said),
    st.sampled_from(CODES),
    st.sampled_from(("Nausea", "NAUSEA", "Vomiting", "Rash")),
    st.sampled_from((BLOOD, GUT, GUT.upper(), None)),
    onset=st.sampled_from(ONSETS),
    grade=st.sampled_from((None, 1, 2, 3, 4)),
    serious=st.sampled_from((None, [], ["hospitalisation"], ["death"])),
    causality=st.sampled_from((None, "not_related", "possible")),
)
some_reports = st.lists(reports, min_size=1, max_size=9)
quickly = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reported(drawn: list[tuple[str, str, str | None, dict[str, Any]]]) -> list[Said]:
    return [event(code, str(ae), term, soc, **said) for ae, (code, term, soc, said) in enumerate(drawn, 1)]


def played(directory: str) -> Treated:
    """Two participants at DL1, one at DL2, one who is not treated."""
    house = Treated(Path(directory))
    house.infuse(*CODES[:2])
    house.infuse(CODES[2], level="DL2")
    house.say([(CODES[3], "screening.registered", {"sex": "male", "birth_date": "1980"})])
    return house


@quickly
@given(some_reports)
def test_counts_nest_and_add_up_and_lead_to_their_entries(drawn: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        house = played(directory)
        posted = house.say(reported(drawn))
        told, about = house.told(), house.about()
        house.notary.close()
    counts = told.incidence
    for row in rows(told):
        for one, arm in zip(row.arms, told.arms, strict=True):
            assert one.n == len(set(one.participants)) <= one.of == len(arm.participants)
            assert set(one.participants) <= set(arm.participants)
        assert row.total.n == sum(one.n for one in row.arms)
        assert sorted(row.total.entries) == sorted(entry for one in row.arms for entry in one.entries)
        for one in row.cells:
            assert one.events == len(set(one.entries)) == len(one.entries)
            assert all(about[entry][1] == "safety.event_reported" for entry in one.entries)
            assert {about[entry][0] for entry in one.entries} >= set(one.participants)
    assert set(counts.any.total.entries) <= {entry.index for entry in posted}
    for one in counts.classes:
        assert all(counts.any.total.n >= one.row.total.n >= term.total.n > 0 for term in one.terms)
        assert sorted(one.row.total.entries) == sorted(entry for term in one.terms for entry in term.total.entries)
    every = [entry for one in counts.classes for entry in one.row.total.entries]
    assert sorted(every) == list(counts.any.total.entries)
    assert sum(row.total.n for row in counts.levels) == counts.any.total.n
    assert sum(row.total.events for row in counts.levels) == counts.any.total.events
    assert {event.entry for event in told.events if event.emergent} == set(counts.any.total.entries)
    exposed = [entry.index for entry in posted if about[entry.index][0] in CODES[:3]]
    assert sorted(event.entry for event in told.events) == exposed
    for note in told.notes:
        assert {about[entry][0] for entry in note.entries} == set(note.participants)


@quickly
@given(some_reports, st.data())
def test_a_correction_and_its_reversal_leave_every_number_as_it_was(drawn: Any, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        house = played(directory)
        entries = house.say(reported(drawn))
        before = numbers(house.told())
        entry = data.draw(st.sampled_from(entries))
        changes = data.draw(
            st.fixed_dictionaries(
                {"grade": st.sampled_from((1, 4)), "onset": st.sampled_from(("2026-01-01", "2026-03-30"))}
            )
        )
        (changed,) = house.say([corrected(entry, **changes)])
        (original,) = (one for one, posted in zip(reported(drawn), entries, strict=True) if posted is entry)
        there_again = {name: original[2].get(name) for name in changes}
        house.say([corrected(changed, **there_again)])
        after = numbers(house.told())
        house.notary.close()
    assert after == before


def test_a_correction_that_reverses_a_toxicity_shows_in_the_rate(house: Treated) -> None:
    house.infuse("701-001")
    (entry,) = house.say([event("701-001", "1", "Hepatic failure", GUT, grade=3, causality="probable")])

    def toxicities() -> int:
        limiting = house.told().limiting
        assert limiting is not None
        return limiting.levels[0].toxicities

    assert toxicities() == 1
    (changed,) = house.say([corrected(entry, grade=1)])
    assert toxicities() == 0
    house.say([corrected(changed, grade=3)])
    assert toxicities() == 1


def test_what_is_retracted_counts_nowhere(house: Treated) -> None:
    house.infuse("701-001")
    before = numbers(house.told())
    entries = house.say([event("701-001", "1", "Nausea", GUT), chimerism("701-001", "2026-03-11", "4.5")])
    assert house.told().incidence.any.total.n == len(house.told().chimerism) == 1
    house.say(retracted(entry) for entry in entries)
    assert numbers(house.told()) == before


def test_as_of_an_entry_nothing_later_is_counted(example: Treated) -> None:
    whole = example.told()
    reports = sorted(event.entry for event in whole.events)
    for at, entry in enumerate(reports):
        before, then = (example.told(int(moment)).events for moment in (entry - 1, entry))
        assert sorted(event.entry for event in before) == reports[:at]
        assert sorted(event.entry for event in then) == reports[: at + 1]
    assert example.told(example.notary.size - 1) == whole


# How they are counted -----------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 4))
def test_a_share_is_exact_with_a_half_rounded_up(part: int, whole: int, places: int) -> None:
    exact = (Decimal(part) / whole).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    assert share(part, whole, places) == exact
    assert share(part, 0, places) is None


def test_five_of_eighty_participants_are_6_3_per_cent() -> None:
    assert str(share(100 * 5, 80, 1)) == "6.3"  # 6.25, which binary fractions and Python's round() make 6.2


@pytest.mark.parametrize("confidence", ["0.95", "0.90"])
def test_the_interval_is_the_exact_one_of_clopper_and_pearson(confidence: str) -> None:
    for whole in range(1, 19):
        for part in range(whole + 1):
            reference = binomtest(part, whole).proportion_ci(float(confidence), method="exact")
            assert exact_interval(part, whole, Decimal(confidence)) == (
                pytest.approx(reference.low, abs=5.1e-5),
                pytest.approx(reference.high, abs=5.1e-5),
            )
    assert exact_interval(0, 0, Decimal(confidence)) is None


@pytest.mark.parametrize(
    ("part", "whole", "published"), [(0, 3, (0.0, 0.7076)), (1, 6, (0.0042, 0.6412)), (3, 3, (0.2924, 1.0))]
)
def test_intervals_that_every_dose_escalation_meets(part: int, whole: int, published: tuple[float, float]) -> None:
    assert exact_interval(part, whole, Decimal("0.95")) == published


@pytest.mark.parametrize(
    ("day", "expected"),
    [(None, None), (-3, None), (0, None), (1, 1), (2, 1), (3, 3), (5, 3), (6, 7), (10, 7), (11, 14), (900, 28)],
)
def test_a_measurement_belongs_to_the_nearest_time_point_and_to_the_earlier_of_two(
    day: int | None, expected: int | None
) -> None:
    assert nominal(day, (1, 3, 7, 14, 28), 0) == expected


def test_the_day_of_the_infusion_is_a_time_point_where_the_trial_names_it() -> None:
    assert (nominal(0, (0, 7), 0), nominal(1, (1, 7), 1), nominal(1, (0, 7), 0), nominal(4, (), 0)) == (
        0,
        1,
        0,
        None,
    )


def test_days_are_counted_as_the_trial_counts_them(tmp_path: Path) -> None:
    house = Treated(tmp_path, DOCUMENT.replace("first_day: 0 ", "first_day: 1 "))
    house.infuse("701-001")
    house.say(chimerism("701-001", f"2026-03-0{day}", "3") for day in (3, 4, 5))
    assert [point.day for point in house.told().chimerism[0].points] == [-1, 1, 2]


def test_a_curve_keeps_repeats_limits_of_detection_and_the_order_of_time(house: Treated) -> None:
    (infusion,) = house.infuse("701-001")
    house.infuse("701-002", level="DL2")
    said = [
        chimerism("701-001", "2026-03-18", "0.5", unit="1"),  # a fraction of one
        chimerism("701-001", "2026-03-11T08:00", "12.50", qualifier="repeat"),
        chimerism("701-001", "2026-03-11T07:00", "12.4"),
        chimerism("701-001", "2026-03-03", "0.01", comparator="<"),
        chimerism("701-001", "2026-04", "3"),
        chimerism("701-001", "2026-05-01", "3", unit=None),
    ]
    entries = house.say(said)
    told = house.told()
    (curve,) = told.chimerism
    assert (curve.participant, curve.arm, curve.exposure) == ("701-001", "DL1", infusion.index)
    points = [(one.day, one.nominal, one.comparator, one.percent, one.qualifier) for one in curve.points]
    assert points == [
        (-1, None, "<", Decimal("0.01"), None),
        (7, 7, None, Decimal("12.4"), None),
        (7, 7, None, Decimal("12.50"), "repeat"),
        (14, 14, None, Decimal(50), None),
        (None, None, None, Decimal(3), None),
    ]
    assert [one.entry for one in curve.points] == [entries[at].index for at in (3, 2, 1, 0, 4)]
    notes = {note.text: note.entries for note in told.notes}
    assert notes == {
        "1 measurement of chimerism without a unit: left out": (entries[5].index,),
        "1 measurement of chimerism with a date that could be several days: on no day of the curve": (
            entries[4].index,
        ),
    }


def test_doubts_and_gaps_are_said_beside_the_tables(house: Treated) -> None:
    house.infuse("701-001")
    house.say([("701-002", "screening.registered", {"sex": "male", "birth_date": "1980"})])
    said = [
        event("701-001", "1", "Nausea", GUT, onset="2026-03"),
        event("701-001", "2", "Nausea", GUT, causality=None),
        event("701-001", "3", "Nausea", GUT, serious=None),
        event("701-001", "4", "Nausea", GUT, grade=None),
        event("701-001", "5", "Nausea"),
        event("701-001", "5", "Vomiting"),
        event("701-002", "1", "Nausea", GUT),
    ]
    index = [int(entry.index) for entry in house.say(said)]
    assert {note.text: (note.participants, note.entries) for note in house.told().notes} == {
        "1 adverse event: a date that could go either way, or a grade that nobody stated, decided that it counts "
        "as emergent": (("701-001",), (index[0],)),
        "1 adverse event: emergent, without a grade or severity": (("701-001",), (index[3],)),
        "1 adverse event: emergent, and nobody has said whether it is related: it counts as related": (
            ("701-001",),
            (index[1],),
        ),
        "1 adverse event: emergent, and nobody has said whether it is serious: it does not count as serious": (
            ("701-001",),
            (index[2],),
        ),
        "1 adverse event: emergent, and not coded to a system organ class": (("701-001",), (index[4],)),
        "1 report under a number that another report has: counted once, by the first": (("701-001",), (index[5],)),
        "1 report of a participant who was not exposed: not counted": (("701-002",), (index[6],)),
    }


def test_nobody_who_was_exposed_is_lost_for_want_of_an_arm(tmp_path: Path) -> None:
    """By the planned arm: assigned, given another than planned, and infused without ever being assigned."""
    house = Treated(tmp_path, DOCUMENT.replace("arm: actual ", "arm: planned "))
    house.infuse("701-001", "701-002", "701-003")
    house.say([("701-001", "treatment.arm_assigned", {"planned": "DL1"})])
    (assigned,) = house.say([("701-002", "treatment.arm_assigned", {"planned": "DL2"})])
    house.say([event("701-002", "1", "Nausea", GUT), event("701-003", "1", "Nausea", GUT)])
    told = house.told()
    assert {arm.id: arm.participants for arm in told.arms} == {
        "DL1": ("701-001",),
        "DL2": ("701-002",),
        "DL3": (),
        NO_ARM: ("701-003",),
    }
    assert assigned.index in told.arms[1].entries
    assert line(told, "any") == [(0, "0.0", 0), (1, "100.0", 1), (0, "None", 0), (1, "100.0", 1), (2, "66.7", 2)]
    assert [note.text for note in told.notes] == [
        "1 participant: exposed, and assigned to no arm",
        "1 participant: first given another arm than planned",
    ]


def test_without_a_protocol_or_without_its_safety_part_there_is_nothing_to_count_by(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match="no protocol was in force"):
        outcomes({})
    without = DOCUMENT[: DOCUMENT.index("\nsafety:")] + DOCUMENT[DOCUMENT.index("\nassumptions:") :]
    with pytest.raises(TrailError, match=r"protocol 1\.\S* of NCT06027853 has no safety part"):
        Treated(tmp_path, without).told()
