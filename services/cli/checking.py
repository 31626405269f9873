"""The commands that only read: verify, replay, show."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path

from services.audit.verify import Report
from services.cli import show
from services.cli.installation import LOCAL_WITNESS, Installation
from services.cli.output import GOOD, WRONG, as_json, complain, out, progress, safe, say
from services.cli.reading import Reading, reading, verify
from services.cli.show_safety import clocks_as_json, cohort_board, tell_clocks, tell_cohorts, tell_safety
from services.cli.show_signatures import tell_signatures, tell_waiting
from services.console.protocols import protocols
from services.console.replay import Replay, as_of, check, participants, until, what_if
from services.console.safety import knowledge
from services.console.signature_words import signature_as_data, waiting_as_data
from services.console.signatures import Book, signed
from services.safety.decide import SafetyDecider
from shared.decider import Machine, read_event
from shared.entry import Entry
from shared.note import NoteKey
from shared.policy import NONE, Policy
from shared.protocol.model import load_protocol
from shared.words import EvidenceError, TrailError


def verify_directory(
    directory: Path, log_key: str | None = None, policy: Path | None = None, *, json_: bool = False
) -> int:
    """Verify a data directory's log and say what was found.

    ``log_key`` is the vkey that the reader trusts, ``policy`` the file of the reader's own tlog-policy.
    """
    home = Installation.open(directory)
    asked = None if policy is None else Policy.parse(policy.read_text("utf-8"))
    given = None if log_key is None else NoteKey.parse(log_key)
    if asked is not None:
        given = _of_policy(asked, home.log_key.name, given)
    with reading(home) as source, progress("verifying", source.log.size()) as advance:
        report = verify(source, advance, log_key=given, policy=asked)
    if json_:
        as_json(asdict(report) | {"good": report.good})
    else:
        _tell_report(report, home, given, asked)
    return GOOD if report.good else WRONG


def _of_policy(policy: Policy, origin: str, given: NoteKey | None) -> NoteKey:
    """The log key that a reader's policy asks for: the newest it names; never one that lies beside the log."""
    keys = [key for key in policy.logs if key.name == origin]
    if not keys or given not in {None, *keys}:
        raise EvidenceError(
            f"the policy does not name the key to verify {origin} with: this is another log than the policy's, or "
            "the policy needs a line `log VKEY`"
        )
    return given or keys[-1]


def _tell_report(report: Report, home: Installation, given: NoteKey | None, asked: Policy | None) -> None:
    if not report.good:
        for fault in report.faults:
            complain(f"entry {fault.index}: {fault.what}")
        say(f"[red]The log does not verify.[/] {report.entries} entries hold; what follows is not to be trusted.")
        return
    if report.clock == "simulated":
        say("[yellow]This log's clock is simulated: it holds a synthetic study, not a trial.[/]")
    say(
        f"[green]The log verifies.[/] {report.entries} entries ({report.admitted} admitted, {report.refused} "
        f"refused), {report.checkpoints} signed checkpoints, every hash, link, signature and ruling recomputed."
    )
    for source, gaps in report.gaps.items():
        told = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in gaps)
        say(f"[yellow]{safe(source)} has not delivered its events {told}.[/]")
    _tell_vouched(report, home, asked)
    told = (
        "as given"
        if given is not None
        else "from trial.json: compare it with the one you were given, or give that as --log-key"
    )
    say(f"Log key {safe((given or home.log_key).vkey())} ({told})")
    say(f"Root of {report.entries} entries: {report.root}, last sealed at {report.last_sealed_at}")


def _tell_vouched(report: Report, home: Installation, asked: Policy | None) -> None:
    """Who outside vouches for the log, and who does not."""
    policy = asked or home.policy()
    if policy is None or policy.quorum == NONE:
        say("[yellow]No witness vouches for this log[/]: whoever holds its key could show others another one.")
    else:
        say(f"{report.cosigned} entries are cosigned by the policy's quorum, {safe(policy.quorum)}.")
        if asked is None and policy.quorum == LOCAL_WITNESS:
            say("[yellow]That witness runs on this machine[/]; a real one belongs to another organisation.")
    if report.timestamps:
        say(f"{report.timestamps} timestamps of outside authorities (RFC 3161).")
    for note in report.notes:
        say(f"[yellow]{safe(note)}[/]")


def replay_directory(
    directory: Path,
    *,
    participant: str | None = None,
    as_of: str | None = None,
    protocol: Path | None = None,
    check: bool = False,
    json_: bool = False,
) -> int:
    """Run the deciders over the log again and say what comes of it."""
    if check and (as_of is not None or protocol is not None):
        raise TrailError("--check compares the whole log with its own protocol; leave --as-of and --protocol out")
    with reading(Installation.open(directory)) as source:
        if check:
            return _check(source, json_=json_)
        if protocol is not None:
            return _what_if(source, protocol, participant, as_of, json_=json_)
        machine = _knowledge(source, as_of)
        book = _signed(source, as_of)
    if participant is not None:
        show_one_participant(directory, participant, as_of=as_of, json_=json_)
    elif json_:
        as_json(
            {
                code: one.model_dump(mode="json", exclude={"records"}) | {"signatures": _signatures(book, code)}
                for code, one in participants(machine)
            }
        )
    else:
        out.print(show.verdicts_table(machine, book))
    return GOOD


