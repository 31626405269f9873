"""The import of a real study: nothing changed on the way, nothing left out without a word."""

import csv
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cli.beginning import begin_log, trial_file
from services.cli.importing import import_study
from services.cli.sdtm import Study, Table, map_study, read_study
from services.cli.sdtm.codes import ITEMS, URINE
from services.cli.sdtm.tables import read_tables
from shared.drafts import Draft
from shared.moments import instant
from shared.protocol.items import items
from shared.protocol.model import load_protocol
from shared.words import TrailError

PILOT = Path(__file__).parents[2].parent / "shared" / "data" / "cdisc-pilot"


SCREENING_ONLY = load_protocol(trial_file("nct06027853"))  # none of the arms below is a dose level of this trial
WHOLE = load_protocol(trial_file("cdiscpilot01"))


def mapped(tables: dict[str, Table]) -> Study:
    return map_study(tables, SCREENING_ONLY)


def treated(*, dm: dict[str, Any] | None = None, **tables: list[dict[str, Any]]) -> Study:
    """A study of one participant, exposed from 2 January 2014 on, in an arm that the trial's file knows."""
    one = person(**{"ARMCD": "Xan_Hi", "ACTARMCD": "Xan_Lo"} | (dm or {}))
    return map_study({"DM": table(one)} | {name: table(*rows) for name, rows in tables.items()}, WHOLE)


def table(*rows: dict[str, Any]) -> Table:
    return {name: [row.get(name, "") for row in rows] for name in {name for row in rows for name in row}}


def person(code: str = "01-701-1015", **columns: Any) -> dict[str, Any]:
    usual = {"SITEID": "701", "SEX": "F", "AGE": 63.0, "AGEU": "YEARS", "BRTHDTC": "", "RFICDTC": ""}
    return usual | {"USUBJID": code, "DMDTC": "2013-12-26", "RFXSTDTC": "2014-01-02"} | columns


def lab(**columns: Any) -> dict[str, Any]:
    usual = {"LBTESTCD": "CREAT", "LBCAT": "CHEMISTRY", "LBORRES": "0.9", "LBORRESU": "mg/dL"}
    limits = {"LBORNRLO": "0.7", "LBORNRHI": "1.4"}
    return usual | limits | {"USUBJID": "01-701-1015", "LBDTC": "2013-12-26T14:45"} | columns


def ecg(**columns: Any) -> dict[str, Any]:
    usual = {"EGTESTCD": "HR", "EGORRES": "79", "EGORRESU": "BEATS/MIN", "EGTPT": "AFTER STANDING"}
    return usual | {"USUBJID": "01-701-1015", "EGDTC": "2013-12-26"} | columns


def event(**columns: Any) -> dict[str, Any]:
    usual = {"AESEQ": 3.0, "AETERM": "RASH", "AESTDTC": "2014-01-05", "AEDTC": "2014-01-10", "AESER": "N"}
    return usual | {"USUBJID": "01-701-1015"} | columns


def dosing(**columns: Any) -> dict[str, Any]:
    usual = {
        "EXTRT": "XANOMELINE",
        "EXDOSE": 54.0,
        "EXDOSU": "mg",
        "EXSTDTC": "2014-01-02",
        "EXENDTC": "2014-01-16",
    }
    return usual | {"USUBJID": "01-701-1015"} | columns


def ending(**columns: Any) -> dict[str, Any]:
    usual = {"DSDECOD": "COMPLETED", "DSTERM": "PROTOCOL COMPLETED", "DSCAT": "DISPOSITION EVENT"}
    return usual | {"USUBJID": "01-701-1015", "DSDTC": "2014-07-03", "DSSTDTC": "2014-07-02"} | columns


def only(study: Study, type_: str) -> Draft:
    (draft,) = (draft for draft in study.drafts if draft.type == type_)
    return draft


def observed(study: Study) -> list[dict[str, Any]]:
    return [draft.data for draft in study.drafts if draft.type == "screening.observed"]


