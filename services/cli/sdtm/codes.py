"""The words of the tables as data: test codes, units, and the terms of adverse events and dispositions.

Test codes and most terms are CDISC's controlled terminology. AEREL has none: these are the words in common use.
"""

from collections.abc import Mapping
from typing import Final

from shared.events.safety import Causality, EventOutcome, Seriousness, Severity

ITEMS: Final[Mapping[str, Mapping[str, str]]] = {
    "VS": {
        "DIABP": "diastolic",
        "HEIGHT": "height",
        "PULSE": "pulse",
        "SYSBP": "systolic",
        "TEMP": "temperature",
        "WEIGHT": "weight",
    },
    "LB": {
        "ALB": "albumin",
        "ALP": "alp",
        "ALT": "alt",
        "AMYLASE": "amylase",
        "APTT": "aptt",
        "AST": "ast",
        "BASO": "basophils",
        "BASOLE": "basophil_fraction",
        "BICARB": "bicarbonate",
        "BILI": "bilirubin",
        "BUN": "urea",
        "CA": "calcium",
        "CAION": "ionized_calcium",
        "CHOL": "cholesterol",
        "CK": "ck",
        "CL": "chloride",
        "CREAT": "creatinine",
        "EOS": "eosinophils",
        "EOSLE": "eosinophil_fraction",
        "FIBRINO": "fibrinogen",
        "GGT": "ggt",
        "GLUC": "glucose",
        "HAPTOG": "haptoglobin",
        "HBA1C": "hba1c",
        "HCT": "haematocrit",
        "HGB": "haemoglobin",
        "INR": "inr",
        "K": "potassium",
        "LDH": "ldh",
        "LIPASET": "lipase",
        "LYM": "lymphocytes",
        "LYMLE": "lymphocyte_fraction",
        "MCH": "mch",
        "MCHC": "mchc",
        "MCV": "mcv",
        "MG": "magnesium",
        "MONO": "monocytes",
        "MONOLE": "monocyte_fraction",
        "NEUT": "anc",
        "PHOS": "phosphate",
        "PLAT": "platelets",
        "PROT": "protein",
        "RBC": "rbc",
        "SODIUM": "sodium",
        "TRIG": "triglycerides",
        "TSH": "tsh",
        "URATE": "uric_acid",
        "VITB12": "vitamin_b12",
        "WBC": "wbc",
    },
    "EG": {
        "ECGINT": "ecg_interpretation",
        "HR": "heart_rate",
        "QT": "qt",
        "QTCBAG": "qtc",
        "QTCFAG": "qtc",
        "RR": "rr",
    },
}
"""The item that each test code of a domain is; in LB, measured in blood."""

URINE: Final[Mapping[str, str]] = {"PH": "urine_ph", "SPGRAV": "urine_specific_gravity"}
"""The same of LB, measured in urine."""

FORMULA: Final[Mapping[str, str]] = {"QTCBAG": "Bazett", "QTCFAG": "Fridericia"}

# What a site wrote for a unit, in capitals, and its UCUM code; what is not here is taken for UCUM as it stands.
UCUM: Final[Mapping[str, str]] = {
    "LB": "[lb_av]",
    "KG": "kg",
    "CM": "cm",
    "IN": "[in_i]",
    "C": "Cel",
    "F": "[degF]",
    "MMHG": "mm[Hg]",
    "BEATS/MIN": "{beats}/min",
    "MSEC": "ms",
    "SEC": "s",
    "RATIO": "1",
    "FRACTION": "1",
    "NO UNITS": "1",
    "THOU/UL": "10*3/uL",
    "MILL/UL": "10*6/uL",
    "MEQ/L": "meq/L",
    "UIU/ML": "u[IU]/mL",
}
SEX: Final[Mapping[str, str]] = {"F": "female", "M": "male"}
SEVERITY: Final[Mapping[str, Severity]] = {"MILD": "mild", "MODERATE": "moderate", "SEVERE": "severe"}
CAUSALITY: Final[Mapping[str, Causality]] = {
    "NONE": "not_related",
    "NOT RELATED": "not_related",
    "REMOTE": "unlikely",
    "UNLIKELY": "unlikely",
    "UNLIKELY RELATED": "unlikely",
    "POSSIBLE": "possible",
    "POSSIBLY RELATED": "possible",
    "PROBABLE": "probable",
    "PROBABLY RELATED": "probable",
    "DEFINITE": "definite",
    "DEFINITELY RELATED": "definite",
}
OUTCOME: Final[Mapping[str, EventOutcome]] = {
    "FATAL": "fatal",
    "NOT RECOVERED/NOT RESOLVED": "not_recovered",
    "RECOVERED/RESOLVED": "recovered",
    "RECOVERED/RESOLVED WITH SEQUELAE": "recovered_with_sequelae",
    "RECOVERING/RESOLVING": "recovering",
    "UNKNOWN": "unknown",
}
SERIOUS: Final[Mapping[str, Seriousness]] = {
    "AESDTH": "death",
    "AESLIFE": "life_threatening",
    "AESHOSP": "hospitalisation",
    "AESDISAB": "disability",
    "AESCONG": "congenital_anomaly",
    "AESMIE": "medically_important",
}
NO_CRITERION: Final[Mapping[str, str]] = {"AESCAN": "involves cancer", "AESOD": "occurred with overdose"}
DISPOSITION: Final[Mapping[str, str]] = {
    "ADVERSE EVENT": "adverse_event",
    "COMPLETED": "completed",
    "DEATH": "death",
    "LACK OF EFFICACY": "lack_of_efficacy",
    "LOST TO FOLLOW-UP": "lost_to_follow_up",
    "PHYSICIAN DECISION": "physician_decision",
    "PROTOCOL VIOLATION": "protocol_violation",
    "SCREEN FAILURE": "screen_failure",
    "STUDY TERMINATED BY SPONSOR": "terminated_by_sponsor",
    "WITHDRAWAL BY SUBJECT": "withdrawn_by_participant",
}
