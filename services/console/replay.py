"""Replay: run the deciders over the log again, to check, to look back, or to ask "what if"."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from services.safety.decide import SafetyDecider
from services.screening.decide import ScreeningDecider
from services.screening.eligibility import Rules, assess_participant
from services.screening.enrolment import Trial
from services.screening.participant import Participant
from services.screening.versions import adopted_rules, rules_for
from shared.decider import Decider, Machine, read_event
from shared.entry import Entry
from shared.envelope import Envelope, read_envelope
from shared.events import short_type
from shared.events.identity import GrantedToKey
from shared.moments import instant
from shared.protocol.model import load_protocol, protocol_digest
from shared.words import TrailError


@dataclass(frozen=True, slots=True)
class Difference:
    """A recorded decision that a replay does not reproduce, or the reverse."""

    index: int
    subject: str
    what: str


@dataclass(slots=True)
class Replay:
    """What a replay came to. Good when ``differences`` is empty; ``pending`` decisions are not sealed yet."""

    entries: int = 0
    decisions: int = 0
    pending: int = 0
    differences: list[Difference] = field(default_factory=list)


@dataclass(slots=True)
class _Service:
    """A deciding service as it is replayed: what is due by its own sequence, and how far it has come."""

    machine: Machine
    due: dict[int, bytes] = field(default_factory=dict)
    highest: int = 0
    granted: bool = False  # before it may speak, nothing of it can be missing

    def take(self, result: Replay, entry: Entry) -> None:
        recorded = _event_of(entry, self.machine.decider)
        if recorded is not None:
            result.decisions += 1
            self.highest = max(self.highest, recorded.sequence)
            _compare(result, entry, recorded, self.due.pop(recorded.sequence, None))
        first = self.machine.sequence + 1
        self.due |= dict(enumerate(self.machine.feed(entry), first))


def check(entries: Iterable[Entry], progress: Callable[[int], None] | None = None) -> Replay:
    """Decide everything again and compare each recorded decision byte for byte."""
    result = Replay()
    services = [_Service(Machine(decider)) for decider in (ScreeningDecider(), SafetyDecider())]
    for entry in entries:
        result.entries += 1
        if progress is not None and result.entries % 500 == 0:
            progress(result.entries)
        for service in services:
            service.take(result, entry)
            service.granted |= _grants(entry, service.machine.decider)
    for service in services:
        # Decisions are posted in order: one that a later one has overtaken does not come any more.
        for sequence, payload in service.due.items():
            if sequence < service.highest:
                result.differences.append(_left_out(payload))
            elif service.granted:
                result.pending += 1
    return result


def as_of(entries: Iterable[Entry], moment: str | None, decider: Decider | None = None) -> Machine:
    """A decider's knowledge as of an entry index (inclusive) or a time (RFC 3339); None: now.

    The screening decider's where no other is given. Raises TrailError when the moment is neither.
    """
    machine = Machine(decider or ScreeningDecider())
    known = until(moment)
    for entry in entries:
        if not known(entry):
            break
        machine.feed(entry)
    return machine


def until(moment: str | None) -> Callable[[Entry], bool]:
    """Whether an entry was sealed by this moment: an index, or an RFC 3339 time.

    Raises TrailError when the text is neither.
    """
    if moment is None:
        return lambda _entry: True
    if moment.isdecimal():
        last = int(moment)
        return lambda entry: entry.index <= last
    try:
        limit = instant(moment)
    except ValueError as error:
        raise TrailError(f"--as-of takes an entry index or a time; {moment!r} {error}") from None
    return lambda entry: instant(entry.header.sealed_at) <= limit


def what_if(entries: Iterable[Entry], protocol: str) -> list[Difference]:
    """Which participants another protocol version would judge differently, at the end of the log.

    Both versions judge the same evidence at the same moment, the last sealed one; each difference names the
    recorded decision's entry. Raises TrailError when the log has adopted no protocol, or another trial's.
    """
    machine, now = Machine(ScreeningDecider()), ""
    for entry in entries:
        machine.feed(entry)
        now = entry.header.sealed_at
    return compare(machine, Rules(load_protocol(protocol), protocol_digest(protocol)), now)


def compare(machine: Machine, other: Rules, now: str) -> list[Difference]:
    """Which participants another protocol version would judge differently from the one they are judged by.

    Raises TrailError when no protocol was in force, or the other is another trial's.
    """
    trial = rules_of(machine).protocol.trial
    if other.protocol.trial != trial:
        raise TrailError(f"the protocol is of trial {other.protocol.trial}; this log is of {trial}")
    differences = []
    for code, participant in participants(machine):
        if participant.decision is None:
            continue
        real = rules_about(machine, participant, now)
        before, after = (assess_participant(participant, rules, now) for rules in (real, other))
        rows = [
            f"{name}: {before.verdicts.get(name, 'not in this version')} -> {verdict}"
            for name, verdict in after.verdicts.items()
            if before.verdicts.get(name) != verdict
        ]
        if before.content.standing != after.content.standing:
            rows.insert(0, f"standing: {before.content.standing} -> {after.content.standing}")
        if rows:
            index = participant.decision.entry or participant.decision.cause
            differences.append(Difference(index, code, "; ".join(rows)))
    return differences


def rules_of(machine: Machine) -> Rules:
    """The protocol that the log began with, in force wherever no other is activated.

    Raises TrailError when the log has adopted none yet.
    """
    rules = adopted_rules(trial_of(machine))
    if rules is None:
        raise TrailError("no protocol was in force at that moment")
    return rules


def rules_about(machine: Machine, participant: Participant, now: str) -> Rules:
    """The version of the protocol that a participant is judged by at a sealed time.

    Raises TrailError when there is none.
    """
    return rules_for(machine.state, trial_of(machine), participant, now) or rules_of(machine)


def trial_of(machine: Machine) -> Trial:
    """The trial as a screening machine knows it."""
    trial = machine.state.get("trial", Trial())
    assert isinstance(trial, Trial)
    return trial


def participants(machine: Machine) -> list[tuple[str, Participant]]:
    """All participants that a machine knows, by code."""
    return [(value.code, value) for _, value in sorted(machine.state.items()) if isinstance(value, Participant)]


def _event_of(entry: Entry, decider: Decider) -> Envelope | None:
    """A service's own admitted event in this entry; None for anything else on its subject or another."""
    if f".{decider.source.replace('/', '.')}." not in entry.header.subject or not entry.admitted:
        return None
    return read_envelope(entry.body)


