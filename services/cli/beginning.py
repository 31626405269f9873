"""Beginning the log of a trial in a new data directory: keys, genesis entry, the root's first statements."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

from services.audit.notary import Notary
from services.cli.installation import DECIDING, LOCAL_WITNESS, Clock, Installation, granted
from services.witness.witness import Witness
from shared.broker import Topology
from shared.drafts import Draft
from shared.entry import Arrival
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.note import NoteKey
from shared.outbox import Outbox
from shared.policy import Policy
from shared.policy import Witness as WitnessOf
from shared.protocol.model import load_protocol, protocol_digest
from shared.signing import Keyring, SigningKey
from shared.words import LogIndex, SourceId, TrailError

TRIALS: Final = ("nct06027853", "cdiscpilot01")
"""The trial files that come with this program, beside ``shared.protocol``."""

DEFAULT_TRIAL: Final = TRIALS[0]


def begin_log(
    directory: Path,
    *,
    clock: Clock = "system",
    start: datetime | None = None,
    tick_seconds: int = 900,
    keys: Mapping[str, SigningKey] | None = None,
    witness_url: str = "",
    protocol: str | None = None,
    practice: bool = False,
    database: str = "",
) -> Installation:
    """Begin a new log: keys, genesis entry, and the root's first statements waiting in its outbox.

    ``start`` is the genesis time of a simulated log; ``keys`` replaces keys by file name, for studies that
    must come out the same every time; ``witness_url`` is where the witness begun here will be asked, left
    empty where the embedded stack starts it; ``protocol`` is the text of the trial's file, that of NCT06027853
    where it is left out; a ``practice`` log is not for a trial, and a simulated one never is;
    ``database`` is the URL of a PostgreSQL database, with a role that may make others, where the log is to be.
    Raises TrailError when the directory is in use, the text is no trial file, or the database refuses.
    """
    # Empty folders may be there: mount points of the volumes that a container keeps the parts in.
    if any(not path.is_dir() for path in directory.rglob("*")):
        raise TrailError(f"{directory} is not empty; choose another with --data, or remove it first")
    text = trial_file(DEFAULT_TRIAL) if protocol is None else protocol
    trial = load_protocol(text).trial
    origin = f"trialtrail.example/{trial}"
    made = dict(keys or {})
    for name in ("log", "root", *(f"service-{name}" for name in DECIDING)):
        made.setdefault(name, SigningKey.generate())
    if database:  # first: where it refuses, nothing is left in the directory
        from services.cli.databases import create  # imported where it is needed: Alembic takes its time

        database = create(database, trial, directory.resolve() / "keys")
    directory.mkdir(parents=True, exist_ok=True)
    for name, key in made.items():
        key.save(directory / "keys" / f"{name}.pem")
    practice = practice or clock == "simulated"
    log_key = NoteKey(origin, made["log"].public)
    home = Installation(directory.resolve(), trial, log_key, clock, practice=practice, database=database)
    now = stamp(start or datetime.now(UTC))
    opened = {
        "origin": origin,
        "protocol_digest": protocol_digest(text),
        "log_key": base64.b64encode(made["log"].public).decode(),
        "root_key": base64.b64encode(made["root"].public).decode(),
        "clock": clock,
        "tick_seconds": tick_seconds,
    }
    grants = [
        granted(
            made[f"service-{name}"],
            SourceId(f"service/{name}"),
            name,
            holder,
            home.broker_key(f"service-{name}"),
        )
        for name, holder in DECIDING.items()
    ]
    statements = [
        ("log.opened", opened),
        *(("identity.granted", grant) for grant in grants),
        # After the grants: what a service decides because of it must be admitted.
        ("protocol.adopted", {"document": text, "digest": protocol_digest(text)}),
    ]
    drafts = [Draft(source=ROOT_SOURCE, type=type_, time=now, data=data) for type_, data in statements]
    outbox = home.outbox(ROOT_SOURCE)
    outbox.put(drafts, lambda _role: made["root"])
    _seal_genesis(home, outbox, start)
    outbox.close()
    (directory / "protocol.yaml").write_text(text, "utf-8")
    _begin_witness(home, witness_url)
    home.write()  # last: a directory without it was never finished, and is begun again
    return home


def opened_to_begin(directory: Path, *, practice: bool) -> Installation:
    """A data directory that one was about to begin, and that was begun before.

    Raises TrailError when it was to be one for practice, and is a trial's.
    """
    home = Installation.open(directory)
    if practice and not home.practice:
        raise TrailError(
            f"{directory} holds the log of a trial, which never becomes one to practise with: name another "
            "directory with --data, or leave --practice out"
        )
    return home


def grant_new_services(home: Installation) -> None:
    """Make the keys of deciding services that came later than this log, and let the root grant them."""
    if home.clock == "simulated":
        return  # a study of the past: nothing comes to it later
    outbox = home.outbox(ROOT_SOURCE)
    for name, holder in DECIDING.items():
        if not home.has_key(SourceId(f"service/{name}"), name):
            draft = home.grant(SourceId(f"service/{name}"), name, holder, stamp(datetime.now(UTC)))
            outbox.put([draft], lambda _role: home.key("root"))
    outbox.close()


def _seal_genesis(home: Installation, outbox: Outbox, start: datetime | None) -> None:
    first = outbox.waiting(1)[0]
    subject = Topology(home.trial).intake_subject(ROOT_SOURCE, first.route)
    clock = (lambda: start) if start is not None else (lambda: datetime.now(UTC))
    notary = Notary(
        home.audit_path, home.trial, Keyring(home.key("log")), places=home.places_for("notary"), clock=clock
    )
    notary.seal([Arrival(0, subject, first.key, first.signature, first.payload)])
    outbox.confirm(notary.receipts_of([LogIndex(0)]).values(), home.log)
    notary.close()


def _begin_witness(home: Installation, url: str) -> None:
    witness = Witness.at(home.witness_path, logs=[home.log_key])
    witness.close()
    one = WitnessOf(LOCAL_WITNESS, witness.key, url)
    home.policy_path.write_text(Policy((home.log_key,), {one.name: one}, {}, one.name).text(), "utf-8")


def trial_file(name: str) -> str:
    """Read a trial's file: the path of one, or the name of one that comes with this program.

    Raises TrailError when there is none of that name.
    """
    if Path(name).is_file():
        return Path(name).read_text("utf-8")
    if name.lower() not in TRIALS:
        raise TrailError(f"{name} is neither a file nor a trial that comes with this program ({', '.join(TRIALS)})")
    return files("shared.protocol").joinpath(f"{name.lower()}.yaml").read_text("utf-8")
