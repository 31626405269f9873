"""One synthetic participant's course through the trial, as dated acts; a case varies it in a line or two.

A course begins as the complete, eligible screening of an ordinary participant, in one week from a Monday:
registration and consent (day 0), blood (1), imaging, ECG and serology (2), the visit at which histories are
taken (3), the investigator's judgement and the end of screening (4), for an infusion on day 10.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any, Final, Literal
from uuid import UUID, uuid5

from shared.drafts import Draft
from shared.events import Role
from shared.protocol.items import items

LOCAL: Final = timezone(timedelta(hours=8))
INFUSION_DAY: Final = 10
LOCI: Final = ("HLA-A", "HLA-B", "HLA-C", "HLA-DRB1", "HLA-DQB1")
WOMEN_ONLY: Final = frozenset({"childbearing_potential", "pregnant", "breastfeeding"})
CONVENTIONAL_UNITS: Final = frozenset({"102"})
_IDS: Final = UUID("6a0f4c52-7d0e-5b37-9d53-2f0c7f1f6027")  # the namespace of the ids that corrections name


Damage = Literal["none", "stray_key", "tampered", "cut_off"]


@dataclass(frozen=True, slots=True)
class Post:
    """A site posts an event; it must be admitted."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class PostBroken:
    """A site posts something that must be refused. ``damage`` is what happens to it on its way.

    none: nothing, the draft itself is wrong; stray_key: signed with a key that nobody granted; tampered: a byte
    changed after signing; cut_off: only the first half arrives, which is no JSON.
    """

    draft: Draft
    what: str
    damage: Damage = "none"


@dataclass(frozen=True, slots=True)
class SignEligibility:
    """The site's investigator signs the participant's current decision, if it is ``eligible``."""

    participant: str
    site: str


@dataclass(frozen=True, slots=True)
class RequestEnrolment:
    """The site asks for a place at a dose level."""

    participant: str
    site: str
    dose_level: str


Act = Post | PostBroken | SignEligibility | RequestEnrolment


@dataclass(slots=True)
class _Step:
    name: str
    at: datetime
    verb: str
    data: dict[str, Any]
    role: Role | None = None
    id: str | None = None