def reasons(study: Study, domain: str) -> dict[str, str]:
    return {left.what: left.why for left in study.unmapped if left.domain == domain and left.what.isupper()}


def test_a_laboratory_value_keeps_its_original_result_unit_and_limits() -> None:
    study = mapped({"DM": table(person()), "LB": table(lab(LBORRES="1.10"))})
    assert observed(study) == [
        {
            "item": "creatinine",
            "collected": "2013-12-26T14:45",
            "value": Decimal("1.10"),
            "unit": "mg/dL",
            "reference": {"low": Decimal("0.7"), "high": Decimal("1.4")},
        }
    ]


def test_a_result_below_the_limit_of_detection_keeps_its_comparator() -> None:
    study = mapped({"DM": table(person()), "LB": table(lab(LBTESTCD="BILI", LBORRES="<0.2"))})
    assert (observed(study)[0]["comparator"], observed(study)[0]["value"]) == ("<", Decimal("0.2"))


def test_pounds_and_beats_become_ucum_and_timepoints_stay_apart() -> None:
    weight = {"VSTESTCD": "WEIGHT", "VSORRES": "119.0", "VSORRESU": "LB", "VSDTC": "2013-12-26"}
    study = mapped({"DM": table(person()), "VS": table(weight | {"USUBJID": "01-701-1015"}), "EG": table(ecg())})
    assert [(data["unit"], data.get("qualifier")) for data in observed(study)] == [
        ("[lb_av]", None),
        ("{beats}/min", "AFTER STANDING"),
    ]


def test_a_participant_is_registered_first_and_completed_last() -> None:
    early = lab(LBDTC="2013-11-30")
    study = mapped({"DM": table(person(RFICDTC="2013-11-29")), "LB": table(early)})
    assert [draft.type.removeprefix("screening.") for draft in study.drafts] == [
        "registered",
        "consented",
        "observed",
        "infusion_planned",
        "completed",
    ]
    assert study.drafts[-2].data == {"first": "2014-01-02"}
    assert study.drafts[-1].data == {"on": "2013-12-26"}


def test_sites_and_participants_come_in_order_whatever_the_order_of_the_rows() -> None:
    dm = table(person("c", SITEID="702"), person("b"), person("a"))
    assert [draft.subject for draft in mapped({"DM": dm}).drafts if draft.type.endswith("registered")] == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize(
    ("columns", "data"),
    [
        ({}, {"sex": "female", "age": {"years": 63, "on": "2013-12-26"}}),
        ({"SEX": "M", "BRTHDTC": "1950-12"}, {"sex": "male", "birth_date": "1950-12"}),
        ({"SEX": "U", "AGE": None}, {"sex": "unknown"}),
    ],
)
def test_a_birth_date_is_used_where_there_is_one_else_the_age(columns: Any, data: Any) -> None:
    assert mapped({"DM": table(person(**columns))}).drafts[0].data == data


FOREIGN_ARM = "the participant's arm is no dose level of the trial's file, and only screening is taken over"


def test_of_a_trial_whose_file_does_not_know_the_arm_only_screening_is_taken_over() -> None:
    tables = {
        "LB": table(lab(LBDTC="2014-01-02T23:59"), lab(LBDTC="2014-01-03")),
        "AE": table(event()),
        "EX": table(dosing()),
        "DS": table(ending()),
    }
    study = mapped({"DM": table(person(ARMCD="Xan_Hi"))} | tables)
    assert {draft.type.partition(".")[0] for draft in study.drafts} == {"screening"}
    assert len(observed(study)) == 1
    left = {(left.domain, left.why, left.count) for left in study.unmapped if "is not there" not in left.why}
    assert left == {(domain, FOREIGN_ARM, 1) for domain in ("LB", "AE", "EX", "DS")}
    assert [(left.what, left.why) for left in study.parts] == [
        ("planned arm", "the trial's file has no dose level Xan_Hi")
    ]


def test_everything_of_a_screen_failure_is_screening() -> None:
    study = mapped({"DM": table(person(RFXSTDTC="")), "LB": table(lab(LBDTC="2014-06-01"))})
    assert len(observed(study)) == 1
    assert "screening.infusion_planned" not in {draft.type for draft in study.drafts}


