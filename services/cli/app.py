"""The command ``trail``: each command in a few lines; the work is done in the modules beside this one.

Exit codes: 0 good, 1 something is wrong with what was looked at, 2 could not run.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli import (
    broker_commands,
    database_commands,
    identity_commands,
    key_commands,
    protocols,
    receipt_commands,
    review_commands,
    show_commands,
)
from services.cli.options import DEFAULT, AsOf, Broker, Data, Json, LogKeyText, PassphraseFile, PolicyFile
from services.cli.output import COULD_NOT_RUN, WRONG, complain
from shared.words import EvidenceError, TrailError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Seals every decision of a clinical trial, on eligibility and safety; anyone can verify and replay it.",
)
imports = typer.Typer(no_args_is_help=True, help="Bring in data from elsewhere.")
app.add_typer(imports, name="import")
exports = typer.Typer(no_args_is_help=True, help="Take evidence out of the house.")
app.add_typer(exports, name="export")
app.add_typer(show_commands.app, name="show")
app.add_typer(receipt_commands.app, name="receipt")
app.add_typer(key_commands.app, name="key")
app.add_typer(identity_commands.app, name="identity")
app.add_typer(protocols.app, name="protocol")
app.add_typer(review_commands.app, name="review")
app.add_typer(broker_commands.app, name="broker")
app.add_typer(database_commands.app, name="database")

TrialFile = Annotated[
    str | None,
    typer.Option("--protocol", help="The file of the trial whose log begins here; or nct06027853, cdiscpilot01."),
]


Practice = Annotated[
    bool,
    typer.Option(
        "--practice",
        envvar="TRAIL_PRACTICE",
        help="Begin a log to practise with: `submit` makes the keys of persons too.",
    ),
]


Database = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="TRAIL_DATABASE_OWNER",
        help="Begin the log in PostgreSQL: the URL of a role that may make others; docs/databases.md.",
    ),
]


@app.command()
def up(
    data: Data = DEFAULT,
    guarded: Annotated[
        bool, typer.Option("--guarded", help="A broker that tells its users apart, with TLS; remembered.")
    ] = False,
    practice: Practice = False,
    database: Database = "",
) -> None:
    """Start the embedded stack (broker, witness, audit, screening, safety) and keep it running until Ctrl-C."""
    from services.cli.running import keep_up

    keep_up(data, guarded=guarded, practice=practice, database=database)


@app.command()
def init(
    data: Data = DEFAULT,
    witness_url: Annotated[
        str, typer.Option("--witness-url", help="Where this log's own witness will be asked, if it is started.")
    ] = "",
    protocol: TrialFile = None,
    practice: Practice = False,
    database: Database = "",
) -> None:
    """Begin the log of a trial whose parts are started by something else, such as Docker Compose."""
    from services.cli.apart import begin

    begin(data, witness_url, protocol, practice=practice, database=database)


@app.command()
def deliver(
    data: Data = DEFAULT,
    broker: Broker = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for every receipt.")] = False,
) -> None:
    """Deliver what the outboxes of this data directory still hold."""
    from services.cli.apart import deliver_waiting

    raise typer.Exit(deliver_waiting(data, broker, wait=wait))


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="A new data directory for the synthetic study.")] = Path(
        ".trail-demo"
    ),
    seed: Annotated[int, typer.Option(help="Another seed, another synthetic study.")] = 6027853,
) -> None:
    """Run a whole synthetic study through the real stack, then verify and replay it."""
    from services.cli.running import run_demo

    raise typer.Exit(run_demo(data, seed))


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="Drafts of events, one JSON object a line.")],
    data: Data = DEFAULT,
    broker: Broker = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for every receipt.")] = False,
    by: Annotated[str | None, typer.Option("--by", help="Your user id, for what is of your own source.")] = None,
    passphrase_file: PassphraseFile = None,
    json_: Json = False,
) -> None:
    """Post events as a site or a person does: through the outbox, drafts in, receipts out."""
    from services.cli.running import submit_file

    raise typer.Exit(submit_file(data, file, broker, by, passphrase_file, wait=wait, json_=json_))


@app.command()
def sign(
    user: Annotated[str, typer.Option("--user", help="Your user id.")],
    indices: Annotated[
        list[int] | None,
        typer.Argument(metavar="[INDEX]...", min=0, help="Entries to sign; what waits if left out."),
    ] = None,
    meaning: Annotated[str | None, typer.Option("--meaning", help="What the signature says of INDEX.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Sign anew all of yours that was superseded.")] = False,
    assumptions: Annotated[
        list[str] | None, typer.Option("--assumption", help="With --meaning assumption: which one; repeat it.")
    ] = None,
    data: Data = DEFAULT,
    broker: Broker = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="For scripts: a file or /dev/fd/N with the passphrase.")
    ] = None,
    json_: Json = False,
) -> None:
    """Sign records electronically, each shown in words first, with user id and passphrase; see what waits."""
    from services.cli.signing import sign

    asked = sign(
        data, user, indices or [], meaning, assumptions or [], broker, passphrase_file, again=again, json_=json_
    )
    raise typer.Exit(asked)


@imports.command("sdtm")
def import_sdtm(
    directory: Annotated[Path, typer.Argument(help="A folder of SDTM tables as SAS transport files (.xpt).")],
    data: Data = DEFAULT,
    broker: Broker = None,
    protocol: TrialFile = None,
    json_: Json = False,
) -> None:
    """Post a study's SDTM data as events of its sites, and wait for the decisions."""
    from services.cli.importing import import_study

    raise typer.Exit(import_study(data, directory, broker, protocol, json_=json_))


