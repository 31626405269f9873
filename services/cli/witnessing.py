"""The command ``trail witness``: cosign for another organisation's log."""

from collections.abc import Sequence
from pathlib import Path

from services.cli.output import safe, say
from services.witness.app import LISTEN, serve
from services.witness.witness import Witness


def keep_witnessing(
    data: Path,
    logs: Sequence[str],
    name: str | None = None,
    listen: str = LISTEN,
    forget: Sequence[str] = (),
    metrics: str = "",
) -> None:
    """Run a witness in the foreground until interrupted; see docs/witness.md."""
    serve(data, logs, name, listen, forget=forget, metrics=metrics, introduce=_introduce)
    say("The witness has stopped; keep its directory as it is: its memory is what it promises.")


def _introduce(witness: Witness, url: str) -> None:
    watched = ", ".join(sorted(witness.logs))
    say(f"[green]The witness {safe(witness.name)} is up[/] at {safe(url)}, for {safe(watched)}.")
    say(f"Its key: {safe(witness.key.vkey())}")
    say("For the policy of each log and auditor, with the URL at which the notary reaches it:")
    say(f"  witness {safe(witness.name)} {safe(witness.key.vkey())} {safe(url)}")
    say("Then name it in the policy's quorum, alone or in a group. Stop with Ctrl-C.")