def test_every_event_is_dated_when_its_row_says_that_it_was_collected() -> None:
    study = mapped({"DM": table(person()), "LB": table(lab(), lab(LBDTC="2013-12-27"), lab(LBDTC="2013-11"))})
    assert [draft.time[:16] for draft in study.drafts if draft.type == "screening.observed"] == [
        "2013-11-30T12:00",
        "2013-12-26T14:45",
        "2013-12-27T12:00",
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (lab(LBORRES=""), "no result"),
        (lab(LBORRES="", LBSTAT="NOT DONE"), "no result (NOT DONE)"),
        (lab(LBTESTCD="SODIUM"), "no criterion of the protocol uses it"),
        (lab(LBORRES="HAEMOLYSED"), "the result is not a number"),
        (lab(LBSPEC="URINE"), "it was measured in urine"),
        (
            lab(LBORRES="999"),
            "data: creatinine 999 mg/dL is impossible: it must lie between 0.01 and 60 mg/dL",
        ),
        (lab(LBORRES="-1"), "data: creatinine cannot be negative"),
        (lab(LBSPEC="CEREBROSPINAL FLUID"), "it was measured in cerebrospinal fluid"),
        (lab(LBTESTCD="ANISO"), "the catalogue of items does not have it"),
        (lab(LBORRESU="furlong"), "data: 'furlong' is no UCUM unit; write it like mg/dL, umol/L, U/L, ms, [lb_av]"),
        (lab(LBORRESU="mmHg"), "data: the unit mm[Hg] cannot be converted to mg/dL"),
        (lab(LBDTC=""), "its date is blank"),
        (lab(LBDTC="2014-01"), "its date is partial and may lie after the first exposure"),
        (lab(LBDTC="2013-02-30"), "its date names a day or a time of day that does not exist"),
        (lab(USUBJID="nobody"), "its participant is not among those read from dm.xpt"),
    ],
)
def test_a_row_that_becomes_no_event_is_counted_with_its_reason(row: Any, why: str) -> None:
    study = mapped({"DM": table(person()), "LB": table(row)})
    assert observed(study) == []
    assert list(reasons(study, "LB").values()) == [why]


def test_qt_in_millimetres_of_mercury_is_not_taken_for_a_time() -> None:
    study = mapped({"DM": table(person()), "EG": table(ecg(EGTESTCD="QT", EGORRES="395", EGORRESU="mmHg"))})
    assert reasons(study, "EG") == {"QT": "its unit mmHg is no unit of time"}


def test_an_interpretation_is_a_result_and_one_that_nobody_knows_is_refused_by_its_model() -> None:
    rows = (ecg(EGTESTCD="ECGINT", EGORRES=text, EGORRESU="LB") for text in ("ABNORMAL", "BORDERLINE"))
    study = mapped({"DM": table(person()), "EG": table(*rows)})
    assert [data["result"] for data in observed(study)] == ["abnormal"]
    assert reasons(study, "EG")["ECGINT"].startswith("data: ecg_interpretation needs a result")


def test_a_condition_keeps_its_words_and_its_partial_dates() -> None:
    row = {"USUBJID": "01-701-1015", "MHTERM": "HYPERTENSION", "MHDTC": "2013-12-26", "MHSTDTC": "2010-04"}
    study = mapped({"DM": table(person()), "MH": table(row, row | {"MHTERM": "ASTHMA", "MHOCCUR": "N"})})
    assert [draft.data for draft in study.drafts if draft.type == "screening.condition_recorded"] == [
        {"term": "HYPERTENSION", "started": "2010-04"}
    ]
    left = [left for left in study.unmapped if left.what == "condition"]
    assert [(each.why, each.examples) for each in left] == [
        ("asked for and did not occur (MHOCCUR is N)", ("01-701-1015: ASTHMA",))
    ]


