"""A broker that tells its users apart: its configuration written from the log, read by the server, and sealed."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.audit.log import Log
from services.audit.register import Register
from services.cli.broker_tls import SERVER, SERVER_KEY, ensure_certificate
from services.cli.installation import Installation
from services.cli.persons import present
from shared.broker import MAX_MESSAGE_BYTES
from shared.broker_access import Access, access, write_access
from shared.broker_keys import make_seed, public_of, read_seed
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.words import TrailError

FOUNDERS: Final = ("log", "root")
"""The file names of the keys that the genesis entry names. It names no broker keys; the installation does."""

_AS_OF: Final = re.compile(r"as of entry (\d+)\. ")
_SEALED: Final = "sealed"
_RELOAD_PATIENCE: Final = 10.0


def write_configuration(home: Installation, names: Sequence[str] = ()) -> Access:
    """Write whom the log lets in, and have a certificate for the broker under these names besides this machine's.

    From then on the broker of this data directory tells its users apart. Raises TrailError, and changes nothing,
    where nats-server would not read the result.
    """
    ensure_certificate(home, names)
    for name in FOUNDERS:
        if not home.broker_key_path(name).exists():
            make_seed(home.broker_key_path(name))
    if not home.is_guarded and running_broker(home) is not None:
        raise TrailError("a broker that asks nobody who he is runs on this directory: stop `trail up` first")
    made, as_of = _access(home)
    text = write_access(made, as_of)
    if not home.is_guarded or _rules(text) != _rules(home.accounts_path.read_text("utf-8")):
        _replace(home.accounts_path, text)
    return made


def hand_out(home: Installation, folder: Path, listen: str, store: str, there: str) -> None:
    """Write everything that a server elsewhere needs into ``folder``, which will be ``there`` on its machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (home.accounts_path, home.broker_ca_path, home.broker_access_path / SERVER):
        shutil.copy(path, folder / path.name)
    key = folder / SERVER_KEY
    key.touch(0o600)
    key.write_bytes((home.broker_access_path / SERVER_KEY).read_bytes())
    (folder / "nats.conf").write_text(server_configuration(listen, store, there), "utf-8")


def server_configuration(listen: str, store: str, folder: str) -> str:
    """What nats-server is started with, beside the accounts. Pure."""
    quoted = {name: json.dumps(f"{folder}/{name}") for name in (SERVER, SERVER_KEY)}
    return "\n".join(
        [
            "# The broker of one trial, which tells its users apart. It carries events; the record is a database.",
            'server_name: "trialtrail"',
            f"listen: {json.dumps(listen)}",
            f"jetstream {{ store_dir: {json.dumps(store)}, sync_interval: always }}",
            "# Above what admission allows, so that a slip reaches the notary and is sealed as refused.",
            f"max_payload: {MAX_MESSAGE_BYTES}",
            "# What one key, stolen or gone wild, can take from the others.",
            "max_connections: 2000",
            "max_subscriptions: 500",
            "tls {",
            f"  cert_file: {quoted[SERVER]}",
            f"  key_file: {quoted[SERVER_KEY]}",
            '  min_version: "1.3"',
            "  # TLS before anything else is said: else whoever is on the way could claim that there is none.",
            "  handshake_first: true",
            "  timeout: 5",
            "}",
            "authorization { timeout: 5 }",
            "# Nobody is let in who is not named there: there is no user for those without a key.",
            'include "accounts.conf"',
            "",
        ]
    )


def renewed(home: Installation) -> Draft | None:
    """Bring the embedded broker up to the log; the root's word of it, or None where nothing changes.

    Raises TrailError when the broker did not read it.
    """
    pid = running_broker(home)
    if pid is None or not home.is_guarded:
        return None
    before = home.accounts_path.read_bytes()
    is_current = _rules(write_access(*_access(home))) == _rules(before.decode())
    return None if is_current and _digest(before) == _sealed(home) else reload(home, pid)


def reload(home: Installation, pid: int) -> Draft:
    """Write the accounts and have this machine's server read them; the root's word that they are in force.

    Whoever is no longer among them is cut off by it. Raises TrailError when the server did not read them.
    """
    write_configuration(home)
    # nats-server 2.15 gives an account that is new to it JetStream's interface only when it reads it a second time.
    for _ in range(2):
        _have_it_read(home, pid)
    return configured(home)


def _have_it_read(home: Installation, pid: int) -> None:
    log = home.directory / "run" / "broker.log"
    begun = log.stat().st_size
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + _RELOAD_PATIENCE
    while time.monotonic() < deadline:
        said = log.read_bytes()[begun:]
        if b"Reloaded server configuration" in said:
            return
        if b"Failed to reload" in said:
            break
        time.sleep(0.02)
    raise TrailError(f"the broker did not read its new configuration, the old one is in force; {log} says why")


def configured(home: Installation) -> Draft:
    """The root's word that the accounts as they are written are in force at the broker.

    Raises TrailError when none are written.
    """
    try:
        text = home.accounts_path.read_bytes()
    except FileNotFoundError:
        raise TrailError("no configuration is written yet; begin with `trail broker config`") from None
    match = _AS_OF.search(text.decode())
    if match is None:
        raise TrailError(f"{home.accounts_path} was changed by hand; write it anew with `trail broker config`")
    notary, root = (public_of(read_seed(home.broker_key_path(name))) for name in FOUNDERS)
    data = {
        "as_of": int(match[1]),
        "digest": _digest(text),
        "notary": notary,
        "root": root,
    }
    draft = Draft(source=ROOT_SOURCE, type="broker.configured", time=stamp(datetime.now(UTC)), data=data)
    draft.check(home.trial)
    return draft


def remember(home: Installation, word: Draft) -> None:
    """Remember that the root's word is on its way, so that it is said once."""
    (home.broker_access_path / _SEALED).write_text(f"{word.data['digest']}\n", "utf-8")


def running_broker(home: Installation) -> int | None:
    """The process id of the embedded broker of a data directory, if it runs."""
    try:
        pid = int(json.loads((home.directory / "run" / "processes.json").read_text("utf-8"))["broker"])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if str(home.directory) in command else None


def _access(home: Installation) -> tuple[Access, int]:
    register, as_of = _register(home)
    notary, root = (public_of(read_seed(home.broker_key_path(name))) for name in FOUNDERS)
    return access(home.trial, register.identities.values(), at=present(register), notary=notary, root=root), as_of


def _register(home: Installation) -> tuple[Register, int]:
    """What the log has made of its identities, and the index of the last entry that counted."""
    log = Log.at(home.places.log, read_only=True)
    try:
        while True:
            size = log.size()
            register = log.register(home.trial)
            if log.size() == size:  # the notary may seal meanwhile
                return register, size - 1
    finally:
        log.close()


def _sealed(home: Installation) -> str:
    path = home.broker_access_path / _SEALED
    return path.read_text("utf-8").strip() if path.exists() else ""


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _rules(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _replace(path: Path, text: str) -> None:
    """Put the accounts in place if nats-server reads them: one that does not would keep revoked users in."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    tried = subprocess.run([str(binary), "-t", "-c", str(draft)], capture_output=True, text=True, check=False)
    if tried.returncode:
        draft.unlink()
        raise TrailError(
            f"nats-server does not read the accounts made from this log: {tried.stderr.strip()[-500:]}"
        )
    draft.replace(path)
