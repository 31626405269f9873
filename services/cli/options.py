"""Options that several commands have, said once."""

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT: Final = Path(".trail")

Data = Annotated[Path, typer.Option("--data", envvar="TRAIL_HOME", help="The data directory of the trial.")]
Json = Annotated[bool, typer.Option("--json", help="For a program to read.")]
Broker = Annotated[
    str | None,
    typer.Option("--broker", envvar="TRAIL_BROKER", help="Where the broker is, if `trail up` did not start it."),
]
AsOf = Annotated[str | None, typer.Option("--as-of", help="Only what was sealed by this entry index or time.")]
Why = Annotated[str, typer.Option("--why", help="Why, as it will be sealed.")]
By = Annotated[
    str | None, typer.Option("--by", help="Your own user id; the root's key on this machine if left out.")
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Your passphrase in a file, where nobody is at a terminal.")
]
LogKeyText = Annotated[
    str | None, typer.Option("--log-key", help="The log's public key as you were given it, apart from the log.")
]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="A tlog-policy file: whose signatures and cosignatures you ask for.")
]