@app.command()
def verify(
    target: Annotated[Path | None, typer.Argument(help="A data directory; --data if left out.")] = None,
    data: Data = DEFAULT,
    log_key: LogKeyText = None,
    policy: PolicyFile = None,
    hashes_only: Annotated[
        bool, typer.Option("--hashes-only", help="Only hashes, links and signed roots, on all cores.")
    ] = False,
    remember: Annotated[
        Path | None,
        typer.Option("--remember", help="With --hashes-only: your own file of how far it was verified before."),
    ] = None,
    json_: Json = False,
) -> None:
    """Recompute every hash, link, tree head, signature, ruling and sequence; ask for witnesses and timestamps."""
    if hashes_only and policy is not None:
        raise TrailError("--hashes-only asks no witness: leave --policy out, or --hashes-only")
    if hashes_only:
        from services.cli.hashing import verify_hashes_only

        raise typer.Exit(verify_hashes_only(target or data, log_key, remember, json_=json_))
    if remember is not None:
        raise TrailError("--remember goes with --hashes-only: rulings depend on everything before them")
    from services.cli.checking import verify_directory

    raise typer.Exit(verify_directory(target or data, log_key, policy, json_=json_))


@app.command()
def replay(
    data: Data = DEFAULT,
    participant: Annotated[str | None, typer.Option("--participant", help="Only this participant.")] = None,
    as_of: AsOf = None,
    protocol: Annotated[
        Path | None, typer.Option("--protocol", help="What would another version of the protocol decide?")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare every recorded decision byte for byte.")] = False,
    json_: Json = False,
) -> None:
    """Run the deciders over the log again: to check, to look back, or to ask "what if"."""
    from services.cli.checking import replay_directory

    raise typer.Exit(
        replay_directory(data, participant=participant, as_of=as_of, protocol=protocol, check=check, json_=json_)
    )


@app.command()
def outcomes(
    data: Data = DEFAULT,
    as_of: AsOf = None,
    trace: Annotated[
        str | None,
        typer.Option("--trace", help="What a row, a dose level or a participant counts, entry by entry."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="A directory to draw the outcomes in, as SVG.")
    ] = None,
    json_: Json = False,
) -> None:
    """Count the trial's outcomes: adverse events, dose-limiting toxicities, chimerism; each with its entries."""
    from services.cli.outcomes import tell_outcomes

    raise typer.Exit(tell_outcomes(data, as_of=as_of, trace=trace, pictures=pictures, json_=json_))


@app.command()
def fsck(
    data: Data = DEFAULT,
    broker: Broker = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            "--tiles", envvar="TRAIL_TILES", help="Where tiles are published, if not in the data directory."
        ),
    ] = None,
    repair_tiles: Annotated[
        bool, typer.Option("--repair-tiles", help="Make stored subtrees and tiles again from the entries.")
    ] = False,
    json_: Json = False,
) -> None:
    """Hold all that is kept of the log against all the rest: database, LOG, tiles, witnesses, receipts."""
    from services.cli.fsck import check

    raise typer.Exit(check(data, broker, tiles, repair_tiles=repair_tiles, json_=json_))


