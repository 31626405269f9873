"""A synthetic participant after the first infusion: laboratory, chimerism, adverse events, as dated acts.

Everything is ordinary until a story (``study_safety``) makes it otherwise. ``day`` counts from the day of the
first infusion, which is day 0. On the plan's days blood is drawn at eight and posted at two; the cells' share of
the blood rises for a week and falls below the limit of detection within months.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any, Final

from services.cli.study_course import CONVENTIONAL_UNITS, Course

MEDICAL_MONITOR: Final = "sponsor/medical"
_CHIMERISM: Final = {1: 0.4, 3: 0.8, 7: 1.0, 14: 0.6, 21: 0.25, 28: 0.08, 60: 0.005, 90: 0.002, 180: 0.0}
_PEAK: Final = {"DL1": 1.5, "DL2": 4.0, "DL3": 9.0}  # per cent
_DETECTION: Final = Decimal("0.05")

_GENERAL: Final = "General disorders and administration site conditions"
_TERMS: Final = {
    "CRS": ("Cytokine release syndrome", "Immune system disorders"),
    "ICANS": ("Immune effector cell-associated neurotoxicity syndrome", "Nervous system disorders"),
    "GvHD": ("Acute graft versus host disease", "Immune system disorders"),
    "AST": ("Aspartate aminotransferase increased", "Investigations"),
    "neutropenia": ("Neutrophil count decreased", "Investigations"),
    "pneumonia": ("Pneumonia", "Infections and infestations"),
    "leukaemia": ("Acute myeloid leukaemia recurrent", "Neoplasms benign, malignant and unspecified"),
    "nausea": ("Nausea", "Gastrointestinal disorders"),
    "diarrhoea": ("Diarrhoea", "Gastrointestinal disorders"),
    "constipation": ("Constipation", "Gastrointestinal disorders"),
    "headache": ("Headache", "Nervous system disorders"),
    "dizziness": ("Dizziness", "Nervous system disorders"),
    "fatigue": ("Fatigue", _GENERAL),
    "oedema": ("Oedema peripheral", _GENERAL),
    "rash": ("Rash", "Skin and subcutaneous tissue disorders"),
    "cough": ("Cough", "Respiratory, thoracic and mediastinal disorders"),
    "appetite": ("Decreased appetite", "Metabolism and nutrition disorders"),
}
_MILD: Final = tuple(_TERMS)[7:]


@dataclass(frozen=True, slots=True)
class _Conventional:
    """How a laboratory with conventional units writes a value: its unit, ``times`` the SI number ``plus`` more."""

    unit: str
    places: int
    times: Decimal = Decimal(1)
    plus: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Count:
    """A blood count or vital sign: where it begins, by which share it falls until day 7, and how it is written."""

    item: str
    begins: tuple[float, float]
    falls: float
    scatter: float
    unit: str
    places: int
    limits: tuple[str, str] | None
    conventional: _Conventional | None = None


_TEMPERATURE: Final = _Count(
    "temperature", (36.5, 36.9), 0, 0.007, "Cel", 1, None, _Conventional("[degF]", 1, Decimal("1.8"), Decimal(32))
)
_COUNTS: Final = (
    _Count("anc", (2.2, 4.0), 0.48, 0.03, "10*9/L", 2, ("1.80", "6.30"), _Conventional("10*3/uL", 2)),
    _Count("platelets", (108, 190), 0.38, 0.03, "10*9/L", 0, ("125", "350"), _Conventional("10*3/uL", 0)),
    _Count(
        "haemoglobin", (94, 118), 0.07, 0.02, "g/L", 0, ("115", "150"), _Conventional("g/dL", 1, Decimal("0.1"))
    ),
    _Count("potassium", (3.8, 4.6), 0.04, 0.03, "mmol/L", 1, ("3.5", "5.1")),
    _Count("albumin", (36, 44), 0.06, 0.03, "g/L", 0, ("35", "50"), _Conventional("g/dL", 1, Decimal("0.1"))),
    _TEMPERATURE,
)
_FALL: Final = {0: 0.0, 1: 0.2, 3: 0.55, 7: 1.0, 14: 0.75, 21: 0.3, 28: 0.1}
_CHEMISTRY: Final = ("creatinine", "bilirubin", "alt", "ast")

_CRS: Final[Mapping[int, Mapping[str, Any]]] = {
    0: {"temperature": 36.9},
    1: {"temperature": 38.6},
    2: {"temperature": 39.1, "hypotension": True},
    3: {"temperature": 39.4, "hypotension": True, "vasopressors": "one", "oxygen": "low_flow"},
    4: {
        "temperature": 39.8,
        "hypotension": True,
        "vasopressors": "multiple",
        "oxygen": "positive_pressure",
    },
}
"""Components that come to each grade (ASTCT 2019, table 2)."""


class FollowUp:
    """What is recorded of a participant from the infusion on, and what the sponsor says of it."""

    def __init__(self, course: Course, seed: int, dose_level: str) -> None:
        self.course = course
        # Its own generator: what happens after the infusion leaves the screening as it is.
        self._random = Random(f"{seed}/{course.code}/after")  # noqa: S311 - a reproducible study, no secret
        self._dose_level = dose_level
        self._conventional = course.site in CONVENTIONAL_UNITS
        self._events: dict[str, str] = {}
        self._follow()

    def on(self, day: int) -> str:
        """Give the date of a day."""
        return self.course.on(self.course.infusion + day)

    # What a story may change ------------------------------------------------------------------------------

    def change(self, item: str, day: int, value: str) -> None:
        """Measure something else on a day of the plan."""
        self.course.change(f"{item}, day {day}", value=Decimal(value))

    def report(
        self,
        event: str,
        day: int,
        grade: int,
        *,
        causality: str = "possible",
        serious: tuple[str, ...] = (),
        told: int | None = None,
        **data: Any,
    ) -> str:
        """Report an adverse event that begins on a day and is told the same day, or later; returns its number."""
        term, system = _TERMS[event]
        ae = str(len(self._events) + 1)
        self._events[ae] = event
        said: dict[str, Any] = {"ae": ae, "term": term, "preferred_term": term, "system_organ_class": system}
        said |= {"onset": f"{self.on(day)}T06:40", "grade": grade, "serious": list(serious), "causality": causality}
        said |= {"aware": f"{self.on(day)}T09:30"} | data
        self._add(f"event {ae}", day if told is None else told, 13, "safety.event_reported", said)
        return ae

    def update(self, ae: str, day: int, grade: int) -> None:
        """Tell on a day that an adverse event has another grade since then."""
        said = {"ae": ae, "on": f"{self.on(day)}T07:00", "grade": grade}
        self._add(f"event {ae}, updated", day, 13, "safety.event_updated", said)

    def resolve(self, ae: str, day: int, on: int | None = None) -> None:
        """Tell on a day that an adverse event ended, then or ``on`` another."""
        said = {"ae": ae, "on": self.on(day if on is None else on), "outcome": "recovered"}
        self._add(f"event {ae}, resolved", day, 15, "safety.event_resolved", said)

    def correct(self, name: str, day: int, why: str, **data: Any) -> None:
        """Correct, on a later day, what was recorded under this name."""
        self.course.correct(name, self.course.infusion + day, why, **data)

    def retract(self, ae: str, day: int, why: str) -> None:
        """Take the report of an adverse event back."""
        self.course.retract(f"event {ae}", self.course.infusion + day, why)

    def crs(self, day: int, grade: int) -> None:
        """Record components of a cytokine release syndrome that come to this grade, 0 for its end."""
        found: dict[str, Any] = {"hypotension": False, "vasopressors": "none", "oxygen": "none", **_CRS[grade]}
        found |= {"at": f"{self.on(day)}T10:15", "antipyretics": True, "hypoxia": found["oxygen"] != "none"}
        self._add(f"CRS, day {day}", day, 14, "safety.crs_assessed", found)

    def icans(self, day: int, ice: int, consciousness: str = "awake") -> None:
        """Record components of a neurotoxicity without seizure, motor finding or oedema."""
        found = {"at": f"{self.on(day)}T10:30", "ice": ice, "consciousness": consciousness}
        found |= {"seizure": "none", "motor": "none", "oedema": "none"}
        self._add(f"ICANS, day {day}", day, 14, "safety.icans_assessed", found)

    def gvhd(self, day: int, skin_percent: int) -> None:
        """Record components of an acute graft-versus-host disease of the skin alone."""
        found = {"at": f"{self.on(day)}T10:45", "skin_percent": skin_percent, "bullae": False}
        found |= {"bilirubin": 0.7, "bilirubin_unit": "mg/dL"}
        found |= {"upper_gi": "none", "stool_ml": 0, "lower_gi_severe": False}
        self._add(f"GvHD, day {day}", day, 14, "safety.gvhd_assessed", found)

    def medicate(self, agent: str, day: int, ae: str) -> None:
        """Give a medication for an adverse event."""
        said = {"agent": agent, "started": f"{self.on(day)}T11:00", "ended": f"{self.on(day)}T12:00", "ae": ae}
        self._add(f"{agent}, day {day}", day, 14, "safety.medication_given", said)

    def cytokine_release(self, day: int, grade: int, *, said: int | None = None, **data: Any) -> str:
        """Let a cytokine release syndrome come to a grade on a day, be treated and be gone on the next day but one.

        ``said`` is the investigator's own grade where it is another.
        """
        ae = self.report("CRS", day, said or grade, treated="yes", **data)
        self.crs(day, grade)
        self._count(_TEMPERATURE, day, _CRS[grade]["temperature"])
        self.medicate("Tocilizumab" if grade > 1 else "Paracetamol", day, ae)
        self.crs(day + 2, 0)
        self.resolve(ae, day + 2)
        return ae

    def assess(self, ae: str, day: int, why: str, **data: Any) -> None:
        """Have the sponsor's medical monitor assess an adverse event."""
        self._add(
            f"event {ae}, assessed", day, 16, "safety.event_assessed", {"ae": ae, "why": why} | data, sponsor=True
        )

    def send(self, ae: str, profile: str, day: int, kind: str = "initial") -> None:
        """Have the sponsor send an expedited report to an authority."""
        number = f"{self.course.code}/{ae}/{profile}/{kind}"
        sent = {"ae": ae, "profile": profile, "kind": kind, "number": number, "at": f"{self.on(day)}T15:20"}
        self._add(number, day, 16, "safety.report_sent", sent, sponsor=True)

    def leave(self, day: int, status: str, why: str, died_of: str | None = None) -> None:
        """End the participant's time in the study; ``died_of`` numbers what led to a death. It is the last word."""
        if died_of is not None:
            cause, _ = _TERMS[self._events[died_of]]
            self._add("died", day, 14, "safety.died", {"on": self.on(day), "cause": cause, "ae": died_of})
        ended = {"phase": "study", "status": status, "on": self.on(day), "why": why}
        self._add("left the study", day, 15, "safety.disposition_recorded", ended)
        self.course.until = date.fromisoformat(self.on(day))

    # The ordinary course ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Everything that the plan has measured; what is due after the study's end is never posted."""
        for count in _COUNTS:
            begins = self._random.uniform(*count.begins)
            for day, fallen in _FALL.items():
                scattered = self._random.uniform(1 - count.scatter, 1 + count.scatter)
                self._count(count, day, begins * (1 - count.falls * fallen) * scattered)
        for item in _CHEMISTRY:
            before = self.course.newest(item)
            for day in list(_FALL)[1:]:
                value = before["value"] * Decimal(f"{self._random.uniform(0.88, 1.12):.3f}")
                limits = {name: before[name] for name in ("unit", "reference")}
                self._measure(item, day, value.quantize(before["value"]), limits)
        peak = _PEAK[self._dose_level] * self._random.uniform(0.6, 1.5)
        for day, share in _CHIMERISM.items():
            found = Decimal(f"{peak * share * self._random.uniform(0.8, 1.25):.2f}")
            below = {"comparator": "<"} if found < _DETECTION else {}
            self._measure("chimerism", day, max(found, _DETECTION), {"unit": "%"} | below)

    def mild_events(self) -> None:
        """Add the one or two mild adverse events that hardly anybody is spared, of terms not yet reported."""
        spared = [term for term in _MILD if term not in self._events.values()]
        for event in self._random.sample(spared, self._random.randint(1, 2)):
            day, days = self._random.randint(2, 20), self._random.randint(1, 5)
            grade = 2 if self._random.random() < 0.2 else 1
            causality = self._random.choice(("unlikely", "possible"))
            if date.fromisoformat(self.on(day + days)) <= self.course.until:
                self.resolve(self.report(event, day, grade, causality=causality), day + days)

    def _count(self, count: _Count, day: int, value: float) -> None:
        written = _Conventional(count.unit, count.places)
        if self._conventional:
            written = count.conventional or written

        def write(number: Decimal) -> Decimal:
            return (number * written.times + written.plus).quantize(Decimal(1).scaleb(-written.places))

        data: dict[str, Any] = {"unit": written.unit}
        if count.limits is not None:
            low, high = (write(Decimal(limit)) for limit in count.limits)
            data["reference"] = {"low": low, "high": high}
        self._measure(count.item, day, write(Decimal(f"{value:.3f}")), data)

    def _measure(self, item: str, day: int, value: Decimal, data: Mapping[str, Any]) -> None:
        collected = f"{self.on(day)}T08:{self._minute(day):02d}"
        name, said = f"{item}, day {day}", {"item": item, "collected": collected, "value": value, **data}
        if name in self.course.names():
            self.course.change(name, **said)
        else:
            self._add(name, day, 14 if day else 12, "safety.observed", said)

    def _minute(self, day: int) -> int:
        """One needle, one time for the whole panel."""
        return (sum(map(ord, self.course.code)) + 7 * day) % 60

    def _add(
        self, name: str, day: int, at: int, type_: str, data: dict[str, Any], *, sponsor: bool = False
    ) -> None:
        source = MEDICAL_MONITOR if sponsor else None
        self.course.add(name, self.course.infusion + day, at, type_, data, source=source)