def _check(source: Reading, *, json_: bool) -> int:
    size = source.log.size()
    with progress("replaying", size) as advance:
        result = check(source.log.entries(0, size), advance)
    if json_:
        as_json(
            {
                "entries": result.entries,
                "decisions": result.decisions,
                "pending": result.pending,
                "differences": [asdict(difference) for difference in result.differences],
                "good": not result.differences,
            }
        )
    else:
        tell_check(result)
    return GOOD if not result.differences else WRONG


def tell_check(result: Replay) -> None:
    """Say how a replay compared."""
    for difference in result.differences[:20]:
        complain(f"entry {difference.index}, participant {difference.subject}: {difference.what}")
    if result.differences:
        say(f"[red]{len(result.differences)} of {result.decisions} recorded decisions are not reproduced.[/]")
    else:
        say(
            f"[green]The replay is equal.[/] {result.decisions} recorded decisions came out of {result.entries} "
            "entries again, byte for byte."
        )
    if result.pending:
        say(f"[yellow]{result.pending} decisions are due and not sealed yet.[/]")


def _what_if(source: Reading, path: Path, participant: str | None, moment: str | None, *, json_: bool) -> int:
    text = path.read_text("utf-8")
    other = load_protocol(text)
    known = until(moment)
    differences = what_if((entry for entry in _told(source) if known(entry)), text)
    if participant is not None:
        differences = [one for one in differences if one.subject == participant]
    if json_:
        as_json([asdict(difference) for difference in differences])
        return GOOD
    say(f"Under protocol {safe(other.version)}, {len(differences)} participants would be judged differently:")
    for difference in differences:
        say(f"  {safe(difference.subject)} (decision in entry {difference.index}): {safe(difference.what)}")
    return GOOD


def show_one_participant(directory: Path, code: str, *, as_of: str | None = None, json_: bool = False) -> None:
    """Tell a participant's story, as known at a moment."""
    with reading(Installation.open(directory)) as source:
        machine = _knowledge(source, as_of)
        book = _signed(source, as_of)
        waiting = [one for one in book.waiting() if one.subject == code]
        known = until(as_of)
        entries = (entry for entry in source.log.entries() if code.encode() in entry.body and known(entry))
        assumed = protocols(takewhile(known, source.log.entries())).statuses(show.version_of(machine, code))
        if json_:
            events = (event for event in map(read_event, entries) if event is not None)
            told = show.participant_as_json(machine, events, code, source.reader())
            told |= {"assumptions": assumed, "safety": _safety_of(source, code, as_of)}
            told |= {"signatures": _signatures(book, code), "not_signed": [waiting_as_data(one) for one in waiting]}
            as_json(told)
        else:
            show.tell_participant(machine, entries, code, source.reader(), assumed)
            tell_safety(_safety(source, as_of), code)
            tell_signatures(book.about(code))
            tell_waiting(waiting)


def show_cohorts(directory: Path, *, as_of: str | None = None, json_: bool = False) -> None:
    """Tell where the dose levels stand, as known at a moment."""
    with reading(Installation.open(directory)) as source:
        machine, book = _safety(source, as_of), _signed(source, as_of)
    if json_:
        as_json(cohort_board(machine, book))
    else:
        tell_cohorts(machine, book)


def show_clocks(directory: Path, *, as_of: str | None = None, json_: bool = False) -> None:
    """Tell which expedited reports are owed, as known at a moment."""
    with reading(Installation.open(directory)) as source:
        machine, book = _safety(source, as_of), _signed(source, as_of)
    if json_:
        as_json(clocks_as_json(machine, book))
    else:
        tell_clocks(machine, book)


def show_one_entry(directory: Path, index: int, *, json_: bool = False) -> None:
    """Show one entry of the log."""
    with reading(Installation.open(directory)) as source:
        entry, reader = source.log.entry(index), source.reader()
        book = _signed(source, None)
    # A signature is shown with what it signs, and on its own entry as it stands now.
    signatures = [*book.on(index), *book.at(index)]
    if json_:
        as_json(show.entry_as_json(entry) | {"signatures": [signature_as_data(one) for one in signatures]})
    else:
        show.tell_entry(entry, reader)
        tell_signatures(signatures)


def _knowledge(source: Reading, moment: str | None) -> Machine:
    return as_of(_told(source), moment)


def _signed(source: Reading, moment: str | None) -> Book:
    """The signatures as they stood at a moment."""
    known = until(moment)
    return signed((entry for entry in _told(source) if known(entry)), source.reader())


def _signatures(book: Book, code: str) -> list[dict[str, object]]:
    return [signature_as_data(one) for one in book.about(code)]


def _safety(source: Reading, moment: str | None) -> Machine:
    return as_of(_told(source), moment, SafetyDecider())


def _safety_of(source: Reading, code: str, moment: str | None) -> dict[str, object] | None:
    """What the safety service knows of a participant, for a program; None: nothing."""
    known = knowledge(_safety(source, moment), code)
    if known is None:
        return None
    participant, assessed = known
    return {
        "grades": [one.model_dump(mode="json") for _, one in sorted(participant.grades.items())],
        "answers": [{"question": one.question, **one.content} for one in assessed.answers],
    }


def _told(source: Reading) -> Iterator[Entry]:
    """All entries, with a progress bar where it takes a while."""
    size = source.log.size()
    with progress("reading", size) as advance:
        yield from _counted(source.log.entries(0, size), advance)


def _counted(entries: Iterable[Entry], advance: Callable[[int], None]) -> Iterator[Entry]:
    for entry in entries:
        if entry.index % 200 == 0:
            advance(entry.index)
        yield entry