def test_a_table_that_is_not_there_is_said_to_be_missing() -> None:
    study = mapped({"DM": table(person())})
    assert [left.why for left in study.unmapped] == [
        f"the file {name}.xpt is not there" for name in ("ae", "ds", "eg", "ex", "lb", "mh", "vs")
    ]


def test_a_code_that_cannot_be_a_participant_or_stands_twice_is_left_out() -> None:
    study = mapped({"DM": table(person("01/1015"), person(), person())})
    assert study.participants == 1
    assert [left.count for left in study.unmapped if left.domain == "DM"] == [1, 1]


def test_a_missing_column_is_named_with_its_file() -> None:
    without = {name: cells for name, cells in table(person()).items() if name != "RFXSTDTC"}
    with pytest.raises(TrailError, match=r"dm\.xpt has no column RFXSTDTC"):
        mapped({"DM": without})


def test_a_directory_without_a_study_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match="is not a directory"):
        read_study(tmp_path / "absent", WHOLE)
    with pytest.raises(TrailError, match=r"holds no dm\.xpt"):
        read_study(tmp_path, WHOLE)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "cannot be read"), (b"x" * 800, "cannot be read"), (b"x" * 801, "is cut short")],
)
def test_a_file_that_is_no_transport_file_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "DM.XPT").write_bytes(content)
    with pytest.raises(TrailError, match=sentence):
        read_study(tmp_path, WHOLE)


def test_an_adverse_event_goes_over_as_the_site_recorded_it() -> None:
    row = event(
        AEDECOD="RASH",
        AEBODSYS="SKIN",
        AESTDTC="2014-01",
        AEENDTC="2014-02-03",
        AESEV="MILD",
        AEOUT="RECOVERED/RESOLVED",
    )
    report = only(treated(AE=[row]), "safety.event_reported")
    assert report.data == {
        "ae": "3",
        "term": "RASH",
        "preferred_term": "RASH",
        "system_organ_class": "SKIN",
        "onset": "2014-01",
        "ended": "2014-02-03",
        "severity": "mild",
        "outcome": "recovered",
        "serious": [],
    }


@pytest.mark.parametrize(
    ("said", "causality"),
    [
        ("NONE", "not_related"),
        ("REMOTE", "unlikely"),
        ("POSSIBLE", "possible"),
        ("PROBABLE", "probable"),
        ("DEFINITE", "definite"),
        ("", None),
    ],
)
def test_the_sites_view_of_causality_keeps_its_degree(said: str, causality: str | None) -> None:
    study = treated(AE=[event(AEREL=said)])
    assert only(study, "safety.event_reported").data.get("causality") == causality
    assert study.parts == []


def test_a_word_that_the_import_does_not_know_is_left_out_and_counted_and_the_event_stays() -> None:
    study = treated(AE=[event(AEREL="MAYBE", AEOUT="GONE")])
    assert {"causality", "outcome"}.isdisjoint(only(study, "safety.event_reported").data)
    assert [(left.domain, left.what, left.why) for left in study.parts] == [
        ("AE", "AEOUT", "GONE is no term that the import knows"),
        ("AE", "AEREL", "MAYBE is no term that the import knows"),
    ]


NO_CRITERION = "that it {} is no criterion of seriousness here"
DISAGREES = "it says N although criteria of seriousness are met, and these went over"


@pytest.mark.parametrize(
    ("flags", "serious", "left"),
    [
        ({"AESER": "N"}, [], {}),
        ({"AESER": ""}, None, {}),
        ({"AESER": "Y"}, ["unspecified"], {}),
        ({"AESER": "Y", "AESHOSP": "Y", "AESLIFE": "Y"}, ["life_threatening", "hospitalisation"], {}),
        ({"AESER": "", "AESMIE": "Y"}, ["medically_important"], {}),
        ({"AESER": "N", "AESDISAB": "Y"}, ["disability"], {"AESER": DISAGREES}),
        ({"AESER": "Y", "AESCAN": "Y"}, ["unspecified"], {"AESCAN": NO_CRITERION.format("involves cancer")}),
        ({"AESER": "N", "AESOD": "Y"}, [], {"AESOD": NO_CRITERION.format("occurred with overdose")}),
    ],
)
def test_seriousness_is_what_the_criteria_say_and_a_disagreement_is_counted(
    flags: Any, serious: Any, left: dict[str, str]
) -> None:
    study = treated(AE=[event(**flags)])
    assert only(study, "safety.event_reported").data.get("serious") == serious
    assert {one.what: one.why for one in study.parts} == left


