"""Participants, entries and summaries, told at the terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from services.cli.output import coloured, out, safe, say
from services.console.private import Reader
from services.console.replay import participants, rules_about, trial_of
from services.console.signatures import Book
from services.console.words import in_words
from services.screening.eligibility import Assessed, assess_participant
from services.screening.participant import CLOSINGS, LastDecision, Participant, local_day
from services.screening.versions import owed_consent
from shared.decider import Machine, SealedEvent, read_event
from shared.entry import Entry
from shared.events.decisions import Basis, Blocker, CriterionVerdict, DeviationRaised
from shared.protocol.model import Protocol
from shared.words import TrailError


def verdicts_table(machine: Machine, book: Book) -> Table:
    """One line a participant: standing, place, reasons, and whose signature on eligibility stands."""
    columns = ("participant", "standing", "place", "why", "eligibility signed by")
    table = Table(*columns, title="Participants", title_justify="left")
    for code, participant in participants(machine):
        decision = participant.decision
        place = f"{participant.place} ({participant.dose_level})" if participant.place else ""
        standing = "not decided" if decision is None else decision.standing
        why = safe(reason(participant, machine))
        table.add_row(safe(code), coloured(standing), place, why, safe(_signers(book, code)))
    return table


def _signers(book: Book, code: str) -> str:
    eligibility = [one for one in book.about(code) if one.meaning == "eligibility"]
    standing = [one for one in eligibility if one.status == "valid"]
    if eligibility and not standing:
        return "superseded" if eligibility[-1].status == "superseded" else "taken back"
    return "; ".join(f"{one.name}, {one.signed_at[:10]}" for one in standing)


def reason(participant: Participant, machine: Machine) -> str:
    """Why a participant stands where they stand, in a line."""
    decision = participant.decision
    if decision is None:
        return "screening is not completed"
    if decision.failed:
        rows = {row.id: row for row in present(machine, participant).content.criteria}
        row = rows.get(decision.failed[0])
        first, *others = (CLOSINGS.get(name, name) for name in decision.failed)
        told = f"{row.id}: {row.arithmetic[0]}" if row is not None and row.arithmetic else first
        return told + (f" (and {', '.join(others)})" if others else "")
    if decision.standing == "undetermined":
        blocked = Counter(blocker.why for blocker in blockers_of(machine, participant))
        return "; ".join(f"{count} {why.replace('_', ' ')}" for why, count in sorted(blocked.items()))
    rules = rules_about(machine, participant, _last_sealed(machine, participant))
    infusion = participant.first_infusion(rules.protocol.zone(participant.source))
    if infusion is not None:
        return f"infused {infusion[1].at}"
    return "signed" if participant.signature is not None else "not signed as it stands now"


def present(machine: Machine, participant: Participant) -> Assessed:
    """A participant as judged at the last moment that the machine has seen."""
    now = _last_sealed(machine, participant)
    return assess_participant(participant, rules_about(machine, participant, now), now)


def _last_sealed(machine: Machine, participant: Participant) -> str:
    return max(participant.records[-1].sealed_at, trial_of(machine).sealed_at)


def version_of(machine: Machine, code: str) -> str:
    """The digest of the version that a participant is judged by; empty for one who is not known."""
    participant = machine.state.get(f"participant:{code}")
    if not isinstance(participant, Participant):
        return ""
    return rules_about(machine, participant, _last_sealed(machine, participant)).digest


def owed_now(machine: Machine, participant: Participant) -> str:
    """The consent that has to be given again, in words; empty: none has, or it was given."""
    now = _last_sealed(machine, participant)
    rules = rules_about(machine, participant, now)
    today = local_day(now, rules.protocol.zone(participant.source))
    owed = None if participant.closed() else owed_consent(participant, trial_of(machine), rules, today)
    return "" if owed is None else owed.told(participant.source)


def blockers_of(machine: Machine, participant: Participant) -> list[Blocker]:
    """What still stands between a participant and a decision."""
    return present(machine, participant).content.blockers


def tell_participant(
    machine: Machine,
    entries: Iterable[Entry],
    code: str,
    reader: Reader,
    assumed: Mapping[str, str] | None = None,
) -> None:
    """A participant's whole story: the decision criterion by criterion, and everything sealed, in order.

    ``assumed`` says of each assumption whether it is open or confirmed.
    """
    participant = machine.state.get(f"participant:{code}")
    if not isinstance(participant, Participant):
        raise TrailError(f"there is no participant {code} in this log; `trail replay` lists them")
    rules = rules_about(machine, participant, _last_sealed(machine, participant))
    now = present(machine, participant)
    decision = participant.decision
    standing = decision.standing if decision is not None else "not decided"
    say(f"[bold]Participant {safe(code)}[/] of {safe(participant.source)}: {coloured(standing)}")
    say(f"protocol {safe(rules.protocol.version)}")
    if participant.place:
        say(f"enrolled in place {participant.place} of {rules.protocol.places}, at {safe(participant.dose_level)}")
    for name, record in participant.closed().items():
        say(f"{CLOSINGS[name]} (entry {record.index})")
    if owed := owed_now(machine, participant):
        say(f"[yellow]has to consent again:[/] {safe(owed)}")
    if decision is not None:
        say(_decision(decision, participant))
    if decision is None or decision.judged_on != now.reference.day.isoformat():
        moment = _last_sealed(machine, participant)[:16]
        say(
            f"\n[bold]As it stands at {moment}[/], for {now.reference.day} ({_basis(now.basis)}), not itself sealed"
        )
    failed = [row for row in now.content.criteria if row.id in now.content.failed]
    if failed:
        say("\n[bold]Why[/]")
        out.print(criteria(failed, rules.protocol, assumed))
    if now.content.blockers:
        say("\n[bold]What is missing, most useful first[/]")
        for blocker in now.content.blockers:
            say(
                f"  {safe(blocker.item)} ({safe(blocker.why)}): {safe(blocker.detail)} "
                f"[dim]{', '.join(blocker.criteria)}[/]"
            )
    say("\n[bold]All criteria[/], the registry's words and what was found")
    out.print(criteria(now.content.criteria, rules.protocol, assumed))
    say("\n[bold]Everything sealed[/]")
    for entry in entries:
        event = read_event(entry)
        if event is not None and event.envelope.subject == code:
            told = safe(in_words(event, reader))
            if isinstance(event.data, DeviationRaised):
                told = f"[red]{told}[/]"
            say(f"  {entry.index:>6}  {entry.header.sealed_at[:16]}  {told}")


def _decision(decision: LastDecision, participant: Participant) -> str:
    sealed = "not sealed yet" if decision.entry is None else f"entry {decision.entry}"
    signature = participant.signature
    signed = "not signed" if signature is None else f"signed by entry {signature.entry}"
    return f"decision: {sealed}, judged on {decision.judged_on} ({_basis(decision.basis)}), {signed}"


def _basis(basis: Basis) -> str:
    return basis.replace("_", " ")


def criteria(
    rows: Iterable[CriterionVerdict], protocol: Protocol, assumed: Mapping[str, str] | None = None
) -> Table:
    """Criteria with their verdicts: the registry's wording, the arithmetic, the entries it rests on."""
    standing = assumed or {}
    wording = {row.id: row.registry for row in protocol.rows}
    table = Table.grid(padding=(0, 2))
    for row in rows:
        found = [*row.arithmetic, *(f"{gap.item}: {gap.why.replace('_', ' ')}" for gap in row.gaps)]
        notes = [f"entries {', '.join(map(str, row.evidence))}"] if row.evidence else []
        assumptions = [f"{one} ({standing[one]})" if one in standing else one for one in row.assumptions]
        notes += [f"assumes {', '.join(assumptions)}"] if assumptions else []
        notes += [f"stale after {row.stale_after}"] if row.stale_after else []
        told = "\n".join(map(safe, found)) + (f"\n[dim]{safe('; '.join(notes))}[/]" if notes else "")
        table.add_row("", _verdict(row), row.id, f"[italic]{safe(wording.get(row.id, ''))}[/]\n{told}")
    return table


