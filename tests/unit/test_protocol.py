"""The protocol document: the registry's words, strictly typed rules, clear refusals."""

from pathlib import Path

import pytest

from shared.protocol import rule_kinds
from shared.protocol.items import items
from shared.protocol.model import Criterion, SubCriterion, load_protocol, protocol_digest
from shared.words import TrailError
from tests.study import DOCUMENT, PROTOCOL

REGISTRY = Path(__file__).parents[3] / "shared" / "NCT06027853.txt"


def refusal(text: str) -> str:
    with pytest.raises(TrailError) as caught:
        load_protocol(text)
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert DOCUMENT.count(old) == 1, f"{old!r} must stand once in the document"
    return DOCUMENT.replace(old, new)


@pytest.mark.skipif(not REGISTRY.exists(), reason="the registry's record is not distributed with the code")
@pytest.mark.parametrize("row", PROTOCOL.rows, ids=lambda row: row.id)
def test_every_criterion_keeps_the_registrys_own_words(row: Criterion | SubCriterion) -> None:
    assert row.registry in REGISTRY.read_text("utf-8")


def test_every_criterion_of_the_registry_is_there() -> None:
    items = {"I5": 4, "E2": 6, "E10": 4}
    expected = []
    for name in [f"I{n}" for n in range(1, 9)] + [f"E{n}" for n in range(1, 18)]:
        expected += [name] + [f"{name}.{n}" for n in range(1, items.get(name, 0) + 1)]
    assert [row.id for row in PROTOCOL.rows] == expected


def test_the_assumptions_are_numbered_open_and_the_ages_agree_with_them() -> None:
    assert [row.id for row in PROTOCOL.assumptions] == [f"A{n}" for n in range(1, len(PROTOCOL.assumptions) + 1)]
    assert {row.status for row in PROTOCOL.assumptions} == {"open"}
    values = {row.id: row.value for row in PROTOCOL.assumptions}
    assert values["A4"] == "laboratory 14 days; imaging, ECG, serology and marrow flow cytometry (CLL1) 28 days"
    assert values["A14"].startswith("14 days;")
    assert PROTOCOL.validity_days == {"laboratory": 14, "imaging": 28, "clinical": 14, "lasting": None}


def test_what_never_goes_stale_leans_on_the_assumption_that_it_does_not() -> None:
    lasting = {name for name, code in items().codes.items() if code.ages == "lasting"}
    lasting |= {name for name, topic in items().topics.items() if topic.ages == "lasting"}
    for row in PROTOCOL.rows:
        name = getattr(row.rule, "item", None) or getattr(row.rule, "topic", None)
        if name in lasting:
            assert "A14" in row.assumptions, row.id


def test_a_document_is_named_by_its_bytes() -> None:
    assert (
        protocol_digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-4
    assert protocol_digest(DOCUMENT) != protocol_digest(DOCUMENT + "\n")


def test_a_document_fits_the_event_that_adopts_it() -> None:
    assert len(DOCUMENT.encode()) < 50_000


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("places: 24", "places: 24\nplaces: 25", "at line 19: the key places is there twice"),
        ("places: 24", "places: '24'", "places is not of the kind this key needs"),
        ("places: 24", "places: true", "places is not of the kind this key needs"),
        ("places: 24", "places: 24\nplace: 1", "place is not a key of the protocol document"),
        ('version: "1.0"\n', "", "version is missing"),
        ("item: ecog, at_most: 1,", "item: ecog, at_moast: 1,", "parts[0].measured.at_moast is not a key"),
        ("item: ecog, at_most: 1,", "item: ecog, at_most: 1, less_than: 2,", "needs exactly one of at_most"),
        ("item: ecog,", "item: ecogg,", "ecogg is not a quantity of the catalogue"),
        ("unit: ms}", "unit: mg}", "the unit ms cannot be converted to mg"),
        ("topic: apl}", "topic: alp}", "exclusion[5].rule.attested.topic: alp is not a topic"),
        ("history: radiotherapy, days: 28}", "history: toxicity, days: 28}", "toxicity is not a treatment history"),
        ("history: radiotherapy, days: 28}", "history: radiotherapy}", "needs either days or months"),
        (
            "item: cll1_expression, one_of: [positive]",
            "item: cll1_expression, one_of: [high]",
            "high is not a result",
        ),
        ("rule: judged", "rule: fudged", "exclusion[16].rule: fudged is not one of its kinds"),
        ("id: E17", "id: E16", "E16 is there twice"),
        ("id: E17", "id: I9", "I9 stands among the wrong criteria"),
        ("id: E2.6", "id: E3.6", "E3.6 cannot stand under E2"),
        ("assumptions: [A1, A4]", "assumptions: [A1, A99]", "I3 leans on A99"),
        ("\ntimezone: Asia/Shanghai", "\ntimezone: Asia/Shangri-La", "Asia/Shangri-La is not a time zone"),
        ("  lasting: null", "  # lasting", "validity_days says nothing about lasting"),
        ("title: CLL1", "title: *x", "aliases are not allowed"),
        ("at_most: 2000", "at_most: .inf", ".inf is not a number"),
    ],
)
def test_a_wrong_document_is_refused_with_its_place(old: str, new: str, sentence: str) -> None:
    assert sentence in refusal(changed(old, new))


@pytest.mark.parametrize(
    "text", ["", "[", "- 1", "trial", "[" * 100, "\x01", "a: 2026-13-45", "? [1]\n: 2", "a: 1\n<<: {a: 2}"]
)
def test_what_is_no_protocol_at_all_is_refused_with_a_sentence(text: str) -> None:
    assert refusal(text).startswith("the protocol document ")


def test_fractions_are_exact() -> None:
    protocol = load_protocol(changed("item: inr, at_most: 1.5", "item: inr, at_most: 1.1"))
    rule = protocol.inclusion[4].items[3].rule
    assert isinstance(rule, rule_kinds.AllOf)
    first = rule.parts[0]
    assert isinstance(first, rule_kinds.TimesUln)
    assert str(first.at_most) == "1.1"


def test_a_sites_dates_are_meant_in_its_own_zone() -> None:
    protocol = load_protocol(changed("site_timezones: {}", "site_timezones: {site/701: America/New_York}"))
    assert protocol.zone("site/701").key == "America/New_York"
    assert protocol.zone("site/702").key == "Asia/Shanghai"
