"""Safety, told at the terminal: a participant's adverse events and grades, the clocks, the cohorts."""

from typing import Any

from services.cli.output import safe, say
from services.cli.show_signatures import tell_signatures
from services.console.safety import knowledge, rules_in_force, running_clocks
from services.console.safety_words import said_of_safety
from services.console.signature_words import signature_as_data
from services.console.signatures import Book
from services.safety import cohorts
from services.safety.assess import Assessed
from services.safety.classification import Classified
from shared.decider import Machine
from shared.words import TrailError

_STATES = {"open": "yellow", "clean": "green", "dlt": "red", "not_evaluable": "dim"}


def tell_safety(machine: Machine, code: str) -> None:
    """What the safety service knows of one participant; nothing where it knows nothing."""
    known = knowledge(machine, code)
    if known is None:
        return
    participant, assessed = known
    if assessed.classified:
        say("\n[bold]Adverse events[/]")
        for one in assessed.classified:
            _tell_event(one)
    graded = [one for one in participant.grades.values() if one.worst]
    if graded:
        say("\n[bold]Measured, since the first exposure[/]; the investigator's grade stands")
        for each in sorted(graded, key=lambda one: (-one.worst, one.term)):
            say(
                f"  {safe(each.term)}: worst grade {each.worst} at {safe(each.worst_at)}, now grade "
                f"{each.latest} since {safe(each.latest_at)}"
            )
            say(f"       [dim]{safe('; '.join(each.arithmetic))}[/]")
    if assessed.window is not None:
        window = assessed.window
        colour = _STATES[window.state]
        say(
            f"\n[bold]DLT window[/] {window.first_day} to {window.last_day}: "
            f"[{colour}]{window.state.replace('_', ' ')}[/]"
        )
        for line in window.arithmetic:
            say(f"  {safe(line)}")
    _tell_questions(assessed)


def _tell_event(one: Classified) -> None:
    event = one.event
    counts = [
        "treatment-emergent" if one.emergent.counts else "not treatment-emergent",
        "" if one.emergent.certain else "[yellow]by a date that could go either way[/]",
        "serious" if event.serious else "",
        "related" if one.related else "",
        "[red]SUSAR[/]" if one.susar else "",
    ]
    word = "severity" if event.by_severity else "grade"
    graded = "" if event.grade is None else f", {word} {event.grade}"
    onset = safe(event.report.onset or "not known when")
    say(f"  {safe(event.ae)}  [bold]{safe(event.name)}[/]{graded}, from {onset}: {', '.join(filter(None, counts))}")
    for line in one.answer.arithmetic:
        say(f"       [dim]{safe(line)}[/]")


def _tell_questions(assessed: Assessed) -> None:
    clocks = [one for one in assessed.answers if one.question.startswith("clock ")]
    if clocks:
        say("\n[bold]Expedited reports[/]")
        for one in clocks:
            content = one.content
            state = content.get("result", one.type.rpartition("_")[2])
            say(
                f"  adverse event {safe(content['ae'])}, {content['kind'].replace('_', ' ')} to "
                f"{safe(content['profile'])}: {safe(state)}, due {safe(content['due'])}"
            )
    queries = [one for one in assessed.answers if one.question.startswith("query ")]
    if queries:
        say("\n[bold]Open queries to the site[/]")
        for one in queries:
            say(f"  {safe(one.content['text'])}")


def tell_cohorts(machine: Machine, book: Book) -> None:
    """The cohort board: who is at which dose level, whose window is open until when, what is recommended, open."""
    board = cohort_board(machine)
    for level in board["levels"]:
        taken = f"{level['enrolled']} enrolled of {level['up_to']}"
        say(f"[bold]{safe(level['id'])}[/]  {safe(level['dose'])}: {taken}")
        for one in level["participants"]:
            colour = _STATES.get(one["state"], "")
            state = one["state"].replace("_", " ")
            said = f"[{colour}]{state}[/]" if colour else state
            say(f"    {safe(one['participant'])}  infused {safe(one['first_day'])}  {said}")
    if board["held"]:
        say("[red]Enrolment is held[/] until the cohort committee decides.")
    for line in board["slots"]:
        say(f"Places: {safe(line)}")
    if board["recommended"] is not None:
        made = board["recommended"]
        goal = f" to {made['to']}" if made.get("to") else ""
        say(f"Recommended for {safe(made['dose_level'])}: [bold]{made['action'].replace('_', '-')}{safe(goal)}[/]")
        for line in made["arithmetic"]:
            say(f"    {safe(line)}")
    if board["decisions"]:
        say("\n[bold]The cohort committee's decisions[/]")
    for one in board["decisions"]:
        missing = one["persons"] - len(one["signed_by"])
        state = "" if one["in_force"] else f"  [yellow]pending: {missing} of {one['persons']} signatures to go[/]"
        say(f"  entry {one['entry']}  {safe(one['says'])}{state}")
        tell_signatures(book.on(one["entry"]), title="", indent="      ")


def tell_clocks(machine: Machine, book: Book) -> None:
    """Every clock that runs or has run out, the nearest first, with who has signed the adverse event."""
    clocks = running_clocks(machine)
    if not clocks:
        say("No expedited report is owed.")
    for code, clock in clocks:
        state = "[red]overdue since[/]" if clock.state == "overdue" else "due by"
        say(
            f"{state} {safe(clock.due)}  participant {safe(code)}, adverse event {safe(clock.ae)}, "
            f"{clock.kind.replace('_', ' ')} to {safe(clock.profile)} (day 0: {clock.day_zero})"
        )
        tell_signatures(book.on_event(code, clock.ae), title="", indent="      ")


def clocks_as_json(machine: Machine, book: Book) -> list[dict[str, Any]]:
    """The clocks for a program."""
    return [
        {"participant": code}
        | clock.model_dump(mode="json")
        | {"signatures": [signature_as_data(one) for one in book.on_event(code, clock.ae)]}
        for code, clock in running_clocks(machine)
    ]


def cohort_board(machine: Machine, book: Book | None = None) -> dict[str, Any]:
    """The cohort board for a program.

    Raises TrailError when no protocol with cohorts was in force.
    """
    rules, trial = rules_in_force(machine)
    open_ = cohorts.slots(trial, rules)
    if open_ is None:
        raise TrailError(
            f"protocol {rules.protocol.version} has no cohorts: nothing about dose levels is decided by it"
        )
    made = cohorts.recommended(trial, rules)
    levels = [
        {
            "id": level.id,
            "dose": level.dose,
            "enrolled": sum(one.enrolled_at == level.id for one in trial.members.values()),
            "up_to": open_.content["up_to"][level.id],
            "participants": [
                {"participant": code, "first_day": one.first_day, "state": one.state}
                for code, one in sorted(trial.members.items(), key=lambda its: (its[1].first_day or "", its[0]))
                if one.level == level.id
            ],
        }
        for level in rules.protocol.dose_levels
    ]
    return {
        "levels": levels,
        "held": open_.content["held"],
        "slots": list(open_.arithmetic),
        "recommended": None if made is None else made[1].content | {"arithmetic": list(made[1].arithmetic)},
        "decisions": [
            {
                "entry": record.index,
                "says": said_of_safety(record.said),
                "in_force": record.in_force,
                "persons": record.persons,
                "signed_by": sorted({one.user for one in record.signatures}),
                "signatures": [signature_as_data(one) for one in book.on(record.index)] if book else [],
            }
            for record in trial.committee
        ],
    }