@pytest.mark.parametrize(
    ("dates", "time"),
    [
        ({}, "2014-01-10T12:00"),
        ({"AEDTC": "2014-01-10T08:30"}, "2014-01-10T08:30"),
        ({"AEDTC": ""}, "2014-01-05T12:00"),
        ({"AEENDTC": "2014-02-03"}, "2014-02-03T12:00"),
        ({"AESTDTC": "2014"}, "2014-01-10T12:00"),
        ({"AESTDTC": "2014-02"}, "2014-02-01T12:00"),
        ({"AEDTC": "2014-01"}, "2014-01-31T12:00"),
    ],
)
def test_an_adverse_event_is_posted_when_it_was_collected_or_completed(dates: Any, time: str) -> None:
    assert only(treated(AE=[event(**dates)]), "safety.event_reported").time[:16] == time


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (event(AESTDTC="", AEDTC=""), "its date is blank"),
        (event(AESTDTC="2014-13-01"), "its date 2014-13-01 names a day or a time of day that does not exist"),
        (
            event(AEENDTC="2014-01-04"),
            "data: the adverse event cannot end (2014-01-04) before it begins (2014-01-05)",
        ),
        (event(AETERM=""), "data.term is missing"),
        (event(USUBJID="nobody"), "its participant is not among those read from dm.xpt"),
    ],
)
def test_an_adverse_event_that_cannot_be_reported_is_counted_once_with_its_reason(row: Any, why: str) -> None:
    study = treated(AE=[row | {"AEREL": "MAYBE"}])
    assert [(left.what, left.why) for left in study.unmapped if left.domain == "AE"] == [("adverse event", why)]
    assert study.parts == []


def test_exposure_is_of_the_actual_arm_and_the_assignment_of_the_planned_one() -> None:
    study = treated(EX=[dosing(), dosing(EXSTDTC="2014-01-17", EXENDTC="", EXDOSE=27.5)])
    assert only(study, "treatment.arm_assigned").data == {"planned": "Xan_Hi"}
    drug = {"treatment": "XANOMELINE", "arm": "Xan_Lo", "unit": "mg"}
    assert [(draft.time[:10], draft.data) for draft in study.drafts if draft.type == "treatment.exposed"] == [
        ("2014-01-16", drug | {"dose": Decimal(54), "started": "2014-01-02", "ended": "2014-01-16"}),
        ("2014-01-17", drug | {"dose": Decimal("27.5"), "started": "2014-01-17"}),
    ]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"EXDOSE": None}, "the dose is not a number"),
        ({"EXOCCUR": "N"}, "it did not take place (EXOCCUR is N)"),
        ({"EXENDTC": "2014-01-01"}, "data: the treatment cannot end (2014-01-01) before it begins (2014-01-02)"),
    ],
)
def test_a_dose_that_is_none_is_counted_with_its_reason(columns: Any, why: str) -> None:
    study = treated(EX=[dosing(**columns)])
    assert [left.why for left in study.unmapped if left.domain == "EX"] == [why]


