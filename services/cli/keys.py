"""The command `trail key rotate`: another key for the log, by its root's hand."""

import asyncio
import base64
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from services.audit.log import Log
from services.audit.register import Register
from services.cli.delivery import Post, line
from services.cli.installation import Installation
from services.cli.output import GOOD, progress, safe, say
from services.cli.stack import broker_url
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.log_keys import LogKeys
from shared.moments import stamp
from shared.note import NoteKey
from shared.signers import load_signer
from shared.signing import Signer, SigningKey, key_id
from shared.words import TrailError

_PATIENCE = 30.0


def rotate(directory: Path, why: str, broker: str | None, to: str | None = None) -> int:
    """Make the log a new key, have the root's word for it sealed, and remember it for checking receipts.

    ``to`` names a key that is there already, as shared.signers.load_signer reads it.
    Run again after an interruption it goes on where it stopped.
    """
    home = Installation.open(directory)
    url = broker or broker_url(home.directory)
    log = Log.at(home.places.log, read_only=True)
    try:
        keys = log.register(home.trial).log_keys()
        if keys.keys == home.log.keys and not _unconfirmed(home, keys.current.public):
            pin = os.environ.get("TRAIL_KEY_PIN")
            key = _unused_key(home, log.register(home.trial)) if to is None else load_signer(to, pin=pin)
            home.expect(NoteKey(keys.name, key.public))
            asyncio.run(_post(home, url, _draft(home, key, why)))
            with progress("waiting for the rotation to be sealed", None):
                keys = _sealed(log, home.trial, key)
    finally:
        log.close()
    for start, public in keys.keys[len(home.log.keys) :]:
        home = home.rotated(start, NoteKey(keys.name, public))
    asyncio.run(_confirm(home, url))
    say(f"[green]The log's key is rotated[/], from the tree of {keys.keys[-1][0]} entries on.")
    say(f"New log key (give it to sites, witnesses and auditors): {safe(keys.current.vkey())}")
    say("Other witnesses trust it only when they are told, and the old one until they are:")
    say(f"  trail witness --log {safe(keys.current.vkey())} --forget {safe(keys.all()[-2].vkey())} ...")
    say("The old private key signs nothing any more: take it away, and keep it only if your procedures ask for it.")
    return GOOD


def _unconfirmed(home: Installation, public: bytes) -> bool:
    """Whether the rotation to this key is sealed and its receipt has not come: an interrupted run's last step."""
    outbox = home.outbox(ROOT_SOURCE)
    key = base64.b64encode(public)
    waits = any(key in one.payload for one in outbox.waiting(1000) if one.route == "log.key_rotated")
    outbox.close()
    return waits


def _draft(home: Installation, key: Signer, why: str) -> Draft:
    data = {"public_key": base64.b64encode(key.public).decode(), "why": why}
    draft = Draft(source=ROOT_SOURCE, type="log.key_rotated", time=stamp(datetime.now(UTC)), data=data)
    draft.check(home.trial)
    return draft


def _unused_key(home: Installation, register: Register) -> Signer:
    """A private key of the log's that the log does not know yet: one an interrupted run left, or a new one."""
    for path in sorted((home.directory / "keys").glob("log-*.pem")):
        key = SigningKey.load(path)
        if key_id(key.public) not in register.identities:
            return key
    made = SigningKey.generate()
    made.save(home.directory / "keys" / f"log-{made.id[:8]}.pem")
    return made


async def _post(home: Installation, url: str, draft: Draft) -> None:
    """Send the root's word; its receipt is signed with the new key, so it is waited for later."""
    async with line(home, url) as connected:
        if not _waiting(connected.post, draft):
            connected.post.put([draft])
        await connected.deliver([ROOT_SOURCE], timeout=1)


def _waiting(post: Post, draft: Draft) -> bool:
    """Whether an interrupted run's word for this key waits already, perhaps with another time."""
    key = str(draft.data["public_key"]).encode()
    return any(key in one.payload for one in post.outbox(ROOT_SOURCE).waiting(1000))


async def _confirm(home: Installation, url: str) -> None:
    async with line(home, url) as connected:
        if not await connected.deliver([ROOT_SOURCE], timeout=_PATIENCE):
            raise TrailError("the rotation is sealed, but its receipt has not come; `trail deliver` asks again")


def _sealed(log: Log, trial: str, key: Signer) -> LogKeys:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        keys = log.register(trial).log_keys()
        if keys.current.public == key.public:
            return keys
        time.sleep(0.1)
    raise TrailError(
        "the notary has not sealed the rotation; `trail doctor` says why. The new key is kept: run this again"
    )
