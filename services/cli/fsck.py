"""The command `trail fsck`: everything that is kept of a log, here and elsewhere, against everything else."""

import asyncio
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.audit.checkpoints import Checkpoints
from services.audit.copies import Message, Stream, cosignatures, receipts
from services.audit.cosignatures import Cosignatures
from services.audit.findings import REMEDIES, Findings, Kind
from services.audit.fsck import Examination
from services.audit.heads import Heads, checkpoints, reach
from services.audit.log import Log
from services.audit.published import Published
from services.audit.repair import repair
from services.audit.tile_store import store_at
from services.audit.witnessing import Witnessing
from services.cli.installation import DECIDING, Installation
from services.cli.output import GOOD, WRONG, as_json, complain, progress, safe, say
from services.cli.stack import broker_url, is_running
from shared.broker import BATCH, CHECKPOINT_HEADER, connect
from shared.policy import Policy
from shared.words import EvidenceError, TrailError

_SEALING_PATIENCE: Final = 2.0
_MESSAGE_PATIENCE: Final = 5.0


def check(
    directory: Path,
    broker: str | None = None,
    tiles: str | None = None,
    *,
    repair_tiles: bool = False,
    json_: bool = False,
) -> int:
    """Look at everything and say what disagrees; ``tiles`` is where they are published, if not in the directory."""
    home = Installation.open(directory)
    target = tiles or str(home.tiles_path)
    repaired, refused = None, ""
    if repair_tiles:
        try:
            repaired = repair(home.places_for("notary"), home.trial, home.log, store_at(target))
        except EvidenceError as error:
            refused = str(error)
    findings = _examine(home, target, broker)
    if json_:
        as_json(_as_json(findings, repaired, refused))
    else:
        _tell(findings, repaired, refused)
    return GOOD if findings.good else WRONG


def _examine(home: Installation, target: str, broker: str | None) -> Findings:
    findings, heads = Findings(), Heads()
    with closing(Log.at(home.places.log, read_only=True)) as log:
        try:
            entries = log.size()
        except EvidenceError as error:
            findings.add(Kind.DATABASE, "database", str(error))
            findings.not_looked.append("everything else: it is compared with the database")
            return findings
        # What may grow meanwhile is read before what covers it.
        remembered = _remembered(home, log, findings)
        receipts(_outboxes(home), log, home.log, heads, findings)
        published = _published(home, target, findings)
        signed = _signed(home, entries, findings)
        last = max((size for _, size, _ in signed), default=0)
        size = max(entries, min(last, log.size()))
        checkpoints(signed, home.log, heads, findings)
        reach(size, last, remembered, findings)
        if published is not None:
            published.expect([size for _, size, _ in signed], heads)
        examination = Examination(log, size, heads, findings, published)
        with progress("comparing", size) as advance:
            examination.run(advance)
        if published is not None:
            published.end(last)
        stream = Stream(log, size, {at: note for _, at, note in signed}, findings)
        asyncio.run(_compare_stream(home, broker, stream, log, findings))
        _compare_witnesses(home, signed, log, findings, sound=bool(last) and examination.agreed == last)
    return findings


def _remembered(home: Installation, log: Log, findings: Findings) -> int:
    try:
        return log.register(home.trial).signed
    except EvidenceError as error:
        findings.add(Kind.DATABASE, "register", str(error))
        return 0


def _outboxes(home: Installation) -> list[Path]:
    return [path for part in ("outbox", *DECIDING) for path in sorted((home.directory / part).glob("*.sqlite"))]


def _published(home: Installation, target: str, findings: Findings) -> Published | None:
    try:
        return Published(store_at(target, read_only=True), home.log, findings)
    except TrailError as error:
        findings.not_looked.append(f"what is published: {error}")
        return None


def _signed(home: Installation, entries: int, findings: Findings) -> list[tuple[int, int, str]]:
    """The kept checkpoints; those over what was committed a moment ago are waited for."""
    try:
        with closing(Checkpoints.at(home.places.checkpoints, read_only=True)) as kept:
            deadline = time.monotonic() + _SEALING_PATIENCE
            while True:
                signed = kept.all()
                if (signed and signed[-1][1] >= entries) or time.monotonic() > deadline:
                    return signed
                time.sleep(0.05)
    except EvidenceError as error:
        findings.add(Kind.CHECKPOINT, "checkpoints", str(error))
    except TrailError as error:
        findings.add(Kind.CHECKPOINT_MISSING, "checkpoints", str(error))
    return []