def _grants(entry: Entry, decider: Decider) -> bool:
    if not entry.header.subject.endswith(".identity.granted"):
        return False
    event = read_event(entry)
    return event is not None and isinstance(event.data, GrantedToKey) and event.data.source == decider.source


def _compare(result: Replay, entry: Entry, recorded: Envelope, expected: bytes | None) -> None:
    what = None
    if expected is None:
        what = f"a {short_type(recorded.type)} is recorded that the deciders do not make"
    elif expected != entry.body:
        what = _first_difference(expected, entry)
    if what is not None:
        result.differences.append(Difference(entry.index, recorded.subject or "", what))


def _left_out(payload: bytes) -> Difference:
    made = read_envelope(payload)
    what = f"a decision that was due is not in the log: {short_type(made.type)} because of this entry"
    return Difference(made.data["cause"]["index"], made.subject or "", what)


def _first_difference(expected: bytes, entry: Entry) -> str:
    made, recorded = read_envelope(expected), read_envelope(entry.body)
    for name in sorted(made.data.keys() | recorded.data.keys()):
        if made.data.get(name) != recorded.data.get(name):
            engine = recorded.data.get("engine")
            note = f" (recorded by engine {engine})" if engine != made.data.get("engine") else ""
            return f"{short_type(recorded.type)} differs from the recorded one in {name}{note}"
    return f"{short_type(recorded.type)} has other bytes than the recorded one"
