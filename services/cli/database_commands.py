"""The commands `trail database`: what the owner of a PostgreSQL database does for a trial."""

from typing import Annotated

import typer

from services.cli.options import DEFAULT, Data

app = typer.Typer(no_args_is_help=True, help="What the owner of a PostgreSQL database does for a trial.")

Owner = Annotated[
    str,
    typer.Option(
        "--database", envvar="TRAIL_DATABASE_OWNER", help="The URL of a role that may act as the tables' owner."
    ),
]


@app.command()
def upgrade(database: Owner, data: Data = DEFAULT) -> None:
    """Bring the tables forward to what this program reads and writes; nothing in them changes."""
    from services.cli.databases import bring_forward
    from services.cli.installation import Installation
    from services.cli.output import say

    home = Installation.open(data)
    bring_forward(database, home.trial)
    say(f"[green]The tables of {home.trial} are this program's[/]; services that waited for it may be started.")