@app.command()
def rebuild(
    data: Data = DEFAULT,
    tiles: Annotated[
        str | None,
        typer.Option("--tiles", envvar="TRAIL_TILES", help="Where the log is published, if not in the directory."),
    ] = None,
    json_: Json = False,
) -> None:
    """Make the log's database again from its published tiles, when it is lost; the stack must be down."""
    from services.cli.rebuilding import rebuild_log

    raise typer.Exit(rebuild_log(data, tiles, json_=json_))


@app.command()
def witness(
    data: Annotated[Path, typer.Option("--data", help="The witness's own directory, apart from any log's.")],
    log: Annotated[
        list[str] | None, typer.Option("--log", help="The key of a log to cosign for; remembered.")
    ] = None,
    forget: Annotated[list[str] | None, typer.Option("--forget", help="A key to trust no longer.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Its name, when it is begun.")] = None,
    listen: Annotated[str, typer.Option("--listen", help="Host and port.")] = "127.0.0.1:7380",
    metrics: Annotated[
        str, typer.Option("--metrics", envvar="TRAIL_WITNESS_METRICS", help="Host and port to serve metrics at.")
    ] = "",
) -> None:
    """Cosign another organisation's log, as long as it only grows (c2sp.org/tlog-witness)."""
    from services.cli.witnessing import keep_witnessing

    keep_witnessing(data, log or [], name, listen, forget or [], metrics)


@app.command()
def asyncapi() -> None:
    """Print what goes over the broker as an AsyncAPI document, for whoever writes a client (docs/asyncapi.yaml)."""
    from services.cli.asyncapi import as_yaml

    sys.stdout.write(as_yaml())


@exports.command("bundle")
def export_bundle(
    out: Annotated[Path, typer.Argument(help="The zip file to write.")],
    data: Data = DEFAULT,
    site: Annotated[str | None, typer.Option("--site", help="Only this site's events, like 701.")] = None,
    participant: Annotated[str | None, typer.Option("--participant", help="Only this participant's.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="From this entry index or time on.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Up to this entry index or time.")] = None,
    json_: Json = False,
) -> None:
    """Write an evidence bundle that anyone can check offline, without anything of ours."""
    from services.cli.exporting import export_bundle

    raise typer.Exit(
        export_bundle(data, out, site=site, participant=participant, first=first, last=last, json_=json_)
    )


@app.command()
def erase(
    participant: Annotated[str, typer.Argument(help="The participant's code.")],
    why: Annotated[
        str | None, typer.Option("--why", help="Why, as it will be sealed, readable for good: name nobody.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Who speaks, like site/701; the participant's site if left out.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Your user id, if you order it in person.")] = None,
    passphrase_file: PassphraseFile = None,
    data: Data = DEFAULT,
    broker: Broker = None,
) -> None:
    """Destroy a participant's privacy key, so that their private texts are erased; ordered, and signed by two."""
    from services.cli.erasing import erase
    from services.cli.speaking import Speaker

    raise typer.Exit(erase(participant, why, source, Speaker(data, by, passphrase_file, broker)))


@app.command()
def doctor(data: Data = DEFAULT, broker: Broker = None, json_: Json = False) -> None:
    """Say what is well and what is not with an installation, and what to do."""
    from services.cli.doctor import examine

    raise typer.Exit(examine(data, broker, json_=json_))


def main() -> None:
    """Run the command; every error ends in a sentence and an exit code."""
    try:
        app()
    except EvidenceError as error:
        complain(str(error))
        sys.exit(WRONG)
    except (TrailError, OSError) as error:
        complain(str(error))
        sys.exit(COULD_NOT_RUN)


if __name__ == "__main__":
    main()
