"""The embedded stack with a broker that tells its users apart: from the first grant to the revocation."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.audit.log import Log
from services.cli.beginning import begin_log
from services.cli.broker_access import FOUNDERS, write_configuration
from services.cli.installation import Installation, granted
from services.cli.stack import Stack
from shared.broker import connect
from shared.broker_access import access, write_access
from shared.broker_keys import Credentials, make_seed, public_of, read_seed
from shared.drafts import Draft
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.signing import SigningKey
from shared.words import SourceId
from tests import node
from tests.scenario import SITE, Local, drafts_of, wait_for_decisions, write_drafts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
]  # a whole system each

OTHER = SourceId("site/702")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    home = begin_log(tmp_path_factory.mktemp("guarded") / "trial", practice=True)
    write_configuration(home)
    stack = Stack(home)
    try:
        stack.start()
        yield Local(home, stack.url)
    finally:
        stack.stop()


def sealed(home: Installation, type_: str) -> list[Entry]:
    log = Log.at(home.places.log, read_only=True)
    entries = [one for one in log.entries() if one.admitted and f"trialtrail.{type_}.v1" in one.body.decode()]
    log.close()
    return entries


def test_events_are_sealed_and_decided_on_with_every_user_told_apart(system: Local, tmp_path: Path) -> None:
    file = write_drafts(tmp_path / "drafts.ndjson", drafts_of("701-001", datetime.now(UTC).date()))
    code, posted = system.trail("submit", "--wait", file=file)
    assert code == 0, posted
    assert {one["verdict"] for one in posted} == {"admitted"}
    assert wait_for_decisions(system) > 0
    for command in ("doctor", "fsck", "verify"):
        code, told = system.trail(command)
        assert code == 0, told


def test_which_configuration_is_in_force_is_sealed_and_can_be_made_anew_from_the_log(system: Local) -> None:
    home = system.home
    last = read_envelope(sealed(home, "broker.configured")[-1].body).data
    text = home.accounts_path.read_text("utf-8")
    assert last["digest"] == hashlib.sha256(text.encode()).hexdigest()
    log = Log.at(home.places.log, read_only=True)
    identities = log.register(home.trial).identities.values()
    log.close()
    made = access(home.trial, identities, at=datetime.now(UTC), notary=last["notary"], root=last["root"])
    assert write_access(made, last["as_of"]) == text
    assert [last[name] for name in ("notary", "root")] == [
        public_of(read_seed(home.broker_key_path(name))) for name in FOUNDERS
    ]


def test_a_revocation_cuts_the_site_off_and_leaves_the_others(system: Local, tmp_path: Path) -> None:
    """A site of another language: its grant lets it in, its revocation cuts it off, both sealed."""
    home, folder = system.home, node.install(tmp_path)
    example = Path(shutil.copy(Path(__file__).parents[2] / "examples" / "post-event.mjs", folder))
    key, seed = SigningKey.generate(), tmp_path / "site.nk"
    key.save(tmp_path / "site.pem")
    grant = granted(key, OTHER, "site_system", "EDC of site 702", make_seed(seed))
    now = stamp(datetime.now(UTC))
    draft = Draft(source=ROOT_SOURCE, type="identity.granted", time=now, data=grant)
    code, told = system.trail("submit", "--wait", file=write_drafts(tmp_path / "grant.ndjson", [draft]))
    assert code == 0, told
    settings = {
        "TRAIL_BROKER": system.url,
        "TRAIL_TRIAL": home.trial,
        "TRAIL_SITE": "702",
        "TRAIL_KEY": str(tmp_path / "site.pem"),
        "TRAIL_LOG_KEY": home.log_key.vkey(),
        "TRAIL_OUTBOX": str(tmp_path / "outbox"),
        "TRAIL_BROKER_KEY": str(seed),
        "TRAIL_BROKER_CA": str(home.broker_ca_path),
    }
    command = [
        "node",
        str(example),
        "screening.registered",
        "702-001",
        '{"sex": "female", "birth_date": "1981-08-17"}',
    ]
    done = subprocess.run(
        command, env=dict(os.environ) | settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"verdict":"admitted"' in done.stdout

    revoke = {"key": key.id, "why": "its computer was stolen"}
    draft = Draft(source=ROOT_SOURCE, type="identity.revoked", time=stamp(datetime.now(UTC)), data=revoke)
    file = write_drafts(tmp_path / "revoke.ndjson", [draft])

    async def cut_off() -> float:
        gone = asyncio.Event()

        async def lost() -> None:
            gone.set()

        thief = await connect(system.url, "thief", Credentials(seed, home.broker_ca_path), disconnected_cb=lost)
        code, told = await asyncio.to_thread(system.trail, "submit", "--wait", file=file)
        assert code == 0, told
        await asyncio.wait_for(gone.wait(), 10)
        began = time.monotonic()
        while time.monotonic() - began < 1:
            assert not thief.is_connected
            await asyncio.sleep(0.05)
        await thief.close()
        return began

    asyncio.run(cut_off())
    assert public_of(read_seed(seed)) not in "\n".join(
        line for line in home.accounts_path.read_text().splitlines() if "left out" not in line
    )
    revoked, configured = sealed(home, "identity.revoked")[-1], sealed(home, "broker.configured")[-1]
    assert configured.header.index > revoked.header.index
    assert read_envelope(configured.body).data["as_of"] >= revoked.header.index
    code, again = system.trail(
        "submit",
        "--wait",
        file=write_drafts(tmp_path / "d.ndjson", drafts_of("701-002", datetime.now(UTC).date())[:1]),
    )
    assert code == 0, again
    assert again[0]["source"] == SITE
