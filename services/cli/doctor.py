"""What is well and what is not with an installation, and what to do about it."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from nats.errors import Error as NatsError

from services.audit.attesting import TROUBLES
from services.audit.authorities import read_authorities
from services.audit.timestamps import Timestamps, overdue
from services.cli.installation import DECIDING, Installation
from services.cli.output import GOOD, WRONG, as_json, safe, say
from services.cli.reading import reading
from services.cli.stack import broker_url
from shared.broker import connect
from shared.person_keys import PersonKey
from shared.policy import NONE
from shared.words import SourceId, TrailError

_LITTLE_SPACE = 500_000_000
_EXPIRES_SOON = timedelta(days=30)
_COSIGNED_SOON = 1000  # entries: what a witness cosigns while a busy notary seals on
State = Literal["well", "note", "sick"]
_SIGNS = {"well": "[green]well[/]", "note": "[yellow]note[/]", "sick": "[red]sick[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    state: State
    what: str


def examine(directory: Path, broker: str | None = None, *, json_: bool = False) -> int:
    """Look an installation over and say what to do."""
    home = Installation.open(directory)
    findings = [
        *_files(home),
        *_log(home),
        *_outside(home),
        *_privacy(home),
        *_outboxes(home),
        *asyncio.run(_broker(home, broker)),
    ]
    if json_:
        as_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{_SIGNS[finding.state]}  {safe(finding.what)}")
    return WRONG if any(finding.state == "sick" for finding in findings) else GOOD


def _files(home: Installation) -> Iterator[Finding]:
    free = shutil.disk_usage(home.directory).free
    state: State = "well" if free > _LITTLE_SPACE else "sick"
    yield Finding(state, f"{free // 1_000_000} MB free on the disk of {home.directory}")
    for name in ("log", "root", *(f"service-{service}" for service in DECIDING)):
        path = home.directory / "keys" / f"{name}.pem"
        if not path.exists():
            yield Finding("sick", f"the key {path} is missing; restore it from its back-up")
    # A warning and no refusal: containers are given their secrets readable by all in the container.
    for path in sorted((home.directory / "keys").glob("*")):
        if path.suffix in {".pem", ".key", ".pgpass"} and path.stat().st_mode & 0o077:
            yield Finding("sick", f"the key {path} can be read by others; run chmod 600 on it")
    for path in sorted((home.directory / "keys").glob("*.key")):
        yield from _person(path)


def _person(path: Path) -> Iterator[Finding]:
    """A person's key: whether it opens, and for how long."""
    key, now = PersonKey(path), datetime.now(UTC)
    try:
        known, attempts = key.about(), key.attempts()
    except TrailError as error:
        yield Finding("sick", str(error))
        return
    if attempts.locked:
        yield Finding(
            "sick", f"the key of {known.user} is locked; find out who tried it, then `trail key unlock {path}`"
        )
    if attempts.unreported:
        yield Finding(
            "sick", f"{len(attempts.unreported)} failed attempts at the key of {known.user} are not sealed"
        )
    change = f"change it with `trail key passphrase {path}`"
    if known.expired(now):
        yield Finding("sick", f"the passphrase of {known.user} expired after {known.expires}; {change}")
    elif known.expired(now + _EXPIRES_SOON):
        yield Finding("note", f"the passphrase of {known.user} expires after {known.expires}; {change}")


def _log(home: Installation) -> Iterator[Finding]:
    try:
        with reading(home) as source:
            size, latest = source.log.size(), source.checkpoints.latest()
            last = source.log.entry(size - 1).header.sealed_at if size else "never"
    except TrailError as error:
        yield Finding("sick", str(error))
        return
    yield Finding("well", f"{size} entries in the log, last sealed at {last}")
    signed = latest[0] if latest else 0
    if signed > size:
        yield Finding("sick", f"a checkpoint over {signed} entries was signed, but the log has {size}: it was cut")
    elif signed < size:
        yield Finding(
            "note", f"{size - signed} entries wait for a checkpoint; the notary signs them when it starts"
        )


