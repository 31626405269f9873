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
from typing import Any, Final
from uuid import UUID, uuid5

from services.cli.study_acts import Act, Damage, Post, PostBroken, RequestEnrolment, SignEligibility
from shared.drafts import Draft
from shared.events import Role
from shared.protocol.items import items

LOCAL: Final = timezone(timedelta(hours=8))
STUDY_END: Final = date(2026, 10, 30)
INFUSION_DAY: Final = 10
LOCI: Final = ("HLA-A", "HLA-B", "HLA-C", "HLA-DRB1", "HLA-DQB1")
WOMEN_ONLY: Final = frozenset({"childbearing_potential", "pregnant", "breastfeeding"})
CONVENTIONAL_UNITS: Final = frozenset({"102"})
_IDS: Final = UUID("6a0f4c52-7d0e-5b37-9d53-2f0c7f1f6027")  # the namespace of the ids that corrections name


@dataclass(slots=True)
class _Step:
    name: str
    at: datetime
    verb: str
    data: dict[str, Any]
    role: Role | None = None
    id: str | None = None
    source: str | None = None  # the participant's site where none is given


class Course:
    """A participant's course. ``day`` always counts from the first day of screening; ``at`` is the hour.

    ``infusion`` is the day planned for the first one, ``given`` the dose level it was given at, if it was. After
    ``until`` nothing is posted any more.
    """

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
        self._asks: tuple[int, ...] = ()
        self.infusion = INFUSION_DAY
        self.given: str | None = None
        self.until = STUDY_END
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
        right = wrong.data | data | {"corrects": self._named(wrong), "reason": why}
        self.add(f"{name}, corrected", day, 9, wrong.verb, right, role=wrong.role, source=wrong.source)

    def retract(self, name: str, day: int, why: str) -> None:
        """Take back, some days later, what was stated about safety under this name."""
        taken_back = {"corrects": self._named(self._step(name)), "reason": why}
        self.add(f"{name}, retracted", day, 9, "safety.retracted", taken_back)

    def plan(self, day: int, infusion: int) -> None:
        """Plan the first infusion for another day than before."""
        self.infusion = infusion
        self.add("infusion planned again", day, 14, "infusion_planned", {"first": self.on(infusion)})

    def sign(self, day: int) -> None:
        """Have the investigator sign."""
        self._acts.append((self._moment(day, 10), SignEligibility(self.code, self.site)))

    def request(self, day: int, dose_level: str) -> None:
        """Ask for a place."""
        self._acts.append((self._moment(day, 11), RequestEnrolment(self.code, self.site, dose_level)))

    def ask(self, *days: int) -> None:
        """Have the investigator sign and the site ask for a place on these days, of which the last must do."""
        self._asks = days

    def infuse(self, dose_level: str) -> None:
        """Infuse the study drug on the planned day."""
        self.given = dose_level
        given = f"{self.on(self.infusion)}T14:{self._random.randint(10, 50)}"
        data = {"at": given, "dose_level": dose_level, "number": 1}
        self.add("infused", self.infusion, 15, "treatment.infused", data)

    def treat(self, dose_level: str) -> None:
        """Go the straight way: signature and place three days before the infusion, then the infusion."""
        for day in self._asks or (self.infusion - 3,):
            self.sign(day)
            self.request(day, dose_level)
        self.infuse(dose_level)

    def close(self, day: int, why: str) -> None:
        """Close the participant as a screen failure."""
        self.add("screen failed", day, 16, "screen_failed", {"on": self.on(day), "why": why})

    def withdraw(self, day: int, why: str) -> None:
        """Let the participant withdraw."""
        self.add("withdrawn", day, 16, "withdrawn", {"on": self.on(day), "why": why})

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

    def newest(self, item: str) -> dict[str, Any]:
        """Give what was measured last, and stands, of an item."""
        return next(step.data for step in reversed(self._steps) if step.data.get("item") == item)

    def names(self) -> frozenset[str]:
        """Give the names of everything that is recorded."""
        return frozenset(step.name for step in self._steps)

    def acts(self) -> list[tuple[datetime, Act]]:
        """List everything that happens ``until`` the participant or the study ends, in order of local time."""
        posted: list[tuple[datetime, Act]] = [(step.at, Post(self._draft(step))) for step in self._steps]
        timed = [one for one in posted + self._acts if one[0].date() <= self.until]
        return sorted(timed, key=lambda one: one[0])

    # The ordinary week ------------------------------------------------------------------------------------

    def _enter(self) -> None:
        born = self.start - timedelta(days=self._age * 365 + self._age // 4 + self._random.randint(20, 300))
        self.add("registered", 0, 9, "registered", {"sex": self.sex, "birth_date": born.isoformat()})
        consent = {"form_version": "ICF 2.1 (synthetic)", "signed": f"{self.on(0)}T09:10"}
        self.add("consented", 0, 10, "consented", consent)
        self.add("started", 0, 11, "started", {"on": f"{self.on(0)}T10:40"})

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
            self.add(topic, day, 15, "attested", attested)
        usual = self._usual_history()
        for history in items().histories:
            listed = {"history": history, "on": self.on(day), "entries": usual.get(history, [])}
            self.add(history, day, 16, "history_listed", listed)

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
        self.add("judged", day, 14, "judged", judged, role="investigator")
        self.add("infusion_planned", day, 15, "infusion_planned", {"first": self.on(INFUSION_DAY)})
        self.add("completed", day, 16, "completed", {"on": self.on(day)})

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
        self.add(qualifier or item if item == "dsa_mfi" else item, day, 14, "observed", data)

    def _code(self, item: str, day: int, result: str, **data: Any) -> None:
        observed = {"item": item, "collected": self._morning(day), "result": result} | data
        self.add(item, day, 14, "observed", observed)

    def add(
        self,
        name: str,
        day: int,
        at: int,
        verb: str,
        data: dict[str, Any],
        *,
        role: Role | None = None,
        source: str | None = None,
    ) -> None:
        """Record an event; ``verb`` is a whole type where it is none of screening's."""
        self._steps.append(_Step(name, self._moment(day, at), verb, data, role, source=source))

    def _named(self, step: _Step) -> str:
        """Give an event an id, so that another can name it."""
        step.id = step.id or str(uuid5(_IDS, f"{self._seed}/{self.code}/{step.name}"))
        return step.id

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
            source=step.source or f"site/{self.site}",
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
