"""A participant's standing: what it rests on, what fails, what blocks, and what no evidence can do to it."""

from datetime import date, timedelta
from decimal import Context, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.screening import rules
from services.screening.rules import assess
from shared.protocol import rule_kinds
from shared.protocol.items import items
from tests.study import (
    DAY,
    FRESH,
    PROTOCOL,
    Study,
    ago,
    answer,
    assessed,
    attested,
    eligible,
    eligible_records,
    listed,
    observed,
    person,
    reference,
    sealed,
    value,
)


def test_everything_known_and_well_is_eligible() -> None:
    assessment = assess(PROTOCOL, eligible_records(), reference())
    assert assessment.standing == "eligible"
    assert assessment.failed == []
    assert assessment.blockers == []
    assert [row.id for row in assessment.criteria] == [row.id for row in PROTOCOL.rows]
    assert {row.verdict for row in assessment.criteria if row.id[0] == "I"} == {"met"}
    assert {row.verdict for row in assessment.criteria if row.id[0] == "E"} == {"not_met"}
    assert all(row.arithmetic and row.evidence == sorted(set(row.evidence)) for row in assessment.criteria)


def test_nothing_known_is_undetermined_in_every_criterion() -> None:
    assessment = assess(PROTOCOL, [], reference())
    assert assessment.standing == "undetermined"
    assert {row.verdict for row in assessment.criteria} == {"undetermined"}
    assert {gap.why for row in assessment.criteria for gap in row.gaps} == {"missing"}


def test_a_standing_holds_through_its_last_fresh_day_and_not_beyond() -> None:
    study = eligible()
    assert assessed(study).stale_after == date(2026, 3, 11)
    assert assessed(study, reference(date(2026, 3, 11))).standing == "eligible"
    beyond = assessed(study, reference(date(2026, 3, 12)))
    assert beyond.standing == "undetermined"
    assert {gap.why for row in beyond.criteria for gap in row.gaps} == {"stale"}


def test_ineligible_names_what_fails_and_lasts_as_long_as_the_longest_of_it() -> None:
    high = value("bilirubin", "9", "mg/dL", high="1.2")
    low = value("lvef", "30", "%", on=ago(20))
    both = assessed(eligible() | high | low)
    assert (both.standing, both.failed) == ("ineligible", ["I5.2", "E10.3"])
    assert both.stale_after == date(2026, 3, 12)
    assert both.blockers == []
    for_ever = assessed(eligible() | high | answer("cns_disease", "yes"))
    assert (for_ever.failed, for_ever.stale_after) == (["I5.2", "E9"], None)


def test_a_verdict_lasts_as_long_as_what_it_needs() -> None:
    def stale_after(criterion: str, change: Study) -> str | None:
        rows = assessed(eligible() | change).criteria
        return next(row.stale_after for row in rows if row.id == criterion)

    # All of several must stay fresh, and the condition of a question as well as its answer.
    assert stale_after("I5.3", value("alt", "30", "U/L", high="40", on=ago(12))) == "2026-03-06"
    assert stale_after("I6", answer("childbearing_potential", "yes", on=ago(12))) == "2026-03-06"
    # One of several that exclude is enough, and so is one of several repeats.
    assert (
        stale_after("E11", answer("pulmonary_infection", "yes", on=ago(12)) | value("spo2", "80", "%"))
        == "2026-03-11"
    )
    repeats = {"qtc": [observed("qtc", "430", "ms", on=ago(20)), observed("qtc", "440", "ms", on=ago(10))]}
    assert stale_after("E10.1", repeats | answer("severe_arrhythmia", "no", on=ago(0))) == "2026-03-18"
    repeats = {"dsa_mfi": [observed("dsa_mfi", "43", "1", on=ago(12)), observed("dsa_mfi", "44", "1", on=ago(2))]}
    assert stale_after("I7", repeats) == "2026-03-16"


def test_a_criterion_with_items_follows_from_them() -> None:
    rows = {row.id: row for row in assessed(eligible() | {"bilirubin": []}).criteria}
    assert rows["I5"].verdict == "undetermined"
    assert rows["I5"].arithmetic == ["I5.1 met, I5.2 undetermined, I5.3 met, I5.4 met"]
    assert rows["I5"].gaps == rows["I5.2"].gaps
    recent = {"radiotherapy": [listed("radiotherapy", {"last": ago(3)}, on=FRESH)], "surgery": []}
    rows = {row.id: row for row in assessed(eligible() | recent | {"systemic_steroid": []}).criteria}
    assert rows["E2"].verdict == "met"
    assert rows["E2"].evidence == rows["E2.3"].evidence
    assert rows["E2"].gaps == []


def test_blockers_say_what_to_send_and_rank_by_how_much_it_settles() -> None:
    study = eligible() | {"aml_status": [], "consented": [], "hcv": [], "qtc": [observed("qtc", "430", on=FRESH)]}
    blockers = assessed(study).blockers
    assert [(row.item, row.why, row.criteria) for row in blockers] == [
        ("consent", "missing", ["I1", "I8"]),
        ("aml_status", "missing", ["I2"]),
        ("qtc", "unit", ["E10.1"]),
        ("hcv", "missing", ["E12"]),
    ]
    assert blockers[3].detail == "send hepatitis C serology and RNA, collected on or after 2026-02-04"
    woman_unregistered = assessed(eligible() | {"registered": [], "pregnant": []}).blockers
    assert [(row.item, row.criteria) for row in woman_unregistered] == [
        ("sex", ["I6", "E16"]),
        ("birth_date", ["I1"]),
        ("pregnant", ["E16"]),
    ]
    [creatinine] = assessed(eligible() | {"weight": [], "creatinine": []}).blockers[:1]
    assert creatinine.detail == "send creatinine with its unit, collected on or after 2026-02-18"


