"""Signatures told at the terminal: each with its manifestation, and what still waits for one."""

from collections.abc import Iterable

from services.cli.output import safe, say
from services.console.signature_words import manifestation, what_waits
from services.console.signatures import Signature, Waiting

_COLOURS = {"valid": "green", "superseded": "red", "taken_back": "yellow"}


def tell_signatures(signatures: Iterable[Signature], title: str = "Signatures", indent: str = "  ") -> None:
    """Every signature with its manifestation (21 CFR 11.50(b)); nothing where there is none."""
    for number, one in enumerate(signatures):
        if number == 0 and title:
            say(f"\n[bold]{title}[/]")
        first, *others = manifestation(one)
        say(f"{indent}[{_COLOURS[one.status]}]{safe(first)}[/]")
        for line in others:
            say(f"{indent}    {safe(line)}")


def tell_waiting(waiting: Iterable[Waiting]) -> None:
    """What waits for a signature; nothing where nothing does."""
    for number, one in enumerate(waiting):
        if number == 0:
            say("\n[bold]Not signed yet[/]")
        say(f"  {safe(what_waits(one))}")
