"""From a participant's records to a sealed-ready eligibility decision, and whether it differs from the last."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.screening.participant import JudgedOn, LastDecision, Participant, cited, judged_on, local_day
from services.screening.rules import Assessment, Reference, assess
from shared.envelope import MAX_EVENT_BYTES, write_json
from shared.events.decisions import Basis, Cited, CriterionVerdict, Decided
from shared.protocol.model import Protocol

ENGINE: Final = "screening/1"
"""Raise it with any change that alters any recorded decision, and say so in the changelog."""

# A basis whose day is somebody's statement. The others follow the calendar, and a new day alone is no news.
_FIXED: Final = frozenset({"actual", "planned", "retrospective"})


# How much of each criterion a decision tells: (lines, characters a line, entries cited); the first that fits.
_SHORTENINGS: Final = ((12, 2000, 200), (12, 300, 20), (3, 160, 5), (1, 100, 1))
_MOST_BYTES: Final = MAX_EVENT_BYTES - 2000


@dataclass(frozen=True, slots=True)
class Rules:
    """A protocol version as decisions cite it."""

    protocol: Protocol
    digest: str


@dataclass(frozen=True, slots=True)
class Assessed:
    """A participant as judged now: the decision's content, and what it takes to recognise it again."""

    content: Assessment
    reference: Reference
    basis: Basis
    evidence: list[Cited]
    apart: frozenset[int]  # evidence that belongs to no criterion: of the day that counts, and of a closing
    fingerprint: str

    @property
    def verdicts(self) -> dict[str, str]:
        """Verdict by criterion."""
        return {row.id: row.verdict for row in self.content.criteria}


def criteria_hold(verdicts: Mapping[str, str]) -> bool:
    """Whether the criteria alone make eligible, whether or not the participant was closed since."""
    return all(verdict == ("met" if name[0] == "I" else "not_met") for name, verdict in verdicts.items())


def assess_participant(participant: Participant, rules: Rules, sealed_at: str) -> Assessed:
    """Judge a participant by what is live, on the day that counts as of ``sealed_at``."""
    return _assess(participant, rules, judged_on(participant, sealed_at, rules.protocol.zone(participant.source)))


def assess_for_enrolment(participant: Participant, rules: Rules, sealed_at: str) -> Assessed:
    """Judge a participant for an infusion that can be no earlier than today."""
    zone = rules.protocol.zone(participant.source)
    on = judged_on(participant, sealed_at, zone)
    today = local_day(sealed_at, zone)
    if on.reference.day < today:
        last = max(today, on.reference.last_planned or today)
        reference = Reference(day=today, instant=None, zone=zone, last_planned=last)
        on = replace(on, reference=reference, basis="today")
    return _assess(participant, rules, on)


def _assess(participant: Participant, rules: Rules, on: JudgedOn) -> Assessed:
    records, reference, basis = participant.live(), on.reference, on.basis
    content = assess(rules.protocol, records, reference)
    closed = participant.closed()
    if closed:
        content = Assessment("ineligible", content.criteria, [*content.failed, *closed], [], None)
    apart = frozenset(record.index for record in closed.values())
    if on.record is not None:
        apart |= {on.record}
    used = [*(index for row in content.criteria for index in row.evidence), *apart]
    evidence = [Cited(index=index, leaf=leaf) for index, leaf in cited(records, used)]
    essence = [
        content.standing,
        content.failed,
        basis,
        sorted(apart),
        reference.day.isoformat() if basis in _FIXED else None,
        [
            [row.id, row.verdict, row.evidence, [[gap.item, gap.why] for gap in row.gaps]]
            for row in content.criteria
        ],
        rules.digest,
    ]
    fingerprint = hashlib.sha256(write_json(essence)).hexdigest()
    return Assessed(content, reference, basis, evidence, apart, fingerprint)


def decided(assessed: Assessed, last: LastDecision | None, cause: Cited, rules: Rules) -> Decided:
    """The decision event's data, shortened where a source has recorded more than one event can hold."""
    content = assessed.content
    before = last.verdicts if last is not None else {}
    changed = [
        f"{name}: {before[name]} -> {verdict}"
        for name, verdict in assessed.verdicts.items()
        if name in before and before[name] != verdict
    ]
    if last is not None and last.standing != content.standing:
        changed.insert(0, f"standing: {last.standing} -> {content.standing}")
    for most, width, citations in _SHORTENINGS:
        criteria = [_shortened(row, most, width, citations) for row in content.criteria]
        cited_ones = {index for row in criteria for index in row.evidence} | assessed.apart
        data = Decided(
            cause=cause,
            engine=ENGINE,
            protocol=rules.protocol.version,
            protocol_digest=rules.digest,
            standing=content.standing,
            judged_on=assessed.reference.day.isoformat(),
            basis=assessed.basis,
            criteria=criteria,
            failed=content.failed,
            blockers=content.blockers,
            evidence=[one for one in assessed.evidence if one.index in cited_ones],
            stale_after=None if content.stale_after is None else content.stale_after.isoformat(),
            changed=changed,
            supersedes=None if last is None else last.entry,
        )
        if len(data.model_dump_json()) <= _MOST_BYTES:
            break
    return data


def _shortened(row: CriterionVerdict, most: int, width: int, citations: int) -> CriterionVerdict:
    lines = [line if len(line) <= width else line[: width - 3] + "..." for line in row.arithmetic[:most]]
    if len(row.arithmetic) > most:
        lines.append(f"and {len(row.arithmetic) - most} more")
    return row.model_copy(update={"arithmetic": lines, "evidence": row.evidence[-citations:]})


def time_matters(participant: Participant, rules: Rules, now: str) -> bool:
    """Whether the day that counts has moved since the last decision; nothing else depends on time."""
    last = participant.decision
    if last is None:
        return False
    on = judged_on(participant, now, rules.protocol.zone(participant.source))
    return (last.judged_on, last.basis) != (on.reference.day.isoformat(), on.basis)
