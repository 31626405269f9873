"""Which question a sealed statement answers, so that a newer answer is known by it; what can be signed. Pure."""

from collections.abc import Iterator

from shared.decider import SealedEvent
from shared.events import safety_decisions as made
from shared.events.decisions import Decided
from shared.events.log import ProtocolAdopted, ProtocolAmended
from shared.events.safety import EventAssessed, EventReported, EventUpdated
from shared.events.signatures import Meaning
from shared.words import LogIndex


def questions(event: SealedEvent) -> Iterator[tuple[str, ...]]:
    """The questions that a statement answers; a later answer to the same one replaces it."""
    about, data = event.envelope.subject or "", event.data
    match data:
        case Decided():
            yield "eligibility", about
        case made.WindowDecided():
            yield "window", about
        case made.GradeProposed():
            yield "grade", about, data.term
        case made.GradeDisputed() | made.DisputeSettled():
            yield "dispute", about, data.ae
        case EventReported() | EventUpdated() if data.causality is not None:
            yield "causality of the site", about, data.ae
        case EventAssessed() if data.causality is not None:
            yield "causality of the sponsor", about, data.ae
        case ProtocolAdopted() | ProtocolAmended():
            yield "protocol", data.digest


def question(event: SealedEvent, meaning: Meaning) -> tuple[str, ...] | None:
    """The question whose newer answer supersedes a signature of this meaning; None where none does.

    A later grade of an adverse event does not: it is another grade of another day. A later causality does.
    """
    if isinstance(event.data, ProtocolAdopted | ProtocolAmended):
        return None
    if isinstance(event.data, EventReported | EventUpdated | EventAssessed) and meaning != "causality":
        return None
    return next(questions(event), None)


def says(event: SealedEvent | None, meaning: Meaning) -> bool:
    """Whether there is something of this meaning to sign in an entry."""
    match None if event is None else event.data:
        case Decided() as data:
            return data.standing == "eligible"
        case made.WindowDecided() as data:
            return data.state != "open"
        case EventReported() | EventUpdated() as data if meaning == "causality":
            return data.causality is not None
        case EventReported() | EventUpdated() as data if meaning == "grade":
            return data.grade is not None or data.severity is not None
        case data:
            return data is not None


def anew(event: SealedEvent, record: LogIndex) -> str:
    """How a newer answer is told."""
    data, index = event.data, event.entry.index
    match data:
        case Decided():
            told = "; ".join(data.changed) or f"judged on {data.judged_on}, {data.basis.replace('_', ' ')}"
        case made.WindowDecided():
            told = f"the window is {data.state.replace('_', ' ')}"
        case made.GradeProposed():
            told = f"grade {data.grade} at {data.at}"
        case EventReported() | EventUpdated() | EventAssessed():
            told = f"the causality is stated as {(data.causality or '').replace('_', ' ')}"
        case _:
            told = "decided anew"
    return f"entry {index} replaced entry {record}: {told}"
