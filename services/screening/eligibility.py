"""From a participant's records to a sealed-ready eligibility decision, and whether it differs from the last."""

import hashlib
from dataclasses import dataclass
from typing import Final

from services.screening.participant import LastDecision, Participant, cited, judged_on, local_day
from services.screening.rules import Assessment, Reference, assess
from shared.envelope import write_json
from shared.events.decisions import Basis, Cited, Decided
from shared.protocol.model import Protocol
from shared.words import LogIndex

ENGINE: Final = "screening/1"
"""Raise it with any change that alters any recorded decision, and say so in the changelog."""

WITHDRAWN: Final = "withdrawn"
# A basis whose day is somebody's statement. The others follow the calendar, and a new day alone is no news.
_FIXED: Final = frozenset({"actual", "planned", "retrospective"})


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
    fingerprint: str

    @property
    def verdicts(self) -> dict[str, str]:
        """Verdict by criterion."""
        return {row.id: row.verdict for row in self.content.criteria}


def assess_participant(participant: Participant, rules: Rules, sealed_at: str) -> Assessed:
    """Judge a participant by what is live, on the day that counts as of ``sealed_at``."""
    reference, basis = judged_on(participant, sealed_at, rules.protocol.zone(participant.source))
    return _assess(participant, rules, reference, basis)


def assess_for_enrolment(participant: Participant, rules: Rules, sealed_at: str) -> Assessed:
    """Judge a participant for an infusion that can be no earlier than today."""
    zone = rules.protocol.zone(participant.source)
    reference, basis = judged_on(participant, sealed_at, zone)
    today = local_day(sealed_at, zone)
    if reference.day < today:
        reference = Reference(day=today, instant=None, zone=zone, last_planned=reference.last_planned)
        basis = "today"
    return _assess(participant, rules, reference, basis)


def _assess(participant: Participant, rules: Rules, reference: Reference, basis: Basis) -> Assessed:
    records = participant.live()
    content = assess(rules.protocol, records, reference)
    withdrawn = participant.newest("screening.withdrawn")
    used = [index for row in content.criteria for index in row.evidence]
    if withdrawn is not None:
        content = Assessment("ineligible", content.criteria, [*content.failed, WITHDRAWN], [], None)
        used.append(LogIndex(withdrawn.index))
    evidence = [Cited(index=index, leaf=leaf) for index, leaf in cited(records, used)]
    essence = [
        content.standing,
        content.failed,
        basis,
        reference.day.isoformat() if basis in _FIXED else None,
        [
            [row.id, row.verdict, row.evidence, [[gap.item, gap.why] for gap in row.gaps]]
            for row in content.criteria
        ],
        rules.digest,
    ]
    fingerprint = hashlib.sha256(write_json(essence)).hexdigest()
    return Assessed(content, reference, basis, evidence, fingerprint)


def decided(assessed: Assessed, last: LastDecision | None, cause: Cited, rules: Rules) -> Decided:
    """The decision event's data."""
    content = assessed.content
    before = last.verdicts if last is not None else {}
    changed = [
        f"{name}: {before[name]} -> {verdict}"
        for name, verdict in assessed.verdicts.items()
        if name in before and before[name] != verdict
    ]
    if last is not None and last.standing != content.standing:
        changed.insert(0, f"standing: {last.standing} -> {content.standing}")
    return Decided(
        cause=cause,
        engine=ENGINE,
        protocol=rules.protocol.version,
        protocol_digest=rules.digest,
        standing=content.standing,
        judged_on=assessed.reference.day.isoformat(),
        basis=assessed.basis,
        criteria=content.criteria,
        failed=content.failed,
        blockers=content.blockers,
        evidence=assessed.evidence,
        stale_after=None if content.stale_after is None else content.stale_after.isoformat(),
        changed=changed,
        supersedes=None if last is None else last.entry,
    )


def time_matters(participant: Participant, rules: Rules, now: str) -> bool:
    """Whether the day that counts has moved since the last decision; nothing else depends on time."""
    last = participant.decision
    if last is None:
        return False
    reference, basis = judged_on(participant, now, rules.protocol.zone(participant.source))
    return (last.judged_on, last.basis) != (reference.day.isoformat(), basis)
