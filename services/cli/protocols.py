"""The commands ``trail protocol``: amend, activate, list the versions, and tell what one would change."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DEFAULT, AsOf, Broker, Data, Json, PassphraseFile

app = typer.Typer(no_args_is_help=True, help="The protocol's versions: amend, activate, list, and their impact.")

Digest = Annotated[str, typer.Option("--digest", help="The version's SHA-256, or how it begins.")]
Source = Annotated[
    str, typer.Option("--source", help="The sponsor's or the site's system whose key on this machine signs.")
]
ByPerson = Annotated[
    str | None, typer.Option("--by", help="Your own user id, where a person posts it and no system.")
]


@app.command("list")
def list_(data: Data = DEFAULT, as_of: AsOf = None, json_: Json = False) -> None:
    """List the versions: who signed each, and at which sites it is in force since when."""
    from services.cli.protocol_views import list_versions

    list_versions(data, as_of, json_=json_)


@app.command()
def impact(
    digest: Annotated[
        str | None, typer.Option("--digest", help="A sealed version, or how its digest begins.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A draft of a version, not sealed yet.")] = None,
    data: Data = DEFAULT,
    json_: Json = False,
) -> None:
    """Tell who would have to consent again, and whose eligibility would change, site by site."""
    from services.cli.protocol_views import tell_impact

    tell_impact(data, digest, file, json_=json_)


@app.command()
def amend(
    file: Annotated[Path, typer.Argument(help="The protocol document, whole, with a version of its own.")],
    summary: Annotated[str, typer.Option("--summary", help="What changes and why, as it will be sealed.")],
    reconsent: Annotated[
        bool, typer.Option("--reconsent", help="Who consented before has to consent again.")
    ] = False,
    replaces: Annotated[
        str | None, typer.Option("--replaces", help="The version it amends; the newest sealed if left out.")
    ] = None,
    source: Source = "sponsor/office",
    by: ByPerson = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Seal another version of the protocol. It is in force nowhere before it is signed and activated."""
    from services.cli.protocol_acts import Amending

    amending = Amending(data, source, by, passphrase_file, broker)
    raise typer.Exit(amending.amend(file, summary, replaces, reconsent=reconsent))


@app.command()
def activate(
    digest: Digest,
    site: Annotated[str, typer.Option("--site", help="The site.")],
    effective: Annotated[str, typer.Option("--effective", help="The first day, in the site's own calendar.")],
    committee: Annotated[str, typer.Option("--committee", help="The ethics committee that approved it.")],
    reference: Annotated[str, typer.Option("--reference", help="The committee's reference of its approval.")],
    approved: Annotated[str, typer.Option("--approved", help="The day of the approval.")],
    source: Source = "sponsor/office",
    by: ByPerson = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Put a signed version in force at a site, from a day on that its ethics committee's approval allows."""
    from services.cli.protocol_acts import Amending

    said = {
        "site": site,
        "effective": effective,
        "committee": committee,
        "reference": reference,
        "approved": approved,
    }
    raise typer.Exit(Amending(data, source, by, passphrase_file, broker).activate(digest, said))