def test_evidence_names_only_what_carried_the_verdict() -> None:
    records = eligible_records()
    index = {getattr(record.data, "item", None): record.index for record in records}
    rows = {row.id: row for row in assess(PROTOCOL, records, reference()).criteria}
    assert rows["I5.3"].evidence == sorted([index["alt"], index["ast"]])
    assert len(rows["I6"].evidence) == 3, "sex, childbearing potential and the test"
    assert rows["I6"].arithmetic[0].startswith("serum pregnancy test"), "the outcome before its conditions"
    assert rows["I6"].arithmetic[-1] == "sex female"
    without_clearance = assessed(eligible() | {"weight": []})
    rows = {row.id: row for row in without_clearance.criteria}
    assert rows["I5.1"].evidence == [index["creatinine"]]


def test_every_kind_of_rule_has_its_judge() -> None:
    kinds = {
        kind
        for kind in vars(rule_kinds).values()
        if isinstance(kind, type) and issubclass(kind, rule_kinds.Part) and "rule" in kind.model_fields
    }
    assert set(rules._JUDGES) == kinds


def test_the_callers_decimal_context_changes_nothing() -> None:
    # 213 lies within 2 x 106.789, and not within what two digits make of it.
    study = eligible() | value("bilirubin", "213", "umol/L", high="106.789")
    plain = assessed(study)
    with localcontext(Context(prec=2)):
        assert assessed(study) == plain


# One statement or none about each item: whatever a site could say, good and bad, fresh and stale.
_CHOICES: dict[str, list[Study]] = {
    "registered": [person("female"), person("male"), person("unknown"), person("female", "2008")],
    "creatinine": [
        value("creatinine", "0.9", "mg/dL", high="1.2"),
        value("creatinine", "900", "umol/L", high="106"),
        value("creatinine", "1.4", "mg/dL"),
    ],
    "ecog": [value("ecog", "1", "1"), value("ecog", "3", "1")],
    "qtc": [value("qtc", "430", "ms"), value("qtc", "500", "ms"), value("qtc", "430")],
    "serum_hcg": [value("serum_hcg", "negative"), value("serum_hcg", "positive")],
    "aml_status": [value("aml_status", "relapsed"), value("aml_status", "not_aml")],
    "radiotherapy": [
        {"radiotherapy": [listed("radiotherapy", on=FRESH)]},
        {"radiotherapy": [listed("radiotherapy", {"last": ago(20)}, on=FRESH)]},
        {"radiotherapy": [listed("radiotherapy", {"last": "2026"}, on=ago(20))]},
    ],
    "cardiovascular_event": [
        answer("cardiovascular_event", "no"),
        {"cardiovascular_event": [attested("cardiovascular_event", "yes", on=FRESH, occurred=("2026-01",))]},
        {"cardiovascular_event": [attested("cardiovascular_event", "yes", on=FRESH)]},
    ],
    **{
        topic: [answer(topic, "no"), answer(topic, "yes"), answer(topic, "unknown")]
        for topic in ("childbearing_potential", "cns_disease", "copd", "pregnant")
    },
}


@st.composite
def studies(draw: st.DrawFn) -> Study:
    study = eligible()
    for name in draw(st.lists(st.sampled_from(sorted(_CHOICES)), unique=True)):
        study |= draw(st.sampled_from(_CHOICES[name]))
    return study


@settings(max_examples=60, deadline=None)
@given(studies(), st.data())
def test_losing_statements_never_settles_anything_and_never_turns_anybody_eligible(
    study: Study, data: st.DataObject
) -> None:
    """With one statement or none about each item, what is lost only moves verdicts towards undetermined.

    (With several, losing the latest lets the one before count: that is why a correction names what it corrects.)
    """
    lost = data.draw(st.sets(st.sampled_from(sorted(study)), min_size=1, max_size=6))
    before, after = assessed(study), assessed(study | {name: [] for name in lost})
    for was, now in zip(before.criteria, after.criteria, strict=True):
        assert now.verdict in (was.verdict, "undetermined"), was.id
    assert after.standing in (before.standing, "undetermined")


@settings(max_examples=25, deadline=None)
@given(studies(), studies(), st.randoms(use_true_random=False))
def test_the_order_of_the_records_changes_nothing(study: Study, more: Study, chance: object) -> None:
    records = sealed({name: study[name] + more[name] for name in study})
    shuffled = list(records)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assess(PROTOCOL, shuffled, reference()) == assess(PROTOCOL, records, reference())


@pytest.mark.parametrize("name", sorted(eligible()))
def test_each_single_silence_leaves_the_participant_undetermined(name: str) -> None:
    assessment = assessed(eligible() | {name: []})
    if name in {"weight", "heart_rate"}:  # the creatinine alone is enough
        assert assessment.standing == "eligible"
    else:
        assert assessment.standing == "undetermined"
        assert assessment.blockers


def test_the_participant_of_the_tests_says_something_about_every_item_that_a_rule_asks_for() -> None:
    catalogue = items()
    asked = {*catalogue.quantities, *catalogue.codes, *catalogue.topics, *catalogue.histories}
    assert asked - set(eligible()) == {"heart_rate", "ecg_interpretation"}
    assert timedelta(days=7) == DAY - date.fromisoformat(FRESH)