@pytest.mark.parametrize(
    ("columns", "phase", "status"),
    [
        ({}, "study", "completed"),
        ({"DSSCAT": "STUDY TREATMENT"}, "treatment", "completed"),
        ({"DSDECOD": "WITHDRAWAL BY SUBJECT"}, "study", "withdrawn_by_participant"),
        ({"DSDECOD": "MOVED AWAY"}, "study", "other"),
        ({"DSCAT": ""}, "study", "completed"),
    ],
)
def test_a_disposition_keeps_its_day_and_its_words(columns: Any, phase: str, status: str) -> None:
    data = {"phase": phase, "status": status, "on": "2014-07-02", "why": "PROTOCOL COMPLETED"}
    assert only(treated(DS=[ending(**columns)]), "safety.disposition_recorded").data == data


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"DSCAT": "PROTOCOL MILESTONE"}, "it is no disposition event (PROTOCOL MILESTONE)"),
        ({"DSCAT": "", "DSDECOD": "RANDOMIZED"}, "it is no disposition event"),
    ],
)
def test_a_milestone_is_no_disposition(columns: Any, why: str) -> None:
    assert [left.why for left in treated(DS=[ending(**columns)]).unmapped if left.domain == "DS"] == [why]


def test_a_death_names_the_adverse_event_that_led_to_it_and_comes_after_its_report() -> None:
    fatal = event(AETERM="STROKE", AEOUT="FATAL", AEDTC="2014-02-09", AESTDTC="2014-02-01")
    died = ending(DSDECOD="DEATH", DSTERM="DEATH", DSDTC="2014-02-04", DSSTDTC="2014-02-03")
    for dm in ({"DTHFL": "Y", "DTHDTC": "2014-02-03"}, {}):
        study = treated(dm=dm, AE=[event(AESEQ=1.0), fatal], DS=[died])
        assert only(study, "safety.died").data == {"on": "2014-02-03", "cause": "STROKE", "ae": "3"}
        assert [draft.type for draft in study.drafts][-2:] == ["safety.event_reported", "safety.died"]
        assert only(study, "safety.disposition_recorded").data["status"] == "death"


def test_a_death_of_which_no_cause_is_known_says_so_and_one_without_a_day_is_counted() -> None:
    twice = [event(AESEQ=1.0, AESDTH="Y"), event(AESEQ=2.0, AESDTH="Y")]
    for events in (twice, [event()]):
        died = only(treated(dm={"DTHDTC": "2014-02-03"}, AE=events), "safety.died")
        assert died.data == {"on": "2014-02-03", "cause": "not recorded in SDTM"}
    study = treated(dm={"DTHFL": "Y"}, AE=[event()])
    assert [(left.what, left.why) for left in study.parts] == [("death", "its date is blank")]


def test_results_of_treatment_and_what_screening_does_not_know_are_observed_for_safety() -> None:
    rows = [
        lab(),
        lab(LBTESTCD="SODIUM", LBORRES="140", LBORRESU="mEq/L"),
        lab(LBDTC="2014-01-03"),
        lab(LBDTC="2014"),
    ]
    study = treated(LB=rows, EG=[ecg(EGTESTCD="ECGINT", EGORRES="ABNORMAL", EGORRESU="", EGDTC="2014-02-01")])
    assert [(data["item"], data["collected"]) for data in observed(study)] == [("creatinine", "2013-12-26T14:45")]
    assert [
        (draft.data["item"], draft.data["collected"], draft.time[:10])
        for draft in study.drafts
        if draft.type == "safety.observed"
    ] == [
        ("sodium", "2013-12-26T14:45", "2013-12-26"),
        ("creatinine", "2014-01-03", "2014-01-03"),
        ("ecg_interpretation", "2014-02-01", "2014-02-01"),
        ("creatinine", "2014", "2014-12-31"),
    ]


def test_an_item_of_urine_is_measured_in_urine_and_one_of_blood_is_not() -> None:
    urine = {"LBCAT": "URINALYSIS", "LBORRESU": "NO UNITS", "LBORNRLO": "", "LBORNRHI": ""}
    study = treated(LB=[lab(LBTESTCD="PH", LBORRES="6", **urine), lab(LBTESTCD="PH", LBORRES="7.4"), lab(**urine)])
    assert only(study, "safety.observed").data["item"] == "urine_ph"
    assert reasons(study, "LB") == {
        "CREAT": "it was measured in urine",
        "PH": "the catalogue of items does not have it",
    }


