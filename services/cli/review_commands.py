"""The commands ``trail review``: a monitor reviews the audit trail, asks the sites, and signs (21 CFR 11.10(e))."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DEFAULT, AsOf, Broker, Data, Json, PassphraseFile

app = typer.Typer(no_args_is_help=True, help="Review the audit trail: what is notable; queries to sites; signed.")

Participant = Annotated[str | None, typer.Option("--participant", help="Only this participant.")]
Text = Annotated[str, typer.Option("--text", help="What you say.")]
Me = Annotated[str, typer.Option("--by", help="Your user id.")]
Query = Annotated[str, typer.Argument(help="The query's name.")]


@app.command()
def show(participant: Participant = None, data: Data = DEFAULT, as_of: AsOf = None, json_: Json = False) -> None:
    """Show what a reviewer should look at and nobody has reviewed yet, the open queries, and the reviews so far."""
    from services.cli.reviewing import tell_trail

    raise typer.Exit(tell_trail(data, participant, as_of, json_=json_))


@app.command()
def record(
    by: Me,
    found: Annotated[str, typer.Option("--found", help="What was found.")],
    participant: Participant = None,
    first: Annotated[int, typer.Option("--from", min=0, help="The first entry that was reviewed.")] = 0,
    last: Annotated[int | None, typer.Option("--to", help="The last one; the log's newest if left out.")] = None,
    query: Annotated[list[str] | None, typer.Option("--query", help="A query that came of it.")] = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Record a review of a participant or of a range of entries, and sign it."""
    from services.cli.reviewing import Reviewer

    reviewer = Reviewer(data, by, passphrase_file, broker)
    raise typer.Exit(reviewer.record(participant, first, last, found, query or []))


@app.command()
def ask(
    entries: Annotated[list[int], typer.Argument(help="The entries that the question is about.")],
    by: Me,
    text: Text,
    site: Annotated[str | None, typer.Option("--site", help="The site, where no participant tells.")] = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Ask a site about entries; the query's name is said."""
    from services.cli.reviewing import Reviewer

    raise typer.Exit(Reviewer(data, by, passphrase_file, broker).ask(entries, text, site))


@app.command()
def answer(
    query: Query,
    text: Text,
    by: Annotated[str | None, typer.Option("--by", help="Your user id; the site's system if left out.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option("--passphrase-file", help="Your passphrase.")] = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Answer a query, as its site."""
    from services.cli.reviewing import Reviewer

    raise typer.Exit(Reviewer(data, by, passphrase_file, broker).answer(query, text))


@app.command()
def close(
    query: Query,
    text: Text,
    by: Me,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Close a query, as a monitor."""
    from services.cli.reviewing import Reviewer

    raise typer.Exit(Reviewer(data, by, passphrase_file, broker).close(query, text))
