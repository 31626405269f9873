"""What the safety service knows of the trial as a whole, and how its decisions name cause and rules."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.safety.adverse_events import Statement
from services.safety.participant import Issued, StoredStatement
from shared.decider import DecisionDraft, SealedEvent
from shared.envelope import MAX_EVENT_BYTES, TYPE_PREFIX, write_json
from shared.events import CATALOGUE, Data
from shared.events.decisions import Cited, Decision
from shared.events.safety_decisions import (
    CohortRecommended,
    EventClassified,
    GradeDisputed,
    QueryRaised,
    ReportClock,
    WindowDecided,
)
from shared.protocol.model import Protocol, load_protocol
from shared.protocol.safety import SafetyPlan
from shared.protocol.versions import Versions
from shared.records import Document, StoredRecord
from shared.words import ParticipantId, TrailError

ENGINE: Final = "safety/1"
"""Raise it with any change that alters any recorded decision, and say so in the changelog."""

_OF_WINDOWS: Final = frozenset({"safety.event_classified", "safety.window_decided"})

# How much a decision tells: (lines, characters a line, entries cited); the first that fits into an event.
_SHORTENINGS: Final = ((60, 2000, 100), (40, 500, 100), (20, 200, 50), (5, 100, 10))
_MOST_BYTES: Final = MAX_EVENT_BYTES - 4000


class Member(Document):
    """A participant as the cohorts see them: enrolled at a level, infused at one, and how their window stands."""

    enrolled_at: str | None = None
    enrolled_entry: int | None = None
    level: str | None = None
    first_day: str | None = None
    state: str | None = None
    leaf: str = ""  # of the record of the first infusion
    index: int | None = None
    infused_entry: int | None = None  # by which the infusion became known, whatever it was corrected to
    related_death: int | None = None


class CommitteeSignature(Document):
    """A member's signature over a decision of the committee."""

    user: str
    index: int
    leaf: str


class CommitteeDecision(StoredStatement):
    """A decision of the cohort committee, with the signatures over it.

    ``persons`` is how many different persons have to sign it before it takes effect; 0 for one that was sealed
    before persons had user ids, which took effect at once. ``since`` is the entry with which it took effect; None
    before that. A correction takes the first one's place: it counts since then, once it is signed itself.
    """

    since: int | None
    persons: int = 0
    signatures: tuple[CommitteeSignature, ...] = ()

    def as_statement(self) -> StoredStatement:
        """The decision without who signed it and since when it counts."""
        return StoredStatement(**self.model_dump(exclude={"since", "persons", "signatures"}))

    @property
    def in_force(self) -> bool:
        """Whether enough different persons have signed it."""
        return len({one.user for one in self.signatures}) >= self.persons

    def signed(self, by: CommitteeSignature) -> "CommitteeDecision":
        """The decision with one more signature; the one that makes it enough is what it counts since."""
        more = self.model_copy(update={"signatures": (*self.signatures, by)})
        return more.model_copy(update={"since": by.index}) if more.in_force and self.since is None else more


class Trial(Document):
    """The protocol in force for the trial, the time, the sponsor's and the committee's statements, the members.

    ``adopted`` is the digest of the version that the log began with, where another one is in force by now.
    """

    document: str = ""
    digest: str = ""
    sealed_at: str = ""
    references: tuple[StoredStatement, ...] = ()
    committee: tuple[CommitteeDecision, ...] = ()
    members: dict[str, Member] = {}
    issued: dict[str, Issued] = {}
    versions: Versions = Versions()
    adopted: str = ""

    @property
    def began_with(self) -> str:
        """The digest of the version that the log began with."""
        return self.adopted or self.digest


@dataclass(frozen=True, slots=True)
class Rules:
    """A protocol version, with its safety part, as decisions cite it.

    ``windows`` is the version by which a participant's windows are judged, where that is another; ``plan`` has its
    definitions then.
    """

    protocol: Protocol
    plan: SafetyPlan
    digest: str
    references: tuple[StoredStatement, ...] = ()
    windows: "Rules | None" = None

    def cited_by(self, type_: str) -> "Rules":
        """The version that a decision of this type rests on."""
        return self.windows if self.windows is not None and type_ in _OF_WINDOWS else self

    @classmethod
    def of(cls, trial: Trial) -> "Rules | None":
        """The protocol in force; None while there is none, or none with a safety part."""
        protocol = load_protocol(trial.document) if trial.document else None
        if protocol is None or protocol.safety is None:
            return None
        return cls(protocol, protocol.safety, trial.digest, trial.references)


