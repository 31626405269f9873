"""A participant who meets every criterion of NCT06027853, to change one thing at a time."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from importlib.resources import files
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from services.screening.evidence import Record, Reference
from services.screening.rules import Assessment, assess
from shared.events import CATALOGUE, short_type
from shared.events.decisions import CriterionVerdict
from shared.events.screening import (
    Age,
    Attested,
    Consented,
    HistoryEntry,
    HistoryListed,
    Judged,
    Observed,
    ReferenceRange,
    Registered,
    Started,
)
from shared.protocol.items import items
from shared.protocol.model import load_protocol
from shared.words import LogIndex

DOCUMENT = files("shared.protocol").joinpath("nct06027853.yaml").read_text("utf-8")
PROTOCOL = load_protocol(DOCUMENT)
ZONE = ZoneInfo(PROTOCOL.timezone)
DAY = date(2026, 3, 4)
FRESH = (DAY - timedelta(days=7)).isoformat()

Study = dict[str, list[Any]]
"""What has been said about a participant, by item, topic or history; persons' facts by their event's verb."""

_TYPES = {row.model: short_type(name) for name, row in CATALOGUE.items()}


def ago(days: int, day: date = DAY) -> str:
    """The date so many days before the reference day (after it when negative)."""
    return (day - timedelta(days=days)).isoformat()


def observed(item: str, value: str, unit: str | None = None, *, on: str, **more: Any) -> Observed:
    """A quantity (``high`` is the upper limit of normal) or, where the item is coded, a result."""
    high = more.pop("high", None)
    if item in items().codes:
        return Observed(item=item, collected=on, result=value, **more)
    if high is not None:
        more["reference"] = ReferenceRange(high=Decimal(high))
    return Observed(item=item, collected=on, value=Decimal(value), unit=unit, **more)


def attested(topic: str, answer: str, *, on: str, occurred: tuple[str, ...] = ()) -> Attested:
    """An answered question."""
    return Attested.model_validate({"topic": topic, "answer": answer, "on": on, "occurred": list(occurred)})


def listed(history: str, *entries: Mapping[str, Any], on: str) -> HistoryListed:
    """A history as of a day; without entries: none."""
    return HistoryListed(
        history=history, on=on, entries=[HistoryEntry.model_validate(dict(entry)) for entry in entries]
    )


def eligible(day: date = DAY) -> Study:
    """A woman of 43 of whom everything that any criterion asks is known, and well."""
    recent, earlier = ago(7, day), ago(20, day)
    study: Study = {
        "registered": [Registered(sex="female", birth_date=date(day.year - 44, 8, 17).isoformat())],
        "consented": [Consented(form_version="2.1", signed=ago(22, day))],
        "started": [Started(on=ago(21, day))],
        "judged": [Judged(interferes=False, statement="Nothing speaks against it.", on=recent)],
    }
    for item, value, unit, high in (
        ("creatinine", "0.9", "mg/dL", "1.2"),
        ("bilirubin", "0.8", "mg/dL", "1.2"),
        ("alt", "30", "U/L", "40"),
        ("ast", "28", "U/L", "40"),
        ("inr", "1.0", "{INR}", "1.2"),
        ("aptt", "30", "s", "37"),
        ("dsa_mfi", "300", "{MFI}", None),
        ("weight", "62", "kg", None),
        ("ecog", "1", "{score}", None),
        ("life_expectancy", "26", "wk", None),
        ("nyha_class", "1", "{class}", None),
        ("spo2", "97", "%", None),
    ):
        study[item] = [observed(item, value, unit, on=recent, high=high)]
    for item, value, unit in (("lvef", "60", "%"), ("qtc", "430", "ms")):
        study[item] = [observed(item, value, unit, on=earlier)]
    study["serum_hcg"] = [observed("serum_hcg", "negative", on=recent)]
    study["aml_status"] = [observed("aml_status", "relapsed", on=ago(60, day))]
    study["cll1_expression"] = [
        Observed(item="cll1_expression", collected=earlier, result="positive", value=Decimal("83.5"))
    ]
    for virus in ("hiv", "hbv", "hcv"):
        study[virus] = [observed(virus, "negative", on=earlier)]
    for topic in items().topics:
        answer = "yes" if topic == "childbearing_potential" else "no"
        study[topic] = [attested(topic, answer, on=recent)]
    for history in items().histories:
        study[history] = [listed(history, on=recent)]
    return study


def sealed(study: Study) -> list[Record]:
    """The study's statements as records of a log, in the order given."""
    said = [data for statements in study.values() for data in statements]
    return [
        Record(LogIndex(at), sha256(str(at).encode()).hexdigest(), str(UUID(int=at)), _TYPES[type(data)], data)
        for at, data in enumerate(said, start=100)
    ]


def eligible_records(reference_day: date = DAY) -> list[Record]:
    """The records of an eligible participant."""
    return sealed(eligible(reference_day))


def reference(day: date = DAY, **more: Any) -> Reference:
    """A planned first infusion on a day, at the site of the trial."""
    return Reference(day, more.get("instant"), ZONE, more.get("last_planned"))


def assessed(study: Study, against: Reference | None = None) -> Assessment:
    """The assessment of a study."""
    return assess(PROTOCOL, sealed(study), against or reference())


def verdict(study: Study, criterion: str, against: Reference | None = None) -> CriterionVerdict:
    """One criterion's verdict."""
    return next(row for row in assessed(study, against).criteria if row.id == criterion)


def changed(criterion: str, change: Study) -> CriterionVerdict:
    """The verdict on a criterion when something about the eligible participant is said otherwise."""
    return verdict(eligible() | change, criterion)


def value(item: str, number: str, unit: str | None = None, *, on: str = FRESH, **more: Any) -> Study:
    return {item: [observed(item, number, unit, on=on, **more)]}


def answer(topic: str, said: str, on: str = FRESH) -> Study:
    return {topic: [attested(topic, said, on=on)]}


def person(sex: str = "female", birth: str | None = "1981-08-17", age: Age | None = None) -> Study:
    return {"registered": [Registered.model_validate({"sex": sex, "birth_date": birth, "age": age})]}


def consent(signed: str, started: str) -> Study:
    return {"consented": [Consented(form_version="2.1", signed=signed)], "started": [Started(on=started)]}