def test_a_pressure_keeps_the_position_it_was_taken_in_and_a_temperature_its_scale() -> None:
    vital = {"USUBJID": "01-701-1015", "VSDTC": "2014-02-01"}
    study = treated(
        VS=[
            vital | {"VSTESTCD": "SYSBP", "VSORRES": "130", "VSORRESU": "mmHg", "VSTPT": "AFTER STANDING"},
            vital | {"VSTESTCD": "TEMP", "VSORRES": "97.2", "VSORRESU": "F"},
        ]
    )
    shown = [(draft.data["unit"], draft.data.get("qualifier")) for draft in study.drafts if "safety" in draft.type]
    assert shown == [("mm[Hg]", "AFTER STANDING"), ("[degF]", None)]


def test_every_test_code_that_the_import_knows_is_an_item_of_the_catalogue() -> None:
    named = {*URINE.values(), *(item for codes in ITEMS.values() for item in codes.values())}
    assert named <= items().measured.keys() | items().codes.keys()


def test_a_participant_who_was_never_exposed_is_screened_and_nothing_more() -> None:
    study = treated(dm={"RFXSTDTC": "", "ARMCD": "Scrnfail", "ACTARMCD": "Scrnfail"}, AE=[event()], LB=[lab()])
    assert {draft.type.partition(".")[0] for draft in study.drafts} == {"screening"}
    assert [left.why for left in study.unmapped if left.domain == "AE"] == [
        "the participant was never exposed, and only screening is taken over"
    ]


def test_a_log_begins_with_the_trial_file_that_is_named(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "pilot", protocol=trial_file("CDISCPILOT01"))
    assert (home.trial, home.log_key.name) == ("CDISCPILOT01", "trialtrail.example/CDISCPILOT01")
    assert (home.directory / "protocol.yaml").read_text("utf-8") == trial_file("cdiscpilot01")
    assert begin_log(tmp_path / "usual").trial == "NCT06027853"


