"""The commands `trail receipt`: what a source holds against the log's operator."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DEFAULT, Data, Json, LogKeyText, PolicyFile

app = typer.Typer(no_args_is_help=True, help="What a source holds against the log's operator.")


@app.command("save")
def save_receipt(
    source: Annotated[str, typer.Argument(help="The source, like site/701.")],
    sequence: Annotated[int, typer.Argument(min=1, help="The event's number among its source's.")],
    out: Annotated[Path, typer.Option("--out", help="A folder for the two files.")] = Path(),
    data: Data = DEFAULT,
) -> None:
    """Write an event and its receipt out of the outbox, as two files that anyone can check."""
    from services.cli.receipts import save

    raise typer.Exit(save(data, source, sequence, out))


@app.command("verify")
def verify_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt: a C2SP tlog-proof.")],
    event: Annotated[
        Path | None, typer.Option("--event", help="The event's own bytes; FILE ending in .json if left out.")
    ] = None,
    data: Data = DEFAULT,
    log_key: LogKeyText = None,
    policy: PolicyFile = None,
    json_: Json = False,
) -> None:
    """Check a receipt against its event and the log's key, asking nobody."""
    from services.cli.receipts import verify

    raise typer.Exit(verify(file, event, data, log_key, policy, json_=json_))