class Course:
    """A participant's course. ``day`` always counts from the first day of screening; ``at`` is the hour."""

    def __init__(
        self,
        code: str,
        start: date,
        seed: int,
        *,
        sex: str | None = None,
        age: int | None = None,
        weight: int | None = None,
    ) -> None:
        self.code, self.start, self.site = code, start, code.partition("-")[0]
        # Each participant has a generator of its own, so that changing one case leaves the others as they are.
        self._random = Random(f"{seed}/{code}")  # noqa: S311 - a reproducible study, no secret
        self._seed = seed
        self._steps: list[_Step] = []
        self._acts: list[tuple[datetime, Act]] = []
        self._infusion = INFUSION_DAY
        self._collected: dict[int, int] = {}
        self._posted: Counter[tuple[int, int]] = Counter()
        self.sex = sex or self._random.choice(("female", "male"))
        self._age = age or self._random.randint(26, 72)
        self._weight = weight or self._random.randint(*((46, 74) if self.sex == "female" else (56, 88)))
        self._enter()
        self.draw_blood(1)
        self._examine(2)
        self._visit(3)
        self._conclude(4)

    # What a case may change -------------------------------------------------------------------------------

    def change(self, name: str, **data: Any) -> None:
        """Record something else under this name (an item, a topic, a history, or an event's verb)."""
        self._step(name).data |= data

    def say_yes(self, topic: str, detail: str) -> None:
        """Answer a question of the catalogue with yes."""
        self.change(topic, answer="yes", detail=detail)

    def list_in(self, history: str, *entries: Mapping[str, Any]) -> None:
        """Put these entries into a history, in place of what is there."""
        self.change(history, entries=[dict(entry) for entry in entries])

    def without(self, name: str, field: str) -> None:
        """Leave a field out."""
        del self._step(name).data[field]

    def late(self, *names: str, day: int, at: int = 9) -> None:
        """Post these on a later day than they were collected."""
        for name in names:
            self._step(name).at = self._moment(day, at)

    def correct(self, name: str, day: int, why: str, **data: Any) -> None:
        """Correct, some days later, what was recorded under this name."""
        wrong = self._step(name)
        wrong.id = str(uuid5(_IDS, f"{self._seed}/{self.code}/{name}"))
        right = wrong.data | data | {"corrects": wrong.id, "reason": why}
        self._add(f"{name}, corrected", day, 9, wrong.verb, right)

    def plan(self, day: int, infusion: int) -> None:
        """Plan the first infusion for another day than before."""
        self._infusion = infusion
        self._add("infusion planned again", day, 14, "infusion_planned", {"first": self.on(infusion)})

    def sign(self, day: int) -> None:
        """Have the investigator sign."""
        self._acts.append((self._moment(day, 10), SignEligibility(self.code, self.site)))

    def request(self, day: int, dose_level: str) -> None:
        """Ask for a place."""
        self._acts.append((self._moment(day, 11), RequestEnrolment(self.code, self.site, dose_level)))

    def infuse(self, dose_level: str) -> None:
        """Infuse the study drug on the planned day."""
        given = f"{self.on(self._infusion)}T14:{self._random.randint(10, 50)}"
        data = {"at": given, "dose_level": dose_level, "number": 1}
        self._add("infused", self._infusion, 15, "treatment.infused", data)

    def treat(self, dose_level: str) -> None:
        """Go the straight way: signature and place three days before the infusion, then the infusion."""
        self.sign(self._infusion - 3)
        self.request(self._infusion - 3, dose_level)
        self.infuse(dose_level)

    def close(self, day: int, why: str) -> None:
        """Close the participant as a screen failure."""
        self._add("screen failed", day, 16, "screen_failed", {"on": self.on(day), "why": why})

    def withdraw(self, day: int, why: str) -> None:
        """Let the participant withdraw."""
        self._add("withdrawn", day, 16, "withdrawn", {"on": self.on(day), "why": why})

    def post_broken(
        self,
        day: int,
        at: int,
        what: str,
        *,
        damage: Damage = "none",
        source: str | None = None,
        days_ahead: int = 0,
        **data: Any,
    ) -> None:
        """Post a weight that must be refused for what is wrong with it."""
        moment = self._moment(day, at)
        weight = {"item": "weight", "collected": self.on(day), "value": Decimal(self._weight), "unit": "kg"}
        step = _Step(what, moment + timedelta(days=days_ahead), "observed", weight | data)
        draft = self._draft(step)
        if source is not None:
            draft = draft.model_copy(update={"source": source})
        self._acts.append((moment, PostBroken(draft, what, damage)))

    def on(self, day: int) -> str:
        """Give the date of a day of the course."""
        return (self.start + timedelta(days=day)).isoformat()

    def before_infusion(self, days: int) -> str:
        """Give the date so many days before the planned infusion."""
        return self.on(INFUSION_DAY - days)

    def acts(self) -> list[tuple[datetime, Act]]:
        """List everything that happens, with its local time, in order of time."""
        posted: list[tuple[datetime, Act]] = [(step.at, Post(self._draft(step))) for step in self._steps]
        return sorted(posted + self._acts, key=lambda timed: timed[0])

    # The ordinary week ------------------------------------------------------------------------------------

    def _enter(self) -> None:
        born = self.start - timedelta(days=self._age * 365 + self._age // 4 + self._random.randint(20, 300))
        self._add("registered", 0, 9, "registered", {"sex": self.sex, "birth_date": born.isoformat()})
        consent = {"form_version": "ICF 2.1 (synthetic)", "signed": f"{self.on(0)}T09:10"}
        self._add("consented", 0, 10, "consented", consent)
        self._add("started", 0, 11, "started", {"on": f"{self.on(0)}T10:40"})

    def draw_blood(self, day: int) -> None:
        """Collect and post the whole laboratory panel, in the units that the site's laboratory uses."""
        conventional = self.site in CONVENTIONAL_UNITS
        creatinine, bilirubin = self._random.uniform(0.55, 1.15), self._random.uniform(0.3, 1.3)
        if conventional:
            self._measure("creatinine", day, f"{creatinine:.2f}", "mg/dL", limits=("0.6", "1.2"))
            self._measure("bilirubin", day, f"{bilirubin:.1f}", "mg/dL", limits=("0.2", "1.2"))
        else:
            self._measure("creatinine", day, f"{creatinine * 88.42:.0f}", "umol/L", limits=("53", "106"))
            self._measure("bilirubin", day, f"{bilirubin * 17.104:.1f}", "umol/L", limits=("3.4", "20.5"))
        self._measure("alt", day, self._whole(12, 70), "U/L", limits=("7", "40"))
        self._measure("ast", day, self._whole(14, 65), "U/L", limits=("13", "35"))
        self._measure("inr", day, f"{self._random.uniform(0.9, 1.3):.2f}", "1", limits=("0.8", "1.2"))
        self._measure("aptt", day, f"{self._random.uniform(26, 40):.1f}", "s", limits=("25", "37"))
        for locus in LOCI:
            self._measure("dsa_mfi", day, self._whole(0, 1400), "1", qualifier=locus)
        if self._may_bear_children:
            self._code("serum_hcg", day, "negative")

    def _examine(self, day: int) -> None:
        self._measure("lvef", day, self._whole(55, 70), "%")
        self._measure("qtc", day, self._whole(395, 455), "ms", qualifier="Fridericia")
        self._measure("heart_rate", day, self._whole(58, 96), "{beats}/min")
        self._code("ecg_interpretation", day, "normal")
        positive = Decimal(self._whole(34, 97))
        self._code("cll1_expression", day, "positive", value=positive)
        self._code("aml_status", day, self._random.choice(("relapsed", "primary_refractory")))
        for virus in ("hiv", "hbv", "hcv"):
            self._code(virus, day, "negative")

    def _visit(self, day: int) -> None:
        pounds = self.site in CONVENTIONAL_UNITS
        weight = f"{self._weight * 2.2046:.1f}" if pounds else f"{self._weight}.0"
        self._measure("weight", day, weight, "[lb_av]" if pounds else "kg")
        self._measure("ecog", day, self._whole(0, 1), "1")
        self._measure("life_expectancy", day, self._whole(16, 40), "wk")
        self._measure("nyha_class", day, self._whole(0, 1), "1")
        self._measure("spo2", day, self._whole(95, 99), "%")
        for topic in items().topics:
            if topic in WOMEN_ONLY and self.sex == "male":
                continue
            answer = "yes" if topic == "childbearing_potential" and self._may_bear_children else "no"
            attested = {"topic": topic, "answer": answer, "on": self.on(day)}
            self._add(topic, day, 15, "attested", attested)
        usual = self._usual_history()
        for history in items().histories:
            listed = {"history": history, "on": self.on(day), "entries": usual.get(history, [])}
            self._add(history, day, 16, "history_listed", listed)

    def _usual_history(self) -> dict[str, list[dict[str, Any]]]:
        """Make the lines that an eligible participant with relapsed or refractory AML has."""
        azacitidine = {"agent": "Azacitidine", "half_life_hours": 4, "last": self._days_ago(25, 60)}
        venetoclax = {"agent": "Venetoclax", "half_life_hours": 26, "last": self._days_ago(16, 30)}
        hydroxyurea = {"agent": "Hydroxyurea", "half_life_hours": 4, "last": self._days_ago(9, 12)}
        therapies = [azacitidine, venetoclax, hydroxyurea][: self._random.randint(1, 3)]
        influenza = {"agent": "Influenza vaccine", "last": self._days_ago(60, 150)}
        biopsy = {"agent": "Bone marrow biopsy", "exempt": "diagnostic_biopsy", "last": self._days_ago(10, 20)}
        alopecia = {"term": "Alopecia", "grade": 1, "from_prior_therapy": "yes"}
        return {
            "antitumour_therapy": therapies,
            "vaccination": [influenza] if self._random.random() < 0.3 else [],
            "surgery": [biopsy] if self._random.random() < 0.4 else [],
            "toxicity": [alopecia] if self._random.random() < 0.5 else [],
        }

    def _conclude(self, day: int) -> None:
        statement = "Nothing that would interfere with the study or add risk."
        judged = {"interferes": False, "statement": statement, "on": self.on(day)}
        self._add("judged", day, 14, "judged", judged, role="investigator")
        self._add("infusion_planned", day, 15, "infusion_planned", {"first": self.on(INFUSION_DAY)})
        self._add("completed", day, 16, "completed", {"on": self.on(day)})

    # Small parts ------------------------------------------------------------------------------------------

    @property
    def _may_bear_children(self) -> bool:
        return self.sex == "female" and self._age < 50

    def _measure(
        self,
        item: str,
        day: int,
        value: str,
        unit: str,
        *,
        limits: tuple[str, str] | None = None,
        qualifier: str | None = None,
    ) -> None:
        data: dict[str, Any] = {"item": item, "collected": self._morning(day), "value": Decimal(value)}
        data["unit"] = unit
        if limits is not None:
            data["reference"] = {"low": Decimal(limits[0]), "high": Decimal(limits[1])}
        if qualifier is not None:
            data["qualifier"] = qualifier
        self._add(qualifier or item if item == "dsa_mfi" else item, day, 14, "observed", data)

    def _code(self, item: str, day: int, result: str, **data: Any) -> None:
        observed = {"item": item, "collected": self._morning(day), "result": result} | data
        self._add(item, day, 14, "observed", observed)

    def _add(
        self, name: str, day: int, at: int, verb: str, data: dict[str, Any], *, role: Role | None = None
    ) -> None:
        self._steps.append(_Step(name, self._moment(day, at), verb, data, role))

    def _moment(self, day: int, at: int) -> datetime:
        """Give the next free minute of that hour: a site posts one event after the other."""
        minute = self._posted[day, at]
        self._posted[day, at] += 1
        when = self.start + timedelta(days=day)
        return datetime(when.year, when.month, when.day, at, minute, tzinfo=LOCAL)

    def _step(self, name: str) -> _Step:
        return next(step for step in self._steps if step.name == name)

    def _draft(self, step: _Step) -> Draft:
        return Draft(
            source=f"site/{self.site}",
            type=step.verb if "." in step.verb else f"screening.{step.verb}",
            subject=self.code,
            time=step.at.isoformat(),
            data=step.data,
            role=step.role,
            id=step.id,
        )

    def _morning(self, day: int) -> str:
        """Give the time of the day's collection: one needle, one time for the whole panel."""
        minute = self._collected.setdefault(day, self._random.randint(0, 59))
        return f"{self.on(day)}T08:{minute:02d}"

    def _days_ago(self, least: int, most: int) -> str:
        """Give a date so many days before the planned infusion."""
        return self.before_infusion(self._random.randint(least, most))

    def _whole(self, least: int, most: int) -> str:
        return str(self._random.randint(least, most))
