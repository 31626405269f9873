"""What an adverse event counts as: treatment-emergent, serious, related, expected, and so whether it is a SUSAR.

Definitions of ICH E2A (seriousness, causality, expectedness) and 21 CFR 312.32(a); of two views the more
conservative counts, and what nobody has said counts as the worse.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal
from zoneinfo import ZoneInfo

from services.safety.adverse_events import AdverseEvent, View
from services.safety.emergence import Emergent, emergent
from services.safety.participant import StoredStatement
from services.safety.trial import Answer, Rules, cite
from shared.events.safety import ListedReaction, ReferenceAdopted
from shared.moments import Span

_NOT_EXPOSED: Final = Emergent(
    counts=False, certain=True, arithmetic=("nothing of the study treatment was given yet",)
)


@dataclass(frozen=True, slots=True)
class Classified:
    """An adverse event with everything it counts as."""

    event: AdverseEvent
    emergent: Emergent
    related: bool
    expected: Literal["yes", "no", "unknown"]
    susar: bool
    answer: Answer


def classify(
    event: AdverseEvent, exposure: tuple[StoredStatement, Span] | None, rules: Rules, zone: ZoneInfo
) -> Classified:
    """Classify one adverse event of a participant whose first exposure is given (None: not exposed)."""
    plan = rules.plan
    counted = _NOT_EXPOSED if exposure is None else emergent(event, exposure[1], plan.emergence, zone)
    related = event.related(plan.related_from)
    reference = _in_force(event, rules, zone)
    expected, because = _expected(event, reference)
    after = exposure is not None and (event.onset is None or event.onset.end > exposure[1].first)
    susar = event.serious and related and expected != "yes" and after
    lines = [*counted.arithmetic, *_seriousness(event), *_causality(event, related, plan.related_from), because]
    if susar:
        lines.append("serious, suspected to be caused by the study treatment, and not expected: a SUSAR")
    basis = [] if exposure is None else [exposure[0]]
    version = None if reference is None else reference[1].version
    content = {
        "ae": event.ae,
        "term": event.name,
        "emergent": counted.counts,
        "certain": counted.certain,
        "grade": None if event.by_severity else event.grade,
        "serious": event.serious,
        "related": related,
        "fatal_or_life_threatening": event.fatal_or_life_threatening,
        "expected": expected,
        "reference_version": version,
        "susar": susar,
        "investigator": _view(event.investigator),
        "sponsor": _view(event.sponsor),
    }
    evidence = cite(*event.statements, *basis, *([] if reference is None else [reference[0]]))
    answer = Answer(f"event {event.ae}", "safety.event_classified", content, lines, evidence, label=event.name)
    return Classified(event, counted, related, expected, susar, answer)


def _view(view: View) -> dict[str, object]:
    serious = None if view.serious is None else list(view.serious)
    return {name: told for name, told in (("causality", view.causality), ("serious", serious)) if told is not None}


def _in_force(event: AdverseEvent, rules: Rules, zone: ZoneInfo) -> tuple[StoredStatement, ReferenceAdopted] | None:
    """The reference safety information in force when the event began; unknown onset: the earliest there is."""
    known = [(record, record.said) for record in rules.references]
    adopted = [(record, data) for record, data in known if isinstance(data, ReferenceAdopted)]
    adopted.sort(key=lambda one: (one[1].effective, one[0].index))
    if event.onset is None:
        return adopted[0] if adopted else None
    day = event.onset.days(zone)[0]
    effective = [one for one in adopted if date.fromisoformat(one[1].effective) <= day]
    return effective[-1] if effective else None


def _expected(
    event: AdverseEvent, reference: tuple[StoredStatement, ReferenceAdopted] | None
) -> tuple[Literal["yes", "no", "unknown"], str]:
    if event.sponsor_expected == "no":
        return "no", "the sponsor says that it is not expected"
    if reference is None:
        return "unknown", "no reference safety information was in force: whether it is expected is not known"
    version = reference[1].version
    listed = next((one for one in reference[1].reactions if one.preferred_term.casefold() in event.names), None)
    if listed is None:
        return "no", f"{event.name} is not in the reference safety information {version}: not expected"
    return _listed(event, listed, version)


def _listed(event: AdverseEvent, listed: ListedReaction, version: str) -> tuple[Literal["yes", "no"], str]:
    where = f"the reference safety information {version}"
    if event.fatal and not listed.fatal:
        return "no", f"{event.name} is in {where}, but not as fatal: not expected"
    if listed.most_grade is not None:
        if event.grade is None or event.by_severity:
            return "no", f"{where} expects {event.name} up to grade {listed.most_grade}; its grade is not known"
        if event.grade > listed.most_grade:
            return "no", f"grade {event.grade} is more than the grade {listed.most_grade} that {where} expects"
    return "yes", f"{event.name} is in {where}: expected"


def _seriousness(event: AdverseEvent) -> list[str]:
    if event.serious:
        return ["serious: " + ", ".join(name.replace("_", " ") for name in sorted(event.criteria))]
    if event.investigator.serious is None and event.sponsor.serious is None:
        return ["nobody has said whether it is serious"]
    return ["not serious"]


def _causality(event: AdverseEvent, related: bool, limit: str) -> list[str]:  # noqa: FBT001 - a verdict, told
    views = [
        f"{who}: {view.causality.replace('_', ' ')}"
        for who, view in (("investigator", event.investigator), ("sponsor", event.sponsor))
        if view.causality is not None
    ]
    if not views:
        return ["nobody has said whether it is related: it counts as related until somebody does"]
    return [f"{'; '.join(views)}: {'related' if related else 'not related'} (from {limit} on)"]