def in_force(trial: Trial) -> Rules:
    """The protocol in force, for whoever cannot do without one.

    Raises TrailError when there is none, or none with a safety part.
    """
    rules = Rules.of(trial)
    if rules is not None:
        return rules
    if not trial.document:
        raise TrailError("no protocol was in force at that moment")
    protocol = load_protocol(trial.document)
    raise TrailError(
        f"protocol {protocol.version} of {protocol.trial} has no safety part, so nothing says what to count; "
        "adopt a version with one"
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question comes to now: the decision's type, and its content without cause and rules.

    ``beside``, ``arithmetic`` and ``evidence`` explain the content and are not part of what makes it new.
    """

    question: str
    type: str
    content: dict[str, Any]
    arithmetic: Sequence[str] = ()
    evidence: Sequence[Cited] = ()
    explained: bool = True
    superseding: bool = True
    beside: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def fingerprint(self) -> str:
        """Recognises the same answer again."""
        return hashlib.sha256(write_json([self.type, self.content])).hexdigest()


def cite(*statements: Statement | StoredRecord | tuple[int, str]) -> list[Cited]:
    """Sealed statements as evidence, in log order, each once; a pair is an index and a leaf hash."""
    pairs = {one if isinstance(one, tuple) else (one.index, one.leaf) for one in statements}
    return [Cited(index=index, leaf=leaf) for index, leaf in sorted(pairs)]


def draft(
    answer: Answer, subject: ParticipantId | None, event: SealedEvent, rules: Rules, last: Issued | None = None
) -> DecisionDraft:
    """A decision, with its cause and the rules it used; explained as far as one event can hold."""
    model = CATALOGUE[f"{TYPE_PREFIX}{answer.type}.v1"].model
    cause = Cited(index=event.entry.index, leaf=event.entry.leaf.hex())
    rules = rules.cited_by(answer.type)
    said: dict[str, Any] = {
        "cause": cause,
        "engine": ENGINE,
        "protocol": rules.protocol.version,
        "protocol_digest": rules.digest,
        **answer.content,
        **answer.beside,
    }
    if answer.superseding and last is not None and last.entry is not None:
        said["supersedes"] = last.entry
    for lines, width, evidence in _SHORTENINGS:
        said["evidence"] = list(answer.evidence)[-evidence:] or [cause]
        if answer.explained:
            said["arithmetic"] = [_cut(line, width) for line in answer.arithmetic[:lines]]
        if "text" in said:
            said["text"] = _cut(said["text"], width)
        data = model.model_validate(said)
        if len(data.model_dump_json().encode()) <= _MOST_BYTES:
            break
    assert isinstance(data, Decision)
    return DecisionDraft(answer.type, subject, data)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def issued(answer: Answer, event: SealedEvent) -> Issued:
    """How a decision just made is remembered until its own entry is known."""
    return Issued(fingerprint=answer.fingerprint, cause=event.entry.index, label=answer.label)


def located(known: Mapping[str, Issued], event: SealedEvent) -> dict[str, Issued] | None:
    """What was issued, with the entry of the decision that has now been sealed; None: nothing waits for it."""
    question = question_of(event.data)
    one = known.get(question)
    cause = getattr(event.data, "cause", None)
    if one is None or one.entry is not None or cause is None or cause.index != one.cause:
        return None
    located = one.model_copy(update={"entry": event.entry.index, "leaf": event.entry.leaf.hex()})
    return {**known, question: located}


def question_of(data: Data) -> str:
    """The question that a decision answers; empty for a decision that nothing supersedes."""
    match data:
        case ReportClock():
            return f"clock {data.ae} {data.profile} {data.kind}"
        case EventClassified():
            return f"event {data.ae}"
        case WindowDecided():
            return "window"
        case CohortRecommended():
            return "recommend"
        case QueryRaised():
            return f"query {data.query}"
        case GradeDisputed():
            return f"dispute {data.ae}"
        case _:
            return ""


def closing_of(question: str, last: Issued) -> Answer | None:
    """What is said when a question is no longer asked: its query is closed, its adverse event counts no more."""
    kind, _, name = question.partition(" ")
    before = [] if last.entry is None else [Cited(index=last.entry, leaf=last.leaf)]
    match kind:
        case "query":
            content: dict[str, Any] = {"query": name}
            return Answer(
                question, "safety.query_closed", content, evidence=before, explained=False, superseding=False
            )
        case "dispute":
            content = {"ae": name, "term": last.label}
            return Answer(
                question, "safety.dispute_settled", content, evidence=before, explained=False, superseding=False
            )
        case "event":
            content = {
                "ae": name,
                "term": last.label,
                "emergent": False,
                "certain": True,
                "serious": False,
                "related": False,
                "fatal_or_life_threatening": False,
                "expected": "unknown",
                "susar": False,
                "investigator": {},
                "sponsor": {},
                "retracted": True,
            }
            return Answer(question, "safety.event_classified", content, ["its report was retracted"], before)
        case "grade":
            content = {"term": name, "scale": last.label, "grade": 0, "worst": 0}
            why, beside = ["no measurement is left"], {"at": "never"}
            return Answer(question, "safety.grade_proposed", content, why, before, superseding=False, beside=beside)
        case "window":
            level, first, until = last.label.split()
            content = {"dose_level": level, "state": "not_evaluable", "first_day": first, "last_day": until}
            why = ["the infusion was retracted: there is no window"]
            return Answer(question, "safety.window_decided", {**content, "toxicities": []}, why, before)
        case _:
            return None
