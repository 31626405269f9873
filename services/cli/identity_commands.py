"""The commands ``trail identity``: who may speak in the log, as whom, at which sites, and until when."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DEFAULT, AsOf, Broker, By, Data, Json, PassphraseFile, Why

app = typer.Typer(no_args_is_help=True, help="Who may speak: grant, change, suspend, revoke; training, delegation.")

User = Annotated[str, typer.Argument(help="The person's user id.")]
Sites = Annotated[list[str] | None, typer.Option("--site", help="A site it is for; every site if left out.")]
Site = Annotated[str, typer.Option("--site", help="The site.")]
Roles = Annotated[list[str], typer.Option("--role", help="A role; may be given again.")]
Until = Annotated[str | None, typer.Option("--until", help="When it ends: a day (the last one, UTC) or a time.")]
Task = Annotated[str, typer.Option("--task", help="consent, data_entry, eligibility, treatment or safety.")]
ByInvestigator = Annotated[str, typer.Option("--by", help="The investigator's user id.")]
PublicKey = Annotated[
    str | None, typer.Option("--public-key", help="Of a key that is made and kept elsewhere, base64.")
]
BrokerKey = Annotated[
    str | None,
    typer.Option(
        "--broker-key", help="The public NATS key that the broker will know them by, U...; docs/broker.md."
    ),
]
NewPassphraseFile = Annotated[
    Path | None, typer.Option("--new-passphrase-file", help="The new key's passphrase in a file.")
]


@app.command("list")
def list_(data: Data = DEFAULT, as_of: AsOf = None, json_: Json = False) -> None:
    """List everybody who may or might speak, with what is delegated to them."""
    from services.cli.identities import tell_identities

    raise typer.Exit(tell_identities(data, as_of, json_=json_))


@app.command()
def grant(
    user: User,
    name: Annotated[str, typer.Option("--name", help="The person's name, as signatures show it.")],
    role: Roles,
    site: Sites = None,
    until: Until = None,
    source: Annotated[str | None, typer.Option("--source", help="KIND/ID to speak for, if not their own.")] = None,
    public_key: PublicKey = None,
    broker_key: BrokerKey = None,
    new_passphrase_file: NewPassphraseFile = None,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Give a person a user id, which nobody else ever gets, and a key to sign with."""
    from services.cli.identities import Office

    office = Office(data, by, passphrase_file, broker)
    raise typer.Exit(
        office.grant(user, name, role, site, until, source, public_key, broker_key, new_passphrase_file)
    )


@app.command("grant-system")
def grant_system(
    source: Annotated[str, typer.Argument(help="KIND/ID that it speaks for, like site/701.")],
    name: Annotated[str, typer.Option("--name", help="What it is called.")],
    role: Roles,
    public_key: Annotated[str, typer.Option("--public-key", help="Of the key that the system keeps, base64.")],
    site: Sites = None,
    until: Until = None,
    broker_key: BrokerKey = None,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Let a system speak: a site's electronic source, the sponsor's."""
    from services.cli.identities import Office

    said = {"public_key": public_key, "holder": name, "source": source, "roles": role, "sites": site}
    office = Office(data, by, passphrase_file, broker)
    raise typer.Exit(office.say("granted", until=until, broker_key=broker_key, **said))


@app.command()
def change(
    user: User,
    role: Roles,
    why: Why,
    site: Sites = None,
    until: Until = None,
    broker_key: BrokerKey = None,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Give a person other rights, whole: roles, sites and end as given here."""
    from services.cli.identities import Office

    office = Office(data, by, passphrase_file, broker)
    raise typer.Exit(office.change(user, role, site, until, broker_key, why))


@app.command()
def suspend(
    user: User,
    why: Why,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Let a person not speak for now."""
    from services.cli.identities import Office

    raise typer.Exit(Office(data, by, passphrase_file, broker).about(user, "suspended", why=why))


@app.command()
def reinstate(
    user: User,
    why: Why,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Let a suspended person speak again; or confirm the key that somebody else has given them."""
    from services.cli.identities import Office

    raise typer.Exit(Office(data, by, passphrase_file, broker).about(user, "reinstated", why=why))


@app.command()
def revoke(
    user: User,
    why: Why,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Let a person never speak again; what was signed stays signed."""
    from services.cli.identities import Office

    raise typer.Exit(Office(data, by, passphrase_file, broker).about(user, "revoked", why=why))


@app.command("replace-key")
def replace_key(
    user: User,
    why: Why,
    until: Until = None,
    public_key: PublicKey = None,
    broker_key: BrokerKey = None,
    new_passphrase_file: NewPassphraseFile = None,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Give a person another key; the old one is revoked for good."""
    from services.cli.identities import Office

    office = Office(data, by, passphrase_file, broker)
    raise typer.Exit(office.replace_key(user, why, until, public_key, broker_key, new_passphrase_file))


@app.command()
def train(
    user: User,
    task: Task,
    course: Annotated[str, typer.Option("--course", help="What the training was.")],
    on: Annotated[str, typer.Option("--on", help="The day it was completed.")],
    until: Until = None,
    by: By = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Record that a person was trained for a task."""
    from services.cli.identities import Office

    office = Office(data, by, passphrase_file, broker)
    raise typer.Exit(office.say("trained", until=until, user=user, task=task, course=course, on=on))


@app.command()
def delegate(
    user: User,
    task: Task,
    site: Site,
    by: ByInvestigator,
    until: Until = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Let a trained person do a task at a site, from now on, by an investigator's word."""
    from services.cli.identities import Office

    raise typer.Exit(Office(data, by, passphrase_file, broker).delegate(user, task, site, until))


@app.command("end-delegation")
def end_delegation(
    user: User,
    task: Task,
    site: Site,
    by: ByInvestigator,
    why: Why,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Take a task back, at once."""
    from services.cli.identities import Office

    office = Office(data, by, passphrase_file, broker)
    raise typer.Exit(office.say("delegation_ended", user=user, task=task, site=site, why=why))
