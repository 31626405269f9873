"""Every criterion about a person, a measurement or an answer: both sides of each limit, and at it."""

import pytest

from shared.events.screening import Age, Consented, Judged
from tests.study import FRESH, Study, ago, answer, attested, changed, consent, observed, person, value

DECIDED: list[tuple[str, str, Study]] = [
    # I1, age at consent (signed 22 days before 2026-03-04: 2026-02-10)
    ("I1", "met", person(birth="2008-02-10")),
    ("I1", "not_met", person(birth="2008-02-11")),
    ("I1", "met", person(birth="2007")),
    ("I1", "met", person(birth="2008-01")),
    ("I1", "not_met", person(birth="2008-03")),
    ("I1", "met", person(birth=None, age=Age(years=18, on="2026-02-10"))),
    ("I1", "not_met", person(birth=None, age=Age(years=16, on="2026-02-10"))),
    ("I1", "not_met", person(birth=None, age=Age(years=17, on="2026-02-10"))),
    ("I1", "met", person(birth="2008", age=Age(years=18, on="2026-02-10"))),
    ("I1", "met", person(birth="2008-02-29") | consent("2026-03-01", "2026-03-02")),
    ("I1", "not_met", person(birth="2008-02-29") | consent("2026-02-28", "2026-03-02")),
    # I2 and I3
    *[("I2", "met", value("aml_status", s)) for s in ("relapsed", "primary_refractory", "relapsed_refractory")],
    *[("I2", "not_met", value("aml_status", s)) for s in ("newly_diagnosed", "in_remission", "not_aml")],
    ("I2", "met", value("aml_status", "relapsed", on="2019")),
    ("I3", "met", value("cll1_expression", "positive", on=ago(28))),
    ("I3", "not_met", value("cll1_expression", "negative")),
    # I4
    ("I4", "met", value("ecog", "0", "1")),
    ("I4", "met", value("ecog", "1", "1")),
    ("I4", "not_met", value("ecog", "2", "1")),
    ("I4", "not_met", value("life_expectancy", "12", "wk")),
    ("I4", "met", value("life_expectancy", "12.1", "wk")),
    ("I4", "not_met", value("life_expectancy", "84", "d")),
    ("I4", "met", value("life_expectancy", "85", "d")),
    ("I4", "met", value("life_expectancy", "12", "wk", comparator=">")),
    ("I4", "met", value("life_expectancy", "6", "mo")),
    # I5.1, either of two
    ("I5.1", "met", value("creatinine", "2.4", "mg/dL", high="1.2") | {"weight": []}),
    ("I5.1", "met", value("creatinine", "176.84", "umol/L", high="88.42") | {"weight": []}),
    ("I5.1", "met", value("creatinine", "0.2", "mg/dL", high="1.2", comparator="<") | {"weight": []}),
    ("I5.1", "met", value("creatinine", "1", "mg/dL", high="0.4") | value("weight", "62", "kg")),
    ("I5.1", "not_met", value("creatinine", "3", "mg/dL", high="1.2")),
    # (140 - 40) x 36 x 0.85 / (72 x 0.85) = 50, and ULN 0.1 rules out the other way in
    (
        "I5.1",
        "met",
        value("creatinine", "0.85", "mg/dL", high="0.1") | value("weight", "36", "kg") | person(birth="1986"),
    ),
    (
        "I5.1",
        "not_met",
        value("creatinine", "0.851", "mg/dL", high="0.1") | value("weight", "36", "kg") | person(birth="1985"),
    ),
    (
        "I5.1",
        "met",
        value("creatinine", "75.157", "umol/L", high="9") | value("weight", "36", "kg") | person(birth="1986"),
    ),
    (
        "I5.1",
        "met",
        value("creatinine", "1", "mg/dL", high="0.1") | value("weight", "36", "kg") | person("male", "1986"),
    ),
    (
        "I5.1",
        "met",
        value("creatinine", "1", "mg/dL", high="0.1") | value("weight", "150", "[lb_av]") | person("unknown"),
    ),
    # I5.2 to I5.4
    ("I5.2", "met", value("bilirubin", "2.4", "mg/dL", high="1.2")),
    ("I5.2", "not_met", value("bilirubin", "2.41", "mg/dL", high="1.2")),
    ("I5.2", "met", value("bilirubin", "41", "umol/L", high="20.5")),
    ("I5.2", "not_met", value("bilirubin", "41.1", "umol/L", high="20.5")),
    *[("I5.3", "met", value(item, "120", "U/L", high="40")) for item in ("alt", "ast")],
    *[("I5.3", "not_met", value(item, "120.1", "U/L", high="40")) for item in ("alt", "ast")],
    ("I5.3", "not_met", value("alt", "2.1", "ukat/L", high="0.67")),
    ("I5.4", "met", value("inr", "1.8", "1", high="1.2")),
    ("I5.4", "not_met", value("inr", "1.81", "1", high="1.2")),
    ("I5.4", "met", value("aptt", "55.5", "s", high="37")),
    ("I5.4", "not_met", value("aptt", "55.6", "s", high="37")),
    # I6
    ("I6", "met", value("serum_hcg", "negative")),
    ("I6", "not_met", value("serum_hcg", "positive")),
    ("I6", "met", answer("childbearing_potential", "no") | {"serum_hcg": []}),
    ("I6", "met", person("male") | {"serum_hcg": [], "childbearing_potential": []}),
    # I7, the maximum over loci
    ("I7", "met", value("dsa_mfi", "2000", "1")),
    ("I7", "not_met", value("dsa_mfi", "2000.5", "1")),
    (
        "I7",
        "not_met",
        {
            "dsa_mfi": [
                observed("dsa_mfi", "2500", "1", on=ago(9), qualifier="DQB1"),
                observed("dsa_mfi", "10", "1", on=ago(3), qualifier="A"),
            ]
        },
    ),
    (
        "I7",
        "met",
        {
            "dsa_mfi": [
                observed("dsa_mfi", "2500", "1", on=ago(15), qualifier="DQB1"),
                observed("dsa_mfi", "10", "1", on=ago(3), qualifier="A"),
            ]
        },
    ),
    # I8
    ("I8", "met", consent("2026-02-10T09:29", "2026-02-10T09:30")),
    ("I8", "met", consent("2026-01", "2026-02-01")),
    ("I8", "not_met", consent("2026-02-10T09:30", "2026-02-10T09:30")),
    ("I8", "not_met", consent("2026-02-11", "2026-02-10")),
    (
        "I8",
        "met",
        {
            "consented": [
                Consented(form_version="3.0", signed=ago(2)),
                Consented(form_version="2.1", signed=ago(22)),
            ]
        },
    ),
    # E5 and E8 ask for now; E1, E3, E6, E9 and E13 for ever
    *[
        (name, said, answer(topic, yes_or_no, on))
        for name, topic in (
            ("E1", "drug_allergy"),
            ("E3", "allogeneic_transplant"),
            ("E6", "apl"),
            ("E9", "cns_disease"),
            ("E13", "substance_abuse"),
        )
        for yes_or_no, said in (("yes", "met"), ("no", "not_met"))
        for on in (FRESH, "2011")
    ],
    *[
        (name, said, answer(topic, yes_or_no))
        for name, topic in (
            ("E5", "cns_leukaemia"),
            ("E8", "autoimmune_disease"),
            ("E10.1", "severe_arrhythmia"),
            ("E10.4", "uncontrolled_hypertension"),
            ("E11", "pulmonary_infection"),
            ("E11", "pulmonary_embolism"),
            ("E11", "copd"),
            ("E11", "interstitial_lung_disease"),
            ("E12", "uncontrolled_infection"),
            ("E16", "pregnant"),
            ("E16", "breastfeeding"),
        )
        for yes_or_no, said in (("yes", "met"), ("no", "not_met"))
    ],
    (
        "E9",
        "met",
        {"cns_disease": [attested("cns_disease", "yes", on="2020"), attested("cns_disease", "no", on=FRESH)]},
    ),
    # E10.1 and E10.3
    ("E10.1", "not_met", value("qtc", "479.9", "ms")),
    ("E10.1", "met", value("qtc", "480", "ms")),
    ("E10.1", "met", value("qtc", "0.48", "s")),
    (
        "E10.1",
        "met",
        {
            "qtc": [
                observed("qtc", "481", "ms", on=ago(28), qualifier="Bazett"),
                observed("qtc", "440", "ms", on=ago(2), qualifier="Fridericia"),
            ]
        },
    ),
    (
        "E10.1",
        "not_met",
        {"qtc": [observed("qtc", "481", "ms", on=ago(29)), observed("qtc", "440", "ms", on=ago(2))]},
    ),
    ("E10.1", "met", {"qtc": [observed("qtc", "481", on=FRESH), observed("qtc", "490", "ms", on=FRESH)]}),
    ("E10.3", "not_met", value("nyha_class", "1", "1")),
    ("E10.3", "met", value("nyha_class", "2", "1")),
    ("E10.3", "not_met", value("lvef", "50", "%")),
    ("E10.3", "met", value("lvef", "49.9", "%")),
    ("E10.3", "met", value("lvef", "0.49", "1") | {"nyha_class": []}),
    # E11, E12
    ("E11", "met", value("spo2", "90", "%")),
    ("E11", "not_met", value("spo2", "90.1", "%")),
    ("E11", "met", value("spo2", "0.9", "1") | {"copd": []}),
    *[("E12", "met", value("hiv", result)) for result in ("active", "resolved")],
    *[
        ("E12", said, value(virus, result))
        for virus in ("hbv", "hcv")
        for result, said in (("active", "met"), ("resolved", "not_met"))
    ],
    # E16, E17
    ("E16", "not_met", person("male") | {"pregnant": [], "breastfeeding": []}),
    ("E16", "met", person("unknown") | answer("pregnant", "yes")),
    ("E16", "not_met", person("unknown")),
    ("E17", "met", {"judged": [Judged(interferes=True, statement="Lives too far away.", on=FRESH)]}),
    # That something interferes stands while it is fresh, whoever says otherwise later.
    *(
        (
            "E17",
            said,
            {
                "judged": [
                    Judged(interferes=True, statement="Lives too far away.", on=ago(days)),
                    Judged(interferes=False, statement="Moved.", on=ago(2)),
                ]
            },
        )
        for days, said in ((14, "met"), (9, "met"), (2, "met"), (15, "not_met"))
    ),
]