def _outside(home: Installation) -> Iterator[Finding]:
    """Witnesses, timestamps and tiles: how far they are, and what the notary last said of them."""
    try:
        policy, authorities = home.policy(), read_authorities(home.timestamping_path)
        with reading(home) as source:
            latest = source.checkpoints.latest()
            signed = latest[0] if latest else 0
            if policy is None or policy.quorum == NONE:
                yield Finding("note", "no witness is asked; docs/witness.md says why one should be")
            else:
                cosigned = source.cosignatures.latest(policy)
                state: State = "well" if signed - cosigned <= _COSIGNED_SOON else "sick"
                yield Finding(state, f"{cosigned} of {signed} signed entries are cosigned by {policy.quorum}")
            stamps = Timestamps(source.checkpoints.engine)
            late = list(overdue(stamps, authorities, signed, datetime.now(UTC))) if home.clock == "system" else []
            yield from (Finding("sick", what) for what in late)
            if authorities.asked and not late:
                yield Finding("well", f"{len(stamps.all())} timestamps by {len(authorities.asked)} authorities")
    except TrailError as error:
        yield Finding("sick", str(error))
    yield from _troubles(home)


def _troubles(home: Installation) -> Iterator[Finding]:
    try:
        told = json.loads((home.audit_path / TROUBLES).read_text("utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        told = []
    for one in told:
        yield Finding("sick", f"{one['errand']}: {one['what']} (since {one['since'][:16]})")


def _privacy(home: Installation) -> Iterator[Finding]:
    """Privacy keys that others can read, or that should be gone."""
    keys = home.privacy_keys
    try:
        with reading(home) as source:
            erasures = source.log.register(home.trial).erasures.values()
        erased = {erasure.participant for erasure in erasures if erasure.keys}
        for participant, path in keys.present():
            if keys.tombstone(participant) is not None or participant in erased:
                yield Finding("sick", f"the key {path} should be destroyed: run `trail erase {participant}` again")
            elif path.stat().st_mode & 0o077:
                yield Finding("sick", f"the key {path} can be read by others; run chmod 600 on it")
    except TrailError as error:
        yield Finding("sick", str(error))


def _outboxes(home: Installation) -> Iterator[Finding]:
    for path in sorted((home.directory / "outbox").glob("*.sqlite")):
        outbox = home.outbox(SourceId(path.stem.replace("-", "/", 1)))
        waiting = outbox.count_waiting()
        outbox.close()
        if waiting:
            yield Finding(
                "note",
                f"{waiting} events of {path.stem} have no receipt yet; they are sent again by `trail submit`",
            )


async def _broker(home: Installation, given: str | None) -> list[Finding]:
    try:
        url = given or broker_url(home.directory)
        client = await connect(url, "doctor", home.credentials("log"))
    except TrailError as error:
        return [Finding("note", f"the stack is down: {error}")]
    findings = [Finding("well", f"the broker answers at {url}")]
    topology = home.topology
    try:
        js = client.jetstream()
        parts = [("notary", topology.intake, "seals"), *((name, topology.log, "decides") for name in DECIDING)]
        for name, stream, role in parts:
            info = await js.consumer_info(stream, name)
            lag = (info.num_pending or 0) + (info.num_ack_pending or 0)
            state: State = "well" if lag < 1000 else "sick"
            findings.append(Finding(state, f"{name} {role}; {lag} messages behind"))
        published = (await js.stream_info(topology.log)).state.last_seq
        with reading(home) as source:
            latest = source.checkpoints.latest()
        signed = latest[0] if latest else 0
        state = "well" if abs(published - signed) <= 500 else "sick"
        findings.append(Finding(state, f"LOG holds {published} of {signed} signed entries"))
    except (NatsError, TimeoutError) as error:
        findings.append(
            Finding("sick", f"the broker does not know the trial's streams ({error}); restart `trail up`")
        )
    finally:
        await client.close()
    return findings
