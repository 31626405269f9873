"""The commands `trail broker`: whom the broker lets in, as the log says."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import DEFAULT, Broker, Data, Json
from services.cli.output import GOOD, as_json, out, safe, say
from shared.words import TrailError

if TYPE_CHECKING:
    from services.cli.installation import Installation

app = typer.Typer(no_args_is_help=True, help="Whom the broker lets in, and that it is what the log says.")


@app.command("config")
def config(
    data: Data = DEFAULT,
    out_: Annotated[
        Path | None, typer.Option("--out", help="A folder for a server that `trail up` does not start.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A name or address that clients reach the broker by.")
    ] = None,
    listen: Annotated[str, typer.Option("--listen", help="With --out: host and port.")] = "0.0.0.0:4222",
    store: Annotated[str, typer.Option("--store", help="With --out: where JetStream keeps its files.")] = (
        "/var/lib/nats"
    ),
    there: Annotated[
        str | None, typer.Option("--there", help="With --out: where the folder will be on the broker's machine.")
    ] = None,
    json_: Json = False,
) -> None:
    """Write the broker's configuration from the log: its users, their permissions, its certificate."""
    from services.cli.broker_access import hand_out, write_configuration
    from services.cli.installation import Installation

    home = Installation.open(data)
    access = write_configuration(home, name or [])
    if out_ is not None:
        hand_out(home, out_, listen, store, there or str(out_.resolve()))
    if json_:
        users = [
            {"source": one.source, "holder": one.holder, "key": one.key}
            | {"publish": one.publish, "subscribe": one.subscribe}
            for one in (access.notary, *access.users)
        ]
        as_json({"users": users, "left_out": access.left_out})
        return
    for user in (access.notary, *access.users):
        out.print(f"{safe(user.source)}  {safe(user.holder)}  {user.key}")
    for reason in access.left_out:
        say(f"[yellow]left out:[/] {safe(reason)}")
    say(f"Clients get {safe(home.broker_ca_path)}, and each its own key.")
    if out_ is None:
        say("`trail up` goes by it from its next start on, and from `trail broker reload` on while it runs.")
    else:
        say(f"Start the server with `nats-server -c {safe(there or out_.resolve())}/nats.conf`, or have it read")
        say("it with `nats-server --signal reload=<pid>`, twice. Then have it sealed: `trail broker seal`.")


@app.command("reload")
def reload_(data: Data = DEFAULT) -> None:
    """Bring the embedded broker up to the log, cut off whom it lets in no longer, and have that sealed."""
    from services.cli.broker_access import reload, running_broker
    from services.cli.installation import Installation
    from services.cli.stack import broker_url

    home = Installation.open(data)
    pid = running_broker(home)
    if pid is None or not home.is_guarded:
        raise TrailError(
            "no broker that tells its users apart is running here: `trail up --guarded` starts one; for a server "
            "of your own use `trail broker config --out`, and `trail broker seal` when it has read it"
        )
    reload(home, pid)
    raise typer.Exit(_seal(home, broker_url(home.directory)))


@app.command("seal")
def seal(data: Data = DEFAULT, broker: Broker = None) -> None:
    """Have it sealed that the configuration last written is in force; after a server of your own has read it."""
    from services.cli.installation import Installation
    from services.cli.stack import broker_url

    home = Installation.open(data)
    raise typer.Exit(_seal(home, broker or broker_url(home.directory)))


def _seal(home: "Installation", url: str) -> int:
    from services.cli.broker_access import configured, remember
    from services.cli.delivery import line
    from shared.identities import ROOT_SOURCE

    draft = configured(home)
    remember(home, draft)

    async def deliver() -> bool:
        async with line(home, url) as connected:
            connected.post.put([draft])
            return await connected.deliver([ROOT_SOURCE], timeout=30)

    done = asyncio.run(deliver())
    say(f"The broker's users are those of the log as of entry {draft.data['as_of']}; [green]sealed[/].")
    if not done:
        raise TrailError(f"its receipt has not come yet; `trail deliver --data {home.directory} --wait` asks again")
    return GOOD