def test_a_trial_file_is_found_by_its_path_or_by_the_name_it_comes_with(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("trial: OURS\n", "utf-8")
    assert trial_file(str(own)) == "trial: OURS\n"
    with pytest.raises(TrailError, match="neither a file nor a trial that comes with this program"):
        trial_file("items")


def test_nothing_is_begun_with_a_text_that_is_no_trial_file(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match=r"the protocol document is wrong: .*is missing"):
        begin_log(tmp_path / "trial", protocol="trial: OURS\n")
    assert not (tmp_path / "trial").exists()


def test_a_study_is_not_imported_under_another_trial_than_the_log_began_with(tmp_path: Path) -> None:
    begin_log(tmp_path / "trial")
    with pytest.raises(TrailError, match="began with another trial file than cdiscpilot01"):
        import_study(tmp_path / "trial", tmp_path / "absent", protocol="cdiscpilot01", json_=True)


pilot = pytest.mark.skipif(not PILOT.is_dir(), reason=f"the CDISC pilot study is not at {PILOT}")


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return read_tables(PILOT)


@pytest.fixture(scope="module")
def whole(tables: dict[str, Table]) -> Study:
    return map_study(tables, WHOLE)


@pytest.fixture(scope="module")
def screened(tables: dict[str, Table]) -> Study:
    return map_study(tables, SCREENING_ONLY)


@pilot
def test_a_file_cut_short_in_transit_is_refused(tmp_path: Path) -> None:
    whole = (PILOT / "dm.xpt").read_bytes()
    (tmp_path / "dm.xpt").write_bytes(whole[: len(whole) // 2 + 7])
    with pytest.raises(TrailError, match="cut short"):
        read_study(tmp_path, WHOLE)


@pilot
def test_the_whole_pilot_study_goes_over(whole: Study) -> None:
    assert (whole.participants, len(whole.sites)) == (306, 17)
    assert Counter(draft.type for draft in whole.drafts) == {
        "screening.registered": 306,
        "screening.observed": 4409,
        "screening.condition_recorded": 1818,
        "screening.infusion_planned": 254,
        "screening.completed": 306,
        "treatment.arm_assigned": 254,
        "treatment.exposed": 591,
        "safety.event_reported": 1191,
        "safety.died": 3,
        "safety.disposition_recorded": 254,
        "safety.observed": 92168,
    }
    assert len({draft.subject for draft in whole.drafts if draft.type == "treatment.exposed"}) == 254


@pilot
def test_under_a_trial_of_other_arms_exactly_its_screening_goes_over(whole: Study, screened: Study) -> None:
    assert [draft for draft in whole.drafts if draft.type.startswith("screening.")] == screened.drafts
    assert len(screened.drafts) == 306 + 4409 + 1818 + 254 + 306


@pilot
@pytest.mark.parametrize("study", ["whole", "screened"])
def test_every_row_of_every_table_is_an_event_or_is_counted(
    study: str, tables: dict[str, Table], request: pytest.FixtureRequest
) -> None:
    found: Study = request.getfixturevalue(study)
    domain_of = {item: domain for domain, codes in ITEMS.items() for item in codes.values()}
    rows_of = {"registered": "DM", "condition_recorded": "MH", "exposed": "EX", "event_reported": "AE"}
    counts: Counter[str] = Counter()
    for draft in found.drafts:
        verb = draft.type.partition(".")[2]
        if verb == "observed":
            counts[domain_of.get(draft.data["item"], "LB")] += 1
        elif verb == "disposition_recorded":
            counts["DS"] += 1
        elif verb in rows_of:
            counts[rows_of[verb]] += 1
    for left in found.unmapped:
        counts[left.domain] += left.count
    assert counts == {name: len(cells["USUBJID"]) for name, cells in tables.items()}


@pilot
def test_every_event_of_the_pilot_study_can_be_admitted_and_follows_those_before_it(whole: Study) -> None:
    after: dict[str, tuple[bool, str]] = {}
    for draft in whole.drafts:
        draft.check(WHOLE.trial)
        assert draft.subject is not None
        treatment = not draft.type.startswith("screening.")
        if treatment:
            assert after[draft.subject][0] is False or draft.time >= after[draft.subject][1]
        else:
            assert after.get(draft.subject, (False, ""))[0] is False
        after[draft.subject] = (treatment, draft.time)
        assert instant(draft.time).year in (2012, 2013, 2014, 2015)


@pilot
def test_the_events_alone_give_the_studys_own_display_of_emergent_adverse_events(whole: Study) -> None:
    # By the definition of the data's README and nothing of ours: RFXSTDTC is the first start of exposure.
    arm = {draft.subject: draft.data["planned"] for draft in whole.drafts if draft.type == "treatment.arm_assigned"}
    first: dict[str | None, str] = {}
    for draft in whole.drafts:
        if draft.type == "treatment.exposed":
            first[draft.subject] = min(first.get(draft.subject, "9999"), draft.data["started"])
    people: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    events: Counter[tuple[str, str]] = Counter()
    for draft in whole.drafts:
        if draft.type != "safety.event_reported":
            continue
        earliest = (draft.data["onset"] + "-01-01")[:10]  # 2014 and 2014-03 from their first day on
        if earliest >= first[draft.subject]:
            for row in ("", draft.data["system_organ_class"]):
                people[row, arm[draft.subject]].add(draft.subject)
                events[row, arm[draft.subject]] += 1
    with (PILOT / "teae_by_soc.csv").open(encoding="utf-8", newline="") as file:
        display = list(csv.DictReader(file))
    shown = {
        (line["soc"], name): (int(line[f"{short}_n"]), int(line[f"{short}_events"]), int(line[f"{short}_N"]))
        for line in display
        for short, name in (("plb", "Pbo"), ("xlo", "Xan_Lo"), ("xhi", "Xan_Hi"))
    }
    assert len(shown) == 3 * 24
    assert events.keys() <= shown.keys()
    sizes = Counter(arm.values())
    assert {key: (len(people[key]), events[key], sizes[key[1]]) for key in shown} == shown


@pilot
def test_a_study_is_mapped_the_same_way_twice(screened: Study, tables: dict[str, Table]) -> None:
    assert map_study(tables, SCREENING_ONLY) == screened
