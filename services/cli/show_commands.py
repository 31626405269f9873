"""The commands `trail show`: one thing, with all there is to it."""

from typing import Annotated

import typer

from services.cli.options import DEFAULT, AsOf, Data, Json

app = typer.Typer(no_args_is_help=True, help="Show one thing, with all there is to it.")


@app.command("participant")
def show_participant(
    participant: Annotated[str, typer.Argument(help="The participant's code.")],
    data: Data = DEFAULT,
    as_of: AsOf = None,
    json_: Json = False,
) -> None:
    """Tell a participant's whole story: criteria, arithmetic, evidence, what is missing."""
    from services.cli.checking import show_one_participant

    show_one_participant(data, participant, as_of=as_of, json_=json_)


@app.command("entry")
def show_entry(
    index: Annotated[int, typer.Argument(min=0, help="The entry's index in the log.")],
    data: Data = DEFAULT,
    json_: Json = False,
) -> None:
    """Show one entry: what the notary states, what the source said."""
    from services.cli.checking import show_one_entry

    show_one_entry(data, index, json_=json_)


@app.command("cohorts")
def show_cohorts(data: Data = DEFAULT, as_of: AsOf = None, json_: Json = False) -> None:
    """Show the dose levels: who is where, whose window is open, what is recommended, where places are open."""
    from services.cli.checking import show_cohorts

    show_cohorts(data, as_of=as_of, json_=json_)


@app.command("clocks")
def show_clocks(data: Data = DEFAULT, as_of: AsOf = None, json_: Json = False) -> None:
    """Show the expedited reports that are owed, the nearest first."""
    from services.cli.checking import show_clocks

    show_clocks(data, as_of=as_of, json_=json_)


@app.command("assumptions")
def show_assumptions(data: Data = DEFAULT, as_of: AsOf = None, json_: Json = False) -> None:
    """Show what the protocol in force assumes beyond the registry, and who has confirmed it."""
    from services.cli.protocol_views import show_assumptions

    show_assumptions(data, as_of, json_=json_)
