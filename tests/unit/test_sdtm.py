"""The import of a real study: nothing changed on the way, nothing left out without a word."""

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cli.sdtm import Study, Table, map_study, read_study
from shared.words import TrailError

PILOT = Path(__file__).parents[2].parent / "shared" / "data" / "cdisc-pilot"


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


def observed(study: Study) -> list[dict[str, Any]]:
    return [draft.data for draft in study.drafts if draft.type == "screening.observed"]


def reasons(study: Study, domain: str) -> dict[str, str]:
    return {left.what: left.why for left in study.unmapped if left.domain == domain and left.what.isupper()}


def test_a_laboratory_value_keeps_its_original_result_unit_and_limits() -> None:
    study = map_study({"DM": table(person()), "LB": table(lab(LBORRES="1.10"))})
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
    study = map_study({"DM": table(person()), "LB": table(lab(LBTESTCD="BILI", LBORRES="<0.2"))})
    assert (observed(study)[0]["comparator"], observed(study)[0]["value"]) == ("<", Decimal("0.2"))


def test_pounds_and_beats_become_ucum_and_timepoints_stay_apart() -> None:
    weight = {"VSTESTCD": "WEIGHT", "VSORRES": "119.0", "VSORRESU": "LB", "VSDTC": "2013-12-26"}
    study = map_study({"DM": table(person()), "VS": table(weight | {"USUBJID": "01-701-1015"}), "EG": table(ecg())})
    assert [(data["unit"], data.get("qualifier")) for data in observed(study)] == [
        ("[lb_av]", None),
        ("{beats}/min", "AFTER STANDING"),
    ]


def test_a_participant_is_registered_first_and_completed_last() -> None:
    early = lab(LBDTC="2013-11-30")
    study = map_study({"DM": table(person(RFICDTC="2013-11-29")), "LB": table(early)})
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
    assert [draft.subject for draft in map_study({"DM": dm}).drafts if draft.type.endswith("registered")] == [
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
    assert map_study({"DM": table(person(**columns))}).drafts[0].data == data


def test_what_was_collected_after_the_first_exposure_is_later_and_not_unmapped() -> None:
    study = map_study({"DM": table(person()), "LB": table(lab(LBDTC="2014-01-02T23:59"), lab(LBDTC="2014-01-03"))})
    assert len(observed(study)) == 1
    assert study.later == 1
    assert reasons(study, "LB") == {}


def test_everything_of_a_screen_failure_is_screening() -> None:
    study = map_study({"DM": table(person(RFXSTDTC="")), "LB": table(lab(LBDTC="2014-06-01"))})
    assert len(observed(study)) == 1
    assert "screening.infusion_planned" not in {draft.type for draft in study.drafts}


def test_every_event_is_dated_when_its_row_says_that_it_was_collected() -> None:
    study = map_study({"DM": table(person()), "LB": table(lab(), lab(LBDTC="2013-12-27"), lab(LBDTC="2013-11"))})
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
        (lab(LBORRESU="mmHg"), "data: 'mmHg' is no UCUM unit; write it like mg/dL, umol/L, U/L, ms, [lb_av]"),
        (lab(LBDTC=""), "its date is blank"),
        (lab(LBDTC="2014-01"), "its date is partial and may lie after the first exposure"),
        (lab(LBDTC="2013-02-30"), "its date names a day or a time of day that does not exist"),
        (lab(USUBJID="nobody"), "its participant is not among those read from dm.xpt"),
    ],
)
def test_a_row_that_becomes_no_event_is_counted_with_its_reason(row: Any, why: str) -> None:
    study = map_study({"DM": table(person()), "LB": table(row)})
    assert observed(study) == []
    assert list(reasons(study, "LB").values()) == [why]


def test_qt_in_millimetres_of_mercury_is_not_taken_for_a_time() -> None:
    study = map_study({"DM": table(person()), "EG": table(ecg(EGTESTCD="QT", EGORRES="395", EGORRESU="mmHg"))})
    assert reasons(study, "EG") == {"QT": "its unit mmHg is no unit of time"}


