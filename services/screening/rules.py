"""The trial's criteria judged over a participant's evidence: what comes in, each rule, what goes out.

Pure: the same protocol, live records and reference give the same assessment, in whatever order the records come.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from services.screening import measures, persons, windows
from services.screening.evidence import Case, Record, Reference
from services.screening.findings import Finding, conjunction, disjunction, last, soonest
from shared.events.decisions import Blocker, CriterionVerdict, Gap, Standing, Verdict
from shared.protocol import rule_kinds as kinds
from shared.protocol.model import Criterion, Protocol, SubCriterion

__all__ = ["Assessment", "Record", "Reference", "assess"]

# A decision is one event of bounded size, whatever a site lists; what decided comes first and stays.
_MOST_LINES = 12
_MOST_EVIDENCE = 200
_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class Assessment:
    """A participant's standing against a reference, criterion by criterion.

    ``criteria`` are in protocol order, a criterion before its items. ``failed`` names what makes the
    participant ineligible, by item where there are items. ``stale_after`` is the last day on which the
    standing rests on fresh evidence; None when it never goes stale, or nothing is decided.
    """

    standing: Standing
    criteria: list[CriterionVerdict]
    failed: list[str]
    blockers: list[Blocker]
    stale_after: date | None


@dataclass(frozen=True, slots=True)
class _Row:
    """A criterion or item with what was found; ``top`` is the criterion it belongs to."""

    row: Criterion | SubCriterion
    top: str
    finding: Finding

    @property
    def fails(self) -> bool:
        """Whether this alone makes the participant ineligible."""
        return self.finding.truth is (self.row.id[0] == "E")


def assess(protocol: Protocol, records: Sequence[Record], reference: Reference) -> Assessment:
    """Judge every criterion over the live records (what was corrected or retracted is already gone)."""
    case = Case(protocol, records, reference)
    rows = [row for criterion in protocol.criteria for row in _judge_criterion(criterion, case)]
    tops = [row for row in rows if row.row.id == row.top]
    leaves = [row for row in rows if not (isinstance(row.row, Criterion) and row.row.items)]
    failing = [row for row in leaves if row.fails]
    standing: Standing = "undetermined"
    stale_after = None
    if failing:
        standing = "ineligible"
        stale_after = last([row.finding.fresh_until for row in failing])
    elif all(row.finding.truth is not None for row in tops):
        standing = "eligible"
        stale_after = soonest(row.finding.fresh_until for row in tops)
    return Assessment(
        standing,
        [_verdict(row) for row in rows],
        [row.row.id for row in failing],
        _blockers(leaves) if standing == "undetermined" else [],
        stale_after,
    )


def judge(rule: kinds.Rule, case: Case) -> Finding:
    """Find whether a rule's statement is true of the participant."""
    return _JUDGES[type(rule)](rule, case)


def _all_of(rule: kinds.AllOf, case: Case) -> Finding:
    return conjunction(judge(part, case) for part in rule.parts)


def _any_of(rule: kinds.AnyOf, case: Case) -> Finding:
    return disjunction(judge(part, case) for part in rule.parts)


def _only_if(rule: kinds.OnlyIf, case: Case) -> Finding:
    condition = judge(rule.condition, case)
    if condition.truth is None:
        return condition
    if condition.truth is False:
        return replace(condition, truth=True, lines=(*condition.lines, "not applicable"))
    # The outcome rests on the condition as well, whichever way it goes.
    then = judge(rule.then, case)
    return replace(
        then,
        lines=then.lines + condition.lines,
        evidence=condition.evidence | then.evidence,
        fresh_until=None if then.truth is None else soonest((condition.fresh_until, then.fresh_until)),
    )


_JUDGES: Mapping[type[kinds.Part], Callable[[Any, Case], Finding]] = {
    kinds.AgeAtConsent: persons.age_at_consent,
    kinds.ConsentedFirst: persons.consented_first,
    kinds.Sex: persons.sex,
    kinds.Coded: measures.coded,
    kinds.Measured: measures.measured,
    kinds.TimesUln: measures.times_uln,
    kinds.CreatinineClearance: measures.creatinine_clearance,
    kinds.Attested: measures.attested,
    kinds.Judged: measures.judged,
    kinds.AttestedWithin: windows.attested_within,
    kinds.TreatedWithin: windows.treated_within,
    kinds.Washout: windows.washout,
    kinds.Vaccinated: windows.vaccinated,
    kinds.OtherMalignancy: windows.other_malignancy,
    kinds.ResidualToxicity: windows.residual_toxicity,
    kinds.AllOf: _all_of,
    kinds.AnyOf: _any_of,
    kinds.OnlyIf: _only_if,
}


def _judge_criterion(criterion: Criterion, case: Case) -> list[_Row]:
    if criterion.rule is not None:
        return [_Row(criterion, criterion.id, judge(criterion.rule, case))]
    items = [_Row(item, criterion.id, judge(item.rule, case)) for item in criterion.items]
    join = conjunction if criterion.id[0] == "I" else disjunction
    joined = join(item.finding for item in items)
    summary = ", ".join(f"{item.row.id} {_word(item.finding)}" for item in items)
    return [_Row(criterion, criterion.id, replace(joined, lines=(summary,))), *items]


def _word(finding: Finding) -> Verdict:
    return "undetermined" if finding.truth is None else "met" if finding.truth else "not_met"


def _verdict(row: _Row) -> CriterionVerdict:
    finding = row.finding
    lines = list(dict.fromkeys(line[:_LONGEST_LINE] for line in finding.lines))
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], f"and {len(lines) - _MOST_LINES + 1} more"]
    until = finding.fresh_until
    return CriterionVerdict(
        id=row.row.id,
        verdict=_word(finding),
        arithmetic=lines,
        evidence=sorted(finding.evidence)[-_MOST_EVIDENCE:],
        assumptions=list(row.row.assumptions),
        stale_after=until.isoformat() if until else None,
        gaps=_distinct(finding.gaps),
    )


def _distinct(gaps: Iterable[Gap]) -> list[Gap]:
    """One gap for each item and reason, the first: a list of a hundred loose dates is one thing to mend."""
    found: dict[tuple[str, str], Gap] = {}
    for gap in gaps:
        found.setdefault((gap.item, gap.why), gap)
    return list(found.values())


def _blockers(leaves: Sequence[_Row]) -> list[Blocker]:
    """What to send next: what blocks most criteria first, then in protocol order."""
    found: dict[tuple[str, str], tuple[Gap, list[_Row]]] = {}
    for row in leaves:
        for gap in _distinct(row.finding.gaps):
            found.setdefault((gap.item, gap.why), (gap, []))[1].append(row)
    ranked = sorted(found.values(), key=lambda entry: -len({row.top for row in entry[1]}))
    return [
        Blocker(item=gap.item, why=gap.why, detail=gap.detail, criteria=[row.row.id for row in rows])
        for gap, rows in ranked
    ]