async def _compare_stream(
    home: Installation, broker: str | None, stream: Stream, log: Log, findings: Findings
) -> None:
    try:
        if broker is None and not is_running(home.directory):
            raise TrailError("the stack is down")
        client = await connect(broker or broker_url(home.directory), "fsck", home.credentials("log"))
    except TrailError as error:
        findings.not_looked.append(f"LOG: {error}")
        return
    try:
        last = (await client.jetstream().stream_info(home.topology.log)).state.last_seq
        await _read_stream(client, home, stream, last)
        stream.end(last, log.size())
    except (NatsError, TimeoutError) as error:
        findings.not_looked.append(
            f"the rest of LOG, which the broker does not give ({error or type(error).__name__})"
        )
    finally:
        await client.close()


async def _read_stream(client: Client, home: Installation, stream: Stream, last: int) -> None:
    """Hand on the messages up to ``last``, by a consumer that leaves nothing behind."""
    passing = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, inactive_threshold=30, mem_storage=True
    )
    subscription = await client.jetstream().pull_subscribe(
        home.topology.log_subjects, stream=home.topology.log, config=passing
    )
    pending = last
    while pending and stream.following <= last:
        messages = await subscription.fetch(BATCH, timeout=_MESSAGE_PATIENCE)
        stream.take(
            [
                Message(one.metadata.sequence.stream, one.data, (one.headers or {}).get(CHECKPOINT_HEADER))
                for one in messages
            ]
        )
        pending = messages[-1].metadata.num_pending
    await subscription.unsubscribe()


def _compare_witnesses(
    home: Installation, signed: list[tuple[int, int, str]], log: Log, findings: Findings, *, sound: bool
) -> None:
    """Check what is kept of the witnesses, then have each cosign the last checkpoint: it knows whether it may."""
    try:
        policy = home.policy()
        if policy is None:
            raise TrailError("this installation has no policy that names any")
        with closing(Checkpoints.at(home.places.checkpoints, read_only=True)) as kept:
            cosignatures(policy, signed, Cosignatures(kept.engine).all(), findings)
    except EvidenceError as error:
        findings.add(Kind.COSIGNATURE, "cosignatures", str(error))
        return
    except TrailError as error:
        findings.not_looked.append(f"witnesses: {error}")
        return
    for name, witness in policy.witnesses.items():
        if not witness.url:
            findings.not_looked.append(f"the witness {name}: the policy has no URL for it")
        elif not sound or findings.counts[Kind.SUBTREE]:
            findings.not_looked.append(f"the witness {name}: it is asked once the log agrees with its checkpoints")
        else:
            _ask(home, replace(policy, witnesses={name: witness}), log, findings)


def _ask(home: Installation, policy: Policy, log: Log, findings: Findings) -> None:
    (name,) = policy.witnesses
    with closing(Checkpoints.at(home.places_for("notary").checkpoints)) as kept, httpx.Client() as client:
        witnessing = Witnessing(policy, kept, Cosignatures(kept.engine), log.tree, client)
        try:
            witnessing.collect()
        except EvidenceError as error:
            findings.add(Kind.FORK, f"witness {name}", str(error))
            return
    if name in witnessing.troubles:
        findings.not_looked.append(witnessing.troubles[name].what)
    else:
        findings.looked.append(f"the witness {name} has cosigned the last checkpoint")


def _as_json(findings: Findings, repaired: list[str] | None, refused: str) -> dict[str, object]:
    return {
        "good": findings.good,
        "disagreements": [
            {"kind": one.kind, "where": one.where, "what": one.what, "remedy": one.remedy} for one in findings.named
        ],
        "more": findings.more(),
        "looked": findings.looked,
        "not_looked": findings.not_looked,
        "repaired": repaired,
        "refused": refused,
    }


def _tell(findings: Findings, repaired: list[str] | None, refused: str) -> None:
    if refused:
        complain(refused)
    if repaired is not None:
        say(f"[green]Made again from the entries:[/] the stored subtrees and {len(repaired)} published files.")
    more = findings.more()
    for kind in sorted(findings.counts, key=list(Kind).index):
        for one in findings.named:
            if one.kind is kind:
                complain(f"{one.where}: {one.what}")
        if kind in more:
            complain(f"and {more[kind]} more: {kind}")
        complain(f"  {REMEDIES[kind]}")
    for sentence in findings.looked:
        say(f"compared: {safe(sentence)}")
    for sentence in findings.not_looked:
        say(f"[yellow]not looked at: {safe(sentence)}[/]")
    if findings.good:
        say("[green]Everything that was compared agrees.[/]")
    else:
        say(f"[red]{findings.counts.total()} disagreements.[/]")