def test_an_interpretation_is_a_result_and_one_that_nobody_knows_is_refused_by_its_model() -> None:
    rows = (ecg(EGTESTCD="ECGINT", EGORRES=text, EGORRESU="LB") for text in ("ABNORMAL", "BORDERLINE"))
    study = map_study({"DM": table(person()), "EG": table(*rows)})
    assert [data["result"] for data in observed(study)] == ["abnormal"]
    assert reasons(study, "EG")["ECGINT"].startswith("data: ecg_interpretation needs a result")


def test_a_condition_keeps_its_words_and_its_partial_dates() -> None:
    row = {"USUBJID": "01-701-1015", "MHTERM": "HYPERTENSION", "MHDTC": "2013-12-26", "MHSTDTC": "2010-04"}
    study = map_study({"DM": table(person()), "MH": table(row, row | {"MHTERM": "ASTHMA", "MHOCCUR": "N"})})
    assert [draft.data for draft in study.drafts if draft.type == "screening.condition_recorded"] == [
        {"term": "HYPERTENSION", "started": "2010-04"}
    ]
    left = [left for left in study.unmapped if left.what == "condition"]
    assert [(each.why, each.examples) for each in left] == [
        ("asked for and did not occur (MHOCCUR is N)", ("01-701-1015: ASTHMA",))
    ]


def test_a_table_that_is_not_there_is_said_to_be_missing() -> None:
    study = map_study({"DM": table(person())})
    assert [left.why for left in study.unmapped] == [
        f"the file {name}.xpt is not there" for name in ("ds", "eg", "lb", "mh", "vs")
    ]


def test_a_code_that_cannot_be_a_participant_or_stands_twice_is_left_out() -> None:
    study = map_study({"DM": table(person("01/1015"), person(), person())})
    assert study.participants == 1
    assert [left.count for left in study.unmapped if left.domain == "DM"] == [1, 1]


def test_a_missing_column_is_named_with_its_file() -> None:
    without = {name: cells for name, cells in table(person()).items() if name != "RFXSTDTC"}
    with pytest.raises(TrailError, match=r"dm\.xpt has no column RFXSTDTC"):
        map_study({"DM": without})


def test_a_directory_without_a_study_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match="is not a directory"):
        read_study(tmp_path / "absent")
    with pytest.raises(TrailError, match=r"holds no dm\.xpt"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "cannot be read"), (b"x" * 800, "cannot be read"), (b"x" * 801, "is cut short")],
)
def test_a_file_that_is_no_transport_file_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "DM.XPT").write_bytes(content)
    with pytest.raises(TrailError, match=sentence):
        read_study(tmp_path)


pilot = pytest.mark.skipif(not PILOT.is_dir(), reason=f"the CDISC pilot study is not at {PILOT}")


@pilot
def test_a_file_cut_short_in_transit_is_refused(tmp_path: Path) -> None:
    whole = (PILOT / "dm.xpt").read_bytes()
    (tmp_path / "dm.xpt").write_bytes(whole[: len(whole) // 2 + 7])
    with pytest.raises(TrailError, match="cut short"):
        read_study(tmp_path)


@pilot
def test_every_row_of_the_pilot_study_is_an_event_or_is_accounted_for() -> None:
    study = read_study(PILOT)
    assert (study.participants, len(study.sites)) == (306, 17)
    types = Counter(draft.type.removeprefix("screening.") for draft in study.drafts)
    assert types == {
        "registered": 306,
        "observed": 4409,
        "condition_recorded": 1818,
        "infusion_planned": 254,
        "completed": 306,
    }
    events = types["observed"] + types["condition_recorded"]
    unmapped = sum(left.count for left in study.unmapped)
    assert events + study.later + unmapped == 29_643 + 59_580 + 26_717 + 1_818 + 850  # VS, LB, EG, MH, DS


@pilot
def test_the_pilot_study_is_read_the_same_way_twice() -> None:
    assert read_study(PILOT) == read_study(PILOT)