def tell_entry(entry: Entry, reader: Reader) -> None:
    """One entry: what the notary states, what the source said."""
    head = entry.header
    say(f"[bold]Entry {entry.index}[/]: {coloured(head.verdict)}{safe(': ' + head.reason) if head.reason else ''}")
    event = read_event(entry)
    if event is not None:
        say(safe(in_words(event, reader)))
    table = Table(show_header=False)
    for name, value in entry_as_json(entry).items():
        table.add_row(name, safe(value))
    out.print(table)


def entry_as_json(entry: Entry) -> dict[str, Any]:
    """An entry's parts for a program, or a table."""
    head = entry.header
    return {
        "index": entry.index,
        "leaf": entry.leaf.hex(),
        "prev": head.prev.hex(),
        "sealed_at": head.sealed_at,
        "verdict": head.verdict,
        "reason": head.reason,
        "subject": head.subject,
        "key": head.key,
        "signature": head.signature,
        "intake": head.intake,
        "body": entry.body.decode(errors="backslashreplace"),
    }


def participant_as_json(
    machine: Machine, events: Iterable[SealedEvent], code: str, reader: Reader
) -> dict[str, Any]:
    """A participant for a program."""
    participant = machine.state.get(f"participant:{code}")
    if not isinstance(participant, Participant):
        raise TrailError(f"there is no participant {code} in this log")
    now = present(machine, participant)
    return {
        "participant": code,
        "source": participant.source,
        "decision": None if participant.decision is None else participant.decision.model_dump(mode="json"),
        "signature": None if participant.signature is None else participant.signature.entry,
        "place": participant.place,
        "dose_level": participant.dose_level,
        "consent_again": owed_now(machine, participant) or None,
        "now": {
            "sealed_at": _last_sealed(machine, participant),
            "judged_on": now.reference.day.isoformat(),
            "basis": now.basis,
            "standing": now.content.standing,
            "failed": now.content.failed,
            "criteria": [row.model_dump(mode="json") for row in now.content.criteria],
            "blockers": [row.model_dump(mode="json") for row in now.content.blockers],
        },
        "events": [
            {
                "index": event.entry.index,
                "type": event.type,
                "sealed_at": event.entry.header.sealed_at,
                "says": in_words(event, reader),
            }
            for event in events
            if event.envelope.subject == code
        ],
    }


def _verdict(row: CriterionVerdict) -> str:
    """A verdict in the colour of what it means: an exclusion that is met is bad news."""
    if row.verdict == "undetermined":
        return f"[yellow]{row.verdict}[/]"
    good = (row.verdict == "met") != row.id.startswith("E")
    return f"[{'green' if good else 'red'}]{row.verdict}[/]"
