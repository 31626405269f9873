"""The commands `trail key`: the log's own key, and those of people."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DEFAULT, Broker, Data

app = typer.Typer(no_args_is_help=True, help="The log's own key, and those of people.")


@app.command("rotate")
def rotate_key(
    why: Annotated[str, typer.Option("--why", help="Why the key is changed, as it will be sealed.")],
    data: Data = DEFAULT,
    broker: Broker = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A key that is there already, in a file or a token; docs/keys.md says how."),
    ] = None,
) -> None:
    """Give the log another key, by its root's hand: at a fixed interval, or because the old one was stolen."""
    from services.cli.keys import rotate

    raise typer.Exit(rotate(data, why, broker, to))


@app.command("passphrase")
def change_passphrase(
    file: Annotated[Path, typer.Argument(help="The person's key file.")],
) -> None:
    """Change the passphrase of a person's key, before it expires or after; the key stays the same."""
    from services.cli.person_keys import change_passphrase

    raise typer.Exit(change_passphrase(file))


@app.command("unlock")
def unlock_key(
    file: Annotated[Path, typer.Argument(help="The person's key file.")],
) -> None:
    """Let a person's key be tried again, as an administrator who knows why it was locked."""
    from services.cli.person_keys import unlock

    raise typer.Exit(unlock(file))