@pytest.mark.parametrize(("criterion", "expected", "change"), DECIDED)
def test_a_known_value_decides(criterion: str, expected: str, change: Study) -> None:
    row = changed(criterion, change)
    assert row.verdict == expected, row
    assert row.evidence
    assert row.arithmetic
    assert not row.gaps


def test_the_arithmetic_shows_the_sum() -> None:
    change = value("creatinine", "88.4", "umol/L", high="106")
    by_uln, by_clearance = changed("I5.1", change).arithmetic
    assert by_uln == (
        "creatinine 88.4 umol/L = 1.00 mg/dL, ULN 106 umol/L = 1.20 mg/dL, 0.83 x ULN, limit 2 x ULN, "
        f"collected {FRESH}"
    )
    assert by_clearance == (
        "body weight 62 kg, creatinine 88.4 umol/L = 1.00 mg/dL: "
        "Cockcroft-Gault (140 - 43) x 62 x 0.85 / (72 x 0.9997738068) = 71.01 mL/min, limit 50 mL/min"
    )
    near = changed("I5.2", value("bilirubin", "2.4001", "mg/dL", high="1.2")).arithmetic[0]
    assert "2.0001 x ULN, limit 2 x ULN" in near, "rounding must not show a broken limit as kept"
    below = changed("I5.2", value("bilirubin", "0.2", "mg/dL", high="1.2", comparator="<")).arithmetic[0]
    assert below.startswith("total bilirubin < 0.2 mg/dL, ULN 1.2 mg/dL, < 0.17 x ULN")
